"""Files become documents: which files, what is in them, and where each document stands.

A document comes out as its lines of a `_bulk` body. What is JSON already is checked and passed on as it came; nothing
is parsed unless an option asks for what is inside.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import itertools
import json
import os
import re
import sys
import zlib
from array import array
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from stat import S_ISREG
from types import ModuleType
from typing import IO, Any, Final, NamedTuple, cast

from .. import core
from ..core._python_json import all_of
from ..helpers._failed import FAILED_KEY, dumps, loads

_orjson: ModuleType | None
try:
    import orjson as _orjson
except ModuleNotFoundError:
    _orjson = None

FORMATS: Final = ("ndjson", "bulk", "json", "csv")
OPS: Final = ("index", "create", "update")
STDIN: Final = "-"

#: No endpoint takes a larger request.
MAX_LINE_BYTES: Final = 100 << 20
#: OpenSearch refuses the whole request for the sake of a longer one.
MAX_ID_BYTES: Final = 512
_BLOCK_BYTES: Final = 256 << 10
# Compressed, of which what is repeated all over makes a thousand times as much.
_ZSTD_PIECE_BYTES: Final = 4 << 10
# An action's line is not as long.
_MAX_FIRST_LINE_BYTES: Final = 1 << 20
# Of a portion, so that a file of nothing else is not held in memory.
_MAX_MALFORMED: Final = 1000
#: What of a file's beginning makes its identity.
_HEAD_BYTES: Final = 64 << 10

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_NOT_READ: Final = {
    b"\xfd7zX": "xz is not read: unpack it",
    b"BZh": "bzip2 is not read: unpack it",
    b"PK\x03\x04": "zip is not read: unpack it",
    b"\xff\xfe": "UTF-16 is not read, UTF-8 is",
    b"\xfe\xff": "UTF-16 is not read, UTF-8 is",
}
_BLANKS: Final = b" \t\r\n"

_ACTIONS: Final = frozenset(("index", "create", "update", "delete"))
# Any other name in an action makes OpenSearch refuse the whole request.
# Source: OpenSearch, BulkRequestParser.
_METADATA: Final = frozenset(
    [
        *("_index", "_id", "_source", "if_primary_term", "if_seq_no", "op_type", "pipeline", "require_alias"),
        *("retry_on_conflict", "routing", "version", "version_type"),
    ]
)
# With an id and nothing beside these `index` has the same result however often it is executed.
_UNCONDITIONAL: Final = frozenset(("_id", "_index", "routing", "pipeline", "require_alias"))


class InputError(Exception):
    """A file, or what is left of it, cannot be read."""


class Place(NamedTuple):
    """A place in the input, between two documents: everything before it was taken.

    Attributes:
        file: the file's position among the files.
        offset: bytes of it, uncompressed.
        line: lines of it.
        element: elements of its JSON array.
    """

    file: int = 0
    offset: int = 0
    line: int = 0
    element: int = 0


START: Final = Place()


class Document(NamedTuple):
    """A document that can be sent.

    Attributes:
        lines: of a `_bulk` body.
        line: where it begins, counted from 1.
        element: which of a JSON array's it is, counted from 1; else 0.
        offset: where it ends.
        lines_before: complete lines before that.
        repeatable: whether sending it once more changes neither what is held nor the answer's meaning.
    """

    lines: bytes
    line: int
    element: int
    offset: int
    lines_before: int
    repeatable: bool


class Malformed(NamedTuple):
    """What stands where a document should, and cannot be sent."""

    text: bytes
    line: int
    element: int
    offset: int
    lines_before: int
    reason: str


class Unfit(ValueError):  # noqa: N818 - it is the document that is
    """A JSON object that the options do not fit."""


@dataclass(frozen=True)
class Shape:
    """How a document becomes lines of a `_bulk` body.

    Attributes:
        index: where documents go that do not say it themselves; None if they all must.
        op: `"index"`, `"create"`, `"update"`; None if not given.
        id_field: the field whose value is the document's id.
        routing_field: the field whose value is its routing.
        add_ids: whether documents without an id get one from where they stand.
    """

    index: str | None = None
    op: str | None = None
    id_field: str | None = None
    routing_field: str | None = None
    add_ids: bool = False


@dataclass(frozen=True)
class File:
    """One input.

    Attributes:
        name: as messages call it.
        path: None for standard input.
        size: bytes, compressed; None for what is no regular file.
        format: one of FORMATS; None until it is known.
        identity: what tells it from others and from itself when changed; `""` if it was not asked for.
        id_prefix: what the ids of its documents begin with.
    """

    name: str
    path: str | None
    size: int | None
    format: str | None
    identity: str = ""
    id_prefix: str = ""


def files_of(arguments: Sequence[str], with_identity: bool) -> list[File]:
    """The files that the arguments name, patterns among them expanded.

    Raises:
        InputError: one is not there, cannot be read, or is given twice; or has no identity where one is needed.
    """
    paths: list[str] = []
    for argument in arguments:
        if argument == STDIN or os.path.lexists(argument) or not glob.has_magic(argument):
            paths.append(argument)
            continue
        found = sorted(path for path in glob.glob(argument, recursive=True) if os.path.isfile(path))
        if not found:
            raise InputError(f"{argument}: no file has such a name")
        paths += found
    files = []
    seen = set()
    for path in paths:
        file = File("<stdin>", None, None, None) if path == STDIN else _file(path)
        if with_identity:
            if file.size is None or file.path is None:
                raise InputError(f"{file.name}: a checkpoint needs files, which can be read again from any place")
            identity, prefix = _identity(file.path)
            file = replace(file, identity=identity, id_prefix=prefix)
        key = STDIN if file.path is None else os.path.realpath(file.path)
        if key in seen:
            raise InputError(f"{file.name}: given twice")
        seen.add(key)
        files.append(file)
    return files


def _file(path: str) -> File:
    try:
        if os.path.isdir(path):
            raise InputError(f"{path}: a directory")
        stat = os.stat(path)
        size = stat.st_size if S_ISREG(stat.st_mode) else None
        if size is not None:
            with open(path, "rb"):
                pass
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return File(path, path, size, None)


def _identity(path: str) -> tuple[str, str]:
    """What tells a file from itself when changed; and the same with its path, as ids begin.

    Two copies of one file have different ids, as two files have; a file that was only moved is still the same one.
    """
    with open(path, "rb") as file:
        stat = os.fstat(file.fileno())
        head = file.read(_HEAD_BYTES)
    identity = blake2b(head, digest_size=15)
    identity.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    prefix = identity.copy()
    prefix.update(os.path.realpath(path).encode("utf-8", "surrogateescape"))
    return _base64(identity.digest()), _base64(prefix.digest()[:12])


def _base64(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode()


# --- opening ---------------------------------------------------------------------------------------------------


class _Prepended(io.RawIOBase):
    """A stream some of whose bytes were read already."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._head:
            count = min(len(buffer), len(self._head))
            buffer[:count] = self._head[:count]
            self._head = self._head[count:]
            return count
        return self._rest.readinto(buffer)  # type: ignore[no-any-return]

    def close(self) -> None:
        if not self.closed:
            self._rest.close()
        super().close()


