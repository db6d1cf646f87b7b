"""`async_bulk` and `async_streaming_bulk`: opensearch-py's helpers of these names."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, Final

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
from ._gate import AsyncGate

Taken = tuple[Chunk | None, bool]


async def async_bulk(
    client: Any,
    actions: Iterable[Any] | AsyncIterable[Any],
    stats_only: bool = False,
    ignore_status: Any = (),
    *args: Any,
    **kwargs: Any,
) -> tuple[int, Any]:
    """Send documents in `_bulk` requests, and return how many succeeded and what failed.

    opensearch-py's `async_bulk`, with its arguments and results: `bulk` for any `opensearchpy.AsyncOpenSearch`, with
    `actions` iterable or async iterable, and `concurrency` as in `async_streaming_bulk`. For the other arguments, the
    exceptions, and the outcome of each document see `streaming_bulk`.
    """
    given = _STREAMING_BULK.bind(client, actions, *args, ignore_status=ignore_status, **kwargs)
    given.apply_defaults()
    del given.arguments["actions"], given.arguments["yield_ok"]
    concurrency = given.arguments.pop("concurrency")
    call = call_of(**given.arguments, is_async=True)
    succeeded = failed = 0
    errors = []
    async with aclosing(_settled(client, call, actions, concurrency)) as settling:
        async for settled in settling:
            succeeded += settled.succeeded
            for _, item in settled.results(call.rules, yield_ok=False):
                failed += 1
                if not stats_only:
                    errors.append(item)
    return succeeded, failed if stats_only else errors


async def async_streaming_bulk(
    client: Any,
    actions: Iterable[Any] | AsyncIterable[Any],
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
    concurrency: int = 1,
    **kwargs: Any,
) -> AsyncIterator[tuple[bool, Any]]:
    """Send documents in `_bulk` requests, and yield (ok, item) for each, in the order in which they came.

    opensearch-py's `async_streaming_bulk`, with its arguments and results: `streaming_bulk`, which says all of it, for
    any `opensearchpy.AsyncOpenSearch`, with `actions` iterable or async iterable. Documents are prepared in the
    caller's task. `aclose()` waits for the requests in flight; cancelling the task cancels them.

    :arg concurrency: requests in flight at most (default: 1); the client's `pool_maxsize` should not be less. As in
        `parallel_bulk`, fewer are when the domain throttles, and one that raises discards those that were not sent.
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
        is_async=True,
    )
    async with aclosing(_settled(client, call, actions, concurrency)) as settling:
        async for settled in settling:
            for result in settled.results(call.rules, yield_ok):
                yield result


_STREAMING_BULK: Final = inspect.signature(async_streaming_bulk)


async def _settled(
    client: Any, call: Call, actions: Iterable[Any] | AsyncIterable[Any], concurrency: int
) -> AsyncGenerator[Settled, None]:
    """Send the chunks, each while the next one is being filled, and yield their outcomes in the chunks' order."""
    if concurrency < 1:
        raise ValueError("concurrency: at least 1")
    if hasattr(client.transport, "_async_call"):
        # A transport makes its connections in its first call: a copy made before that would make its own.
        await client.transport._async_call()
    taker = _Taker(call, actions)
    closed = asyncio.Event()
    gate = AsyncGate(concurrency, closed)
    call.policy.throttled = gate.throttled
    in_flight: deque[asyncio.Task[Settled]] = deque()
    # As many again wait for the gate: while the first of all waits to be sent again, the others go on.
    most_begun = 1 if concurrency == 1 else 2 * concurrency
    error: Exception | None = None
    has_more = True
    try:
        while has_more or in_flight:
            chunk = None
            if has_more:
                try:
                    taken = await taker.take(in_flight[0] if in_flight else None)
                except Exception as raised:
                    error, has_more = raised, False
                else:
                    if taken is not None:  # else the first in flight has come to its end before the next chunk was full
                        chunk, has_more = taken
            settled = []
            while in_flight and (
                in_flight[0].done() or (len(in_flight) >= most_begun if chunk is not None else not has_more)
            ):
                settled.append(await in_flight[0])
                del in_flight[0]
                if settled[-1].raises(call.rules) or (chunk is None and not has_more):
                    break
            if chunk is not None and not (settled and settled[-1].raises(call.rules)):
                in_flight.append(asyncio.create_task(_send(call, chunk, gate, closed)))
                await asyncio.sleep(0)  # so that it begins before the next chunk is being filled
            for outcome in settled:
                yield outcome
        if error is not None:
            raise error
    except asyncio.CancelledError:
        for task in in_flight:
            task.cancel()
        raise
    finally:
        error = None  # whose traceback holds this frame
        closed.set()
        await asyncio.gather(taker.end(), *in_flight, return_exceptions=True)


class _Taker:
    """Takes the chunks: `Call.next_chunk` for an iterable of either kind.

    An async iterable gets a task of its own, the same for all of it, which its timeouts and context variables rely on.
    """

    def __init__(self, call: Call, actions: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._call = call
        self._documents = None if isinstance(actions, AsyncIterable) else iter(actions)
        self._filling = asyncio.create_task(self._fill(actions)) if isinstance(actions, AsyncIterable) else None
        self._wanted = asyncio.Semaphore(0)
        self._asked: asyncio.Future[Taken] | None = None

    async def take(self, in_flight: asyncio.Task[Settled] | None) -> Taken | None:
        """The next chunk; None where that takes longer than what is in flight, whose outcome somebody may wait for."""
        if self._documents is not None:
            return self._call.next_chunk(self._documents)
        assert self._filling is not None
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._wanted.release()
        futures: list[asyncio.Future[Any]] = [self._asked, self._filling]
        if in_flight is not None:
            futures.append(in_flight)
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if self._asked.done():
            taken, self._asked = self._asked.result(), None
            return taken
        if self._filling.done():
            self._filling.result()  # raises
        return None

    async def _fill(self, actions: AsyncIterable[Any]) -> None:
        await self._wanted.acquire()
        async for document in actions:
            if (chunk := self._call.fill(iter((document,)))) is not None:
                self._hand_over(chunk, has_more=True)
                await self._wanted.acquire()
        self._hand_over(self._call.chunker.rest(), has_more=False)

    def _hand_over(self, chunk: Chunk | None, *, has_more: bool) -> None:
        assert self._asked is not None
        self._asked.set_result((chunk, has_more))

    async def end(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)


async def _send(call: Call, chunk: Chunk, gate: AsyncGate, closed: asyncio.Event) -> Settled:
    """Send a chunk, wait and send again, until each of its documents has an outcome."""
    steps = deliver(chunk, call.policy)
    reply: Reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            compression.forget(asyncio.current_task())
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Send):
            reply = await _reply_to(call, step.body, chunk, gate, closed)
        else:
            reply = None
            with suppress(TimeoutError):
                await asyncio.wait_for(closed.wait(), step.seconds)
                raise asyncio.CancelledError


async def _reply_to(call: Call, body: bytes, chunk: Chunk, gate: AsyncGate, closed: asyncio.Event) -> Reply:
    """Send a body once, when there is room for it; what came back, or the failure of the request."""
    async with gate:
        if closed.is_set():
            raise asyncio.CancelledError
        try:
            reply: Reply = await call.send.awaited(body)
        except TransportError as error:
            return naming(error, chunk)
        except Exception as error:
            raise naming(error, chunk)  # noqa: B904 - the same one
    gate.passed()
    return reply
