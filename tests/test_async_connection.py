"""AsyncSigV4HttpConnection: signed on the loop, nothing blocks it, and its parent in everything else."""

import asyncio
import contextlib
import gc
import gzip
import inspect
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from datetime import timedelta

import opensearchpy
import pytest
from blockbuster import BlockingError
from botocore.credentials import Credentials, DeferredRefreshableCredentials
from botocore.exceptions import NoCredentialsError
from opensearchpy import AIOHttpConnection, AsyncHttpConnection, AsyncOpenSearch, MetricsEvents
from requests.auth import HTTPBasicAuth

import opensearch_sigv4 as osv4
from loops import nothing_blocks_a_loop, run  # noqa: F401 - a fixture
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4Signer, compression, connect_async
from opensearch_sigv4.responses import Meaning, meaning_of
from opensearch_sigv4.testing import LocalDomain
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from recorder import recorder, sent
from refreshing import (
    ADVISORY,
    FIRST,
    MANDATORY,
    SECOND,
    TIMEOUT_S,
    Clock,
    Refresher,
    join_refreshers,
    refreshable,
    refreshers,
)
from test_connection import (
    ANSWERS,
    BAD_INPUT,
    BROKEN_ANSWERS,
    DOMAIN,
    NAMED,
    SIGNING,
    broken_server,
    normal,
    signing_id,
)


def static(token=None):
    return Credentials(ACCESS_KEY, SECRET_KEY, token)


@contextlib.asynccontextmanager
async def connection_to(server, **options):
    host, port = server.server_address
    connection = AsyncSigV4HttpConnection(host, port, **options)
    try:
        yield connection
    finally:
        await connection.close()


def perform(server, *request, options=None, **keywords):
    """One request by a connection of its own."""

    async def main():
        async with connection_to(
            server, **({"region": REGION, "credentials": static()} if options is None else options)
        ) as c:
            return await c.perform_request(*(request or ("GET", "/")), **keywords)

    return run(main())


@contextlib.asynccontextmanager
async def client_of(domain, **options):
    options = {"region": domain.region, "service": domain.service, "credentials": domain.credentials, **options}
    async with connect_async(domain.url, **options) as client:
        yield client


@pytest.fixture
def domain_before(server):
    """A domain that verifies, and has whatever the recorder answers."""
    with LocalDomain(upstream=server.url) as domain:
        yield domain


# --- when it signs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SIGNING, ids=signing_id)
def test_it_signs(server, options):
    async def main():
        async with connection_to(server, **options) as connection:
            await connection.perform_request("GET", "/")
            assert connection.signer.region == REGION
            assert connection.http_auth is options.get("http_auth")

    run(main())
    assert f"/{REGION}/{options.get('service', 'es')}/aws4_request" in sent(server)["authorization"]


def test_aws4auth_is_taken_over(server):
    from requests_aws4auth import AWS4Auth

    perform(server, options={"http_auth": AWS4Auth(ACCESS_KEY, SECRET_KEY, REGION, "aoss", session_token=TOKEN)})
    assert "/us-east-1/aoss/" in sent(server)["authorization"]
    assert (sent(server)["x-amz-security-token"] == TOKEN) is True


def test_a_signer_with_a_sign_of_its_own(server):
    class Own(SigV4Signer):
        def sign(self, *args, **kwargs):
            return {**super().sign(*args, **kwargs), "x-own": "1"}

    perform(server, "POST", "/", body=b"{}", options={"http_auth": Own(static(TOKEN), REGION)})
    assert sent(server)["x-own"] == "1"
    assert (sent(server)["x-amz-security-token"] == TOKEN) is True


@pytest.mark.parametrize(("host", "region", "service"), NAMED)
def test_hosts_that_aws_names_are_signed_for(host, region, service):
    connection = AsyncSigV4HttpConnection(host)
    assert (connection.signer.region, connection.signer.service) == (region, service)
    assert connection.host == f"https://{host}:443"
    assert connection.headers["host"] == host


def test_other_hosts_are_not(server):
    perform(server, options={})
    assert "authorization" not in sent(server)
    assert AsyncSigV4HttpConnection().host == "http://localhost:9200"


@pytest.mark.parametrize("basic", ["user:pw", ("user", "pw"), ["user", "pw"]])
def test_basic_auth_is_the_parents(server, basic):
    perform(server, options={"http_auth": basic})
    assert sent(server)["authorization"] == "Basic dXNlcjpwdw=="
    assert AsyncSigV4HttpConnection(DOMAIN, http_auth=basic).signer is None


@pytest.mark.parametrize("auth", [{"http_auth": ("a", "b")}, {"api_key": ("a", "b")}])
@pytest.mark.parametrize("options", [{"region": REGION, "credentials": static()}, {"http_auth": ("user", "pw")}])
def test_a_calls_own_authorization_wins(server, auth, options):
    async def main():
        async with AsyncOpenSearch(server.url, connection_class=AsyncSigV4HttpConnection, **options) as client:
            await client.info(**auth)

    run(main())
    assert sent(server)["authorization"] in ("Basic YTpi", "ApiKey YTpi")
    assert not [name for name in sent(server) if name.startswith("x-amz-")]