class Stream:
    """What a file holds, uncompressed, for a `with` statement.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        try:
            if file.path is None:
                if sys.stdin is None:
                    raise InputError(f"{file.name}: it is closed")
                self._raw: IO[bytes] = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
            else:
                self._raw = open(file.path, "rb", buffering=0)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InputError(f"{file.name}: {error.strerror}") from error
        try:
            magic = _read_exactly(self._raw, len(_ZSTD_MAGIC))
            for start, kind in _NOT_READ.items():
                if magic.startswith(start):
                    raise InputError(f"{file.name}: {kind}")
            self._is_plain = not magic.startswith((_GZIP_MAGIC, _ZSTD_MAGIC))
            if file.size is not None:
                self._raw.seek(0)
                source: Any = self._raw
            else:
                source = _Prepended(magic, self._raw)
            if not self._is_plain:
                source = (_gunzip if magic.startswith(_GZIP_MAGIC) else _unzstd)(io.BufferedReader(source))
            self.bytes = _buffered(source)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.bytes.close()
        finally:
            self._raw.close()

    @property
    def position(self) -> int:
        """How much of the file was read, as it is stored."""
        return self._raw.tell() if self._file.size is not None else 0

    def skip(self, count: int) -> None:
        """Go on so many bytes further, uncompressed.

        Raises:
            InputError: there are not as many.
        """
        if self._is_plain and self._file.size is not None:
            self.bytes.seek(count, os.SEEK_CUR)
            return
        while count > 0:
            block = self.bytes.read(min(count, _BLOCK_BYTES))
            if not block:
                raise InputError("it is shorter than it was")
            count -= len(block)

    def first_line(self) -> bytes:
        """The first line that is not blank, without BOM, or its beginning if it is long; it will be read again."""
        head = b""
        while block := self.bytes.read1(_BLOCK_BYTES):  # no more than there is: a pipe may wait for us
            head += block
            text = head.removeprefix(_UTF8_BOM).lstrip(_BLANKS)
            if b"\n" in text or len(text) > _MAX_FIRST_LINE_BYTES or text.startswith(b"["):
                break
        self.bytes = _buffered(_Prepended(head, self.bytes))
        return head.removeprefix(_UTF8_BOM).lstrip(_BLANKS).partition(b"\n")[0]


def _buffered(source: Any) -> io.BufferedReader:
    return io.BufferedReader(source, _BLOCK_BYTES)


def _read_exactly(raw: IO[bytes], size: int) -> bytes:
    got = b""
    while len(got) < size and (block := raw.read(size - len(got))):
        got += block
    return got


def _gunzip(source: Any) -> Any:
    try:
        from isal.igzip import IGzipFile
    except ModuleNotFoundError:
        return gzip.GzipFile(fileobj=source)
    return IGzipFile(fileobj=source)  # type: ignore[no-untyped-call]


def _unzstd(source: Any) -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise InputError("zstandard is missing, which reads .zst files: pip install 'opensearch-sigv4[bulk]'") from None
    return _ZstdReader(source, zstandard.ZstdDecompressor())


class _ZstdReader(io.RawIOBase):
    """The frames of a .zst file. zstandard's own reader takes a file that ends within one for complete."""

    def __init__(self, source: Any, decompressor: Any) -> None:
        self._source, self._decompressor = source, decompressor
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            self._input = self._input or self._source.read(_ZSTD_PIECE_BYTES)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a zstd frame")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._output, self._input = memoryview(self._frame.decompress(self._input)), b""
            if self._frame.eof:
                self._input, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


