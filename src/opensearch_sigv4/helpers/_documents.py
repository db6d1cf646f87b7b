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

from .. import core, timing
from ..timing import TimedSerializer

try:
    from orjson import dumps as _orjson_dumps
except ModuleNotFoundError:
    _orjson_dumps = None  # type: ignore[assignment]

_ORIGINAL_DUMPS: Final = JSONSerializer.dumps
# An action with an id and nothing beside these has the same result however often it is executed.
_REPEATABLE_METADATA: Final = frozenset({"_id", "_index", "_type", "routing", "pipeline", "require_alias"})


class Chunk:
    """The documents of one `_bulk` request.

    Attributes:
        first: the position of its first document in the input, counted from 0.
        body: the request's body.
        ends: for each document, where its lines end in the body.
        data: for each document its data as they came from the callback, None for a delete; or None itself.
    """

    __slots__ = ("body", "data", "ends", "first")

    def __init__(self, first: int, body: bytes, ends: Sequence[int], data: Sequence[Any] | None = None) -> None:
        self.first, self.body, self.ends, self.data = first, body, ends, data

    def __len__(self) -> int:
        return len(self.ends)

    def action(self, position: int) -> bytes:
        """A document's action, as it is sent."""
        return self.lines(position).partition(b"\n")[0]

    def datum(self, position: int) -> Any:
        """A document's data as they came from the callback, or their line if they were not kept; None for a delete."""
        if self.data is not None:
            return self.data[position]
        return self.lines(position).removesuffix(b"\n").partition(b"\n")[2] or None

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
        expand: `(document) -> (action, data)`; where it is opensearch-py's, the core's equivalent runs.
        add_ids: give an id to each document to be indexed or created that has none.

    Attributes:
        unfit: called with a document that is no JSON and what says so, which then leaves it out; None to raise that.
    """

    def __init__(
        self,
        chunk_size: int,
        max_chunk_bytes: int,
        serializer: Any,
        expand: Callable[[Any], tuple[Any, Any]] = expand_action,
        add_ids: bool = False,
    ) -> None:
        if chunk_size < 1 or max_chunk_bytes < 1:
            raise ValueError("chunk_size and max_chunk_bytes: at least 1")
        self.max_chunk_bytes = max_chunk_bytes
        self.unfit: Callable[[Any, Exception], None] | None = None
        self._chunk_size = chunk_size
        self._encode = encoder(serializer)
        self._expand = expand
        self._next_id = time_ordered_ids() if add_ids else None
        # For a document its lines and data are kept, and no container of them: a collection would have to visit each.
        self._has_orjson = _orjson_dumps is not None and is_opensearch_pys(serializer)
        self._is_usual = self._has_orjson and expand is expand_action and not add_ids
        self._first = 0
        self._body = bytearray()  # of all chunks, one after the other: it is written where it was written before
        self._start()

    def _start(self) -> None:
        self._ends: list[int] = []
        self._data: list[Any] = []

    def fill(self, documents: Iterator[Any]) -> Chunk | None:
        """Take documents until a chunk is full, and return it; None when there are no more.

        Raises:
            SerializationError: a document that is no JSON, naming it. It, and those in the chunk before it, are out.
        """
        if timing.watch() is None:
            return self._fill(documents)
        timed, start_ns = timing.TimedIterator(documents), time.time_ns()
        try:
            return self._fill(timed)
        finally:
            timing.tell("serialise", start_ns + timed.spent_ns, time.time_ns())

    def _fill(self, documents: Iterator[Any]) -> Chunk | None:
        while True:
            taken = self._take_usual(documents)
            if taken is None:
                return self._cut() if len(self._ends) == self._chunk_size else None
            document, text, data = taken
            if text is None:
                try:
                    text, data = self._prepared(document)
                except Exception as error:
                    if self.unfit is None:
                        raise
                    self.unfit(document, error)
                    continue
            full = None
            if self._ends and self._ends[-1] + len(text) > self.max_chunk_bytes:
                full = self._cut()
            size = self._ends[-1] if self._ends else 0
            self._body[size : size + len(text)] = text
            self._ends.append(size + len(text))
            self._data.append(data)
            if full is not None:
                return full
            if len(self._ends) == self._chunk_size:
                return self._cut()

    def rest(self) -> Chunk | None:
        """The last chunk, which is not full; None when there is none."""
        return self._cut() if self._ends else None

    def _take_usual(self, documents: Iterator[Any]) -> tuple[Any, bytes | None, Any] | None:
        """Keep what `core.take_plain` takes, and return the next document that is for `fill`."""
        if self._is_usual:
            assert _orjson_dumps is not None
            return core.take_plain(
                documents, _orjson_dumps, self._chunk_size, self.max_chunk_bytes, self._body, self._ends, self._data
            )
        for document in documents:
            return document, None, None
        return None

    def _prepared(self, document: Any) -> tuple[bytes, Any]:
        """A document's lines and data."""
        try:
            if type(document) is dict and self._expand is expand_action:
                action, data = core.expand_action(document)
            else:
                action, data = self._expand(document)
            if self._next_id is not None:
                action = _with_id(action, self._next_id)
            line = self._encode_plain(action)
            if line is None:
                line = self._encode(action)
            if data is None:
                text = line + b"\n"
            else:
                raw = self._encode_plain(data)
                if raw is None:
                    raw = self._encode(data)
                    if isinstance(data, (str, bytes)):
                        raw = _one_line(raw)
                text = line + b"\n" + raw + b"\n"
        except Exception as error:
            named = self._named(document)
            if isinstance(error, SerializationError):
                error.args += (named,)
            else:
                error.add_note(named)
            raise
        return text, data

    def _encode_plain(self, value: Any) -> bytes | None:
        return core.encode_plain(value, _orjson_dumps) if self._has_orjson and _orjson_dumps is not None else None

    def _cut(self) -> Chunk:
        with memoryview(self._body) as body, body[: self._ends[-1]] as used:
            chunk = Chunk(self._first, bytes(used), self._ends, self._data)
        self._first += len(chunk)
        self._start()
        return chunk

    def _named(self, document: Any) -> str:
        """Which document could not be prepared, and what that means for those before it."""
        number = self._first + len(self._ends) + 1
        by_id = document.get("_id") if isinstance(document, dict) else None
        named = f"document {number} of the input" if by_id is None else f"document {number} of the input, _id {by_id!r}"
        return f"{named}; nothing from document {self._first + 1} on was sent"


