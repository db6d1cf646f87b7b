"""Over real HTTP, by each of five clients: what we sign is what a verifier that we did not write receives, and nothing
else passes it.

The tables say what goes on the wire. Where a client's own rule makes that another thing, they name the transport.
"""

import gzip
import hashlib
import json
import random
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

import opensearchpy
import pytest
import requests
from botocore.credentials import Credentials, RefreshableCredentials
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy import AuthorizationException, OpenSearch, TransportError

import opensearch_sigv4
from conftest import EXAMPLES
from opensearch_sigv4 import SigV4HttpConnection
from opensearch_sigv4.testing import LocalDomain
from oracles import SESSION_KEY, TOKEN
from transports import TRANSPORTS, all_transports

ODD = ["a/b", "a%b", "a+b", "a*b", "a,b", "a:b", "a#b", "a?b", "a&b", "a=b", "a b", "ü", "日本", "🙂"]
ODD += ["%2F", "%2e%2e", "a/../b", "...", ".a", "~-._", "a//b", "!$'()@;[]{}|\\^`\"<>", "/ % + * , : # ? & = ü 日本"]

KINDS = ["http", "https", "gzip", "token", "ipv6", "aoss"]
ANY_ANSWER = {"ignore": (400, 404, 405, 500)}  # of the node: what is tested comes before it


class Wire:
    """Domains, and clients of them over each transport, made when first asked for and kept for all of this file."""

    def __init__(self, stack, transports):
        self.transports = transports
        self._stack, self._domains, self._clients = stack, {}, {}

    def domain(self, kind):
        """The domain of this kind, with nothing received so far."""
        if kind in ("gzip", "token"):  # which are kinds of clients
            kind = "http"
        if kind not in self._domains:
            host, service = "::1" if kind == "ipv6" else "127.0.0.1", "aoss" if kind == "aoss" else "es"
            domain = self._stack.enter_context(LocalDomain(https=kind == "https", host=host, service=service))
            domain.add_credentials(SESSION_KEY, domain.credentials.secret_key, TOKEN)
            self._domains[kind] = domain
        self._domains[kind].reset()
        return self._domains[kind]

    def domain_and_client(self, transport, kind):
        domain, key = self.domain(kind), (transport, kind)
        if key not in self._clients:
            options = {"http_compress": True} if kind == "gzip" else {}
            if kind == "token":
                options["credentials"] = Credentials(SESSION_KEY, domain.credentials.secret_key, TOKEN)
            self._clients[key] = self._stack.enter_context(transport.client(domain, **options))
        return domain, self._clients[key]


@pytest.fixture(scope="module")
def wire():
    with ExitStack() as stack:
        yield Wire(stack, stack.enter_context(all_transports()))


@pytest.fixture(params=[transport.name for transport in TRANSPORTS])
def transport(request, wire):
    return wire.transports[request.param]


@pytest.fixture
def domain(wire):
    return wire.domain("http")


@pytest.fixture
def client(wire, domain, transport):
    return wire.domain_and_client(transport, "http")[1]


@pytest.fixture(params=KINDS)
def domain_and_client(request, wire, transport):
    """A LocalDomain and a client of it, in each way in which the two can be set up."""
    domain, client = wire.domain_and_client(transport, request.param)
    yield domain, client
    assert domain.refused == 0


def headers_of(request):
    headers = {}
    for name, value in request.headers:
        assert name.lower() not in headers, f"{name} was sent twice"
        headers[name.lower()] = value
    return headers


class Refused(NamedTuple):
    """What is sent is nothing, because of this error."""

    error: type[Exception] | tuple[type[Exception], ...]
    match: str


DOT_SEGMENT = Refused(ValueError, "may be normalised away")


def by_requests(sent):
    return {"requests": sent}


def by_httpx(sent):
    return {"httpx": sent, "httpx async": sent}


def outcome(domain, expected, send):
    """The one request that `send` makes, verified; None where it is to be refused before anything is sent."""
    if isinstance(expected, Refused):
        with pytest.raises(expected.error, match=expected.match):
            send()
        assert domain.requests == ()
        return None
    send()
    assert (domain.verified, domain.refused) == (1, 0)
    return domain.requests[-1]


# --- the API -------------------------------------------------------------------------------------------------


