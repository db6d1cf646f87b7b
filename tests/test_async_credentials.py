"""Credentials on an event loop: asked elsewhere, once for all who wait, and nobody waits who has valid ones."""

import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from collections import namedtuple
from types import SimpleNamespace

import opensearchpy
import pytest
from botocore.credentials import Credentials, DeferredRefreshableCredentials, ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

from loops import nothing_blocks_a_loop, run  # noqa: F401 - a fixture
from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.async_credentials import LoopSource, loop_source_of
from opensearch_sigv4.credentials import source_of
from refreshing import (
    ADVISORY,
    EXPIRED,
    FIRST,
    MANDATORY,
    SECOND,
    TIMEOUT_S,
    Clock,
    Refresher,
    join_refreshers,
    refreshable,
    refreshers,
    same,
    shows_secret,
)
from test_credentials import TAKEN, session_of

URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/"
WAITERS = 50


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refresher(clock):
    return Refresher(clock)


@pytest.mark.parametrize("kind", TAKEN)
def test_whatever_a_signer_takes(kind):
    source = loop_source_of(TAKEN[kind]())
    assert same(run(source.fetch()), FIRST)
    assert same(source.snapshot(), FIRST)  # where nothing was taken it asks, as any source does
    assert not shows_secret(source)


def test_one_of_its_own_is_taken_as_it_is():
    source = loop_source_of(Credentials(*FIRST))
    assert loop_source_of(source) is source
    assert SigV4Signer(source, "us-east-1").credentials is source.original


def test_no_credentials():
    with pytest.raises(NoCredentialsError):
        run(loop_source_of().fetch())


@pytest.mark.parametrize("wrong", [5, "profile", object(), [1]])
def test_anything_else_is_refused(wrong):
    with pytest.raises(TypeError, match=r"^credentials: "):
        loop_source_of(wrong)


def test_credentials_and_profile():
    with pytest.raises(ValueError, match=r"^credentials and profile: "):
        loop_source_of(Credentials(*FIRST), profile="p")


# What blocks is done elsewhere


def test_a_callable_is_called_in_a_thread_once_for_all_that_wait():
    threads, go_on = [], threading.Event()

    def ask():
        threads.append(threading.current_thread())
        assert go_on.wait(TIMEOUT_S)
        return Credentials(*FIRST)

    source = loop_source_of(ask)

    async def main():
        waiting = [asyncio.create_task(source.fetch()) for _ in range(WAITERS)]
        await asyncio.sleep(0)
        waiting[3].cancel()  # nobody else is
        go_on.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results.pop(3), asyncio.CancelledError)
        return results

    assert all(same(result, FIRST) for result in run(main()))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    run(source.fetch())
    assert len(threads) == 2  # asked again by the next request


