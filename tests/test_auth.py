"""The auth objects under opensearch-py's names: theirs in arguments, errors and attributes, ours in what they sign."""

import ast
import asyncio
import copy
import gzip
import io
import mmap
import os
import pickle
import random
import socket
import ssl
import sys
import threading
import warnings
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO, StringIO
from urllib.parse import urlsplit

import opensearchpy
import pytest
import requests
import trustme
from botocore.credentials import Credentials, DeferredRefreshableCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opensearchpy import AsyncHttpConnection, AsyncOpenSearch, OpenSearch, RequestsHttpConnection
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema

import opensearch_sigv4 as osv4
from conftest import EXAMPLES
from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.testing import LocalDomain
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from processes import run
from raw_server import RawServer, tells_nothing

NAMES = ["Urllib3AWSV4SignerAuth", "RequestsAWSV4SignerAuth", "AWSV4SignerAuth", "AWSV4SignerAsyncAuth"]
URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/logs/_search"


def static(token=None):
    return Credentials(ACCESS_KEY, SECRET_KEY, token)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", [(None, REGION), (static(), ""), (static(), None), (static(), REGION, "")])
def test_errors_are_theirs(name, arguments):
    with pytest.raises(ValueError, match="cannot be empty") as ours:
        getattr(osv4, name)(*arguments)
    with pytest.raises(ValueError, match="cannot be empty") as theirs:
        getattr(opensearchpy, name)(*arguments)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_attributes_are_theirs(name):
    credentials = static()
    for arguments, keywords in (
        ((credentials, REGION, "aoss"), {}),
        ((), {"credentials": credentials, "region": REGION, "service": "aoss"}),
    ):
        auth = getattr(osv4, name)(*arguments, **keywords)
        assert auth.service == "aoss"
        assert isinstance(auth.signer, SigV4Signer)
        assert (auth.signer.credentials, auth.signer.region, auth.signer.service) == (credentials, REGION, "aoss")
    assert getattr(osv4, name)(credentials, REGION).service == "es"


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_pickles(name):
    auth = getattr(osv4, name)(static(TOKEN), REGION)
    assert copy.deepcopy({"http_auth": auth})["http_auth"].signer.source is auth.signer.source
    twin = pickle.loads(pickle.dumps(auth))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert twin.signer.sign("GET", URL, at=at) == auth.signer.sign("GET", URL, at=at)
    assert (SECRET_KEY in repr(auth)) is False


@pytest.mark.parametrize("name", NAMES)
def test_sign_request_can_be_overridden(name):
    class Own(getattr(osv4, name)):
        def _sign_request(self, *args, **kwargs):
            return "own"

    auth = Own(static(), REGION)
    request = requests.Request("GET", URL).prepare()
    assert (auth(request) if issubclass(Own, requests.auth.AuthBase) else auth("GET", URL, None)) == "own"


@pytest.mark.parametrize("name", ["Urllib3AWSV4SignerAuth", "AWSV4SignerAsyncAuth"])
def test_called_as_opensearchpy_calls_them(name):
    ours = getattr(osv4, name)(static(TOKEN), REGION)("GET", URL, b"{}")
    theirs = getattr(opensearchpy, name)(static(TOKEN), REGION)("GET", URL, b"{}")
    assert {key.lower() for key in ours} <= {key.lower() for key in theirs}
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in ours["Authorization"]


def test_in_opensearchpys_own_connection(local_domain):
    """In opensearch-py's own connection, with only the import of the signer changed."""
    auth = osv4.Urllib3AWSV4SignerAuth(local_domain.credentials, REGION)
    with OpenSearch(local_domain.url, http_auth=auth, http_compress=True) as client:
        client.index(index="logs", id="a b", body={"a": 1})
        assert client.get(index="logs", id="a b")["_source"] == {"a": 1}
    assert (local_domain.verified, local_domain.refused) == (2, 0)


# --- requests ----------------------------------------------------------------------------------------------


