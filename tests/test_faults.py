"""The faults of LocalDomain, each as it is on the wire, with the judge as the node behind it."""

import contextlib
import gzip
import http.client
import inspect
import json
import os
import random
import re
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from types import SimpleNamespace

import botocore.auth
import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from judge import NOTHING, select
from opensearch_sigv4.testing import BulkAction, DocumentError, Fault, LocalDomain, in_turn
from opensearch_sigv4.testing import faults as fault_module
from opensearch_sigv4.testing import verify as verify_module

TIMEOUT_S = 20
THREE = b'{"index":{"_id":"a"}}\n{"n":1}\n{"delete":{"_id":"b"}}\n{"create":{"_index":"j"}}\n{"n":3}\n'


@pytest.fixture(params=["http", "https"])
def domain(judge, request):
    with LocalDomain(upstream=judge.url, https=request.param == "https") as domain:
        yield domain


@pytest.fixture
def plain(judge):
    with LocalDomain(upstream=judge.url) as domain:
        yield domain


def signed(domain, target="/i/_bulk", body=THREE, method="POST", **headers):
    unsigned = {name: headers.pop(name) for name in ("Accept-Encoding",) if name in headers}
    headers = {"Content-Type": "application/json", **headers}
    request = AWSRequest(method, domain.url + target, headers=headers, data=body)
    SigV4Auth(domain.credentials, domain.service, domain.region).add_auth(request)
    return {**request.headers, **unsigned}


def pool_of(domain):
    options = {"ca_certs": domain.ca_certs} if domain.ca_certs else {}
    return urllib3.PoolManager(retries=False, timeout=TIMEOUT_S, **options)


def post(domain, target="/i/_bulk", body=THREE, timeout=TIMEOUT_S, **headers):
    with pool_of(domain) as pool:
        return pool.request(
            "POST", domain.url + target, body=body, headers=signed(domain, target, body, **headers), timeout=timeout
        )


def always(fault):
    return lambda request: fault


@contextlib.contextmanager
def raw(domain, body=THREE):
    """A socket on which the request was sent."""
    host, port = domain.url.partition("://")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        sock = domain.ssl_context().wrap_socket(connection, server_hostname=host) if domain.ca_certs else connection
        with sock:
            head = f"POST /i/_bulk HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in signed(domain, body=body).items())
            sock.sendall(head.encode() + b"\r\n" + body)
            yield sock


def is_reset(sock):
    """Whether the TCP connection under `sock` ends in a reset; the ssl module may call that an end of file."""
    with socket.socket(fileno=os.dup(sock.fileno())) as below:
        below.settimeout(TIMEOUT_S)
        try:
            while below.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
    return False


def executed(judge):
    return [entry["status"] for entry in judge.log()]


# No answer


@pytest.mark.parametrize("is_executed", [False, True])
def test_a_reset_before_and_after_the_node(domain, judge, is_executed):
    domain.faults = always(Fault.reset(executed=is_executed))
    with raw(domain) as sock:
        assert is_reset(sock)
    assert executed(judge) == ([201, 404, 201] if is_executed else [])
    assert (domain.verified, domain.refused) == (1, 0)
    assert domain.requests[0].body == THREE


@pytest.mark.parametrize("is_executed", [False, True])
def test_a_timeout_lasts_as_long_as_the_client_waits(domain, judge, is_executed):
    domain.faults = always(Fault.timeout(executed=is_executed))
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        post(domain, timeout=urllib3.Timeout(connect=TIMEOUT_S, read=0.3))
    domain.faults = None
    assert post(domain).status == 200
    assert executed(judge) == ([201, 404, 201, 200, 404, 201] if is_executed else [201, 404, 201])


def test_a_timeout_is_bounded_and_ends_in_a_reset(domain):
    domain.faults = always(Fault.timeout(limit_s=0.05))
    with raw(domain) as sock:
        assert is_reset(sock)


def domains_running():
    """How many, this test's and those that others keep."""
    return sum(thread.name == "LocalDomain" for thread in threading.enumerate())


