"""tests/judge.py answers as OpenSearch does; where osmem-server speaks of the same, the two are compared."""

import ast
import gzip
import json
from pathlib import Path

import pytest
import urllib3

import judge as judge_module


def post(judge, body, path="/i/_bulk", **headers):
    response = urllib3.request(
        "POST", judge.url + path, body=body, headers={"Content-Type": "application/x-ndjson", **headers}
    )
    return response.status, response.json()


def lines(*values):
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def items(judge, *values):
    status, answer = post(judge, lines(*values))
    assert status == 200
    return [next(iter(item.values())) for item in answer["items"]]


def test_it_imports_nothing_of_the_library():
    for node in ast.walk(ast.parse(Path(judge_module.__file__).read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
        assert not any(name.startswith("opensearch") for name in names)


def test_results_and_versions(judge):
    status, answer = post(
        judge,
        lines(
            {"index": {"_id": "1"}},
            {"n": 1},
            {"index": {"_id": 1}},
            {"n": 2},
            {"create": {"_id": "1", "_index": "j"}},
            {"n": 3},
            {"update": {"_id": "1"}},
            {"doc": {"m": 1}},
            {"update": {"_id": "1"}},
            {"doc": {"m": 1}},
            {"delete": {"_id": "1"}},
            {"index": {}},
            {"n": 4},
        ),
    )
    assert status == 200
    assert answer.keys() == {"took", "errors", "items"}
    assert answer["errors"] is False
    assert answer["items"][0] == {
        "index": {
            "_index": "i",
            "_id": "1",
            "_version": 1,
            "result": "created",
            "_shards": {"total": 2, "successful": 1, "failed": 0},
            "_seq_no": 0,
            "_primary_term": 1,
            "status": 201,
        }
    }
    told = [(action, i["_version"], i["result"], i["status"]) for item in answer["items"] for action, i in item.items()]
    assert told == [
        ("index", 1, "created", 201),
        ("index", 2, "updated", 200),
        ("create", 1, "created", 201),
        ("update", 3, "updated", 200),
        ("update", 3, "noop", 200),
        ("delete", 4, "deleted", 200),
        ("index", 1, "created", 201),
    ]
    assert judge.documents("j") == {"1": {"n": 3}}
    assert judge.held("n") == {3: 1, 4: 1}
    assert judge.executions("n") == {1: 1, 2: 3, 3: 1, 4: 1}
    assert [entry["status"] for entry in judge.log()] == [201, 200, 201, 200, 200, 200, 201]


def test_conflicts_and_missing_documents(judge):
    items(judge, {"create": {"_id": "a"}}, {"n": 1})
    told = items(
        judge,
        {"create": {"_id": "a"}},
        {"n": 2},
        {"index": {"_id": "a", "if_seq_no": 7, "if_primary_term": 1}},
        {"n": 2},
        {"index": {"_id": "a", "if_seq_no": 0, "if_primary_term": 1}},
        {"n": 3},
        {"index": {"_id": "e", "version": 5, "version_type": "external"}},
        {"n": 4},
        {"index": {"_id": "e", "version": 5, "version_type": "external"}},
        {"n": 5},
        {"index": {"_id": "e", "version": 5, "version_type": "external_gte"}},
        {"n": 6},
        {"delete": {"_id": "none"}},
        {"update": {"_id": "none2"}},
        {"doc": {"n": 7}},
        {"update": {"_id": "up"}},
        {"doc": {"n": 8}, "doc_as_upsert": True},
    )
    assert [item["status"] for item in told] == [409, 409, 200, 201, 409, 200, 404, 404, 201]
    assert told[0]["error"]["type"] == "version_conflict_engine_exception"
    assert told[0]["error"]["reason"] == "[a]: version conflict, document already exists (current version [1])"
    assert (told[6]["result"], "error" in told[6]) == ("not_found", False)
    assert told[7]["error"]["type"] == "document_missing_exception"
    assert judge.held("n") == {3: 1, 6: 1, 8: 1}
    assert judge.executions("n") == {1: 1, 3: 1, 4: 1, 6: 1, 8: 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "request body is required"),
        (b"\n", "no requests added"),
        (b'{"index":{}}\n{"n":1}', "must be terminated by a newline"),
        (b'{"index":{}}\n', "has no source line"),
        (b'{"index":{},"create":{}}\n{"n":1}\n', "Malformed action/metadata line [1]"),
        (b'{"index":{}}\n{"n":1}\n{"n":1}\n', "Malformed action/metadata line [3]"),
        (b'{"idx":{}}\n{"n":1}\n', "Malformed action/metadata line [1], found [idx]"),
        (b'{"index":{"id":"1"}}\n{"n":1}\n', "unknown parameter [id]"),
        (b'{"delete":{}}\n', "id is missing"),
        (b'{"index":{"_id":"' + b"x" * 513 + b'"}}\n{}\n', "too long"),
    ],
)
def test_a_bad_body_is_refused_as_a_whole(judge, body, reason):
    status, answer = post(judge, body)
    assert status == answer["status"] == 400
    assert reason in answer["error"]["reason"]
    assert judge.log() == []