def test_all_waiters_may_be_cancelled():
    go_on = threading.Event()
    source = loop_source_of(lambda: go_on.wait(TIMEOUT_S) and Credentials(*FIRST))

    async def main():
        waiting = [asyncio.create_task(source.fetch()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        late = asyncio.create_task(source.fetch())
        await asyncio.sleep(0)
        go_on.set()
        return await late

    assert same(run(main()), FIRST)


def test_what_a_callable_raises_comes_as_it_is_and_each_gets_its_own():
    def ask():
        raise OSError("no credentials today")

    source = loop_source_of(ask)

    async def main():
        return await asyncio.gather(*(source.fetch() for _ in range(WAITERS)), return_exceptions=True)

    errors = run(main())
    assert {(type(error), str(error)) for error in errors} == {(OSError, "no credentials today")}
    assert len({id(error) for error in errors}) == WAITERS


def test_a_callable_that_raises_stop_iteration():
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(loop_source_of(lambda: next(iter(()))).fetch())


def test_a_loop_that_ends_before_the_answer():
    asked, go_on = threading.Event(), threading.Event()

    def ask():
        asked.set()
        assert go_on.wait(TIMEOUT_S)
        return Credentials(*FIRST)

    source = loop_source_of(ask)

    async def main():
        task = asyncio.create_task(source.fetch())
        while not asked.is_set():
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    go_on.set()
    join_refreshers()
    assert same(run(source.fetch()), FIRST)  # another loop asks anew


@pytest.mark.parametrize("is_async", [False, True])
def test_requests_of_different_contexts_share_no_answer(is_async):
    """As where the credentials are those of the tenant whose request it is."""
    tenant = contextvars.ContextVar("tenant", default=None)
    calls = []

    def ask():
        calls.append(tenant.get())
        return Credentials(f"AKID{tenant.get()}", "secret")

    async def ask_awaited():
        await asyncio.sleep(0)
        return ask()

    source = loop_source_of(ask_awaited if is_async else ask)

    async def request(name):
        tenant.set(name)
        assert (await source.fetch()).access_key == f"AKID{name}"

    async def main():
        await asyncio.gather(*(request(name) for name in "ABCABC"))

    run(main())
    assert sorted(calls) == ["A", "B", "C"]


def test_a_context_whose_values_do_not_compare():
    class Incomparable:
        def __eq__(self, other):
            raise ValueError("ambiguous")

        __hash__ = object.__hash__

    variable = contextvars.ContextVar("variable")
    source = loop_source_of(lambda: Credentials(*FIRST))

    async def request():
        variable.set(Incomparable())
        return await source.fetch()

    async def main():
        return await asyncio.gather(*(request() for _ in range(3)))

    assert all(same(result, FIRST) for result in run(main()))


# What is ready is at hand


def taken_over(credentials):
    from opensearch_sigv4.auth import signer_behind

    return signer_behind(opensearchpy.Urllib3AWSV4SignerAuth(credentials, "us-east-1")).source


class Slots:
    __slots__ = ("access_key", "secret_key", "token")

    def __init__(self, *values):
        self.access_key, self.secret_key, self.token = values


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(*FIRST),
        ReadOnlyCredentials(*FIRST),
        SimpleNamespace(access_key=FIRST[0], secret_key=FIRST[1], token=FIRST[2]),
        Slots(*FIRST),
        taken_over(Credentials(*FIRST)),
        taken_over(refreshable(3600, Refresher(), FIRST)),
        refreshable(3600, Refresher(), FIRST),
    ],
    ids=lambda credentials: type(credentials).__name__,
)
def test_what_only_has_to_be_read_needs_no_thread(credentials, monkeypatch):
    source = loop_source_of(credentials)
    monkeypatch.setattr(threading, "Thread", None)
    assert same(source.ready(), FIRST)
    assert same(run(source.fetch()), FIRST)


def test_what_runs_code_when_it_is_read_needs_one():
    threads = []

    class Fetching:
        secret_key, token = FIRST[1:]

        @property
        def access_key(self):
            threads.append(threading.current_thread())
            return FIRST[0]

    source = loop_source_of(Fetching())
    assert source.ready() is None
    assert same(run(source.fetch()), FIRST)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_new_values_of_a_taken_over_signer_are_read():
    auth = opensearchpy.Urllib3AWSV4SignerAuth(Credentials(*FIRST), "us-east-1")
    from opensearch_sigv4.auth import signer_behind

    source = loop_source_of(signer_behind(auth).source)
    assert same(source.ready(), FIRST)
    auth.signer.credentials = Credentials(*SECOND)
    assert same(source.ready(), SECOND)


@pytest.mark.parametrize("window", [ADVISORY, MANDATORY])
def test_while_credentials_are_valid_nobody_waits_for_their_refresh(refresher, window):
    refresher.go_on.clear()
    source = loop_source_of(refreshable(window, refresher))

    async def main():
        for _ in range(WAITERS):
            assert same(await source.fetch(), FIRST)
        refresher.go_on.set()
        while refreshers():
            await asyncio.sleep(0)
        return await source.fetch()

    assert same(run(main()), SECOND)
    assert refresher.calls == 1


