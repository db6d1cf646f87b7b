"""`bulk`, `streaming_bulk` and `parallel_bulk`: opensearch-py's helpers of these names."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final
from weakref import WeakSet

from opensearchpy.exceptions import TransportError
from opensearchpy.helpers import expand_action

from .. import compression
from ._call import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_CHUNK_SIZE,
    DEFAULT_INITIAL_BACKOFF_S,
    DEFAULT_MAX_BACKOFF_S,
    DEFAULT_MAX_RETRIES,
    Call,
    call_of,
    naming,
)
from ._delivery import Reply, Send, Settled, deliver
from ._documents import Chunk
from ._gate import Gate


def bulk(
    client: Any, actions: Iterable[Any], stats_only: bool = False, ignore_status: Any = (), *args: Any, **kwargs: Any
) -> tuple[int, Any]:
    """Send documents in `_bulk` requests, and return how many succeeded and what failed.

    opensearch-py's `bulk`, with its arguments and results; see `streaming_bulk` for all others, and for what happens
    when a request fails.

    :arg client: any `opensearchpy.OpenSearch`
    :arg actions: the documents, as dicts with `_index`, `_id`, `_op_type` and so on, or as JSON text
    :arg stats_only: count the failed documents instead of listing them
    :arg ignore_status: statuses that raise nothing

    Returns:
        (number of documents that succeeded, list of the failed items, or their number with `stats_only`)

    Raises:
        BulkIndexError: documents were refused, unless `raise_on_error=False`.
        TransportError: a request failed, unless `raise_on_exception=False`.

    Thread-safety: as the client's.

    >>> from opensearch_sigv4 import connect
    >>> from opensearch_sigv4.testing import LocalDomain
    >>> with LocalDomain() as domain:
    ...     client = connect(domain.url, region=domain.region, credentials=domain.credentials)
    ...     bulk(client, ({"_index": "numbers", "_id": n, "square": n * n} for n in range(2000)))
    (2000, [])
    """
    given = _STREAMING_BULK.bind(client, actions, *args, ignore_status=ignore_status, **kwargs)
    given.apply_defaults()
    del given.arguments["actions"], given.arguments["yield_ok"]
    call = call_of(**given.arguments)
    succeeded = failed = 0
    errors = []
    with closing(_settled(call, actions)) as settling:
        for settled in settling:
            succeeded += settled.succeeded
            for _, item in settled.results(call.rules, yield_ok=False):
                failed += 1
                if not stats_only:
                    errors.append(item)
    return succeeded, failed if stats_only else errors


def streaming_bulk(
    client: Any,
    actions: Iterable[Any],
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    max_chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    raise_on_error: bool = True,
    expand_action_callback: Callable[[Any], tuple[Any, Any]] = expand_action,
    raise_on_exception: bool = True,
    max_retries: int = DEFAULT_MAX_RETRIES,
    initial_backoff: float = DEFAULT_INITIAL_BACKOFF_S,
    max_backoff: float = DEFAULT_MAX_BACKOFF_S,
    yield_ok: bool = True,
    ignore_status: Any = (),
    *args: Any,
    retry_unknown: bool = False,
    idempotent: bool = False,
    **kwargs: Any,
) -> Iterator[tuple[bool, Any]]:
    """Send documents in `_bulk` requests, and yield (ok, item) for each, in the order in which they came.

    opensearch-py's `streaming_bulk`, with its arguments and results. One request is in flight while the next is being
    prepared; `actions` and the callback run in the caller's thread. Closing the generator waits for that request.

    Every document gets one outcome. Only what was certainly not executed is sent again, after a growing delay: where
    no connection was made, where the domain throttles (429, 402), and documents that it refused with 402, 429 or 503.
    A request that is too large (413) is sent in parts. Where the answer was lost (a reset, a timeout, 502, 503, 504)
    only what may be executed twice is sent again: index, create and delete of an id without a version condition. The
    others are `unknown`. Nothing is sent again behind a later action of the same id in its request.

    :arg client: any `opensearchpy.OpenSearch`. Its transport's own retries are not used here; of a wrapper that sends
        in its own way they are, with a RuntimeWarning, unless it has `max_retries=0`
    :arg actions: the documents, as dicts with `_index`, `_id`, `_op_type` and so on, or as JSON text of one line
    :arg chunk_size: documents in a request (default: 1,000)
    :arg max_chunk_bytes: bytes in a request (default: 5 MiB), never more than the endpoint is known to accept
    :arg raise_on_error: raise `BulkIndexError` when documents are refused; the next request is then not sent
    :arg expand_action_callback: makes (action, data) of each document
    :arg raise_on_exception: raise what a request raised, once its other documents have an outcome; else yield its
        documents as failed, with `"unknown": True` where they may have been executed
    :arg max_retries: how often a document is sent again (default: 8); with 0 nothing is, in no form
    :arg initial_backoff: seconds before the first repetition, doubled for each further one (default: 0.5)
    :arg max_backoff: seconds that no delay exceeds (default: 60)
    :arg yield_ok: also yield what succeeded; without it those answers are not even parsed
    :arg ignore_status: statuses that raise nothing
    :arg retry_unknown: also repeat what may then be executed twice
    :arg idempotent: give each document without an id one that orders by time (UUIDv7), so that it may be repeated.
        Serverless time-series and vector collections refuse ids.

    Everything else goes to `client.bulk`: `index`, `refresh`, `pipeline`, `request_timeout` and so on.

    Raises:
        BulkIndexError: see `raise_on_error`.
        TransportError: see `raise_on_exception`.
        SerializationError: a document that is no JSON, NaN and infinity included, by its number.
        ValueError: a document given as text of several lines, or a size below 1.
        TypeError: an asynchronous client.

    Thread-safety: as the client's; one generator belongs to one thread at a time.
    """
    call = call_of(
        client=client,
        args=args,
        kwargs=kwargs,
        chunk_size=chunk_size,
        max_chunk_bytes=max_chunk_bytes,
        raise_on_error=raise_on_error,
        expand_action_callback=expand_action_callback,
        raise_on_exception=raise_on_exception,
        max_retries=max_retries,
        initial_backoff=initial_backoff,
        max_backoff=max_backoff,
        ignore_status=ignore_status,
        retry_unknown=retry_unknown,
        idempotent=idempotent,
    )
    with closing(_settled(call, actions)) as settling:
        for settled in settling:
            yield from settled.results(call.rules, yield_ok)


_STREAMING_BULK: Final = inspect.signature(streaming_bulk)


def parallel_bulk(
    client: Any,
    actions: Iterable[Any],
    thread_count: int = 4,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    max_chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    queue_size: int = 4,
    expand_action_callback: Callable[[Any], tuple[Any, Any]] = expand_action,
    raise_on_exception: bool = True,
    raise_on_error: bool = True,
    ignore_status: Any = (),
    *args: Any,
    max_retries: int = DEFAULT_MAX_RETRIES,
    initial_backoff: float = DEFAULT_INITIAL_BACKOFF_S,
    max_backoff: float = DEFAULT_MAX_BACKOFF_S,
    yield_ok: bool = True,
    retry_unknown: bool = False,
    idempotent: bool = False,
    **kwargs: Any,
) -> Iterator[tuple[bool, Any]]:
    """`streaming_bulk` with several requests in flight; results still come in the order of the documents.

    opensearch-py's `parallel_bulk`, with its arguments and results. `actions` and the callback run in the caller's
    thread. When the domain throttles, fewer requests are in flight, and step by step more again when it does not.
    A request that raises discards those that wait; those in flight are waited for.

    :arg thread_count: requests in flight at most; the client's `pool_maxsize` should not be less
    :arg queue_size: requests that wait, prepared, for a thread

    All other arguments, exceptions and the outcome of each document: see `streaming_bulk`.
    """
    if thread_count < 1:
        raise ValueError("thread_count: at least 1")
    call = call_of(
        client=client,
        args=args,
        kwargs=kwargs,
        chunk_size=chunk_size,
        max_chunk_bytes=max_chunk_bytes,
        raise_on_error=raise_on_error,
        expand_action_callback=expand_action_callback,
        raise_on_exception=raise_on_exception,
        max_retries=max_retries,
        initial_backoff=initial_backoff,
        max_backoff=max_backoff,
        ignore_status=ignore_status,
        retry_unknown=retry_unknown,
        idempotent=idempotent,
    )
    with closing(settled_in_parallel(call, actions, thread_count, max(queue_size, 0))) as settling:
        for settled in settling:
            # All results of a chunk or none, as in opensearch-py.
            yield from list(settled.results(call.rules, yield_ok))


class Sender:
    """Sends chunks, in threads of its own or in the caller's, until it is closed.

    At the interpreter's end no thread can be started or asked any more: the caller's sends then.
    """

    def __init__(self, call: Call, thread_count: int = 1) -> None:
        self._call = call
        self._thread_count = thread_count
        self._threads: ThreadPoolExecutor | None = None
        self._closed = threading.Event()
        self._gate = Gate(thread_count)
        if threading.current_thread() is threading.main_thread():
            _main_threads.add(self)
        call.policy.throttled = self._gate.throttled

    def submit(self, chunk: Chunk) -> Future[Settled]:
        """Send a chunk in a thread."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._thread_count, thread_name_prefix="opensearch-sigv4-bulk")
        try:
            return self._threads.submit(contextvars.copy_context().run, self.send, chunk)
        except RuntimeError:  # the interpreter is ending
            future: Future[Settled] = Future()
            future.set_result(self.send(chunk))
            return future

    @property
    def is_idle(self) -> bool:
        """Whether no thread was needed so far."""
        return self._threads is None

    def send(self, chunk: Chunk) -> Settled:
        """Send a chunk, wait and send again, until each of its documents has an outcome.

        Raises:
            BaseException: what signing raised, or anything else that is no failure of a request; or `_Closed`.
        """
        steps = deliver(chunk, self._call.policy)
        reply: Reply = None
        try:
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                if isinstance(step, Send):
                    reply = self.reply_to(step.body, chunk)
                else:
                    reply = None
                    self.wait(step.seconds)
        finally:
            compression.forget()

    def reply_to(self, body: bytes, chunk: Chunk) -> Reply:
        """Send a body once, when there is room for it; what came back, or the failure of the request."""
        with self._gate:
            if self._closed.is_set():
                raise _Closed
            try:
                reply: Reply = self._call.send(body)
            except TransportError as error:
                return naming(error, chunk)
            except Exception as error:
                raise naming(error, chunk)  # noqa: B904 - the same one
        self._gate.passed()
        return reply

    def wait(self, seconds: float) -> None:
        """Wait before something is sent again."""
        if self._closed.wait(seconds):
            raise _Closed

    def stop(self) -> None:
        """Send nothing more."""
        self._closed.set()
        self._gate.open()

    def close(self) -> None:
        """Send nothing more, and wait for the requests in flight."""
        self.stop()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


