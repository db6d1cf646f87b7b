"""One call of a helper: its arguments, made into what the synchronous and the asynchronous helpers share."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from inspect import iscoroutinefunction
from types import new_class
from typing import Any, Final, TypeVar

from opensearchpy import Transport

from ..endpoint import parse_host
from ._delivery import Policy, Rules
from ._documents import Chunk, Chunker

#: AWS advises bulk requests of 3 to 5 MiB to start with.
DEFAULT_CHUNK_BYTES: Final = 5 * 1024 * 1024
DEFAULT_CHUNK_SIZE: Final = 1000
DEFAULT_MAX_RETRIES: Final = 8
DEFAULT_INITIAL_BACKOFF_S: Final = 0.5
DEFAULT_MAX_BACKOFF_S: Final = 60

E = TypeVar("E", bound=BaseException)


@dataclass
class Call:
    """What one call of a helper works with.

    Attributes:
        chunker: takes the documents, in the caller's thread or task.
        policy: how to send again.
        rules: when to raise.
        send: sends a request, and returns the answer.
    """

    chunker: Chunker
    policy: Policy
    rules: Rules
    send: _OnceOnly

    def fill(self, documents: Iterator[Any]) -> Chunk | None:
        """`Chunker.fill`, with chunks no larger than what the endpoint is known to accept by now."""
        self.chunker.max_chunk_bytes = min(self.chunker.max_chunk_bytes, self.policy.size_limit)
        return self.chunker.fill(documents)

    def next_chunk(self, documents: Iterator[Any]) -> tuple[Chunk | None, bool]:
        """(a full chunk, True), or (what is left, False) when there are no more documents."""
        chunk = self.fill(documents)
        return (self.chunker.rest(), False) if chunk is None else (chunk, True)


def call_of(
    *,
    client: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    chunk_size: int,
    max_chunk_bytes: float,
    raise_on_error: bool,
    expand_action_callback: Callable[[Any], tuple[Any, Any]],
    raise_on_exception: bool,
    max_retries: int,
    initial_backoff: float,
    max_backoff: float,
    ignore_status: Any,
    retry_unknown: bool,
    idempotent: bool,
    is_async: bool = False,
) -> Call:
    """Prepare a call from the arguments of `streaming_bulk`, of which `args` and `kwargs` are for `client.bulk`.

    Raises:
        TypeError: a client of the other kind: `is_async` says which one is needed.
    """
    is_asyncs = iscoroutinefunction(getattr(type(client.transport), "perform_request", None))
    if is_asyncs != is_async and isinstance(client.transport, Transport):
        raise TypeError(f"client: {'an asynchronous' if is_async else 'a synchronous'} one is needed")
    if not isinstance(ignore_status, (list, tuple)):
        ignore_status = (ignore_status,)
    serializer = client.transport.serializer
    limit = _size_limit(client, max_chunk_bytes)
    return Call(
        Chunker(int(chunk_size), limit, serializer, expand_action_callback, add_ids=idempotent),
        Policy(max_retries, initial_backoff, max_backoff, retry_unknown, limit),
        Rules(raise_on_error, raise_on_exception, ignore_status),
        _OnceOnly(client, args, kwargs),
    )


# --- sending once ----------------------------------------------------------------------------------------------
#
# opensearch-py's transport repeats what has no answer, up to three times, whatever was executed; here only the helpers
# repeat. So a request goes through a view of the client, whose transport is a view of the client's: an object of
# another class over the very attributes of the original. Connections, sniffing and what a subclass keeps are the same.


class _Untouched:
    """A serializer and deserializer that changes nothing: bodies are bytes already, and answers are scanned."""

    def dumps(self, data: Any) -> Any:
        _has_passed.set(True)
        return data

    def loads(self, data: Any, mimetype: Any = None) -> Any:
        return data


_UNTOUCHED: Final = _Untouched()
_has_passed: Final = ContextVar("_has_passed", default=False)


class _OnceOnly:
    """`client.bulk` with the caller's arguments for it, sent once, its answer unparsed.

    A client that sends in a way of its own (a wrapper, a patch) is left to it, with a warning if it may repeat.
    """

    def __init__(self, client: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs
        retries = getattr(client.transport, "max_retries", 0)
        self._may_repeat = isinstance(retries, int) and retries > 0
        try:
            _view(client.transport, _transport_view(_class_of(client.transport)))
            self._client = _view(client, _client_view(_class_of(client)))
        except (AttributeError, TypeError):  # of a class whose objects can have no view
            self._client = client

    def __call__(self, body: bytes) -> Any:
        _has_passed.set(False)
        try:
            return self._client.bulk(*self._args, body=body, **self._kwargs)
        finally:
            self._warn()

    async def awaited(self, body: bytes) -> Any:
        """The same for an asynchronous client."""
        _has_passed.set(False)
        try:
            return await self._client.bulk(*self._args, body=body, **self._kwargs)
        finally:
            self._warn()

    def _warn(self) -> None:
        """Warn if the request that was just made did not go through the view."""
        if self._may_repeat and not _has_passed.get():
            self._may_repeat = False
            warnings.warn(
                "this client does not send by its own transport, so its retries apply (max_retries), which may index "
                "documents twice when an answer is lost: give it max_retries=0",
                RuntimeWarning,
                stacklevel=2,
            )


def _class_of(value: Any) -> Any:
    return type(value)  # and not its __class__, with which a mock pretends


def _view(original: Any, view_class: Any) -> Any:
    view: Any = object.__new__(view_class)
    view.__dict__ = original.__dict__
    return view


@lru_cache
def _client_view(base: Any) -> Any:
    def transport(self: Any) -> Any:
        original = _view(self, base).transport
        return _view(original, _transport_view(_class_of(original)))

    return _subclass(base, {"transport": property(transport)})


@lru_cache
def _transport_view(base: Any) -> Any:
    def on_the_original(name: str) -> Callable[..., Any]:
        return lambda self, *args: getattr(_view(self, base), name)(*args)

    # They may sniff, and read an answer of another kind.
    names = [name for name in ("_async_call", "get_connection", "mark_dead") if hasattr(base, name)]
    return _subclass(
        base,
        {
            **{name: on_the_original(name) for name in names},
            "max_retries": property(lambda _: 0),
            "serializer": property(lambda _: _UNTOUCHED),
            "deserializer": property(lambda _: _UNTOUCHED),
        },
    )


def _subclass(base: Any, attributes: dict[str, Any]) -> Any:
    return new_class(base.__name__, (base,), exec_body=lambda namespace: namespace.update(attributes))


def _size_limit(client: Any, max_chunk_bytes: float) -> int:
    """`max_chunk_bytes`, or what the client's endpoint accepts if that is less."""
    endpoints = [parse_host(host.get("host") or "") for host in getattr(client.transport, "hosts", None) or ()]
    return int(min([max_chunk_bytes, sys.maxsize, *(found.max_request_bytes for found in endpoints if found)]))


def naming(error: E, chunk: Chunk) -> E:
    """The exception, with a note that names the documents which it leaves without an outcome."""
    note = f"sending {chunk.name_of(range(len(chunk)))} of the input"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error