def test_the_usual_calls(domain_and_client):
    domain, client = domain_and_client
    if domain.service == "es":
        assert client.ping()
        assert "number" in client.info()["version"]
        client.cluster.health()
    client.indices.delete(index="logs", params={"ignore": 404})
    client.indices.create(index="logs", body={"settings": {"number_of_replicas": 0}})
    assert client.indices.exists(index="logs")
    assert not client.indices.exists(index="nothing")
    client.indices.put_index_template(name="t", body={"index_patterns": ["t-*"], "template": {}})
    lines = [line for i in range(20) for line in ({"index": {"_id": str(i)}}, {"n": i, "text": "ü 日本"})]
    assert not client.bulk(body=lines, index="logs")["errors"]
    if domain.service == "es":
        client.indices.refresh(index="logs")
        assert client.count(index="logs", body={"query": {"match_all": {}}})["count"] == 20
        page = client.search(index="logs", body={"size": 5}, params={"scroll": "1m"})
        assert len(page["hits"]["hits"]) == 5
        assert client.scroll(body={"scroll_id": page["_scroll_id"], "scroll": "1m"})["hits"]["hits"]
        client.clear_scroll(body={"scroll_id": page["_scroll_id"]})
    client.index(index="logs", id="one", body={"n": 1})
    assert client.get(index="logs", id="one")["_source"] == {"n": 1}
    client.update(index="logs", id="one", body={"doc": {"n": 2}})
    assert client.get_source(index="logs", id="one") == {"n": 2}
    client.delete(index="logs", id="one")
    assert not client.exists(index="logs", id="one")
    client.indices.delete(index="logs")
    assert domain.verified >= 12


@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_are_written_and_read_back(domain_and_client, odd):
    domain, client = domain_and_client
    client.index(index="odd", id=odd, body={"id": odd})
    answer = client.get(index="odd", id=odd)
    assert answer["_id"] == odd
    assert answer["_source"] == {"id": odd}
    client.delete(index="odd", id=odd)
    assert not client.exists(index="odd", id=odd)
    assert domain.verified == 4


@pytest.mark.parametrize("odd", ODD)
def test_odd_queries(domain_and_client, odd):
    domain, client = domain_and_client
    client.index(index="odd", id="1", body={"text": odd}, routing=odd)
    client.search(index="odd", q=f'"{odd}"', params={"ignore": 400}, preference="_local")
    assert domain.verified == 2
    for request, name, value in zip(domain.requests, ["routing", "q"], [odd, f'"{odd}"'], strict=True):
        query = request.target.decode().partition("?")[2].split("&")
        assert f"{name}={quote(value, safe='')}" in query


# --- targets -------------------------------------------------------------------------------------------------

