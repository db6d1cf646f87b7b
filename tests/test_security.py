"""What SECURITY.md promises of TLS, redirects, and of what is shown or pickled."""

import copy
import pickle
import re
import ssl
import warnings
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
import trustme
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.exceptions import SSLError, TransportError

import opensearch_sigv4
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4HttpConnection, SigV4Signer, connect, connect_async
from opensearch_sigv4.async_credentials import loop_source_of
from opensearch_sigv4.credentials import Snapshot
from opensearch_sigv4.signer import Explanation
from opensearch_sigv4.testing import LocalDomain
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from raw_server import RawServer, tells_nothing
from transports import TRANSPORTS, Driven, all_transports

URL = "https://localhost/"


def static():
    return Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)


@pytest.fixture(scope="module")
def transports():
    with all_transports() as transports:
        yield transports


@pytest.fixture(params=[kind.name for kind in TRANSPORTS])
def transport(request, transports):
    return transports[request.param]


# --- TLS -----------------------------------------------------------------------------------------------------

CONNECTIONS = {"urllib3": SigV4HttpConnection, "aiohttp": AsyncSigV4HttpConnection}


def by_connect(kind, url, options):
    return (connect if kind == "urllib3" else connect_async)(url, region=REGION, credentials=static(), **options)


def by_class(kind, url, options):
    client_class = OpenSearch if kind == "urllib3" else AsyncOpenSearch
    return client_class(
        url, connection_class=CONNECTIONS[kind], region=REGION, credentials=static(), use_ssl=True, **options
    )


@contextmanager
def tls_server(*names):
    """An https server with a certificate of these names, and the path of its CA's."""
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(tls)
    with ca.cert_pem.tempfile() as ca_certs, RawServer(tls=tls) as server:
        server.ca_certs = ca_certs
        yield server


@pytest.fixture
def untrusted():
    with LocalDomain(https=True, upstream="http://127.0.0.1:1") as domain:
        yield domain


def info(transports, kind, client):
    with closing(Driven(client, transports[kind]._run) if kind == "aiohttp" else client) as driven:
        driven.transport.perform_request("GET", "/")


@pytest.mark.parametrize("make", [by_connect, by_class])
@pytest.mark.parametrize("kind", CONNECTIONS)
def test_a_certificate_of_nobody_known_is_refused_by_default(transports, untrusted, kind, make):
    client = make(kind, untrusted.url, {"max_retries": 0})
    with pytest.raises(SSLError, match="certificate verify failed"):
        info(transports, kind, client)
    assert untrusted.requests == ()


@pytest.mark.parametrize("make", [by_connect, by_class])
@pytest.mark.parametrize("kind", CONNECTIONS)
def test_a_certificate_of_another_name_is_refused_by_default(transports, kind, make):
    with tls_server("search.example.com") as server:
        client = make(kind, server.url, {"max_retries": 0, "ca_certs": server.ca_certs})
        with pytest.raises(SSLError, match="certificate"):
            info(transports, kind, client)
        assert server.requests == []


def unverified_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


UNVERIFIED = {
    "verify_certs=False": lambda: {"verify_certs": False},
    "ssl_assert_hostname=False": lambda: {"ssl_assert_hostname": False},
    "an ssl_context that verifies nothing": lambda: {"ssl_context": unverified_context()},
}