def unreadable_errors() -> tuple[type[Exception], ...]:
    """What reading a broken file raises, of the decompressors that are loaded."""
    types: list[type[Exception]] = [OSError, EOFError, zlib.error, InputError]
    if isal := sys.modules.get("isal.isal_zlib"):
        types.append(isal.error)
    if zstandard := sys.modules.get("zstandard"):
        types.append(zstandard.ZstdError)
    return tuple(types)


# --- what is in a file -----------------------------------------------------------------------------------------


def format_of(file: File, stream: Stream) -> str:
    """What a file holds, by its name if that ends in .csv, else by its first line."""
    if re.search(r"\.csv(\.gz|\.zst)?$", file.name, re.IGNORECASE):
        return "csv"
    first = stream.first_line()
    if first.startswith(b"["):
        return "json"
    return "bulk" if _is_action_line(first) else "ndjson"


def _is_action_line(line: bytes) -> bool:
    """Whether a line is an object with one key, an action's name or `failed`, and an object as its value."""
    try:
        [(name, value)] = loads(line).items()
    except (ValueError, AttributeError, RecursionError):
        return False
    return isinstance(value, dict) and (name in _ACTIONS or (name == FAILED_KEY and "outcome" in value))


def check_format(file: File, file_format: str, shape: Shape) -> None:
    """
    Raises:
        InputError: the options do not go with what is in the file.
    """
    if file_format == "bulk":
        if shape.op or shape.id_field or shape.routing_field:
            raise InputError(
                f"{file.name}: its action lines say what becomes of each document: --op, --id-field and "
                "--routing-field are for documents (--format ndjson if these are)"
            )
    elif shape.index is None:
        raise InputError(f"{file.name}: --index is missing: which index gets the documents?")
    elif shape.op == "update" and not shape.id_field:
        raise InputError("--op update needs --id-field: which document is to be updated?")


