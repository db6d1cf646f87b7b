"""Whatever stands in a request's parts, it is refused before anything is sent, or it is sent as that part alone."""

import re
from contextlib import closing, suppress
from functools import partial
from types import SimpleNamespace

import pytest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opensearchpy import AsyncOpenSearch, OpenSearch

from conftest import EXAMPLES
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4HttpConnection, connect
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN
from raw_server import RawServer
from transports import TRANSPORTS, Driven, all_transports

# What ends a line somewhere, in HTTP or in Python, or begins another thing; a lone surrogate, and a folded line.
BREAKS = ["\r", "\n", "\r\n", "\n\r", "\r\n ", "\n\t", "\r\n\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x7f", "\x85"]
BREAKS += ["\u2028", "\u2029", "\ud800", "\u010d\u010a", " ", "\t", " HTTP/1.1\r\n", "?", "#", ":", "@", "%0d%0a", "//"]
INJECTED = ["", "injected: 1", "injected:1\r\n\r\nGET /injected HTTP/1.1\r\nhost: a\r\n\r\n"]
HOSTILE = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "a", "ü"]),
    st.sampled_from(BREAKS),
    st.sampled_from(INJECTED),
    st.text(max_size=2),
)

HEAD = re.compile(rb"[A-Z0-9!#$%&'*+.^_`|~-]+ /[!-~]* HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)+\r\n")
SIGNED = {b"authorization", b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"}
USUAL = SIGNED | {b"host", b"content-type", b"content-length", b"accept", b"accept-encoding", b"user-agent"}
USUAL |= {b"connection"}  # that is what requests and httpx send

CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)


def assert_nothing_injected(requests, name=""):
    """That at most one request came, and that it has no header but the usual ones and the one of this name."""
    assert len(requests) <= 1
    for head, _ in requests:
        assert HEAD.fullmatch(head)
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]
        assert set(names) <= USUAL | {name.lower().encode("latin-1", "replace")}
        assert len(names) == len(set(names))


@pytest.fixture(scope="module")
def raw_server():
    with RawServer(lambda line: (200, {"content-type": "application/json"})) as server:
        yield server


@pytest.fixture(scope="module")
def transports():
    with all_transports() as transports:
        yield transports


@pytest.fixture(params=[kind.name for kind in TRANSPORTS])
def transport(request, transports):
    return transports[request.param]


@pytest.fixture
def client(transport, raw_server):
    target = SimpleNamespace(url=raw_server.url, region=REGION, service="es", credentials=CREDENTIALS, ca_certs=None)
    with transport.client(target, max_retries=0) as client:
        yield client


def perform(client, method="GET", url="/logs", **arguments):
    client.transport.perform_request(method, url, **arguments)


# One part of a request each: what is done with a hostile text, and the name of the header that it may then have.
PARTS = {
    "method": lambda client, text: perform(client, method=text),
    "path": lambda client, text: perform(client, url=f"/logs/{text}"),
    "query": lambda client, text: perform(client, url=f"/logs?q={text}"),
    "a parameter": lambda client, text: perform(client, params={text: text}),
    "a header's name": lambda client, text: perform(client, headers={text: "1"}),
    "a signed header's name": lambda client, text: perform(client, headers={f"x-amz-{text}": "1"}),
    "a header": lambda client, text: perform(client, headers={"x-own": text}),
    "a signed header": lambda client, text: perform(client, headers={"x-amz-own": text}),
    "a header in bytes": lambda client, text: perform(client, headers={"x-own": text.encode("utf-8", "replace")}),
    "a host": lambda client, text: perform(client, headers={"Host": text}),
    "a host in bytes": lambda client, text: perform(client, headers={"host": text.encode("utf-8", "replace")}),
    "a content type": lambda client, text: perform(client, headers={"content-type": text}),
    "an authorization": lambda client, text: perform(client, headers={"authorization": text}),
    "beside an authorization": lambda client, text: perform(client, headers={"authorization": "A", "x-own": text}),
    "an api_key": lambda client, text: client.info(api_key=("a", text)),
    "a call's http_auth": lambda client, text: client.info(http_auth=("a", text)),
    "an index": lambda client, text: client.search(index=text or "a"),
    "an id": lambda client, text: client.index(index="logs", id=text, body={}),
    "a routing": lambda client, text: client.index(index="logs", id="1", routing=text, body={}),
    "an opaque id": lambda client, text: client.info(opaque_id=text),
    "a call's opaque id": lambda client, text: client.info(headers={"x-opaque-id": text}),
}
HEADERS = {"a header's name": "{}", "a signed header's name": "x-amz-{}", "a signed header": "x-amz-own"}
HEADERS |= dict.fromkeys(["a header", "a header in bytes", "beside an authorization"], "x-own")
HEADERS |= dict.fromkeys(["an opaque id", "a call's opaque id"], "x-opaque-id")
LINE_ENDS = ["a\r\ninjected: 1", "a\ninjected: 1", "a\r\n injected: 1", "a\rb", "a\0", "a\x7f"]