def made(kind, options):
    """A connection, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection = CONNECTIONS[kind]("localhost", use_ssl=True, **options)
    return connection, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("option", UNVERIFIED)
@pytest.mark.parametrize("kind", CONNECTIONS)
def test_whatever_is_not_verified_is_warned_of_once(kind, option):
    by_callable = {"http_auth": lambda method, url, body, headers=None: {}}
    for options in ({"region": REGION}, by_callable):
        [warning] = made(kind, {**UNVERIFIED[option](), **options})[1]
        assert warning == f"Connecting to https://localhost:9200 using SSL with {option} is insecure."


@pytest.mark.parametrize("option", ["verify_certs", "ssl_assert_hostname"])
@pytest.mark.parametrize("kind", CONNECTIONS)
def test_ssl_show_warn_is_the_users_word(kind, option):
    options = {option: False, "ssl_show_warn": False, "region": REGION, "credentials": static()}
    assert made(kind, options)[1] == []


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_what_is_verified_is_not_warned_of(kind):
    for options in ({}, {"ssl_context": ssl.create_default_context()}, {"ssl_assert_hostname": "search.example.com"}):
        assert made(kind, {"region": REGION, "credentials": static(), **options})[1] == []
    pinned = {"ssl_context": unverified_context(), "ssl_assert_fingerprint": "00" * 32}
    assert made(kind, {"region": REGION, "credentials": static(), **pinned})[1] == []


# --- redirects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("status", [302, 307, 308])
def test_no_redirect_takes_anything_along(transport, status, host):
    """The same host at another port, and another host."""
    with RawServer() as second:
        location = f"http://{host}:{second.port}/there"
        with RawServer(lambda _: (status, {"location": location})) as first:
            target = SimpleNamespace(url=first.url, region=REGION, service="es", credentials=static(), ca_certs=None)
            with transport.client(target, max_retries=0) as client:
                if transport.name.startswith("httpx"):
                    client.transport.get_connection().client.follow_redirects = True
                options = {"headers": {"x-amz-own": "1", "x-own": "2"}}
                if transport.name in CONNECTIONS:
                    with pytest.raises(TransportError) as raised:
                        client.transport.perform_request("GET", "/go", **options)
                    assert raised.value.status_code == status
                else:
                    client.transport.perform_request("GET", "/go", **options)
    assert (TOKEN.encode() in first.requests[0][0]) is True
    assert len(second.requests) == (0 if transport.name in CONNECTIONS else 1)
    assert all(tells_nothing(request, TOKEN) and b"x-own: 2" in request[0] for request in second.requests)


# --- what is shown, and what is pickled ----------------------------------------------------------------------


def tells_a_secret(text):
    return any(secret in text for secret in (SECRET_KEY, TOKEN)) or re.search("Signature=[0-9a-f]", text) is not None


def plain_object():
    return SimpleNamespace(access_key=ACCESS_KEY, secret_key=SECRET_KEY, token=TOKEN)


def expiring():
    metadata = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": TOKEN, "expiry_time": "2999-01-01T00:00Z"}
    return RefreshableCredentials.create_from_metadata(metadata, dict, "test")


KINDS = {
    "static": static,
    "named tuple": lambda: ReadOnlyCredentials(ACCESS_KEY, SECRET_KEY, TOKEN),
    "refreshable": expiring,
    "an object": plain_object,
    "a callable": lambda: static,
    "a session": lambda: SimpleNamespace(get_credentials=static),
}


def things(credentials):
    """One of all that holds them."""
    signer = SigV4Signer(credentials, REGION)
    signer.sign("GET", URL)
    yield from (signer, signer.source, signer.source.snapshot(), signer.explain("GET", URL))
    yield loop_source_of(credentials)
    for name in ("Urllib3AWSV4SignerAuth", "RequestsAWSV4SignerAuth", "AWSV4SignerAuth", "AWSV4SignerAsyncAuth"):
        yield getattr(opensearch_sigv4, name)(credentials, REGION)
    yield opensearch_sigv4.HttpxAWSV4SignerAuth(credentials, REGION)
    for kind in (SigV4HttpConnection, AsyncSigV4HttpConnection):
        yield kind("localhost", region=REGION, credentials=credentials)
    yield connect("https://localhost", region=REGION, credentials=credentials)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_holds_credentials_shows_them(kind):
    for thing in things(KINDS[kind]()):
        assert tells_a_secret(f"{thing!r}{thing!s}{[thing]}") is False
        if not isinstance(thing, Explanation):  # whose attributes are exact
            assert tells_a_secret(repr(getattr(thing, "__dict__", ""))) is False


def test_what_the_core_holds_shows_nothing(core):
    source = SimpleNamespace(kept=None, snapshot=lambda: Snapshot(ACCESS_KEY, SECRET_KEY, TOKEN))
    signer = core.RequestSigner(source, lambda: 0, REGION, "es", frozenset(), False)
    signature = signer._signature("GET", URL, None, None, None)
    assert tells_a_secret(signature.headers["Authorization"])
    key = core.signing_key(SECRET_KEY, "20150830", REGION, "es")
    cache = core.signing_key
    for shown in (signer, signature, key, cache, cache.cache_info(), cache.cache_parameters(), vars(cache)):
        assert tells_a_secret(f"{shown!r}{shown!s}") is False
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(key)


def test_a_local_domain_shows_nothing():
    with LocalDomain(upstream="http://127.0.0.1:1", credentials=static()) as domain:
        client = connect(domain.url, region=REGION, credentials=static(), max_retries=0)
        with pytest.raises(TransportError):
            client.info()
        assert domain.verified == 1
        for thing in (domain, domain.requests, domain.credentials, vars(domain)):
            assert tells_a_secret(f"{thing!r}{thing!s}") is False


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_hold_static_credentials_alone(kind):
    """And those for good: who pickles what they were passed to pickles them."""
    credentials = KINDS[kind]()
    for thing in (SigV4Signer(credentials, REGION), opensearch_sigv4.RequestsAWSV4SignerAuth(credentials, REGION)):
        if kind in ("refreshable", "an object", "a session"):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(thing)
        else:
            assert (SECRET_KEY.encode() in pickle.dumps(thing)) is (kind in ("static", "named tuple"))
        assert getattr(copy.deepcopy(thing), "signer", thing).source is getattr(thing, "signer", thing).source


def test_a_pickle_of_the_default_chain_holds_nothing(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    signer = SigV4Signer(region=REGION)
    signer.sign("GET", URL)
    assert (SECRET_KEY.encode() in pickle.dumps(signer)) is False
