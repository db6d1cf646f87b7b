"""SigV4HttpConnection: when it signs, what it takes over, and that it is its parent in everything else."""

import contextlib
import logging
import re
import select
import socket
import threading
import warnings

import opensearchpy
import pytest
import urllib3
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError
from opensearchpy import MetricsEvents, OpenSearch, Urllib3HttpConnection
from requests.auth import HTTPBasicAuth

import opensearch_sigv4 as osv4
from opensearch_sigv4 import SigV4HttpConnection, SigV4Signer, connect
from opensearch_sigv4.testing import LocalDomain
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from recorder import sent

DOMAIN = "search-logs-abc.eu-central-1.es.amazonaws.com"
COLLECTION = "abc123.us-west-2.aoss.amazonaws.com"
NAMED = [(DOMAIN, "eu-central-1", "es"), (COLLECTION, "us-west-2", "aoss")]


def static():
    return Credentials(ACCESS_KEY, SECRET_KEY)


def connection_to(server, **options):
    host, port = server.server_address
    return SigV4HttpConnection(host, port, **options)


# --- when it signs -----------------------------------------------------------------------------------------


SIGNING = [
    {"region": REGION, "credentials": static()},
    {"region": REGION, "service": "aoss", "credentials": static()},
    {"http_auth": SigV4Signer(static(), REGION)},
    {"http_auth": osv4.Urllib3AWSV4SignerAuth(static(), REGION)},
    {"http_auth": osv4.RequestsAWSV4SignerAuth(static(), REGION)},
    {"http_auth": osv4.AWSV4SignerAuth(static(), REGION)},
    {"http_auth": osv4.AWSV4SignerAsyncAuth(static(), REGION)},
    {"http_auth": opensearchpy.Urllib3AWSV4SignerAuth(static(), REGION)},
    {"http_auth": opensearchpy.RequestsAWSV4SignerAuth(static(), REGION)},
    {"http_auth": opensearchpy.AWSV4SignerAuth(static(), REGION)},
    {"http_auth": opensearchpy.AWSV4SignerAsyncAuth(static(), REGION)},
    {"http_auth": opensearchpy.AWSV4SignerAuth(static(), REGION).signer},
]


def signing_id(options):
    return type(options.get("http_auth")).__module__ + str(options.get("service", ""))


@pytest.mark.parametrize("options", SIGNING, ids=signing_id)
def test_it_signs(server, options):
    connection = connection_to(server, **options)
    connection.perform_request("GET", "/")
    assert f"/{REGION}/{options.get('service', 'es')}/aws4_request" in sent(server)["authorization"]
    assert connection.signer.region == REGION
    assert connection.http_auth is options.get("http_auth")


def test_aws4auth_is_taken_over(server):
    from requests_aws4auth import AWS4Auth

    connection = connection_to(server, http_auth=AWS4Auth(ACCESS_KEY, SECRET_KEY, REGION, "aoss", session_token=TOKEN))
    connection.perform_request("GET", "/")
    assert f"Credential={ACCESS_KEY}/" in sent(server)["authorization"]
    assert "/us-east-1/aoss/" in sent(server)["authorization"]
    assert sent(server)["x-amz-security-token"] == TOKEN


def test_aws4auth_with_refreshable_credentials(server):
    from datetime import UTC, datetime, timedelta

    from requests_aws4auth import AWS4Auth

    later = datetime.now(UTC) + timedelta(hours=6)
    refreshable = RefreshableCredentials(ACCESS_KEY, SECRET_KEY, TOKEN, later, lambda: None, "test")
    connection = connection_to(
        server, http_auth=AWS4Auth(refreshable_credentials=refreshable, region=REGION, service="es")
    )
    connection.perform_request("GET", "/")
    assert sent(server)["x-amz-security-token"] == TOKEN