# requests lets urllib3's `parse_url` normalise a URL before it asks the auth: dot segments go, a path or query with one
# `%` that is no escape has all of them escaped. Then it unescapes what need not be escaped, `%2E` too.
# httpx has removed dot segments, too, when it asks the auth.
# Up to 2.33, requests itself makes one slash of those that begin a target; the signature is the same.
ONE_SLASH = by_requests("/odd//_doc/1") if requests.__version__ < "2.34" else {}
TARGETS = [
    ("/odd/_doc/a b", "/odd/_doc/a%20b", {}),
    ("/odd/_doc/ü", "/odd/_doc/%C3%BC", {}),
    ("/odd/_doc/%2e%2E", "/odd/_doc/%2E%2E", by_requests(DOT_SEGMENT)),
    ("/odd/_doc/a%2fb", "/odd/_doc/a%2Fb", {}),
    ("/odd/_doc/100%", "/odd/_doc/100%25", {}),
    (
        "/odd/_doc/%c3%bc%zz",
        "/odd/_doc/%C3%BC%25zz",
        by_requests("/odd/_doc/%25C3%25BC%25zz"),
    ),
    ("//odd//_doc/1", "//odd//_doc/1", ONE_SLASH),
    ("/odd/_doc/a:/b", "/odd/_doc/a:/b", {}),
    ("/odd/_doc/[1]", "/odd/_doc/%5B1%5D", {}),
    ("/odd/_doc/a'b(c)*!;=,$&@~", "/odd/_doc/a'b(c)*!;=,$&@~", {}),
    ('/odd/_doc/|\\^`{}"<>', "/odd/_doc/%7C%5C%5E%60%7B%7D%22%3C%3E", {}),
    ("/odd/_doc/...", "/odd/_doc/...", {}),
    ("/odd/_doc/..", DOT_SEGMENT, by_requests("/odd/") | by_httpx("/odd")),
    ("/odd/./_doc/1", DOT_SEGMENT, by_requests("/odd/_doc/1") | by_httpx("/odd/_doc/1")),
    ("/odd/_doc/a/../b", DOT_SEGMENT, by_requests("/odd/_doc/b") | by_httpx("/odd/_doc/b")),
    ("/odd/_search?q=a b", "/odd/_search?q=a%20b", {}),
    ("/odd/_search?q=a+b&q=a%2Bb&x", "/odd/_search?q=a%20b&q=a%2Bb&x", {}),
    ("/odd/_search?b=2&a=2&a=1&a=&a", "/odd/_search?b=2&a=2&a=1&a=&a", {}),
    ("/odd/_search?a=&b&&c==&=d", "/odd/_search?a=&b&&c==&=d", {}),
    ("/odd/_search?q=ü 🙂", "/odd/_search?q=%C3%BC%20%F0%9F%99%82", {}),
    ("/odd/_search?routing=//a/../b/.", "/odd/_search?routing=//a/../b/.", {}),
    ("/odd/_search?q='()*!;:@/?,$~-._", "/odd/_search?q='()*!;:@/?,$~-._", {}),
    (
        '/odd/_search?q=[]|\\^`{}"<>',
        "/odd/_search?q=%5B%5D%7C%5C%5E%60%7B%7D%22%3C%3E",
        {},
    ),
    ("/odd/_search?q=%c3%bc%2f", "/odd/_search?q=%C3%BC%2F", {}),
    (
        "/odd/_search?q=%c3%bc%zz%",
        "/odd/_search?q=%C3%BC%25zz%25",
        by_requests("/odd/_search?q=%25C3%25BC%25zz%25"),
    ),
    ("/odd/_search?", "/odd/_search", {}),
]


@pytest.mark.parametrize(("url", "target", "otherwise"), TARGETS, ids=[row[0] for row in TARGETS])
def test_raw_urls_through_the_transport(domain, client, transport, url, target, otherwise):
    expected = otherwise.get(transport.name, target)
    request = outcome(domain, expected, lambda: client.transport.perform_request("GET", url, params={**ANY_ANSWER}))
    if request is not None:
        assert request.target == expected.encode()


PREFIXES = [
    ("a prefix/ü", "/a%20prefix/%C3%BC", {}),
    ("p%20q", "/p%20q", {}),
    ("p+q", "/p+q", {}),
    ("a:b", "/a:b", {}),
    ("/a//b/", "/a//b", {}),
    ("a%2Fb", "/a%2Fb", {}),
    ("日本🙂", "/%E6%97%A5%E6%9C%AC%F0%9F%99%82", {}),
    ("a'b(c)*!;=,$&@~", "/a'b(c)*!;=,$&@~", {}),
    ("[x]|^", "/%5Bx%5D%7C%5E", {}),
    ("%", "/%25", {}),
    ("%2e%2e", "/%2E%2E", by_requests(DOT_SEGMENT)),
    ("a/../b", DOT_SEGMENT, by_requests("/b") | by_httpx("/b")),
    ("..", DOT_SEGMENT, by_requests("") | by_httpx("")),
]


@pytest.mark.parametrize(("prefix", "path", "otherwise"), PREFIXES, ids=[row[0] for row in PREFIXES])
def test_url_prefix_is_signed_and_sent(domain, transport, prefix, path, otherwise):
    expected = otherwise.get(transport.name, path)
    with transport.client(domain, url_prefix=prefix) as client:
        send = partial(client.transport.perform_request, "GET", "/logs/_doc/a b?q=c d", params={**ANY_ANSWER})
        request = outcome(domain, expected, send)
    if request is not None:
        assert request.target == expected.encode() + b"/logs/_doc/a%20b?q=c%20d"


# --- bodies --------------------------------------------------------------------------------------------------