def read(file: File, file_format: str, stream: Stream, place: Place, shape: Shape) -> Iterator[Document | Malformed]:
    """The documents of a file from `place` on.

    Raises:
        InputError: the rest of it cannot be read.
        OSError, EOFError, ...: see `unreadable_errors`.
    """
    if place.offset and file_format != "csv":
        stream.skip(place.offset)
    reader = {"ndjson": _read_ndjson, "bulk": _read_bulk, "json": _read_json, "csv": _read_csv}[file_format]
    return reader(file, stream, place, shape)


def _read_ndjson(file: File, stream: Stream, place: Place, shape: Shape) -> Iterator[Document | Malformed]:
    lines_of, repeatable = _lines_of(shape, file)
    check = core.check_json_object
    for raw, start, line in _lines(stream, place):
        text = raw.strip(_BLANKS)
        if text:
            try:
                check(text)
                lines = lines_of(text, start)
            except (ValueError, RecursionError) as error:
                yield Malformed(text, line, 0, start + len(raw), line, _no_object(error))
            else:
                yield Document(lines, line, 0, start + len(raw), line, repeatable)


def _lines(stream: Stream, place: Place) -> Iterator[tuple[bytes, int, int]]:
    """Each line, where it begins, and its number, of a stream that is at this place."""
    offset, line = place.offset, place.line
    readline = stream.bytes.readline
    while raw := readline(MAX_LINE_BYTES):
        line += 1
        if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raise InputError(f"line {line} has more than {MAX_LINE_BYTES:,} bytes")
        if offset == 0 and raw.startswith(_UTF8_BOM):
            offset = len(_UTF8_BOM)
            raw = raw[offset:]
        yield raw, offset, line
        offset += len(raw)


def _read_bulk(file: File, stream: Stream, place: Place, shape: Shape) -> Iterator[Document | Malformed]:
    check = core.check_json_object
    lines = _lines(stream, place)
    broken: Malformed | None = None  # an action that is none, whose source may follow
    for raw, start, line in lines:
        action = raw.strip(_BLANKS)
        end = start + len(raw)
        if not action:
            continue
        try:
            check(action)
            name, metadata = _action(action)
        except (ValueError, RecursionError) as error:
            if broken is not None:
                yield broken._replace(text=broken.text + b"\n" + action, offset=end, lines_before=line)
                broken = None
            else:
                broken = Malformed(action, line, 0, end, line, _no_object(error))
            continue
        if broken is not None:
            yield broken
            broken = None
        if name == FAILED_KEY:
            if "text" in metadata or "base64" in metadata:
                reason = f"malformed before, at {metadata.get('file')}:{metadata.get('line')}: {metadata.get('reason')}"
                yield Malformed(action, line, 0, end, line, reason)
            continue
        source = b""
        last = line
        try:
            if name != "delete":
                raw_source, _, last = next(lines, (b"", end, line))
                end += len(raw_source)
                source = raw_source.strip(_BLANKS)
                if not source:
                    raise Unfit("no document follows this action")
                check(source)
                source += b"\n"
            action = _checked_action(action, name, metadata, shape, file, start)
        except (ValueError, RecursionError) as error:
            yield Malformed(action + b"\n" + source, line, 0, end, last, _no_object(error))
        else:
            repeatable = name == "index" and "_id" in metadata and metadata.keys() <= _UNCONDITIONAL
            yield Document(action + b"\n" + source, line, 0, end, last, repeatable)
    if broken is not None:
        yield broken