@pytest.mark.parametrize("fault", [Fault.timeout(), Fault.slow(60), Fault.slow(over_s=600)])
def test_close_waits_for_no_fault(domain, monkeypatch, fault):
    running = domains_running()
    monkeypatch.setattr("opensearch_sigv4.testing.domain._SHUTDOWN_TIMEOUT_S", 3600)
    asked = threading.Event()

    def faults(_):
        asked.set()
        return fault

    domain.faults = faults
    with raw(domain) as sock:
        assert asked.wait(TIMEOUT_S)
        domain.close()
        assert is_reset(sock)
    assert domains_running() == running - 1


def test_others_are_served_meanwhile(domain):
    domain.faults = lambda request: Fault.timeout() if b"slow" in request.body else None
    with raw(domain, b'{"index":{}}\n{"t":"slow"}\n') as sock:
        for _ in range(3):
            assert post(domain).status == 200
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)


# Another answer than the node's


ES = {
    402: (b"402 Payment Required /i/_bulk", "text/plain"),
    403: (b"403 Request throttled due to too many requests /i/_bulk", "text/plain"),
    413: (b'{"Message": "Request size exceeded 134217728 bytes"}', "application/json"),
    429: (b"429 Too Many Requests /i/_bulk", "text/plain"),
    502: (b"<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.", "text/html"),
    503: (b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this", "text/html"),
    504: (b"<html><body><h1>504 Gateway Timeout</h1>\nThe server didn't respond in time.", "text/html"),
    599: (b"599 Error /i/_bulk", "text/plain"),
}
AOSS = {
    402: {"type": "service_quota_exceeded_exception", "reason": "maximum OCU capacity reached"},
    403: {"type": "Forbidden", "reason": "403 Forbidden"},
    413: {"type": "Request Entity Too Large", "reason": "Request size exceeded 134217728 bytes"},
    429: {"type": "Too Many Requests", "reason": "429 Too Many Requests"},
    503: {"type": "Service Unavailable", "reason": "503 Service Unavailable"},
}


@pytest.mark.parametrize("is_executed", [False, True])
@pytest.mark.parametrize("status", ES)
def test_an_answer_as_es_gives_it(plain, judge, status, is_executed):
    plain.faults = always(Fault.answer(status, executed=is_executed, headers={"Retry-After": "3"}))
    answer = post(plain)
    text, content_type = ES[status]
    assert answer.status == status
    assert answer.data.startswith(text)
    assert answer.headers["Content-Type"].partition(";")[0] == content_type
    assert answer.headers["Retry-After"] == "3"
    assert "Date" in answer.headers
    assert len(executed(judge)) == 3 * is_executed


@pytest.mark.parametrize("status", AOSS)
def test_an_answer_as_aoss_gives_it(judge, status):
    with LocalDomain(upstream=judge.url, service="aoss") as domain:
        domain.faults = always(Fault.answer(status))
        answer = post(domain, **{"x-amz-content-sha256": sha256(THREE).hexdigest()})
    assert (answer.status, answer.json()["status"]) == (status, status)
    assert answer.json()["error"] == AOSS[status]
    assert executed(judge) == []


def test_an_answer_in_other_words(plain):
    plain.faults = always(Fault.answer(413, "Request size exceeded 10485760 bytes"))
    assert post(plain).json() == {"Message": "Request size exceeded 10485760 bytes"}
    plain.faults = always(Fault.answer(429, "Slow down"))
    assert post(plain).data == b"429 Slow down /i/_bulk"


def test_a_head_request_is_answered_without_a_body(plain):
    plain.faults = always(Fault.answer(503))
    with pool_of(plain) as pool:
        headers = signed(plain, "/i", b"", "HEAD")
        answer = pool.request("HEAD", plain.url + "/i", headers=headers)
        assert (answer.status, answer.data) == (503, b"")
        assert pool.request("HEAD", plain.url + "/i", headers=headers).status == 503


# The node's answer, late or in part


def test_a_late_answer(domain, judge):
    domain.faults = always(Fault.slow(0.2))
    started = time.monotonic()
    assert post(domain).json()["errors"] is False
    assert time.monotonic() - started >= 0.2
    assert len(executed(judge)) == 3


def test_a_trickled_answer_comes_in_pieces_and_the_connection_stays(domain):
    domain.faults = always(Fault.slow(over_s=0.5))
    with raw(domain) as sock:
        pieces = []
        while not (pieces and pieces[-1].endswith(b"}]}")):
            pieces.append(sock.recv(1 << 16))
        assert len(pieces) >= 3
        received = b"".join(pieces)
        head, _, body = received.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert len(json.loads(body)["items"]) == 3
    with pool_of(domain) as pool:
        for _ in range(2):
            assert pool.request("POST", f"{domain.url}/i/_bulk", body=THREE, headers=signed(domain)).status == 200
        assert pool.connection_from_url(domain.url).num_connections == 1


@pytest.mark.parametrize("sent", [0.0, 0.5, 0.999])
def test_a_truncated_answer(domain, judge, sent):
    domain.faults = always(Fault.truncated(sent))
    with raw(domain) as sock:
        response = http.client.HTTPResponse(sock)
        response.begin()
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
    whole = len(caught.value.partial) + caught.value.expected
    assert len(caught.value.partial) == int(whole * sent)
    assert response.status == 200
    assert len(executed(judge)) == 3


@pytest.mark.parametrize("sent", [0.0, 0.5])
def test_an_answer_whose_json_is_cut(domain, judge, sent):
    domain.faults = always(Fault.cut(sent))
    answer = post(domain, **{"Accept-Encoding": "gzip"})
    assert answer.status == 200
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    with pytest.raises(ValueError, match="line 1"):
        answer.json()
    assert answer.data[:8] == b'{"took":'[: 8 if sent else 0]
    assert len(executed(judge)) == 3


# Documents


def test_chosen_documents_fail_and_the_others_are_executed(domain, judge):
    seen = []

    def choose(action):
        seen.append(action)
        return {0: 429, 2: DocumentError(402, "x", "y")}.get(action.position)

    domain.faults = always(Fault.documents(choose))
    answer = post(domain).json()
    assert answer["errors"] is True
    first, second, third = answer["items"]
    assert first == {
        "index": {
            "_index": "i",
            "_id": "a",
            "status": 429,
            "error": {
                "type": "rejected_execution_exception",
                "reason": "rejected execution of coordinating operation",
            },
        }
    }
    assert second["delete"]["status"] == 404
    made_id = third["create"].pop("_id")
    assert len(made_id) == 20
    assert third == {"create": {"_index": "j", "status": 402, "error": {"type": "x", "reason": "y"}}}
    assert judge.log() == [{"action": "delete", "index": "i", "id": "b", "status": 404}]
    assert seen == [
        BulkAction(0, "index", "i", "a", {"_id": "a"}, b'{"n":1}'),
        BulkAction(1, "delete", "i", "b", {"_id": "b"}, b""),
        BulkAction(2, "create", "j", None, {"_index": "j"}, b'{"n":3}'),
    ]


def test_documents_of_a_compressed_request(plain, judge):
    plain.faults = always(Fault.documents(lambda action: 503 if action.position == 1 else None))
    answer = post(plain, body=gzip.compress(THREE), **{"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert [next(iter(item.values()))["status"] for item in answer.json()["items"]] == [201, 503, 201]
    assert judge.held("n") == {1: 1, 3: 1}
    assert judge.requests()[0]["encoding"] == ""


def test_all_documents_fail_and_none(plain, judge):
    plain.faults = always(Fault.documents(lambda action: 400))
    answer = post(plain).json()
    assert [next(iter(item.values()))["status"] for item in answer["items"]] == [400, 400, 400]
    assert judge.requests() == []
    plain.faults = always(Fault.documents(lambda action: None))
    body = gzip.compress(THREE)
    assert post(plain, body=body, **{"Content-Encoding": "gzip"}).json()["errors"] is False
    assert judge.requests() == [{"status": 200, "actions": 3, "bytes": len(body), "encoding": "gzip"}]


def test_items_are_in_their_places_whatever_the_filter(plain, judge):
    plain.faults = always(Fault.documents(lambda action: 429 if action.position % 3 == 1 else None))
    body = b"".join(b'{"create":{"_id":"%d"}}\n{"n":%d}\n' % (n % 50, n) for n in range(60))
    target = "/i/_bulk?filter_path=errors%2Citems.%2A.status&filter_path=items.%2A.error.type&refresh=false"
    answer = post(plain, target, body).json()
    assert answer.keys() == {"errors", "items"}
    for n, item in enumerate(answer["items"]):
        status = 429 if n % 3 == 1 else 201 if n < 50 or (n - 50) % 3 == 1 else 409
        assert item["create"]["status"] == status, n
        assert item["create"].keys() == ({"status"} if status == 201 else {"status", "error"})
    assert len(answer["items"]) == 60


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/i/_bulk", THREE[:-1]),
        ("/i/_bulk", b"{}\n{}\n"),
        ("/i/_bulk", b""),
        ("/_bulk", b'{"index":{}}\n{}\n{'),
        ("/i/_search", THREE),
    ],
)
def test_what_is_no_bulk_is_for_the_node_to_judge(plain, target, body):
    plain.faults = always(Fault.documents(lambda action: 429))
    assert post(plain, target, body).status == 400


def test_what_the_node_refuses_as_a_whole_stays_refused(plain, judge):
    plain.faults = always(Fault.documents(lambda action: 429 if action.position == 0 else None))
    answer = post(plain, body=THREE + b'{"delete":{}}\n')
    assert answer.status == 400
    assert "id is missing" in answer.json()["error"]["reason"]


def test_two_faults_in_one(plain, judge):
    lost = replace(Fault.documents(lambda action: 429 if action.position == 0 else None), ending="reset")
    plain.faults = always(lost)
    with raw(plain) as sock:
        assert is_reset(sock)
    assert executed(judge) == [404, 201]


def test_the_node_that_comes_with_it(local_domain):
    local_domain.faults = always(Fault.documents(lambda action: 429 if action.position == 1 else None))
    body = b'{"index":{"_id":"a"}}\n{"n":1}\n{"index":{"_id":"b"}}\n{"n":2}\n'
    answer = post(local_domain, body=body).json()
    assert [item["index"]["status"] for item in answer["items"]] == [201, 429]


# The callable


def test_requests_are_judged_and_recorded_before_they_are_asked_about(plain):
    asked = []

    def faults(request):
        asked.append((request, plain.requests[-1], plain.verified))
        return Fault.throttled()

    plain.faults = faults
    with pool_of(plain) as pool:
        assert pool.request("POST", f"{plain.url}/i/_bulk", body=THREE).status == 403  # refused anyway
    assert post(plain).status == 429
    for request, recorded, _ in asked:
        assert request is recorded
    assert [(request.verdict, verified) for request, _, verified in asked] == [
        ("MissingAuthenticationTokenException", 0),
        ("verified", 1),
    ]


# Judged otherwise


def date_of(answer):
    return parsedate_to_datetime(answer.headers["Date"]).timestamp()


@pytest.mark.parametrize(("offset_s", "told"), [(3600, "Signature expired: "), (-3600, "Signature not yet current: ")])
def test_a_skewed_clock(domain, judge, monkeypatch, offset_s, told):
    domain.faults = always(Fault.skewed(offset_s))
    answer = post(domain)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "InvalidSignatureException")
    assert answer.json()["message"].startswith(told)
    assert abs(date_of(answer) - time.time() - offset_s) < 10
    assert (domain.verified, domain.refused, executed(judge)) == (0, 1, [])
    assert domain.requests[0].verdict == "InvalidSignatureException"

    by_the_date = datetime.fromtimestamp(date_of(answer), UTC)
    now = by_the_date.replace(tzinfo=None)
    if hasattr(botocore.auth, "get_current_datetime"):
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
    else:  # as older ones ask for it
        monkeypatch.setattr(botocore.auth, "datetime", SimpleNamespace(datetime=SimpleNamespace(utcnow=lambda: now)))
    answer = post(domain)
    assert answer.status == 200
    assert abs(date_of(answer) - time.time() - offset_s) < 10
    assert (domain.verified, domain.refused, executed(judge)) == (1, 1, [201, 404, 201])
    assert [request.verdict for request in domain.requests] == ["InvalidSignatureException", "verified"]
    domain.faults = None
    assert post(domain).status == 403