def test_aws4auth_without_its_secret_is_refused():
    from requests_aws4auth import AWS4Auth
    from requests_aws4auth.aws4signingkey import AWS4SigningKey

    key = AWS4SigningKey(SECRET_KEY, REGION, "es", store_secret_key=False)
    with pytest.raises(TypeError, match=r"^http_auth: .*SigV4Signer"):
        SigV4HttpConnection(http_auth=AWS4Auth(ACCESS_KEY, key))


def test_credentials_of_a_taken_over_signer_are_read_on_every_request(server):
    auth = opensearchpy.Urllib3AWSV4SignerAuth(static(), REGION)
    connection = connection_to(server, http_auth=auth)
    connection.perform_request("GET", "/")
    auth.signer.credentials = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET_KEY, TOKEN)
    connection.perform_request("GET", "/")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/" in sent(server)["authorization"]
    assert sent(server)["x-amz-security-token"] == TOKEN


@pytest.mark.parametrize(
    ("host", "region", "service"), [(DOMAIN, "eu-central-1", "es"), (COLLECTION, "us-west-2", "aoss")]
)
def test_hosts_that_aws_names_are_signed_for(host, region, service):
    connection = SigV4HttpConnection(host)
    assert (connection.signer.region, connection.signer.service) == (region, service)
    assert connection.host == f"https://{host}:443"
    assert connection.headers["host"] == host
    assert (connection.use_ssl, connection.pool.scheme, connection.pool.port) == (True, "https", 443)


def test_other_hosts_are_not(server):
    connection = connection_to(server)
    connection.perform_request("GET", "/")
    assert connection.signer is None
    assert "authorization" not in sent(server)
    assert SigV4HttpConnection().host == "http://localhost:9200"


@pytest.mark.parametrize("basic", ["user:pw", ("user", "pw"), ["user", "pw"]])
def test_basic_auth_is_the_parents(server, basic):
    connection_to(server, http_auth=basic).perform_request("GET", "/")
    assert sent(server)["authorization"] == "Basic dXNlcjpwdw=="
    assert SigV4HttpConnection(DOMAIN, http_auth=basic).signer is None


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({}, f"https://{DOMAIN}:443"),
        ({"port": 443}, f"https://{DOMAIN}:443"),
        ({"use_ssl": True}, f"https://{DOMAIN}:443"),
        ({"scheme": "https"}, f"https://{DOMAIN}:443"),
        ({"port": 8443}, f"https://{DOMAIN}:8443"),
    ],
)
def test_https_is_the_default_for_aws(options, host):
    assert SigV4HttpConnection(DOMAIN, **options).host == host


@pytest.mark.parametrize("options", [{"port": 80}, {"use_ssl": False}, {"scheme": "http"}])
def test_plain_http_to_aws_warns(options):
    with pytest.warns(UserWarning, match="session token go in clear"):
        connection = SigV4HttpConnection(DOMAIN, **options)
    assert connection.host == f"http://{DOMAIN}:80"


def test_opensearch_py_with_a_bare_host_name():
    client = OpenSearch(DOMAIN, connection_class=SigV4HttpConnection)
    assert client.transport.get_connection().host == f"https://{DOMAIN}:443"


def test_ten_connections_are_kept():
    assert SigV4HttpConnection().pool.pool.maxsize == 10
    assert SigV4HttpConnection(pool_maxsize=3).pool.pool.maxsize == 3
    client = OpenSearch("localhost", connection_class=SigV4HttpConnection, pool_maxsize=4)
    assert client.transport.get_connection().pool.pool.maxsize == 4


def test_a_domains_own_authorization_is_left_alone():
    connection = SigV4HttpConnection(DOMAIN, headers={"Authorization": "Bearer x"})
    assert connection.signer is None
    for options in ({"region": REGION}, {"http_auth": SigV4Signer(static(), REGION)}):
        with pytest.raises(ValueError, match=r"^headers: an Authorization"):
            SigV4HttpConnection(DOMAIN, headers={"Authorization": "Bearer x"}, **options)