def test_requests_connection(local_domain):
    auth = osv4.AWSV4SignerAuth(local_domain.credentials, REGION)
    with OpenSearch(local_domain.url, http_auth=auth, connection_class=RequestsHttpConnection) as client:
        for odd in ("a b", "ü", "a/b", "a+b", "100%", "~!*'();:@&=+$,[]"):
            client.index(index="logs", id=odd, body={"id": odd})
            assert client.get(index="logs", id=odd)["_source"] == {"id": odd}
        client.search(index="logs", q="a b + c")
    assert (local_domain.verified, local_domain.refused) == (13, 0)


@pytest.fixture
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def any_domain():
    """A domain whose node takes everything."""
    with RawServer() as node, LocalDomain(upstream=node.url) as domain:
        yield domain


@pytest.fixture
def domain(any_domain):
    any_domain.reset()
    return any_domain


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "/a%2fb"},
        {"url": "/a[b]?c[]=d e+f"},
        {"url": "//a//b/"},
        {"url": "?q"},
        {"url": "/", "params": {"q": "a b/c+d", "e": ""}},
        {"url": "/", "method": "get"},
        {"url": "/_bulk", "method": "POST", "data": "ü"},
        {"url": "/_bulk", "method": "POST", "data": b"\x00"},
        {"url": "/_bulk", "method": "POST", "data": bytearray(b"abc")},
        {"url": "/_bulk", "method": "POST", "data": array("I", [1, 2])},
        {"url": "/_bulk", "method": "POST", "data": bytearray()},
        {"url": "/_bulk", "method": "POST", "data": {"ü": "1 2"}},
        {"url": "/_bulk", "method": "POST", "json": {"ü": 1}},
        {"url": "/_bulk", "method": "POST", "files": {"a": ("b.txt", b"\xff")}},
        {"url": "/", "headers": {"X-Amz-Meta": "a  b", "Host": "elsewhere.example.com"}},
        {"url": "/", "headers": {"X-Amz-Meta": "ü", "x-amz-b": "日本".encode()}},
        {"url": "/", "headers": {b"X-Amz-Meta": b"1", b"Host": b"elsewhere.example.com"}},
        {"url": "/", "headers": {"X-Amz-Date": "20150830T123600Z", "x-amz-security-token": "an old one"}},
        {"url": "/#fragment"},
    ],
)
@pytest.mark.parametrize("by_session", [False, True])
def test_plain_requests(domain, session, arguments, by_session):
    credentials = domain.add_credentials("ASIAIOSFODNN7EXAMPLE", SECRET_KEY, TOKEN)
    auth = osv4.RequestsAWSV4SignerAuth(credentials, REGION)
    if by_session:
        session.auth = auth
    arguments = {"method": "GET", **arguments, "url": domain.url + arguments["url"]}
    session.request(**arguments, auth=None if by_session else auth)
    assert (domain.verified, domain.refused) == (1, 0)
    names = [name.lower() for name, _ in domain.requests[0].headers]
    assert len(names) == len(set(names))


def test_the_method_is_sent_in_upper_case(domain, session):
    """As it was signed, whoever set it."""
    request = requests.Request("GET", f"{domain.url}/").prepare()
    request.method = "post"
    session.send(osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)(request))
    assert (domain.verified, domain.refused, domain.requests[0].method) == (1, 0, "POST")


PATHS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="#?/\\")), max_size=4)
QUERIES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="#"))
HEADERS = st.dictionaries(
    st.from_regex("x-amz-[a-z]{3,9}", fullmatch=True).filter(lambda name: name != "x-amz-date"),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=9),
    max_size=3,
)


