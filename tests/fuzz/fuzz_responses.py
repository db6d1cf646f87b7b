"""Answers as bytes: our connection reads what urllib3's does, and whatever a bulk's say each document has one outcome.

An input's first byte says what is tried; the pieces and answers after it have 0xFF between them.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, SerializationError, TransportError
from opensearchpy.helpers import BulkIndexError
from opensearchpy.serializer import JSONSerializer
from urllib3.exceptions import NewConnectionError

from fuzzing import END, instrumented, main, outcome, text_of

with instrumented():
    from opensearch_sigv4 import _transport
    from opensearch_sigv4.core import _cython, _python
    from opensearch_sigv4.helpers._delivery import Policy, Rules, Send, Wait, deliver
    from opensearch_sigv4.helpers._documents import Chunker

sys.path.append(str(Path(__file__).parents[1]))

import test_transport as scripted

# --- answers of HTTP -----------------------------------------------------------------------------------------

REQUESTS = (scripted.GET, scripted.POST, scripted.HEAD, {**scripted.GET, "preload_content": False, "reader": "stream"})
ENDINGS = ([], [scripted.CLOSE], [scripted.RESET], [scripted.TIMEOUT])


def check_answer(choice, pieces):
    """The same response, or the same exception, from both, and from the connection that is kept or not."""
    request = REQUESTS[choice // 4 % len(REQUESTS)]
    known = _transport._SOCKETS
    _transport._SOCKETS = known | {scripted.Stepped}
    try:
        answer = [piece for piece in pieces if piece] + ENDINGS[choice // 16 % len(ENDINGS)]
        scripted.assert_same([answer, [scripted.OK]], [request, scripted.GET])
    finally:
        _transport._SOCKETS = known


# --- answers to a bulk ---------------------------------------------------------------------------------------

DOCUMENTS = (
    {"_index": "i", "_id": "a", "n": 0},
    {"_index": "i", "n": 1},
    {"_op_type": "create", "_index": "i", "_id": "c", "n": 2},
    {"_op_type": "update", "_index": "i", "_id": "u", "doc": {"n": 3}},
    {"_index": "i", "_id": "a", "n": 4},
    {"_op_type": "delete", "_index": "i", "_id": "5"},
)
SERIALIZER = JSONSerializer()
FAILURES = {
    b"r": lambda text: OpenSearchConnectionError("N/A", text, ConnectionResetError(text)),
    b"n": lambda text: OpenSearchConnectionError("N/A", text, NewConnectionError(None, text)),
    b"t": lambda text: ConnectionTimeout("TIMEOUT", text, TimeoutError(text)),
    b"2": lambda text: TransportError(402, text, {}),
    b"3": lambda text: TransportError(403, text, {}),
    b"9": lambda text: TransportError(429, text, {}),
    b"L": lambda text: TransportError(413, text, {}),
    b"G": lambda text: TransportError(504, text, {}),
    b"4": lambda text: TransportError(400, text, {}),
}
ANSWERS = {b"b": bytes, b"s": text_of, b"d": lambda data: loaded(data) if isinstance(loaded(data), dict) else data}
MAX_RETRIES = 3
RAISED = (BulkIndexError, TransportError, SerializationError)


def loaded(data):
    kind, value = outcome(json.loads, text_of(data))
    return value if kind == "returned" else None


def check_scan(data):
    for argument in (data, text_of(data)):
        result = outcome(_cython.scan_bulk_answer, argument)
        assert result == outcome(_python.scan_bulk_answer, argument), (argument, result)
        assert result[0] in ("returned", ValueError), result


def check_delivery(choice, replies):
    """Drive a delivery with these replies: what was executed is not sent again, and each document is told of once."""
    chunker = Chunker(100, 1 << 20, SERIALIZER)
    count = choice % len(DOCUMENTS) + 1
    assert chunker.fill(iter(DOCUMENTS[:count])) is None
    chunk = chunker.rest()
    lines = [bytes(chunk.body_of([position])) for position in range(count)]
    policy = Policy(choice // 6 % (MAX_RETRIES + 1), 0.5, 60, choice // 24 % 2 == 1, 1 << 20)
    steps = deliver(chunk, policy)
    reply, sent, done, in_doubt = None, Counter(), set(), set()
    replies = iter(replies)
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            settled = end.value
            break
        reply = None
        if isinstance(step, Wait):
            assert 0 <= step.seconds <= 60
            continue
        assert isinstance(step, Send)
        positions = positions_of(bytes(step.body), lines)
        assert not done.intersection(positions), "what was executed is sent again"
        sent.update(positions)
        raw = next(replies, b"")
        if raw[:1] in FAILURES:
            reply = FAILURES[raw[:1]](text_of(raw[1:]))
            in_doubt.update(positions if raw[:1] in b"rtG" else ())
        else:
            reply = ANSWERS.get(raw[:1], bytes)(raw[1:])
            executed = executed_in(reply, len(positions))
            done.update(positions[index] for index in executed or ())
            in_doubt.update(positions if executed is None else ())
    # A part is cut in halves before it is repeated.
    assert max(sent.values()) <= (policy.max_retries + 1) * (count + 1), sent
    check_settled(settled, count, done, in_doubt)


def positions_of(body, lines):
    """Which documents a body consists of, each by its lines."""
    positions = []
    while body:
        position = next(p for p, text in enumerate(lines) if body.startswith(text) and p not in positions)
        positions.append(position)
        body = body[len(lines[position]) :]
    assert positions == sorted(positions)
    return positions


def executed_in(reply, count):
    """Which of the documents an answer says to be done; None where it does not tell of each."""
    kind, answer = ("returned", reply) if isinstance(reply, dict) else outcome(json.loads, reply)
    items = answer.get("items") if kind == "returned" and isinstance(answer, dict) else None
    if not isinstance(items, list) or len(items) != count:
        return None
    found = [next(iter(item.values())) if isinstance(item, dict) and len(item) == 1 else None for item in items]
    statuses = [info.get("status") if isinstance(info, dict) else None for info in found]
    return [index for index, status in enumerate(statuses) if type(status) is int and 200 <= status < 300]


def check_settled(settled, count, done, in_doubt):
    assert [index for index, _ in settled.outcomes()] == list(range(count))
    quiet = Rules(raise_on_error=False, raise_on_exception=False, ignore_status=())
    results = list(settled.results(quiet))
    assert len(results) == count
    assert settled.succeeded == sum(ok for ok, _ in results)
    for position, (ok, item) in enumerate(results):
        assert len(item) == 1
        if position in done:
            assert ok, (position, item)
        elif ok:  # a conflict tells that the first attempt, whose answer was lost, had done it
            assert position in in_doubt, (position, item)
    raised = outcome(lambda: list(settled.results(Rules(True, True, ()))))
    assert raised[0] == "returned" or issubclass(raised[0], RAISED), raised
    assert (raised[0] == "returned") is all(ok for ok, _ in results)
    assert settled.raises(Rules(True, True, ())) is not all(ok for ok, _ in results)


def check(data):
    choice, rest = (data[0], data[1:]) if data else (0, b"")
    parts = rest.split(END)[:8]
    if choice < 128:
        check_answer(choice, parts)
    else:
        check_scan(rest)
        check_delivery(choice - 128, parts)


ITEM = b'{"index":{"_index":"i","_id":"1","status":%d,"error":{"type":"t","reason":"r"}}}'


def seeds():
    for number, pieces in enumerate(scripted.ANSWERS.values()):
        pieces = [piece for piece in pieces if isinstance(piece, bytes)]
        if sum(map(len, pieces)) < 2000:
            yield bytes((number % 128,)) + END.join(pieces)
    for number, statuses in enumerate(((201,), (201, 429), (200, 409, 503), (201, 400, 402, 404), (), (201,) * 6)):
        answer = b'{"took":1,"errors":true,"items":[' + b",".join(ITEM % status for status in statuses) + b"]}"
        for first in (b"b" + answer, b"r", b"9busy", b"LRequest size exceeded 100 bytes", b"G", b"s<html>"):
            yield bytes((128 + number + 18,)) + END.join(
                (first, b"s" + answer, b"d" + answer.replace(b"index", b"create"))
            )


if __name__ == "__main__":
    main(check, seeds)