@pytest.mark.parametrize(
    "wrong", [HTTPBasicAuth("a", "b"), lambda: None, lambda request: request, 5, b"user:pw", object(), SigV4Signer]
)
def test_what_cannot_sign_is_refused_at_construction(wrong):
    with pytest.raises(TypeError, match=r"^http_auth: "):
        SigV4HttpConnection(http_auth=wrong)


def test_an_awaitable_signer_is_refused_at_construction():
    async def auth(method, url, body):
        return {}

    with pytest.raises(TypeError, match="awaitable"):
        SigV4HttpConnection(http_auth=auth)


@pytest.mark.parametrize("http_auth", ["user:pw", ("a", "b"), SigV4Signer(static(), REGION), lambda m, u, b: {}])
@pytest.mark.parametrize("also", [{"region": REGION}, {"service": "es"}, {"credentials": static()}])
def test_two_ways_at_once_are_refused(http_auth, also):
    with pytest.raises(ValueError, match=r"^http_auth: "):
        SigV4HttpConnection(http_auth=http_auth, **also)


def test_no_region_is_refused_at_construction(monkeypatch):
    with pytest.raises(ValueError, match=r"^region: .*pass region="):
        SigV4HttpConnection("localhost", credentials=static())
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert SigV4HttpConnection("localhost", credentials=static()).signer.region == "eu-west-1"
    assert SigV4HttpConnection(DOMAIN, credentials=static()).signer.region == "eu-central-1"


def test_a_subclass_of_a_signer_is_called_and_not_taken_over(server):
    class Own(opensearchpy.Urllib3AWSV4SignerAuth):
        def __call__(self, method, url, body, headers=None):
            return {"authorization": f"{method} {url} {body!r}"}

    connection = connection_to(server, http_auth=Own(static(), REGION))
    connection.perform_request("GET", "/a b", {"q": "x y"}, b"{}")
    assert connection.signer is None
    assert sent(server)["authorization"] == f"GET {server.url}/a%20b?q=x%20y b'{{}}'"
    assert server.received[-1][1] == "/a%20b?q=x%20y"


def test_a_callable_sees_the_final_body_and_its_headers_win_once(server):
    seen = []

    def auth(method, url, body):
        seen.append((method, url, body))
        return {"X-Opaque-ID": "signed", "Authorization": "mine"}

    connection = connection_to(server, http_auth=auth, http_compress=True, opaque_id="given")
    connection.perform_request("POST", "/", body=b"{}")
    assert seen[0][2] == server.received[-1][3]
    assert seen[0][2][:2] == b"\x1f\x8b"
    assert (sent(server)["x-opaque-id"], sent(server)["authorization"]) == ("signed", "mine")


@pytest.mark.parametrize("auth", [{"http_auth": ("a", "b")}, {"api_key": ("a", "b")}])
def test_a_calls_own_authorization_wins(server, auth):
    server.answer = (200, {}, b'{"version": {}}')
    with OpenSearch(server.url, connection_class=SigV4HttpConnection, region=REGION, credentials=static()) as client:
        client.info(**auth)
        assert sent(server)["authorization"].split()[0] in ("Basic", "ApiKey")
        assert not [name for name in sent(server) if name.startswith("x-amz-")]
        client.info()
        assert sent(server)["authorization"].startswith("AWS4-HMAC-SHA256 ")


# --- errors ------------------------------------------------------------------------------------------------


def test_what_the_signer_raises_comes_at_once_and_as_itself(server):
    calls = []

    def broken():
        calls.append(1)
        raise OSError("no credentials today")

    client = OpenSearch(
        [server.url, server.url], connection_class=SigV4HttpConnection, region=REGION, credentials=broken
    )
    with pytest.raises(OSError, match="no credentials today"):
        client.info()
    assert len(calls) == 1
    assert server.received == []
    assert len(client.transport.connection_pool.connections) == 2
    assert client.transport.connection_pool.dead_count == {}


def test_no_credentials_at_all(server):
    client = OpenSearch(server.url, connection_class=SigV4HttpConnection, region=REGION)
    with pytest.raises(NoCredentialsError):
        client.info()
    assert server.received == []


