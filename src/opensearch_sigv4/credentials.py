"""Where credentials come from: one source per session, profile or object, one snapshot per request.

A source adapts what the user passed. `snapshot()` may block while credentials are fetched; `ready()` never does.
botocore is imported when its default chain is first asked, or to raise its exceptions, and not before.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import math
import os
import pickle
import re
import sys
import threading
import time
from collections.abc import Callable
from types import MemberDescriptorType, SimpleNamespace
from typing import Any, NamedTuple, NoReturn
from weakref import WeakValueDictionary

from . import core
from .core._secrets import clear_frames

_log = logging.getLogger(__name__)

# botocore's windows, for an object that does not carry its own: refresh behind the callers' backs, then before them.
_ADVISORY_WINDOW_S = 15 * 60
_MANDATORY_WINDOW_S = 10 * 60
# After an attempt that left a refresh due, the credentials at hand are used for this long before the next one.
_RETRY_INTERVAL_S = 10

# Not monotonic: a Lambda that was frozen wakes up with a monotonic clock that stood still.
_wall_clock = time.time

# Nothing that could end a header early, and nothing that UTF-8 cannot hold.
_REFUSED = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Snapshot(NamedTuple):
    """One generation of credentials, read as a whole. `repr` and `str` hide what is secret.

    >>> Snapshot("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
    Snapshot(access_key='...MPLE', secret_key='REDACTED', token=None)
    """

    access_key: str
    secret_key: str
    token: str | None

    @property
    def key_end(self) -> str:
        """The end of the access key, by which its owner knows it."""
        return f"...{self.access_key[-4:]}" if len(self.access_key) > 8 else "..."

    def __repr__(self) -> str:
        token = "None" if self.token is None else "'REDACTED'"
        return f"Snapshot(access_key={self.key_end!r}, secret_key='REDACTED', token={token})"


Identity = tuple[str, str | None]


def identity_of(snapshot: Snapshot) -> Identity:
    """What a request shows of its credentials: access key and session token."""
    return snapshot.access_key, snapshot.token


class CredentialSource:
    """Where a signer's credentials come from; `source_of` makes one.

    Thread-safety: any number of threads at once. Copies are the same source. A fork's child may go on using it.
    """

    __slots__ = ("__weakref__",)

    #: What tells at no cost whether the latest snapshot is still the current one; None where that takes asking.
    kept: core.Kept | None = None
    #: Whether `ready()` can ever answer: False for what has to be asked, and may take its time, on every request.
    keeps = True

    def snapshot(self) -> Snapshot:
        """Return the current credentials: the very same object as long as they do not change.

        Blocks while credentials are fetched for the first time, while a refresh runs that cannot wait, and for as
        long as an object or callable of the user's takes to answer.

        Raises:
            botocore.exceptions.NoCredentialsError: there are none.
            TypeError: what a callable or session returned is not a credentials object.
            ValueError: an access_key, secret_key or token that cannot be signed with. No message holds a value.
            Exception: what a failed refresh raised, as it is, once the credentials have expired.
        """
        raise NotImplementedError

    def ready(self) -> Snapshot | None:
        """Return what `snapshot()` would, or None if only blocking could tell. Starts a refresh that is due."""
        raise NotImplementedError

    def renew(self, refused: Identity) -> bool:
        """Whether `snapshot()` returns others than these, which the service refused, now or after a refresh.

        What can be refreshed is, even far from the expiry that it knows of; what was read from files is read again;
        what is asked anyway is asked. Blocks for as long as that takes, once for all threads.

        Raises:
            Exception: what `snapshot` raises; what a refresh raises is logged, and the answer is no.
        """
        return identity_of(self.snapshot()) != refused

    @property
    def region(self) -> str | None:
        """The region of the session; else AWS_REGION, AWS_DEFAULT_REGION, the profile's; else None. May read files."""
        return _region_of_environment() or _default(None).region

    @property
    def original(self) -> Any:
        """What the user passed; None for the default chain and for a profile."""
        return None

    def __copy__(self) -> CredentialSource:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CredentialSource:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"credentials: {_name(self.original)} cannot be pickled, as it belongs to this process; pass None, "
            "profile=, static credentials or a callable that can be pickled"
        )

    def _after_fork(self) -> None:
        """Forget, in a fork's child, the threads that stayed behind and the locks they held."""


