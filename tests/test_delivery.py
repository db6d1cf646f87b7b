"""The outcome of each document of a chunk, without any input or output: every reply that can come."""

import json
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, SerializationError, SSLError, TransportError
from opensearchpy.helpers import BulkIndexError
from opensearchpy.serializer import JSONSerializer
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from opensearch_sigv4.helpers._delivery import Policy, Rules, Send, Wait, deliver
from opensearch_sigv4.helpers._documents import Chunk, Chunker
from opensearch_sigv4.responses import Meaning, meaning_of

LOST = OpenSearchConnectionError("N/A", "reset", ProtocolError("Connection aborted.", ConnectionResetError()))
TIMED_OUT = ConnectionTimeout("TIMEOUT", "read", ReadTimeoutError(None, "/", "read timed out"))
UNREACHED = OpenSearchConnectionError("N/A", "refused", NewConnectionError(None, "refused"))
THROTTLED = TransportError(429, "rejected_execution_exception", {})
THROTTLED_403 = TransportError(403, '{"message":"Request throttled due to too many requests"}')
DENIED = TransportError(403, "no permissions", {})
TOO_LARGE = TransportError(413, '{"Message":"Request size exceeded 10485760 bytes"}')
GATEWAYS = [TransportError(status, "Gateway") for status in (502, 503, 504)]
NEVER_EXECUTED = [THROTTLED, TransportError(402, "capacity"), THROTTLED_403, UNREACHED]
FATE_UNKNOWN = [LOST, TIMED_OUT, *GATEWAYS, SerializationError("{", ValueError())]


def chunk_of(*actions):
    chunker = Chunker(1000, 1 << 20, JSONSerializer())
    assert chunker.fill(iter(actions)) is None
    return chunker.rest()


def indexed(*ids, op_type="index", **metadata):
    return [{"_op_type": op_type, "_index": "i", "_id": name, "n": 1, **metadata} for name in ids]


def item(op_type="index", status=201, **info):
    return {op_type: {"_index": "i", "status": status, **info}}


def answer(*items):
    return json.dumps({"took": 1, "errors": False, "items": items})


def all_done(body):
    """What a domain answers that executes everything."""
    lines = [json.loads(line) for line in body.splitlines()]
    actions = [next(iter(line.items())) for line in lines if line.keys() <= {"index", "create", "delete", "update"}]
    return answer(*(item(op, 201, _id=metadata.get("_id")) for op, metadata in actions))


def run(chunk, replies, *, max_retries=8, all_replies=True, **policy):
    """Drive a delivery with these replies, all of them (a callable gets the body); then everything is executed.

    Returns (Settled, [body, ...], [waited, ...]).
    """
    steps = deliver(
        chunk,
        Policy(
            max_retries,
            initial_backoff=policy.pop("initial_backoff", 0.5),
            max_backoff=policy.pop("max_backoff", 60),
            retry_unknown=policy.pop("retry_unknown", False),
            size_limit=policy.pop("size_limit", 1 << 20),
            **policy,
        ),
    )
    bodies, waits, replies = [], [], iter(replies)
    reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            assert not (all_replies and list(replies)), "not all replies were asked for"
            return end.value, bodies, waits
        if isinstance(step, Send):
            bodies.append(step.body)
            reply = next(replies, all_done)
            reply = reply(step.body) if callable(reply) else reply
        else:
            assert isinstance(step, Wait)
            waits.append(step.seconds)
            reply = None


def outcomes(settled):
    """Of each document: True, its status, or "unknown"."""
    rules = Rules(raise_on_error=False, raise_on_exception=False, ignore_status=())
    found = []
    for ok, result in settled.results(rules):
        [(_, info)] = result.items()
        found.append(True if ok else "unknown" if info.get("unknown") else info["status"])
    assert settled.succeeded == found.count(True)
    return found


def ids_of(body):
    return [next(iter(json.loads(line).values()))["_id"] for line in body.splitlines() if b'"_id"' in line]


def test_what_is_answered_at_once():
    settled, bodies, waits = run(chunk_of(*indexed("a", "b")), [])
    assert (outcomes(settled), len(bodies), waits) == ([True, True], 1, [])


