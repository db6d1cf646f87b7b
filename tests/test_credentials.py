"""Credential sources: one snapshot per request, one refresh at a time, and no secret shown to anybody.

botocore's own objects throughout. Secrets are compared as booleans, so that a red test prints none.
"""

import asyncio
import copy
import functools
import gc
import json
import logging
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import boto3
import botocore.session
import pytest
from botocore.credentials import (
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError, PartialCredentialsError, ProfileNotFound

from opensearch_sigv4 import credentials as module
from opensearch_sigv4.credentials import CredentialSource, Snapshot, source_of
from refreshing import (
    ADVISORY,
    EXPIRED,
    FIRST,
    KEYS,
    MANDATORY,
    MINUTES,
    OTHER_KEYS,
    SECOND,
    THREADS,
    TIMEOUT_S,
    Clock,
    Refresher,
    join_refreshers,
    refreshable,
    refreshers,
    same,
    shows_secret,
)


@pytest.fixture(autouse=True)
def _fresh_default_chain():
    """The default chain lives as long as the process; each test has one of its own, and leaves no thread."""
    kept = dict(module._defaults)
    module._defaults.clear()
    yield
    module._defaults.clear()
    module._defaults.update(kept)
    join_refreshers()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refresher(clock):
    return Refresher(clock)


def in_threads(function, count=THREADS):
    """Call it in `count` threads that start together; the results or exceptions."""
    barrier, results = threading.Barrier(count), []

    def call():
        barrier.wait(TIMEOUT_S)
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def joined(threads, results):
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(results) == len(threads)
    return results


# What is taken


PlainPair = namedtuple("PlainPair", "access_key secret_key")


class Mine:
    def __init__(self, access_key, secret_key, token=None):
        self.access_key, self.secret_key, self.token = access_key, secret_key, token


class MineFrozen:
    """Its attributes are never to be read one by one."""

    def __init__(self, *values):
        self.values = values

    def get_frozen_credentials(self):
        return ReadOnlyCredentials(*self.values)


class MadeUp:
    def __getattr__(self, name):
        try:
            return dict(zip(("access_key", "secret_key", "token"), FIRST, strict=True))[name]
        except KeyError:
            raise AttributeError(name) from None


class SubclassedCredentials(Credentials):
    pass


def session_of(credentials):
    session = botocore.session.Session()
    session._credentials = credentials
    return session


def forever():
    return RefreshableCredentials(*FIRST, None, None, "test")


TAKEN = {
    "Credentials": lambda: Credentials(*FIRST),
    "ReadOnlyCredentials": lambda: ReadOnlyCredentials(*FIRST),
    "RefreshableCredentials": lambda: refreshable(3600, Refresher()),
    "RefreshableCredentials without expiry": forever,
    "DeferredRefreshableCredentials": lambda: DeferredRefreshableCredentials(Refresher(values=FIRST), "test"),
    "subclass": lambda: SubclassedCredentials(*FIRST),
    "Snapshot": lambda: Snapshot(*FIRST),
    "namespace": lambda: SimpleNamespace(access_key=FIRST[0], secret_key=FIRST[1], token=FIRST[2]),
    "class of the user's": lambda: Mine(*FIRST),
    "frozen only": lambda: MineFrozen(*FIRST),
    "__getattr__": MadeUp,
    "botocore session": lambda: session_of(Credentials(*FIRST)),
    "boto3 session": lambda: boto3.Session(*FIRST),
    "session of refreshable": lambda: session_of(refreshable(3600, Refresher())),
    "session of the user's": lambda: SimpleNamespace(get_credentials=lambda: Credentials(*FIRST)),
    "function": lambda: lambda: Credentials(*FIRST),
    "function of refreshable": lambda: functools.partial(lambda found: found, refreshable(3600, Refresher())),
    "class as a callable": lambda: MadeUp,
}


@pytest.fixture(params=TAKEN)
def taken(request):
    return TAKEN[request.param]()


def test_every_kind_gives_its_three_values_and_one_identity(taken):
    source = source_of(taken)
    snapshot = source.snapshot()
    assert type(snapshot) is Snapshot
    assert same(snapshot, FIRST)
    assert all(source.snapshot() is snapshot for _ in range(3))
    assert source.ready() in (snapshot, None)
    assert source.original is taken
    assert source_of(taken) is source


def test_every_kind_hides_its_secrets_and_is_its_own_copy(taken):
    source = source_of(taken)
    assert not shows_secret(source, source.snapshot())
    assert copy.copy(source) is source
    assert copy.deepcopy(source) is source
    assert copy.deepcopy({"deep": [source]})["deep"][0] is source


def test_sixteen_threads_are_given_one_object(taken):
    results = joined(*in_threads(source_of(taken).snapshot))
    assert len({id(result) for result in results}) == 1
    assert same(results[0], FIRST)


def test_a_missing_or_empty_token_is_none():
    for credentials in (Credentials(*KEYS), Credentials(*KEYS, ""), PlainPair(*KEYS), Mine(*KEYS, "")):
        assert same(source_of(credentials).snapshot(), (*KEYS, None))
    pair = Mine(*KEYS)
    del pair.token
    assert same(source_of(pair).snapshot(), (*KEYS, None))


def test_a_source_comes_back_as_it_is():
    class OfTheUser(CredentialSource):
        pass

    for source in (source_of(), source_of(Credentials(*FIRST)), OfTheUser()):
        assert source_of(source) is source
    assert OfTheUser().original is None
    with pytest.raises(NotImplementedError):
        OfTheUser().snapshot()
    with pytest.raises(NotImplementedError):
        OfTheUser().ready()


def test_static_credentials_may_be_assigned():
    credentials = Credentials(*FIRST)
    source = source_of(credentials)
    first = source.snapshot()
    credentials.access_key, credentials.secret_key, credentials.token = SECOND
    second = source.snapshot()
    assert same(first, FIRST)
    assert same(second, SECOND)
    assert source.ready() is second
    credentials.token = "".join(SECOND[2])
    assert source.snapshot() is second


def test_what_we_do_not_know_is_asked_on_every_request():
    asked = []

    class Counting:
        secret_key = KEYS[1]

        @property
        def access_key(self):
            asked.append(1)
            return KEYS[0]

    source = source_of(Counting())
    assert not asked
    assert source.ready() is None
    assert not asked
    first = source.snapshot()
    assert source.snapshot() is first
    assert len(asked) == 2


def test_frozen_credentials_are_preferred():
    mine = Mine(*FIRST)
    mine.get_frozen_credentials = lambda: ReadOnlyCredentials(*SECOND)
    assert same(source_of(mine).snapshot(), SECOND)


def test_a_subclass_with_its_own_refresh_is_asked_in_public(refresher):
    class Rotating(RefreshableCredentials):
        generation = 0

        def get_frozen_credentials(self):
            self.generation += 1
            return ReadOnlyCredentials(*(FIRST if self.generation == 1 else SECOND))

    expiry = refresher.clock() + timedelta(hours=1)
    source = source_of(Rotating(*FIRST, expiry, refresher, "test", time_fetcher=refresher.clock))
    assert source.ready() is None
    assert same(source.snapshot(), FIRST)
    assert same(source.snapshot(), SECOND)


def test_a_subclass_that_changes_nothing_keeps_the_adapter(refresher):
    class Named(RefreshableCredentials):
        """For a repr, say."""

    expiry = refresher.clock() + timedelta(hours=1)
    source = source_of(Named(*FIRST, expiry, refresher, "test", time_fetcher=refresher.clock))
    assert same(source.ready(), FIRST)


def test_a_botocore_without_the_private_attributes_is_asked_in_public(refresher):
    for name in ("_expiry_time", "_frozen_credentials", "_time_fetcher"):
        credentials = forever()
        delattr(credentials, name)
        source = source_of(credentials)
        assert type(source) is module._Unknown
        assert source.ready() is None


def test_a_callable_is_called_on_every_request():
    answers = [Credentials(*FIRST), Credentials(*FIRST), Credentials(*SECOND)]
    calls = []

    def provide():
        calls.append(1)
        return answers[len(calls) - 1]

    source = source_of(provide)
    assert source.ready() is None
    assert not calls
    first = source.snapshot()
    assert source.snapshot() is first  # another object, the same values
    assert same(source.snapshot(), SECOND)
    assert len(calls) == 3


def test_a_callables_object_may_change_in_place():
    credentials = Credentials(*FIRST)
    source = source_of(lambda: credentials)
    assert same(source.snapshot(), FIRST)
    credentials.access_key, credentials.secret_key, credentials.token = SECOND
    assert same(source.snapshot(), SECOND)


def test_what_a_callable_raises_is_raised():
    error = LookupError("no vault today")

    def provide():
        raise error

    with pytest.raises(LookupError) as raised:
        source_of(provide).snapshot()
    assert raised.value is error


@pytest.mark.parametrize("nothing", [None, "", 0, (), False])
def test_a_callable_or_session_without_credentials(nothing):
    for source in (source_of(lambda: nothing), source_of(SimpleNamespace(get_credentials=lambda: nothing))):
        with pytest.raises(NoCredentialsError) as raised:
            source.snapshot()
        assert "credentials=" in raised.value.__notes__[0]
        assert source.ready() is None
    frozen_to_nothing = SimpleNamespace(get_frozen_credentials=lambda: nothing)
    with pytest.raises(NoCredentialsError):
        source_of(frozen_to_nothing).snapshot()


@pytest.mark.parametrize(
    "wrong",
    [1, 1.5, True, KEYS[1], KEYS[1].encode(), [KEYS[1]], FIRST, {"secret_key": KEYS[1]}, object(), {KEYS[1]}],
    ids=lambda wrong: type(wrong).__name__,
)
def test_the_wrong_type(wrong):
    with pytest.raises(TypeError, match=r"^credentials: ") as raised:
        source_of(wrong)
    assert not shows_secret(raised.value, *traceback.format_exception(raised.value))
    assert ("profile=" in str(raised.value)) == isinstance(wrong, str)
    if wrong:
        with pytest.raises(TypeError, match=r"^credentials: ") as raised:
            source_of(lambda: wrong).snapshot()
        assert not shows_secret(raised.value)


def test_a_callable_returns_credentials_and_not_another_callable_or_session():
    for wrong in (lambda: Credentials(*FIRST), session_of(Credentials(*FIRST)), Credentials, source_of()):
        with pytest.raises(TypeError, match=r"^credentials: "):
            source_of(lambda wrong=wrong: wrong).snapshot()
        held = source_of(wrong)  # a source that exists already must not make it right
        with pytest.raises(TypeError, match=r"^credentials: "):
            source_of(lambda held=held, wrong=wrong: wrong).snapshot()

    def itself():
        return itself

    with pytest.raises(TypeError, match=r"^credentials: "):
        source_of(itself).snapshot()


def test_frozen_credentials_without_the_attributes():
    with pytest.raises(TypeError, match=r"^credentials: .*access_key") as raised:
        source_of(SimpleNamespace(get_frozen_credentials=lambda: KEYS[1])).snapshot()
    assert not shows_secret(raised.value)


# Awaitables


async def coroutine_function():
    return Credentials(*FIRST)


class AsyncCallable:
    async def __call__(self):
        return Credentials(*FIRST)


class AioCredentials(Credentials):
    """As aiobotocore's are."""

    async def get_frozen_credentials(self):
        return ReadOnlyCredentials(*FIRST)


class AioRefreshableCredentials(RefreshableCredentials):
    async def get_frozen_credentials(self):
        return ReadOnlyCredentials(*FIRST)


class AioSession(botocore.session.Session):
    async def get_credentials(self):
        return AioCredentials(*FIRST)


@pytest.mark.parametrize(
    "make",
    [
        lambda: coroutine_function,
        lambda: functools.partial(coroutine_function),
        AsyncCallable,
        lambda: AsyncCallable().__call__,
        lambda: coroutine_function(),
        lambda: AioCredentials(*FIRST),
        lambda: AioRefreshableCredentials(*FIRST, None, None, "test"),
        AioSession,
    ],
    ids=["function", "partial", "object", "method", "coroutine", "credentials", "refreshable", "session"],
)
def test_an_awaitable_source_is_refused_at_construction(make):
    with pytest.raises(TypeError, match=r"^credentials: .* an awaitable source cannot serve a synchronous signer"):
        source_of(make())
    gc.collect()  # a coroutine that was never awaited would warn now, and warnings are errors


@pytest.mark.parametrize(
    "make",
    [
        lambda: lambda: coroutine_function(),
        lambda: lambda: AioCredentials(*FIRST),
        lambda: SimpleNamespace(get_credentials=lambda: coroutine_function()),
        lambda: SimpleNamespace(get_frozen_credentials=lambda: coroutine_function()),
        lambda: session_of(AioCredentials(*FIRST)),
    ],
    ids=["callable", "callable of credentials", "session", "credentials", "session of credentials"],
)
def test_an_awaitable_result_is_refused_when_it_is_seen(make):
    source = source_of(make())
    with pytest.raises(TypeError, match=r"^credentials: .* an awaitable source cannot serve a synchronous signer"):
        source.snapshot()
    gc.collect()


def test_a_future_is_awaitable_too():
    async def refuse():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="awaitable"):
            source_of(lambda: future).snapshot()

    asyncio.run(refuse())