@pytest.mark.parametrize("dots", [".", ".."])
@pytest.mark.parametrize("signed", [True, False])
def test_dot_segments_are_refused(server, dots, signed):
    options = {"region": REGION, "credentials": static()} if signed else {}
    client = OpenSearch(server.url, connection_class=SigV4HttpConnection, **options)
    with pytest.raises(ValueError, match=r"^url: a path segment"):
        client.delete(index="logs", id=dots)
    assert server.received == []


BAD_INPUT = [
    (ValueError, ("GET", "/a\nb")),
    (ValueError, ("GET\r\n", "/")),
    (ValueError, ("GET", "a")),
    (ValueError, ("GET", "/a#b")),
    (ValueError, ("GET", "/", None, None, None, (), {"x-amz-a": "a\r\nb"})),
    (ValueError, ("GET", "/", None, "\ud800")),
    (TypeError, ("GET", "/", None, {"a": 1})),
    (TypeError, ("GET", "/", None, iter([b"a"]))),
    (TypeError, ("GET", "/", None, None, None, (), {"x-amz-a": object()})),
]


@pytest.mark.parametrize(
    ("error", "request_"),
    BAD_INPUT,
)
def test_bad_input_is_refused_before_anything_is_sent(server, error, request_):
    connection = connection_to(server, region=REGION, credentials=static())
    with pytest.raises(error):
        connection.perform_request(*request_)
    assert server.received == []


@pytest.mark.parametrize("body", [b"{}", "{}", bytearray(b"{}"), memoryview(b"{}"), memoryview(b"{x}")[::2]])
def test_bodies(local_domain, body):
    connection = SigV4HttpConnection(
        *local_domain.url.removeprefix("http://").split(":"), region=REGION, credentials=local_domain.credentials
    )
    connection.perform_request("POST", "/logs/_doc", body=body)
    assert local_domain.requests[-1].body == b"{}"
    assert local_domain.verified == 1
    connection.close()


# --- the pool ----------------------------------------------------------------------------------------------


def test_every_request_goes_through_urlopen(server, monkeypatch):
    pool = connection_to(server, region=REGION, credentials=static()).pool
    assert type(pool).urlopen is urllib3.HTTPConnectionPool.urlopen
    seen = []
    original = urllib3.HTTPConnectionPool.urlopen

    def on_class(pool, method, url, *args, **kwargs):
        seen.append(("class", method, url))
        return original(pool, method, url, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(urllib3.HTTPConnectionPool, "urlopen", on_class)
        connection = connection_to(server, region=REGION, credentials=static())
        connection.perform_request("GET", "/1")
        on_pool = connection.pool.urlopen
        connection.pool.urlopen = lambda *args, **kwargs: seen.append("instance") or on_pool(*args, **kwargs)
        connection.perform_request("GET", "/2")
    assert seen == [("class", "GET", "/1"), "instance", ("class", "GET", "/2")]
    assert [path for _, path, _, _ in server.received] == ["/1", "/2"]


def test_a_pool_of_a_proxy_manager(server):
    """The proxy is the recorder; what it would pass on is a request signed for the domain behind it."""
    connection = SigV4HttpConnection("search.internal", 9200, region=REGION, credentials=static())
    with contextlib.closing(connection), urllib3.ProxyManager(server.url) as manager:
        connection.pool = manager.connection_from_url("http://search.internal:9200")
        connection.perform_request("GET", "/logs")
    assert sent(server)["host"] == "search.internal:9200"


def test_a_tunnel_through_a_proxy():
    """CONNECT to a proxy, TLS through it to a domain that verifies what it received."""

    def serve(listener, seen):
        connection, _ = listener.accept()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        seen.append(head)
        host, port = head.split()[1].decode().split(":")
        with connection, socket.create_connection((host, int(port)), timeout=10) as upstream:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {connection: upstream, upstream: connection}
            while True:
                for end in select.select(list(ends), [], [], 10)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    seen = []
    with LocalDomain(https=True) as domain, socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, seen))
        thread.start()
        host, port = domain.url.removeprefix("https://").split(":")
        connection = SigV4HttpConnection(
            host, int(port), use_ssl=True, ca_certs=domain.ca_certs, region=REGION, credentials=domain.credentials
        )
        with urllib3.ProxyManager(f"http://127.0.0.1:{listener.getsockname()[1]}", ca_certs=domain.ca_certs) as manager:
            connection.pool = manager.connection_from_url(domain.url)
            connection.perform_request("POST", "/logs/_doc", {"refresh": "true"}, b"{}")
            connection.perform_request("GET", "/logs/_count")
            connection.close()
        thread.join(10)
        assert (domain.verified, domain.refused) == (2, 0)
    assert len(seen) == 1
    assert (b"aws4" in seen[0].lower()) is False