@pytest.mark.parametrize("error", NEVER_EXECUTED, ids=repr)
def test_what_was_not_executed_is_sent_again_whatever_it_is(error):
    chunk = chunk_of({"_index": "i", "n": 1}, {"_op_type": "update", "_index": "i", "_id": "u", "script": "x"})
    settled, bodies, waits = run(chunk, [error, error])
    assert outcomes(settled) == [True, True]
    assert bodies == [chunk.body] * 3
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1


@pytest.mark.parametrize("error", FATE_UNKNOWN, ids=repr)
def test_of_what_may_have_been_executed_only_the_repeatable_is_sent_again(error):
    documents = [
        *indexed("index"),
        {"_index": "i", "n": "no id"},
        *indexed("create", op_type="create"),
        *indexed("delete", op_type="delete"),
        *indexed("update", op_type="update"),
        *indexed("seq", if_seq_no=3, if_primary_term=1),
        *indexed("version", version=3, version_type="external"),
        *indexed("routed", routing="r", pipeline="p"),
        '{"text": "without an id"}',
    ]
    settled, bodies, _ = run(chunk_of(*documents), [error])
    unknown = "unknown"
    assert outcomes(settled) == [True, unknown, True, True, unknown, unknown, unknown, True, unknown]
    assert ids_of(bodies[1]) == ["index", "create", "delete", "routed"]


def test_retry_unknown_repeats_all_of_it():
    settled, bodies, _ = run(chunk_of({"_index": "i", "n": 1}, *indexed("a")), [LOST], retry_unknown=True)
    assert (outcomes(settled), bodies[0]) == ([True, True], bodies[1])


def test_on_the_second_time_a_conflict_and_a_missing_document_mean_that_the_first_one_did_it():
    chunk = chunk_of(*indexed("c", op_type="create"), *indexed("d", op_type="delete"), *indexed("i"))
    second = answer(item("create", 409), item("delete", 404), item("index", 409))
    assert outcomes(run(chunk, [LOST, second])[0]) == [True, True, "unknown"]
    assert outcomes(run(chunk, [second])[0]) == [409, 404, 409]
    assert outcomes(run(chunk, [UNREACHED, second])[0]) == [409, 404, 409]


@pytest.mark.parametrize("status", [402, 429, 503])
def test_items_that_were_throttled_are_sent_again_alone(status):
    chunk = chunk_of(*indexed("a", "b", "c"))
    throttled = []
    settled, bodies, waits = run(
        chunk,
        [answer(item(_id="a"), item(status=status), item(_id="c"))],
        throttled=lambda: throttled.append(1),
    )
    assert outcomes(settled) == [True, True, True]
    assert [ids_of(body) for body in bodies] == [["a", "b", "c"], ["b"]]
    assert (len(waits), throttled) == (1, [1])


def test_refused_items_are_not_sent_again_and_keep_their_place():
    settled, bodies, _ = run(chunk_of(*indexed("a", "b", "c")), [answer(item(), item(status=400, error={}), item())])
    assert (outcomes(settled), len(bodies)) == ([True, 400, True], 1)


def test_retries_end():
    settled, bodies, waits = run(chunk_of(*indexed("a")), [THROTTLED] * 4, max_retries=3, max_backoff=1)
    assert (outcomes(settled), len(bodies)) == ([429], 4)
    assert [0.25 <= waits[0] <= 0.5, 0.5 <= waits[1] <= 1, 0.5 <= waits[2] <= 1] == [True] * 3
    refused = answer(item(status=429))
    assert outcomes(run(chunk_of(*indexed("a")), [refused] * 4, max_retries=3)[0]) == [429]


def test_what_was_in_doubt_stays_so_when_the_repetition_is_never_accepted():
    assert outcomes(run(chunk_of(*indexed("a")), [LOST, THROTTLED], max_retries=1)[0]) == ["unknown"]
    assert outcomes(run(chunk_of(*indexed("a")), [LOST, answer(item(status=429))], max_retries=1)[0]) == ["unknown"]
    assert outcomes(run(chunk_of(*indexed("a")), [LOST, answer(item(status=400))], max_retries=1)[0]) == ["unknown"]
    assert outcomes(run(chunk_of(*indexed("a")), [UNREACHED, answer(item(status=400))], max_retries=1)[0]) == [400]