def test_a_clock_that_is_a_little_off_refuses_nothing(plain):
    plain.faults = always(Fault.skewed(200))
    assert post(plain).status == 200


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (Fault.expired(), "ExpiredTokenException", "is expired"),
        (Fault.unrecognized(), "UnrecognizedClientException", "is invalid"),
        (Fault.wrong_region(), "InvalidSignatureException", "scoped to a valid region"),
        (Fault.wrong_service(), "InvalidSignatureException", "scoped to correct service: 'aoss'"),
    ],
)
def test_what_is_refused_however_well_it_is_signed(domain, judge, fault, code, told):
    domain.faults = in_turn(fault, None)
    answer = post(domain)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, code)
    assert told in answer.json()["message"]
    assert (domain.verified, domain.refused, executed(judge)) == (0, 1, [])
    assert post(domain).status == 200
    assert (domain.verified, domain.refused) == (1, 1)


def test_a_request_that_is_signed_for_the_other_region_passes(plain):
    plain.faults = always(Fault.wrong_region("eu-west-1"))
    request = AWSRequest("POST", f"{plain.url}/i/_bulk", headers={"Content-Type": "application/json"}, data=THREE)
    SigV4Auth(plain.credentials, "es", "eu-west-1").add_auth(request)
    with pool_of(plain) as pool:
        assert pool.request("POST", request.url, body=THREE, headers=dict(request.headers)).status == 200
    assert (plain.verified, plain.refused) == (1, 0)