@pytest.mark.parametrize(
    "wrong", [HTTPBasicAuth("a", "b"), lambda: None, lambda request: request, 5, b"user:pw", object(), SigV4Signer]
)
def test_what_cannot_sign_is_refused_at_construction(wrong):
    with pytest.raises(TypeError, match=r"^http_auth: "):
        AsyncSigV4HttpConnection(http_auth=wrong)


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_callable_sees_the_final_request_and_its_headers_win_once(server, is_awaited):
    seen = []

    def auth(method, url, body, headers):
        seen.append((method, url, body, dict(headers)))
        return {"X-Opaque-ID": "signed", "Authorization": "mine"}

    async def awaited(**request):
        await asyncio.sleep(0)
        return auth(**request)

    options = {"http_auth": awaited if is_awaited else auth, "http_compress": True, "opaque_id": "given"}
    perform(server, "post", "/a b", {"q": "x y"}, b"{}", options=options)
    (method, url, body, headers) = seen[0]
    assert (method, url) == ("POST", f"{server.url}/a%20b?q=x%20y")
    assert body == server.received[-1][3]
    assert gzip.decompress(body) == b"{}"
    assert headers["content-encoding"] == "gzip"
    assert (sent(server)["x-opaque-id"], sent(server)["authorization"]) == ("signed", "mine")


def test_two_ways_at_once_are_refused():
    with pytest.raises(ValueError, match=r"^http_auth: "):
        AsyncSigV4HttpConnection(http_auth="user:pw", region=REGION)


# --- what it sends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{}", "{}", bytearray(b"{}"), memoryview(b"{}"), memoryview(b"{x}")[::2]])
@pytest.mark.parametrize("http_compress", [False, True])
def test_bodies(local_domain, body, http_compress):
    async def main():
        async with client_of(local_domain, http_compress=http_compress) as client:
            await client.transport._async_call()
            await client.transport.get_connection().perform_request("POST", "/logs/_doc", body=body)

    run(main())
    received = local_domain.requests[-1].body
    assert (gzip.decompress(received) if http_compress else received) == b"{}"
    assert local_domain.verified == 1


@pytest.mark.parametrize("size", [255 << 10, 256 << 10, 3 << 20])
@pytest.mark.parametrize("http_compress", [False, True])
@pytest.mark.parametrize("kind", [bytes, bytearray, str])
def test_large_bodies_are_prepared_in_a_thread(domain_before, size, http_compress, kind):
    threads = []

    class Watched(AsyncSigV4HttpConnection):
        def _gzip_compress(self, body):
            threads.append(threading.current_thread())
            return super()._gzip_compress(body)

    body = b'{"index":{}}\n{"a":"%s"}\n' % (b"x" * size)

    async def main():
        async with client_of(domain_before, http_compress=http_compress, connection_class=Watched) as client:
            await client.transport._async_call()
            given = body.decode() if kind is str else kind(body)
            await client.transport.get_connection().perform_request("POST", "/logs/_bulk", body=given)

    run(main())
    received = domain_before.requests[-1].body
    assert (gzip.decompress(received) if http_compress else received) == body
    assert (domain_before.verified, domain_before.refused) == (1, 0)
    assert threading.main_thread() not in threads
    assert bool(threads) is http_compress


def test_small_bodies_need_no_thread(local_domain, monkeypatch):
    async def main():
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", None)
        async with connection_to_domain(local_domain, http_compress=True) as connection:
            await connection.perform_request("POST", "/logs/_doc", body=b'{"a": 1}')

    run(main())
    assert local_domain.verified == 1


@contextlib.asynccontextmanager
async def connection_to_domain(domain, **options):
    host, port = domain.url.removeprefix("http://").split(":")
    connection = AsyncSigV4HttpConnection(
        host, int(port), region=domain.region, credentials=options.pop("credentials", domain.credentials), **options
    )
    try:
        yield connection
    finally:
        await connection.close()


def test_unsigned_bodies_of_any_kind_are_the_parents(server):
    async def pieces():
        yield b"{"
        yield b"}"

    host, port = server.server_address

    async def main():
        for cls in (AsyncHttpConnection, AsyncSigV4HttpConnection):
            connection = cls(host, port)
            await connection.perform_request("POST", "/", body=pieces(), headers={"content-length": "2"})
            await connection.close()

    run(main())
    assert [body for _, _, _, body in server.received] == [b"{}", b"{}"]


# --- errors ------------------------------------------------------------------------------------------------


def test_what_the_signer_raises_comes_at_once_and_as_itself(server):
    calls = []

    def broken():
        calls.append(1)
        raise OSError("no credentials today")

    async def main():
        options = {"connection_class": AsyncSigV4HttpConnection, "region": REGION, "credentials": broken}
        async with AsyncOpenSearch([server.url, server.url], **options) as client:
            with pytest.raises(OSError, match="no credentials today"):
                await client.info()
            assert len(client.transport.connection_pool.connections) == 2
            assert client.transport.connection_pool.dead_count == {}

    run(main())
    assert len(calls) == 1
    assert server.received == []


def test_no_credentials_at_all(server):
    with pytest.raises(NoCredentialsError):
        perform(server, options={"region": REGION})
    assert server.received == []