# Values


HOSTILE = {
    "missing": None,
    "empty": "",
    "bytes": KEYS[1].encode(),
    "number": 7,
    "line feed": f"{KEYS[1]}\n",
    "carriage return": f"{KEYS[1]}\r",
    "NUL": f"\0{KEYS[1]}",
    "tab": f"{KEYS[1]}\t",
    "DEL": f"{KEYS[1]}\x7f",
    "lone surrogate": f"{KEYS[1]}\ud800",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("attribute", ["access_key", "secret_key", "token"])
@pytest.mark.parametrize("kind", [Credentials, ReadOnlyCredentials, Mine, MineFrozen, "refreshable", "callable"])
def test_a_value_that_cannot_be_signed_with(kind, attribute, value):
    values = dict(zip(("access_key", "secret_key", "token"), FIRST, strict=True)) | {attribute: value}
    if kind == "refreshable":
        make = functools.partial(RefreshableCredentials, *values.values(), None, None, "test")
    elif kind == "callable":
        make = lambda: lambda: Credentials(*values.values())  # noqa: E731
    else:
        make = functools.partial(kind, *values.values())
    if attribute == "token" and not value:
        assert source_of(make()).snapshot().token is None
        return
    with pytest.raises(ValueError, match=rf"^credentials: {attribute} ") as raised:
        source_of(make()).snapshot()
    assert not shows_secret(raised.value, *traceback.format_exception(raised.value))


def test_a_str_subclass_is_taken_for_what_it_holds():
    class Loud(str):
        def __str__(self):
            return "LOUD"

    snapshot = source_of(Credentials(*map(Loud, FIRST))).snapshot()
    assert same(snapshot, FIRST)
    assert [type(value) for value in snapshot] == [str, str, str]


def test_bad_values_may_be_put_right():
    credentials = Credentials(KEYS[0], None)
    source = source_of(credentials)
    for _ in range(2):
        with pytest.raises(ValueError, match="secret_key"):
            source.snapshot()
    credentials.secret_key = KEYS[1]
    assert same(source.snapshot(), (*KEYS, None))


def test_a_snapshot_shows_the_last_four_of_the_access_key_at_most():
    for shown in (repr(Snapshot(*FIRST)), str(Snapshot(*FIRST)), f"{Snapshot(*FIRST)}", str([Snapshot(*FIRST)])):
        assert "...MPLE" in shown
        assert not shows_secret(shown)
    assert "AKI" not in repr(Snapshot("AKI", "x", None))
    assert "token=None" in repr(Snapshot(*KEYS, None))


# Refreshing


def test_nothing_happens_before_a_refresh_is_due(clock, refresher):
    source = source_of(refreshable(3600, refresher))
    first = source.snapshot()
    clock.forward(3600 - 15 * MINUTES)
    assert source.snapshot() is first
    assert source.ready() is first
    assert not refresher.calls
    assert not refreshers()


def test_expiry_none_never_refreshes(clock):
    source = source_of(forever())
    first = source.snapshot()
    assert source.snapshot() is first
    assert source.ready() is first


def test_in_the_advisory_window_one_thread_refreshes_while_all_go_on(refresher):
    refresher.go_on.clear()
    source = source_of(refreshable(ADVISORY, refresher))
    results = joined(*in_threads(lambda: (source.snapshot(), source.ready())))
    assert refresher.called.wait(TIMEOUT_S)
    assert all(same(snapshot, FIRST) and ready is snapshot for snapshot, ready in results)
    assert len({id(snapshot) for snapshot, _ in results}) == 1
    assert len(refreshers()) == 1
    assert refreshers()[0].daemon
    refresher.go_on.set()
    join_refreshers()
    assert same(source.snapshot(), SECOND)
    assert source.ready() is source.snapshot()
    assert refresher.calls == 1


def test_ready_starts_the_refresh_too(refresher):
    source = source_of(refreshable(ADVISORY, refresher))
    assert same(source.ready(), FIRST)
    join_refreshers()
    assert same(source.ready(), SECOND)


def test_in_the_mandatory_window_all_wait_for_one_refresh(refresher):
    refresher.go_on.clear()
    source = source_of(refreshable(MANDATORY, refresher))
    threads, results = in_threads(source.snapshot)
    assert refresher.called.wait(TIMEOUT_S)
    assert same(source.ready(), FIRST)  # which never waits
    assert not results
    refresher.go_on.set()
    results = joined(threads, results)
    assert refresher.calls == 1
    assert len({id(result) for result in results}) == 1
    assert same(results[0], SECOND)
    assert not refreshers()


def test_in_the_mandatory_window_ready_refreshes_in_a_thread(refresher):
    source = source_of(refreshable(MANDATORY, refresher))
    assert same(source.ready(), FIRST)
    join_refreshers()
    assert same(source.ready(), SECOND)


def test_who_needs_a_refresh_joins_the_one_that_runs(clock, refresher):
    refresher.go_on.clear()
    source = source_of(refreshable(ADVISORY, refresher))
    assert same(source.snapshot(), FIRST)
    assert refresher.called.wait(TIMEOUT_S)
    clock.forward(ADVISORY + 1)
    assert source.ready() is None
    threads, results = in_threads(source.snapshot)
    refresher.go_on.set()
    assert all(same(result, SECOND) for result in joined(threads, results))
    assert refresher.calls == 1


def test_expired_credentials_are_refreshed_once_for_all(refresher):
    source = source_of(refreshable(EXPIRED, refresher))
    assert source.ready() is None
    assert not refresher.calls
    results = joined(*in_threads(source.snapshot))
    assert refresher.calls == 1
    assert len({id(result) for result in results}) == 1
    assert same(results[0], SECOND)


def test_deferred_credentials_are_fetched_by_the_first_snapshot(refresher):
    credentials = DeferredRefreshableCredentials(refresher, "test", time_fetcher=refresher.clock)
    source = source_of(credentials)
    assert source.ready() is None
    assert not refresher.calls
    assert all(same(result, SECOND) for result in joined(*in_threads(source.snapshot)))
    assert refresher.calls == 1
    assert source.ready() is source.snapshot()
    assert not refreshers()


def test_placeholders_in_expired_credentials_are_no_error(refresher):
    source = source_of(refreshable(EXPIRED, refresher, values=(None, None, None)))
    assert same(source.snapshot(), SECOND)


def test_the_old_keys_are_never_taken_for_new_ones_while_botocore_writes(clock, refresher):
    """botocore 1.34 publishes the new expiry before the new keys."""
    refresher.go_on.clear()
    credentials = refreshable(ADVISORY, refresher)
    source = source_of(credentials)
    assert same(source.snapshot(), FIRST)
    assert refresher.called.wait(TIMEOUT_S)
    clock.forward(ADVISORY)
    credentials._expiry_time = clock() + timedelta(hours=1)
    assert source.ready() is None
    refresher.go_on.set()
    join_refreshers()
    assert same(source.snapshot(), SECOND)


def test_each_private_attribute_is_compared(clock, refresher):
    credentials = refreshable(3600, refresher)
    source = source_of(credentials)
    assert same(source.snapshot(), FIRST)
    credentials._frozen_credentials = ReadOnlyCredentials(*OTHER_KEYS, None)
    assert same(source.snapshot(), (*OTHER_KEYS, None))
    credentials._expiry_time = clock() - timedelta(seconds=1)
    assert same(source.snapshot(), SECOND)
    assert refresher.calls == 1


def test_a_refresh_that_botocore_did_for_somebody_else_is_seen(clock, refresher):
    credentials = refreshable(3600, refresher)
    source = source_of(credentials)
    assert same(source.snapshot(), FIRST)
    clock.forward(3600)
    credentials.get_frozen_credentials()
    assert same(source.ready(), SECOND)
    assert same(source.snapshot(), SECOND)
    assert refresher.calls == 1


def test_refreshing_to_the_same_values_keeps_the_snapshot(clock):
    refresher = Refresher(clock, values=FIRST)
    source = source_of(refreshable(3600, refresher))
    first = source.snapshot()
    clock.forward(3600)
    assert source.snapshot() is first
    assert refresher.calls == 1


def test_a_clock_that_jumps_is_believed_at_once(clock, refresher):
    """A frozen Lambda wakes up hours later, by the wall clock alone."""
    source = source_of(refreshable(3600, refresher))
    assert same(source.snapshot(), FIRST)
    clock.forward(9 * 3600)
    assert same(source.snapshot(), SECOND)


def test_the_wall_clock_is_read_where_botocore_reads_it():
    refresher = Refresher()
    credentials = refreshable(3600, refresher)
    source = source_of(credentials)
    assert same(source.ready(), FIRST)
    credentials._expiry_time = datetime.now(UTC) - timedelta(seconds=1)
    assert source.ready() is None
    assert same(source.snapshot(), SECOND)
    assert abs(module._wall_clock() - time.time()) < MINUTES


def test_botocores_own_windows_count(refresher):
    source = source_of(refreshable(30, refresher, advisory_timeout=20, mandatory_timeout=10))
    assert same(source.snapshot(), FIRST)
    refresher.clock.forward(15)
    assert same(source.snapshot(), FIRST)
    join_refreshers()
    assert refresher.calls == 1


def test_a_lifetime_shorter_than_the_window_is_not_refreshed_on_every_request(clock):
    refresher = Refresher(clock, lifetime=ADVISORY)
    source = source_of(refreshable(ADVISORY, refresher))
    for _ in range(5):
        source.snapshot()
        join_refreshers()
    assert refresher.calls == 1
    clock.forward(module._RETRY_INTERVAL_S)
    source.snapshot()
    join_refreshers()
    assert refresher.calls == 2
    clock.forward(ADVISORY - MANDATORY)
    results = [source.snapshot() for _ in range(5)]
    assert refresher.calls == 3
    assert all(same(result, SECOND) for result in results)


def test_a_naive_expiry_is_botocores_error():
    naive = datetime.now() + timedelta(hours=1)
    with pytest.raises(TypeError, match="naive"):
        source_of(RefreshableCredentials(*FIRST, naive, None, "test")).snapshot()


# Refreshing that fails


def unreachable():
    error = CredentialRetrievalError(provider="test", error_msg="unreachable")
    error.add_note("a note")
    return error


def logged(caplog):
    return [record for record in caplog.records if record.name == "opensearch_sigv4.credentials"]


def test_a_failure_in_the_advisory_window_is_retried_after_an_interval(clock, refresher):
    refresher.error = unreachable
    source = source_of(refreshable(ADVISORY, refresher))
    for expected in (1, 2, 3):
        for _ in range(5):
            assert same(source.snapshot(), FIRST)
            assert same(source.ready(), FIRST)
            join_refreshers()
        assert refresher.calls == expected
        clock.forward(module._RETRY_INTERVAL_S)
    refresher.error = None
    source.snapshot()
    join_refreshers()
    assert same(source.snapshot(), SECOND)


def test_a_failure_in_the_mandatory_window_is_logged_and_the_old_ones_serve(clock, refresher, caplog):
    refresher.error = lambda: ConnectionError(f"could not sign with {' '.join(FIRST)}")
    source = source_of(refreshable(MANDATORY, refresher))
    results = joined(*in_threads(source.snapshot))
    results += [source.snapshot(), source.ready()]
    assert all(same(result, FIRST) for result in results)
    assert refresher.calls == 1
    (record,) = logged(caplog)
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert "ConnectionError: could not sign with REDACTED" in record.getMessage()
    assert not shows_secret(record.getMessage(), record.args)
    clock.forward(module._RETRY_INTERVAL_S)
    assert same(source.snapshot(), FIRST)
    assert refresher.calls == 2
    assert len(logged(caplog)) == 2
    clock.forward(-MINUTES)  # a clock set back must not put the next attempt off
    assert same(source.snapshot(), FIRST)
    assert refresher.calls == 3


def test_when_the_credentials_have_expired_everybody_gets_the_failure(clock, refresher):
    refresher.error = unreachable
    refresher.go_on.clear()
    source = source_of(refreshable(3600, refresher))
    assert same(source.snapshot(), FIRST)
    clock.forward(3600)
    threads, results = in_threads(source.snapshot)
    assert refresher.called.wait(TIMEOUT_S)
    refresher.go_on.set()
    errors = joined(threads, results)
    assert {type(error) for error in errors} == {CredentialRetrievalError}
    assert {str(error) for error in errors} == {str(unreachable())}
    assert len({id(error) for error in errors}) == THREADS
    assert all(error in refresher.raised or error.__cause__ in refresher.raised for error in errors)
    errors[0].add_note("to one of them")
    assert all(error.__notes__ == ["a note"] for error in errors[1:])


def test_after_a_failure_with_expired_credentials_the_next_call_tries_at_once(refresher):
    refresher.error = unreachable
    source = source_of(refreshable(EXPIRED, refresher))
    for expected in (1, 2, 3):
        assert source.ready() is None
        with pytest.raises(CredentialRetrievalError) as raised:
            source.snapshot()
        assert raised.value is refresher.raised[-1]
        assert refresher.calls == expected
    refresher.error = None
    assert same(source.snapshot(), SECOND)


def test_an_error_that_cannot_be_copied_is_shared(refresher):
    class Stubborn(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")

    refresher.error = lambda: Stubborn(1, 2)
    refresher.go_on.clear()
    source = source_of(refreshable(EXPIRED, refresher))
    threads, results = in_threads(source.snapshot)
    assert refresher.called.wait(TIMEOUT_S)
    refresher.go_on.set()
    assert all(error in refresher.raised for error in joined(threads, results))


def test_credentials_that_come_back_expired_are_botocores_error(clock):
    refresher = Refresher(clock, lifetime=-1)
    with pytest.raises(RuntimeError, match="still expired"):
        source_of(refreshable(EXPIRED, refresher)).snapshot()


def test_an_incomplete_answer_is_botocores_error(clock):
    expiry = clock() - timedelta(seconds=1)
    with pytest.raises(CredentialRetrievalError):
        source_of(RefreshableCredentials(*FIRST, expiry, dict, "test", time_fetcher=clock)).snapshot()


def test_invalid_new_values_are_an_error(clock):
    refresher = Refresher(clock, values=(KEYS[0], f"{KEYS[1]}\n", None))
    with pytest.raises(ValueError, match="secret_key") as raised:
        source_of(refreshable(EXPIRED, refresher)).snapshot()
    assert not shows_secret(raised.value)


def test_an_interrupted_refresh_is_taken_over(clock):
    interrupted = threading.Event()
    refresher = Refresher(clock)

    def refresh():
        metadata = refresher()
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return metadata

    expiry = clock() - timedelta(seconds=1)
    source = source_of(RefreshableCredentials(*FIRST, expiry, refresh, "test", time_fetcher=clock))
    outcomes = []

    def call():
        try:
            outcomes.append(source.snapshot())
        except KeyboardInterrupt:
            outcomes.append(None)

    refresher.go_on.clear()
    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    assert refresher.called.wait(TIMEOUT_S)
    refresher.go_on.set()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert outcomes.count(None) == 1
    assert sum(same(outcome, SECOND) for outcome in outcomes if outcome is not None) == THREADS - 1
    assert refresher.calls == 2


# Processes


PRELUDE = f"""
import atexit, sys, threading, time
from datetime import datetime, timedelta, UTC
from botocore.credentials import RefreshableCredentials
from opensearch_sigv4.credentials import source_of
def credentials(refresh, minutes):
    return RefreshableCredentials(*{FIRST!r}, datetime.now(UTC) + timedelta(minutes=minutes), refresh, "test")
def renew():
    expiry = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return dict(zip(("access_key", "secret_key", "token", "expiry_time"), (*{SECOND!r}, expiry)))
"""


def run(program, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    ).stdout


def test_interpreter_exit_does_not_wait_for_a_refresh():
    program = """
called = threading.Event()
def stuck():
    called.set()
    threading.Event().wait()
source = source_of(credentials(stuck, minutes=12))
source.snapshot()
assert called.wait(30)
print("done")
"""
    assert run(program) == "done\n"


def test_where_no_thread_can_be_started_the_caller_refreshes():
    """Python 3.12 and up start no thread at exit; 3.11 does."""
    program = """
source, asked = source_of(credentials(renew, minutes=12)), source_of(credentials(renew, minutes=12))
@atexit.register
def at_exit():
    assert asked.ready() is not None
    source.snapshot()
    for thread in threading.enumerate():
        if thread.name == "opensearch-sigv4-credentials":
            thread.join(30)
    print(source.snapshot().access_key)
    assert asked.ready() is not None
"""
    assert run(program) == f"{SECOND[0]}\n"


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason="dateutil.tz.tzlocal() alone crashes CPython 3.13.0 during shutdown"
)
def test_signing_while_the_interpreter_is_torn_down():
    program = """
class Last:
    def __init__(self):
        self.source = source_of(credentials(renew, minutes=12))
    def __del__(self):
        assert sys.is_finalizing()
        assert self.source.ready() is not None
        self.source.snapshot()
        print(self.source.snapshot().access_key)
last = Last()
"""
    assert run(program) == f"{SECOND[0]}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("window", [ADVISORY, MANDATORY, EXPIRED], ids=["advisory", "mandatory", "expired"])
def test_a_child_forked_during_a_refresh_signs_and_refreshes(window):
    in_parent = os.getpid()
    held, called = threading.Event(), threading.Event()
    renewing = Refresher()

    def refresh():
        if os.getpid() == in_parent:
            called.set()
            assert held.wait(TIMEOUT_S)
        return renewing()

    expiry = datetime.now(UTC) + timedelta(seconds=window)
    credentials = RefreshableCredentials(*FIRST, expiry, refresh, "test")
    source = source_of(credentials)
    other = threading.Thread(target=source.snapshot)
    other.start()
    assert called.wait(TIMEOUT_S)
    assert credentials._refresh_lock.locked()

    def child():
        first = source.snapshot()
        for thread in refreshers():
            thread.join(TIMEOUT_S)
        second = source.snapshot()
        static = source_of(Credentials(*KEYS)).snapshot()
        expected = FIRST if window == ADVISORY else SECOND
        return same(first, expected) and same(second, SECOND) and same(static, (*KEYS, None)) and renewing.calls == 1

    try:
        assert in_child(child) == b"yes"
    finally:
        held.set()
        other.join(TIMEOUT_S)
        join_refreshers()
    assert same(source.snapshot(), SECOND)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_every_lock_is_held():
    source, default = source_of(Credentials(*FIRST)), source_of()
    held, release = threading.Event(), threading.Event()

    def hold():
        with module._registry_lock, source._lock, default._lock:
            held.set()
            assert release.wait(TIMEOUT_S)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(TIMEOUT_S)

    def child():
        return (
            same(source.snapshot(), FIRST)
            and same(source_of(Credentials(*SECOND)).snapshot(), SECOND)
            and source_of() is default
            and default.region is None
        )

    try:
        assert in_child(child) == b"yes"
    finally:
        release.set()
        holder.join(TIMEOUT_S)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_the_default_chain_is_first_asked(tmp_path, monkeypatch):
    """The child does not wait for a thread that stayed behind."""
    fifo, asked = tmp_path / "fifo", tmp_path / "asked"
    os.mkfifo(fifo)
    answer = json.dumps({"Version": 1, "AccessKeyId": KEYS[0], "SecretAccessKey": KEYS[1]})
    script = tmp_path / "provide.py"
    script.write_text(
        f"import os\nfirst = not os.path.exists({str(asked)!r})\nopen({str(asked)!r}, 'a').close()\n"
        f"if first: open({str(fifo)!r}).read()\nprint({answer!r})\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    source = source_of()
    asking = threading.Thread(target=source.snapshot)
    asking.start()
    with open(fifo, "w"):  # opens once the process reads: the thread is inside get_credentials() now
        assert in_child(lambda: same(source.snapshot(), (*KEYS, None))) == b"yes"
    asking.join(TIMEOUT_S)
    assert same(source.ready(), (*KEYS, None))


def in_child(function):
    """Whether `function` is true in a forked child: b"yes", b"no", or what it raised; bounded in time."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and up warn of fork beside threads, our subject
        pid = os.fork()
    if pid == 0:
        signal.alarm(TIMEOUT_S)
        try:
            answer = b"yes" if function() else b"no"
        except BaseException as error:
            answer = type(error).__name__.encode()
        finally:
            os.write(writing, answer)
            os._exit(0)
    os.close(writing)
    try:
        assert select.select([reading], [], [], TIMEOUT_S)[0], "the child hangs"
        return os.read(reading, 100)
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


# The default chain and profiles


@pytest.fixture
def aws_files(tmp_path, monkeypatch):
    """Write AWS's two files; returns a function (name, text)."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def ini(profile, values):
    return f"[{profile}]\naws_access_key_id = {values[0]}\naws_secret_access_key = {values[1]}\n"


def test_one_default_chain_and_one_source_per_profile():
    assert source_of() is source_of(None)
    assert source_of(profile="a") is source_of(profile="a")
    assert len({source_of(), source_of(profile="a"), source_of(profile="b")}) == 3
    assert source_of().original is None
    assert source_of(profile="a").original is None
    assert "'a'" in repr(source_of(profile="a"))
    assert len(set(joined(*in_threads(lambda: source_of(profile="c"))))) == 1


def test_credentials_and_profile_exclude_each_other():
    with pytest.raises(ValueError, match=r"credentials.*profile"):
        source_of(Credentials(*FIRST), profile="a")
    with pytest.raises(TypeError, match="profile"):
        source_of(profile=1)
    with pytest.raises(ValueError, match="profile"):
        source_of(profile="")


def test_the_environments_keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", FIRST[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", FIRST[1])
    monkeypatch.setenv("AWS_SESSION_TOKEN", FIRST[2])
    source = source_of()
    assert source.ready() is None
    first = source.snapshot()
    assert same(first, FIRST)
    assert source.snapshot() is first
    assert source.ready() is first


def test_finding_nothing_is_not_remembered(aws_files):
    for source, profile in ((source_of(), "default"), (source_of(profile="later"), "later")):
        for _ in range(2):
            with pytest.raises((NoCredentialsError, ProfileNotFound)):
                source.snapshot()
            assert source.ready() is None
        aws_files("credentials", ini(profile, KEYS))
        assert same(source.snapshot(), (*KEYS, None))


def test_no_credentials_says_what_to_do():
    with pytest.raises(NoCredentialsError) as raised:
        source_of().snapshot()
    assert "AWS_ACCESS_KEY_ID" in raised.value.__notes__[0]
    errors = joined(*in_threads(source_of().snapshot))
    assert {type(error) for error in errors} == {NoCredentialsError}


def test_a_profile_of_the_credentials_file(aws_files):
    aws_files("credentials", ini("default", KEYS) + ini("other", OTHER_KEYS))
    assert same(source_of().snapshot(), (*KEYS, None))
    assert same(source_of(profile="other").snapshot(), (*OTHER_KEYS, None))


def test_a_profile_that_is_not_there(aws_files):
    with pytest.raises(ProfileNotFound):
        source_of(profile="absent").snapshot()
    with pytest.raises(ProfileNotFound):
        _ = source_of(profile="absent").region


def test_half_a_pair_of_keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    with pytest.raises(PartialCredentialsError):
        source_of().snapshot()


@pytest.mark.skipif(sys.platform == "win32", reason="credential_process is split as a shell would")
def test_a_credential_process_is_run_once_for_sixteen_threads(aws_files, tmp_path):
    calls = tmp_path / "calls"
    answer = {
        "Version": 1,
        "AccessKeyId": FIRST[0],
        "SecretAccessKey": FIRST[1],
        "SessionToken": FIRST[2],
        "Expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    script = aws_files("provide.py", f"open({str(calls)!r}, 'a').write('x')\nprint({json.dumps(answer)!r})\n")
    aws_files("config", f"[profile process]\ncredential_process = {sys.executable} {script}\n")
    source = source_of(profile="process")
    results = joined(*in_threads(source.snapshot))
    assert all(same(result, FIRST) for result in results)
    assert len({id(result) for result in results}) == 1
    assert source.ready() is results[0]
    assert calls.read_text() == "x"


def test_the_users_session_is_asked_on_every_request():
    session = session_of(Credentials(*FIRST))
    source = source_of(session)
    first = source.snapshot()
    assert same(first, FIRST)
    assert source.ready() is first
    session.set_credentials(*SECOND)
    assert source.ready() is None
    assert same(source.snapshot(), SECOND)
    assert same(source.ready(), SECOND)


def test_a_session_of_the_users_own_making_might_block():
    asked, credentials = [], Credentials(*FIRST)
    source = source_of(SimpleNamespace(get_credentials=lambda: asked.append(1) or credentials))
    assert same(source.snapshot(), FIRST)
    assert source.ready() is None
    assert len(asked) == 1


def test_importing_and_constructing_imports_no_botocore():
    program = """
import sys
from opensearch_sigv4.credentials import source_of
class Mine:
    access_key, secret_key = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
class Session:
    def get_credentials(self):
        return Mine()
for credentials in (None, Mine(), Session(), Mine):
    source = source_of(credentials)
    if credentials is not None:
        source.snapshot()
print([name for name in sys.modules if name.split(".")[0] in ("botocore", "boto3")], source_of().region)
"""
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | {"AWS_REGION": "eu-central-1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    ).stdout
    assert out == "[] eu-central-1\n"


# Sharing


def test_one_source_per_object_for_as_long_as_somebody_holds_it():
    for make in (TAKEN["Credentials"], TAKEN["ReadOnlyCredentials"], TAKEN["boto3 session"], TAKEN["namespace"]):
        credentials = make()
        sources = joined(*in_threads(lambda credentials=credentials: source_of(credentials)))
        assert len(set(sources)) == 1
        assert source_of(make()) is not sources[0]


def test_the_registry_keeps_nothing_alive():
    before = len(module._sources)
    for _ in range(100):
        source_of(Credentials(*FIRST)).snapshot()
        source_of(lambda: Credentials(*SECOND)).snapshot()
    gc.collect()
    assert len(module._sources) <= before


def test_a_reused_id_is_not_mistaken_for_the_object():
    for number in range(1000):
        assert same(
            source_of(Credentials(KEYS[0], f"{KEYS[1]}{number}")).snapshot(), (KEYS[0], f"{KEYS[1]}{number}", None)
        )


def test_one_refresher_for_all_sources_of_an_object(refresher):
    credentials = refreshable(ADVISORY, refresher)
    refresher.go_on.clear()
    sources = [source_of(credentials), source_of(session_of(credentials)), source_of(lambda: credentials)]
    assert all(same(source.snapshot(), FIRST) for source in sources for _ in range(3))
    assert refresher.called.wait(TIMEOUT_S)
    refresher.go_on.set()
    join_refreshers()
    assert all(same(source.snapshot(), SECOND) for source in sources)
    assert refresher.calls == 1


# Region


def test_region_of_the_environment_then_the_profile(aws_files, monkeypatch):
    aws_files("config", "[default]\nregion = eu-west-1\n[profile other]\nregion = eu-west-2\n")
    others = (Credentials(*FIRST), Mine(*FIRST), lambda: Credentials(*FIRST), SimpleNamespace(get_credentials=dict))
    plain = [source_of(other) for other in others]
    sources = [source_of(), *plain, source_of(botocore.session.Session()), source_of(boto3.Session())]
    assert {source.region for source in sources} == {"eu-west-1"}
    assert source_of(profile="other").region == "eu-west-2"
    assert source_of(boto3.Session(profile_name="other")).region == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-1")
    assert {source.region for source in sources} == {"eu-south-1"}
    assert source_of(profile="other").region == "eu-south-1"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert {source.region for source in sources} == {"eu-north-1"}
    monkeypatch.setenv("AWS_REGION", "")
    assert {source.region for source in sources} == {"eu-south-1"}
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    assert {source.region for source in sources} == {"eu-west-1"}
    assert source_of(profile="other").region == "eu-west-2"


def test_a_sessions_own_region_comes_first(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-1")
    assert source_of(boto3.Session(region_name="us-west-2")).region == "us-west-2"
    session = botocore.session.Session()
    session.set_config_variable("region", "us-west-1")
    assert source_of(session).region == "us-west-1"


def test_no_region_anywhere():
    assert source_of().region is None
    assert source_of(Credentials(*FIRST)).region is None
    assert source_of(botocore.session.Session()).region is None


# Pickling


def provide():
    return Credentials(*FIRST)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_can_be_pickled(protocol):
    def through_pickle(source):
        return pickle.loads(pickle.dumps(source, protocol))

    assert through_pickle(source_of()) is source_of()
    assert through_pickle(source_of(profile="a")) is source_of(profile="a")
    assert through_pickle(source_of(provide)) is source_of(provide)
    for credentials in (Credentials(*FIRST), ReadOnlyCredentials(*FIRST), Snapshot(*FIRST)):
        source = through_pickle(source_of(credentials))
        assert type(source.original) is type(credentials)
        assert same(source.snapshot(), FIRST)
    assert same(through_pickle(source_of(PlainPair(*KEYS))).snapshot(), (*KEYS, None))


@pytest.mark.parametrize(
    "kind",
    [
        "RefreshableCredentials",
        "DeferredRefreshableCredentials",
        "subclass",
        "namespace",
        "class of the user's",
        "botocore session",
        "boto3 session",
        "session of refreshable",
        "session of the user's",
    ],
)
def test_what_cannot_be_pickled(kind):
    with pytest.raises(TypeError, match=r"^credentials: .* cannot be pickled") as raised:
        pickle.dumps(source_of(TAKEN[kind]()))
    assert not shows_secret(raised.value)


def test_a_callable_that_pickle_cannot_find_is_pickles_own_error():
    with pytest.raises(TypeError, match=r"^credentials: .*function cannot be pickled"):
        pickle.dumps(source_of(lambda: None))