def _action(line: bytes) -> tuple[str, dict[str, Any]]:
    """
    Raises:
        Unfit: no action line.
    """
    action = loads(line)
    if len(action) == 1:
        [(name, metadata)] = action.items()
        if (name in _ACTIONS or name == FAILED_KEY) and isinstance(metadata, dict):
            # Every name has a colon behind it: with as many as there are names none can be there twice.
            if name in _ACTIONS and line.count(b":") != 1 + len(metadata):
                json.loads(line, object_pairs_hook=_no_duplicates)
            return name, metadata
    raise Unfit("no action line: one of index, create, update or delete is needed")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Unfit("an action with a name that is there twice")
    return fields


def _checked_action(action: bytes, name: str, metadata: dict[str, Any], shape: Shape, file: File, start: int) -> bytes:
    """The action line, with an id where one is to be added.

    Raises:
        Unfit: what would make OpenSearch refuse the whole request.
    """
    if unknown := metadata.keys() - _METADATA:
        raise Unfit(f"no parameter of an action: {', '.join(sorted(unknown))}")
    if not metadata.get("_index", shape.index):
        raise Unfit("neither the action nor --index names an index")
    identifier = metadata.get("_id")
    if identifier is None:
        if name in ("update", "delete"):
            raise Unfit(f"{name} needs an _id")
        if shape.add_ids:
            metadata["_id"] = f"{file.id_prefix}{start}"
            return dumps({name: metadata})
    elif len(_text_of_id("_id", identifier).encode()) > MAX_ID_BYTES:
        raise Unfit(f"an _id of more than {MAX_ID_BYTES} bytes")
    if ("if_seq_no" in metadata) != ("if_primary_term" in metadata):
        raise Unfit("if_seq_no and if_primary_term go together")
    return action


def _lines_of(shape: Shape, file: File) -> tuple[Callable[[bytes, int], bytes], bool]:
    """The function that makes a document at an offset into its lines, and whether those may be sent again."""
    op = (shape.op or "index").encode()
    before, after = (b'{"doc":', b',"doc_as_upsert":true}\n') if op == b"update" else (b"", b"\n")
    # An `update` made here merges the same fields each time, so it may be executed twice.
    repeatable = op in (b"update", b"index") and bool(shape.add_ids or shape.id_field)
    if shape.id_field or shape.routing_field:

        def with_fields(text: bytes, offset: int) -> bytes:
            document = loads(text)
            metadata = {}
            if shape.id_field:
                metadata["_id"] = _field(document, shape.id_field, text)
                if len(metadata["_id"].encode()) > MAX_ID_BYTES:
                    raise Unfit(f"{shape.id_field}: more than {MAX_ID_BYTES} bytes, which no id may have")
            elif shape.add_ids:
                metadata["_id"] = f"{file.id_prefix}{offset}"
            if shape.routing_field:
                metadata["routing"] = _field(document, shape.routing_field, text)
            return b'{"%b":%b}\n%b%b%b' % (op, dumps(metadata), before, text, after)

        return with_fields, repeatable
    head = b'{"%b":{}}\n%b' % (op, before)
    if not shape.add_ids:
        return lambda text, _: head + text + after, repeatable
    head = b'{"%b":{"_id":"%b' % (op, file.id_prefix.encode())
    return lambda text, offset: b'%b%d"}}\n%b\n' % (head, offset, text), repeatable


def _field(document: dict[str, Any], name: str, text: bytes) -> str:
    """A field's value as text; `a.b` is `b` within `a` unless there is a field of that name.

    Raises:
        Unfit: it is not there, or is neither text nor an integer.
    """
    value = _value(document, name)
    if type(value) is float:  # to orjson an integer of more than 64 bits is one
        value = _value(json.loads(text), name)
    if value is None or value == "":
        raise Unfit(f"it has no field {name}")
    return _text_of_id(name, value)