@pytest.mark.parametrize("dots", [".", ".."])
@pytest.mark.parametrize("options", [None, {}])
def test_dot_segments_are_refused(server, dots, options):
    with pytest.raises(ValueError, match=r"^url: a path segment"):
        perform(server, "DELETE", f"/logs/_doc/{dots}", options=options)
    assert server.received == []


@pytest.mark.parametrize(
    ("error", "request_"),
    BAD_INPUT,
)
def test_bad_input_is_refused_before_anything_is_sent(server, error, request_):
    with pytest.raises(error):
        perform(server, *request_)
    assert server.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_its_target(server, status):
    with recorder() as other:
        server.answer = (status, {"location": f"{other.url}/elsewhere"}, b"")
        with pytest.raises(opensearchpy.TransportError, match=f"redirect to {other.url}/elsewhere") as caught:
            perform(server, options={"region": REGION, "credentials": static(TOKEN)})
        assert caught.value.status_code == status
        assert (len(server.received), other.received) == (1, [])
        assert perform(server, ignore=(status,))[0] == status
        assert other.received == []


def test_an_unsigned_redirect_is_followed_as_the_parent_does(server):
    with recorder() as other:
        server.answer = (302, {"location": other.url}, b"")
        assert perform(server, options={})[0] == 200
        assert len(other.received) == 1


# --- the parent, side by side ------------------------------------------------------------------------------


class Signing(AsyncSigV4HttpConnection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, region=REGION, credentials=static(), **kwargs)


def outcome(cls, port, caplog, **request):
    """What one request to this connection class returns or raises, with the log records and warnings."""
    caplog.clear()

    async def main():
        connection = cls("127.0.0.1", port, timeout=5)
        try:
            status, headers, data = await connection.perform_request(
                **{"method": "GET", "url": "/logs/_search", **request}
            )
            return status, sorted(headers.items()), data
        except opensearchpy.OpenSearchException as error:
            text = re.sub(r"0x[0-9a-f]+", "", str(error.args[1]))[:50]
            return type(error), error.args[0], text, type(error.args[2])
        finally:
            await connection.close()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = asyncio.run(main())
    records = [
        (
            record.name,
            record.levelname,
            record.msg,
            str(record.args[:3]).replace(str(port), "PORT"),
            bool(record.exc_info),
        )
        for record in caplog.records
        if record.name == "opensearch"  # and not the tracer, whose records tell the time
    ]
    return result, records, [(warning.category, str(warning.message)) for warning in caught]


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "redirect"])
def test_answers_are_those_of_opensearch_py(server, caplog, name):
    """AIOHttpConnection's, which does not lose an error's `info`; it logs yarl's URL in place of text."""
    server.answer = (ANSWERS[name][0], {"date": "now", "server": "s", **ANSWERS[name][1]}, ANSWERS[name][2])
    caplog.set_level(logging.DEBUG, logger="opensearch")
    port = server.server_address[1]
    for request in ({"body": b'{"q": 1}', "params": {"q": "a"}}, {"ignore": (404, 409)}, {"method": "HEAD"}):
        theirs = outcome(AIOHttpConnection, port, caplog, **request)
        for cls in (Signing, AsyncSigV4HttpConnection):
            ours = outcome(cls, port, caplog, **request)
            assert normal(ours)[0] == normal(theirs)[0]
            assert ours[1] == [
                (name, level, message, re.sub(r"URL\(('[^']*')\)", r"\1", args), has_exception)
                for name, level, message, args, has_exception in theirs[1]
            ]
            assert ours[2] == theirs[2]


@pytest.mark.parametrize(
    "raw",
    BROKEN_ANSWERS,
)
def test_broken_answers_are_the_parents(caplog, raw):
    caplog.set_level(logging.DEBUG, logger="opensearch")
    outcomes = []
    for cls in (AsyncHttpConnection, Signing, AsyncSigV4HttpConnection):
        with broken_server(raw) as port:
            outcomes.append(outcome(cls, port, caplog, method="POST", body=b"{}"))
    assert outcomes[1] == outcomes[0]
    assert outcomes[2] == outcomes[0]


def test_a_refused_connection_and_a_timeout_are_the_parents(caplog):
    caplog.set_level(logging.DEBUG, logger="opensearch")
    classes = (AsyncHttpConnection, Signing, AsyncSigV4HttpConnection)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        slow = [outcome(cls, port, caplog, timeout=0.05) for cls in classes]
    refused = [outcome(cls, port, caplog) for cls in classes]
    assert slow[0] == slow[1] == slow[2]
    assert slow[0][0][0] is opensearchpy.ConnectionTimeout
    assert refused[0] == refused[1] == refused[2]
    assert refused[0][0][0] is opensearchpy.ConnectionError


@pytest.mark.parametrize("options", [None, {}])
def test_errors_have_their_info(server, options):
    server.answer = (
        400,
        {"content-type": "application/json; charset=UTF-8"},
        b'{"error": {"type": "t", "reason": "r"}}',
    )
    with pytest.raises(opensearchpy.RequestError) as caught:
        perform(server, options=options)
    assert caught.value.info == {"error": {"type": "t", "reason": "r"}}
    assert caught.value.error == "t"