def is_opensearch_pys(serializer: Any) -> bool:
    """Whether a serializer is exactly opensearch-py's JSONSerializer, with its own `dumps`, timed or not."""
    return (
        type(serializer) in (JSONSerializer, TimedSerializer)
        and JSONSerializer.dumps is _ORIGINAL_DUMPS
        and "dumps" not in getattr(serializer, "__dict__", ())
    )


def encoder(serializer: Any) -> Callable[[Any], bytes]:
    """The function that makes bytes of an action or document as `serializer.dumps` would.

    Where the serializer is exactly opensearch-py's JSONSerializer, a NaN or infinity raises SerializationError (theirs
    writes one that is no JSON).
    """
    if not is_opensearch_pys(serializer):
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


def metadata_of(action: str | bytes) -> tuple[str, dict[str, Any]]:
    """An action's type and metadata, from its JSON: `("index", {"_index": "logs"})`.

    Raises:
        ValueError: it is no action.
    """
    parsed = json.loads(action)
    if isinstance(parsed, dict) and len(parsed) == 1:
        [(op_type, metadata)] = parsed.items()
        if isinstance(metadata, dict):
            return op_type, metadata
    raise ValueError("not an action")


def identity_of(action: str | bytes) -> tuple[Any, ...] | None:
    """What tells the document of an action from others; None without an id."""
    try:
        _, metadata = metadata_of(action)
    except ValueError:
        return None
    document_id = metadata.get("_id")
    return (
        None if document_id is None else (str(metadata.get("_index")), str(document_id), str(metadata.get("routing")))
    )


def is_repeatable(action: str | bytes) -> bool:
    """Whether an action may be executed twice: index, create or delete of one id, without a condition."""
    try:
        op_type, metadata = metadata_of(action)
    except ValueError:
        return False
    return (
        op_type in ("index", "create", "delete")
        and metadata.get("_id") is not None
        and metadata.keys() <= _REPEATABLE_METADATA
    )


def _with_id(action: Any, next_id: Callable[[], str]) -> Any:
    if isinstance(action, (str, bytes)):
        action = json.loads(action)
    [(op_type, metadata)] = action.items()
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