BODIES = {
    "GET without one": ("GET", None, b""),
    "GET": ("GET", {"size": 1}, b'{"size":1}'),
    "get": ("get", {"size": 1}, b'{"size":1}'),
    "HEAD without one": ("HEAD", None, b""),
    "HEAD": ("HEAD", {"size": 1}, b'{"size":1}'),
    "POST without one": ("POST", None, b""),
    "POST an empty str": ("POST", "", b""),
    "POST empty bytes": ("POST", b"", b""),
    "POST str": ("POST", '{"ü": "日本 🙂"}', '{"ü": "日本 🙂"}'.encode()),
    "POST bytes that are no text": ("POST", bytes(range(256)), bytes(range(256))),
    "PUT": ("PUT", {"ü": ["a", 1, None]}, '{"ü":["a",1,null]}'.encode()),
    "DELETE without one": ("DELETE", None, b""),
    "DELETE": ("DELETE", {"scroll_id": "1"}, b'{"scroll_id":"1"}'),
    "PATCH": ("PATCH", [], b"[]"),
}


@pytest.mark.parametrize("kind", ["http", "gzip"])
@pytest.mark.parametrize("name", BODIES)
def test_bodies(wire, transport, kind, name):
    method, body, expected = BODIES[name]
    domain, client = wire.domain_and_client(transport, kind)
    send = partial(client.transport.perform_request, method, "/bodies/_search", params={**ANY_ANSWER}, body=body)
    request = outcome(domain, expected, send)
    headers = headers_of(request)
    assert request.method == method.upper()
    assert headers.get(b"content-encoding") == (b"gzip" if kind == "gzip" and expected else None)
    assert received_body(request) == expected
    assert headers[b"x-amz-content-sha256"].decode() == hashlib.sha256(request.body).hexdigest()
    assert headers.get(b"content-length", b"0") == str(len(request.body)).encode()
    assert b"transfer-encoding" not in headers


def received_body(request):
    return gzip.decompress(request.body) if headers_of(request).get(b"content-encoding") == b"gzip" else request.body


def test_gzip_is_really_gzip(wire, transport):
    domain, client = wire.domain_and_client(transport, "gzip")
    client.index(index="gzip", id="1", body={"text": "a" * 1000})
    assert client.get(index="gzip", id="1")["_source"] == {"text": "a" * 1000}
    request = domain.requests[0]
    headers = headers_of(request)
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"content-type"] == b"application/json"
    assert len(request.body) < 200
    assert json.loads(gzip.decompress(request.body)) == {"text": "a" * 1000}
    assert (domain.verified, domain.refused) == (2, 0)


@pytest.mark.parametrize("kind", ["http", "gzip"])
def test_a_body_of_3_mb(wire, transport, kind):
    body = json.dumps({"query": {"match": {"text": random.Random(3).randbytes(1_500_000).hex()}}}).encode()
    domain, client = wire.domain_and_client(transport, kind)
    send = partial(client.transport.perform_request, "POST", "/bodies/_search", params={**ANY_ANSWER}, body=body)
    request = outcome(domain, body, send)
    assert (received_body(request) == body) is True  # pytest would show 3 MB of difference
    assert (len(request.body) < len(body)) is (kind == "gzip")


# --- headers -------------------------------------------------------------------------------------------------

# requests takes str and bytes, without a space before them. httpx takes bytes, and str of ASCII; and h11, by which it
# sends, no space before or after them.
NO_SPACE_AROUND = by_requests(Refused(requests.exceptions.InvalidHeader, "leading whitespace"))
NO_SPACE_AROUND |= by_httpx(Refused(opensearchpy.ConnectionError, "Illegal header value"))
ONLY_STR_AND_BYTES = by_requests(Refused(requests.exceptions.InvalidHeader, "must be of type str or bytes"))
ONLY_STR_AND_BYTES |= by_httpx(Refused((TypeError, AttributeError), "must be str or bytes|no attribute 'encode'"))
ONLY_ASCII = by_httpx(Refused(UnicodeEncodeError, "ascii"))
NO_LINE_END = by_requests(Refused(requests.exceptions.InvalidHeader, "return character"))

NAME = "search-logs-abc.us-east-1.es.amazonaws.com"