def _value(document: Any, name: str) -> Any:
    if name in document:
        return document[name]
    for part in name.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(part)
    return document


def _text_of_id(name: str, value: Any) -> str:
    if type(value) not in (str, int):
        raise Unfit(f"{name} must be text or an integer")
    return str(value)


def _no_object(error: Exception) -> str:
    reason = str(error).removeprefix("line: ")
    if isinstance(error, Unfit) or reason.startswith("not a JSON object"):
        return reason
    return f"not a JSON object: {reason}"


# --- a JSON array ----------------------------------------------------------------------------------------------

# All up to the next bracket outside of a string. Possessive, so that nothing is remembered for a step back.
_STRING: Final = rb'"' + all_of(rb'[^"\\]++|\\.') + rb'"'
_TO_BRACKET: Final = re.compile(all_of(rb'[^"{}\[\]]++|' + _STRING) + rb"([{}\[\]])", re.DOTALL)
_SCALAR: Final = re.compile(all_of(rb'[^",\]\s]++|' + _STRING, b"+") + rb"(?=[,\]\s])", re.DOTALL)
_WHITE: Final = re.compile(rb"[ \t\r\n]*+")
_LINE_BREAKS: Final = re.compile(rb"[ \t]*[\r\n]\s*")


class _Window:
    """The part of a stream that is being looked at."""

    def __init__(self, stream: Stream, place: Place) -> None:
        self._stream = stream
        self.data = b""
        self.start = 0  # what lies before was taken
        self._base = place.offset
        self._line, self._counted = place.line, 0

    @property
    def offset(self) -> int:
        return self._base + self.start

    @property
    def line(self) -> int:
        """Line breaks before `start`."""
        self._line += self.data.count(b"\n", self._counted, self.start)
        self._counted = self.start
        return self._line

    def error(self, reason: str) -> InputError:
        return InputError(f"line {self.line + 1}: {reason}")

    def fill(self) -> bool:
        """Read on, forgetting what was taken; False at the end."""
        _ = self.line
        rest = self.data[self.start :]
        if len(rest) > MAX_LINE_BYTES:
            raise self.error(f"an element of more than {MAX_LINE_BYTES} bytes")
        block = self._stream.bytes.read(max(_BLOCK_BYTES, len(rest)))
        self._base += self.start
        self.data, self.start, self._counted = rest + block, 0, 0
        return bool(block)

    def next_byte(self) -> bytes:
        """The next byte that is not blank, which is not taken; empty at the end."""
        while True:
            match = _WHITE.match(self.data, self.start)
            assert match is not None
            self.start = match.end()
            if self.start < len(self.data):
                return self.data[self.start : self.start + 1]
            if not self.fill():
                return b""

    def element(self) -> bytes:
        """Take the value at `start`."""
        at = depth = 0  # after `start`
        pattern = _TO_BRACKET if self.data[self.start] in b"{[" else _SCALAR
        while True:
            match = pattern.match(self.data, self.start + at)
            if match is None:
                if not self.fill():
                    raise self.error("the file ends in the middle of an element")
                continue
            at = match.end() - self.start
            if pattern is _TO_BRACKET:
                depth += 1 if match[1] in b"{[" else -1
            if depth == 0:
                text = self.data[self.start : self.start + at]
                self.start += at
                return text