@given(segments=PATHS, query=QUERIES, headers=HEADERS, body=st.none() | st.text(max_size=50) | st.binary(max_size=50))
@settings(max_examples=max(EXAMPLES // 10, 20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_requests_sends_is_what_was_signed(any_domain, session, segments, query, headers, body):
    any_domain.reset()
    path = "".join(f"/{segment}" for segment in segments if segment.strip() not in (".", ".."))
    auth = osv4.RequestsAWSV4SignerAuth(any_domain.credentials, REGION)
    url = f"{any_domain.url}{path}?{query}"
    session.post(url, data=body, headers={name: value.encode() for name, value in headers.items()}, auth=auth)
    reasons = [request.reason for request in any_domain.requests]
    assert (any_domain.verified, any_domain.refused) == (1, 0), reasons


def test_a_signed_header_that_is_not_utf_8_is_refused():
    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    with pytest.raises(ValueError, match=r"^header x-amz-meta: .* UTF-8$") as caught:
        requests.Request("GET", URL, headers={"x-amz-meta": b"secret\xff"}, auth=auth).prepare()
    assert "secret" not in str(caught.value)
    requests.Request("GET", URL, headers={"x-other": b"\xff"}, auth=auth).prepare()


@pytest.mark.parametrize("url", ["localhost:9200", "127.0.0.1:9200/_search", "ftp://localhost/", "http+unix://socket/"])
def test_what_is_no_url_of_http_is_refused_as_requests_refuses_it(url):
    with pytest.raises(InvalidSchema):
        requests.get(url)
    with pytest.raises(InvalidSchema, match=r"^url: an absolute http:// or https:// URL is needed$"):
        requests.get(url, auth=osv4.RequestsAWSV4SignerAuth(static(), REGION))


def test_no_url_is_sent_that_a_hop_might_read_otherwise():
    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    request = requests.Request("GET", URL).prepare()
    for url in ("https://localhost/a/../b", "https://localhost/a\nb", "ftp://localhost/"):
        request.url = url
        with pytest.raises(ValueError, match=r"^url: "):
            auth(request)


def test_an_authorization_of_the_requests_own_is_replaced(domain, session):
    """As by every auth object of requests."""
    auth = osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)
    session.get(domain.url, headers={"authorization": "Bearer secret"}, auth=auth)
    assert (domain.verified, domain.refused) == (1, 0)


def test_through_a_proxy_by_plain_http(domain, session):
    """The Host is then taken from the URL, where a default port may stand."""
    auth = osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)
    session.proxies = {"http": domain.url}
    for host in ("search.example.com", "search.example.com:80", "SEARCH.example.com:9200"):
        session.get(f"http://name:password@{host}/logs", auth=auth)
    assert (domain.verified, domain.refused) == (3, 0)


# A prepared request: sent again, signed again, copied, pickled.


class OwnRequest(requests.PreparedRequest):
    """A caller's own kind, whose copies are of it as well."""

    def copy(self):
        copied = super().copy()
        copied.__class__ = OwnRequest
        return copied


def prepared(url, auth=None, kind=requests.PreparedRequest, **options):
    request = requests.Request("POST", url, data=b"1", headers={"x-amz-meta": "1", "x-other": "3"}, **options).prepare()
    request.__class__ = kind
    return request if auth is None else auth(request)


KINDS = [requests.PreparedRequest, OwnRequest]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prepared_request_may_be_sent_and_signed_again(domain, session, kind):
    with_token = domain.add_credentials("ASIAIOSFODNN7EXAMPLE", SECRET_KEY, TOKEN)
    auth = osv4.RequestsAWSV4SignerAuth(with_token, REGION)
    request = prepared(f"{domain.url}/_bulk", auth, kind)
    assert isinstance(request, kind)
    session.send(request)
    session.send(request)
    session.send(request.copy())
    request.prepare_body(b"22", None)
    without_token = osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)
    session.send(without_token(request))
    other = request.copy()
    other.url = f"{domain.url}/other"
    session.send(auth(other))
    session.send(request)
    for copied in (copy.copy(request), copy.deepcopy(request)):
        assert isinstance(copied, kind)
        session.send(copied)
    assert (domain.verified, domain.refused) == (8, 0)
    assert [(b"x-amz-meta", b"1") in received.headers for received in domain.requests].count(False) == 1  # `other`
    assert len(domain.requests[3].headers) == len(domain.requests[0].headers) - 1