def test_a_collection_refuses_without_a_reason(judge):
    with LocalDomain(service="aoss", upstream=judge.url) as collection:
        for fault in (Fault.skewed(3600), Fault.expired(), Fault.wrong_region(), Fault.forbidden()):
            collection.faults = always(fault)
            request = AWSRequest("POST", f"{collection.url}/i/_bulk", data=THREE)
            request.headers["X-Amz-Content-SHA256"] = sha256(THREE).hexdigest()
            SigV4Auth(collection.credentials, "aoss", collection.region).add_auth(request)
            with pool_of(collection) as pool:
                answer = pool.request("POST", request.url, body=THREE, headers=dict(request.headers))
            assert answer.status == 403
            assert answer.json()["error"] == {"reason": "403 Forbidden", "type": "Forbidden"}
    assert executed(judge) == []


# Refused by what is behind the signature


@pytest.mark.parametrize(
    ("by", "told"), [("policy", "is not authorized to perform"), ("roles", "no permissions for [")]
)
def test_a_true_403(domain, judge, by, told):
    domain.faults = always(Fault.forbidden(by))
    answer = post(domain)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (403, "application/json")
    assert told in json.dumps(answer.json())
    assert (domain.verified, domain.refused, executed(judge)) == (1, 0, [])


@pytest.mark.parametrize("status", [429, 403, 402])
def test_throttled(domain, judge, status):
    domain.faults = always(Fault.throttled(status, retry_after_s=3))
    answer = post(domain)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "3")
    if status == 403:
        assert b"Request throttled due to too many requests" in answer.data
    assert executed(judge) == []
    with pytest.raises(ValueError, match="402, 403 or 429"):
        Fault.throttled(500)


