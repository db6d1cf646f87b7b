"""A document of a `_bulk` request becomes an action and data, in plain Python: what any other twin must equal."""

from collections.abc import Mapping
from typing import Any, Final

# What `opensearchpy.helpers.expand_action` takes out of a document: into the action, these without their underscore.
RENAMED: Final = frozenset(
    ["_if_seq_no", "_if_primary_term", "_parent", "_retry_on_conflict", "_routing", "_version", "_version_type"]
)
METADATA: Final = RENAMED.union(
    ["_id", "_index", "_percolate", "_timestamp", "if_seq_no", "if_primary_term", "parent", "pipeline"],
    ["retry_on_conflict", "routing", "version", "version_type"],
)


def expand_action(document: dict[Any, Any]) -> tuple[dict[Any, Any], Any]:
    """`opensearchpy.helpers.expand_action`, for what is exactly a dict: (action, data), data None for a delete.

    The document is not changed. The metadata stand in the order in which the document has them.

    Raises:
        TypeError: it is no exact dict.
    """
    if type(document) is not dict:
        raise TypeError(f"document: a dict is needed, not {type(document).__name__}")
    data = document.copy()
    op_type = data.pop("_op_type", "index")
    metadata: dict[str, Any] = {}
    if op_type == "update" and "_source" in data and not isinstance(data["_source"], Mapping):
        metadata["_source"] = data.pop("_source")
    for name in document:
        if name in METADATA:
            if name in RENAMED:
                metadata.setdefault(name[1:], data.pop(name))  # a `version` beside `_version` wins
            else:
                metadata[name] = data.pop(name)
    return {op_type: metadata}, None if op_type == "delete" else data.get("_source", data)
