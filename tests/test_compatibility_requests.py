"""Compatibility with opensearch-py: one request, what is sent of it, and what becomes of its answer."""

import gzip
import json
import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import opensearchpy
import pytest
from opensearchpy import MetricsEvents, TransportError
from opensearchpy.exceptions import HTTP_EXCEPTIONS

import opensearch_sigv4
from oracles import REGION, SESSION_KEY, TOKEN
from recorder import nowhere
from sides import ABSENT, ADVICE, Apart, Difference, Like, credentials, plain, raw

# --- what is sent ----------------------------------------------------------------------------------------------


def over_connection(pair, server, call, *, differs=(), **options):
    host, port = server.server_address
    return pair.same(call, server, make=pair.connection, host=host, port=port, differs=differs, **options)


REQUESTS = {
    "GET": (("GET", "/logs/_search"), {}),
    "by position": (("POST", "/logs/_search", {"q": "a"}, b"{}", 5, (404,), {"x-a": "b"}), {}),
    "by keyword": ((), {"method": "PUT", "url": "/logs/_doc/1", "params": {"routing": "r"}, "body": b"{}"}),
    "ignore": (("GET", "/"), {"ignore": [404]}),
    "timeout": (("GET", "/"), {"timeout": 5.5}),
    "HEAD": (("HEAD", "/logs"), {}),
    "DELETE with a body": (("DELETE", "/_search/scroll"), {"body": b'{"scroll_id": []}'}),
    "query in the url": (("GET", "/_search?q=a"), {}),
    "headers": (("GET", "/"), {"headers": {"accept": "application/yaml", "x-opaque-id": "o", "content-type": "x/y"}}),
    "escapes": (("GET", "/a%2Fb/_doc/%C3%BC,*"), {"params": {"q": "ü:/?&=+%~-_.,*"}}),
    "empty body": (("POST", "/_refresh"), {"body": b""}),
    "empty value": (("GET", "/"), {"params": {"a": "", "b": 1, "c": True, "d": None}}),
}


@pytest.mark.row("`perform_request`")
@pytest.mark.parametrize("name", REQUESTS)
def test_perform_request(any_pair, server, name):
    args, kwargs = REQUESTS[name]
    server.answer = (200, {"x-b": "c"}, b'{"a": "\xc3\xbc"}')
    over_connection(any_pair, server, lambda connection: connection.perform_request(*args, **kwargs))


def bodies_and_targets(client):
    client.index(index="i", body={"a": "b", "ü": 1}, id="a/b c", refresh=True)
    client.search(index=["a", "b*"], body={"query": {}}, ignore_unavailable=True, filter_path=["hits.total", "took"])
    client.search(index="i", params={"q": "a:b"}, headers={"X-A": "b"}, opaque_id="o")
    client.bulk(body=[{"index": {"_index": "i"}}, {"a": 1}])
    client.bulk(body='{"delete": {"_index": "i", "_id": "1"}}')
    client.msearch(body=[{}, {"query": {"match_all": {}}}], index="i")
    client.cat.indices(index=["a", "b"], h=["index", "docs.count"], format="json", v=True)
    client.nodes.stats(node_id=["a", "b"], metric=("jvm", "os"))
    client.search(index="i", body={"from": date(2024, 2, 29), "to": datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)})
    client.tasks.list(detailed=False, pretty=True, human=True, error_trace=True)
    client.indices.put_settings(index="i", body={"index": {"number_of_replicas": 0}})
    client.http.get("/_cat", headers={"accept": "text/plain"}, params={"help": "true"})
    client.http.post("/i/_search", body={"size": 0})
    client.http.put("/i", body={})
    client.http.head("/i")
    client.http.delete("/i")
    return client.transport.perform_request("GET", "/", params={"ignore": (404, 400), "request_timeout": 5})


@pytest.mark.row("API calls: paths, `params`, bodies, `filter_path`")
def test_what_is_sent(any_pair, server):
    theirs, _ = any_pair.same(bodies_and_targets, server)
    assert len(theirs.requests) == 17


OWN = "what the call says is sent in place of a signature, not beside it or under it"
SPACE = "AWS signs %20, and a + that stands for a space is refused"


@pytest.mark.row("a space in a query")
def test_a_space_in_a_query(any_pair, server):
    plus, percent = Like(r".*[?&]q=a\+b\b.*"), Like(r".*[?&]q=a%20b\b.*")
    differs = [
        Difference("requests.0.target", plus, percent, SPACE, signed=True),
        Difference("logs.0.text", plus, percent, SPACE, signed=True),
        Difference("logs.1.text", plus, percent, SPACE, over="urllib3", signed=True),  # the tracer's
    ]
    any_pair.same(lambda client: client.search(index="i", q="a b"), server, level=logging.INFO, differs=differs)