def _read_json(file: File, stream: Stream, place: Place, shape: Shape) -> Iterator[Document | Malformed]:
    lines_of, repeatable = _lines_of(shape, file)
    check = core.check_json_object
    window = _Window(stream, place)
    element = place.element
    if place.offset == 0:
        window.fill()
        window.start = len(window.data) - len(window.data.removeprefix(_UTF8_BOM))
        found = window.next_byte()
        if not found:
            return
        if found != b"[":
            raise window.error("not a JSON array")
        window.start += 1
        if window.next_byte() == b"]":
            window.start += 1
            _end_of_array(window)
            return
    elif not _after_element(window):
        return
    while True:
        found = window.next_byte()
        start, line = window.offset, window.line + 1
        if not found or found in b",]}:":
            raise window.error("an element is missing" if found else "the file ends in the middle of the array")
        element += 1
        text = window.element()
        try:
            if b"\n" in text or b"\r" in text:
                # A tab is blank where a line break is, and as wrong as that within a string.
                check(text.replace(b"\n", b"\t").replace(b"\r", b"\t"))
                text = _LINE_BREAKS.sub(b"", text)
            else:
                check(text)
            lines = lines_of(text, start)
        except (ValueError, RecursionError) as error:
            yield Malformed(text, line, element, window.offset, window.line, _no_object(error))
        else:
            yield Document(lines, line, element, window.offset, window.line, repeatable)
        if not _after_element(window):
            return


def _after_element(window: _Window) -> bool:
    """Take what stands between two elements; False if it was the last."""
    found = window.next_byte()
    if found == b"]":
        window.start += 1
        _end_of_array(window)
        return False
    if found != b",":
        raise window.error("a comma is missing" if found else "the file ends in the middle of the array")
    window.start += 1
    return True


def _end_of_array(window: _Window) -> None:
    if window.next_byte():
        raise window.error("something follows the array")


# --- CSV -------------------------------------------------------------------------------------------------------


def _read_csv(file: File, stream: Stream, place: Place, shape: Shape) -> Iterator[Document | Malformed]:
    lines_of, repeatable = _lines_of(shape, file)
    csv.field_size_limit(MAX_LINE_BYTES)
    end = Place()
    taken: list[bytes] = []

    def lines() -> Iterator[str]:
        nonlocal end
        for raw, start, line in _lines(stream, end):
            end = Place(0, start + len(raw), line)
            taken.append(raw)
            yield raw.decode("utf-8", "surrogateescape")

    try:
        names = next(csv.reader(lines(), strict=True), [])
    except csv.Error as error:
        raise InputError(f"line 1: no header of CSV: {error}") from error
    if "" in names:
        raise InputError(f"line 1: column {names.index('') + 1} has no name (pandas: to_csv(index=False))")
    if wrong := {name for name in names if names.count(name) > 1}:
        raise InputError(f"line 1: a header has each name once: {', '.join(map(repr, sorted(wrong)))}")
    if place.offset:
        stream.skip(place.offset - end.offset)
        end = place
    rows = csv.reader(lines(), strict=True)
    while True:
        start, line = end.offset, end.line + 1
        taken.clear()
        try:
            row = next(rows)
            if not row:
                continue
            if len(row) != len(names):
                raise Unfit(f"{len(row)} fields, but the header has {len(names)}")
            document = {name: value for name, value in zip(names, row, strict=True) if value}
            lines_ = lines_of(_row(document), start)
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            reason = str(error) if isinstance(error, Unfit) else f"not a row of CSV: {error}"
            yield Malformed(b"".join(taken).rstrip(b"\r\n"), line, 0, end.offset, end.line, reason)
        else:
            yield Document(lines_, line, 0, end.offset, end.line, repeatable)


def _row(document: dict[str, str]) -> bytes:
    try:
        if _orjson is not None:
            return cast(bytes, _orjson.dumps(document))
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise Unfit("not UTF-8") from None


# --- all of it, in portions ------------------------------------------------------------------------------------


@dataclass
class Portion:
    """What is taken at a time: the documents of one request, and what among them cannot be sent.

    Attributes:
        end: where the input goes on.
        body: the documents' lines. Unlike a list of them it need not be copied into one piece.
        ends: where each document's lines end in the body.
        line_numbers: where each document begins.
        elements: which of a JSON array's each document is, else 0.
        files: (position of the first document, file), in order.
        malformed: with their files.
        unreadable: the file that cannot be read further than `end`, and why.
        position: bytes of the input, as stored, up to `end`.
        bytes: of the input in it, uncompressed.
        repeatable: whether all documents are.
    """

    end: Place
    body: io.BytesIO = field(default_factory=io.BytesIO)
    ends: list[int] = field(default_factory=list)
    line_numbers: array[int] = field(default_factory=lambda: array("Q"))
    elements: array[int] = field(default_factory=lambda: array("Q"))
    files: list[tuple[int, File]] = field(default_factory=list)
    malformed: list[tuple[File, Malformed]] = field(default_factory=list)
    unreadable: str | None = None
    position: int = 0
    bytes: int = 0
    repeatable: bool = True

    def origin_of(self, position: int) -> tuple[File, int, int]:
        """File, line and element of a document."""
        file = next(file for first, file in reversed(self.files) if first <= position)
        return file, self.line_numbers[position], self.elements[position]