def test_a_body_that_is_too_large(domain, judge):
    domain.faults = always(Fault.too_large(len(THREE) - 1))
    answer = post(domain)
    assert (answer.status, answer.json()) == (413, {"Message": f"Request size exceeded {len(THREE) - 1} bytes"})
    assert executed(judge) == []
    domain.faults = always(Fault.too_large(len(THREE)))
    assert post(domain).status == 200


def test_ids_that_a_collection_refuses(domain, judge):
    domain.faults = always(Fault.ids_refused())
    items = post(domain).json()["items"]
    assert [next(iter(item.values()))["status"] for item in items] == [400, 404, 201]
    assert items[0]["index"]["error"]["reason"] == "Document ID is not supported in create/index operation request"
    assert executed(judge) == [404, 201]
    answer = post(domain, "/i/_doc/1", b"{}")
    assert (answer.status, answer.json()["error"]["type"]) == (400, "illegal_argument_exception")


# A connection that is kept alive


def test_a_stale_connection(domain, judge):
    domain.faults = in_turn(Fault.stale())
    options = {"ca_certs": domain.ca_certs} if domain.ca_certs else {}
    # Not a PoolManager, which leaves the closing of its pools to the collector.
    with urllib3.connection_from_url(domain.url, retries=False, timeout=TIMEOUT_S, **options) as pool:

        def ask():
            return pool.request("POST", "/i/_bulk", body=THREE, headers=signed(domain))

        answer = ask()
        assert (answer.status, answer.headers.get("Connection")) == (200, None)
        with pytest.raises((urllib3.exceptions.ProtocolError, urllib3.exceptions.SSLError)):
            ask()
        assert len(domain.requests) == domain.verified == 1
        assert ask().status == 200
    assert executed(judge) == [201, 404, 201, 200, 404, 201]