@pytest.mark.row("`headers=`, `opaque_id=`, `http_auth=`, `api_key=` of a call")
def test_headers_of_a_call(any_pair, server):
    def call(client):
        client.info(headers={"X-A": "b", "Accept": "application/yaml"}, opaque_id="o")
        client.info(http_auth=("user", "password"))
        client.info(api_key=("id", "key"))

    signed = f"signed by {SESSION_KEY} for {REGION}/es"
    differs = []
    for n, own in ((1, "Basic dXNlcjpwYXNzd29yZA=="), (2, "ApiKey aWQ6a2V5")):
        headers = f"requests.{n}.headers"
        differs += [
            Difference(f"{headers}.authorization", f"{own} and {signed}", own, OWN, over="urllib3", signed=True),
            Difference(f"{headers}.authorization", signed, own, OWN, over="aiohttp", signed=True),
            Difference(f"{headers}.x-amz-content-sha256", "of the body", ABSENT, OWN, signed=True),
            Difference(f"{headers}.x-amz-date", "now", ABSENT, OWN, signed=True),
            Difference(f"{headers}.x-amz-security-token", plain(TOKEN), ABSENT, OWN, signed=True),
        ]
    any_pair.same(call, server, differs=differs)


@pytest.mark.row("`http_compress`")
def test_compression(any_pair, server):
    """The bodies are compared as they were before; that of cluster settings is refused compressed by AWS."""
    server.answer = (200, {"content-encoding": "gzip"}, gzip.compress(b'{"a": 1}'))

    def call(client):
        client.bulk(body=[{"index": {"_index": "i"}}, {"a": "b" * 1000}])
        client.cluster.put_settings(body={"transient": {}})
        return client.search(index="i")

    settings = "AWS takes no compressed settings"
    differs = [Difference("requests.1.headers.content-encoding", "gzip", ABSENT, settings)]
    theirs, _ = any_pair.same(call, server, http_compress=True, differs=differs)
    assert theirs.value == {"a": 1}


# --- who signs -----------------------------------------------------------------------------------------------------


@pytest.mark.row("`http_auth`: signer objects")
@pytest.mark.parametrize("module", [opensearchpy, opensearch_sigv4])
def test_signers(unsigned_pair, server, module):
    """Of theirs and of ours, each on both connections."""
    name = "Urllib3AWSV4SignerAuth" if unsigned_pair.over == "urllib3" else "AWSV4SignerAsyncAuth"
    auth = getattr(module, name)(credentials(), REGION, "aoss")
    theirs, _ = unsigned_pair.same(lambda client: client.search(index="i", body={"size": 0}), server, http_auth=auth)
    assert theirs.requests[0]["headers"]["authorization"] == f"signed by {SESSION_KEY} for {REGION}/aoss"


@pytest.mark.row("`http_auth`: any callable")
def test_a_callable(unsigned_pair, server):
    """Version 2 calls it by position over aiohttp; its first two arguments are the same everywhere."""

    def sign(method, url, *args, **kwargs):
        return {"x-signed": f"{method} {url}"}

    theirs, _ = unsigned_pair.same(lambda client: client.search(index="i", routing="r"), server, http_auth=sign)
    assert theirs.requests[0]["headers"]["x-signed"] == f"POST {server.url}/i/_search?routing=r".replace(
        str(server.server_address[1]), "PORT"
    )


def failing(*args, **kwargs):
    raise RuntimeError("no credentials")


@pytest.mark.row("errors of a signer")
def test_errors_of_a_signer(unsigned_pair, server):
    differs = [Apart("ConnectionError", "RuntimeError", "a retry on another node would not help", over="urllib3")]
    unsigned_pair.same(lambda client: client.info(), server, http_auth=failing, differs=differs)
    assert server.received == []