# The senders of the main thread. When that has ended, nobody asks a generator of it that was left open any more: its
# threads, for which the interpreter waits, must not go on. Python calls this before it waits for them, and has no
# public way to be asked for it (`atexit` is after it).
_main_threads: Final[WeakSet[Sender]] = WeakSet()


def _stop_all() -> None:
    for sender in list(_main_threads):
        sender.stop()


if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_stop_all)


class _Closed(Exception):  # noqa: N818 - nobody sees it: the helper that waited for the chunk has ended
    """The sender was closed before the chunk had its outcomes."""


def _settled(call: Call, actions: Iterable[Any]) -> Generator[Settled, None, None]:
    """Send the chunks one after the other, each while the next one is being filled."""
    documents = iter(actions)
    sender = Sender(call)
    in_flight: Future[Settled] | None = None
    error: Exception | None = None
    has_more = True
    try:
        while has_more or in_flight is not None:
            chunk = None
            if has_more:
                try:
                    chunk, has_more = call.next_chunk(documents)
                except Exception as raised:
                    error, has_more = raised, False
            settled, in_flight = None if in_flight is None else in_flight.result(), None
            if chunk is not None and (settled is None or not settled.raises(call.rules)):
                if not has_more and sender.is_idle:  # the only one
                    settled = sender.send(chunk)
                else:
                    in_flight = sender.submit(chunk)
            if settled is not None:
                yield settled
        if error is not None:
            raise error
    finally:
        error = None  # whose traceback holds this frame
        sender.close()


def settled_in_parallel(
    call: Call, actions: Iterable[Any], thread_count: int, queue_size: int
) -> Generator[Settled, None, None]:
    """Send the chunks with several threads, and yield their outcomes in the chunks' order."""
    documents = iter(actions)
    sender = Sender(call, thread_count)
    in_flight: deque[Future[Settled]] = deque()
    error: Exception | None = None
    has_more = True
    try:
        while has_more or in_flight:
            if has_more:
                try:
                    chunk, has_more = call.next_chunk(documents)
                except Exception as raised:
                    error, has_more = raised, False
                else:
                    if chunk is not None:
                        in_flight.append(sender.submit(chunk))
            while in_flight and (not has_more or in_flight[0].done() or len(in_flight) >= thread_count + queue_size):
                yield in_flight.popleft().result()
        if error is not None:
            raise error
    finally:
        error = None  # whose traceback holds this frame
        sender.close()
