"""Credentials on an event loop: the sources of `credentials.py`, and what has to be awaited, without blocking it.

What may take its time runs in a thread, or is awaited, once for all who wait for it; whoever has something valid to
sign with waits for nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .credentials import (
    _RETRY_INTERVAL_S,
    CredentialSource,
    Snapshot,
    _Callable,
    _copy_of,
    _name,
    _no_credentials,
    _picklable,
    _read,
    _Refreshable,
    _refreshes_as,
    _refuse_awaitable,
    _Session,
    _Static,
    source_of,
)


class _Taken(threading.local):
    snapshot: Snapshot | None = None


class LoopSource(CredentialSource):
    """Where the credentials come from that an event loop signs with; `loop_source_of` makes one.

    `snapshot = await source.fetch()`, `source.take(snapshot)`, and a signer of this source signs with that one.

    Thread-safety: loops of several threads may share one; what one has to await, such as credentials of aiobotocore's,
    belongs to one loop.
    """

    __slots__ = ("_asking", "_given", "_taken")

    def __init__(self, given: Any) -> None:
        self._given = given
        self._asking: asyncio.Future[Snapshot] | None = None
        self._taken = _Taken()

    def ready(self) -> Snapshot | None:
        return None

    async def fetch(self) -> Snapshot:
        """Return what is valid now, without ever blocking the loop.

        Raises: what `CredentialSource.snapshot` raises.
        """
        snapshot = self.ready()
        while snapshot is None:
            asking, is_new = self._begin()
            # Not the future itself: one who waits for it may be cancelled, and the others go on waiting.
            await asyncio.wait([asking])
            if asking.cancelled():  # by `end`, and there is still somebody who wants to know
                continue
            error = asking.exception()
            if error is None:
                snapshot = asking.result()
            else:
                own = _copy_of(error) if not is_new and isinstance(error, Exception) else None
                raise error if own is None else own from error
        return snapshot

    def take(self, snapshot: Snapshot | None) -> None:
        """Let this be what the next signature in this thread is made with; None takes back what was not used."""
        self._taken.snapshot = snapshot

    def snapshot(self) -> Snapshot:
        """Return what was taken for this signature; where nothing was, ask as any other source, which may block."""
        snapshot, self._taken.snapshot = self._taken.snapshot, None
        return self._blocking() if snapshot is None else snapshot

    async def end(self) -> None:
        """End what asks on this loop, if something does."""
        asking = self._asking
        if asking is not None and not asking.done() and asking.get_loop() is asyncio.get_running_loop():
            asking.cancel()
            await asyncio.wait([asking])

    def _begin(self) -> tuple[asyncio.Future[Snapshot], bool]:
        """The question that is being asked, and whether it was begun just now."""
        asking = self._asking
        if asking is not None and not asking.done() and asking.get_loop() is asyncio.get_running_loop():
            return asking, False
        asking = self._asking = self._ask()
        asking.add_done_callback(_retrieve)
        return asking, True

    def _ask(self) -> asyncio.Future[Snapshot]:
        raise NotImplementedError

    def _blocking(self) -> Snapshot:
        _refuse_awaitable(self._given)

    @property
    def original(self) -> Any:
        return self._given

    def __repr__(self) -> str:
        return f"<LoopSource of {_name(self._given)}>"


def loop_source_of(credentials: Any = None, *, profile: str | None = None) -> LoopSource:
    """Return the source, for an event loop, for what a user passes as `credentials=` and `profile=`.

    Args:
        credentials: as for `source_of`; or an aiobotocore session or credentials object; or a callable that is a
            coroutine function, or that returns an awaitable. A `LoopSource` is returned as it is.
        profile: the name of a profile in AWS's configuration files, in place of `credentials`.

    Raises: as `source_of`.

    >>> loop_source_of()
    <LoopSource of botocore's default chain>
    """
    if isinstance(credentials, LoopSource):
        return credentials
    if profile is None and not isinstance(credentials, (type, CredentialSource)):
        get_frozen_credentials: Any = getattr(credentials, "get_frozen_credentials", None)
        if _is_coroutine_function(get_frozen_credentials):
            return _source_of_awaitable(credentials, get_frozen_credentials)
        get_credentials: Any = getattr(credentials, "get_credentials", None)
        if _is_coroutine_function(get_credentials):
            return _AwaitedSession(credentials, get_credentials)
        if _is_coroutine_function(credentials):
            return _Asked(credentials, credentials)
    source = source_of(credentials, profile=profile)
    if isinstance(source, _Callable):
        return _Asked(source.original, source.original)
    return _Threaded(source)


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _source_of_awaitable(credentials: Any, get_frozen_credentials: Callable[[], Any]) -> LoopSource:
    aiobotocore: Any = sys.modules.get("aiobotocore.credentials")
    botocore: Any = sys.modules.get("botocore.credentials")
    kind = type(credentials)
    if kind is getattr(aiobotocore, "AioCredentials", None):
        return _Threaded(_Static(credentials))
    # One that keeps its state elsewhere is asked in public, on every request.
    with suppress(AttributeError):
        if _refreshes_as(kind, aiobotocore.AioDeferredRefreshableCredentials, aiobotocore.AioRefreshableCredentials):
            return _AwaitedRefreshable(credentials, botocore)
    return _Asked(credentials, get_frozen_credentials)


class _Threaded(LoopSource):
    """Any source of `credentials.py`: what it would block for is done in a thread."""

    __slots__ = ("_source",)

    def __init__(self, source: CredentialSource) -> None:
        super().__init__(source.original)
        self._source = source

    def ready(self) -> Snapshot | None:
        kept = self._source.kept
        snapshot: Snapshot | None = None if kept is None else kept.current()
        return self._source.ready() if snapshot is None else snapshot

    def _ask(self) -> asyncio.Future[Snapshot]:
        return _in_thread(self._source.snapshot)

    def _blocking(self) -> Snapshot:
        return self._source.snapshot()

    @property
    def region(self) -> str | None:
        return self._source.region

    def __repr__(self) -> str:
        return repr(self._source).replace("CredentialSource", "LoopSource", 1)

    def __reduce__(self) -> Any:
        return loop_source_of, (self._source,)  # which knows whether it can be pickled


class _Asked(LoopSource):
    """What a function answers, which is asked for every request, one request's answer being good for all that wait.

    A coroutine function is called on the loop, any other in a thread, and what it returns is awaited if need be.
    """

    __slots__ = ("_function", "_kept")

    def __init__(self, given: Any, function: Callable[[], Any]) -> None:
        super().__init__(given)
        self._function = function
        self._kept: tuple[object, LoopSource] | None = None

    def _ask(self) -> asyncio.Future[Snapshot]:
        return asyncio.create_task(self._answer())

    async def _answer(self) -> Snapshot:
        is_awaited = _is_coroutine_function(self._function)
        found = self._function() if is_awaited else await _in_thread(self._function)
        if inspect.isawaitable(found):
            found = await found
        kept = self._kept
        if kept is None or kept[0] is not found:
            if not found:
                raise _no_credentials(self)
            kept = self._kept = found, loop_source_of(found)
            if isinstance(kept[1], _Asked) and not hasattr(found, "get_frozen_credentials"):
                raise TypeError(f"credentials: a credentials object is needed, not {_name(found)}")
        return await kept[1].fetch()

    def _blocking(self) -> Snapshot:
        return source_of(self._given).snapshot()

    def __reduce__(self) -> Any:
        if self._function is self._given:
            return loop_source_of, (_picklable(self._given),)
        return super().__reduce__()


class _AwaitedSession(_Asked):
    """An aiobotocore session, or what is used like one."""

    __slots__ = ()

    def ready(self) -> Snapshot | None:
        # aiobotocore's keeps what it found there, as botocore's does.
        kept = self._kept
        if kept is None or getattr(self._given, "_credentials", None) is not kept[0]:
            return None
        return kept[1].ready()

    @property
    def region(self) -> str | None:
        return _Session(self._given).region


class _AwaitedRefreshable(LoopSource):
    """aiobotocore's AioRefreshableCredentials: refreshed by a task while requests go on, in botocore's own windows."""

    __slots__ = ("_refreshable",)

    def __init__(self, credentials: Any, botocore: Any) -> None:
        super().__init__(credentials)
        self._refreshable = _LoopRefreshable(credentials, botocore)

    def ready(self) -> Snapshot | None:
        snapshot, is_due = self._refreshable.valid()
        if is_due and snapshot is not None:
            self._begin()
        return snapshot

    def _ask(self) -> asyncio.Future[Snapshot]:
        return asyncio.create_task(self._refreshable.refresh())


class _LoopRefreshable(_Refreshable):
    """The same attributes under the same names; only their refreshing has to be awaited."""

    __slots__ = ()

    def valid(self) -> tuple[Snapshot | None, bool]:
        """What is valid now, if anything is, and whether it should be refreshed."""
        snapshot = self.kept.current()
        if snapshot is not None:
            return snapshot, False
        # aiobotocore sets all of a generation in one go, so what is read between two steps of the loop is whole.
        generation, now = self._read_generation(), self._clock()
        is_due = now >= generation.refresh_at and not 0 <= now - self._attempted_at < _RETRY_INTERVAL_S
        return generation.snapshot if now < generation.expires_at else None, is_due

    async def refresh(self) -> Snapshot:
        try:
            frozen = await self._credentials.get_frozen_credentials()
        except Exception as error:
            self._log_failure(error)
            raise
        finally:
            self._attempted_at = self._clock()
        return self._settle(_read(frozen))


def _in_thread(function: Callable[[], Any]) -> asyncio.Future[Any]:
    """What a function returns, called in a thread of its own: for that of a pool the interpreter's exit would wait."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        outcome: Any = None
        error: BaseException | None = None
        try:
            outcome = context.run(function)
        except StopIteration as stop:  # which no future can hold
            error = RuntimeError("credentials: a callable raised StopIteration")
            error.__cause__ = stop
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(_settle, future, outcome, error)

    threading.Thread(target=run, name="opensearch-sigv4-credentials", daemon=True).start()
    return future


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)


def _retrieve(asking: asyncio.Future[Any]) -> None:
    """Let asyncio know that the exception was seen: those who wait raise it, and a refresh in time has logged it."""
    if not asking.cancelled():
        asking.exception()
