"""gzip for request bodies: which engine, which requests, and what a repeated request need not compress again.

Size against opensearch-py's gzip level 9, and megabytes a second of one core (AMD EPYC, Python 3.11; isal 1.9.1,
zlib-ng 1.1.0, zlib 1.2.13), on the 20,000 documents of 0.58 KB in `debian-packages.ndjson.gz` as bulk bodies of 1,000;
bodies of 500 or of 5 MiB differ by less than 0.4 % of it. Marked: each engine's default.

| level | isal           | zlib-ng         | zlib           |
|------:|---------------:|----------------:|---------------:|
| 0     |   +35.1 %  571 |                 |                |
| 1     |   +16.8 %  545 |    +49.3 %  315 |   +21.7 %  125 |
| 2     | * +14.7 %  515 |    +13.7 %  183 |   +17.2 %  117 |
| 3     |   +11.0 %  272 |     +7.4 %  149 |   +13.9 %  100 |
| 4     |                |     +3.7 %  125 |    +7.8 %   81 |
| 5     |                |   * +0.9 %  114 |  * +3.3 %   64 |
| 6     |                |     +0.1 %   96 |    +1.5 %   48 |
| 7     |                |     -1.0 %   73 |    +1.0 %   40 |
| 8     |                |     -1.2 %   67 |    +0.1 %   26 |
| 9     |                |     +2.0 %   51 |     0.0 %   26 |
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NamedTuple
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from .core import body_buffer

# A failure after which opensearch-py's Transport repeats a request by default: a connection error ("N/A"), a timeout, a
# status of a gateway; and 429, which programs add to its `retry_on_status`.
REPEATED_STATUSES: Final = frozenset({"N/A", "TIMEOUT", 429, 502, 503, 504})

_GZIP_WBITS: Final = 31  # zlib's way to ask for gzip's header and trailer, with the largest window


class _Engine(NamedTuple):
    module: str
    levels: range
    default_level: int
    distribution: str | None  # what to install; None is Python's own


_ENGINES: Final = {
    "isal": _Engine("isal.igzip_lib", range(4), 2, "isal"),
    "zlib-ng": _Engine("zlib_ng.zlib_ng", range(10), 5, "zlib-ng"),
    "zlib": _Engine("zlib", range(10), 5, None),
}


class Compressor:
    """One gzip engine at one level.

    Args:
        engine: `isal`, `zlib-ng` or `zlib`; None is the first of them that is installed (`best_engine`).
        level: one of the engine's own: 0 to 3 of isal, 0 to 9 of the others; None is the engine's default here.

    Raises:
        ValueError: an engine of another name, or a level that the engine has not.
        ImportError: the engine is not installed; the message names the pip command.

    Thread-safety: one compressor may serve any number of threads; the engines release the GIL while they compress.

    >>> import gzip
    >>> compressor = Compressor("zlib", 6)
    >>> gzip.decompress(compressor.compress(b'{"index":{}}'))
    b'{"index":{}}'
    """

    __slots__ = ("_compress", "engine", "level")

    def __init__(self, engine: str | None = None, level: int | None = None) -> None:
        self.engine: Final = best_engine() if engine is None else engine
        known = _engine_called(self.engine)
        self.level: Final = known.default_level if level is None else level
        if not isinstance(self.level, int) or self.level not in known.levels:
            raise ValueError(
                f"http_compress_level: {self.engine} has the levels {known.levels[0]} to {known.levels[-1]}, "
                f"not {level!r}"
            )
        self._compress: Final = _loaded(self.engine)

    def compress(self, body: object) -> bytes:
        """The body, str (UTF-8) or bytes-like, as one gzip member: the same bytes every time, with no time in them."""
        return self._compress(body_buffer(body), self.level)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Compressor):
            return NotImplemented
        return (self.engine, self.level) == (other.engine, other.level)

    def __hash__(self) -> int:
        return hash((self.engine, self.level))

    def __repr__(self) -> str:
        return f"Compressor({self.engine!r}, {self.level})"


def best_engine() -> str:
    """The name of the first engine that is installed, of `isal`, `zlib-ng` and `zlib`, which always is: the fastest."""
    for name in ("isal", "zlib-ng"):
        try:
            import_module(_ENGINES[name].module)
        except ImportError:
            continue
        return name
    return "zlib"


def _engine_called(name: str) -> _Engine:
    try:
        return _ENGINES[name]
    except (KeyError, TypeError):
        raise ValueError(f"http_compress_engine: one of {', '.join(_ENGINES)} is needed, not {name!r}") from None


def _loaded(name: str) -> Callable[[Any, int], bytes]:
    engine = _ENGINES[name]
    try:
        module: Any = import_module(engine.module)
    except ImportError as error:
        raise ImportError(
            f"http_compress_engine: {name} is not installed: pip install {engine.distribution}", name=error.name
        ) from None
    if name == "isal":
        # Its larger buffers make the blocks, each with Huffman codes of its own, neither smaller nor faster here.
        return lambda body, level: module.compress(body, level, module.COMP_GZIP)
    return lambda body, level: module.compress(body, level, _GZIP_WBITS)


# --- which requests ----------------------------------------------------------------------------------------


def refuses_gzip(method: str, path: str) -> bool:
    """Whether Amazon OpenSearch Service refuses a compressed body there, whatever its settings say.

    Those are `_cluster/settings`, the registration of a snapshot repository (`PUT` or `POST _snapshot/REPOSITORY`), and
    the restoration of a snapshot (`_snapshot/REPOSITORY/SNAPSHOT/_restore`): the service reads their bodies itself.

    Args:
        method: of the request, in any case.
        path: the API's, without a client's `url_prefix`, with or without a query.

    Source: OpenSearch Service Developer Guide, "Compressing HTTP requests" for `_cluster/settings`; for the
    snapshots, which it does not name, opensearch-net#124 (registration) and opensearch-py#507 (restoration).

    >>> refuses_gzip("PUT", "/_cluster/settings?flat_settings=true")
    True
    >>> refuses_gzip("PUT", "/_snapshot/backups/monday")
    False
    """
    match [unquote(segment) for segment in path.partition("?")[0].split("/") if segment]:
        case ["_cluster", "settings"] | ["_snapshot", _, _, "_restore"]:
            return True
        case ["_snapshot", _]:
            return method.upper() in ("PUT", "POST")
    return False


# --- what a repeated request need not do again ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """A body as it was sent, kept with the object that it was made of, for as long as the request may be repeated."""

    body: bytes | str
    compressor: Compressor | None
    wire: bytes | memoryview
    payload_hash: str | None


class _Slot(threading.local):
    prepared: Prepared | None = None


# opensearch-py repeats a request in the thread or task that made it, with the same body object, on any node's
# connection. What is kept cannot change, so a fork leaves nothing to reset.
_slot = _Slot()
_slots_of_tasks: WeakKeyDictionary[Any, Prepared] = WeakKeyDictionary()


def take(body: object, compressor: Compressor | None, task: object = None) -> Prepared | None:
    """What the last request left, if it is of this very object and for this compressor.

    The slot is empty afterwards in any case: whoever takes puts it back with `keep` once this request has failed too.

    Args:
        body: as opensearch-py passed it.
        compressor: what is to compress it now, if anything is.
        task: the asyncio task that sends; None is this thread. So for all functions here.
    """
    prepared = _slot.prepared if task is None else _slots_of_tasks.get(task)
    if prepared is None:
        return None
    forget(task)
    # By identity: comparing would cost what it saves. The object is held, so no other one can stand at its address.
    return prepared if prepared.body is body and prepared.compressor == compressor else None


def keep(
    body: object,
    compressor: Compressor | None,
    wire: bytes | memoryview,
    payload_hash: str | None,
    task: object = None,
) -> None:
    """Keep what was sent of a body that the transport may send again; nothing of one that may change until then."""
    if body and (type(body) is bytes or type(body) is str):
        prepared = Prepared(body, compressor, wire, payload_hash)
        if task is None:
            _slot.prepared = prepared
        else:
            _slots_of_tasks[task] = prepared


def forget(task: object = None) -> None:
    """Drop what the last request left.

    A connection cannot see which failure is the last one that opensearch-py's Transport tolerates. What that one leaves
    is held until the next request of the thread or task, on whatever connection, until it closes a connection, or until
    it ends; who holds the transport's last word, as the bulk helpers do, calls this.
    """
    if task is None:
        _slot.prepared = None
    else:
        _slots_of_tasks.pop(task, None)