@pytest.mark.parametrize("kind", ["http", "https"])
@pytest.mark.parametrize("where", ["call", "client"])
def test_a_tunnels_host_is_signed_and_sent(wire, transport, kind, where):
    domain = wire.domain(kind)
    with transport.client(domain, **({"headers": {"Host": NAME}} if where == "client" else {})) as client:
        client.transport.perform_request("GET", "/", headers={"HOST": NAME} if where == "call" else None)
        client.index(index="logs", id="a b", body={"a": 1}, **({"headers": {"hOST": NAME}} if where == "call" else {}))
    assert [headers_of(request)[b"host"] for request in domain.requests] == [NAME.encode()] * 2
    assert (domain.verified, domain.refused) == (2, 0)


# Two spellings in one dict are two headers to httpx, which is one `Host` too many to sign.
HOSTS = [
    ({"Host": NAME}, {"hOsT": "elsewhere.example.com"}, "elsewhere.example.com", {}),
    ({"Host": NAME, "HOST": "elsewhere.example.com"}, {}, "elsewhere.example.com", {}),
    (
        {},
        {"Host": NAME, "HOST": "elsewhere.example.com"},
        "elsewhere.example.com",
        by_httpx(Refused(ValueError, "more than one Host")),
    ),
    ({}, {"Host": "Search.EXAMPLE.com"}, "Search.EXAMPLE.com", {}),
    ({}, {"Host": f"{NAME}:443"}, f"{NAME}:443", {}),
    ({}, {"Host": f" {NAME}"}, NAME, NO_SPACE_AROUND),
]


@pytest.mark.parametrize(("of_client", "of_call", "host", "otherwise"), HOSTS)
def test_spellings_of_host(domain, transport, of_client, of_call, host, otherwise):
    expected = otherwise.get(transport.name, host)
    with transport.client(domain, headers=of_client) as client:
        request = outcome(domain, expected, lambda: client.transport.perform_request("GET", "/", headers=of_call))
    if request is not None:
        assert headers_of(request)[b"host"] == expected.encode()


VALUES = [
    ("a", b"a", {}),
    ("", b"", {}),
    ("a, b", b"a, b", {}),
    ("two   spaces", b"two   spaces", {}),
    ("  around ", b"around", NO_SPACE_AROUND),
    ("ü", "ü".encode(), ONLY_ASCII),
    ("日本 🙂", "日本 🙂".encode(), ONLY_ASCII),
    ("ü".encode(), "ü".encode(), {}),
    (b"bytes", b"bytes", {}),
    (17, b"17", ONLY_STR_AND_BYTES),
    (True, b"True", ONLY_STR_AND_BYTES),
    (1.5, Refused(TypeError, "str is needed"), ONLY_STR_AND_BYTES),
    ("a\tb", Refused(ValueError, "control character"), {}),
    ("a\r\nb", Refused(ValueError, "control character"), NO_LINE_END),
]


@pytest.mark.parametrize(("value", "sent", "otherwise"), VALUES, ids=[repr(row[0]) for row in VALUES])
def test_values_of_a_signed_header(domain, client, transport, value, sent, otherwise):
    expected, headers = otherwise.get(transport.name, sent), {"x-amz-meta": value}
    request = outcome(domain, expected, lambda: client.transport.perform_request("GET", "/", headers=headers))
    if request is not None:
        assert headers_of(request)[b"x-amz-meta"].strip() == expected  # not every parser of aiohttp's strips it


def test_every_x_amz_header_of_a_call_is_signed(domain, client):
    headers = {"X-Amz-Aoss-Collection-Id": "abc", "x-amz-meta": "two   spaces", "X-Opaque-Id": "5"}
    client.transport.perform_request("GET", "/", headers=headers)
    received = headers_of(domain.requests[-1])
    assert b";x-amz-aoss-collection-id;" in received[b"authorization"]
    assert b";x-amz-meta," in received[b"authorization"]
    assert b"x-opaque-id" not in received[b"authorization"]
    assert received[b"x-opaque-id"] == b"5"
    assert domain.verified == 1


def test_headers_of_a_shared_endpoint(wire, transport):
    """Serverless's next generation: an account's one host, and a header that names the collection."""
    domain = wire.domain("aoss")
    with transport.client(domain, headers={"X-Amz-Aoss-Collection-Id": "abc123"}) as client:
        client.transport.perform_request("GET", "/_cat/indices", headers={"x-amz-aoss-collection-name": "logs"})
        client.index(index="logs", body={"a": 1}, headers={"x-amz-aoss-collection-id": "of-the-call"})
    first, second = (headers_of(request) for request in domain.requests)
    assert (first[b"x-amz-aoss-collection-id"], first[b"x-amz-aoss-collection-name"]) == (b"abc123", b"logs")
    assert b"x-amz-aoss-collection-id;x-amz-aoss-collection-name;" in first[b"authorization"]
    assert second[b"x-amz-aoss-collection-id"] == b"of-the-call"
    assert (domain.verified, domain.refused) == (2, 0)


