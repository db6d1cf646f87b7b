"""HttpxAWSV4SignerAuth in both clients: what is sent is what was signed, and nothing secret goes along a redirect."""

import asyncio
import copy
import itertools
import pickle
import random
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from unittest import mock

import httpx
import pytest
import trustme
from blockbuster import blockbuster_ctx
from botocore.credentials import Credentials, DeferredRefreshableCredentials
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import EXAMPLES
from opensearch_sigv4 import HttpxAWSV4SignerAuth, SigV4HttpConnection, core, httpx_auth
from opensearch_sigv4._signing import HASH_IN_THREAD_MIN_BYTES
from opensearch_sigv4.testing import LocalDomain
from opensearch_sigv4.testing.verify import Credentials as Known
from opensearch_sigv4.testing.verify import verify
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from raw_server import RawServer, tells_nothing

URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/logs/_search"


def static(token=None):
    return Credentials(ACCESS_KEY, SECRET_KEY, token)


@pytest.fixture(scope="module")
def any_domain():
    """A domain whose node takes everything."""
    with RawServer() as node, LocalDomain(upstream=node.url) as domain:
        yield domain


@pytest.fixture
def domain(any_domain):
    any_domain.reset()
    return any_domain


def in_client(auth, method="GET", url=URL, *, request=None, client=None, **options):
    with httpx.Client(auth=auth, trust_env=False, **client or {}) as used:
        return used.request(method, url, **options) if request is None else used.send(request, **options)


def in_async_client(auth, method="GET", url=URL, *, request=None, client=None, **options):
    async def main():
        async with httpx.AsyncClient(auth=auth, trust_env=False, **client or {}) as used:
            return await (used.request(method, url, **options) if request is None else used.send(request, **options))

    with blockbuster_ctx("opensearch_sigv4", excluded_modules=["opensearch_sigv4.testing"]):
        return asyncio.run(main())


@pytest.fixture(params=[in_client, in_async_client])
def call(request):
    """One request in a client of its own."""
    return request.param


def auth_of(domain):
    return HttpxAWSV4SignerAuth(domain.add_credentials("ASIAIOSFODNN7EXAMPLE", SECRET_KEY, TOKEN), REGION)


def judged(request):
    """An answer that says what AWS would say of a request."""
    verdict = verify(
        request.method,
        request.url.raw_path,
        request.headers.raw,
        request.content,
        region=REGION,
        service="es",
        find_credentials=lambda _: Known(ACCESS_KEY, SECRET_KEY),
        now=datetime.now(UTC).timestamp(),
    )
    return httpx.Response(200, json={"verdict": verdict.code, "host": request.headers["host"]})


@pytest.fixture
def signed():
    auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
    headers = [("X-Amz-Meta", "1"), ("x-amz-meta", "2"), ("X-Other", "3"), ("x-other", "4,5")]
    return next(auth.sync_auth_flow(httpx.Request("POST", URL, headers=headers, content=b"{}")))


def test_arguments_and_attributes():
    credentials = static()
    auth = HttpxAWSV4SignerAuth(credentials=credentials, region=REGION, service="aoss")
    assert (auth.service, auth.signer.credentials, auth.signer.region) == ("aoss", credentials, REGION)
    assert HttpxAWSV4SignerAuth(credentials, REGION).service == "es"
    assert (SECRET_KEY in repr(auth)) is False
    for arguments in [(None, REGION), (static(), ""), (static(), None), (static(), REGION, "")]:
        with pytest.raises(ValueError, match="cannot be empty"):
            HttpxAWSV4SignerAuth(*arguments)


def module_credentials():
    return static(TOKEN)


async def awaited_module_credentials():
    return static(TOKEN)


@pytest.mark.parametrize("credentials", [static(TOKEN), module_credentials, awaited_module_credentials])
def test_copies_and_pickles(domain, credentials):
    domain.add_credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
    auth = HttpxAWSV4SignerAuth(credentials, REGION)
    assert copy.deepcopy(auth).signer.source is auth.signer.source
    in_async_client(pickle.loads(pickle.dumps(auth)), url=domain.url)
    assert (domain.verified, domain.refused) == (1, 0)
    domain.add_credentials(ACCESS_KEY, SECRET_KEY)


async def awaited_credentials():
    return static()


@pytest.mark.parametrize(
    "credentials",
    [
        DeferredRefreshableCredentials(dict, "test"),
        lambda: static(),
        type("Session", (), {"get_credentials": lambda self: awaited_credentials()})(),
    ],
)
def test_what_belongs_to_this_process_is_not_pickled(credentials):
    with pytest.raises(TypeError, match=r"^credentials: "):
        pickle.dumps(HttpxAWSV4SignerAuth(credentials, REGION))


