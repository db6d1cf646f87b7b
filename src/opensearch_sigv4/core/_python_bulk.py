"""Documents become the lines of a `_bulk` request, in plain Python: what any other twin must equal."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ._python_json import encode_plain

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


def take_plain(
    documents: Iterator[Any],
    dumps: Callable[[Any], bytes],
    chunk_size: int,
    max_bytes: int,
    body: bytearray,
    ends: list[int],
    data: list[Any],
) -> tuple[Any, bytes | None, Any] | None:
    """Take documents, and make lines of them, for as long as they are plain and there is room.

    Plain is an exact dict that `expand_action` makes an action and an exact dict of, or a delete, both of plain JSON.

    Args:
        documents: from which they are taken.
        dumps: orjson's.
        chunk_size: how many there is room for, at least one more than there are.
        max_bytes: for how many bytes.
        body: receives each document's lines, from the last of `ends` on; what stands there is overwritten.
        ends: receives where they end.
        data: receives each document's data, None for a delete.

    Returns:
        None when there are no more, or no room by `chunk_size`; else the first document that was taken and not kept,
        with its lines and its data: (document, None, None) for one that is not plain.

    Thread-safety: `body`, `ends` and `data` are for one thread at a time.
    """
    size = ends[-1] if ends else 0
    for document in documents:
        prepared = _prepared(document, dumps)
        if prepared is None:
            return document, None, None
        text, document_data = prepared
        if size + len(text) > max_bytes:
            return document, text, document_data
        body[size : size + len(text)] = text
        size += len(text)
        ends.append(size)
        data.append(document_data)
        if len(ends) >= chunk_size:
            break
    return None


def _prepared(document: Any, dumps: Callable[[Any], bytes]) -> tuple[bytes, Any] | None:
    if type(document) is not dict:
        return None
    try:
        action, data = expand_action(document)
    except TypeError:  # an action's type that cannot be hashed
        return None
    line = encode_plain(action, dumps)
    if line is None:
        return None
    if data is None and "delete" in action:
        return line + b"\n", None
    raw = encode_plain(data, dumps) if type(data) is dict else None
    return None if raw is None else (line + b"\n" + raw + b"\n", data)