# --- answers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """An answer.

    Args:
        told: `error` and `info` of what is raised of it, where its type is JSON.
        is_explained: whether ours says what to do about it.
        differs: what else does.
    """

    status: int
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    told: tuple | None = None
    is_explained: bool = False
    differs: tuple = ()

    def differences(self):
        found = [*self.differs, *(ADVICE if self.is_explained else ())]
        if self.told is not None:
            kind = HTTP_EXCEPTIONS.get(self.status, TransportError)
            theirs, ours = kind(self.status, self.body.decode(), None), kind(self.status, *self.told)
            for name, values in {
                "text": (str(theirs), str(ours)),
                "error": (theirs.error, ours.error),
                "info": (theirs.info, ours.info),
            }.items():
                if values[0] != values[1]:
                    found.append(Difference(f"error.{name}", *values, NO_TYPE, over="aiohttp"))
        return found


NO_TYPE = "opensearch-py's aiohttp connection does not look whether an error is JSON"
CAUSE = {"type": "index_not_found_exception", "reason": "no such index [i]"}
INFO = {"error": {"root_cause": [CAUSE], **CAUSE}, "status": 404}
TYPED = ("index_not_found_exception", INFO)


def error(status, body=INFO, told=TYPED, **more):
    return Answer(status, json.dumps(body).encode(), told=told, **more)


NO_DICT = "JSON need not be an object"
THROTTLED = "Request throttled due to too many requests"
THROTTLES = "a 403 that says that it throttles is raised as the 429 that it is"
AS_429 = (
    Difference("error.type", "AuthorizationException", "TransportError", THROTTLES, signed=True),
    Difference("error.status_code", 403, 429, THROTTLES, signed=True),
    Difference(
        "error.text", Like("AuthorizationException.*"), Like(r"TransportError\(429, .*"), THROTTLES, signed=True
    ),
)
UNDECODABLE = tuple(
    Difference(f"logs.5.{name}", ABSENT, value, NO_TYPE, over="aiohttp")
    for name, value in {
        "logger": "opensearch",
        "level": "WARNING",
        "text": Like("Undecodable raw error response from server: .*"),
        "error": None,
    }.items()
)
ANSWERS = {
    "200": Answer(200, b'{"a": 1}'),
    "201": Answer(201, b'{"result": "created"}'),
    "204": Answer(204),
    "text": Answer(200, b"green open i\n", {"content-type": "text/plain; charset=UTF-8"}),
    "unknown type": Answer(200, b"a: 1", {"content-type": "application/yaml"}),
    "no JSON": Answer(200, b"{"),
    "no UTF-8": Answer(200, b"\xff\xfe"),
    "surrogates": Answer(200, b'{"a": "\xed\xa0\x80"}'),
    "gzip": Answer(200, gzip.compress(b'{"a": 1}'), {"content-encoding": "gzip"}),
    "300": Answer(300, b"{}", told=("{}", {})),
    "304": Answer(304),
    "400": error(400),
    "401": Answer(401, b"Unauthorized", {"content-type": "text/plain"}, is_explained=True),
    "403": error(403, is_explained=True),
    "404": error(404),
    "405": error(405),
    "409": error(409),
    "410": error(410),
    "413": error(413, is_explained=True),
    "429": error(429, is_explained=True),
    "500": error(500),
    "501": error(501),
    "502": error(502),
    "503": error(503),
    "504": error(504),
    "error of text": error(400, {"error": "text", "status": 400}, ("text", {"error": "text", "status": 400})),
    "error of AWS": error(403, {"message": "no"}, ('{"message": "no"}', {"message": "no"}), is_explained=True),
    "error of a list": error(
        400, [1], None, differs=(Apart("AttributeError", "RequestError", NO_DICT, over="urllib3"),)
    ),
    "error in HTML": Answer(502, b"<html>", {"content-type": "text/html"}),
    "error that is no JSON": Answer(503, b"{", differs=UNDECODABLE),
    "403 that throttles": error(
        403,
        {"message": THROTTLED},
        (f'{{"message": "{THROTTLED}"}}', {"message": THROTTLED}),
        is_explained=True,
        differs=AS_429,
    ),
    "error that is empty": Answer(500),
}


@pytest.mark.row("exceptions of answers", "logger `opensearch`, `opensearchpy.trace`")
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(any_pair, server, name):
    answer = ANSWERS[name]
    server.answer = (answer.status, answer.headers, answer.body)
    any_pair.same(lambda client: client.get(index="i", id="1"), server, max_retries=0, differs=answer.differences())


WARNINGS = {
    "none": [],
    "one": ['299 OpenSearch-2.19 "[types removal] is deprecated"'],
    "several": ['299 - "one"', '299 - "two"'],
    "several in one": ['299 - "one", 299 - "two"'],
    "of no form": ["beware"],
    "empty": [""],
}


@pytest.mark.row("`Warning` headers")
@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(any_pair, server, name, status):
    server.answer = (status, {"warning": WARNINGS[name], "content-type": "text/plain"}, b"")
    theirs, _ = any_pair.same(lambda client: client.info(), server)
    assert bool(theirs.warnings) == bool(WARNINGS[name])


@pytest.mark.row("redirects")
def test_redirects(any_pair, server):
    server.answer = lambda handler: (200, {}, b"{}") if handler.path == "/there" else (307, {"location": "/there"}, b"")
    signed = "who redirects would choose what is signed"
    differs = [Apart(None, "TransportError", signed, over="aiohttp", signed=True)]
    any_pair.same(lambda client: client.info(), server, differs=differs)


# --- no answer, or none in time --------------------------------------------------------------------------------------


def closes(handler):
    raise ConnectionAbortedError


def answers_nonsense(handler):
    handler.wfile.write(b"nonsense\r\n\r\n")
    raise ConnectionAbortedError


def breaks_off(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{}")
    raise ConnectionAbortedError


LOST = {
    closes: ADVICE,
    breaks_off: [],
    answers_nonsense: [
        Difference(
            "error.info",
            Like(r"ClientResponseError\(.*headers=<CIMultiDictProxy\('Host': .*"),
            Like(r"ClientResponseError\(.*headers=<CIMultiDictProxy\(\)>.*"),
            "the headers that were sent hold the session token",
            over="aiohttp",
        )
    ],
}


@pytest.mark.row("exceptions without an answer")
@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("answer", LOST, ids=lambda answer: answer.__name__)
def test_lost_answers(any_pair, server, answer, max_retries):
    server.answer = answer
    theirs, _ = any_pair.same(
        lambda client: client.index(index="i", body={}), server, max_retries=max_retries, differs=LOST[answer]
    )
    assert len(theirs.requests) == 1 + max_retries


@pytest.mark.row("exceptions without an answer")
@pytest.mark.parametrize("max_retries", [0, 2])
def test_refused_connections(any_pair, max_retries):
    with nowhere() as server:
        theirs, _ = any_pair.same(lambda client: client.info(), server, max_retries=max_retries, differs=ADVICE)
    assert theirs.error["type"] == "ConnectionError"


@contextmanager
def silence(server):
    over = threading.Event()

    def answer(handler):
        over.wait(10)
        raise ConnectionAbortedError

    server.answer = answer
    try:
        yield
    finally:
        over.set()


def slow_call(client):
    return client.index(index="i", body={}, request_timeout=0.2)


def timeout_of_a_param(client):
    return client.index(index="i", body={}, params={"timeout": 0.2})


TIMEOUTS = {
    "timeout=": ({"timeout": 0.2}, lambda client: client.index(index="i", body={}), 1),
    "request_timeout=": ({}, slow_call, 1),
    "timeout= of a call": ({}, timeout_of_a_param, 1),
    "retry_on_timeout": ({"retry_on_timeout": True, "max_retries": 1}, slow_call, 2),
}


@pytest.mark.row("`timeout`, `request_timeout`, `retry_on_timeout`")
@pytest.mark.parametrize("name", TIMEOUTS)
def test_timeouts(any_pair, server, name):
    options, call, requests = TIMEOUTS[name]

    def call_and_wait(client):
        """The server may read a request only when the client has given up."""
        try:
            return call(client)
        finally:
            deadline = time.monotonic() + 10
            while len(server.received) < requests and time.monotonic() < deadline:
                time.sleep(0.01)

    with silence(server):
        theirs, _ = any_pair.same(call_and_wait, server, differs=ADVICE, **options)
    assert (theirs.error["type"], len(theirs.requests)) == ("ConnectionTimeout", requests)


# --- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.row("`metrics`")
def test_metrics(any_pair, server):
    def call(client):
        metrics = MetricsEvents()
        told = []
        metrics.events.request_start += lambda: told.append("start")
        metrics.events.request_end += lambda: told.append("end")
        with any_pair.client(raw(client).transport.connection_class, server.url, metrics=metrics) as measured:
            measured.info()
        return told, metrics.service_time is not None

    because = "opensearch-py's aiohttp connection does not tell its metrics"
    differs = [
        Difference("value.0", [], ABSENT, because, over="aiohttp"),
        Difference("value.0.0", ABSENT, "start", because, over="aiohttp"),
        Difference("value.0.1", ABSENT, "end", because, over="aiohttp"),
        Difference("value.1", False, True, because, over="aiohttp"),
    ]
    any_pair.same(call, server, differs=differs)