def test_faults_in_turn(plain):
    plain.faults = in_turn(Fault.throttled(), None, Fault.skewed(3600), Fault.answer(503))
    with pool_of(plain) as pool:
        statuses = [post(plain).status]
        pool.request("POST", f"{plain.url}/i/_bulk", body=THREE)  # not signed: it takes no turn
        statuses += [post(plain).status for _ in range(4)]
    assert statuses == [429, 200, 403, 503, 200]


def test_no_secret_is_compared_but_in_constant_time():
    """What a request shows of itself is compared by hmac.compare_digest; keys are looked up by their public part."""
    source = inspect.getsource(verify_module)
    compared = [line.strip() for line in source.splitlines() if re.search(r"[!=]= ", line)]
    secret = re.compile(r"secret|signature\b|request\.authorization|\btoken\b")
    allowed = ("(credentials.token is None) != (token is None)", "if by_botocore.authorization == expected:")
    assert not [line for line in compared if secret.search(line) and not any(text in line for text in allowed)]
    assert source.count("hmac.compare_digest(") == 2


def test_a_seeded_callable_on_one_connection_is_deterministic(plain):
    def statuses():
        numbers = random.Random(7)
        plain.faults = lambda request: Fault.answer(numbers.choice([429, 502, 503])) if numbers.random() < 0.5 else None
        with pool_of(plain) as pool:
            return [
                pool.request("POST", f"{plain.url}/i/_bulk", body=THREE, headers=signed(plain)).status
                for _ in range(20)
            ]

    assert statuses() == statuses()
    assert len(set(statuses())) >= 3


@pytest.mark.parametrize("returned", [lambda: 429, lambda: 1 / 0])
def test_a_wrong_callable_is_a_500_in_the_log(plain, caplog, returned):
    plain.faults = lambda request: returned()
    assert post(plain).status == 500
    assert any(record.name == "aiohttp.server" for record in caplog.records)
    caplog.clear()
    with pytest.raises(TypeError, match="faults must be callable"):
        plain.faults = Fault.reset()
    plain.faults = None
    assert post(plain).status == 200


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fault(ending="bang"),
        lambda: Fault.answer(99),
        lambda: Fault.answer(600),
        lambda: Fault.truncated(1.1),
        lambda: Fault.slow(-1),
        lambda: Fault.timeout(limit_s=float("nan")),
        lambda: Fault(executed=False),
        lambda: DocumentError(200),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match=r"must|no answer"):
        make()


names = st.sampled_from(["a", "b", "ab", "c"])
values = st.recursive(
    st.integers(0, 3) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
patterns = st.lists(st.lists(names | st.sampled_from(["*", "a*"]), min_size=1, max_size=3), min_size=1, max_size=3)


@given(values, patterns)
def test_filter_path_is_the_judges(value, segments):
    ours = fault_module.filtered(value, [".".join(pattern) for pattern in segments])
    assert ours == ({} if (kept := select(value, segments)) is NOTHING else kept)


def test_filter_path_over_several_levels():
    answer = {"a": {"b": {"c": 1, "d": 2}}, "c": 3}
    assert fault_module.filtered(answer, ["**.c"]) == {"a": {"b": {"c": 1}}, "c": 3}
    assert fault_module.filtered(answer, ["a.**"]) == {"a": answer["a"]}
    assert fault_module.filtered(answer, ["-**.c"]) == {"a": {"b": {"d": 2}}}
    assert fault_module.filtered(answer, ["a", "-a.b.d"]) == {"a": {"b": {"c": 1}}}