def test_expired_credentials_are_refreshed_once_for_all(refresher):
    source = loop_source_of(refreshable(EXPIRED, refresher))

    async def main():
        return await asyncio.gather(*(source.fetch() for _ in range(WAITERS)))

    assert all(same(result, SECOND) for result in run(main()))
    assert refresher.calls == 1


def test_a_session_is_asked_in_a_thread_the_first_time():
    credentials = DeferredRefreshableCredentials(Refresher(values=FIRST), "test")
    source = loop_source_of(session_of(credentials))
    assert source.ready() is None
    assert same(run(source.fetch()), FIRST)
    assert same(source.ready(), FIRST)


# What has to be awaited


class Awaited:
    """Credentials that only a loop can read, as aiobotocore's are."""

    def __init__(self, *values):
        self.values, self.calls = values, 0

    async def get_frozen_credentials(self):
        self.calls += 1
        await asyncio.sleep(0)
        return ReadOnlyCredentials(*self.values)


class AwaitedSession:
    def __init__(self, credentials):
        self.credentials, self.calls = credentials, 0

    async def get_credentials(self):
        self.calls += 1
        await asyncio.sleep(0)
        return self.credentials


async def coroutine_function():
    return Credentials(*FIRST)


class CallableObject:
    async def __call__(self):
        return Credentials(*FIRST)


AWAITED = {
    "credentials": lambda: Awaited(*FIRST),
    "session": lambda: AwaitedSession(Credentials(*FIRST)),
    "session with awaited credentials": lambda: AwaitedSession(Awaited(*FIRST)),
    "coroutine function": lambda: coroutine_function,
    "coroutine method": lambda: AwaitedSession(Credentials(*FIRST)).get_credentials,
    "object with a coroutine __call__": CallableObject,
    "callable that returns a coroutine": lambda: lambda: coroutine_function(),
    "callable that returns awaited credentials": lambda: lambda: Awaited(*FIRST),
}


@pytest.mark.parametrize("kind", AWAITED)
def test_what_has_to_be_awaited(kind):
    source = loop_source_of(AWAITED[kind]())
    assert same(run(source.fetch()), FIRST)
    assert same(run(source.fetch()), FIRST)  # on another loop
    with pytest.raises(TypeError, match=r"^credentials: .*awaitable source"):
        SigV4Signer(source, "us-east-1").sign("GET", URL)
    assert not shows_secret(source)


@pytest.mark.parametrize("kind", [kind for kind in AWAITED if not kind.startswith("callable")])
def test_no_synchronous_signer_takes_it(kind):
    with pytest.raises(TypeError, match=r"^credentials: .*awaitable source"):
        SigV4Signer(AWAITED[kind](), "us-east-1")


def test_awaited_credentials_are_asked_for_every_request_and_once_for_all_that_wait():
    credentials = Awaited(*FIRST)
    source = loop_source_of(credentials)

    async def main():
        return await asyncio.gather(*(source.fetch() for _ in range(WAITERS)))

    assert all(same(result, FIRST) for result in run(main()))
    assert credentials.calls == 1
    credentials.values = SECOND
    assert same(run(source.fetch()), SECOND)


@pytest.mark.parametrize("answer", [None, 5, object()])
def test_a_coroutine_function_that_returns_no_credentials(answer):
    async def ask():
        return answer

    with pytest.raises((NoCredentialsError, TypeError)) as caught:
        run(loop_source_of(ask).fetch())
    assert isinstance(caught.value, NoCredentialsError) is (answer is None)


def test_a_coroutine_that_is_no_function():
    coroutine = coroutine_function()
    with pytest.raises(TypeError, match=r"^credentials: .*awaited"):
        loop_source_of(coroutine)


def test_the_last_holder_ends_the_question_and_those_that_still_wait_ask_again():
    calls, go_on = [], asyncio.Event()

    async def ask():
        calls.append(1)
        await go_on.wait()
        return Credentials(*FIRST)

    source = loop_source_of(ask)

    async def main():
        source.hold()
        source.hold()
        waiting = [asyncio.create_task(source.fetch()) for _ in range(3)]
        while not calls:
            await asyncio.sleep(0)
        await source.release()
        assert len(calls) == 1
        await source.release()
        while len(calls) < 2:
            await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(*waiting)

    assert all(same(result, FIRST) for result in run(main()))
    assert len(calls) == 2


