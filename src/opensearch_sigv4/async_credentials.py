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
from weakref import WeakValueDictionary

from ._threads import in_thread
from .core._secrets import clear_frames, cleared_frames
from .credentials import (
    _RETRY_INTERVAL_S,
    CredentialSource,
    Identity,
    Snapshot,
    _Callable,
    _copy_of,
    _is_coroutine_function,
    _name,
    _no_credentials,
    _picklable,
    _read,
    _Reading,
    _Refreshable,
    _refreshes_as,
    _refuse_awaitable,
    _registered,
    _Session,
    _Static,
    identity_of,
    source_of,
)


class _Taken(threading.local):
    snapshot: Snapshot | None = None


def _are_equal(context: Any, other: Any) -> bool:
    try:
        return bool(context == other)
    except Exception:  # of a value that does not compare
        return False


class LoopSource(CredentialSource):
    """Where the credentials come from that an event loop signs with; `loop_source_of` makes one.

    `snapshot = await source.fetch()`, `source.take(snapshot)`, and a signer of this source signs with that one.

    Thread-safety: loops of several threads may share one; what one has to await, such as credentials of aiobotocore's,
    belongs to one loop.
    """

    __slots__ = ("_asking", "_given", "_given_up", "_holders", "_renewing", "_taken")

    def __init__(self, given: Any) -> None:
        self._given = given
        self._asking: dict[asyncio.Future[Snapshot], contextvars.Context | None] = {}
        self._given_up: set[asyncio.Future[Snapshot]] = set()
        self._renewing: dict[Identity, asyncio.Task[bool]] = {}
        self._holders = 0
        self._taken = _Taken()

    def ready(self) -> Snapshot | None:
        return None

    async def fetch(self, ended: asyncio.Future[None] | None = None) -> Snapshot | None:
        """Return what is valid now, without ever blocking the loop; None once `ended` is done.

        Raises: what `CredentialSource.snapshot` raises; RuntimeError, where what asks was cancelled by somebody else.
        """
        with cleared_frames:
            snapshot = self.ready()
        while snapshot is None:
            asking, is_new = self._begin()
            # Not the future itself: one who waits for it may be cancelled, and the others go on waiting.
            futures: list[asyncio.Future[Any]] = [asking] if ended is None else [asking, ended]
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if ended is not None and ended.done():
                return None
            if asking.cancelled():
                if asking in self._given_up:
                    continue  # and here is still somebody who wants to know
                raise RuntimeError("credentials: what fetches them was cancelled")
            error = asking.exception()
            if error is None:
                snapshot = asking.result()
            elif is_new or not isinstance(error, Exception) or (own := _copy_of(error)) is None:
                raise error
            else:
                raise own from error
        return snapshot

    async def refetch(self, refused: Identity) -> bool:
        """Whether `fetch` returns others than these, which the service refused: see `CredentialSource.renew`.

        Raises: what `fetch` raises.
        """
        snapshot = self.ready()
        if snapshot is not None and identity_of(snapshot) != refused:
            return True
        loop = asyncio.get_running_loop()
        renewing = self._renewing.get(refused)
        if renewing is None or renewing.done() or renewing.get_loop() is not loop:
            renewing = self._renewing[refused] = asyncio.create_task(self._renew(refused))
            renewing.add_done_callback(lambda _: self._renewing.pop(refused, None))
        await asyncio.wait([renewing])  # and not the future itself: others wait for it, too
        if renewing.cancelled():
            return False
        error = renewing.exception()
        clear_frames(error)
        if isinstance(error, Exception) and (own := _copy_of(error)) is not None:
            raise own from error
        return renewing.result()

    async def _renew(self, refused: Identity) -> bool:
        snapshot = await self.fetch()
        return snapshot is not None and identity_of(snapshot) != refused

    def take(self, snapshot: Snapshot | None) -> None:
        """Let this be what the next signature in this thread is made with; None takes back what was not used."""
        self._taken.snapshot = snapshot

    def snapshot(self) -> Snapshot:
        """Return what was taken for this signature; where nothing was, ask as any other source, which may block."""
        snapshot, self._taken.snapshot = self._taken.snapshot, None
        return self._blocking() if snapshot is None else snapshot

    def hold(self) -> None:
        """Say that somebody may ask, until `release`."""
        self._holders += 1

    async def release(self) -> None:
        """The opposite; of the last holder it ends the tasks that ask on this loop, if there are any."""
        self._holders -= 1
        if self._holders == 0:
            loop = asyncio.get_running_loop()
            given_up = {asking for asking in list(self._asking) if asking.get_loop() is loop}
            renewing = [task for task in list(self._renewing.values()) if task.get_loop() is loop]
            self._given_up |= given_up
            for asking in given_up:
                asking.cancel()
            for task in renewing:
                task.cancel()
            await asyncio.gather(*given_up, *renewing, return_exceptions=True)
            self._given_up -= given_up

    def _begin(self) -> tuple[asyncio.Future[Snapshot], bool]:
        """The question that is being asked, and whether it was begun just now."""
        loop = asyncio.get_running_loop()
        # What is asked for every request may answer by a context variable, such as the tenant that the request is for.
        context = None if self.keeps else contextvars.copy_context()
        for asking, its_context in list(self._asking.items()):
            if asking.get_loop().is_closed():
                self._asking.pop(asking, None)  # it will never be answered
            elif not asking.done() and asking.get_loop() is loop and _are_equal(its_context, context):
                return asking, False
        asking = self._ask()
        self._asking[asking] = context
        asking.add_done_callback(self._answered)
        return asking, True

    def _answered(self, asking: asyncio.Future[Snapshot]) -> None:
        self._asking.pop(
            asking, None
        )  # with an exception it would hold the frames of those who waited, and their bodies
        if not asking.cancelled():
            # Seen: those who wait raise it, and a refresh in time has logged it. Cleared before they do.
            clear_frames(asking.exception())

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
        awaited: LoopSource | None = _registered(_sources, credentials, _source_that_is_awaited)
        if awaited is not None:
            return awaited
    source = source_of(credentials, profile=profile)
    if isinstance(source, _Reading):
        return _Read(source)
    if isinstance(source, _Callable):
        asked: LoopSource = _registered(_sources, source.original, _source_of_callable)
        return asked
    return _Threaded(source)


