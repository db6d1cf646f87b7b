"""Compatibility with opensearch-py: what a connection takes, and what it says of itself."""

import asyncio
import hashlib
import ssl

import pytest
import trustme
from opensearchpy import AIOHttpConnection, AsyncOpenSearch, Connection
from opensearchpy import ConnectionError as OpenSearchConnectionError

from opensearch_sigv4 import AsyncSigV4HttpConnection
from oracles import REGION
from recorder import recorder
from sides import ABSENT, ADVICE, Apart, Difference, credentials, raw, take_received

# --- arguments ---------------------------------------------------------------------------------------------------


def describe(connection):
    """What a connection says of itself, and what it set its HTTP client to, but for the size of its pool."""
    connection = raw(connection)
    said = ("host", "hostname", "port", "scheme", "use_ssl", "url_prefix", "timeout", "http_compress")
    found = {"repr": repr(connection), **{name: getattr(connection, name) for name in said}}
    # Ours of signed requests have the host that is signed.
    found["headers"] = {name: value for name, value in connection.headers.items() if name != "host"}
    if hasattr(connection, "pool"):
        pool = connection.pool
        settings = ("assert_hostname", "assert_fingerprint", "ca_certs", "ca_cert_dir", "cert_reqs", "key_file")
        return found | {
            "pool": type(pool).__name__,
            "pool_host": pool.host,
            "pool_port": pool.port,
            "pool_timeout": (pool.timeout.connect_timeout, pool.timeout.read_timeout),
            "pool_kw": pool.conn_kw,
            "pool_tls": {name: getattr(pool, name, None) for name in settings},
        }
    context = connection._ssl_context
    return found | {
        "loop": connection.loop is not None,
        "fingerprint": connection.ssl_assert_fingerprint,
        "tls": context and [str(context.verify_mode), context.check_hostname, str(context.protocol)],
    }


def unverified_name(host):
    """What is warned of."""
    because = "a signed request tells its session token to whoever answers"
    text = f"Connecting to {host} using SSL with ssl_assert_hostname=False is insecure."
    return [
        Difference("warnings.0.category", ABSENT, "UserWarning", because, signed=True),
        Difference("warnings.0.text", ABSENT, text, because, signed=True),
    ]


ASSERT_HOSTNAME = "opensearch-py's aiohttp connection ignores it"
CAS = Connection.default_ca_certs()
CONTEXT = ssl.create_default_context()

ARGUMENTS = {
    "none": ({}, []),
    "host": ({"host": "search.internal"}, []),
    "host of IPv6": ({"host": "::1"}, []),
    "port": ({"port": 9201}, []),
    "scheme": ({"scheme": "https"}, []),
    "use_ssl": ({"use_ssl": True}, []),
    "url_prefix": ({"url_prefix": "/a/b/"}, []),
    "timeout": ({"timeout": 3}, []),
    "no timeout": ({"timeout": None}, []),
    "headers": ({"headers": {"X-A": "b", "Content-Type": "x/y"}}, []),
    "opaque_id": ({"opaque_id": "o"}, []),
    "http_compress": ({"http_compress": True}, []),
    "http_compress off": ({"http_compress": False}, []),
    "verify_certs": ({"use_ssl": True, "verify_certs": False}, []),
    "ssl_show_warn": ({"use_ssl": True, "verify_certs": False, "ssl_show_warn": False}, []),
    "ssl_context": ({"use_ssl": True, "ssl_context": CONTEXT}, []),
    "ssl_context and more": ({"use_ssl": True, "ssl_context": CONTEXT, "verify_certs": True}, []),
    "ssl_version": ({"use_ssl": True, "ssl_version": ssl.PROTOCOL_TLS_CLIENT}, []),
    "ssl_assert_hostname": ({"use_ssl": True, "ssl_assert_hostname": "search.internal"}, []),
    "ssl_assert_hostname off": (
        {"use_ssl": True, "ssl_assert_hostname": False},
        [
            *unverified_name("https://localhost:9200"),
            Difference("value.tls.1", True, False, ASSERT_HOSTNAME, over="aiohttp"),
        ],
    ),
    "ssl_assert_fingerprint": ({"use_ssl": True, "ssl_assert_fingerprint": "ab" * 20}, []),
    "ca_certs": ({"use_ssl": True, "ca_certs": CAS}, []),
    "what there is not": ({"no_such_argument": 1}, []),
}


def construct(pair, options, differs=()):
    return pair.same(describe, None, make=pair.connection, differs=differs, **options)


@pytest.mark.row("constructor arguments")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(any_pair, name):
    options, differs = ARGUMENTS[name]
    construct(any_pair, options, differs)


def pool_size(connection):
    connection = raw(connection)
    return connection.pool.pool.maxsize if hasattr(connection, "pool") else connection._limit