def test_what_the_first_signature_set_is_not_taken_for_the_callers_own():
    auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
    request = prepared(URL, auth)
    request.prepare_body(b"22", None)
    request.headers["X-Amz-Date"] = "20150830T123600Z"
    request.headers["X-Amz-Security-Token"] = "the caller's own"
    osv4.RequestsAWSV4SignerAuth(static(), REGION)(request)
    assert request.headers["X-Amz-Content-SHA256"] == sha256(b"22").hexdigest()
    assert request.headers["X-Amz-Date"] != "20150830T123600Z"
    assert request.headers["X-Amz-Security-Token"] == "the caller's own"


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_hold_no_secret_and_need_nothing_of_ours(domain, session, kind):
    token = domain.add_credentials("ASIAIOSFODNN7EXAMPLE", SECRET_KEY, TOKEN)
    request = prepared(f"{domain.url}/_bulk", osv4.RequestsAWSV4SignerAuth(lambda: token, REGION), kind)
    answer = session.send(request)
    for pickled in (pickle.dumps(request), pickle.dumps(request.copy()), pickle.dumps(answer)):
        assert tells_nothing([pickled], TOKEN)
        assert b"opensearch_sigv4" not in pickled
    assert "Authorization" in request.headers
    restored = pickle.loads(pickle.dumps(answer))
    assert (restored.status_code, restored.request.body, restored.request.headers["x-other"]) == (200, b"1", "3")
    assert type(pickle.loads(pickle.dumps(request))) is kind
    assert "Authorization" in copy.deepcopy(answer).request.headers
    assert (domain.verified, domain.refused) == (1, 0)


def test_headers_are_plain_text_as_those_who_record_them_take_for_granted():
    headers = prepared(URL, osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)).headers
    assert {type(value) for value in headers.values()} == {str}


# Bodies that are streams.


def opened(tmp_path, content):
    path = tmp_path / "body"
    path.write_bytes(content)
    return path.open("rb")


class Rewindable:
    """No more than what is needed, and no length."""

    def __init__(self, content):
        self._file = BytesIO(content)
        self.read, self.seek, self.tell = self._file.read, self._file.seek, self._file.tell


@pytest.mark.parametrize("kind", ["file", "BytesIO", "mmap", "rewindable"])
@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize("size", [3, 3_000_000])
def test_a_stream_is_sent_from_where_it_stands(domain, session, tmp_path, kind, position, size):
    content = random.Random(size).randbytes(size)
    with opened(tmp_path, content) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        body = {"file": file, "BytesIO": BytesIO(content), "mmap": mapped, "rewindable": Rewindable(content)}[kind]
        body.seek(position)
        auth = osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)
        session.post(f"{domain.url}/_bulk", data=body, auth=auth)
    assert (domain.verified, domain.refused) == (1, 0)
    [request] = domain.requests
    assert request.body == content[position:]
    headers = {name.lower(): value for name, value in request.headers}
    assert headers[b"content-length"] == str(len(content) - position).encode()
    assert b"transfer-encoding" not in headers


def test_a_stream_is_hashed_block_by_block():
    class Counting(BytesIO):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    sizes = []
    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    body = Counting(bytes(3 << 20))
    request = requests.Request("POST", URL, data=body, auth=auth).prepare()
    assert request.headers["X-Amz-Content-SHA256"] == sha256(body.getvalue()).hexdigest()
    assert all(0 < size <= 1 << 20 for size in sizes)


def test_a_stream_of_which_requests_knows_no_length_is_sent_with_it(domain, session):
    """As those of /proc, whose size is 0."""

    class Unsized(BytesIO):
        def __len__(self):
            return 0

        def __bool__(self):
            return True

    auth = osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)
    session.post(f"{domain.url}/_bulk", data=Unsized(b"abc"), auth=auth)
    assert (domain.verified, domain.refused, domain.requests[0].body) == (1, 0, b"abc")


class OnlyRead:
    def read(self, size=-1):
        raise AssertionError


class OnlyTells(OnlyRead):
    """Knows where it stands, and cannot go back there."""

    def tell(self):
        return 0

    def seek(self, offset):
        raise io.UnsupportedOperation


def unseekable():
    reader, writer = os.pipe()
    os.close(writer)
    return os.fdopen(reader, "rb")