def source_of(credentials: object = None, *, profile: str | None = None) -> CredentialSource:
    """Return the source for what a user passes as `credentials=` and `profile=`.

    Args:
        credentials: None for botocore's default chain; a botocore or boto3 session; a botocore credentials object of
            any kind; anything with `access_key`, `secret_key` and, optionally, `token`; a callable that returns a
            credentials object; or a `CredentialSource`, which is returned as it is.
        profile: the name of a profile in AWS's configuration files, in place of `credentials`.

    Raises:
        TypeError: anything else, and what only an event loop could await.
        ValueError: both arguments, or an empty profile.

    Thread-safety: any number of threads; the same session, object or profile has one source in a process.

    >>> source_of() is source_of(None)
    True
    """
    if profile is not None:
        if credentials is not None:
            raise ValueError("credentials and profile: pass one of the two, not both")
        if not isinstance(profile, str):
            raise TypeError(f"profile: str is needed, not {type(profile).__name__}")
        if not profile:
            raise ValueError("profile: it cannot be empty")
        return _default(profile)
    if credentials is None:
        return _default(None)
    if isinstance(credentials, CredentialSource):
        return credentials
    source: CredentialSource = _registered(_sources, credentials, _source_of_any)
    return source


def source_reading(read: Callable[[], Any]) -> CredentialSource:
    """Return the source for a function that does no more than read an attribute that holds a credentials object."""
    return _Reading(read)


# One source per default chain and profile, and one per object. The latter live as long as somebody holds them, and
# hold their object, so that an id in here is never one that was given to a second object.
_registry_lock = threading.RLock()
_defaults: dict[str | None, _Default] = {}
_sources: WeakValueDictionary[int, CredentialSource] = WeakValueDictionary()


def _default(profile: str | None) -> CredentialSource:
    with _registry_lock:
        source = _defaults.get(profile)
        if source is None:
            source = _defaults[profile] = _Default(profile)
        return source


def _registered(sources: WeakValueDictionary[int, Any], credentials: object, make: Callable[[Any], Any]) -> Any:
    """The source in `sources` for this very object, else one that is made; None where `make` makes none."""
    with _registry_lock:
        source = sources.get(id(credentials))
        if source is None or source.original is not credentials:
            source = make(credentials)
            if source is not None:
                sources[id(credentials)] = source
        return source


def _after_fork_in_child() -> None:
    global _registry_lock  # noqa: PLW0603 - the lock may be held by a thread that does not exist here
    _registry_lock = threading.RLock()
    for source in (*_defaults.values(), *_sources.values()):
        source._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _source_of_any(credentials: Any) -> CredentialSource:
    source = _source_of_credentials(credentials)
    if source is not None:
        return source
    if not isinstance(credentials, type):
        get_credentials = getattr(credentials, "get_credentials", None)
        if callable(get_credentials):
            _refuse_coroutine_function(credentials, get_credentials)
            return _Session(credentials)
    if callable(credentials):
        _refuse_coroutine_function(credentials, credentials)
        return _Callable(credentials)
    return _refuse(credentials)


def _source_of_credentials(credentials: Any) -> CredentialSource | None:
    """The source for a credentials object, None for any other object."""
    if inspect.isawaitable(credentials):
        _refuse_awaitable(credentials, credentials)
    if isinstance(credentials, type):
        return None
    kind = type(credentials)
    fields = set(getattr(kind, "_fields", ())) if kind.__bases__ == (tuple,) else set()
    if {"access_key", "secret_key"} <= fields and not hasattr(kind, "get_frozen_credentials"):
        return _Immutable(credentials)
    botocore: Any = sys.modules.get("botocore.credentials")
    if hasattr(botocore, "DeferredRefreshableCredentials"):  # else another thread has only begun to import it
        if kind is botocore.Credentials:
            return _Static(credentials)
        if _refreshes_as(kind, botocore.DeferredRefreshableCredentials, botocore.RefreshableCredentials):
            # A botocore that keeps its state elsewhere is asked in public, on every request.
            with contextlib.suppress(AttributeError):
                return _Refreshable(credentials, botocore)
    get_frozen_credentials = getattr(credentials, "get_frozen_credentials", None)
    if callable(get_frozen_credentials):
        _refuse_coroutine_function(credentials, get_frozen_credentials)
        return _Unknown(credentials)
    if _has(credentials, "access_key") and _has(credentials, "secret_key"):
        return _Unknown(credentials)
    return None