def test_a_second_create_of_one_document_is_refused_in_any_case():
    chunk = chunk_of(*indexed("c", "c", op_type="create"))
    conflicts = answer(item("create", 409), item("create", 409))
    assert outcomes(run(chunk, [LOST, conflicts])[0]) == [True, "unknown"]


def test_nothing_is_sent_again_behind_a_later_action_of_the_same_id():
    older_throttled = answer(item(status=429), item(), item(status=429))
    settled, bodies, _ = run(chunk_of(*indexed("a", "a", "b")), [older_throttled])
    assert outcomes(settled) == [429, True, True]
    assert ids_of(bodies[1]) == ["b"]
    # Both are sent again, in their order.
    settled, bodies, _ = run(chunk_of(*indexed("a", "a")), [answer(item(status=429), item(status=429))])
    assert (outcomes(settled), ids_of(bodies[1])) == ([True, True], ["a", "a"])
    # The update may have been executed, and an index would undo it.
    settled, bodies, _ = run(chunk_of(*indexed("a"), *indexed("a", op_type="update"), *indexed("b")), [LOST])
    assert (outcomes(settled), ids_of(bodies[1])) == (["unknown", "unknown", True], ["b"])
    # Another index, or a refusal, is no later action on it.
    other = [{"_index": "other", "_id": "a", "n": 1}]
    refused = answer(item(status=429), item(), item(status=400))
    settled, bodies, _ = run(chunk_of(*indexed("a"), *other, *indexed("a")), [refused])
    assert (outcomes(settled), ids_of(bodies[1])) == ([True, True, 400], ["a"])


def test_many_failures_share_one_text_and_an_answer_is_quoted_in_short():
    settled, _, _ = run(chunk_of(*({"_index": "i", "n": n} for n in range(50))), ["x" * 100_000])
    errors = [item["index"] for _, item in settled.results(Rules(False, False, ()))]
    assert len({id(error["error"]) for error in errors}) == 1
    assert len(errors[0]["error"]) < 2000
    with pytest.raises(SerializationError, match="the answer to documents 1 to 50 of the input: "):
        list(settled.results(Rules(True, True, ())))


def test_a_limit_of_no_bytes_is_none():
    from opensearch_sigv4.responses import size_limit

    assert size_limit(TransportError(413, "Request size exceeded 0 bytes")) is None
    assert size_limit(TransportError(413, f"Request size exceeded {'9' * 5000} bytes")) is None
    assert size_limit(TOO_LARGE) == 10485760


@pytest.mark.parametrize("error", [*NEVER_EXECUTED, *FATE_UNKNOWN[:-1], TOO_LARGE, DENIED], ids=repr)
def test_without_retries_nothing_is_sent_twice(error):
    chunk = chunk_of(*indexed("a", "b"))
    settled, bodies, _ = run(chunk, [error], max_retries=0)
    assert len(bodies) == 1
    with pytest.raises(type(error)) as raised:
        list(settled.results(Rules(True, True, ())))
    assert raised.value is error
    assert outcomes(run(chunk, [answer(item(status=429), item())], max_retries=0)[0]) == [429, True]


def test_what_is_refused_as_a_whole_is_not_sent_again():
    settled, bodies, _ = run(chunk_of(*indexed("a", "b")), [DENIED])
    assert (outcomes(settled), len(bodies)) == ([403, 403], 1)
    assert settled.raises(Rules(False, True, ()))
    assert not settled.raises(Rules(False, True, (403,)))


def test_a_chunk_too_large_is_cut_into_parts_within_the_limit_that_the_domain_names():
    chunk = chunk_of(*indexed(*"abcdefgh"))
    limit = chunk.size_of(0) * 3
    named = TransportError(413, f'{{"Message":"Request size exceeded {limit} bytes"}}')
    settled, bodies, waits = run(chunk, [named])
    assert outcomes(settled) == [True] * 8
    assert [ids_of(body) for body in bodies[1:]] == [list("abc"), list("def"), list("gh")]
    assert waits == []