def test_who_has_ended_waits_no_longer():
    go_on = asyncio.Event()

    async def ask():
        await go_on.wait()
        return Credentials(*FIRST)

    source = loop_source_of(ask)

    async def main():
        ended = asyncio.get_running_loop().create_future()
        waiting, other = asyncio.create_task(source.fetch(ended)), asyncio.create_task(source.fetch())
        await asyncio.sleep(0)
        ended.set_result(None)
        assert await waiting is None
        go_on.set()
        return await other

    assert same(run(main()), FIRST)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_question_that_is_cancelled_by_somebody_else_is_an_error(is_async):
    calls = []

    def ask():
        calls.append(1)
        raise asyncio.CancelledError

    async def ask_awaited():
        ask()

    with pytest.raises(RuntimeError, match=r"cancelled|CancelledError"):
        run(loop_source_of(ask_awaited if is_async else ask).fetch())
    assert len(calls) == 1


def test_what_several_clients_are_given_is_asked_once_for_all():
    calls, go_on = [], threading.Event()

    def ask():
        calls.append(1)
        assert go_on.wait(TIMEOUT_S)
        return Credentials(*FIRST)

    awaited = Awaited(*FIRST)
    assert loop_source_of(ask) is (source := loop_source_of(ask))
    assert loop_source_of(awaited) is loop_source_of(awaited)

    async def main():
        waiting = [asyncio.create_task(loop_source_of(ask).fetch()) for _ in range(WAITERS)]
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(*waiting)

    assert all(same(result, FIRST) for result in run(main()))
    assert len(calls) == 1
    assert source.original is ask


def test_an_error_has_no_cause_that_is_itself_and_is_not_kept():
    class Body:
        pass

    async def ask():
        raise OSError("no credentials today")

    source = loop_source_of(ask)
    kept = []

    async def request():
        body = Body()
        kept.append(weakref.ref(body))
        await source.fetch()

    async def main():
        first, second = await asyncio.gather(request(), request(), return_exceptions=True)
        assert first.__cause__ is None
        assert second.__cause__ is first

    run(main())
    gc.collect()
    assert [body() for body in kept] == [None, None]


def test_debug_mode_prints_no_secret(caplog):
    class Named(namedtuple("Named", "access_key secret_key")):
        pass

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0
        await loop_source_of(lambda: Named(*FIRST[:2])).fetch()
        await loop_source_of(Credentials(*FIRST)).fetch()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main(), debug=True)
    join_refreshers()
    assert "Executing" in caplog.text
    assert (FIRST[1][-8:] in caplog.text) is False


# What is taken is signed with


def test_what_was_taken_is_signed_with_once(refresher):
    source = loop_source_of(refreshable(3600, refresher))
    signer = SigV4Signer(source, "us-east-1")
    assert isinstance(source, LoopSource)
    source.take(source_of(Credentials(*SECOND)).snapshot())
    assert (signer.sign("GET", URL)["X-Amz-Security-Token"] == SECOND[2]) is True
    assert (signer.sign("GET", URL)["X-Amz-Security-Token"] == FIRST[2]) is True


def test_each_thread_takes_its_own():
    source = loop_source_of(Credentials(*FIRST))
    signer = SigV4Signer(source, "us-east-1")
    source.take(source_of(Credentials(*SECOND)).snapshot())
    other = []
    thread = threading.Thread(target=lambda: other.append(signer.sign("GET", URL)))
    thread.start()
    thread.join(TIMEOUT_S)
    assert (other[0]["X-Amz-Security-Token"] == FIRST[2]) is True
    assert (signer.sign("GET", URL)["X-Amz-Security-Token"] == SECOND[2]) is True
