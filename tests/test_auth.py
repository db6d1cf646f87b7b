"""The auth objects under opensearch-py's names: theirs in arguments, errors and attributes, ours in what they sign."""

import asyncio
import copy
import pickle
import threading
import warnings
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import opensearchpy
import pytest
import requests
from botocore.credentials import Credentials, DeferredRefreshableCredentials
from opensearchpy import AsyncHttpConnection, AsyncOpenSearch, OpenSearch, RequestsHttpConnection

import opensearch_sigv4 as osv4
from opensearch_sigv4 import SigV4Signer
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN

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


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "/a%2fb"},
        {"url": "/a[b]?c[]=d e+f"},
        {"url": "/", "params": {"q": "a b/c+d", "e": ""}},
        {"url": "/_bulk", "method": "POST", "data": "ü"},
        {"url": "/_bulk", "method": "POST", "data": b"\x00"},
        {"url": "/_bulk", "method": "POST", "json": {"ü": 1}},
        {"url": "/", "headers": {"X-Amz-Meta": "a  b", "Host": "elsewhere.example.com"}},
        {"url": "/#fragment"},
    ],
)
def test_plain_requests(local_domain, arguments):
    auth = osv4.RequestsAWSV4SignerAuth(local_domain.credentials, REGION)
    with requests.Session() as session:
        session.trust_env = False
        session.request(**{"method": "GET", **arguments, "url": local_domain.url + arguments["url"]}, auth=auth)
    assert (local_domain.verified, local_domain.refused) == (1, 0)


def test_a_streamed_body_is_refused():
    auth = osv4.RequestsAWSV4SignerAuth(static(), REGION)
    with pytest.raises(TypeError, match=r"^body: "):
        requests.Request("POST", URL, data=iter([b"a"]), auth=auth).prepare()


def test_nothing_secret_follows_a_redirect_to_another_host():
    received = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self):
            received.append((self.server.server_address[1], {name.lower() for name in self.headers}))
            self.send_response(302 if self.path == "/go" else 200)
            self.send_header("location", f"http://127.0.0.1:{second.server_address[1]}/there")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as first,
        ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as second,
        requests.Session() as session,
    ):
        threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in (first, second)]
        for thread in threads:
            thread.start()
        session.trust_env = False
        auth = osv4.RequestsAWSV4SignerAuth(static(TOKEN), REGION)
        url = f"http://127.0.0.1:{first.server_address[1]}/go"
        response = session.get(url, auth=auth, headers={"x-amz-meta": "1", "x-other": "2"})
        for server in (first, second):
            server.shutdown()
        for thread in threads:
            thread.join(5)
    assert response.status_code == 200
    (first_port, at_first), (second_port, at_second) = received
    assert first_port != second_port
    assert {"authorization", "x-amz-security-token", "x-amz-meta", "x-other"} <= at_first
    assert not [name for name in at_second if name == "authorization" or name.startswith("x-amz-")]
    assert "x-other" in at_second


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
