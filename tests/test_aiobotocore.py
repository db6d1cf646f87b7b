"""aiobotocore's sessions and credentials, which only an event loop can await.

It pins one version of botocore, older than the newest, so `dev` has it not: `.ci/run` installs it for one Python.
"""

import asyncio
import logging
from datetime import timedelta

import opensearchpy
import pytest
from botocore.credentials import ReadOnlyCredentials

from loops import run
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4Signer, connect_async
from opensearch_sigv4.async_credentials import loop_source_of
from refreshing import ADVISORY, EXPIRED, FIRST, MANDATORY, MINUTES, SECOND, Clock, Refresher, same, shows_secret

pytest.importorskip("aiobotocore", reason="aiobotocore is not installed (it pins an older botocore)")

from aiobotocore import credentials as aio
from aiobotocore.session import get_session

WAITERS = 50


class AioRefresher(Refresher):
    """A refresh_using that is awaited."""

    def __init__(self, clock):
        super().__init__(clock)
        self.resume = asyncio.Event()
        self.resume.set()

    async def __call__(self):
        await self.resume.wait()
        return super().__call__()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refresher(clock):
    return AioRefresher(clock)


def refreshable(expires_in, refresher):
    expiry = refresher.clock() + timedelta(seconds=expires_in)
    return aio.AioRefreshableCredentials(*FIRST, expiry, refresher, "test", time_fetcher=refresher.clock)


def test_static_credentials_are_at_hand():
    source = loop_source_of(aio.AioCredentials(*FIRST))
    assert same(source.ready(), FIRST)
    assert same(run(source.fetch()), FIRST)


@pytest.mark.parametrize("window", [ADVISORY, MANDATORY])
def test_while_credentials_are_valid_nobody_waits_for_their_refresh(refresher, window):
    source = loop_source_of(refreshable(window, refresher))

    async def main():
        refresher.resume.clear()
        for _ in range(WAITERS):
            assert same(await source.fetch(), FIRST)
            await asyncio.sleep(0)
        refresher.resume.set()
        while not refresher.calls:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await source.fetch()

    assert same(run(main()), SECOND)
    assert refresher.calls == 1


@pytest.mark.parametrize("make", ["refreshable", "deferred"])
def test_without_valid_ones_all_wait_for_one_refresh(refresher, make):
    if make == "deferred":
        credentials = aio.AioDeferredRefreshableCredentials(refresher, "test", time_fetcher=refresher.clock)
    else:
        credentials = refreshable(EXPIRED, refresher)
    source = loop_source_of(credentials)
    assert source.ready() is None

    async def main():
        return await asyncio.gather(*(source.fetch() for _ in range(WAITERS)))

    assert all(same(result, SECOND) for result in run(main()))
    assert refresher.calls == 1
    assert same(source.ready(), SECOND)


def test_a_refresh_that_fails_in_time_is_logged_and_tried_again_later(clock, refresher, caplog):
    refresher.error = lambda: OSError("no network today")
    source = loop_source_of(refreshable(MANDATORY, refresher))

    async def main():
        for _ in range(WAITERS):
            assert same(await source.fetch(), FIRST)
            await asyncio.sleep(0)
        assert refresher.calls == 1
        clock.forward(11)
        assert same(await source.fetch(), FIRST)
        for _ in range(5):
            await asyncio.sleep(0)
        assert refresher.calls == 2
        clock.forward(MANDATORY)
        with pytest.raises(OSError, match="no network today"):
            await source.fetch()
        refresher.error = None
        return await source.fetch()

    with caplog.at_level(logging.WARNING, logger="opensearch_sigv4"):
        assert same(run(main()), SECOND)
    assert [record.name for record in caplog.records].count("opensearch_sigv4.credentials") == 3
    assert shows_secret(caplog.text) is False


def test_a_session(monkeypatch):
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), FIRST, strict=True):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    session = get_session()
    source = loop_source_of(session)
    assert source.ready() is None
    assert same(run(source.fetch()), FIRST)
    assert same(source.ready(), FIRST)  # what the session keeps
    assert source.region == "eu-west-1"
    assert source.original is session