class Reader:
    """Takes portions of the files, in order.

    Args:
        files: all of them.
        shape: how documents become lines.
        place: where to begin.
        max_documents: in a portion.
    """

    def __init__(self, files: Sequence[File], shape: Shape, place: Place, max_documents: int) -> None:
        self._files, self._shape, self._max_documents = files, shape, max_documents
        self._place = place
        self._position = sum(file.size or 0 for file in files[: place.file])
        self._stream: Stream | None = None
        self._items: Iterator[Document | Malformed] = iter(())
        self._held: Document | None = None

    def take(self, max_bytes: int) -> Portion | None:
        """The next portion, of so many bytes at most, or of one document that is larger; None at the end.

        An exception that interrupts it leaves the reader unusable.
        """
        portion = Portion(self._place)
        while self._place.file < len(self._files):
            file = self._files[self._place.file]
            portion.files.append((len(portion.ends), file))
            offset = self._place.offset
            try:
                if self._stream is None:
                    self._open(file)
                assert self._stream is not None
                is_full = self._fill(portion, file, max_bytes)
                portion.position = self._position + self._stream.position
            except unreadable_errors() as error:
                reason = getattr(error, "strerror", None) or error
                portion.unreadable = f"{file.name}: {reason}; nothing was read from it any further"
                is_full = False
            portion.bytes += self._place.offset - offset
            portion.end = self._place
            if is_full:
                return portion
            self._close(file)
            if portion.unreadable:
                return portion
            portion.end = self._place
        return portion if portion.ends or portion.malformed else None

    def close(self) -> None:
        """Close the file that is open."""
        if self._stream is not None:
            self._stream.__exit__()
            self._stream = None

    def _open(self, file: File) -> None:
        self._stream = Stream(file)
        file_format = file.format or format_of(file, self._stream)
        check_format(file, file_format, self._shape)
        self._items = read(file, file_format, self._stream, self._place, self._shape)

    def _close(self, file: File) -> None:
        self.close()
        self._items, self._held = iter(()), None
        self._position += file.size or 0
        self._place = Place(self._place.file + 1)

    def _fill(self, portion: Portion, file: File, max_bytes: int) -> bool:
        """Take what the file has, as far as there is room; whether there is no more room."""
        write, ends, numbers, elements = portion.body.write, portion.ends, portion.line_numbers, portion.elements
        size = ends[-1] if ends else 0
        max_documents = self._max_documents
        items = self._items if self._held is None else itertools.chain((self._held,), self._items)
        self._held = None
        size_of_malformed = 0
        last: Document | Malformed | None = None
        try:
            for document in items:
                if type(document) is Document:
                    text, line, element, _, _, repeatable = document
                    size += len(text)
                    if size > max_bytes and ends:
                        self._held = document
                        return True
                    write(text)
                    ends.append(size)
                    numbers.append(line)
                    elements.append(element)
                    if not repeatable:
                        portion.repeatable = False
                    last = document
                    if len(ends) == max_documents:
                        return True
                else:
                    assert isinstance(document, Malformed)
                    portion.malformed.append((file, document))
                    last = document
                    size_of_malformed += len(document.text)
                    if len(portion.malformed) == _MAX_MALFORMED or size_of_malformed > max_bytes:
                        return True
            return False
        finally:
            if last is not None:
                self._place = Place(self._place.file, last.offset, last.lines_before, last.element)
