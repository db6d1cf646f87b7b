"""bench/bulk.py runs, all its rows are correct, and it would tell if one were not. No time is asserted."""

import contextlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

BENCH = Path(__file__).resolve().parents[1] / "bench"
COUNT = 2000


@pytest.fixture
def bulk(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("bulk")
    for name in ("bulk", "connection", "sign", "harness"):
        sys.modules.pop(name, None)


@pytest.fixture
def documents(bulk, tmp_path):
    path = tmp_path / "documents.ndjson"
    _, ids, meaning = bulk.write_documents(path, COUNT)
    return path, ids, meaning


@pytest.fixture
def sink(bulk, documents):
    with contextlib.closing(bulk.Sink(documents[1])) as sink:
        yield sink


def test_every_row_is_correct(tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, BENCH / "bulk.py", "--quick", "--json", output]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    results = json.loads(output.read_text(encoding="utf-8"))
    assert results["problems"] == []
    assert list(results["encodings"]) == ["plain", "gzip"]
    for rows in results["encodings"].values():
        assert {"opensearch-py, unsigned", "opensearch-py, signed", "ours (python)"} <= set(rows)
        assert {result["correct"] for result in rows.values()} == {"yes"}
    assert "our command" in results["encodings"]["plain"]
    assert results["targets"]


def a_round(bulk, sink, path, row="opensearch-py, signed", encoding="plain", change=lambda actions: None):
    """(what a client says of a round, what the sink says of it)."""
    actions = [
        {"_index": bulk.INDEX, "_id": document[bulk.KEY], "_source": document}
        for document in map(json.loads, path.read_bytes().splitlines())
    ]
    change(actions)
    with contextlib.ExitStack() as clients, pytest.MonkeyPatch.context() as patch:
        client = bulk._client
        patch.setattr(bulk, "_client", lambda *args, **options: clients.enter_context(client(*args, **options)))
        indexed, failed = bulk.ROWS[row](sink.port, encoding)(actions)
    reply = {"indexed": indexed, "reported": sorted(bulk._reported(told) for told in failed)}
    return reply, sink.tell()


@pytest.mark.parametrize("encoding", ["plain", "gzip"])
def test_a_right_row_is_right(bulk, sink, documents, encoding):
    path, ids, meaning = documents
    reply, seen = a_round(bulk, sink, path, encoding=encoding)
    assert bulk.problem(bulk.SIGNED, encoding, reply, seen, meaning, ids) == ""
    assert reply["reported"] == sorted([(ids[500], 400), (ids[1500], 400)])
    assert seen["requests"] == COUNT // 500


def test_a_wrong_encoding_or_signature_is_seen(bulk, sink, documents, monkeypatch):
    path, ids, meaning = documents
    reply, seen = a_round(bulk, sink, path)
    assert "encodings" in bulk.problem(bulk.SIGNED, "gzip", reply, seen, meaning, ids)
    assert "signatures" in bulk.problem(bulk.UNSIGNED, "plain", reply, seen, meaning, ids)
    reply, seen = a_round(bulk, sink, path, bulk.UNSIGNED)
    assert bulk.problem(bulk.UNSIGNED, "plain", reply, seen, meaning, ids) == ""
    assert "signatures" in bulk.problem(bulk.SIGNED, "plain", reply, seen, meaning, ids)
    monkeypatch.setattr(bulk, "SECRET_KEY", "another")  # the one that signatures are judged by
    reply, seen = a_round(bulk, sink, path)
    assert "InvalidSignature" in bulk.problem(bulk.SIGNED, "plain", reply, seen, meaning, ids)
    head = b"POST /_bulk HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a\r\n\r\n"
    assert bulk.signature(head, b"") == "IncompleteSignatureException"


def test_a_sink_that_drops_a_document_makes_the_row_wrong(bulk, sink, documents):
    path, ids, meaning = documents
    sink.drops = 1
    reply, seen = a_round(bulk, sink, path)
    found = bulk.problem(bulk.SIGNED, "plain", reply, seen, meaning, ids)
    assert found == f"documents sent: {COUNT - 1}, not {COUNT}"
    result = bulk._result([{**dict.fromkeys(("wall_us", "cpu_us", "peak_mb", "grown_mb"), 1.0), **reply}], seen, found)
    assert result["correct"] == "WRONG"


@pytest.mark.parametrize(
    "change",
    [
        lambda actions: actions[3].update(_source={**actions[3]["_source"], "size_bytes": 1}),
        lambda actions: actions[3].update(_id=actions[4]["_id"]),
        lambda actions: actions[3].update(_op_type="create"),
        lambda actions: actions[3].update(_index="other"),
        lambda actions: actions.append(actions[3]),
        lambda actions: actions.pop(3),
    ],
)
def test_other_documents_are_seen(bulk, sink, documents, change):
    path, ids, meaning = documents
    reply, seen = a_round(bulk, sink, path, change=change)
    assert "their hashes" in bulk.problem(bulk.SIGNED, "plain", reply, seen, meaning, ids)


@pytest.mark.parametrize("order", [1, -1])
def test_order_does_not_matter(bulk, sink, documents, order):
    path, ids, meaning = documents
    reply, seen = a_round(bulk, sink, path, change=lambda actions: actions.sort(key=str, reverse=order < 0))
    assert bulk.problem(bulk.SIGNED, "plain", reply, seen, meaning, ids) == ""


def test_a_wrong_report_is_seen(bulk, sink, documents):
    path, ids, meaning = documents
    reply, seen = a_round(bulk, sink, path)

    def found(**changes):
        return bulk.problem(bulk.SIGNED, "plain", {**reply, **changes}, seen, meaning, ids)

    reported = reply["reported"]
    assert found() == ""
    assert "failures reported" in found(reported=reported[:1])
    assert "failures reported" in found(reported=[*reported, reported[0]])
    assert "failures reported" in found(reported=[reported[0], (reported[1][0], 429)])
    assert "documents indexed" in found(indexed=COUNT)


def test_the_sink_answers_as_opensearch_does(bulk, sink, documents):
    path, ids, _ = documents
    lines = path.read_bytes().splitlines()[499:502]
    body = b"".join(b'{"index":{}}\n' + line + b"\n" for line in lines)

    def post(query="", **headers):
        url = f"http://127.0.0.1:{sink.port}/packages/_bulk{query}"
        return urllib3.request("POST", url, body=body, headers=headers)

    whole = post().json()
    assert [(item["index"]["_id"], item["index"]["status"]) for item in whole["items"]] == list(
        zip(ids[499:502], (201, 400, 201), strict=True)
    )
    assert whole["errors"] is True
    zipped = post(**{"Accept-Encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.json() == whole
    some = post("?filter_path=errors,items.*.status").json()
    assert some == {"errors": True, "items": [{"index": {"status": status}} for status in (201, 400, 201)]}
    errors = post("?filter_path=items.*.error").json()
    assert errors == {"items": [{"index": {"error": whole["items"][1]["index"]["error"]}}]}


def test_documents_where_the_data_is_missing(bulk, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "DATA", tmp_path / "nothing")
    first, second = tmp_path / "1", tmp_path / "2"
    what, ids, meaning = bulk.write_documents(first, COUNT)
    assert (what, len(set(ids)), meaning["count"]) == ("generated documents", COUNT, COUNT)
    assert 450 < first.stat().st_size / COUNT < 700
    bulk.write_documents(second, COUNT)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_reached(bulk):
    assert [bulk.reached(ratio, 6, 9, "x") for ratio in (5.9, 6, 9.1)] == ["missed", "target", "aim"]
    assert [bulk.reached(size, 8, 3, "%") for size in (8.1, 8, -1)] == ["missed", "target", "aim"]
