"""How many requests of one call may be in flight: fewer when the domain throttles, and step by step more again."""

from __future__ import annotations

import asyncio
import threading
from collections import deque


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
        return self._in_flight < int(self._limit)

    def begin(self) -> None:
        self._in_flight += 1

    def end(self) -> None:
        self._in_flight -= 1
        self._ended += 1

    def passed(self) -> None:
        """A request was answered."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def throttled(self) -> None:
        """The domain asks for less. What was in flight when it last did says nothing new."""
        if self._ended >= self._ended_before_next_cut:
            self._limit = max(1.0, self._limit / 2)
            self._ended_before_next_cut = self._ended + self._in_flight + 1


class Gate:
    """A `Limit` that is waited for by threads: `with gate:`.

    Thread-safety: for any number of threads.
    """

    def __init__(self, most: int) -> None:
        self._limit = Limit(most)
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._limit.has_room)
            self._limit.begin()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._limit.end()
            self._changed.notify_all()

    def passed(self) -> None:
        with self._changed:
            self._limit.passed()

    def throttled(self) -> None:
        with self._changed:
            self._limit.throttled()


class AsyncGate:
    """A `Limit` that is waited for by the tasks of one event loop: `async with gate:`."""

    def __init__(self, most: int) -> None:
        self._limit = Limit(most)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.passed = self._limit.passed
        self.throttled = self._limit.throttled

    async def __aenter__(self) -> None:
        while not self._limit.has_room:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        self._limit.begin()

    async def __aexit__(self, *_: object) -> None:
        self._limit.end()
        # All of them: whoever finds no room waits again, and no turn is lost to one that was cancelled.
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