def test_a_chunk_too_large_is_halved_where_no_limit_is_named():
    settled, bodies, _ = run(chunk_of(*indexed(*"abcd")), [TransportError(413, "Too large"), TOO_LARGE])
    assert [ids_of(body) for body in bodies] == [list("abcd"), list("ab"), ["a"], ["b"], list("cd")]
    assert outcomes(settled) == [True] * 4


def test_the_answer_to_a_part_with_as_many_items_as_the_chunk_is_not_taken_for_the_chunks():
    settled, bodies, _ = run(chunk_of(*indexed(*"abcd")), [TOO_LARGE, answer(*[item()] * 4)], max_retries=1)
    assert [ids_of(body) for body in bodies] == [list("abcd"), list("ab"), list("cd")]
    assert outcomes(settled) == ["unknown", "unknown", True, True]


def test_a_document_too_large_is_refused_by_name_and_the_others_are_in():
    big = {"_index": "i", "_id": "big", "text": "x" * 1000}
    settled, _, _ = run(chunk_of(*indexed("a"), big, *indexed("c")), [TOO_LARGE, all_done, TOO_LARGE])
    with pytest.raises(BulkIndexError) as raised:
        list(settled.results(Rules(raise_on_error=True, raise_on_exception=True, ignore_status=())))
    [error] = raised.value.errors
    assert (error["index"]["_id"], error["index"]["status"], error["index"]["data"]) == (
        "big",
        413,
        {"text": "x" * 1000},
    )
    assert outcomes(settled) == [True, 413, True]
    # It is the document's error, not the request's.
    assert not settled.raises(Rules(raise_on_error=False, raise_on_exception=True, ignore_status=()))


@pytest.mark.parametrize("items", [[], [item()], [item()] * 3])
def test_an_answer_with_another_number_of_items_names_the_chunk(items):
    settled, bodies, _ = run(chunk_of(*indexed("a", "b")), [answer(*items)])
    assert (outcomes(settled), len(bodies)) == (["unknown"] * 2, 1)
    with pytest.raises(TransportError, match=rf"documents 1 to 2 of the input has {len(items)} items, not 2"):
        list(settled.results(Rules(True, True, ())))


@pytest.mark.parametrize("odd", [{}, [], None, 1, {"index": 1}, {"index": {"status": 201}, "create": {}}], ids=repr)
def test_an_item_that_is_no_outcome_is_unknown(odd):
    settled, _, _ = run(chunk_of(*indexed("a", "b")), [answer(item(), odd)])
    assert outcomes(settled) == [True, "unknown"]


@pytest.mark.parametrize(
    "odd",
    ["[]", "1", '"text"', "<html>", "", '{"items":', "[" * 100_000, '{"items":1}', "{}", '{"items":null}', "null"],
)
def test_what_is_no_bulk_answer_leaves_its_documents_unknown(odd):
    no_id = {"_index": "i", "n": 1}
    assert outcomes(run(chunk_of(no_id), [odd])[0]) == ["unknown"]
    assert outcomes(run(chunk_of(no_id), [json.loads(odd) if odd in ("{}", '{"items":1}') else odd])[0]) == ["unknown"]


def test_an_answer_with_a_lone_surrogate_is_read():
    text = answer(item(status=400, error="\ud800"), item(_id="\ud800")).replace("\\ud800", "\ud800")
    assert outcomes(run(chunk_of(*indexed("a", "b")), [text])[0]) == [400, True]


def test_an_answer_that_a_wrapped_client_has_parsed():
    parsed = [json.loads(answer(item(), item(status=429), item(status=400))), json.loads(answer(item()))]
    assert outcomes(run(chunk_of(*indexed("a", "b", "c")), parsed)[0]) == [True, True, 400]


def test_chunks_that_keep_no_documents_have_the_same_outcomes():
    documents = [*indexed("a"), {"_index": "i", "n": 1}, *indexed("d", op_type="delete")]
    kept = chunk_of(*documents)
    dropped = Chunk(0, kept.body, kept.ends)
    assert outcomes(run(dropped, [LOST])[0]) == outcomes(run(kept, [LOST])[0]) == [True, "unknown", True]
    assert (dropped.datum(0), kept.datum(0)) == (b'{"n":1}', {"n": 1})
    assert dropped.datum(2) is kept.datum(2) is None