def test_headers_that_a_connection_loses_and_gets(domain, transport):
    with transport.client(domain, headers={"x-amz-first": "1"}) as client:
        client.info()
        connection = client.transport.get_connection()
        headers = (connection.client if "httpx" in transport.name else connection).headers
        del headers["x-amz-first"]
        headers["x-amz-second"], headers["host"] = "2", NAME
        client.info()
    received = headers_of(domain.requests[-1])
    assert b"x-amz-first" not in received
    assert (received[b"x-amz-second"], received[b"host"]) == (b"2", NAME.encode())
    assert (domain.verified, domain.refused) == (2, 0)


OPAQUE_IDS = [
    ("17", b"17", {}),
    (b"17", b"17", {}),
    (17, b"17", ONLY_STR_AND_BYTES),
]


@pytest.mark.parametrize(("opaque_id", "sent", "otherwise"), OPAQUE_IDS)
def test_opaque_ids(domain, transport, opaque_id, sent, otherwise):
    expected = otherwise.get(transport.name, sent)

    def send():
        with transport.client(domain, opaque_id=opaque_id) as client:
            client.info()

    request = outcome(domain, expected, send)
    if request is not None:
        assert headers_of(request)[b"x-opaque-id"] == expected


def test_the_callers_own_hash_is_sent_once(domain, client):
    digest = hashlib.sha256(b'{"a":1}').hexdigest()
    client.transport.perform_request("PUT", "/logs/_doc/1", body='{"a":1}', headers={"X-AMZ-Content-sha256": digest})
    assert headers_of(domain.requests[-1])[b"x-amz-content-sha256"] == digest.encode()
    assert domain.verified == 1


# To requests and httpx an `auth` is what makes the Authorization header, and one that is there is replaced.
SENT_UNSIGNED = ("urllib3", "aiohttp")


@pytest.mark.parametrize(
    ("options", "authorization"),
    [
        ({"http_auth": ("user", "password")}, b"Basic dXNlcjpwYXNzd29yZA=="),
        ({"api_key": ("id", "key")}, b"ApiKey aWQ6a2V5"),
    ],
)
def test_a_calls_own_authorization(domain, client, transport, options, authorization):
    if transport.name in SENT_UNSIGNED:
        with pytest.raises(AuthorizationException):
            client.info(**options)
        headers = headers_of(domain.requests[-1])
        assert headers[b"authorization"] == authorization
        assert not [name for name in headers if name.startswith(b"x-amz-")]
        assert (domain.verified, domain.refused) == (0, 1)
    else:
        client.info(**options)
        assert headers_of(domain.requests[-1])[b"authorization"].startswith(b"AWS4-HMAC-SHA256 ")
        assert (domain.verified, domain.refused) == (1, 0)


# --- session tokens that rotate ------------------------------------------------------------------------------


def rotating_refreshable(keys):
    """botocore's own, and what makes them expire."""

    def fetch():
        key = next(keys)
        expiry = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return {"access_key": key.access_key, "secret_key": key.secret_key, "token": key.token, "expiry_time": expiry}

    def expire():
        credentials._expiry_time = datetime.now(UTC) - timedelta(hours=1)

    credentials = RefreshableCredentials("ASIAEXPIRED", "secret", "expired", None, fetch, "test")
    return credentials, expire


def rotating_callable(keys):
    return lambda: next(keys), lambda: None


def rotating_coroutine(keys):
    async def fetch():
        return next(keys)

    return fetch, lambda: None


