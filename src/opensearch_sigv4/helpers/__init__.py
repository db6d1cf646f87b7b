"""opensearch-py's bulk helpers, with less work per document and one outcome for each.

`from opensearchpy.helpers import ...` becomes `from opensearch_sigv4.helpers import ...`.
"""

from opensearchpy.helpers import BulkIndexError, ScanError, async_reindex, async_scan, expand_action, reindex, scan

from ._async import async_bulk, async_streaming_bulk
from ._sync import bulk, parallel_bulk, streaming_bulk

__all__ = [
    "BulkIndexError",
    "ScanError",
    "async_bulk",
    "async_reindex",
    "async_scan",
    "async_streaming_bulk",
    "bulk",
    "expand_action",
    "parallel_bulk",
    "reindex",
    "scan",
    "streaming_bulk",
]
