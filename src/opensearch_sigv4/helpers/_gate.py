"""How many requests of one call may be in flight: fewer when the domain throttles, and step by step more again.

Many processes that index into one domain slow down together by this, though they know nothing of each other: the domain
refuses whoever it is that comes, and each does with its own limit what TCP does with its window. Below one request at a
time the limit is the share of the time in which there is one, and the rest of it are pauses.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

# Of 32 processes on a domain that takes two requests at a time, or twenty a second, some give up after eight refusals
# in a row if the limit ends at one, and none does so with these two: the simulation in tests/test_helpers.py.
_LEAST: Final = 1 / 128
_STEP: Final = 1 / 64  # more after a request that passed, below one at a time
_MAX_PAUSE_S: Final = 10.0


class Limit:
    """Half as many requests when the domain throttles, one more after a round that passed. It only counts."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._in_flight = 0
        self._ended = 0
        self._ended_before_next_cut = 0

    @property
    def has_room(self) -> bool:
        return self._in_flight < max(1, int(self._limit))

    def begin(self) -> None:
        self._in_flight += 1

    def end(self) -> None:
        self._in_flight -= 1
        self._ended += 1

    def passed(self) -> None:
        """A request was answered."""
        self._limit = min(self._most, self._limit + (_STEP if self._limit < 1 else 1 / self._limit))

    def throttled(self) -> None:
        """The domain asks for less. What was in flight when it last did says nothing new."""
        if self._ended >= self._ended_before_next_cut:
            self._limit = max(_LEAST, self._limit / 2)
            self._ended_before_next_cut = self._ended + self._in_flight + 1

    def pause_s(self, took_s: float) -> float:
        """Seconds to wait after a request that took so long; at random, so that many do not come back at once."""
        if self._limit >= 1:
            return 0.0
        pause_s = took_s * (1 / self._limit - 1)
        return min(_MAX_PAUSE_S, pause_s) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret


class Gate:
    """A `Limit` that is waited for by threads: `with gate:`.

    Thread-safety: for any number of threads.
    """

    def __init__(self, most: int) -> None:
        self._limit = Limit(most)
        self._changed = threading.Condition()
        self._began_at = self._next_at = 0.0
        self._is_open = False

    def __enter__(self) -> None:
        with self._changed:
            while not self._limit.has_room or (self._next_at > time.monotonic() and not self._is_open):
                self._changed.wait(max(0.0, self._next_at - time.monotonic()) if self._limit.has_room else None)
            self._limit.begin()
            self._began_at = time.monotonic()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._limit.end()
            now = time.monotonic()
            # With pauses there is one request at a time, and it is the one that began last.
            self._next_at = now + self._limit.pause_s(now - self._began_at)
            self._changed.notify_all()

    def passed(self) -> None:
        with self._changed:
            self._limit.passed()

    def throttled(self) -> None:
        with self._changed:
            self._limit.throttled()

    def open(self) -> None:
        """Pause no more: who waits is to find out that there is nothing more to do."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


class AsyncGate:
    """A `Limit` that is waited for by the tasks of one event loop: `async with gate:`.

    Args:
        most: requests at once.
        closed: once it is set, there are no pauses: who waits is to find out that there is nothing more to do.
    """

    def __init__(self, most: int, closed: asyncio.Event) -> None:
        self._limit = Limit(most)
        self._closed = closed
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began_at = self._next_at = 0.0
        self.passed = self._limit.passed
        self.throttled = self._limit.throttled

    async def __aenter__(self) -> None:
        while True:
            if not self._limit.has_room:
                future = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
                await future
            elif (pause_s := self._next_at - time.monotonic()) > 0 and not self._closed.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), pause_s)
            else:
                break
        self._limit.begin()
        self._began_at = time.monotonic()

    async def __aexit__(self, *_: object) -> None:
        self._limit.end()
        now = time.monotonic()
        self._next_at = now + self._limit.pause_s(now - self._began_at)
        # All of them: whoever finds no room waits again, and no turn is lost to one that was cancelled.
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