def test_a_connection_takes_its_signer_over(local_domain):
    auth = HttpxAWSV4SignerAuth(local_domain.credentials, REGION)
    host, port = local_domain.url.removeprefix("http://").split(":")
    connection = SigV4HttpConnection(host=host, port=int(port), http_auth=auth)
    connection.perform_request("GET", "/")
    connection.close()
    assert (local_domain.verified, local_domain.refused) == (1, 0)


# --- what is sent is what was signed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": ""},
        {"url": "/a%2fb"},
        {"url": "/a b/ü/[c]|{d}?e=[f]|ü g+h&i"},
        {"url": "//a//b/"},
        {"url": "/a/./b/../c"},
        {"url": "/%2e%2E/100%"},
        {"url": "?q"},
        {"url": "/?"},
        {"url": "/#fragment"},
        {"url": "/", "params": {"q": "a b/c+d", "e": ""}},
        {"url": "/", "method": "options"},
        {"url": "/", "method": "HEAD"},
        {"url": "/", "headers": {"X-Amz-Meta": "a  b", "Host": "elsewhere.example.com"}},
        {"url": "/", "headers": {b"X-Amz-Meta": "ü 日本".encode(), b"x-amz-other": b"1"}},
        {"url": "/", "headers": httpx.Headers({"X-Amz-Meta": "ü"}, encoding="utf-8")},
        {"url": "/", "headers": [("x-amz-meta", "2"), ("X-Amz-Meta", "1"), ("x-other", "1")]},
        {"url": "/", "headers": {"X-Amz-Date": "20150830T123600Z", "x-amz-security-token": "an old one"}},
        {"url": "/", "headers": {"authorization": "Bearer secret", "cookie": "a=b"}},
    ],
)
def test_requests(domain, call, arguments):
    call(auth_of(domain), **{**arguments, "url": domain.url + arguments["url"]})
    [request] = domain.requests
    assert (domain.verified, domain.refused) == (1, 0), request.reason
    assert b"+" not in request.target
    names = [name.lower() for name, _ in request.headers if name.lower() != b"x-amz-meta"]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://[::1]/", "[::1]"),
        ("https://[::1]:9200/", "[::1]:9200"),
        ("https://münchen.example/", "xn--mnchen-3ya.example"),
        ("http://HOST:80/", "host"),
        ("https://name:password@host:443/", "host"),
    ],
)
def test_the_host_that_is_signed_is_the_one_that_is_sent(call, url, host):
    auth = HttpxAWSV4SignerAuth(static(), REGION)
    answer = call(auth, url=url, client={"transport": httpx.MockTransport(judged)})
    assert answer.json() == {"verdict": "verified", "host": host}


def test_the_method_is_sent_in_upper_case(call):
    request = httpx.Request("GET", URL)
    request.method = "post"
    auth = HttpxAWSV4SignerAuth(static(), REGION)
    answer = call(auth, request=request, client={"transport": httpx.MockTransport(judged)})
    assert (answer.json()["verdict"], answer.request.method) == ("verified", "POST")


def test_what_is_refused_before_it_is_sent(call):
    def unreachable(_):
        raise AssertionError

    client = {"transport": httpx.MockTransport(unreachable)}
    auth = HttpxAWSV4SignerAuth(static(), REGION)
    with pytest.raises(ValueError, match=r"^header x-amz-meta: .* UTF-8$") as caught:
        call(auth, headers={"x-amz-meta": b"secret\xff"}, client=client)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^url: "):
        call(auth, url="ftp://localhost/", client=client)
    assert call(auth, headers={"x-meta": b"\xff"}, client={"transport": httpx.MockTransport(judged)}).status_code == 200


def test_through_a_proxy_by_plain_http(domain, call):
    for host in ("search.example.com", "search.example.com:80", "SEARCH.example.com:9200"):
        call(auth_of(domain), url=f"http://{host}/logs", client={"proxy": domain.url})
    assert (domain.verified, domain.refused) == (3, 0)


def test_by_https(call):
    with LocalDomain(https=True, service="aoss") as domain:
        auth = HttpxAWSV4SignerAuth(domain.credentials, REGION, "aoss")
        call(auth, "POST", f"{domain.url}/logs/_doc", json={"a": 1}, client={"verify": domain.ssl_context()})
        assert (domain.verified, domain.refused) == (1, 0)