def test_a_closed_connection_opens_again(server):
    connection = connection_to(server, region=REGION, credentials=static())
    connection.close()
    assert connection.pool is None
    connection.perform_request("GET", "/")
    connection.close()


def test_several_hosts_share_one_source(server):
    client = OpenSearch([server.url, server.url], connection_class=SigV4HttpConnection, region=REGION)
    first, second = client.transport.connection_pool.connections
    assert first.signer.source is second.signer.source
    other = OpenSearch([server.url], connection_class=SigV4HttpConnection, region=REGION)
    assert other.transport.get_connection().signer.source is first.signer.source


def test_sniffing_a_signed_client_warns(server):
    server.answer = (200, {}, b'{"nodes": {"a": {"http": {"publish_address": "127.0.0.1:1"}}}}')
    with pytest.warns(UserWarning, match="sniffing a signed client"):
        OpenSearch(
            server.url,
            connection_class=SigV4HttpConnection,
            region=REGION,
            credentials=static(),
            sniff_on_start=True,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = OpenSearch(server.url, connection_class=SigV4HttpConnection, region=REGION, credentials=static())
        client.nodes.info(node_id="_all", metric="http")


def test_redirects_are_not_followed(server):
    server.answer = (307, {"location": "http://127.0.0.1:9/elsewhere"}, b"")
    client = OpenSearch(server.url, connection_class=SigV4HttpConnection, region=REGION, credentials=static())
    with pytest.raises(opensearchpy.TransportError) as caught:
        client.info()
    assert caught.value.status_code == 307
    assert len(server.received) == 1


# --- the parent, side by side ------------------------------------------------------------------------------


class Signing(SigV4HttpConnection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, region=REGION, credentials=static(), **kwargs)


@contextlib.contextmanager
def broken_server(answer):
    """A server that takes one request and answers with raw bytes, or just closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    received = b""
                    while not received.endswith(b"{}"):  # what is left unread would make the close a reset
                        received += connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.close()
        thread.join(5)


def outcome(cls, port, caplog, **request):
    """What one request to this connection class returns or raises, with the log records, metrics and warnings."""
    metrics = MetricsEvents()
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection = cls("127.0.0.1", port, metrics=metrics, timeout=5)
        try:
            status, headers, data = connection.perform_request(**{"method": "GET", "url": "/logs/_search", **request})
            result = (status, sorted(headers.items()), data)
        except opensearchpy.OpenSearchException as error:
            # Before urllib3 2.3 the text names the connection's class, and it always has its address.
            text = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "<connection>", str(error.args[1]))
            result = (type(error), error.args[0], text[:50], type(error.args[2]))
        finally:
            connection.close()

    def plain(text):
        return text.replace(str(port), "PORT")

    records = [
        (record.name, record.levelname, record.msg, plain(str(record.args[:3])), bool(record.exc_info))
        for record in caplog.records
        if record.name == "opensearch"  # and not the tracer, whose records tell the time
    ]
    messages = [(warning.category, str(warning.message)) for warning in caught]
    return result, records, metrics.service_time is not None, messages


ANSWERS = {
    "ok": (200, {}, b'{"a": "\xc3\xbc"}'),
    "warning": (200, {"warning": '299 OpenSearch-2 "deprecated thing"'}, b"{}"),
    "not found": (404, {}, b'{"error": {"type": "index_not_found_exception"}}'),
    "conflict": (409, {}, b'{"error": "conflict"}'),
    "throttled": (429, {"content-type": "text/plain"}, b"slow down"),
    "forbidden": (403, {}, b'{"message": "no"}'),
    "bad json": (400, {}, b"{"),
    "gateway": (502, {"content-type": "text/html"}, b"<html>"),
    "redirect": (302, {"location": "/"}, b""),
    "not utf-8": (200, {}, b"\xff\xfe"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_the_parents(server, caplog, name):
    server.answer = (ANSWERS[name][0], {"date": "now", "server": "s", **ANSWERS[name][1]}, ANSWERS[name][2])
    caplog.set_level(logging.DEBUG, logger="opensearch")
    port = server.server_address[1]
    for request in ({"body": b'{"q": 1}', "params": {"q": "a"}}, {"ignore": (404, 409)}, {"method": "HEAD"}):
        theirs = outcome(Urllib3HttpConnection, port, caplog, **request)
        ours = outcome(Signing, port, caplog, **request)
        assert normal(ours) == normal(theirs)


def normal(result):
    (answer, *rest) = result
    if isinstance(answer[0], int):
        answer = (answer[0], [pair for pair in answer[1] if pair[0].lower() not in ("date", "server")], answer[2])
    return (answer, *rest)


BROKEN_ANSWERS = [
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
    b"nonsense\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]


@pytest.mark.parametrize(
    "raw",
    BROKEN_ANSWERS,
)
def test_broken_answers_are_the_parents(caplog, raw):
    caplog.set_level(logging.DEBUG, logger="opensearch")
    outcomes = []
    for cls in (Urllib3HttpConnection, Signing):
        with broken_server(raw) as port:
            outcomes.append(outcome(cls, port, caplog, body=b"{}"))
    assert outcomes[1] == outcomes[0]


def test_a_refused_connection_and_a_timeout_are_the_parents(caplog):
    caplog.set_level(logging.DEBUG, logger="opensearch")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        slow = [outcome(cls, port, caplog, timeout=0.05) for cls in (Urllib3HttpConnection, Signing)]
    refused = [outcome(cls, port, caplog) for cls in (Urllib3HttpConnection, Signing)]
    assert slow[1] == slow[0]
    assert slow[0][0][0] is opensearchpy.ConnectionTimeout
    assert refused[1] == refused[0]
    assert refused[0][0][0] is opensearchpy.ConnectionError


def test_a_gzip_answer(server):
    import gzip

    server.answer = (200, {"content-encoding": "gzip"}, gzip.compress(b'{"a": 1}'))
    assert connection_to(server, region=REGION, credentials=static()).perform_request("GET", "/")[2] == '{"a": 1}'


def test_metrics_are_not_started_when_signing_fails(server):
    metrics = MetricsEvents()
    connection = connection_to(server, region=REGION, metrics=metrics)
    with pytest.raises(NoCredentialsError):
        connection.perform_request("GET", "/")
    assert not hasattr(metrics, "started")
    assert metrics.start_time is None


def test_every_argument_of_the_parent_is_taken():
    import inspect

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
        "ssl_assert_hostname": "name",
    }
    assert set(options) - {"timeout", "url_prefix"} <= set(inspect.signature(Urllib3HttpConnection).parameters)
    with pytest.warns(UserWarning, match="verify_certs=False is insecure"):
        ours = SigV4HttpConnection("h", region=REGION, credentials=static(), **options)
    with pytest.warns(UserWarning, match="verify_certs=False is insecure"):
        theirs = Urllib3HttpConnection("h", **options)
    assert repr(ours).replace("SigV4HttpConnection", "Urllib3HttpConnection") == repr(theirs)
    assert {**ours.headers} == {"host": "h:1", **theirs.headers}
    assert (ours.timeout, ours.url_prefix) == (theirs.timeout, theirs.url_prefix)
    assert ours.pool.conn_kw == theirs.pool.conn_kw
    with pytest.raises(TypeError):
        SigV4HttpConnection("h", 1, None, *range(30))


def test_positional_arguments_keep_their_order():
    connection = SigV4HttpConnection("h", 1, "user:pw", False)
    assert (connection.host, connection.http_auth) == ("http://h:1", "user:pw")


def test_an_ssl_context(server):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import ssl

        context = ssl.create_default_context()
        connection = SigV4HttpConnection("h", use_ssl=True, ssl_context=context, region=REGION)
    assert connection.pool.conn_kw["ssl_context"] is context


# --- connect -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (DOMAIN, f"https://{DOMAIN}:443"),
        (f"https://{DOMAIN}", f"https://{DOMAIN}:443"),
        (f"https://{DOMAIN}/", f"https://{DOMAIN}:443"),
        (f"{DOMAIN}:443", f"https://{DOMAIN}:443"),
        ("http://localhost", "http://localhost:9200"),
        ("https://localhost", "https://localhost:443"),
        ("http://[::1]:9201", "http://[::1]:9201"),
        ("http://localhost:80", "http://localhost:80"),
    ],
)
def test_connect(url, host):
    with connect(url, region=REGION, credentials=static()) as client:
        connection = client.transport.get_connection()
        assert isinstance(connection, SigV4HttpConnection)
        assert connection.host == host
        assert connection.signer.region == REGION


def test_connect_reads_region_and_service_from_the_host():
    for host, region, service in NAMED:
        signer = connect(host).transport.get_connection().signer
        assert (signer.region, signer.service, signer.credentials) == (region, service, None)
    assert connect(DOMAIN, service="aoss").transport.get_connection().signer.service == "aoss"


@pytest.mark.parametrize("name", ["Host", "host"])
def test_region_and_service_are_those_of_a_host_among_the_headers(name):
    """Through a tunnel that host is signed, and not the URL's."""
    for host, region, service in NAMED:
        for url in ("https://localhost:9443", f"https://{DOMAIN}"):
            signer = connect(url, headers={name: host}).transport.get_connection().signer
            assert (signer.region, signer.service) == (region, service)
    connection = SigV4HttpConnection("localhost", headers={name: NAMED[0][0]})
    assert connection.signer is None


def test_connect_with_a_prefix_and_options():
    client = connect("https://localhost/a b/", region=REGION, http_compress=True, timeout=3, pool_maxsize=2)
    connection = client.transport.get_connection()
    assert (connection.url_prefix, connection.http_compress, connection.timeout) == ("/a%20b", True, 3)
    assert connection.pool.pool.maxsize == 2


def test_connect_over_http_to_aws_warns():
    with pytest.warns(UserWarning, match="in clear"):
        client = connect(f"http://{DOMAIN}")
    assert client.transport.get_connection().host == f"http://{DOMAIN}:80"


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "url", {"url": "localhost:9200"}),
        (ValueError, "url", {"url": "https://user:wJalr@localhost"}),
        (ValueError, "url", {"url": "https://localhost?a=b"}),
        (ValueError, "url", {"url": "https://local host"}),
        (TypeError, "url", {"url": None}),
        (TypeError, "url", {"url": ["https://localhost"]}),
        (ValueError, "http_auth", {"http_auth": ("a", "b")}),
        (TypeError, "connection_class", {"connection_class": Urllib3HttpConnection}),
        (ValueError, "credentials", {"credentials": static(), "profile": "p"}),
        (TypeError, "credentials", {"credentials": 5}),
        (ValueError, "region", {"region": ""}),
        (ValueError, "service", {"service": ""}),
    ],
)
def test_connect_refuses(error, message, arguments):
    with pytest.raises(error, match=message) as caught:
        connect(**{"url": "https://localhost", "region": REGION, **arguments})
    assert "wJalr" not in str(caught.value)