@given(st.data())
def test_every_document_has_one_outcome_whatever_comes(data):
    count = data.draw(st.integers(1, 6))
    kinds = [
        lambda n: indexed(str(n))[0],
        lambda n: {"_index": "i", "n": n},
        lambda n: indexed(str(n), op_type="create")[0],
        lambda n: indexed(str(n), op_type="delete")[0],
    ]
    chunk = chunk_of(*(data.draw(st.sampled_from(kinds))(n) for n in range(count)))

    def reply(body):
        if data.draw(st.booleans()):
            return data.draw(st.sampled_from([*NEVER_EXECUTED, *FATE_UNKNOWN, TOO_LARGE, DENIED, "", "{", None]))
        statuses = [200, 201, 400, 402, 404, 409, 429, 503, "201", None]
        number = json.loads(all_done(body))["items"]
        number = len(number) if data.draw(st.integers(0, 9)) else data.draw(st.integers(0, 7))
        return answer(*(item(status=data.draw(st.sampled_from(statuses))) for _ in range(number)))

    replies = [reply] * data.draw(st.integers(0, 6))
    assert len(outcomes(run(chunk, replies, all_replies=False, retry_unknown=data.draw(st.booleans()))[0])) == count


def tls_error(reason):
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (THROTTLED, Meaning.THROTTLED),
        (THROTTLED_403, Meaning.THROTTLED),
        (TransportError(403, "x", {"Message": "Request throttled due to too many requests"}), Meaning.THROTTLED),
        (DENIED, Meaning.REFUSED),
        (TransportError(400, "x"), Meaning.REFUSED),
        (TransportError(500, "x"), Meaning.REFUSED),
        (TOO_LARGE, Meaning.TOO_LARGE),
        *((error, Meaning.UNKNOWN) for error in FATE_UNKNOWN),
        (UNREACHED, Meaning.UNREACHED),
        (OpenSearchConnectionError("N/A", "x", ConnectTimeoutError(None, "x")), Meaning.UNREACHED),
        # opensearch-py's requests connection: requests' error, urllib3's MaxRetryError, its reason
        (
            OpenSearchConnectionError("N/A", "x", OSError(MaxRetryError(None, "/", NewConnectionError(None, "x")))),
            Meaning.UNREACHED,
        ),
        (OpenSearchConnectionError("N/A", "x", OSError(MaxRetryError(None, "/", ProtocolError()))), Meaning.UNKNOWN),
        (SSLError("N/A", "x", OSError(tls_error("CERTIFICATE_VERIFY_FAILED"))), Meaning.REFUSED),
        (SSLError("N/A", "x", OSError(tls_error("WRONG_VERSION_NUMBER"))), Meaning.REFUSED),
        (SSLError("N/A", "x", OSError(tls_error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"))), Meaning.UNKNOWN),
        (SSLError("N/A", "x", OSError(ssl.SSLEOFError())), Meaning.UNKNOWN),
        (OpenSearchConnectionError("N/A", "x", ValueError()), Meaning.UNKNOWN),
        (ValueError(), Meaning.UNKNOWN),
    ],
    ids=repr,
)
def test_what_an_exception_means(error, meaning):
    assert meaning_of(error) is meaning


def test_what_aiohttp_says():
    aiohttp = pytest.importorskip("aiohttp")
    refused = aiohttp.ClientConnectorError(None, OSError())
    assert meaning_of(OpenSearchConnectionError("N/A", "x", refused)) is Meaning.UNREACHED
    assert meaning_of(OpenSearchConnectionError("N/A", "x", aiohttp.ServerDisconnectedError())) is Meaning.UNKNOWN
    assert meaning_of(ConnectionTimeout("TIMEOUT", "x", aiohttp.ConnectionTimeoutError())) is Meaning.UNREACHED
    assert meaning_of(ConnectionTimeout("TIMEOUT", "x", aiohttp.ServerTimeoutError())) is Meaning.UNKNOWN