@pytest.mark.parametrize("kind", ["iterator", "generator", "pipe", "only read", "only tells", "text", "text file"])
def test_what_cannot_be_read_twice_is_refused(tmp_path, kind):
    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    with unseekable() as pipe, opened(tmp_path, b"text") as file, io.TextIOWrapper(file) as text_file:
        body = {
            "iterator": iter([b"a"]),
            "generator": (part for part in [b"a"]),
            "pipe": pipe,
            "only read": OnlyRead(),
            "only tells": OnlyTells(),
            "text": StringIO("text"),
            "text file": text_file,
        }[kind]
        request = requests.Request("POST", URL).prepare()
        request.body = body
        with pytest.raises(TypeError, match=r"^body: .*binary"):
            auth(request)
        if kind.startswith("text"):
            assert body.read() == "text"


def test_a_length_that_requests_gets_wrong_is_refused():
    class Lying(BytesIO):
        def __len__(self):
            return 99

    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    with pytest.raises(ValueError, match="would announce 99 bytes of it, and reading it gives 3"):
        requests.Request("POST", URL, data=Lying(b"abc"), auth=auth).prepare()
    with gzip.GzipFile(fileobj=BytesIO(gzip.compress(b"abc" * 999))) as compressed:
        try:
            requests.Request("POST", URL, data=compressed, auth=auth).prepare()
        except (TypeError, ValueError) as error:  # the former until Python 3.12
            assert str(error).startswith("body: requests ")  # noqa: PT017
        else:
            assert compressed.read() == b"abc" * 999


def test_a_stream_whose_hash_the_caller_states_is_sent(domain, session):
    auth = osv4.RequestsAWSV4SignerAuth(domain.credentials, REGION)
    headers = {"x-amz-content-sha256": sha256(b"abc").hexdigest()}
    session.post(f"{domain.url}/_bulk", data=iter([b"a", b"bc"]), headers=headers, auth=auth)
    assert (domain.verified, domain.refused, domain.requests[0].body) == (1, 0, b"abc")


@pytest.mark.parametrize("stated", ["UNSIGNED-PAYLOAD", sha256(b"abc").hexdigest()])
def test_a_hash_that_the_caller_states_is_sent_as_it_is(stated):
    """And signed, and nothing is read."""
    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    for body in (b"abd", OnlyTells()):
        request = requests.Request("POST", URL, headers={"x-amz-content-sha256": stated}).prepare()
        request.body = body
        for _ in range(2):
            auth(request)
            hashes = [value for name, value in request.headers.items() if name.lower() == "x-amz-content-sha256"]
            assert hashes == [stated]
            assert ";x-amz-content-sha256;" in request.headers["Authorization"]