def test_metrics_are_told():
    metrics = MetricsEvents()
    told = []
    metrics.events.request_start += lambda: told.append("start")
    metrics.events.request_end += lambda: told.append("end")

    async def main(domain):
        async with client_of(domain, metrics=metrics) as client:
            await client.info()
            with pytest.raises(opensearchpy.NotFoundError):
                await client.get(index="none", id="1")

    with LocalDomain() as domain:
        run(main(domain))
    assert told == ["start", "end"] * 2
    assert metrics.service_time is not None


def test_metrics_are_not_started_when_signing_fails(server):
    metrics = MetricsEvents()
    with pytest.raises(NoCredentialsError):
        perform(server, options={"region": REGION, "metrics": metrics})
    assert metrics.start_time is None


def test_every_argument_of_the_parent_is_taken():
    options = {
        "port": 1,
        "use_ssl": True,
        "verify_certs": False,
        "ssl_show_warn": True,
        "timeout": 3,
        "url_prefix": "/p/",
        "headers": {"X-A": "b"},
        "opaque_id": "o",
        "http_compress": True,
        "maxsize": 7,
    }
    assert set(options) - {"timeout", "url_prefix"} <= set(inspect.signature(AsyncHttpConnection).parameters)
    with pytest.warns(UserWarning, match="verify_certs=False is insecure"):
        ours = AsyncSigV4HttpConnection("h", region=REGION, credentials=static(), **options)
    with pytest.warns(UserWarning, match="verify_certs=False is insecure"):
        theirs = AsyncHttpConnection("h", **options)
    assert repr(ours).replace("AsyncSigV4HttpConnection", "AsyncHttpConnection") == repr(theirs)
    assert {**ours.headers} == {"host": "h:1", **theirs.headers}
    assert (ours.timeout, ours.url_prefix, ours._limit) == (theirs.timeout, theirs.url_prefix, theirs._limit)
    assert AsyncSigV4HttpConnection("h", pool_maxsize=3)._limit == 3
    assert AsyncSigV4HttpConnection("h", pool_maxsize=None)._limit == 10
    assert AsyncSigV4HttpConnection("h", maxsize=None)._limit is None
    with pytest.raises(TypeError):
        AsyncSigV4HttpConnection("h", 1, None, *range(30))


# --- connect_async -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (DOMAIN, f"https://{DOMAIN}:443"),
        (f"{DOMAIN}:443/prefix", f"https://{DOMAIN}:443"),
        ("http://localhost", "http://localhost:9200"),
        ("https://localhost", "https://localhost:443"),
        ("http://[::1]:9201", "http://[::1]:9201"),
    ],
)
def test_connect_async(url, host):
    async def main():
        async with connect_async(url, region=REGION, credentials=static(), timeout=3) as client:
            connection = client.transport.get_connection()
            assert isinstance(connection, AsyncSigV4HttpConnection)
            assert (connection.host, connection.timeout) == (host, 3)
            assert connection.signer.region == REGION

    asyncio.run(main())


def test_connect_async_reads_region_and_service_from_the_host():
    async def main():
        for host, region, service in NAMED:
            async with connect_async(host) as client:
                signer = client.transport.get_connection().signer
                assert (signer.region, signer.service, signer.credentials) == (region, service, None)
            async with connect_async("https://localhost:9443", headers={"Host": host}) as client:
                signer = client.transport.get_connection().signer
                assert (signer.region, signer.service) == (region, service)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "url", {"url": "localhost:9200"}),
        (ValueError, "url", {"url": "https://user:wJalr@localhost"}),
        (TypeError, "url", {"url": None}),
        (ValueError, "http_auth", {"http_auth": ("a", "b")}),
        (TypeError, "connection_class", {"connection_class": AsyncHttpConnection}),
        (TypeError, "connection_class", {"connection_class": osv4.SigV4HttpConnection}),
        (ValueError, "credentials", {"credentials": static(), "profile": "p"}),
        (TypeError, "credentials", {"credentials": 5}),
        (ValueError, "region", {"region": ""}),
        (ValueError, "region", {"region": None}),
        (ValueError, "service", {"service": ""}),
    ],
)
def test_connect_async_refuses_at_once(error, message, arguments):
    """Before any request, where a client of asyncio's would first find out."""
    with pytest.raises(error, match=message) as caught:
        connect_async(**{"url": "https://localhost", "region": REGION, **arguments})
    assert "wJalr" not in str(caught.value)