def test_a_bad_source_is_refused_by_itself(judge):
    bad = [b"{", b"[]", b'{"n":NaN}', b'{"n":1,"n":2}', b'{"n":"\xff"}', b""]
    body = b"".join(b'{"index":{}}\n' + source + b"\n" for source in [*bad, b'{"n":1}'])
    status, answer = post(judge, body)
    assert (status, answer["errors"]) == (200, True)
    assert [item["index"]["status"] for item in answer["items"]] == [400] * len(bad) + [201]
    assert {item["index"]["error"]["type"] for item in answer["items"][:-1]} == {"mapper_parsing_exception"}
    assert judge.held("n") == {1: 1}


def test_gzip_filter_path_and_content_types(judge):
    body = gzip.compress(lines({"index": {"_id": "1"}}, {"n": 1}, {"create": {"_id": "1"}}, {"n": 1}))
    status, answer = post(
        judge, body, "/i/_bulk?filter_path=errors,items.*.status,items.*.error.t*", **{"Content-Encoding": "gzip"}
    )
    assert status == 200
    assert answer == {
        "errors": True,
        "items": [
            {"index": {"status": 201}},
            {"create": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}},
        ],
    }
    assert post(judge, lines({"delete": {"_id": "2"}}), "/i/_bulk?filter_path=nothing") == (200, {})
    assert post(judge, b"x", **{"Content-Encoding": "gzip"})[0] == 400
    assert post(judge, b"x", **{"Content-Type": "text/plain"})[0] == 406
    assert [(r["status"], r["actions"], r["encoding"]) for r in judge.requests()] == [
        (200, 2, "gzip"),
        (200, 1, ""),
        (400, 0, "gzip"),
        (406, 0, ""),
    ]


def test_it_agrees_with_osmem_server(judge, local_domain):
    body = lines(
        {"index": {"_id": "1"}},
        {"n": 1},
        {"index": {"_id": "1"}},
        {"n": 2},
        {"create": {"_id": "1"}},
        {"n": 3},
        {"update": {"_id": "1"}},
        {"doc": {"n": 4}},
        {"update": {"_id": "2"}},
        {"doc": {"n": 4}},
        {"delete": {"_id": "1"}},
        {"delete": {"_id": "1"}},
    )
    node = local_domain._running._process.url
    theirs = urllib3.request("POST", f"{node}/i/_bulk", body=body, headers={"Content-Type": "application/json"}).json()
    ours = post(judge, body)[1]

    def told(answer):
        return [
            (action, item["status"], item.get("result"), item.get("_version"), item.get("error", {}).get("type"))
            for entry in answer["items"]
            for action, item in entry.items()
        ]

    assert ours["errors"] == theirs["errors"]
    assert told(ours) == told(theirs)


def test_many_documents(judge):
    source = {"text": "x" * 100, "tags": ["a", "b"]}
    for first in range(0, 20_000, 1000):
        body = b"".join(lines({"index": {}}, {"n": n, **source}) for n in range(first, first + 1000))
        assert post(judge, body)[1]["errors"] is False
    assert judge.executions("n") == dict.fromkeys(range(20_000), 1)
    assert len(judge.requests()) == 20