SEGMENTS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="#?/\\")), max_size=4)
QUERIES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="#"))
HEADERS = st.lists(
    st.tuples(
        st.from_regex("[xX]-amz-[a-zA-Z]{5,9}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=9),
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def one_client():
    with httpx.Client(trust_env=False) as client:
        yield client


@given(segments=SEGMENTS, query=QUERIES, headers=HEADERS, body=st.text(max_size=50) | st.binary(max_size=50))
@settings(max_examples=max(EXAMPLES // 10, 20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_httpx_sends_is_what_was_signed(any_domain, one_client, segments, query, headers, body):
    any_domain.reset()
    path = "".join(f"/{segment}" for segment in segments if segment.strip() not in (".", ".."))
    url = f"{any_domain.url}{path}?{query}"
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    one_client.post(url, content=body, headers=encoded, auth=HttpxAWSV4SignerAuth(any_domain.credentials, REGION))
    reasons = [request.reason for request in any_domain.requests]
    assert (any_domain.verified, any_domain.refused) == (1, 0), reasons


# --- bodies ------------------------------------------------------------------------------------------------


def headers_of(request):
    return {name.lower(): value for name, value in request.headers}


LARGE = random.Random(0).randbytes(HASH_IN_THREAD_MIN_BYTES)


@pytest.mark.parametrize(
    "body",
    [
        {"content": b"\x00"},
        {"content": "ü"},
        {"content": b""},
        {"content": LARGE},
        {"content": LARGE[:-1]},
        {"json": {"ü": 1}},
        {"data": {"ü": "1 2"}},
        {"files": {"a": ("b.txt", BytesIO(b"\xff" * 99))}, "data": {"c": "d"}},
    ],
)
def test_bodies(domain, call, body):
    for file in body.get("files", {}).values():
        file[1].seek(0)
    call(auth_of(domain), "POST", f"{domain.url}/_bulk", **body)
    assert (domain.verified, domain.refused) == (1, 0)
    [request] = domain.requests
    assert headers_of(request)[b"content-length"] == str(len(request.body)).encode()
    if "content" in body:
        content = body["content"]
        assert request.body == (content.encode() if isinstance(content, str) else content)


class Unsized:
    def __init__(self, content):
        self.read = BytesIO(content).read

    def __iter__(self):
        raise AssertionError


@pytest.mark.parametrize("kind", ["list", "generator", "file", "bytesio", "unsized", "empty"])
def test_streams_are_read_and_sent_with_their_length(domain, tmp_path, kind):
    (tmp_path / "body").write_bytes(b"...abc")
    with (tmp_path / "body").open("rb") as file:
        body = {
            "list": [b"a", b"bc"],
            "generator": (part for part in (b"a", b"", b"bc")),
            "file": file,
            "bytesio": BytesIO(b"...abc"),
            "unsized": Unsized(b"abc"),
            "empty": iter(()),
        }[kind]
        if kind in ("file", "bytesio"):
            body.seek(3)  # of which httpx knows nothing
        in_client(auth_of(domain), "POST", f"{domain.url}/_bulk", content=body)
    assert (domain.verified, domain.refused) == (1, 0)
    [request] = domain.requests
    assert request.body == (b"" if kind == "empty" else b"abc")
    assert headers_of(request)[b"content-length"] == str(len(request.body)).encode()
    assert b"transfer-encoding" not in headers_of(request)


async def parts():
    yield b"a"
    yield b"bc"


class Parts(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self):
        return iter([b"a", b"bc"])

    __aiter__ = staticmethod(parts)


def test_a_stream_that_nothing_announces_is_sent_with_its_length(domain, call):
    call(auth_of(domain), request=httpx.Request("POST", f"{domain.url}/_bulk", stream=Parts(), headers={"host": "a"}))
    assert (domain.verified, domain.refused, domain.requests[0].body) == (1, 0, b"abc")


def test_asynchronous_streams_are_read_and_sent_with_their_length(domain):
    in_async_client(auth_of(domain), "POST", f"{domain.url}/_bulk", content=parts())
    assert (domain.verified, domain.refused) == (1, 0)
    assert domain.requests[0].body == b"abc"
    assert headers_of(domain.requests[0])[b"content-length"] == b"3"


def test_a_stream_of_the_other_kind_of_client_is_refused():
    auth = HttpxAWSV4SignerAuth(static(), REGION)
    with pytest.raises(TypeError, match=r"^body: .*AsyncClient"):
        in_client(auth, "POST", content=parts())
    with pytest.raises(TypeError, match=r"^body: .*pass its bytes"):
        in_async_client(auth, "POST", content=iter([b"a"]))


def test_a_stream_whose_hash_the_caller_states_is_not_read(domain, call):
    headers = {"x-amz-content-sha256": sha256(b"abc").hexdigest()}
    stream = iter([b"a", b"bc"]) if call is in_client else parts()
    call(auth_of(domain), "POST", f"{domain.url}/_bulk", content=stream, headers=headers)
    assert (domain.verified, domain.refused, domain.requests[0].body) == (1, 0, b"abc")
    assert headers_of(domain.requests[0])[b"transfer-encoding"] == b"chunked"


@pytest.mark.parametrize("body", [None, "1", b"0\r\n\r\nGET /_other HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("stated", [False, True])
def test_a_body_is_announced_once(call, body, stated):
    """A hop that believed a caller's Transfer-Encoding would find another request in the body of this one."""
    headers = {"transfer-encoding": "chunked"}
    if stated:
        headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    with RawServer() as server:
        auth = HttpxAWSV4SignerAuth(static(), REGION)
        assert call(auth, "POST", server.url, content=body, headers=headers).status_code == 200
    [(head, received)] = server.requests
    assert b"transfer-encoding" not in head.lower()
    assert f"Content-Length: {len(body or '')}\r\n".encode() in head
    assert received == (body.encode() if isinstance(body, str) else body or b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_length_that_the_caller_gets_wrong_is_corrected(domain, call, method, body):
    call(auth_of(domain), method, domain.url, content=body, headers={"content-length": "1"})
    assert (domain.verified, domain.refused, domain.requests[0].body) == (1, 0, body)


@pytest.mark.parametrize("size", [HASH_IN_THREAD_MIN_BYTES - 1, HASH_IN_THREAD_MIN_BYTES])
def test_large_bodies_are_hashed_once_and_not_on_the_loop(domain, call, size, monkeypatch):
    threads = []

    def payload_hash(body):
        threads.append(threading.current_thread())
        return sha256(body).hexdigest()

    monkeypatch.setattr(core, "payload_hash", payload_hash)
    call(auth_of(domain), "POST", f"{domain.url}/_bulk", content=LARGE[:size])
    assert (domain.verified, domain.refused) == (1, 0)
    in_threads = call is in_async_client and size >= HASH_IN_THREAD_MIN_BYTES
    assert [thread is threading.main_thread() for thread in threads] == [False] * in_threads


# --- credentials -------------------------------------------------------------------------------------------


def test_credentials_are_fetched_off_the_loop():
    threads = []

    def credentials():
        threads.append(threading.current_thread())
        return static()

    auth = HttpxAWSV4SignerAuth(credentials, REGION)
    client = {"transport": httpx.MockTransport(judged)}
    assert in_async_client(auth, client=client).json()["verdict"] == "verified"
    assert in_client(auth, client=client).json()["verdict"] == "verified"
    assert [thread is threading.main_thread() for thread in threads] == [False, True]


class AwaitedSession:
    get_credentials = staticmethod(awaited_credentials)


@pytest.mark.parametrize("credentials", [awaited_credentials, lambda: awaited_credentials(), AwaitedSession()])
def test_what_has_to_be_awaited_works_in_an_async_client_alone(credentials):
    auth = HttpxAWSV4SignerAuth(credentials, REGION)
    client = {"transport": httpx.MockTransport(judged)}
    assert in_async_client(auth, client=client).json()["verdict"] == "verified"
    with pytest.raises(TypeError, match=r"^credentials: .* has to be awaited"):
        in_client(auth, client=client)
    assert in_async_client(auth, client=client).json()["verdict"] == "verified"


def test_what_credentials_raise_comes_as_it_is(call):
    def credentials():
        raise LookupError("none")

    with pytest.raises(LookupError, match="none"):
        call(HttpxAWSV4SignerAuth(credentials, REGION), client={"transport": httpx.MockTransport(judged)})


def test_what_an_overridden_sign_request_left_is_not_signed_with_later():
    class Own(HttpxAWSV4SignerAuth):
        def _sign_request(self, request, payload_hash=None):
            return super()._sign_request(request, payload_hash) if signs else request

    keys = itertools.count()
    client = {"transport": httpx.MockTransport(lambda request: httpx.Response(200, headers=request.headers.raw))}
    auth = Own(lambda: Credentials(f"AKID{next(keys)}", SECRET_KEY), REGION)
    signs = False
    in_async_client(auth, client=client)
    signs = True
    assert "Credential=AKID1/" in in_client(auth, client=client).headers["authorization"]


def test_one_auth_in_threads_loops_and_both_clients(domain):
    generations = [
        domain.add_credentials(f"ASIAIOSFODNN7EXAMPL{n}", SECRET_KEY[:-1] + str(n), f"{TOKEN}{n}") for n in range(3)
    ]
    numbers = itertools.count()  # a step of which is one for all threads
    auth = HttpxAWSV4SignerAuth(lambda: generations[next(numbers) % 3], REGION)
    bodies = [b"a", b"", LARGE, b"b" * 999] * 3
    failures = []

    def synchronous():
        with httpx.Client(auth=auth, trust_env=False) as client:
            for body in bodies:
                client.post(f"{domain.url}/_bulk", content=body).raise_for_status()

    def asynchronous():
        async def main():
            async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
                answers = [client.post(f"{domain.url}/_bulk", content=body) for body in bodies]
                for answer in await asyncio.gather(*answers):
                    answer.raise_for_status()

        asyncio.run(main())

    def run(function):
        try:
            function()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in (synchronous, asynchronous) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert (domain.verified, domain.refused) == (6 * len(bodies), 0)


def test_refreshable_credentials_in_both_clients(domain, call):
    domain.add_credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
    fetched = []

    def fetch():
        fetched.append(threading.current_thread())
        expiry = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
        return {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": TOKEN, "expiry_time": expiry}

    auth = HttpxAWSV4SignerAuth(DeferredRefreshableCredentials(fetch, "test"), REGION)
    call(auth, url=domain.url)
    call(auth, url=domain.url)
    assert (domain.verified, domain.refused, len(fetched)) == (2, 0, 1)
    domain.add_credentials(ACCESS_KEY, SECRET_KEY)


# --- redirects ---------------------------------------------------------------------------------------------


LOCATIONS = [
    "http://127.0.0.1:{port}/there",
    "HTTP://127.0.0.1:{port}/there",
    "http://LOCALHOST:{port}/there?q=1#f",
    "http://name:password@127.0.0.1:{port}/there",
    "//127.0.0.1:{port}/there",
    "http://127.0.0.1:{port}/ü",
]


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize(
    ("method", "status"), [("GET", 302), ("POST", 301), ("POST", 303), ("PUT", 307), ("POST", 308)]
)
def test_nothing_secret_follows_a_redirect_to_another_host(call, location, method, status):
    with RawServer() as second, RawServer(lambda _: (status, {"Location": location.format(port=second.port)})) as first:
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        headers = {"x-amz-meta": "1", "X-AMZ-Aoss-Collection-Id": "2", "x-other": "3"}
        body = None if method == "GET" else b"{}"
        answer = call(auth, method, f"{first.url}/go", headers=headers, content=body, follow_redirects=True)
    assert answer.status_code == 200
    [at_first], [at_second] = first.requests, second.requests
    assert not tells_nothing(at_first, TOKEN)
    assert (TOKEN.encode() in at_first[0]) is True
    assert tells_nothing(at_second, TOKEN)
    assert b"x-other: 3" in at_second[0]
    assert at_second[1] == (b"{}" if status in (307, 308) else b"")


def test_nor_one_to_https_and_back(call):
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
    with (
        RawServer() as last,
        RawServer(lambda _: (302, {"location": f"{last.url}/last"}), tls=tls) as second,
        RawServer(lambda _: (307, {"location": f"{second.url}/second"})) as first,
    ):
        client = {"verify": trusting, "follow_redirects": True}
        assert call(auth, "POST", f"{first.url}/go", content=b"{}", client=client).status_code == 200
    assert [tells_nothing(server.requests[0], TOKEN) for server in (first, second, last)] == [False, True, True]


@pytest.mark.parametrize(
    "to", ["https://host/there", "http://host/there", "//host/there", "/there", "https://host:444/"]
)
def test_nor_one_within_a_host(call, to):
    """From http to https httpx itself keeps even Authorization, on their default ports."""
    hops = []

    def answer(request):
        hops.append(b"".join(name + value for name, value in request.headers.raw))
        return httpx.Response(302, headers={"location": to}) if len(hops) == 1 else httpx.Response(200)

    client = {"transport": httpx.MockTransport(answer), "follow_redirects": True}
    call(HttpxAWSV4SignerAuth(static(TOKEN), REGION), url="http://host/go", headers={"x-amz-meta": "1"}, client=client)
    assert [tells_nothing((hop,), TOKEN) for hop in hops] == [False, True]


def test_nor_the_second_hop_of_one_host(call):
    def answer(line):
        return 302, {"location": "next" if line.startswith("GET /go ") else f"{second.url}/there"}

    with RawServer() as second, RawServer(answer) as first:
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        assert call(auth, url=f"{first.url}/go", follow_redirects=True).status_code == 200
    assert [request[0].split()[1] for request in first.requests] == [b"/go", b"/next"]
    assert tells_nothing(second.requests[0], TOKEN)


@pytest.mark.parametrize("with_auth", [False, True])
def test_nor_the_next_request_that_the_caller_sends(call, with_auth):
    with RawServer() as second, RawServer(lambda _: (307, {"location": f"{second.url}/there"})) as first:
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        answer = call(auth, url=f"{first.url}/go", headers={"x-amz-meta": "1", "x-other": "3"})
        assert answer.status_code == 307
        answer.next_request.headers["x-amz-meta"] = "of a hook"
        if not with_auth:
            del answer.next_request.headers["x-amz-meta"]
        assert call(auth if with_auth else None, request=answer.next_request).status_code == 200
    assert tells_nothing(second.requests[0], TOKEN)
    assert b"x-other: 3" in second.requests[0][0]


def by_hand(call, auth, url, answer):
    """Of each request of a redirect chain, each sent by a client with the auth: whether it was signed.

    `answer` says where a path leads to.
    """
    hops = []

    def handle(request):
        hops.append(request)
        to = answer(request.url.path)
        return httpx.Response(200) if to is None else httpx.Response(307, headers={"location": to})

    client = {"transport": httpx.MockTransport(handle)}
    request = httpx.Request("POST", url, content=b"{}")
    while request is not None:
        request = call(auth, request=request, client=client).next_request
    return ["authorization" in hop.headers for hop in hops]


@pytest.mark.parametrize(
    ("start", "to", "is_signed"),
    [
        ("https://host/go", "/there", True),
        ("https://host/go", "https://HOST:443/there", True),
        ("https://host:443/go", "HTTPS://host/there", True),
        ("https://münchen.example/go", "https://xn--mnchen-3ya.example/there", True),
        ("http://host/go", "https://host/there", False),
        ("https://host/go", "http://host/there", False),
        ("https://host/go", "https://host:80/there", False),
        ("https://host/go", "https://host:444/there", False),
        ("https://host/go", "https://a.host/there", False),
    ],
)
def test_a_next_request_is_signed_for_the_first_host_alone(call, start, to, is_signed):
    auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
    assert by_hand(call, auth, start, {"/go": to}.get) == [True, is_signed]


def test_nor_for_the_first_host_where_another_one_chose_what(call):
    answer = {"/go": "https://other/there", "/there": "https://host/_all/_delete_by_query"}.get
    auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
    assert by_hand(call, auth, "https://host/go", answer) == [True, False, False]


def test_a_request_that_was_signed_for_one_host_is_not_sent_to_another_with_it(call, signed):
    with RawServer() as server:
        signed.url = httpx.URL(server.url)
        call(HttpxAWSV4SignerAuth(static(TOKEN), REGION), request=signed)
    assert tells_nothing(server.requests[0], TOKEN)


def test_nothing_is_signed_anew_for_whoever_redirects(call):
    """Else a host in the chain chose what is signed for the first one: here, to delete what was to be searched."""

    def answer(line):
        return (307, {"location": f"{second.url}/there"}) if " /logs/" in line else (403, {})

    with (
        RawServer(answer) as first,
        RawServer(lambda _: (307, {"location": f"{first.url}/_all/_delete_by_query"})) as second,
    ):
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        headers = {"x-amz-meta": "1"}
        url = f"{first.url}/logs/_search"
        assert call(auth, "POST", url, content=b"{}", headers=headers, follow_redirects=True).status_code == 403
    assert [tells_nothing(request, TOKEN) for request in first.requests] == [False, True]
    assert [tells_nothing(request, TOKEN) for request in second.requests] == [True]


# --- the headers that are left behind ----------------------------------------------------------------------


def test_signed_headers_read_as_others_do(signed):
    headers, plain = signed.headers, httpx.Headers(signed.headers.raw)
    assert isinstance(headers, httpx.Headers)
    assert headers == plain
    assert plain == headers
    assert headers == signed.headers
    assert headers != httpx.Headers(headers)
    assert headers.encoding == plain.encoding
    for read in (list, len, dict, lambda h: list(h.keys()), lambda h: list(h.values()), lambda h: list(h.items())):
        assert read(headers) == read(plain)
    assert headers.multi_items() == plain.multi_items()
    for name in ("x-amz-meta", "X-OTHER", "authorization", "nothing"):
        assert (name in headers) is (name in plain)
        assert headers.get(name) == plain.get(name)
        assert headers.get_list(name, split_commas=True) == plain.get_list(name, split_commas=True)
    assert headers["x-amz-security-token"] == TOKEN
    for change in (
        lambda h: h.update({"x-new": "1", "x-other": "6"}),
        lambda h: h.pop("x-other"),
        lambda h: h.setdefault("x-amz-new", "2"),
        lambda h: h.__setitem__("x-new", "3"),
        lambda h: h.__delitem__("authorization"),
        lambda h: setattr(h, "encoding", "latin-1"),
    ):
        change(headers)
        change(plain)
        assert headers.raw == plain.raw
    assert headers.encoding == "latin-1"


def test_no_copy_of_signed_headers_holds_a_secret(signed):
    headers = signed.headers
    signature = headers["authorization"].rpartition("=")[2]
    copies = [
        httpx.Headers(headers),
        headers.copy(),
        copy.copy(headers),
        copy.deepcopy(headers),
        pickle.loads(pickle.dumps(headers)),
        pickle.loads(pickle.dumps(signed)).headers,
        httpx.Request("GET", URL, headers=headers).headers,
        httpx.Client(trust_env=False).build_request("GET", URL, headers=headers).headers,
    ]
    for copied in copies:
        names = {name.lower() for name, _ in copied.raw}
        assert not [name for name in names if name == b"authorization" or name.startswith(b"x-amz-")]
        assert b"x-other" in names
    for shown in (repr(headers), str(headers), repr(signed), str(pickle.dumps(signed)), str(pickle.dumps(headers))):
        assert (TOKEN in shown) is False
        assert (signature in shown) is False
    assert "x-amz-security-token" in repr(headers)


def test_a_request_may_be_sent_and_signed_again(domain, call):
    request = httpx.Request("POST", f"{domain.url}/_bulk", content=b"1", headers={"x-amz-meta": "1"})
    auth = auth_of(domain)
    call(auth, request=request)
    call(auth, request=request)
    request.stream, request._content = httpx.ByteStream(b"2"), b"2"
    call(HttpxAWSV4SignerAuth(domain.credentials, REGION), request=request)
    call(None, request=request)
    assert (domain.verified, domain.refused) == (4, 0)
    first, second, third, fourth = domain.requests
    assert len(first.headers) == len(second.headers) == len(third.headers) + 1 == len(fourth.headers) + 1
    assert third.body == b"2"


def test_event_hooks_read_and_change_the_headers(domain, call):
    seen = []

    def hook(request):
        seen.append(request.headers["authorization"].partition(" ")[0])
        request.headers["x-traced"] = "1"
        request.headers.update({"traceparent": "2"})

    async def awaited_hook(request):
        hook(request)

    client = {"event_hooks": {"request": [hook if call is in_client else awaited_hook]}}
    call(auth_of(domain), url=domain.url, client=client)
    assert (domain.verified, domain.refused, seen) == (1, 0, ["AWS4-HMAC-SHA256"])
    assert {(b"x-traced", b"1"), (b"traceparent", b"2")} <= set(domain.requests[0].headers)


def of_dict(headers):
    return httpx.Headers({**headers, "traceparent": "1"})


def of_items(headers):
    return httpx.Headers([*headers.multi_items(), ("traceparent", "1")])


def of_copy(headers):
    copied = httpx.Headers(headers)
    copied["traceparent"] = "1"
    return copied


def of_itself(headers):
    headers["traceparent"] = "1"
    return headers


class Instrumented(httpx.HTTPTransport, httpx.AsyncHTTPTransport):
    """Changes requests between the client and the connection, as OpenTelemetry's instrumentation does."""

    change = staticmethod(of_copy)

    def __init__(self, call):
        (httpx.HTTPTransport if call is in_client else httpx.AsyncHTTPTransport).__init__(self)

    def handle_request(self, request):
        request.headers = self.change(request.headers)
        return super().handle_request(request)

    async def handle_async_request(self, request):
        request.headers = self.change(request.headers)
        return await super().handle_async_request(request)


class OwnRequest(httpx.Request):
    pass


@pytest.mark.parametrize("change", [of_dict, of_items, of_copy, of_itself])
@pytest.mark.parametrize("changed_by", ["hook", "transport"])
@pytest.mark.parametrize("kind", [httpx.Request, OwnRequest])
def test_headers_that_are_assigned_lose_no_signature_and_take_none_along(domain, call, change, changed_by, kind):
    def hook(request):
        request.headers = change(request.headers)

    async def awaited_hook(request):
        hook(request)

    def instrumented():
        transport = Instrumented(call)
        transport.change = change
        return transport

    def client():
        if changed_by == "transport":
            return {"transport": instrumented()}
        return {"event_hooks": {"request": [hook if call is in_client else awaited_hook]}}

    headers = [("x-amz-meta", "1"), ("X-Amz-Meta", "2"), ("x-other", "3")]
    request = kind("POST", f"{domain.url}/_bulk", content=b"{}", headers=headers)
    call(auth_of(domain), request=request, client=client())
    call(auth_of(domain), request=request, client=client())
    assert (domain.verified, domain.refused) == (2, 0)
    assert isinstance(request, kind)
    for received in domain.requests:
        assert (b"traceparent", b"1") in received.headers
        assert [value for name, value in received.headers if name.lower() == b"x-amz-meta"] == [b"1", b"2"]

    with RawServer() as second, RawServer(lambda _: (307, {"location": f"{second.url}/there"})) as first:
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        request = kind("POST", f"{first.url}/go", content=b"{}", headers=headers)
        assert call(auth, request=request, client=client(), follow_redirects=True).status_code == 200
    assert not tells_nothing(first.requests[0], TOKEN)
    assert (TOKEN.encode() in first.requests[0][0]) is True
    assert tells_nothing(second.requests[0], TOKEN)
    assert b"traceparent: 1" in second.requests[0][0]


def test_what_is_assigned_wins_where_it_says_something_else(signed):
    before = signed.headers["x-amz-date"]
    signed.headers = httpx.Headers({"Authorization": "Basic eA==", "X-New": "1"})
    assert signed.headers["authorization"] == "Basic eA=="
    assert signed.headers["x-amz-date"] == before
    assert "x-other" not in signed.headers
    signed.headers = signed.headers
    assert signed.headers.get_list("x-amz-meta") == ["1", "2"]
    assert httpx.Headers(signed.headers).raw == [(b"X-New", b"1")]


def test_a_transport_that_makes_another_request_of_the_headers_sends_it_unsigned(call):
    class Making(Instrumented):
        def handle_request(self, request):
            return super().handle_request(self.of(request))

        async def handle_async_request(self, request):
            return await super().handle_async_request(self.of(request))

        def of(self, request):
            return httpx.Request(
                request.method, request.url, headers=httpx.Headers(request.headers), stream=request.stream
            )

    with RawServer() as server:
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        assert call(auth, url=server.url, client={"transport": Making(call)}).status_code == 200
    assert tells_nothing(server.requests[0], TOKEN)


def test_a_pickled_request_needs_nothing_of_ours(signed):
    pickled = pickle.dumps(signed)
    assert tells_nothing([pickled], TOKEN)
    assert b"opensearch_sigv4" not in pickled
    restored = pickle.loads(pickled)
    assert (type(restored), restored.content, restored.headers["x-other"]) == (httpx.Request, b"{}", "3, 4,5")
    assert copy.deepcopy(signed).headers == copy.copy(signed).headers == restored.headers


def test_an_application_in_memory_sees_the_signature():
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(application)
    in_async_client(HttpxAWSV4SignerAuth(static(TOKEN), REGION), client={"transport": transport})
    names = {name for name, _ in scopes[0]["headers"]}
    assert {b"authorization", b"x-amz-security-token", b"x-amz-date", b"host"} <= names


@pytest.fixture
def unchecked():
    httpx_auth._refuse_httpx_that_tells.cache_clear()
    yield
    httpx_auth._refuse_httpx_that_tells.cache_clear()


def test_an_httpx_that_copies_headers_otherwise_is_refused(monkeypatch, unchecked):
    made_by = httpx.Headers.__init__

    def copying_all(self, headers=None, encoding=None):
        made_by(self, headers.raw if isinstance(headers, httpx.Headers) else headers, encoding)

    with monkeypatch.context() as patched:
        patched.setattr(httpx.Headers, "__init__", copying_all)
        with pytest.raises(RuntimeError, match="redirect in httpx"):
            HttpxAWSV4SignerAuth(static(), REGION)
    HttpxAWSV4SignerAuth(static(), REGION)


@pytest.mark.parametrize("patched", ["httpx.Client", "httpx.Client.send"])
def test_that_is_found_out_where_clients_are_mocked(patched, unchecked):
    """As in the tests of a program that uses this."""
    with mock.patch(patched):
        HttpxAWSV4SignerAuth(static(), REGION)


# --- HTTP/2 ------------------------------------------------------------------------------------------------


class Http2Server:
    """HTTP/2 without TLS, one connection: keeps the headers and bodies of its requests."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.requests = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(10)

    def _serve(self):
        with self._listener:
            connection, _ = self._listener.accept()
        with connection:
            state = H2Connection(H2Configuration(client_side=False, header_encoding=None))
            state.initiate_connection()
            connection.sendall(state.data_to_send())
            streams = {}
            while data := connection.recv(65536):
                for event in state.receive_data(data):
                    if isinstance(event, RequestReceived):
                        streams[event.stream_id] = (event.headers, bytearray())
                    elif isinstance(event, DataReceived):
                        streams[event.stream_id][1].extend(event.data)
                        state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, StreamEnded):
                        self.requests.append(streams.pop(event.stream_id))
                        status, *headers = self._answer(len(self.requests))
                        state.send_headers(event.stream_id, [(":status", str(status)), *headers], end_stream=True)
                connection.sendall(state.data_to_send())


def test_http_2(call):
    answers = {1: (307, ("location", "/there")), 2: (200,)}
    with Http2Server(answers.get) as server:
        client = {"http1": False, "http2": True, "follow_redirects": True}
        auth = HttpxAWSV4SignerAuth(static(TOKEN), REGION)
        headers = {"x-amz-meta": "1"}
        answer = call(auth, "POST", f"{server.url}/a b?c=d+e", content=LARGE, headers=headers, client=client)
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    verdicts = []
    for received, body in server.requests:
        pseudo = {name: value for name, value in received if name.startswith(b":")}
        headers = [(b"host", pseudo[b":authority"]), *(pair for pair in received if pair[0] not in pseudo)]
        verdict = verify(
            pseudo[b":method"].decode(),
            pseudo[b":path"],
            headers,
            bytes(body),
            region=REGION,
            service="es",
            find_credentials=lambda _: Known(ACCESS_KEY, SECRET_KEY, TOKEN),
            now=datetime.now(UTC).timestamp(),
        )
        verdicts.append(verdict.code)
    assert verdicts == ["verified", "MissingAuthenticationTokenException"]
    assert tells_nothing([name + value for name, value in server.requests[1][0]], TOKEN)