@pytest.mark.parametrize("rotating", [rotating_refreshable, rotating_callable, rotating_coroutine])
def test_a_session_token_that_rotates(domain, transport, rotating):
    secret_key = domain.credentials.secret_key
    keys = [domain.add_credentials(f"ASIAEXAMPLE{n}", secret_key, f"{TOKEN[:-4]}{n}AA=") for n in range(3)]
    credentials, expire = rotating(iter(keys))
    if rotating is rotating_coroutine and not transport.is_asynchronous:
        with pytest.raises(TypeError, match="await"), transport.client(domain, credentials=credentials) as client:
            client.info()
        assert domain.requests == ()
        return
    with transport.client(domain, credentials=credentials) as client:
        for _ in keys:
            expire()
            client.index(index="logs", id="a b", body={"a": 1}, routing="c d")
    sent = [headers_of(request)[b"x-amz-security-token"].decode() for request in domain.requests]
    assert (sent == [key.token for key in keys]) is True
    assert (domain.verified, domain.refused) == (3, 0)


# --- properties ----------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PAIRS = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=4)


@settings(max_examples=min(EXAMPLES, 60))
@given(
    document_id=TEXT.filter(lambda text: text not in ("", ".", "..")),
    routing=TEXT.filter(bool),
    pairs=PAIRS,
    document=st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.booleans(), st.none()), max_size=3),
    body=st.binary(max_size=200),
    kind=st.sampled_from(["http", "gzip"]),
)
def test_every_transport_sends_the_same(wire, document_id, routing, pairs, document, body, kind):
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    sent = {}
    for name, transport in wire.transports.items():
        domain, client = wire.domain_and_client(transport, kind)
        client.index(index="random", id=document_id, body=document, routing=routing, **ANY_ANSWER)
        url = f"/random/_search?{query}" if pairs else "/random/_search"
        client.transport.perform_request("POST", url, params={**ANY_ANSWER}, body=body)
        assert (domain.verified, domain.refused) == (2, 0), name
        sent[name] = [(request.target, received_body(request)) for request in domain.requests]
    first = sent["urllib3"]
    assert dict(parse_qsl(first[0][0].partition(b"?")[2].decode()))["routing"] == routing
    assert parse_qsl(first[1][0].partition(b"?")[2].decode(), keep_blank_values=True) == pairs
    assert [json.loads(first[0][1]), first[1][1]] == [document, body]
    for name in wire.transports:
        assert sent[name] == first, name


# --- tampering -----------------------------------------------------------------------------------------------


def set_header(name, value):
    def change(request):
        request["headers"].pop(name, None)
        if value is not None:
            request["headers"][name] = value

    return change


def set_item(key, value):
    return lambda request: request.update({key: value})


def in_authorization(old, new):
    def change(request):
        authorization = request["headers"]["authorization"]
        assert old in authorization
        request["headers"]["authorization"] = authorization.replace(old, new)

    return change


def flip_signature(request):
    authorization = request["headers"]["authorization"]
    request["headers"]["authorization"] = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")


TAMPERINGS = {
    "body": set_item("body", b'{"a": 2}'),
    "no body": set_item("body", None),
    "method": set_item("method", "POST"),
    "path": set_item("url", "/logs/_doc/2?routing=a"),
    "path case": set_item("url", "/LOGS/_doc/1?routing=a"),
    "query": set_item("url", "/logs/_doc/1?routing=b"),
    "no query": set_item("url", "/logs/_doc/1"),
    "more query": set_item("url", "/logs/_doc/1?routing=a&refresh=true"),
    "date": set_header("x-amz-date", "20150830T123600Z"),
    "no date": set_header("x-amz-date", None),
    "host": set_header("host", "elsewhere.example.com"),
    "token": set_header("x-amz-security-token", TOKEN[:-4] + "AAA="),
    "no token": set_header("x-amz-security-token", None),
    "x-amz changed": set_header("x-amz-meta", "other"),
    "x-amz dropped": set_header("x-amz-meta", None),
    "x-amz added": set_header("x-amz-other", "1"),
    "hash": set_header("x-amz-content-sha256", "0" * 64),
    "hash unsigned": set_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    "hash not in the signature": in_authorization("x-amz-content-sha256;", ""),
    "scope region": in_authorization("/us-east-1/", "/us-west-2/"),
    "scope service": in_authorization("/es/", "/aoss/"),
    "scope day": lambda request: in_authorization(request["headers"]["x-amz-date"][:8], "20150830")(request),
    "access key": in_authorization(SESSION_KEY, "AKIDEXAMPLE"),
    "signature": flip_signature,
    "no authorization": set_header("authorization", None),
}