# What a subclass of RefreshableCredentials may not change if its private attributes are to mean what botocore's do.
_REFRESH_ATTRIBUTES = (
    *("__getattribute__", "__getattr__", "get_frozen_credentials", "refresh_needed", "_refresh", "_seconds_remaining"),
    *("_time_fetcher", "_frozen_credentials", "_expiry_time"),
)


def _refreshes_as(kind: type, *known_kinds: type) -> bool:
    """Whether a class of credentials refreshes as the first of these that it descends from."""
    for known in known_kinds:
        if issubclass(kind, known):
            return all(getattr(kind, name, None) is getattr(known, name, None) for name in _REFRESH_ATTRIBUTES)
    return False


def _has(credentials: object, name: str) -> bool:
    # The static look-up runs no property, which might fetch something; the other finds what __getattr__ makes up.
    return inspect.getattr_static(credentials, name, None) is not None or hasattr(credentials, name)


def _is_coroutine_function(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _refuse_coroutine_function(credentials: object, function: object) -> None:
    if _is_coroutine_function(function):
        _refuse_awaitable(credentials)


def _refuse_awaitable(credentials: object, awaitable: object = None) -> NoReturn:
    if inspect.iscoroutine(awaitable):
        awaitable.close()  # It will never be awaited, and need not warn about that.
    raise TypeError(
        f"credentials: {_name(credentials)} has to be awaited, and an awaitable source cannot serve a synchronous "
        "signer; pass a synchronous session, credentials object or callable"
    )


def _refuse(credentials: object) -> NoReturn:
    hint = "; a profile is passed as profile=" if isinstance(credentials, str) else ""
    raise TypeError(
        "credentials: None, a session, a credentials object or a callable that returns one is needed, not "
        f"{_name(credentials)}{hint}"
    )


def _name(thing: object) -> str:
    return f"an object of type {type(thing).__name__}"


def _no_credentials(source: CredentialSource) -> Exception:
    from botocore.exceptions import NoCredentialsError

    error: Exception = NoCredentialsError()
    error.add_note(
        f"{source!r} found none. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, configure a profile (aws configure, "
        "aws sso login), give the instance, task or function a role, or pass credentials= or profile=."
    )
    return error


def _region_of_environment() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def _checked(access_key: object, secret_key: object, token: object) -> Snapshot:
    return Snapshot(
        _checked_value("access_key", access_key),
        _checked_value("secret_key", secret_key),
        None if token is None or token == "" else _checked_value("token", token),
    )


def _checked_value(attribute: str, value: object) -> str:
    if value is None or value == "":
        raise ValueError(f"credentials: {attribute} is missing or empty")
    if not isinstance(value, str):
        raise ValueError(f"credentials: {attribute} must be a str, not {type(value).__name__}")
    if _REFUSED.search(value) is not None:
        raise ValueError(f"credentials: {attribute} holds a control character or a lone surrogate")
    return str.__str__(value)


class _Flight:
    """One fetch, and its outcome for all threads that wanted it meanwhile."""

    __slots__ = ("done", "error", "outcome", "thread_id")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.thread_id = threading.get_ident()
        self.outcome: Any = None
        self.error: Exception | None = None

    def wait(self) -> Any:
        """Return the outcome, raise a copy of the error, or return None if its thread was interrupted."""
        self.done.wait()
        if self.error is None:
            return self.outcome
        own = _copy_of(self.error)
        if own is None:
            raise self.error
        raise own from self.error


def _copy_of(error: Exception) -> Exception | None:
    """A copy to raise in another thread: those that raise one instance write over each other's traceback."""
    try:
        own = copy.copy(error)
        if hasattr(error, "__notes__"):
            own.__notes__ = list(error.__notes__)
        return own if type(own) is type(error) and str(own) == str(error) else None
    except Exception:
        return None


class _Source(CredentialSource):
    __slots__ = ("_credentials", "_flight", "_latest", "_lock")

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        # Reentrant: a signal handler or a finaliser that signs may come between any two instructions.
        self._lock = threading.RLock()
        self._flight: _Flight | None = None
        self._latest: Snapshot | None = None

    @property
    def original(self) -> Any:
        return self._credentials

    def __repr__(self) -> str:
        return f"<CredentialSource of {_name(self._credentials)}>"

    def _settle(self, snapshot: Snapshot) -> Snapshot:
        """The object already given out if it holds the same, else `snapshot`."""
        with self._lock:
            if self._latest is None or self._latest != snapshot:
                self._latest = snapshot
            return self._latest

    def _run(self, flight: _Flight, fetch: Callable[[], Any]) -> Any:
        flight.thread_id = threading.get_ident()
        try:
            flight.outcome = fetch()
            return flight.outcome
        except Exception as error:
            clear_frames(error)  # before others raise it, too
            flight.error = error
            raise
        finally:
            with self._lock:
                if self._flight is flight:
                    self._flight = None
            flight.done.set()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        if self._flight is not None and self._flight.thread_id != threading.get_ident():
            self._flight = None


class _Immutable(_Source):
    """A named tuple such as botocore's ReadOnlyCredentials."""

    __slots__ = ("_snapshot",)

    def __init__(self, credentials: Any) -> None:
        super().__init__(credentials)
        self._snapshot = _read(credentials)

    def snapshot(self) -> Snapshot:
        return self._snapshot

    ready = snapshot

    def __reduce__(self) -> Any:
        return source_of, (self._credentials,)


def _read(credentials: Any) -> Snapshot:
    return _checked(credentials.access_key, credentials.secret_key, getattr(credentials, "token", None))


class _Read(_Source):
    __slots__ = ("_kept",)

    def __init__(self, credentials: Any) -> None:
        super().__init__(credentials)
        self._kept: tuple[tuple[Any, Any, Any], Snapshot | None] = ((None, None, None), None)

    def _snapshot_of(self, values: tuple[Any, Any, Any]) -> Snapshot:
        known, snapshot = self._kept
        if snapshot is None or known != values:
            snapshot = self._settle(_checked(*values))
            self._kept = (values, snapshot)
        return snapshot


class _Static(_Read):
    """botocore's Credentials, whose attributes the user may assign."""

    __slots__ = ()

    def snapshot(self) -> Snapshot:
        credentials = self._credentials
        return self._snapshot_of((credentials.access_key, credentials.secret_key, credentials.token))

    ready = snapshot

    def __reduce__(self) -> Any:
        return source_of, (self._credentials,)


class _Unknown(_Read):
    """An object of the user's: asked on every request, and nobody knows how long it takes to answer.

    But for one whose three values are plain attributes, which `ready` can read as well.
    """

    __slots__ = ("keeps",)

    def __init__(self, credentials: Any) -> None:
        super().__init__(credentials)
        self.keeps = _has_plain_attributes(credentials)

    def snapshot(self) -> Snapshot:
        frozen = self._credentials
        get_frozen_credentials = getattr(frozen, "get_frozen_credentials", None)
        if callable(get_frozen_credentials):
            frozen = get_frozen_credentials()
            if inspect.isawaitable(frozen):
                _refuse_awaitable(self._credentials, frozen)
            if not frozen:
                raise _no_credentials(self)
        try:
            values = frozen.access_key, frozen.secret_key, getattr(frozen, "token", None)
        except AttributeError as error:
            raise TypeError(f"credentials: {_name(frozen)} has no access_key or no secret_key") from error
        return self._snapshot_of(values)

    def ready(self) -> Snapshot | None:
        return self.snapshot() if self.keeps else None

    def __reduce__(self) -> Any:
        parameters = getattr(type(self._credentials), "__dataclass_params__", None)
        if self.keeps and parameters is not None and parameters.frozen:  # as static as a named tuple
            return source_of, (self._credentials,)
        return super().__reduce__()


def _has_plain_attributes(credentials: object) -> bool:
    """Whether reading its credentials can run no code: neither a property nor a `__getattr__`."""
    kind = type(credentials)
    values = [inspect.getattr_static(kind, name, None) for name in ("access_key", "secret_key", "token")]
    return (
        kind.__getattribute__ in (object.__getattribute__, SimpleNamespace.__getattribute__)
        and not hasattr(kind, "__getattr__")
        and not hasattr(credentials, "get_frozen_credentials")
        and all(value is None or isinstance(value, (str, MemberDescriptorType)) for value in values)
    )


class _Asked(_Source):
    """What hands out credentials objects: asked on every request, its answer adapted when it is a new object."""

    __slots__ = ("_kept",)

    def __init__(self, credentials: Any) -> None:
        super().__init__(credentials)
        self._kept: tuple[object, CredentialSource] | None = None

    def _answer(self) -> CredentialSource:
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        snapshot = self._answer().snapshot()
        return snapshot if snapshot is self._latest else self._settle(snapshot)

    def ready(self) -> Snapshot | None:
        return None

    def renew(self, refused: Identity) -> bool:
        return self._answer().renew(refused)

    def _ready_by(self, source: CredentialSource) -> Snapshot | None:
        snapshot = source.ready()
        return snapshot if snapshot is self._latest or snapshot is None else self._settle(snapshot)

    def _adopt(self, found: object) -> CredentialSource:
        kept = self._kept
        if kept is not None and kept[0] is found:
            return kept[1]
        if inspect.isawaitable(found):
            _refuse_awaitable(self._credentials, found)
        if not found:
            raise _no_credentials(self)
        source: CredentialSource = _registered(_sources, found, _source_of_any)
        if isinstance(source, _Asked):
            _refuse(found)
        self._kept = (found, source)
        return source


class _Callable(_Asked):
    __slots__ = ()
    keeps = False

    def _answer(self) -> CredentialSource:
        return self._adopt(self._credentials())

    def __reduce__(self) -> Any:
        return source_of, (_picklable(self._credentials),)


def _picklable(function: Any) -> Any:
    if "cloudpickle" not in sys.modules:  # which Spark and Dask use, and which takes what pickle does not
        try:
            pickle.dumps(function)
        except Exception as error:
            raise TypeError(
                f"credentials: {_name(function)} cannot be pickled ({type(error).__name__}); pass a callable that can, "
                "such as a function of a module"
            ) from None
    return function


class _Reading(_Asked):
    """What reads an attribute of another object, such as a signer that was taken over: that blocks nobody."""

    __slots__ = ()

    def _answer(self) -> CredentialSource:
        return self._adopt(self._credentials())

    def ready(self) -> Snapshot | None:
        return self._ready_by(self._answer())


class _Session(_Asked):
    """A botocore or boto3 session. The first answer, which may take a network's time, is fetched by one thread."""

    __slots__ = ("_remembers",)

    def __init__(self, credentials: Any) -> None:
        super().__init__(credentials)
        # botocore's own sessions keep what they found; any other might go and look each time.
        function = getattr(getattr(credentials, "get_credentials", None), "__func__", None)
        kinds = [getattr(sys.modules.get(name), "Session", None) for name in ("botocore.session", "boto3.session")]
        self._remembers = any(kind is not None and function is kind.get_credentials for kind in kinds)

    def _session(self) -> Any:
        return self._credentials

    def _fetch(self) -> CredentialSource:
        return self._adopt(self._session().get_credentials())

    def _answer(self) -> CredentialSource:
        while self._kept is None:
            with self._lock:
                flight, starts = self._flight, self._flight is None
                if flight is None:
                    flight = self._flight = _Flight()
            answer = self._run(flight, self._fetch) if starts else flight.wait()
            if answer is not None:
                return answer  # type: ignore[no-any-return]
        return self._fetch()

    def ready(self) -> Snapshot | None:
        kept = self._kept
        if kept is None or not self._remembers or self._session().get_credentials() is not kept[0]:
            return None
        return self._ready_by(kept[1])

    @property
    def region(self) -> str | None:
        session = getattr(self._session(), "_session", self._session())  # boto3 keeps botocore's there
        if not hasattr(session, "instance_variables") or not hasattr(session, "get_config_variable"):
            return super().region
        region = session.instance_variables().get("region") or _region_of_environment()
        # An empty AWS_DEFAULT_REGION hides the profile's from get_config_variable.
        return region or session.get_config_variable("region") or session.get_scoped_config().get("region") or None


class _Default(_Session):
    """botocore's default chain, for the process or for one profile."""

    __slots__ = ("_own_session", "_profile", "_read_again_at")

    def __init__(self, profile: str | None) -> None:
        super().__init__(None)
        self._read_again_at = -math.inf
        self._remembers = True
        self._profile = profile
        self._own_session: Any = None

    def _session(self) -> Any:
        session = self._own_session
        if session is None:
            from botocore.session import Session

            with self._lock:
                session = self._own_session = self._own_session or Session(profile=self._profile)
        return session

    def _fetch(self) -> CredentialSource:
        try:
            return super()._fetch()
        except Exception:
            # A session keeps the configuration files as it read them: what is there tomorrow needs a new one.
            self._own_session = None
            raise

    def ready(self) -> Snapshot | None:
        return None if self._own_session is None else super().ready()

    def renew(self, refused: Identity) -> bool:
        if super().renew(refused):
            return True
        # A session keeps what it read from files and the environment, where somebody may have put a new token.
        with self._lock:
            now = _wall_clock()
            if 0 <= now - self._read_again_at < _RETRY_INTERVAL_S:
                return False
            self._read_again_at = now
            self._own_session = None
        return super().renew(refused)

    def __repr__(self) -> str:
        named = "" if self._profile is None else f", profile {self._profile!r}"
        return f"<CredentialSource of botocore's default chain{named}>"

    def __reduce__(self) -> Any:
        return _default, (self._profile,)


class _Generation(NamedTuple):
    """What a RefreshableCredentials held when it was last read, and the times that follow from it."""

    # The first four are what `core.Kept` reads, in its order.
    expiry: object
    frozen: object
    refresh_at: float
    snapshot: Snapshot
    mandatory_at: float
    expires_at: float


# Matches no credentials, and is always expired.
_NOTHING = _Generation(None, object(), -math.inf, Snapshot("", "", None), -math.inf, -math.inf)


class _Refreshable(_Source):
    """botocore's RefreshableCredentials, whose public getter takes 10 us to find out that nothing is due.

    The only place that reads botocore's private attributes. Refreshing is left to the public getter, in botocore's own
    windows: in the advisory one, a thread refreshes while callers go on; in the mandatory one, callers wait for it;
    and only when the credentials have expired does its failure become theirs.
    """

    __slots__ = ("_attempted_at", "_clock", "_time_fetcher", "kept")
    kept: core.Kept

    def __init__(self, credentials: Any, botocore: Any) -> None:
        super().__init__(credentials)
        fetcher = credentials._time_fetcher
        self._time_fetcher: Callable[[], Any] = fetcher
        self._clock: Callable[[], float] = (
            _wall_clock if fetcher is botocore._local_now else lambda: float(fetcher().timestamp())
        )
        self.kept = core.Kept(credentials, self._clock, _NOTHING)
        self._attempted_at = -math.inf
        # Raise AttributeError here rather than in the middle of a request.
        _ = credentials._frozen_credentials, credentials._expiry_time

    def snapshot(self) -> Snapshot:
        snapshot: Snapshot | None = self.kept.current()
        while snapshot is None:
            snapshot = self._renewed(wait=True)
        return snapshot

    def ready(self) -> Snapshot | None:
        return self._renewed(wait=False)

    def _renewed(self, *, wait: bool) -> Snapshot | None:
        with self._lock:
            flight, starts = self._flight, self._flight is None
            # During a refresh botocore's attributes may be of two generations; the kept one is whole.
            generation = self._read_generation() if starts else self.kept.generation
            now = self._clock()
            valid = now < generation.expires_at
            if now < generation.refresh_at:
                return generation.snapshot
            if valid and starts and 0 <= now - self._attempted_at < _RETRY_INTERVAL_S:
                return generation.snapshot
            if not valid and not wait:
                return None
            if flight is None:
                flight = self._flight = _Flight()
        if valid and (not wait or now < generation.mandatory_at):
            if starts:
                self._start(flight, wait)
            return generation.snapshot
        try:
            return self._run(flight, self._refresh) if starts else flight.wait()  # type: ignore[no-any-return]
        except Exception:
            if self._clock() < generation.expires_at:
                return generation.snapshot
            raise

    def _read_generation(self) -> _Generation:
        credentials = self._credentials
        expiry, frozen = credentials._expiry_time, credentials._frozen_credentials
        generation: _Generation = self.kept.generation
        if expiry is generation.expiry and frozen is generation.frozen:
            return generation
        self.kept.generation = _NOTHING
        if frozen is None:
            return _NOTHING
        expires_at = math.inf
        if expiry is not None:
            expires_at = self._clock() + (expiry - self._time_fetcher()).total_seconds()
        if self._clock() < expires_at:  # else what it holds may be a placeholder, and need not be valid
            generation = _Generation(
                expiry,
                frozen,
                expires_at - getattr(credentials, "_advisory_refresh_timeout", _ADVISORY_WINDOW_S),
                self._settle(_read(frozen)),
                expires_at - getattr(credentials, "_mandatory_refresh_timeout", _MANDATORY_WINDOW_S),
                expires_at,
            )
            self.kept.generation = generation
            return generation
        return _NOTHING

    def _start(self, flight: _Flight, wait: bool) -> None:
        """Refresh in a thread; where none can be started any more, here, if the caller may wait."""
        thread = threading.Thread(
            target=self._run_quietly, args=(flight,), name="opensearch-sigv4-credentials", daemon=True
        )
        try:
            if sys.is_finalizing():
                raise RuntimeError("a thread started now would never run")
            thread.start()
        except RuntimeError:
            if wait:
                self._run_quietly(flight)
            else:
                self._run(flight, lambda: None)

    def _run_quietly(self, flight: _Flight) -> None:
        # _refresh has logged what it raises, and those who wait for this flight raise it.
        with contextlib.suppress(Exception):
            self._run(flight, self._refresh)

    def _refresh(self) -> Snapshot:
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            self._log_failure(error)
            raise
        finally:
            self._attempted_at = self._clock()
        return self._settle(_read(frozen))

    def renew(self, refused: Identity) -> bool:
        if identity_of(self.snapshot()) != refused:
            return True
        with self._lock:
            flight, starts = self._flight, self._flight is None
            if flight is None:
                if 0 <= self._clock() - self._attempted_at < _RETRY_INTERVAL_S:
                    return False
                flight = self._flight = _Flight()
        with contextlib.suppress(Exception):  # which was logged
            self._run(flight, lambda: self._refresh_early(refused)) if starts else flight.wait()
        return identity_of(self.snapshot()) != refused

    def _refresh_early(self, refused: Identity) -> Snapshot:
        """What `_refresh` does, though by the expiry that botocore knows of none is due."""
        credentials = self._credentials
        refresh: Any = getattr(credentials, "_protected_refresh", None)
        lock: Any = getattr(credentials, "_refresh_lock", None)
        if refresh is not None and lock is not None:
            try:
                with lock:
                    frozen = credentials._frozen_credentials
                    if frozen is None or (frozen.access_key, frozen.token) == refused:
                        refresh(is_mandatory=True)
            except Exception as error:
                self._log_failure(error)
                raise
            finally:
                self._attempted_at = self._clock()
        return self._refresh()

    def _log_failure(self, error: Exception) -> None:
        text = str(error)
        frozen = self._credentials._frozen_credentials
        for secret in filter(None, (frozen.access_key, frozen.secret_key, frozen.token) if frozen else ()):
            text = text.replace(secret, "REDACTED")
        remaining_s = self.kept.generation.expires_at - self._clock()
        _log.warning(
            "refreshing the credentials failed (%s: %s); %s",
            type(error).__name__,
            text,
            f"the present ones are valid for {remaining_s:.0f} s, the next attempt is in {_RETRY_INTERVAL_S} s"
            if remaining_s > 0
            else "there are no valid ones",
        )

    def _after_fork(self) -> None:
        flight = self._flight
        super()._after_fork()
        if flight is not None and flight.thread_id == threading.get_ident():
            return
        lock = getattr(self._credentials, "_refresh_lock", None)
        if lock is not None and lock.locked():
            self._credentials._refresh_lock = threading.Lock()
