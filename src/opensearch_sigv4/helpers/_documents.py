"""Documents become bytes, and bytes become chunks: what a `_bulk` request holds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from opensearchpy.exceptions import SerializationError
from opensearchpy.helpers import expand_action
from opensearchpy.serializer import JSONSerializer

from .. import core

try:
    from orjson import dumps as _orjson_dumps
except ModuleNotFoundError:
    _orjson_dumps = None  # type: ignore[assignment]

#: (action, data), or (action,) where there is no data line: what `expand_action` made of one document.
Pair = tuple[Any, ...]

# An action with an id and nothing beside these has the same result however often it is executed.
_REPEATABLE_METADATA: Final = frozenset({"_id", "_index", "_type", "routing", "pipeline", "require_alias"})


class Chunk:
    """The documents of one `_bulk` request.

    Attributes:
        first: the position of its first document in the input, counted from 0.
        body: the request's body.
        ends: for each document, where its lines end in the body.
    """

    __slots__ = ("_pairs", "body", "ends", "first")

    def __init__(self, first: int, body: bytes, ends: Sequence[int], pairs: Sequence[Pair] | None) -> None:
        self.first, self.body, self.ends, self._pairs = first, body, ends, pairs

    def __len__(self) -> int:
        return len(self.ends)

    def pair(self, position: int) -> Pair:
        """A document's action and data as they came from the callback; its lines where those were not kept."""
        if self._pairs is not None:
            return self._pairs[position]
        return tuple(self.lines(position).splitlines())

    def lines(self, position: int) -> bytes:
        """A document's lines in the body."""
        return self.body[self.ends[position - 1] if position else 0 : self.ends[position]]

    def body_of(self, positions: Sequence[int]) -> bytes:
        """The body with these documents only; `self.body` itself for all of them."""
        if len(positions) == len(self):
            return self.body
        return b"".join([self.lines(position) for position in positions])

    def size_of(self, position: int) -> int:
        """The bytes of a document's lines."""
        return self.ends[position] - (self.ends[position - 1] if position else 0)

    def name_of(self, positions: Sequence[int]) -> str:
        """How a message names these documents, counted from 1."""
        first, last = (self.first + positions[i] + 1 for i in (0, -1))
        return f"document {first}" if first == last else f"documents {first} to {last}"


class Chunker:
    """Collects documents until a chunk is full. Used from one thread.

    Args:
        chunk_size: documents in one chunk, at most.
        max_chunk_bytes: bytes in one chunk, at most; a single document may be larger.
        serializer: the client's.
        expand: `(document) -> (action, data)`; opensearch-py's `expand_action` is replaced by `expand`.
        add_ids: give an id to each document to be indexed or created that has none.
        keep: let the chunks hold each document's action and data; without it they hold the body only.
    """

    def __init__(
        self,
        chunk_size: int,
        max_chunk_bytes: int,
        serializer: Any,
        expand: Callable[[Any], tuple[Any, Any]] = expand_action,
        add_ids: bool = False,
        keep: bool = True,
    ) -> None:
        if chunk_size < 1 or max_chunk_bytes < 1:
            raise ValueError("chunk_size and max_chunk_bytes: at least 1")
        self.max_chunk_bytes = max_chunk_bytes
        self._chunk_size = chunk_size
        self._encode = encoder(serializer)
        has_orjson = _orjson_dumps is not None and type(serializer) is JSONSerializer
        self._encode_plain = core.encode_plain if has_orjson else _encode_nothing
        self._expand = expand
        self._next_id = time_ordered_ids() if add_ids else None
        self._keep = keep
        self._first = 0
        self._start()

    def _start(self) -> None:
        self._lines: list[bytes] = []
        self._ends: list[int] = []
        self._pairs: list[Pair] = []
        self._size = 0

    def fill(self, documents: Iterator[Any]) -> Chunk | None:
        """Take documents until a chunk is full, and return it; None when there are no more.

        Raises:
            SerializationError: a document that is no JSON, naming it. It, and those in the chunk before it, are out.
        """
        encode, expand, next_id = self._encode, self._expand, self._next_id
        encode_plain, dumps = self._encode_plain, _orjson_dumps
        expand_dict = core.expand_action if expand is expand_action else expand
        lines, ends, pairs, size = self._lines, self._ends, self._pairs, self._size
        chunk_size, max_bytes, keep = self._chunk_size, self.max_chunk_bytes, self._keep
        for document in documents:
            try:
                action, data = expand_dict(document) if type(document) is dict else expand(document)
                if next_id is not None:
                    action = _with_id(action, next_id)
                line = encode_plain(action, dumps) or encode(action)
                if data is None:
                    raw = None
                    added = len(line) + 1
                else:
                    raw = encode_plain(data, dumps)
                    if raw is None:
                        raw = encode(data)
                        if isinstance(data, (str, bytes)):
                            raw = _one_line(raw)
                    added = len(line) + len(raw) + 2
            except Exception as error:
                named = self._named(document)
                if isinstance(error, SerializationError):
                    error.args += (named,)
                else:
                    error.add_note(named)
                raise
            full = None
            if size + added > max_bytes and ends:
                full = self._take()
                lines, ends, pairs, size = self._lines, self._ends, self._pairs, 0
            lines.append(line)
            if raw is not None:
                lines.append(raw)
            if keep:
                pairs.append((action,) if raw is None else (action, data))
            size += added
            ends.append(size)
            if full is not None:
                self._size = size
                return full
            if len(ends) == chunk_size:
                return self._take()
        self._size = size
        return None

    def rest(self) -> Chunk | None:
        """The last chunk, which is not full; None when there is none."""
        return self._take() if self._ends else None

    def _take(self) -> Chunk:
        self._lines.append(b"")
        chunk = Chunk(self._first, b"\n".join(self._lines), self._ends, self._pairs if self._keep else None)
        self._first += len(chunk)
        self._start()
        return chunk

    def _named(self, document: Any) -> str:
        """Which document could not be prepared, and what that means for those before it."""
        number = self._first + len(self._ends) + 1
        by_id = document.get("_id") if isinstance(document, dict) else None
        named = f"document {number} of the input" if by_id is None else f"document {number} of the input, _id {by_id!r}"
        return f"{named}; nothing from document {self._first + 1} on was sent"