def assert_sent_as_changed(request, before, after):
    """What arrived is what the request was changed to, and not what was signed."""
    assert (after == before) is False
    assert (request.method, request.target) == (after["method"], after["url"].encode())
    assert request.body == (after["body"] or b"")
    received = headers_of(request)
    for name in {**before["headers"], **after["headers"]}:
        value = after["headers"].get(name)
        as_sent = value.encode() if isinstance(value, str) else value
        assert (received.get(name.encode()) == as_sent) is True, name


@pytest.mark.parametrize("name", [*TAMPERINGS, "nothing"])
def test_tampering_is_refused(wire, transport, name):
    domain, client = wire.domain_and_client(transport, "token")
    headers = {"x-amz-meta": "1"}
    with transport.changing(client, TAMPERINGS.get(name, lambda request: None)) as changed:
        if name == "nothing":
            client.index(index="logs", id="1", body={"a": 1}, routing="a", headers=headers)
        else:
            with pytest.raises(TransportError) as caught:
                client.index(index="logs", id="1", body={"a": 1}, routing="a", headers=headers)
            assert caught.value.status_code in (400, 403)
    assert (domain.verified, domain.refused) == ((1, 0) if name == "nothing" else (0, 1))
    [(before, after)] = changed
    assert (before["method"], before["url"], before["body"]) == ("PUT", "/logs/_doc/1?routing=a", b'{"a":1}')
    if name != "nothing":
        assert_sent_as_changed(domain.requests[-1], before, after)


def test_a_wrong_secret_is_refused(domain, transport):
    wrong = Credentials(domain.credentials.access_key, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    refused = pytest.raises(AuthorizationException, match="does not match the signature")
    with transport.client(domain, credentials=wrong) as client, refused:
        client.info()
    assert (domain.verified, domain.refused) == (0, 1)


# --- what this verifier is worth: opensearch-py's own signers, on what they are known to sign wrongly ---------

OLDER_SIGNERS = pytest.mark.skipif(
    opensearchpy.VERSION < (3, 2, 0), reason="older signers of opensearch-py have further faults"
)


@OLDER_SIGNERS
def test_the_peers_faults_are_seen(domain):
    credentials = Credentials(domain.credentials.access_key, domain.credentials.secret_key)
    auth = opensearchpy.Urllib3AWSV4SignerAuth(credentials, "us-east-1")
    with OpenSearch(domain.url, http_auth=auth) as client:
        client.info()
        with pytest.raises(AuthorizationException):
            client.transport.perform_request("GET", "/", headers={"x-amz-meta": "1"})
        with pytest.raises(AuthorizationException):
            client.transport.perform_request("GET", "/", headers={"Host": "elsewhere.example.com"})
    assert (domain.verified, domain.refused) == (1, 2)
    with OpenSearch(domain.url, http_auth=auth, connection_class=SigV4HttpConnection) as client:
        client.transport.perform_request("GET", "/", headers={"x-amz-meta": "1", "Host": "elsewhere.example.com"})
    assert (domain.verified, domain.refused) == (2, 2)


THEIR_CONNECTIONS = {
    "urllib3": ("Urllib3HttpConnection", "Urllib3AWSV4SignerAuth"),
    "requests": ("RequestsHttpConnection", "RequestsAWSV4SignerAuth"),
    "aiohttp": ("AsyncHttpConnection", "AWSV4SignerAsyncAuth"),
}


@OLDER_SIGNERS
@pytest.mark.parametrize("package", [opensearchpy, opensearch_sigv4], ids=["theirs", "ours"])
@pytest.mark.parametrize("name", THEIR_CONNECTIONS)
def test_a_space_in_a_query_tells_the_signers_apart(wire, domain, name, package):
    """Swapping the import is enough, on opensearch-py's own connections."""
    connection, signer = THEIR_CONNECTIONS[name]
    credentials = Credentials(domain.credentials.access_key, domain.credentials.secret_key)
    auth = getattr(package, signer)(credentials, "us-east-1")
    is_ours = package is opensearch_sigv4
    with wire.transports[name].client_with(domain, getattr(opensearchpy, connection), auth) as client:
        client.info()
        if is_ours:
            client.search(index="_all", q="a b")
        else:
            with pytest.raises(AuthorizationException):
                client.search(index="_all", q="a b")
    assert (domain.verified, domain.refused) == ((2, 0) if is_ours else (1, 1))