@pytest.mark.parametrize("make", [lambda: aio.AioCredentials(*FIRST), get_session])
def test_no_synchronous_signer_takes_them(make):
    with pytest.raises(TypeError, match=r"^credentials: .*awaitable source"):
        SigV4Signer(make(), "us-east-1")


def test_a_subclass_that_refreshes_in_its_own_way_is_asked_in_public():
    class Own(aio.AioRefreshableCredentials):
        async def get_frozen_credentials(self):
            return ReadOnlyCredentials(*SECOND)

    credentials = Own(*FIRST, Clock()() + timedelta(hours=1), None, "test", time_fetcher=Clock())
    source = loop_source_of(credentials)
    assert source.ready() is None
    assert same(run(source.fetch()), SECOND)


def test_requests_through_a_refresh(local_domain, clock, refresher):
    local_domain.add_credentials(*FIRST)
    local_domain.add_credentials(*SECOND)

    async def main():
        credentials = refreshable(3600, refresher)
        async with connect_async(local_domain.url, region=local_domain.region, credentials=credentials) as client:
            await asyncio.gather(*(client.info() for _ in range(WAITERS)))
            clock.forward(3601)
            await asyncio.gather(*(client.info() for _ in range(WAITERS)))

    run(main())
    assert (local_domain.verified, local_domain.refused) == (2 * WAITERS, 0)
    assert refresher.calls == 1


def test_a_signer_of_opensearch_py_is_taken_over(local_domain, clock, refresher):
    """Which cannot await them itself."""
    local_domain.add_credentials(*FIRST)
    local_domain.add_credentials(*SECOND)

    async def main():
        auth = opensearchpy.AWSV4SignerAsyncAuth(refreshable(3600, refresher), local_domain.region)
        async with opensearchpy.AsyncOpenSearch(
            local_domain.url, http_auth=auth, connection_class=AsyncSigV4HttpConnection
        ) as client:
            await client.info()
            clock.forward(3601)
            await asyncio.gather(*(client.info() for _ in range(WAITERS)))

    run(main())
    assert (local_domain.verified, local_domain.refused) == (1 + WAITERS, 0)
    assert refresher.calls == 1


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_closing_ends_the_task_that_refreshes(local_domain, refresher, is_taken_over):
    local_domain.add_credentials(*FIRST)

    async def main():
        refresher.resume.clear()
        options = {"credentials": refreshable(ADVISORY, refresher), "region": local_domain.region}
        if is_taken_over:
            options = {"http_auth": opensearchpy.AWSV4SignerAsyncAuth(**options)}
        async with opensearchpy.AsyncOpenSearch(
            local_domain.url, connection_class=AsyncSigV4HttpConnection, **options
        ) as client:
            await client.info()
            assert len(asyncio.all_tasks()) == 2

    run(main())
    assert local_domain.verified == 1


def test_credentials_that_the_service_says_have_expired_are_refreshed_early(local_domain, clock, refresher):
    local_domain.add_credentials(*FIRST, expires_at=0)
    local_domain.add_credentials(*SECOND)

    async def main():
        credentials = refreshable(MINUTES * 60, refresher)
        async with connect_async(local_domain.url, credentials=credentials, region=local_domain.region) as client:
            await asyncio.gather(*(client.cat.indices() for _ in range(WAITERS)))
            local_domain.add_credentials(*SECOND, expires_at=0)
            clock.forward(MINUTES)
            refresher.error = lambda: RuntimeError("STS is away")
            for _ in range(3):
                with pytest.raises(opensearchpy.AuthorizationException):
                    await client.cat.indices()

    run(main())
    assert refresher.calls == 2
    assert local_domain.verified == WAITERS


def test_a_session_of_aiobotocores_is_asked_again(local_domain):
    local_domain.add_credentials(*FIRST, expires_at=0)
    local_domain.add_credentials(*SECOND)

    async def main():
        session = get_session()
        session.set_credentials(*FIRST)
        async with connect_async(local_domain.url, credentials=session, region=local_domain.region) as client:
            with pytest.raises(opensearchpy.AuthorizationException):
                await client.cat.indices()
            session.set_credentials(*SECOND)
            await client.cat.indices()

    run(main())
    assert (local_domain.refused, local_domain.verified) == (1, 1)