def hostile(test):
    """Few examples: each is a request over a socket, and there are many parts. The plainest are always among them."""
    test = given(text=HOSTILE)(test)
    for text in LINE_ENDS:
        test = example(text=text)(test)
    return settings(max_examples=max(5, EXAMPLES // 200), suppress_health_check=[HealthCheck.function_scoped_fixture])(
        test
    )


def attempt(send, raw_server, header="", *, is_ours=True):
    """Send it, or see it refused with nothing sent: by ValueError or TypeError, or as other people's clients do it."""
    raw_server.requests.clear()
    reason = None
    try:
        send()
    except (ValueError, TypeError):
        reason = "refused"
    except Exception as error:
        # The parent's, where a header that is not signed has no bytes in http.client's latin-1.
        reason = "refused" if not is_ours or "latin-1" in str(error) else type(error).__name__
    assert reason in (None, "refused")
    assert reason is None or raw_server.requests == []
    assert_nothing_injected(raw_server.requests, header)


@pytest.mark.parametrize("part", PARTS)
@hostile
def test_parts_of_a_request(part, transport, client, raw_server, text):
    header = HEADERS.get(part, "").format(text)
    attempt(partial(PARTS[part], client, text), raw_server, header, is_ours=transport.name in ("urllib3", "aiohttp"))


# --- what a client is made with ------------------------------------------------------------------------------


def signed_by(signed):
    return {"http_auth": lambda method, url, body, headers=None: signed}


BY_OUR_SIGNER = {"region": REGION, "credentials": CREDENTIALS}
# The options of a client, and the name of the header that it may then send.
MADE_WITH = {
    "a prefix": (lambda text: {"url_prefix": text, **BY_OUR_SIGNER}, ""),
    "a header's name": (lambda text: {"headers": {text: "1"}, **BY_OUR_SIGNER}, "{}"),
    "a header": (lambda text: {"headers": {"x-own": text}, **BY_OUR_SIGNER}, "x-own"),
    "a signed header": (lambda text: {"headers": {"x-amz-own": text}, **BY_OUR_SIGNER}, "x-amz-own"),
    "a host": (lambda text: {"headers": {"host": text}, **BY_OUR_SIGNER}, ""),
    "an opaque id": (lambda text: {"opaque_id": text, **BY_OUR_SIGNER}, "x-opaque-id"),
    "a callable's header": (lambda text: signed_by({"Authorization": "A", "x-own": text}), "x-own"),
    "a callable's name": (lambda text: signed_by({"Authorization": "A", text: "1"}), "{}"),
    "a callable's authorization": (lambda text: signed_by({"Authorization": text}), ""),
}


@pytest.mark.parametrize("kind", ["urllib3", "aiohttp"])
@pytest.mark.parametrize("part", MADE_WITH)
@hostile
def test_what_a_client_is_made_with(part, kind, transports, raw_server, text):
    options, header = MADE_WITH[part]

    def send():
        kinds = (OpenSearch, SigV4HttpConnection) if kind == "urllib3" else (AsyncOpenSearch, AsyncSigV4HttpConnection)
        made = kinds[0](raw_server.url, connection_class=kinds[1], max_retries=0, **options(text))
        with closing(made if kind == "urllib3" else Driven(made, transports[kind]._run)) as client:
            client.transport.perform_request("GET", "/logs")

    attempt(send, raw_server, header.format(text))


URLS = ["http://localhost:9200/{}", "http://{}@localhost", "http://localhost{}:9200", "http://localhost:9200{}"]
URLS += ["http://{}localhost", "http://{}", "{}", "{}http://localhost", "search-a.us-east-1.es.amazonaws.com{}"]


@pytest.mark.parametrize("url", URLS)
@hostile
def test_a_url_to_connect_to(url, text):
    with suppress(ValueError):
        connection = connect(url.format(text), region=REGION, credentials=CREDENTIALS).transport.get_connection()
        assert re.fullmatch(r"https?://([a-z0-9._~-]+|\[[0-9a-f:.]+\]):[0-9]+(/[!-~]*)?", connection.host)
        assert "@" not in connection.host.partition("//")[2].partition("/")[0]


# --- the signer ----------------------------------------------------------------------------------------------

SIGNED_WITH = {
    "method": lambda text: {"method": text},
    "host": lambda text: {"url": f"https://{text}/"},
    "path": lambda text: {"url": f"https://localhost/{text}"},
    "query": lambda text: {"url": f"https://localhost/?{text}"},
    "name": lambda text: {"headers": {text: "1"}},
    "signed name": lambda text: {"headers": [(f"x-amz-{text}", "1")]},
    "value": lambda text: {"headers": {"accept": text}},
    "signed value": lambda text: {"headers": {"x-amz-own": text}},
    "Host": lambda text: {"headers": {"Host": text}},
}


@pytest.mark.parametrize("part", SIGNED_WITH)
@settings(max_examples=max(5, EXAMPLES // 20))
@given(text=HOSTILE)
def test_the_signer(core, part, text):
    source = SimpleNamespace(kept=None, snapshot=lambda: (ACCESS_KEY, SECRET_KEY, TOKEN))
    signer = core.RequestSigner(source, lambda: 0, REGION, "es", frozenset({"accept"}), False)
    arguments = {"method": "GET", "url": "https://localhost/", "headers": None} | SIGNED_WITH[part](text)
    try:
        signature = signer._signature(arguments["method"], arguments["url"], None, arguments["headers"], AT)
    except (ValueError, TypeError):
        return
    assert not any(re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value) for value in signature.headers.values())
    lines = signature.canonical_request.split("\n")
    # Method, path, query, the headers, an empty line, their names, the hash.
    assert len(lines) == 6 + len(lines[-2].split(";"))
    assert [line.partition(":")[0] for line in lines[3:-3]] == lines[-2].split(";")
