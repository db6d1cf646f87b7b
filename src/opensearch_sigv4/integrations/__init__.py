"""Indexing from a cluster: one partition of the documents in each task, with one account of all of them.

`index_partition` is what every engine's task calls; `opensearch_sigv4.integrations.dask` and
`opensearch_sigv4.integrations.spark` call it for theirs.
"""

from ._partition import DocumentsRefused, Summary, index_partition

__all__ = ["DocumentsRefused", "Summary", "index_partition"]
