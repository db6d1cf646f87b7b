"""One call of a helper: its arguments, made into what the synchronous and the asynchronous helpers share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

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
        send: `client.bulk` of the client's copy, with the caller's arguments for it; coroutine or not.
    """

    chunker: Chunker
    policy: Policy
    rules: Rules
    send: Callable[[bytes], Any]

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
    max_chunk_bytes: int,
    raise_on_error: bool,
    expand_action_callback: Callable[[Any], tuple[Any, Any]],
    raise_on_exception: bool,
    max_retries: int,
    initial_backoff: float,
    max_backoff: float,
    ignore_status: Any,
    retry_unknown: bool,
    idempotent: bool,
) -> Call:
    """Prepare a call from the arguments of `streaming_bulk`, of which `args` and `kwargs` are for `client.bulk`."""
    if not isinstance(ignore_status, (list, tuple)):
        ignore_status = (ignore_status,)
    serializer = client.transport.serializer

    def send(body: bytes) -> Any:
        return _sending_once(client).bulk(*args, body=body, **kwargs)

    return Call(
        Chunker(chunk_size, max_chunk_bytes, serializer, expand_action_callback, add_ids=idempotent),
        Policy(max_retries, initial_backoff, max_backoff, retry_unknown, _size_limit(client, max_chunk_bytes)),
        Rules(raise_on_error, raise_on_exception, ignore_status),
        send,
    )


def _sending_once(client: Any) -> Any:
    """A copy of the client that shares its connections, sends each request once, and returns the answer unparsed.

    opensearch-py's transport repeats what has no answer, up to three times, whatever was executed: here only the
    helpers repeat. Which connection is taken, and which is dead, stays the original transport's.
    """
    original = client.transport
    transport = copy.copy(original)
    transport.max_retries = 0
    transport.serializer = transport.deserializer = _UNTOUCHED
    transport.get_connection = original.get_connection
    transport.mark_dead = original.mark_dead
    client = copy.copy(client)
    client.transport = transport
    return client


class _Untouched:
    """A serializer and deserializer that changes nothing: bodies are bytes already, answers are scanned."""

    def dumps(self, data: Any) -> Any:
        return data

    def loads(self, data: Any, mimetype: Any = None) -> Any:
        return data


_UNTOUCHED: Final = _Untouched()


def _size_limit(client: Any, max_chunk_bytes: int) -> int:
    """`max_chunk_bytes`, or what the client's endpoint accepts if that is less."""
    endpoints = [parse_host(host.get("host") or "") for host in getattr(client.transport, "hosts", None) or ()]
    return min([max_chunk_bytes, *(endpoint.max_request_bytes for endpoint in endpoints if endpoint)])


def naming(error: E, chunk: Chunk) -> E:
    """The exception, with a note that names the documents which it leaves without an outcome."""
    error.add_note(f"sending {chunk.name_of(range(len(chunk)))} of the input")
    return error
