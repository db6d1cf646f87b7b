"""What an event loop has done elsewhere: waiting in a thread of its own, computing in one of a few workers."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

_MAX_WORKERS: Final = 4


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """What a function returns that may take any time: for a thread of a pool the interpreter's exit would wait."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        outcome: Any = None
        error: BaseException | None = None
        try:
            outcome = context.run(function)
        except (StopIteration, asyncio.CancelledError) as raised:  # no future holds the one, the other would cancel it
            error = RuntimeError(f"a function that was called in a thread raised {type(raised).__name__}")
            error.__cause__ = raised
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            # Not as arguments, which asyncio's debug mode prints: they may be secret.
            loop.call_soon_threadsafe(lambda: _settle(future, outcome, error))

    threading.Thread(target=run, name="opensearch-sigv4-credentials", daemon=True).start()
    return future


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)


_workers: ThreadPoolExecutor | None = None


def _forget_workers() -> None:
    global _workers  # noqa: PLW0603 - a fork's child has none of the threads
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


async def in_worker(function: Callable[[], T]) -> T:
    """What a function returns that computes: not in the loop's own pool, which a program may fill with what waits."""
    global _workers  # noqa: PLW0603
    if _workers is None:
        count = min(os.cpu_count() or 1, _MAX_WORKERS)
        _workers = ThreadPoolExecutor(count, thread_name_prefix="opensearch-sigv4-worker")
    try:
        running = _workers.submit(function)
    except RuntimeError:  # the interpreter is ending
        return function()
    return await asyncio.wrap_future(running)