@pytest.mark.parametrize("body", [None, "1", b"0\r\n\r\nGET /_other HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("stated", [False, True])
def test_a_body_is_announced_once(session, body, stated):
    """A hop that believed a caller's Transfer-Encoding would find another request in the body of this one."""
    headers = {"transfer-encoding": "chunked"}
    if stated:
        headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    with RawServer() as server:
        auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
        assert session.post(server.url, data=body, headers=headers, auth=auth).status_code == 200
    [(head, received)] = server.requests
    assert b"transfer-encoding" not in head.lower()
    assert f"Content-Length: {len(body or '')}\r\n".encode() in head
    assert received == (body.encode() if isinstance(body, str) else body or b"")


# Redirects.


LOCATIONS = [
    "http://127.0.0.1:{port}/there",
    "HTTP://127.0.0.1:{port}/there",
    "http://LOCALHOST:{port}/there?q=1#f",
    "http://name:password@127.0.0.1:{port}/there",
    "//127.0.0.1:{port}/there",
    "http://127.0.0.1:{port}/ü",
    "  http://127.0.0.1:{port}/there",
]


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize(
    ("method", "status"), [("GET", 302), ("POST", 301), ("POST", 303), ("PUT", 307), ("POST", 308)]
)
def test_nothing_secret_follows_a_redirect_to_another_host(session, location, method, status):
    with RawServer() as second, RawServer(lambda _: (status, {"Location": location.format(port=second.port)})) as first:
        auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
        headers = {"x-amz-meta": "1", "X-AMZ-Aoss-Collection-Id": "2", "x-other": "3"}
        body = None if method == "GET" else BytesIO(b"{}")
        answer = session.request(method, f"{first.url}/go", auth=auth, headers=headers, data=body)
    assert answer.status_code == 200
    [at_first], [at_second] = first.requests, second.requests
    assert not tells_nothing(at_first, TOKEN)
    assert TOKEN.encode() in at_first[0]
    assert tells_nothing(at_second, TOKEN)
    assert b"x-other: 3" in at_second[0]
    assert at_second[1] == (b"{}" if status in (307, 308) else b"")


@pytest.mark.parametrize("port", ["same", "other"])
def test_nor_one_to_https_or_back(session, port):
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
    with (
        ca.cert_pem.tempfile() as ca_certs,
        RawServer() as last,
        RawServer(lambda _: (302, {"location": f"{last.url}/last"}), tls=tls) as second,
        RawServer(lambda _: (307, {"location": f"{second.url}/second"})) as first,
    ):
        session.verify = ca_certs
        assert session.post(f"{first.url}/go", auth=auth, data=b"{}").status_code == 200
    assert not tells_nothing(first.requests[0], TOKEN)
    assert [len(server.requests) for server in (first, second, last)] == [1, 1, 1]
    assert tells_nothing(second.requests[0], TOKEN)
    assert tells_nothing(last.requests[0], TOKEN)


def test_nor_does_it_the_second_hop_of_one_host(session):
    def answer(line):
        return 302, {"location": "next" if line.startswith("GET /go ") else f"{second.url}/there"}

    with RawServer() as second, RawServer(answer) as first:
        auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
        assert session.get(f"{first.url}/go", auth=auth).status_code == 200
    assert [request[0].split()[1] for request in first.requests] == [b"/go", b"/next"]
    assert tells_nothing(second.requests[0], TOKEN)


@pytest.fixture
def redirecting():
    """A host whose /go leads to another one; its other paths do not."""

    def answer(line):
        return (307, {"location": f"{second.url}/there"}) if " /go " in line else (200, {})

    with RawServer() as second, RawServer(answer) as first:
        yield first, second


class Copying(HTTPAdapter):
    """Sends a copy, as those do that trace requests: no response's request is then what the session was given."""

    def send(self, request, **options):
        request = request.copy()
        request.headers["traceparent"] = "1"
        return super().send(request, **options)


@pytest.mark.parametrize("adapter", [HTTPAdapter, Copying])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [lambda request: request, lambda request: request.copy(), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("followed_by", ["session", "caller"])
def test_nor_whatever_is_sent_and_whoever_follows(session, redirecting, adapter, kind, copied, followed_by):
    first, second = redirecting
    session.mount("http://", adapter())
    seen = []
    request = prepared(f"{first.url}/go", osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION), kind)
    request.register_hook("response", lambda response, **_: seen.append(dict(response.request.headers)))
    before = dict(request.headers)
    for _ in range(2):
        answer = session.send(copied(request), allow_redirects=followed_by == "session")
        if followed_by == "caller":
            answer = session.send(answer.next)
        assert (answer.status_code, answer.url) == (200, f"{second.url}/there")
    assert [tells_nothing(received, TOKEN) for received in first.requests] == [False] * 2
    assert [tells_nothing(received, TOKEN) for received in second.requests] == [True] * 2
    assert all(b"x-other: 3" in received[0] for received in second.requests)
    assert (dict(request.headers) == before) is True
    assert ["Authorization" in headers for headers in seen] == [True, False] * 2


def test_an_adapter_may_send_a_request_to_another_address(session, redirecting):
    """As those do that resolve names themselves: the signature is for the name, which is the Host."""

    class Resolving(HTTPAdapter):
        def send(self, request, **options):
            request.headers["Host"] = "search.example.com"
            request.url = request.url.replace("search.example.com", "127.0.0.1")
            return super().send(request, **options)

    first, second = redirecting
    session.mount("http://", Resolving())
    auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
    session.get(f"http://search.example.com:{first.port}/go", auth=auth)
    assert not tells_nothing(first.requests[0], TOKEN)
    assert tells_nothing(second.requests[0], TOKEN)


def test_nor_one_of_a_request_whose_hooks_are_replaced(session, redirecting):
    first, second = redirecting
    request = prepared(f"{first.url}/go", osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION))
    request.hooks = {"response": []}
    session.send(request)
    assert tells_nothing(second.requests[0], TOKEN)


def test_nor_what_an_auth_that_wraps_ours_passes_on(session, redirecting):
    first, second = redirecting
    auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
    assert session.post(f"{first.url}/go", auth=lambda request: auth(request)).status_code == 200
    assert not tells_nothing(first.requests[0], TOKEN)
    assert tells_nothing(second.requests[0], TOKEN)


def test_a_request_that_threads_share_is_whole_for_each(session):
    with RawServer(lambda line: (307, {"location": "/there"}) if " /go " in line else (200, {})) as server:
        request = prepared(f"{server.url}/go", osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION))
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(session.send, [request] * 20))
    assert [answer.status_code for answer in answers] == [200] * 20
    complete = [b"AWS4-HMAC" in head and TOKEN.encode() in head for head, _ in server.requests if b" /go " in head]
    assert complete == [True] * 20
    assert [tells_nothing(received, TOKEN) for received in server.requests if b" /go " not in received[0]] == [
        True
    ] * 20