def test_connect_async_with_a_profile(local_domain, tmp_path, monkeypatch):
    files = tmp_path / "credentials"
    keys = local_domain.credentials
    files.write_text(f"[writer]\naws_access_key_id={keys.access_key}\naws_secret_access_key={keys.secret_key}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files))

    async def main():
        async with connect_async(local_domain.url, region=REGION, profile="writer") as client:
            await client.info()

    run(main())
    assert (local_domain.verified, local_domain.refused) == (1, 0)


def test_a_tunnel_over_https():
    """The certificate is for the host behind the tunnel, and so is the signature."""
    name = "vpc-logs-abc.us-east-1.es.amazonaws.com"
    with LocalDomain(https=True) as domain:

        async def main(ssl_assert_hostname):
            options = {"headers": {"Host": name}, "ca_certs": domain.ca_certs}
            async with client_of(domain, ssl_assert_hostname=ssl_assert_hostname, **options) as client:
                await client.info()

        with pytest.warns(UserWarning, match="ssl_assert_hostname=False is insecure"):
            run(main(False))
        run(main("localhost"))  # the certificate has this name, too
        with pytest.raises(opensearchpy.ConnectionError, match="certificate verify failed"):
            run(main(name))
        assert (domain.verified, domain.refused) == (2, 0)
        assert dict(domain.requests[-1].headers)[b"host"] == name.encode()


def test_without_aiohttp():
    code = """
import sys
sys.modules["aiohttp"] = None
import opensearch_sigv4
opensearch_sigv4.connect, opensearch_sigv4.SigV4HttpConnection
for name in ("AsyncSigV4HttpConnection", "connect_async"):
    try:
        value = getattr(opensearch_sigv4, name)
        value("https://localhost", region="us-east-1")
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()
        == ["AsyncSigV4HttpConnection needs aiohttp: pip install 'opensearch-sigv4[async]'"] * 2
    )


# --- the pool, the clock, and the loop -----------------------------------------------------------------------


def held(server):
    """Let the server hold its answers until the event is set, and count what has arrived."""
    arrived, go_on = threading.Semaphore(0), threading.Event()

    def answer(handler):
        arrived.release()
        assert go_on.wait(TIMEOUT_S)
        return 200, {}, b"{}"

    server.answer = answer
    return arrived, go_on


async def until(semaphore):
    while not semaphore.acquire(blocking=False):
        await asyncio.sleep(0.001)


def test_a_request_is_signed_when_it_has_a_connection(server):
    """While one waits for a connection, the credentials that it found when it came are revoked."""
    arrived, go_on = held(server)
    now = 0.0
    current = Credentials(*FIRST)

    async def main(domain):
        nonlocal now
        async with client_of(domain, credentials=current, pool_maxsize=1) as client:
            first = asyncio.create_task(client.info())
            await until(arrived)
            second = asyncio.create_task(client.info())
            for _ in range(20):
                await asyncio.sleep(0)
            current.access_key, current.secret_key, current.token = SECOND
            now = 10.0
            go_on.set()
            await asyncio.gather(first, second)

    start = time.time()
    with LocalDomain(upstream=server.url, clock=lambda: start + now) as domain:
        domain.add_credentials(*FIRST, expires_at=start + 5)
        domain.add_credentials(*SECOND)
        run(main(domain))
        assert (domain.verified, domain.refused) == (2, 0)


def test_a_timeout_counts_the_wait_for_a_connection(server):
    arrived, go_on = held(server)

    async def main():
        async with connection_to(server, region=REGION, credentials=static(), pool_maxsize=1) as connection:
            first = asyncio.create_task(connection.perform_request("GET", "/1"))
            await until(arrived)
            with pytest.raises(opensearchpy.ConnectionTimeout) as caught:
                await connection.perform_request("GET", "/2", timeout=0.01)
            assert caught.value.error == "no connection became free"
            go_on.set()
            assert (await first)[0] == 200
            assert (await connection.perform_request("GET", "/3"))[0] == 200

    run(main())
    assert [path for _, path, _, _ in server.received] == ["/1", "/3"]


@pytest.mark.parametrize("when", ["waiting", "in flight", "credentials", "hashing"])
def test_a_cancelled_request_leaves_the_pool_usable(server, when):
    arrived, go_on = held(server)
    asked, answer = threading.Event(), threading.Event()
    answer.set()

    def ask():
        asked.set()
        assert answer.wait(TIMEOUT_S)
        return static()

    async def main():
        async with connection_to(server, region=REGION, credentials=ask, pool_maxsize=2) as connection:
            if when == "credentials":
                answer.clear()
            elif when == "waiting":
                others = [asyncio.create_task(connection.perform_request("GET", "/")) for _ in range(2)]
                for _ in others:
                    await until(arrived)
            body = b"x" * (1 << 20) if when == "hashing" else None
            for _ in range(5):
                task = asyncio.create_task(connection.perform_request("POST", "/", body=body))
                if when == "in flight":
                    await until(arrived)
                elif when == "credentials":
                    while not asked.is_set():
                        await asyncio.sleep(0)
                else:
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            answer.set()
            go_on.set()
            if when == "waiting":
                await asyncio.gather(*others)
            answers = await asyncio.gather(*(connection.perform_request("GET", "/") for _ in range(20)))
            assert {status for status, _, _ in answers} == {200}

    run(main())


@pytest.mark.parametrize("https", [False, True])
def test_closing_while_requests_are_under_way(server, https):
    """Those that are sent and those that wait fail, are not repeated, and open nothing anew."""
    arrived, go_on = held(server)

    async def main(domain):
        options = {"ca_certs": domain.ca_certs} if https else {}
        async with client_of(domain, pool_maxsize=2, **options) as client:
            tasks = [asyncio.create_task(client.info()) for _ in range(5)]
            await until(arrived)
            await until(arrived)
            await client.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            go_on.set()
            assert {type(outcome) for outcome in outcomes} == {opensearchpy.TransportError}
            assert {outcome.status_code for outcome in outcomes} == {"N/A"}
            assert {meaning_of(outcome) for outcome in outcomes} == {Meaning.UNKNOWN}
            connection = client.transport.get_connection()
            assert connection.session is None
            assert (await connection.perform_request("GET", "/"))[0] == 200  # as in the parent, a later one opens it

    with LocalDomain(https=https, upstream=server.url) as domain:
        run(main(domain))
        assert domain.verified == 3


@pytest.mark.parametrize("is_async", [False, True])
def test_closing_while_credentials_are_fetched(server, is_async):
    calls, go_on = [], threading.Event()

    def ask():
        calls.append(1)
        assert go_on.wait(TIMEOUT_S)
        return static()

    async def ask_awaited():
        calls.append(1)
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return static()

    async def main():
        async with connection_to(server, region=REGION, credentials=ask_awaited if is_async else ask) as connection:
            tasks = [asyncio.create_task(connection.perform_request("GET", "/")) for _ in range(30)]
            while not calls:
                await asyncio.sleep(0)
            await connection.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert {getattr(outcome, "status_code", outcome) for outcome in outcomes} == {"N/A"}
            go_on.set()

    run(main())
    assert len(calls) == 1
    assert server.received == []


def test_closing_that_is_cancelled_closes_the_session(server):
    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)

    async def main():
        for turns in range(6):
            async with connection_to(server, region=REGION, credentials=stubborn) as connection:
                request = asyncio.create_task(connection.perform_request("GET", "/"))
                while connection.session is None:
                    await asyncio.sleep(0)
                session = connection.session
                closing = asyncio.create_task(connection.close())
                for _ in range(turns):
                    await asyncio.sleep(0)
                closing.cancel()
                await asyncio.gather(closing, return_exceptions=True)
                assert session.closed or turns == 0  # it had not begun
                await connection.close()
                await asyncio.gather(request, return_exceptions=True)

    async def settled():
        await main()
        await asyncio.sleep(0.05)

    run(settled())


def test_waiting_for_credentials_takes_no_connection(server):
    """Nor is it counted by the timeout; and who needs none goes on."""
    go_on, asked = threading.Event(), threading.Event()

    def refresh():
        asked.set()
        assert go_on.wait(TIMEOUT_S)
        return refresher()

    clock = Clock()
    refresher = Refresher(clock, SECOND)
    credentials = DeferredRefreshableCredentials(refresh, "test", time_fetcher=clock)

    async def main():
        options = {"credentials": credentials, "pool_maxsize": 2, "timeout": 1}
        async with connection_to(server, region=REGION, **options) as connection:
            waiting = [asyncio.create_task(connection.perform_request("GET", "/")) for _ in range(20)]
            while not asked.is_set():
                await asyncio.sleep(0)
            for _ in range(5):
                await connection.perform_request("GET", "/own", headers={"authorization": "ApiKey x"})
            go_on.set()
            await asyncio.gather(*waiting)

    run(main())
    assert len(server.received) == 25


def test_a_full_pool_of_the_loop_does_not_hold_up_a_request(server):
    go_on = threading.Event()

    async def main():
        loop = asyncio.get_running_loop()
        waiting = [loop.run_in_executor(None, go_on.wait, TIMEOUT_S) for _ in range(40)]
        async with connection_to(server, region=REGION, credentials=static(), http_compress=True) as connection:
            await connection.perform_request("POST", "/", body=b"x" * (1 << 20))
        go_on.set()
        await asyncio.gather(*waiting)

    run(main())
    assert len(server.received) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET", "POST"])
def test_a_request_whose_answer_was_lost_is_not_sent_again_unasked(server, method):
    def answer(handler):
        if len(server.received) > 1:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        return 200, {}, b"{}"

    server.answer = answer

    async def main():
        async with AsyncOpenSearch(
            server.url, connection_class=AsyncSigV4HttpConnection, region=REGION, credentials=static(), max_retries=0
        ) as client:
            await client.transport.perform_request(method, "/1")
            with pytest.raises(opensearchpy.ConnectionError):
                await client.transport.perform_request(method, "/2")

    with contextlib.suppress(OSError):
        run(main())
    # What only reads is sent once more, on a new connection, for the old one had been kept alive.
    assert [path for _, path, _, _ in server.received] == ["/1", "/2"] + ["/2"] * (method == "GET")


def test_long_headers_of_an_answer(server):
    server.answer = (200, {"x-long": "a" * 20_000}, b"{}")
    assert len(perform(server)[1]["x-long"]) == 20_000


def test_a_callers_framing_is_not_sent(local_domain):
    async def main():
        async with connection_to_domain(local_domain) as connection:
            for headers in ({"Content-Length": "0"}, {"Transfer-Encoding": "chunked"}):
                await connection.perform_request("POST", "/logs/_doc", body=b'{"a": 1}', headers=headers)

    run(main())
    assert [request.body for request in local_domain.requests] == [b'{"a": 1}'] * 2
    assert (local_domain.verified, local_domain.refused) == (2, 0)


def test_what_was_certainly_not_sent(server):
    """No connection became free, or none was made in time: neither is unknown."""
    arrived, go_on = held(server)

    async def failure(connection):
        with pytest.raises(opensearchpy.ConnectionTimeout) as caught:
            await connection.perform_request("POST", "/_bulk", body=b"{}", timeout=0.5)
        return meaning_of(caught.value)

    async def main():
        async with connection_to(server, region=REGION, credentials=static(), pool_maxsize=1) as connection:
            first = asyncio.create_task(connection.perform_request("GET", "/"))
            await until(arrived)
            assert await failure(connection) is Meaning.UNREACHED
            go_on.set()
            await first
            go_on.clear()
            assert await failure(connection) is Meaning.UNKNOWN  # it was sent
            go_on.set()
        # Nobody accepts, and what the kernel accepts for it is used up.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            host, port = listener.getsockname()
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((host, port))
            await asyncio.sleep(0.05)
            connection = AsyncSigV4HttpConnection(host, port, region=REGION, credentials=static())
            assert await failure(connection) is Meaning.UNREACHED
            await connection.close()
            for filler in fillers:
                filler.close()

    run(main())


def test_a_certificate_that_is_not_trusted_is_refused_and_not_repeated():
    with LocalDomain(https=True) as domain:

        async def main():
            async with client_of(domain) as client:
                with pytest.raises(opensearchpy.SSLError) as caught:
                    await client.transport.perform_request("GET", "/")
                assert meaning_of(caught.value) is Meaning.REFUSED

        run(main())
        assert domain.verified == 0


def test_closing_twice_and_before_the_first_request():
    async def main():
        connection = AsyncSigV4HttpConnection("localhost", region=REGION, credentials=static())
        await connection.close()
        await connection.close()

    run(main())


def test_a_client_that_is_used_on_one_loop_after_another(local_domain):
    """As in a Lambda function that keeps its client and runs each invocation by asyncio.run."""
    client = connect_async(local_domain.url, region=REGION, credentials=local_domain.credentials)

    async def main(*, is_last=False):
        await client.info()
        await client.info()
        if is_last:
            await client.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's, of the sockets that its closed loops left open
        asyncio.run(main())
        asyncio.run(main())
        asyncio.run(main(is_last=True))
        gc.collect()
    assert (local_domain.verified, local_domain.refused) == (6, 0)


@pytest.mark.parametrize("credentials", ["static", "awaited"])
def test_many_requests_at_once_on_one_loop_after_another(local_domain, credentials):
    async def ask():
        await asyncio.sleep(0.001)
        return local_domain.credentials

    given = ask if credentials == "awaited" else local_domain.credentials
    client = connect_async(local_domain.url, region=REGION, credentials=given, http_compress=True)
    sessions = set()

    async def main(*, is_last=False):
        large = '{"index":{"_index":"x"}}\n{"a":"%s"}\n' % ("y" * 100_000)
        requests = [client.info() for _ in range(8)] + [client.bulk(body=large) for _ in range(2)]
        answers = await asyncio.gather(*requests)
        assert all(answers)
        sessions.add(client.transport.get_connection().session)
        if is_last:
            await client.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's, of the sockets that its closed loops left open
        for number in range(3):
            asyncio.run(main(is_last=number == 2))
        gc.collect()
    assert {session.closed for session in sessions} == {True}
    assert len(sessions) == 3
    assert (local_domain.verified, local_domain.refused) == (30, 0)


def test_a_second_loop_beside_the_first_is_refused(server):
    async def main():
        async with connection_to(server, region=REGION, credentials=static()) as connection:
            await connection.perform_request("GET", "/")

            def elsewhere():
                with pytest.raises(RuntimeError, match="belongs to another event loop"):
                    asyncio.run(connection.perform_request("GET", "/"))

            await asyncio.to_thread(elsewhere)

    asyncio.run(main())


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_repeated_request_is_compressed_and_hashed_once(server, status, monkeypatch):
    answers = iter([(status, {}, b""), (status, {}, b""), (200, {}, b'{"a": 1}')])
    server.answer = lambda handler: next(answers)
    compressed, hashed = [], []

    class Watched(AsyncSigV4HttpConnection):
        def _gzip_compress(self, body):
            compressed.append(body)
            return super()._gzip_compress(body)

    payload_hash = osv4.async_connection.core.payload_hash
    monkeypatch.setattr(
        osv4.async_connection.core, "payload_hash", lambda body: hashed.append(len(body)) or payload_hash(body)
    )
    options = {"connection_class": Watched, "region": REGION, "credentials": static(), "http_compress": True}

    async def main():
        async with AsyncOpenSearch(server.url, **options) as client:
            await client.bulk(body='{"index":{"_index":"x"}}\n{"a":"%s"}\n' % ("y" * 100_000))
            assert len(compression._slots_of_tasks) == 0

    run(main())
    assert (len(compressed), len(hashed)) == (1, 1)
    bodies = {body for _, _, _, body in server.received}
    hashes = {
        value for _, _, headers, _ in server.received for name, value in headers if name == "X-Amz-Content-SHA256"
    }
    assert (len(server.received), len(bodies), len(hashes)) == (3, 1, 1)


def test_concurrent_tasks_keep_their_own_bodies(server):
    """Each task's first attempt fails and each repeats its own body."""
    failed = set()

    def answer(handler):
        target = handler.path
        if target in failed:
            return 200, {}, b"{}"
        failed.add(target)
        return 503, {}, b""

    server.answer = answer
    options = {"connection_class": AsyncSigV4HttpConnection, "region": REGION, "credentials": static()}

    async def main():
        async with AsyncOpenSearch(server.url, http_compress=True, **options) as client:
            await asyncio.gather(
                *(client.transport.perform_request("POST", f"/{n}", body=f"body {n}") for n in range(30))
            )

    run(main())
    for _, path, _, body in server.received:
        assert gzip.decompress(body) == f"body {path[1:]}".encode()
    assert len(server.received) == 60


# --- nothing blocks ------------------------------------------------------------------------------------------


def test_nothing_blocks_while_credentials_expire_and_refresh_under_load():
    """The refresh is held up until requests have been answered that came after it began.

    They could not be if it, or waiting for it, held the loop; and whatever else blocks there raises (`run`).
    """
    clock = Clock()
    refresher = Refresher(clock, SECOND)
    with LocalDomain(clock=lambda: clock().timestamp(), keep=10_000) as domain:
        domain.add_credentials(*FIRST, expires_at=(clock() + timedelta(hours=1)).timestamp())
        domain.add_credentials(*SECOND)
        credentials = refreshable(3600, refresher)

        async def main():
            signer = SigV4Signer(credentials, domain.region)
            options = {"http_auth": at_the_time_of(clock, signer), "http_compress": True, "pool_maxsize": 20}
            async with AsyncOpenSearch(domain.url, connection_class=AsyncSigV4HttpConnection, **options) as client:

                async def load(count):
                    large = '{"index":{"_index":"x"}}\n{"a":"%s"}\n' % ("y" * 300_000)
                    await asyncio.gather(*(client.info() for _ in range(count)), client.bulk(body=large))

                await load(50)
                refresher.go_on.clear()
                clock.forward(50 * 60)  # advisory
                await load(50)
                assert refresher.called.is_set()
                clock.forward(5 * 60)  # mandatory
                await load(50)
                assert refreshers()
                clock.forward(6 * 60)  # expired: these wait
                waiting = [asyncio.create_task(client.info()) for _ in range(50)]
                own = await client.transport.perform_request(
                    "GET", "/", headers={"authorization": "Basic x"}, params={"ignore": 403}
                )
                assert own  # was answered meanwhile
                refresher.go_on.set()
                await asyncio.gather(*waiting)
                await load(50)

        run(main())
        join_refreshers()
        assert refresher.calls == 1
        assert domain.refused == 1  # the one that brought its own Authorization
        assert domain.verified == 4 * 51 + 50


class at_the_time_of(SigV4Signer):
    """A signer by a clock that a test moves."""

    def __init__(self, clock, signer):
        super().__init__(signer.credentials, signer.region, signer.service)
        self.clock = clock

    def sign(self, *args, **kwargs):
        return super().sign(*args, at=self.clock(), **kwargs)


@pytest.mark.parametrize(
    "call", [lambda: time.sleep(0), lambda: threading.Event().wait(0.001), lambda: os.stat(__file__)]
)
def test_what_blocks_is_seen(call):
    async def main():
        call()

    with pytest.raises(BlockingError):
        run(main())


def test_ten_thousand_requests_at_once_through_two_rotations():
    """All begin together and wait for ten connections; the keys that they would have found at first expire twice."""
    count = 10_000
    clock = Clock()
    generations = [(f"AKIDEXAMPLE{number}", SECRET_KEY, f"{TOKEN}{number}") for number in range(3)]
    refresher = Refresher(clock)
    with LocalDomain(clock=lambda: clock().timestamp(), keep=1) as domain:
        signer = at_the_time_of(clock, SigV4Signer(refreshable(3600, refresher, generations[0]), domain.region))
        domain.add_credentials(*generations[0], expires_at=clock().timestamp() + 3600)
        done = 0

        async def main():
            options = {"http_auth": signer, "timeout": 600}
            async with AsyncOpenSearch(domain.url, connection_class=AsyncSigV4HttpConnection, **options) as client:

                async def one():
                    nonlocal done
                    assert (await client.info())["version"]
                    done += 1

                async def forward(seconds):
                    """In steps that no signature under way becomes too old for."""
                    for step in [240] * (seconds // 240) + [seconds % 240]:
                        clock.forward(step)
                        answered = done + 10  # those under way
                        while done < answered:
                            await asyncio.sleep(0.001)

                async def rotations():
                    for number, window in ((1, ADVISORY), (2, MANDATORY)):
                        while done < count * number // 4:
                            await asyncio.sleep(0.001)
                        refresher.values = generations[number]
                        domain.add_credentials(*generations[number], expires_at=clock().timestamp() + 7000)
                        await forward(3600 - window)
                        while refresher.calls < number or refreshers():
                            await asyncio.sleep(0.001)
                        await forward(window + 1)

                await asyncio.gather(rotations(), *(one() for _ in range(count)))

        run(main())
        assert (domain.verified, domain.refused) == (count, 0)
        assert refresher.calls == 2