_sources: WeakValueDictionary[int, LoopSource] = WeakValueDictionary()


def _source_of_callable(function: Any) -> LoopSource:
    return _Asked(function, function)


def _source_that_is_awaited(credentials: Any) -> LoopSource | None:
    get_frozen_credentials: Any = getattr(credentials, "get_frozen_credentials", None)
    if _is_coroutine_function(get_frozen_credentials):
        return _source_of_awaitable(credentials, get_frozen_credentials)
    get_credentials: Any = getattr(credentials, "get_credentials", None)
    if _is_coroutine_function(get_credentials):
        return _AwaitedSession(credentials, get_credentials)
    return _Asked(credentials, credentials) if _is_coroutine_function(credentials) else None


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

    @property
    def keeps(self) -> bool:  # type: ignore[override]
        return self._source.keeps

    def _ask(self) -> asyncio.Future[Snapshot]:
        return in_thread(self._source.snapshot)

    async def _renew(self, refused: Identity) -> bool:
        return await in_thread(lambda: self._source.renew(refused))

    def _blocking(self) -> Snapshot:
        return self._source.snapshot()

    @property
    def region(self) -> str | None:
        return self._source.region

    def __repr__(self) -> str:
        return repr(self._source).replace("CredentialSource", "LoopSource", 1)

    def __reduce__(self) -> Any:
        return loop_source_of, (self._source,)  # which knows whether it can be pickled