def test_netrc_brings_nothing_of_ours_back(session, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1\nlogin name\npassword word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    session.trust_env = True
    with RawServer() as second, RawServer(lambda _: (302, {"location": f"{second.url}/there"})) as first:
        session.get(f"{first.url}/go", auth=osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION))
    assert b"AWS4-HMAC-SHA256" in first.requests[0][0]
    [(head, body)] = second.requests
    assert b"Authorization: Basic " in head
    assert tells_nothing((head.replace(b"Authorization: Basic ", b""), body), TOKEN)


def test_nothing_is_signed_anew_for_whoever_redirects(session):
    """Else a host in the chain chose what is signed for the first one: here, to delete what was to be searched."""

    def answer(line):
        return (307, {"location": f"{second.url}/there"}) if " /logs/" in line else (403, {})

    with (
        RawServer(answer) as first,
        RawServer(lambda _: (307, {"location": f"{first.url}/_all/_delete_by_query"})) as second,
    ):
        auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
        answer_to = session.post(f"{first.url}/logs/_search", data=b"{}", auth=auth, headers={"x-amz-meta": "1"})
    assert answer_to.status_code == 403
    assert [tells_nothing(request, TOKEN) for request in first.requests] == [False, True]
    assert [tells_nothing(request, TOKEN) for request in second.requests] == [True]


# The program that the announcement of SigV4 support (opensearch.org, December 2022) and opensearch-py's guides print,
# in other words. Changed are the import of AWSV4SignerAuth, and the host.
ANNOUNCED = """
from boto3 import Session
from opensearchpy import OpenSearch, RequestsHttpConnection
from opensearch_sigv4 import AWSV4SignerAuth

host = 'localhost'
region = 'us-east-1'
credentials = Session().get_credentials()
auth = AWSV4SignerAuth(credentials, region)

client = OpenSearch(
    hosts=[{'host': host, 'port': 443}],
    http_auth=auth,
    use_ssl=True,
    verify_certs=True,
    connection_class=RequestsHttpConnection,
)

print(client.indices.create(index='films', body={'settings': {'index': {'number_of_shards': 1}}}))
print(client.index(index='films', id='1', body={'title': 'Stalker', 'year': 1979}, refresh=True))
print(client.search(index='films', body={'query': {'match': {'title': 'stalker'}}}))
print(client.delete(index='films', id='1'))
print(client.indices.delete(index='films'))
"""