def encoder(serializer: Any) -> Callable[[Any], bytes]:
    """The function that makes bytes of an action or document as `serializer.dumps` would.

    Where the serializer is exactly opensearch-py's JSONSerializer, a NaN or infinity raises SerializationError (theirs
    writes one that is no JSON).
    """
    if type(serializer) is not JSONSerializer:
        return lambda data: _to_bytes(serializer.dumps(data))

    def encode(data: Any) -> bytes:
        if isinstance(data, (str, bytes)):
            return _to_bytes(data)
        try:
            text = json.dumps(
                data, default=serializer.default, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
        except (ValueError, TypeError) as error:
            raise SerializationError(data, error) from error
        return text.encode()

    return encode


def _encode_nothing(data: Any, dumps: Any) -> None:
    """In the place of `core.encode_plain` where orjson may not or cannot be used."""


def _to_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _one_line(raw: bytes) -> bytes:
    """A document given as text, without the line break at its end.

    Raises:
        ValueError: one within it, which would end the document's line in the body.
    """
    if b"\n" in raw:
        raw = raw.rstrip(b"\r\n")
        if b"\n" in raw:
            raise ValueError("a document given as text must be a single line")
    return raw


def metadata_of(action: Any) -> tuple[str, dict[str, Any]]:
    """An action's type and metadata: `("index", {"_index": "logs"})`. `action` may be JSON text."""
    if isinstance(action, (str, bytes)):
        action = json.loads(action)
    [(op_type, metadata)] = action.items()
    return op_type, metadata


def is_repeatable(action: Any) -> bool:
    """Whether an action may be executed twice: index, create or delete of one id, without a condition."""
    try:
        op_type, metadata = metadata_of(action)
        return (
            op_type in ("index", "create", "delete")
            and metadata.get("_id") is not None
            and metadata.keys() <= _REPEATABLE_METADATA
        )
    except (AttributeError, TypeError, ValueError):  # whatever a callback may return
        return False


def _with_id(action: Any, next_id: Callable[[], str]) -> Any:
    op_type, metadata = metadata_of(action)
    if op_type in ("index", "create") and metadata.get("_id") is None:
        return {op_type: {**metadata, "_id": next_id()}}
    return action


def time_ordered_ids() -> Callable[[], str]:
    """A function that returns a new UUIDv7 in each call, each greater than the one before. For one thread.

    Source: RFC 9562, 5.7, and 6.2 method 1 (a counter in `rand_a`, which starts at random and counts within a
    millisecond).
    """
    last_ms = counter = 0

    def next_id() -> str:
        nonlocal last_ms, counter
        random = int.from_bytes(os.urandom(10), "big")
        now_ms = time.time_ns() // 1_000_000
        if now_ms > last_ms:
            last_ms, counter = now_ms, random >> 69  # 11 bits: room to count
        elif counter == 0xFFF:
            last_ms, counter = last_ms + 1, random >> 69
        else:
            counter += 1
        value = last_ms << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | random & (1 << 62) - 1
        digits = f"{value:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    return next_id
