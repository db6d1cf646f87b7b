"""LocalDomain, on requests signed by awscrt and botocore: it takes what they sign, and nothing that was changed."""

import ast
import contextlib
import gc
import gzip
import hmac
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
from awscrt import auth as crt_auth
from awscrt import http as crt_http
from awscrt.exceptions import AwsCrtError
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

import opensearch_sigv4.testing
from conftest import VECTORS
from opensearch_sigv4.testing import Credentials, LocalDomain, ReceivedRequest
from opensearch_sigv4.testing import verify as verifier
from oracles import AT, TOKEN

NOW = AT.timestamp()
EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
OTHER = Credentials("AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY")
TEMPORARY = Credentials("ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", TOKEN)
EMPTY_HASH = sha256(b"").hexdigest()
TIMEOUT_S = 20


@dataclass(frozen=True)
class Request:
    """What is signed, and then sent as it stands."""

    method: str = "POST"
    target: str = "/logs/_search?q=a%20b&size=1"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b'{"query": {"match_all": {}}}'

    def get(self, name):
        return next(value for key, value in self.headers if key.lower() == name.lower())

    def with_header(self, name, value):
        """The same, one header set or, for None, left out."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=kept if value is None else (*kept, (name, value)))

    def added(self, name, value):
        return replace(self, headers=(*self.headers, (name, value)))


def sign_with_awscrt(request, credentials, *, at, service="es", region="us-east-1", payload_hash="", sign=None):
    """`payload_hash`: None leaves the header out. `sign`: the names to sign, all given by default."""
    stated = sha256(request.body).hexdigest() if payload_hash == "" else payload_hash
    kind = crt_auth.AwsSignedBodyHeaderType
    config = crt_auth.AwsSigningConfig(
        credentials_provider=crt_auth.AwsCredentialsProvider.new_static(
            credentials.access_key, credentials.secret_key, credentials.token
        ),
        region=region,
        service=service,
        date=at,
        should_sign_header=None if sign is None else lambda name: name.lower() in sign,
        signed_body_value=stated or sha256(request.body).hexdigest(),
        signed_body_header_type=kind.NONE if stated is None else kind.X_AMZ_CONTENT_SHA_256,
    )
    bare = crt_http.HttpRequest(request.method, request.target, crt_http.HttpHeaders(list(request.headers)))
    signed = crt_auth.aws_sign_request(bare, config).result(10)
    return replace(request, headers=tuple(signed.headers))


def sign_with_botocore(request, credentials, *, at, service="es", region="us-east-1"):
    """SigV4Auth.add_auth without its own clock."""
    amz_date = at.strftime("%Y%m%dT%H%M%SZ")
    request = request.added("X-Amz-Date", amz_date)
    request = request.added("X-Amz-Content-SHA256", sha256(request.body).hexdigest())
    if credentials.token:
        request = request.added("X-Amz-Security-Token", credentials.token)
    auth = SigV4Auth(
        BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.token), service, region
    )
    wire = AWSRequest(request.method, f"https://host{request.target}")
    for name, value in request.headers:
        wire.headers.add_header(name, value)
    wire.context["timestamp"] = amz_date
    signature = auth.signature(auth.string_to_sign(wire, auth.canonical_request(wire)), wire)
    names = auth.signed_headers(auth.headers_to_sign(wire))
    return request.added(
        "Authorization",
        f"AWS4-HMAC-SHA256 Credential={auth.scope(wire)}, SignedHeaders={names}, Signature={signature}",
    )


SIGNERS = {"awscrt": sign_with_awscrt, "botocore": sign_with_botocore}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def message(self):
        return json.loads(self.body)["message"]


def send(domain, request):
    """Send the request as it stands, by http.client, with nothing added but a Content-Length."""
    scheme, _, authority = domain.url.partition("://")
    if scheme == "https":
        connection = http.client.HTTPSConnection(authority, context=domain.ssl_context(), timeout=TIMEOUT_S)
    else:
        connection = http.client.HTTPConnection(authority, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            connection.putheader(name, value)
        if request.body:
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def host_of(domain):
    return domain.url.partition("://")[2]


def signed(domain, request=None, credentials=None, *, signer="awscrt", at=AT, **options):
    request = Request() if request is None else request
    if not any(name.lower() == "host" for name, _ in request.headers):
        request = replace(request, headers=(("Host", host_of(domain)), *request.headers))
    return SIGNERS[signer](request, credentials or domain.credentials, at=at, service=domain.service, **options)


class Echo:
    """An HTTP server that remembers what it was sent and answers what `answer` says."""

    def __init__(self):
        self.received = []
        self.answer = (200, (("Content-Type", "application/json"), ("X-Node", "a b")), b'{"ok":true}')
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.requestline.split()[1]  # http.server cuts a `//` off its path
                echo.received.append(Request(self.command, target, tuple(self.headers.items()), body))
                status, headers, content = echo.answer
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if status not in (204, 304):
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD" and status not in (204, 304):
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_any

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def domain(echo):
    with LocalDomain(upstream=echo.url, clock=lambda: NOW) as domain:
        yield domain


@pytest.fixture
def serverless(echo):
    with LocalDomain(upstream=echo.url, clock=lambda: NOW, service="aoss") as domain:
        yield domain


# What passes


ODD_TARGETS = [
    "/",
    "/logs",
    "/logs/_doc/a%20b",
    "/logs/_doc/a%2Fb",
    "/logs/_doc/%E6%97%A5%E6%9C%AC",
    "/logs/_doc/a*b,c:d@e!f$g'(h);i=j&k",
    "/logs/_doc/%2e%2E",
    "/logs/_doc/%zz",
    "/logs/./x/../_doc//1/",
    "/logs/_search?b=2&a=1&a=0&c",
    "/logs/_search?q=%22a%20b%22&filter_path=a.*,-b",
    "/logs/_search?q=a%2Bb%26c%3Dd",
    "/logs/_search?q=%e6%97%a5",
]


@pytest.mark.parametrize("target", ODD_TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_what_awscrt_signs_passes_and_is_forwarded_as_it_stands(domain, echo, method, target):
    request = signed(domain, Request(method, target, body=b"" if method == "GET" else b"x"))
    answer = send(domain, request)
    assert (answer.status, answer.body) == (200, b'{"ok":true}')
    assert (domain.verified, domain.refused) == (1, 0)
    (forwarded,) = echo.received
    assert (forwarded.method, forwarded.target, forwarded.body) == (request.method, request.target, request.body)


# Only where botocore and AWS's text agree: a query in upper-case hex, everything but unreserved encoded.
@pytest.mark.parametrize("target", [t for t in ODD_TARGETS if "?" not in t] + ["/logs/_search?a=0&b=%E6%97%A5%20%2A"])
@pytest.mark.parametrize("credentials", [EXAMPLE, TEMPORARY], ids=["static", "token"])
def test_what_botocore_signs_passes(domain, target, credentials):
    domain.add_credentials(credentials.access_key, credentials.secret_key, credentials.token)
    assert send(domain, signed(domain, Request(target=target), credentials, signer="botocore")).status == 200
    assert (domain.verified, domain.refused) == (1, 0)


@pytest.mark.parametrize("target", ["//logs/_doc/1", "///", "/logs/_doc/a:/b", "/a/_search?q=http%3A//b&u=http://b/c"])
def test_targets_that_awscrt_misreads_are_judged_by_botocore(domain, echo, target):
    path, mark, query = target.partition("?")
    recoded = path + mark + query.replace(":", "%3A").replace("/", "%2F")
    request = signed(domain, Request(target=recoded), signer="botocore")
    assert send(domain, replace(request, target=target)).status == 200
    assert echo.received[0].target == target
    wrong = request.get("Authorization")[:-64] + "0" * 64
    answer = send(domain, replace(request, target=target).with_header("Authorization", wrong))
    assert answer.status == 403
    assert "The Canonical String for this request should have been" in answer.message
    assert (domain.verified, domain.refused) == (1, 1)


def test_a_plus_in_a_query_is_read_as_a_space(domain, echo):
    request = signed(domain, Request(target="/logs/_search?q=a%20b"))
    assert send(domain, replace(request, target="/logs/_search?q=a+b")).status == 200
    assert echo.received[0].target == "/logs/_search?q=a+b"
    plus_as_itself = signed(domain, Request(target="/logs/_search?q=a%2Bb"))
    assert send(domain, replace(plus_as_itself, target="/logs/_search?q=a+b")).status == 403


def test_an_absolute_target_is_judged_and_forwarded_by_its_path(domain, echo):
    request = signed(domain, Request(target="/logs/_search?q=1"))
    assert send(domain, replace(request, target=f"{domain.url}/logs/_search?q=1")).status == 200
    assert domain.requests[0].target == f"{domain.url}/logs/_search?q=1".encode()
    assert echo.received[0].target == "/logs/_search?q=1"


def test_gzip_goes_through_untouched_both_ways(domain, echo):
    body, content = gzip.compress(b'{"n": 1}\n'), gzip.compress(b'{"took": 1}')
    echo.answer = (200, (("Content-Encoding", "gzip"), ("Content-Type", "application/json")), content)
    request = signed(domain, Request(body=body).added("Content-Encoding", "gzip"))
    answer = send(domain, request)
    assert (answer.headers["Content-Encoding"], answer.body) == ("gzip", content)
    assert domain.requests[0].body == body
    assert (echo.received[0].body, echo.received[0].get("Content-Encoding")) == (body, "gzip")


def test_what_is_forwarded_carries_no_signature(domain, echo):
    domain.add_credentials(TEMPORARY.access_key, TEMPORARY.secret_key, TEMPORARY.token)
    request = Request().added("X-Amz-Aoss-Collection-Id", "a").added("X-Opaque-Id", "ü".encode().decode("latin-1"))
    send(domain, signed(domain, request.added("Connection", "X-Hop").added("X-Hop", "1"), TEMPORARY, sign=SIGNED))
    (forwarded,) = echo.received
    names = {name.lower() for name, _ in forwarded.headers}
    assert names == {"host", "content-type", "content-length", "x-opaque-id"}
    assert forwarded.get("Host") == host_of(echo)
    assert forwarded.get("X-Opaque-Id").encode("latin-1") == "ü".encode()


SIGNED = ("host", "content-type", "x-amz-aoss-collection-id")


def test_a_large_body(domain, echo):
    body = os.urandom(1 << 20) * 3
    assert send(domain, signed(domain, Request(body=body))).status == 200
    assert echo.received[0].body == body


def test_repeated_and_spaced_headers(domain):
    request = Request().added("X-Team", "b").added("x-team", "a").added("X-Note", "a   b")
    assert send(domain, signed(domain, request)).status == 200
    assert domain.requests[0].headers[2:4] == ((b"X-Team", b"b"), (b"x-team", b"a"))
    assert send(domain, signed(domain, Request().added("X-Note", "a b")).with_header("X-Note", "a    b")).status == 200


@pytest.mark.parametrize("payload_hash", ["", None], ids=["stated", "not stated"])
def test_es_takes_a_request_with_or_without_the_hash_header(domain, payload_hash):
    assert send(domain, signed(domain, payload_hash=payload_hash)).status == 200


def test_unsigned_payload_only_where_it_is_allowed(domain, echo):
    assert send(domain, signed(domain, payload_hash="UNSIGNED-PAYLOAD")).status == 403
    for service in ("es", "aoss"):
        with LocalDomain(
            upstream=echo.url, clock=lambda: NOW, service=service, allow_unsigned_payload=True
        ) as permissive:
            assert send(permissive, signed(permissive, payload_hash="UNSIGNED-PAYLOAD")).status == 200


@pytest.mark.parametrize(
    ("host", "https", "prefix"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:"),
        ("127.0.0.1", True, "https://127.0.0.1:"),
        ("127.0.0.2", True, "https://127.0.0.2:"),
        ("localhost", True, "https://localhost:"),
        ("::1", False, "http://[::1]:"),
        ("::1", True, "https://[::1]:"),
    ],
)
def test_addresses_and_tls(echo, host, https, prefix):
    if host == "127.0.0.2" and sys.platform == "darwin":
        pytest.skip("macOS has only 127.0.0.1 on its loopback device")
    with LocalDomain(upstream=echo.url, clock=lambda: NOW, host=host, https=https) as domain:
        assert domain.url.startswith(prefix)
        assert send(domain, signed(domain)).status == 200
        assert (domain.ca_certs is not None) is https
        ca_certs = domain.ca_certs
        if https:
            untrusting = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", retries=False)
            with pytest.raises(urllib3.exceptions.SSLError):
                untrusting.request("GET", domain.url)
            untrusting.clear()
        else:
            with pytest.raises(RuntimeError):
                domain.ssl_context()
    assert domain.ca_certs is None
    assert ca_certs is None or not Path(ca_certs).parent.exists()


def test_urllib3_with_a_pool_and_the_node_behind(local_domain):
    with urllib3.PoolManager(retries=False) as pool:

        def call(method, target, body=b"", **headers):
            request = signed(
                local_domain,
                Request(method, target, (("Content-Type", "application/json"), *headers.items()), body),
                at=datetime.fromtimestamp(time.time(), UTC),
            )
            return pool.request(
                method, local_domain.url + target, body=body, headers=dict(request.headers), preload_content=True
            )

        assert call("PUT", "/logs/_doc/a%20b", b'{"n": 1}').status == 201
        assert call("GET", "/logs/_doc/a%20b").json()["_source"] == {"n": 1}
        head = call("HEAD", "/logs/_doc/a%20b")
        assert (head.status, head.data) == (200, b"")
        assert call("HEAD", "/logs/_doc/b").status == 404
        bulk = gzip.compress(b'{"index": {"_id": "c"}}\n{"n": 2}\n')
        assert call("POST", "/logs/_bulk", bulk, **{"Content-Encoding": "gzip"}).json()["errors"] is False
        assert call("DELETE", "/logs/_doc/a%20b").json()["result"] == "deleted"
        assert pool.connection_from_url(local_domain.url).num_connections == 1
    assert (local_domain.verified, local_domain.refused) == (6, 0)


# What does not pass


@dataclass(frozen=True)
class Tampering:
    """A change to a signed request, and what it is refused with."""

    name: str
    change: Callable[[Request], Request]
    reason: str
    code: str = "InvalidSignatureException"


def authorization(old, new):
    return lambda request: request.with_header("Authorization", request.get("Authorization").replace(old, new, 1))


MISMATCH = "The request signature we calculated does not match"
BAD_TOKEN = "The security token included in the request is invalid."
TAMPERINGS = [
    Tampering("body", lambda r: replace(r, body=r.body.replace(b"_all", b"_alx")), "is not the SHA-256 of the body"),
    Tampering("no body", lambda r: replace(r, body=b""), "is not the SHA-256 of the body"),
    Tampering("method", lambda r: replace(r, method="PUT"), MISMATCH),
    Tampering("path", lambda r: replace(r, target=r.target.replace("logs", "logz")), MISMATCH),
    Tampering("query", lambda r: replace(r, target=r.target.replace("size=1", "size=2")), MISMATCH),
    Tampering("query added", lambda r: replace(r, target=r.target + "&x"), MISMATCH),
    Tampering("query removed", lambda r: replace(r, target=r.target.partition("?")[0]), MISMATCH),
    Tampering("path decoded", lambda r: replace(r, target=r.target.replace("_search", "_se%61rch")), MISMATCH),
    Tampering("host", lambda r: r.with_header("Host", "search.example"), MISMATCH),
    Tampering("signed header", lambda r: r.with_header("Content-Type", "text/plain"), MISMATCH),
    Tampering("signed header removed", lambda r: r.with_header("Content-Type", None), "is not in the request"),
    Tampering("signed header twice", lambda r: r.added("X-Team", "a"), MISMATCH),
    Tampering("second", lambda r: r.with_header("X-Amz-Date", "20150830T123601Z"), MISMATCH),
    Tampering("day", lambda r: r.with_header("X-Amz-Date", "20150831T123600Z"), "'20150830' != '20150831'"),
    Tampering("scope's day", authorization("/20150830/", "/20150829/"), "'20150829' != '20150830'"),
    Tampering("scope's region", authorization("/us-east-1/", "/us-east-2/"), "to a valid region. "),
    Tampering("scope's service", authorization("/es/", "/aoss/"), "to correct service: 'es'. "),
    Tampering("signature", lambda r: r.with_header("Authorization", r.get("Authorization")[:-64] + "0" * 64), MISMATCH),
    Tampering("x-amz-* added", lambda r: r.added("X-AMZ-Meta", "1"), "'x-amz-meta' must be a 'SignedHeader'"),
    Tampering(
        "hash of another body", lambda r: r.with_header("x-amz-content-sha256", EMPTY_HASH), "is not the SHA-256"
    ),
    Tampering("hash replaced", lambda r: r.with_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), "does not accept"),
    Tampering("hash removed", lambda r: r.with_header("x-amz-content-sha256", None), "is not in the request"),
    Tampering(
        "hash in capitals",
        lambda r: r.with_header("x-amz-content-sha256", r.get("x-amz-content-sha256").upper()),
        "is not the SHA-256",
    ),
    Tampering("hash unsigned", authorization("x-amz-content-sha256;", ""), "'x-amz-content-sha256' must be a"),
    Tampering("date unsigned", authorization(";x-amz-date", ""), "'x-amz-date' must be a 'SignedHeader'"),
    Tampering("host unsigned", authorization("host;", ""), "'Host' or ':authority' must be a 'SignedHeader'"),
    Tampering(
        "token added", lambda r: r.added("X-Amz-Security-Token", TOKEN), BAD_TOKEN, "UnrecognizedClientException"
    ),
    Tampering("empty token", lambda r: r.added("X-Amz-Security-Token", ""), BAD_TOKEN, "UnrecognizedClientException"),
    Tampering("unknown key", authorization("AKID", "AKIX"), BAD_TOKEN, "UnrecognizedClientException"),
    Tampering("another key", authorization("AKIDEXAMPLE", OTHER.access_key), MISMATCH),
    Tampering(
        "no Authorization",
        lambda r: r.with_header("Authorization", None),
        "Missing Authentication Token",
        "MissingAuthenticationTokenException",
    ),
    Tampering("no date", lambda r: r.with_header("X-Amz-Date", None), "'X-Amz-Date'", "IncompleteSignatureException"),
    *(
        Tampering(
            f"{name} twice", lambda r, name=name: r.added(name, r.get(name)), "once", "IncompleteSignatureException"
        )
        for name in ("Authorization", "X-Amz-Date", "x-amz-content-sha256")
    ),
    *(
        Tampering(
            f"date {text}",
            lambda r, text=text: r.with_header("X-Amz-Date", text),
            "ISO-8601 'basic format'",
            "IncompleteSignatureException",
        )
        for text in ("", "20150830T12360Z", "20150230T123600Z", "2015-08-30T12:36:00Z", "20150830T123600")
    ),
    *(
        Tampering(f"Authorization {name}", change, "must be", "IncompleteSignatureException")
        for name, change in {
            "of basic auth": lambda r: r.with_header("Authorization", "Basic YTpi"),
            "with another algorithm": authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            "without spaces": authorization(", ", ","),
            "with two spaces": authorization(", ", ",  "),
            "of capitals": lambda r: r.with_header(
                "Authorization", r.get("Authorization")[:-64] + r.get("Authorization")[-64:].upper()
            ),
            "cut": lambda r: r.with_header("Authorization", r.get("Authorization")[:-1]),
            "with more": lambda r: r.with_header("Authorization", r.get("Authorization") + ", a=b"),
            "with another terminator": authorization("aws4_request", "aws5_request"),
            "unsorted": authorization("content-type;host", "host;content-type"),
            "with a name twice": authorization("host;", "host;host;"),
            "with a name in capitals": authorization("content-type", "Content-Type"),
            "with an empty name": authorization("host;", "host;;"),
        }.items()
    ),
]


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.name)
def test_tampering_is_refused_and_not_forwarded(domain, echo, tampering):
    domain.add_credentials(OTHER.access_key, OTHER.secret_key)
    request = signed(domain, Request().added("X-Team", "a"))
    changed = tampering.change(request)
    assert changed != request
    answer = send(domain, changed)
    assert answer.status == 403
    assert answer.headers["x-amzn-ErrorType"] == tampering.code
    assert tampering.reason in answer.message
    assert (domain.verified, domain.refused, echo.received) == (0, 1, [])
    (received,) = domain.requests
    assert received.verdict == tampering.code
    assert tampering.reason in received.reason
    assert send(domain, request).status == 200
    assert (domain.verified, domain.refused) == (1, 1)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.name)
def test_serverless_refuses_without_a_word(serverless, echo, tampering):
    serverless.add_credentials(OTHER.access_key, OTHER.secret_key)
    if tampering.name == "scope's service":
        tampering = replace(tampering, change=authorization("/aoss/", "/es/"))
    answer = send(serverless, tampering.change(signed(serverless, Request().added("X-Team", "a"))))
    assert answer.status == 403
    error = json.loads(answer.body)
    assert len(error.pop("request-id")) == 36
    assert error == {"status": 403, "error": {"reason": "403 Forbidden", "type": "Forbidden"}}
    assert serverless.requests[-1].reason
    assert (serverless.verified, serverless.refused, echo.received) == (0, 1, [])


def test_a_token_must_be_the_one_of_its_key(domain):
    domain.add_credentials(TEMPORARY.access_key, TEMPORARY.secret_key, TEMPORARY.token)
    request = signed(domain, credentials=TEMPORARY)
    assert send(domain, request).status == 200
    for changed in (
        request.with_header("X-Amz-Security-Token", TOKEN[:-1] + "A"),
        request.with_header("X-Amz-Security-Token", None),
        signed(domain, credentials=replace(TEMPORARY, token=None)),
    ):
        assert send(domain, changed).headers["x-amzn-ErrorType"] == "UnrecognizedClientException"
    twice = send(domain, request.added("X-Amz-Security-Token", TOKEN))
    assert twice.headers["x-amzn-ErrorType"] == "IncompleteSignatureException"
    unsigned = send(domain, authorization(";x-amz-security-token", "")(request))
    assert "'x-amz-security-token' must be a 'SignedHeader'" in unsigned.message
    assert (domain.verified, domain.refused) == (1, 5)


def test_a_wrong_secret_is_refused(domain):
    answer = send(domain, signed(domain, credentials=replace(EXAMPLE, secret_key=OTHER.secret_key)))
    assert MISMATCH in answer.message


def test_expired_credentials_are_refused_from_their_expiry_on(domain):
    for offset, status in ((-1, 403), (0, 403), (1, 200)):
        domain.add_credentials(TEMPORARY.access_key, TEMPORARY.secret_key, TEMPORARY.token, expires_at=NOW + offset)
        assert send(domain, signed(domain, credentials=TEMPORARY)).status == status
    assert domain.requests[0].verdict == "ExpiredTokenException"
    assert domain.requests[0].reason == "The security token included in the request is expired"


FORBIDDEN = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "authorization",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_headers_that_something_changes_must_not_be_signed(name):
    request = replace(Request(body=b"", headers=()), headers=(("Host", "a"),))
    if name not in ("authorization", "content-length"):
        request = request.added(name, "a")
    request = sign_with_awscrt(request, EXAMPLE, at=AT, sign=("host",))
    if name == "content-length":
        request = request.added(name, "0")
    names = ";".join(sorted(["host", "x-amz-content-sha256", "x-amz-date", name]))
    verdict = judge(authorization("host;x-amz-content-sha256;x-amz-date", names)(request))
    assert verdict.code == "InvalidSignatureException"
    assert verdict.reason == f"'{name}' must not be a 'SignedHeader': it may change on the way."
    if name != "expect":  # and unsigned it may be there
        assert judge(request).code == verifier.VERIFIED


@pytest.mark.parametrize("target", ["/a", "//a", "/a:/b"])
def test_trace_headers_may_be_signed(target):
    request = Request("GET", "/a", (("Host", "a"), ("traceparent", "00-a"), ("X-Amzn-RequestId", "a")), b"")
    verdict = judge(replace(sign_with_awscrt(request, EXAMPLE, at=AT), target=target))
    assert (verdict.code == verifier.VERIFIED) is (target != "/a:/b")
    if target == "/a:/b":
        assert "\ntraceparent:00-a\n" in verdict.message


def judge(request):
    return verifier.verify(
        request.method,
        request.target.encode(),
        [(name.encode(), value.encode()) for name, value in request.headers],
        request.body,
        region="us-east-1",
        service="es",
        find_credentials={EXAMPLE.access_key: EXAMPLE}.get,
        now=NOW,
    )


@pytest.mark.parametrize("minutes", [-6, -5, 0, 5, 6])
def test_the_clock(domain, minutes):
    at = datetime.fromtimestamp(NOW + 60 * minutes, UTC)
    answer = send(domain, signed(domain, at=at))
    if abs(minutes) <= 5:
        assert answer.status == 200
    elif minutes < 0:
        assert answer.message == (
            "Signature expired: 20150830T123000Z is now earlier than 20150830T123100Z (20150830T123600Z - 5 min.)"
        )
    else:
        assert answer.message == (
            "Signature not yet current: 20150830T124200Z is still later than 20150830T124100Z "
            "(20150830T123600Z + 5 min.)"
        )
    assert answer.headers.get_all("Date") == ["Sun, 30 Aug 2015 12:36:00 GMT"]


def test_one_second_beyond_the_window(domain):
    assert send(domain, signed(domain, at=datetime.fromtimestamp(NOW - 301, UTC))).status == 403
    assert send(domain, signed(domain, at=datetime.fromtimestamp(NOW + 301, UTC))).status == 403


def test_a_mismatch_quotes_what_should_have_been_signed(domain):
    domain.add_credentials(TEMPORARY.access_key, TEMPORARY.secret_key, TEMPORARY.token)
    target = "/a%20b/_search?z=%2a&b=x+y&b=a"
    request = signed(domain, Request("GET", target, (), b""), TEMPORARY)
    answer = send(domain, request.with_header("Host", "Search.Example"))
    canonical_request = (
        "GET\n/a%2520b/_search\nb=a&b=x%20y&z=%2A\n"
        f"host:Search.Example\nx-amz-content-sha256:{EMPTY_HASH}\nx-amz-date:20150830T123600Z\n"
        f"x-amz-security-token:{TOKEN}\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-security-token\n{EMPTY_HASH}"
    )
    string_to_sign = (
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/es/aws4_request\n"
        + sha256(canonical_request.encode()).hexdigest()
    )
    assert answer.message == (
        f"{MISMATCH} the signature you provided. Check your AWS Secret Access Key and signing method. Consult the "
        "service documentation for details.\n\nThe Canonical String for this request should have been\n"
        f"'{canonical_request}'\n\nThe String-to-Sign should have been\n'{string_to_sign}'\n"
    )
    # and a client that follows the text is let in
    key = f"AWS4{TEMPORARY.secret_key}".encode()
    for part in ("20150830", "us-east-1", "es", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    right = hmac.digest(key, string_to_sign.encode(), "sha256").hex()
    repaired = request.with_header("Host", "Search.Example")
    repaired = repaired.with_header("Authorization", request.get("Authorization")[:-64] + right)
    assert send(domain, repaired).status == 200


@pytest.mark.parametrize("case", json.loads((VECTORS / "es-error-texts.json").read_text()) if VECTORS.is_dir() else [])
def test_a_mismatch_says_what_live_domains_said(domain, case):
    target = case.get("wire_path", "/a/_search") + ("?" + case["wire_query"] if "wire_query" in case else "")
    request = signed(domain, Request(target=target)).with_header("Content-Type", "other")
    lines = send(domain, request).message.split("\n")
    assert lines[3].lstrip("'") == "POST"
    assert lines[4] == case.get("canonical_path", "/a/_search")
    if "canonical_query" in case:
        pairs = sorted(case["canonical_query"].split("&"))
        assert lines[5] == "&".join(pairs)


# The verifier alone


@pytest.mark.skipif(not VECTORS.is_dir(), reason="AWS's signing test suite is not there")
def test_the_signed_requests_of_aws_are_verified():
    suite = VECTORS / "aws-signing-test-suite" / "v4"
    judged = 0
    for case in sorted(suite.iterdir() if suite.is_dir() else ()):
        context = json.loads((case / "context.json").read_text())
        text = (case / "header-signed-request.txt").read_bytes()
        # obs-fold is no HTTP any more, and content-length must not be signed
        if not context["normalize"] or b"\n " in text or case.name == "post-sts-header-after":
            continue
        head, _, body = text.partition(b"\n\n")
        first, *lines = head.rstrip(b"\n").split(b"\n")
        method, rest = first.split(b" ", 1)
        headers = [(line.partition(b":")[0], line.partition(b":")[2].strip()) for line in lines]
        given = context["credentials"]
        credentials = Credentials(given["access_key_id"], given["secret_access_key"], given.get("token"))
        verdict = verifier.verify(
            method.decode(),
            rest.rpartition(b" ")[0],
            headers,
            body,
            region=context["region"],
            service=context["service"],
            find_credentials={credentials.access_key: credentials}.get,
            now=datetime.fromisoformat(context["timestamp"]).timestamp(),
        )
        names = dict(line.split("=", 1) for line in dict(headers)[b"Authorization"].decode().split(", ")[1:])
        if "content-length" in names["SignedHeaders"].split(";"):
            assert "'content-length' must not be" in verdict.reason
        else:
            assert verdict.code == verifier.VERIFIED, case.name
        judged += 1
    assert judged >= 25


segments = st.text(st.sampled_from("ab/.~-_*,:@!$&'()+;=%[]{}|^ü"), max_size=12)
escapes = st.lists(st.sampled_from(["%20", "%2F", "%2f", "%25", "%E6%97%A5", "%zz", "%", "a", "/", "."]), max_size=6)
paths = st.builds(lambda text, escaped: "/a" + text + "".join(escaped), segments, escapes)
queries = st.text(st.sampled_from("ab=&%20+*/:,.~'ü"), max_size=16)


@given(
    paths,
    st.none() | queries,
    st.sampled_from([EXAMPLE, TEMPORARY]),
    st.lists(st.text("a b,\t", max_size=6), max_size=3),
)
def test_the_two_verifiers_agree_where_both_can_judge(path, query, credentials, values):
    target = path if query is None else f"{path}?{query}"
    if not verifier.awscrt_reads(target):
        return
    headers = [(b"Host", b"a"), (b"X-Amz-Date", b"20150830T123600Z"), (b"x-amz-content-sha256", EMPTY_HASH.encode())]
    headers += [(b"X-Value", value.encode()) for value in values]
    names = ["host", *(["x-value"] if values else []), "x-amz-content-sha256", "x-amz-date"]
    if credentials.token:
        headers.append((b"X-Amz-Security-Token", TOKEN.encode()))
        names.append("x-amz-security-token")
    scope = f"Credential={credentials.access_key}/20150830/us-east-1/es/aws4_request"
    form = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders={';'.join(sorted(names))}, Signature={'0' * 64}"
    request = verifier._parse("GET", target.encode(), [*headers, (b"Authorization", form.encode())])
    try:
        by_awscrt = verifier.sign_with_awscrt(request, credentials, EMPTY_HASH)
    except AwsCrtError:  # refused
        bad_escape = re.search("%(?![0-9A-Fa-f]{2})", query or "")
        assert bad_escape, "only a `%` that begins no escape is more than awscrt can take"
        return
    assert verifier.sign_with_botocore(request, credentials, EMPTY_HASH).authorization == by_awscrt


# What the domain is besides


def test_received_requests_are_kept_as_they_came(domain):
    request = signed(domain, Request().added("X-cAsE", "1"))
    send(domain, request)
    (received,) = domain.requests
    sent = (*request.headers, ("Content-Length", str(len(request.body))))
    assert received.headers == tuple((name.encode(), value.encode()) for name, value in sent)
    assert (received.method, received.target, received.body) == ("POST", request.target.encode(), request.body)
    assert (received.verdict, received.reason) == ("verified", "")
    with pytest.raises(AttributeError):
        received.body = b""
    domain.reset()
    assert (domain.verified, domain.refused, domain.requests) == (0, 0, ())


def test_only_the_last_requests_are_kept(echo):
    with LocalDomain(upstream=echo.url, clock=lambda: NOW, keep=2) as domain:
        for number in range(3):
            send(domain, signed(domain, Request(target=f"/{number}")))
        assert [request.target for request in domain.requests] == [b"/1", b"/2"]
        assert domain.verified == 3


def test_nothing_printed_shows_a_secret_a_token_or_a_signature(domain):
    credentials = domain.add_credentials(TEMPORARY.access_key, TEMPORARY.secret_key, TEMPORARY.token)
    request = signed(domain, credentials=credentials)
    send(domain, request)
    send(domain, request.with_header("Content-Type", "other"))
    send(domain, request.with_header("Authorization", "Basic YTpi"))
    assert domain.requests[1].verdict == "InvalidSignatureException"
    shown = repr((domain, credentials, domain.requests)) + "".join(r.reason for r in domain.requests)
    assert TEMPORARY.access_key in shown
    secrets = (TOKEN, TEMPORARY.secret_key, request.get("Authorization")[-64:], "YTpi")
    assert not any(secret in shown for secret in secrets)


def test_other_credentials_and_more_of_them(echo):
    botocores = BotocoreCredentials(TEMPORARY.access_key, TEMPORARY.secret_key, TOKEN)
    with LocalDomain(upstream=echo.url, clock=lambda: NOW, credentials=botocores, region="eu-north-1") as domain:
        assert domain.credentials == TEMPORARY
        assert (domain.region, domain.service) == ("eu-north-1", "es")
        assert send(domain, signed(domain, region="eu-north-1")).status == 200
        assert send(domain, signed(domain, credentials=EXAMPLE, region="eu-north-1")).status == 403
        domain.add_credentials(EXAMPLE.access_key, EXAMPLE.secret_key)
        assert send(domain, signed(domain, credentials=EXAMPLE, region="eu-north-1")).status == 200


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (201, (("Content-Type", "text/plain"), ("Location", "/a"), ("Warning", "299 a"), ("Warning", "299 b")), b"x"),
        (204, (("X-Node", "a"),), b""),
        (304, (("ETag", '"a"'),), b""),
        (302, (("Location", "http://example.invalid/"),), b""),
        (500, (("Content-Type", "application/json"),), b"{}"),
    ],
)
def test_answers_come_back_as_they_are(domain, echo, status, headers, body):
    echo.answer = (status, headers, body)
    answer = send(domain, signed(domain))
    assert (answer.status, answer.body) == (status, body)
    for name in {name for name, _ in headers}:
        assert answer.headers.get_all(name) == [value for key, value in headers if key == name]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_length_of_an_answer(domain, echo, method):
    answer = send(domain, signed(domain, Request(method, "/", body=b"")))
    assert answer.headers.get_all("Content-Length") == ["11"]
    assert answer.body == (b"" if method == "HEAD" else b'{"ok":true}')
    assert send(domain, Request(method, "/", (("Host", "a"),), b"")).status == 403


def test_an_upstream_that_does_not_answer_is_a_502():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with LocalDomain(upstream=f"http://127.0.0.1:{port}", clock=lambda: NOW) as domain:
        answer = send(domain, signed(domain))
    assert answer.status == 502
    assert f"http://127.0.0.1:{port} did not answer" in answer.message
    assert domain.verified == 1


def test_a_body_over_the_limit_is_a_413(echo):
    with LocalDomain(upstream=echo.url, clock=lambda: NOW, client_max_size=1000) as domain:
        assert send(domain, signed(domain, Request(body=b"x" * 1000))).status == 200
        answer = send(domain, signed(domain, Request(body=b"x" * 1001)))
        assert answer.status == 413
        assert json.loads(answer.body) == {"Message": "Request size exceeded 1000 bytes"}
        assert (domain.verified, domain.refused) == (1, 1)
        assert len(echo.received) == 1


@contextlib.contextmanager
def raw_connection(domain):
    host, _, port = host_of(domain).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        yield connection


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Amz-Security-Token : EXAMPLETOKEN\r\n\r\n",
        b"EXAMPLETOKEN\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_counted(domain, echo, head):
    with raw_connection(domain) as connection:
        connection.sendall(head)
        answer = connection.makefile("rb").read()
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert (domain.verified, domain.refused, echo.received) == (0, 1, [])
    assert domain.requests[0].verdict == "BadRequestException"
    assert "EXAMPLETOKEN" not in domain.requests[0].reason


@pytest.mark.parametrize("target", ["*", "/a#b", "logs"])
def test_a_target_that_is_no_path_is_refused(target):
    request = sign_with_awscrt(Request("OPTIONS", "/", (("Host", "a"),), b""), EXAMPLE, at=AT)
    verdict = judge(replace(request, target=target))
    assert (verdict.code, verdict.status) == ("BadRequestException", 400)


def test_expect_100_continue_is_answered(domain):
    request = signed(domain).added("Expect", "100-continue")
    with raw_connection(domain) as connection:
        head = f"{request.method} {request.target} HTTP/1.1\r\nContent-Length: {len(request.body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        connection.sendall(head.encode() + b"\r\n")
        reader = connection.makefile("rb")
        assert reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert reader.readline() == b"\r\n"
        connection.sendall(request.body)
        assert reader.readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_chunked_body_is_verified(domain, echo):
    request = signed(domain).added("Transfer-Encoding", "chunked")
    connection = http.client.HTTPConnection(host_of(domain), timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        chunks = iter([request.body[:5], request.body[5:]])
        connection.request(request.method, request.target, chunks, dict(request.headers), encode_chunked=True)
        assert connection.getresponse().status == 200
    assert echo.received[0].body == request.body


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/_refresh", 404),
        ("POST", "/logs/_refresh", 404),
        ("PUT", "/logs/_doc/1?refresh=true", 400),
        ("POST", "/_bulk?refresh", 400),
        ("PUT", "/logs/_doc/1?refresh=false", 200),
        ("PUT", "/logs/_doc/_refresh", 200),
        ("GET", "/logs/_search?refresh=true", 200),
        ("GET", "/_cat/indices", 200),
    ],
)
def test_what_serverless_answers_for_itself(serverless, echo, method, target, status):
    answer = send(serverless, signed(serverless, Request(method, target, body=b"")))
    assert answer.status == status
    assert len(echo.received) == (status == 200)
    assert (serverless.verified, serverless.refused) == (1, 0)
    if status == 404:
        assert answer.body == b""
    if status == 400:
        assert json.loads(answer.body)["error"]["reason"] == "true refresh policy is not supported."


def test_serverless_wants_the_hash_in_every_request(serverless):
    assert send(serverless, signed(serverless, Request("GET", "/_cat", body=b""), payload_hash=None)).status == 403
    assert serverless.requests[0].reason == "'x-amz-content-sha256' is missing."


def test_many_threads_and_right_counts(domain):
    def work():
        for _ in range(20):
            assert send(domain, signed(domain)).status == 200
            assert send(domain, Request(headers=(("Host", "a"),))).status == 403

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (domain.verified, domain.refused) == (80, 80)


# Starting and stopping


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "", "::ffff:127.0.0.1", "127.0.0.1.example.com", "[::1]"]
)
def test_only_loopback_addresses(host):
    with pytest.raises(ValueError, match="host must be a loopback address"):
        LocalDomain(host=host)


@pytest.mark.parametrize(
    "upstream",
    [
        "",
        "127.0.0.1:9200",
        "ftp://a",
        "http://",
        "http://a/b",
        "http://a?b",
        "http://u:p@a",
        "http://a#b",
        "http://a:x",
    ],
)
def test_an_upstream_is_scheme_host_and_port(upstream):
    with pytest.raises(ValueError, match="upstream must be a base URL") as caught:
        LocalDomain(upstream=upstream)
    assert "u:p" not in str(caught.value)


def test_other_services_are_refused():
    with pytest.raises(ValueError, match="service must be"):
        LocalDomain(service="s3")


@pytest.mark.parametrize("options", [{}, {"https": True}, {"host": "::1"}])
def test_close_leaves_nothing_behind(options, monkeypatch):
    # an idle connection is not waited for
    monkeypatch.setattr("opensearch_sigv4.testing.domain._SHUTDOWN_TIMEOUT_S", 3600)
    threads = set(threading.enumerate())
    domain = LocalDomain(**options)
    with pytest.raises(RuntimeError):
        domain.url  # noqa: B018
    assert domain.start() is domain
    with pytest.raises(RuntimeError):
        domain.start()
    process = domain._running._process.process
    idle = socket.create_connection(
        (host_of(domain).rpartition(":")[0].strip("[]"), int(domain.url.rpartition(":")[2]))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        domain.close()
        domain.close()
        gc.collect()
    idle.close()
    assert set(threading.enumerate()) <= threads
    assert process.returncode is not None
    with pytest.raises(OSError), raw_connection(domain):  # noqa: PT011
        pass
    with domain:  # and again
        assert send(domain, Request(headers=(("Host", "a"),))).status == 403


def test_close_loses_no_connection_that_it_is_just_accepting():
    # asyncio asserts in a connection's set-up once its listener is closed, and leaves the socket open: 2 in 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            domain = LocalDomain(upstream="http://127.0.0.1:1").start()
            with raw_connection(domain):
                domain.close()
        gc.collect()


def test_close_does_not_wait_for_a_node_that_hangs():
    threads = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as node:
        domain = LocalDomain(upstream=f"http://127.0.0.1:{node.getsockname()[1]}", clock=lambda: NOW).start()
        failures = []

        def work():
            try:
                send(domain, signed(domain))
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)

        client = threading.Thread(target=work)
        client.start()
        forwarded, _ = node.accept()
        started = time.monotonic()
        domain.close()
        assert time.monotonic() - started < TIMEOUT_S
        client.join(TIMEOUT_S)
        forwarded.close()
    assert not client.is_alive()
    assert len(failures) == 1
    assert set(threading.enumerate()) <= threads


def test_a_client_that_goes_away_in_a_request_is_forgotten(domain, echo):
    with raw_connection(domain) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    assert send(domain, signed(domain)).status == 200
    assert (domain.verified, domain.refused) == (1, 0)


def test_a_port_that_is_taken(domain):
    port = int(domain.url.rpartition(":")[2])
    second = LocalDomain(port=port)
    threads = set(threading.enumerate())
    with pytest.raises(OSError, match="address already in use"):
        second.start()
    assert set(threading.enumerate()) <= threads


def test_a_domain_that_was_not_closed_does_not_keep_the_interpreter():
    code = "from opensearch_sigv4.testing import LocalDomain; LocalDomain(upstream='http://127.0.0.1:1').start()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# The judge is independent


SOURCES = sorted(Path(opensearch_sigv4.testing.__file__).parent.glob("**/*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_sources_import_nothing_of_the_library(path):
    depth = len(path.relative_to(Path(opensearch_sigv4.testing.__file__).parent).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= depth
            names = [node.module or ""] if node.level == 0 else []
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            assert name.partition(".")[0] != "opensearch_sigv4" or name.startswith("opensearch_sigv4.testing")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_running_domain_has_loaded_nothing_of_the_library():
    done = run(
        "import sys, urllib.request, urllib.error\n"
        "from opensearch_sigv4.testing import LocalDomain\n"
        "with LocalDomain(https=True) as domain:\n"
        "    try: urllib.request.urlopen(domain.url, context=domain.ssl_context())\n"
        "    except urllib.error.HTTPError as error: assert error.code == 403; error.close()\n"
        "print(sorted(name for name in sys.modules if name.startswith(('opensearch_sigv4', 'opensearchpy'))))\n"
    )
    assert done.stdout.strip() == str(
        ["opensearch_sigv4", *(f"opensearch_sigv4.testing{name}" for name in ("", ".domain", ".faults", ".verify"))]
    )
    assert done.stderr == ""


def test_the_package_is_lazy_and_names_what_it_has():
    done = run(
        "import sys, opensearch_sigv4.testing as t; before = set(sys.modules)\n"
        "print(sorted(before & {'aiohttp', 'awscrt', 'botocore', 'opensearchpy', 'trustme', 'pytest'}), t.__all__)\n"
        "try: t.Nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    assert done.stdout.splitlines() == [
        "[] ['BulkAction', 'Credentials', 'DocumentError', 'Fault', 'LocalDomain', 'ReceivedRequest', 'in_turn']",
        "module 'opensearch_sigv4.testing' has no attribute 'Nothing'",
    ]
    assert LocalDomain.__module__ == ReceivedRequest.__module__ == "opensearch_sigv4.testing.domain"


@pytest.mark.parametrize("missing", ["aiohttp", "awscrt", "trustme", "osmem_server"])
def test_a_missing_extra_is_one_line_that_names_the_command(missing):
    done = run(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "try:\n"
        "    from opensearch_sigv4.testing import LocalDomain\n"
        "    LocalDomain(https=True).start()\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("ImportError LocalDomain")
    assert missing.replace("_", "-") in line
    assert "pip install 'opensearch-sigv4[testing]'" in line
    assert done.stderr == ""