SHARED = "threads share a connection; urllib3 would make one for each request that finds none free"
BOTH_NAMES = "both connections take both names"
POOL_SIZES = {
    "default": ({}, [Difference("value", 1, 10, SHARED, over="urllib3")]),
    "pool_maxsize": ({"pool_maxsize": 3}, []),
    "no pool_maxsize": (
        {"pool_maxsize": None},
        [
            Difference("value", 1, 10, SHARED, over="urllib3"),
            Difference("value", None, 10, "a Transport that was told no size says None", over="aiohttp"),
        ],
    ),
    "maxsize": ({"maxsize": 4}, [Difference("value", 1, 4, BOTH_NAMES, over="urllib3")]),
}


@pytest.mark.row("`pool_maxsize`, `maxsize`")
@pytest.mark.parametrize("name", POOL_SIZES)
def test_pool_sizes(any_pair, name):
    options, differs = POOL_SIZES[name]
    any_pair.same(pool_size, None, make=any_pair.connection, differs=differs, **options)


NAMED = "the error names the argument"
WRONG = {
    "ca_certs": ({"use_ssl": True, "ca_certs": "/nowhere"}, []),
    "client_cert": ({"use_ssl": True, "client_cert": "/nowhere", "client_key": "/no"}, []),
    "host": ({"host": None}, []),
    "url_prefix": ({"url_prefix": 1}, []),
    "headers": ({"headers": "x"}, []),
    "http_auth": (
        {"http_auth": 5},
        [
            Apart("AttributeError", "TypeError", NAMED, over="urllib3"),
            Apart(None, "TypeError", "opensearch-py would send it unauthenticated", over="aiohttp"),
        ],
    ),
    "http_auth of bytes": (
        {"http_auth": b"a:b"},
        [
            Apart("AttributeError", "TypeError", NAMED, over="urllib3"),
            Apart("TypeError", "TypeError", NAMED, over="aiohttp"),
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(unsigned_pair, name):
    options, differs = WRONG[name]
    construct(unsigned_pair, options, differs)


def connections_of(client):
    return [describe(connection) for connection in raw(client).transport.connection_pool.connections]


HOSTS = [
    None,
    "search.internal",
    "search.internal:9201",
    "https://search.internal",
    "https://search.internal:9443/prefix",
    "http://search.internal/a%20b",
    "http://[::1]:9201",
    ["http://a.internal", "https://b.internal"],
    {"host": "search.internal", "port": 443, "use_ssl": True},
    [{"host": "search.internal", "port": "443", "scheme": "https"}, "other.internal"],
    {"host": "search.internal", "timeout": 3, "headers": {"X-A": "b"}, "opaque_id": "o", "url_prefix": "p"},
]


@pytest.mark.row("`hosts`")
@pytest.mark.parametrize("hosts", HOSTS, ids=str)
def test_hosts(any_pair, hosts):
    hosts = [hosts] if isinstance(hosts, dict) else hosts
    any_pair.same(connections_of, None, hosts=hosts, randomize_hosts=False)


# --- credentials ---------------------------------------------------------------------------------------------------

BASIC = {
    "str": {"http_auth": "user:pass:word"},
    "pair": {"http_auth": ("user", "password")},
    "list": {"http_auth": ["user", "password"]},
    "in the URL": {"user": "us%40er:pass%2Fword@"},
}


def sent_twice(client):
    return client.info(), client.index(index="i", body={"a": 1}, id="1")


@pytest.mark.row("`http_auth`: basic")
@pytest.mark.parametrize("name", BASIC)
def test_basic_auth(unsigned_pair, server, name):
    options = dict(BASIC[name])
    if "user" in options:
        options["hosts"] = server.url.replace("://", f"://{options.pop('user')}")
    found, _ = unsigned_pair.same(sent_twice, server, **options)
    assert found.requests[1]["headers"]["authorization"].startswith("Basic ")


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """Paths of PEM files, by name."""
    directory = tmp_path_factory.mktemp("pem")
    client = authority.issue_cert("client@search.internal")
    pems = {
        "cas": [authority.cert_pem],
        "certificate": client.cert_chain_pems,
        "key": [client.private_key_pem],
        "both": [client.private_key_and_cert_chain_pem],
    }
    for name, blobs in pems.items():
        for blob in blobs:
            blob.write_to_path(directory / name, append=True)
    return {name: str(directory / name) for name in pems}


def tls_server(authority, *names, client=ssl.CERT_NONE):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.verify_mode = client
    context.maximum_version = (
        ssl.TLSVersion.TLSv1_2
    )  # in which a client is told during the handshake that it is refused
    authority.configure_trust(context)
    return recorder(context)


def fingerprint(server):
    certificate = ssl.get_server_certificate(server.server_address)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


SSL_ERROR = Difference(
    "error.type", "ConnectionError", "SSLError", "as over urllib3; it is a ConnectionError, too", over="aiohttp"
)
NOT_TRUSTED = [*ADVICE, SSL_ERROR]
TLS = {
    "ca_certs": ({"ca_certs": "cas"}, "127.0.0.1", []),
    "no ca_certs": ({}, "127.0.0.1", NOT_TRUSTED),
    "another name": ({"ca_certs": "cas"}, "search.internal", NOT_TRUSTED),
    "ssl_assert_hostname": (
        {"ca_certs": "cas", "ssl_assert_hostname": "search.internal"},
        "search.internal",
        [Apart("ConnectionError", None, ASSERT_HOSTNAME, over="aiohttp")],
    ),
    "ssl_assert_hostname off": (
        {"ca_certs": "cas", "ssl_assert_hostname": False},
        "search.internal",
        [Apart("ConnectionError", None, ASSERT_HOSTNAME, over="aiohttp"), *unverified_name("https://127.0.0.1:PORT")],
    ),
    "ssl_assert_fingerprint": ({"ca_certs": "cas", "ssl_assert_fingerprint": True}, "127.0.0.1", []),
    "another fingerprint": ({"ca_certs": "cas", "ssl_assert_fingerprint": "ab" * 32}, "127.0.0.1", []),
    "verify_certs": ({"verify_certs": False}, "search.internal", []),
    "ssl_show_warn": ({"verify_certs": False, "ssl_show_warn": False}, "search.internal", []),
    "ssl_context": ({"ssl_context": "cas"}, "127.0.0.1", []),
    "client_cert": ({"ca_certs": "cas", "client_cert": "both"}, "127.0.0.1", []),
    "client_cert, client_key": (
        {"ca_certs": "cas", "client_cert": "certificate", "client_key": "key"},
        "127.0.0.1",
        [],
    ),
    "no client_cert": ({"ca_certs": "cas"}, "127.0.0.1", [SSL_ERROR]),
}


@pytest.mark.row("TLS arguments")
@pytest.mark.parametrize("name", TLS)
def test_tls(signed_pair, authority, files, name):
    options, host, differs = TLS[name]
    options = {
        argument: files.get(value, value) if isinstance(value, str) else value for argument, value in options.items()
    }
    if "ssl_context" in options:
        options["ssl_context"] = ssl.create_default_context(cafile=options["ssl_context"])
    asks = ssl.CERT_REQUIRED if "client_cert" in name else ssl.CERT_NONE
    with tls_server(authority, host, client=asks) as server:
        if options.get("ssl_assert_fingerprint") is True:
            options["ssl_assert_fingerprint"] = fingerprint(server)
        signed_pair.same(lambda client: client.info(), server, differs=differs, max_retries=0, **options)


def test_ca_certs_of_the_environment(signed_pair, authority, files, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", files["cas"])
    with tls_server(authority, "127.0.0.1") as server:
        assert signed_pair.same(lambda client: client.info(), server)[1].value == {}


# --- what else a connection is asked --------------------------------------------------------------------------------


def compared(connection):
    one = raw(connection)
    other = type(one)(host="other")
    return one.__eq__(one), one == other, len({one, one, other}), (one < other) == (hash(one) < hash(other))


def equal_to_something_else(connection):
    return raw(connection) == 5


def less_than_something_else(connection):
    return raw(connection) < 5


@pytest.mark.row("`repr`, `==`, `<`, `hash`")
@pytest.mark.parametrize("call", [repr, compared, equal_to_something_else, less_than_something_else])
def test_comparisons(any_pair, call):
    any_pair.same(call, None, make=any_pair.connection)


def closed_and_used_again(client):
    first = client.info()
    client.close()
    return first, client.info()


def closed_twice(client):
    client.close()
    client.close()


def closed_before_the_first_request(connection):
    connection.close()
    return connection.perform_request("GET", "/")


@pytest.mark.row("`close()`, `with`")
def test_closing(any_pair, server):
    for call in (closed_and_used_again, closed_twice):
        any_pair.same(call, server)
    host, port = server.server_address
    any_pair.same(closed_before_the_first_request, server, make=any_pair.connection, host=host, port=port)


ENVIRONMENTS = {
    "ELASTIC_CLIENT_APIVERSIONING": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "OPENSEARCH_URL": "http://127.0.0.1:9",
}


@pytest.mark.row("proxies of the environment")
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(any_pair, server, monkeypatch, name):
    """Neither goes through a proxy that it was not told to use."""
    monkeypatch.setenv(name, ENVIRONMENTS[name])
    theirs, _ = any_pair.same(lambda client: client.info(), server)
    assert len(theirs.requests) == 1


@pytest.mark.row("proxies of the environment")
@pytest.mark.parametrize("no_proxy", ["", "search.internal"])
def test_trust_env(server, monkeypatch, no_proxy):
    """Of opensearch-py's asynchronous connections AIOHttpConnection, which is the client's own choice, knows it."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", no_proxy)

    async def targets(connection_class, **options):
        client = AsyncOpenSearch(
            "http://search.internal:9200", connection_class=connection_class, trust_env=True, max_retries=0, **options
        )
        async with client:
            try:
                await client.info()
            except OpenSearchConnectionError:
                return []
        return [
            (target, *(value for name, value in headers if name.lower() == "host"))
            for _, target, headers, _ in take_received(server)
        ]

    signing = {"region": REGION, "credentials": credentials()}
    theirs = asyncio.run(targets(AIOHttpConnection))
    ours = asyncio.run(targets(AsyncSigV4HttpConnection, **signing))
    assert theirs == ours
    assert [target for target, *_ in ours] == ([] if no_proxy else ["http://search.internal:9200/"])