class Tunnel:
    """A proxy for one CONNECT, whatever its target, to a port of loopback: nobody may listen on 443 here."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(60)
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(60)

    def _serve(self):
        with self._listener:
            client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.target = head.split()[1]
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(server, client))
            back.start()
            self._copy(client, server)
            back.join(60)

    @staticmethod
    def _copy(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def test_the_announced_program_runs():
    with LocalDomain(https=True) as domain, Tunnel(urlsplit(domain.url).port) as tunnel:
        domain.add_credentials("ASIAIOSFODNN7EXAMPLE", SECRET_KEY, TOKEN)
        ran = run(
            sys.executable,
            "-W",
            "error",
            "-c",
            ANNOUNCED,
            AWS_ACCESS_KEY_ID="ASIAIOSFODNN7EXAMPLE",
            AWS_SECRET_ACCESS_KEY=SECRET_KEY,
            AWS_SESSION_TOKEN=TOKEN,
            SSL_CERT_FILE=domain.ca_certs,
            REQUESTS_CA_BUNDLE=domain.ca_certs,
            CURL_CA_BUNDLE=None,
            HTTPS_PROXY=tunnel.url,
            https_proxy=None,
            NO_PROXY=None,
            no_proxy=None,
        )
        assert ran.returncode == 0, ran.stderr
        created, indexed, found, deleted, index_deleted = map(ast.literal_eval, ran.stdout.splitlines())
        assert created["acknowledged"] is index_deleted["acknowledged"] is True
        assert (indexed["result"], deleted["result"]) == ("created", "deleted")
        assert [hit["_source"] for hit in found["hits"]["hits"]] == [{"title": "Stalker", "year": 1979}]
        assert (domain.verified, domain.refused, tunnel.target) == (5, 0, b"localhost:443")


# --- the async one -----------------------------------------------------------------------------------------


def test_the_async_auth_warns_once_when_it_has_to_block():
    expiry = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
    fetched = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": TOKEN, "expiry_time": expiry}
    auth = osv4.AWSV4SignerAsyncAuth(DeferredRefreshableCredentials(lambda: fetched, "test"), REGION)
    with pytest.warns(RuntimeWarning, match="blocks the event loop"):
        first = auth("GET", URL)
    assert first["X-Amz-Security-Token"] == TOKEN
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auth("GET", URL)
        for credentials in (static(), lambda: static(), type("Own", (), {"access_key": "A", "secret_key": "s"})()):
            osv4.AWSV4SignerAsyncAuth(credentials, REGION)("GET", URL)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_async_auth_in_opensearchpys_own_connection(local_domain, compressed):
    """Whose version 2 passes other arguments, by position."""

    async def main():
        auth = osv4.AWSV4SignerAsyncAuth(local_domain.credentials, REGION)
        client = AsyncOpenSearch(
            local_domain.url, http_auth=auth, connection_class=AsyncHttpConnection, http_compress=compressed
        )
        async with client:
            await client.index(index="logs", id="a b", body={"a": 1}, routing="r", params={"refresh": "true"})
            assert (await client.count(index="logs", params={"preference": "_local"}))["count"] == 1
            assert (await client.get(index="logs", id="a b", routing="r"))["_source"] == {"a": 1}

    asyncio.run(main())
    assert (local_domain.verified, local_domain.refused) == (3, 0)


def test_the_async_auth_takes_what_each_version_passes(monkeypatch):
    class Own(osv4.AWSV4SignerAsyncAuth):
        def _sign_request(self, method, url, body, headers):
            return method, url, body, headers

    auth = Own(static(), REGION)
    headers = {"x-amz-meta": "1"}
    for version in ((2, 8, 0), (3, 0, 0)):
        monkeypatch.setattr(opensearchpy, "VERSION", version)
        assert auth("GET", URL) == ("GET", URL, None, None)
        assert auth(method="GET", url=URL, body=b"{}", headers=headers) == ("GET", URL, b"{}", headers)
        assert auth("GET", URL, body=b"{}") == ("GET", URL, b"{}", None)
    assert auth("GET", URL, b"{}", headers) == ("GET", URL, b"{}", headers)
    monkeypatch.setattr(opensearchpy, "VERSION", (2, 8, 0))
    assert auth("GET", URL, "q=1", b"{}") == ("GET", URL, b"{}", None)
    assert auth("GET", URL, "q=1") == auth("GET", URL, "", None) == ("GET", URL, None, None)
    assert auth(method="GET", url=URL, query_string="q=1", body=b"{}") == ("GET", URL, b"{}", None)