class _Read(LoopSource):
    """Whatever an attribute of another object holds, such as the credentials of a signer that was taken over."""

    __slots__ = ("_found", "_held", "_reading")

    def __init__(self, reading: _Reading) -> None:
        super().__init__(reading.original)
        self._reading = reading
        self._found = _Found(None)
        self._held: list[LoopSource] = []

    def _source(self) -> LoopSource:
        credentials, found = self._given(), self._found
        if found.source is None or found.credentials is not credentials:
            found = _Found(credentials)
            found.source = loop_source_of(credentials)
            self._found = found
        return found.source  # type: ignore[no-any-return]

    @property
    def keeps(self) -> bool:  # type: ignore[override]
        return self._source().keeps

    def ready(self) -> Snapshot | None:
        return self._source().ready()

    async def fetch(self, ended: asyncio.Future[None] | None = None) -> Snapshot | None:
        return await self._source().fetch(ended)

    async def refetch(self, refused: Identity) -> bool:
        return await self._source().refetch(refused)

    def hold(self) -> None:
        self._held.append(self._source())
        self._held[-1].hold()

    async def release(self) -> None:
        await self._held.pop().release()

    def _blocking(self) -> Snapshot:
        return self._reading.snapshot()

    @property
    def region(self) -> str | None:
        return self._reading.region


class _Found:
    """What a function answered, and the source for it. Its `repr`, which asyncio's debug mode prints, tells nothing."""

    __slots__ = ("credentials", "source")

    def __init__(self, credentials: Any) -> None:
        self.credentials = credentials
        self.source: Any = None


class _Asked(LoopSource):
    """What a function answers: asked for every request, one answer being good for all of the same context that wait.

    A coroutine function is called on the loop, any other in a thread, and what it returns is awaited if need be.
    """

    __slots__ = ("_function", "_kept")
    keeps = False

    def __init__(self, given: Any, function: Callable[[], Any]) -> None:
        super().__init__(given)
        self._function = function
        self._kept: _Found | None = None

    def _ask(self) -> asyncio.Future[Snapshot]:
        return asyncio.create_task(self._answer())

    async def _answer(self) -> Snapshot:
        if _is_coroutine_function(self._function):
            found = _Found(await self._function())
        else:
            # The answer's source too: to look at an object may run its code, for which a loop has no time.
            found = await in_thread(lambda: self._adopted(_Found(self._function())))
        while inspect.isawaitable(found.credentials):
            found = _Found(await found.credentials)
        self._kept = self._adopted(found)
        snapshot: Snapshot = await self._kept.source.fetch()
        return snapshot

    async def _renew(self, refused: Identity) -> bool:
        snapshot = await self._answer()
        if identity_of(snapshot) != refused:
            return True
        assert self._kept is not None
        renewed: bool = await self._kept.source.refetch(refused)
        return renewed

    def _adopted(self, found: _Found) -> _Found:
        credentials = found.credentials
        if found.source is not None or inspect.isawaitable(credentials):
            return found
        if self._kept is not None and self._kept.credentials is credentials:
            return self._kept
        if not credentials:
            raise _no_credentials(self)
        found.source = loop_source_of(credentials)
        if isinstance(found.source, _Asked) and found.source._function is credentials:
            raise TypeError(f"credentials: a credentials object is needed, not {_name(credentials)}")
        return found

    def _blocking(self) -> Snapshot:
        return source_of(self._given).snapshot()

    def __reduce__(self) -> Any:
        if self._function is self._given:
            return loop_source_of, (_picklable(self._given),)
        return super().__reduce__()


class _AwaitedSession(_Asked):
    """An aiobotocore session, or what is used like one."""

    __slots__ = ()
    keeps = True

    def ready(self) -> Snapshot | None:
        # aiobotocore's keeps what it found there, as botocore's does.
        kept = self._kept
        if kept is None or getattr(self._given, "_credentials", None) is not kept.credentials:
            return None
        return kept.source.ready()  # type: ignore[no-any-return]

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

    async def _renew(self, refused: Identity) -> bool:
        with suppress(Exception):  # which was logged
            await self._refreshable.refresh_early(refused)
        return await super()._renew(refused)


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

    async def refresh_early(self, refused: Identity) -> None:
        credentials = self._credentials
        refresh: Any = getattr(credentials, "_protected_refresh", None)
        lock: Any = getattr(credentials, "_refresh_lock", None)
        if refresh is None or lock is None or 0 <= self._clock() - self._attempted_at < _RETRY_INTERVAL_S:
            return
        async with lock:
            frozen = credentials._frozen_credentials
            if frozen is not None and (frozen.access_key, frozen.token) != refused:
                return
            try:
                await refresh(is_mandatory=True)
            except Exception as error:
                self._log_failure(error)
                raise
            finally:
                self._attempted_at = self._clock()
