"""`opensearch-sigv4 bulk`: what arrives, told by a judge that shares no code with it, whatever ended the command."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import judge as judge_module
from opensearch_sigv4.cli import _reading
from opensearch_sigv4.cli._checkpoint import Checkpoint
from opensearch_sigv4.cli._reading import START, File, InputError, Reader, Shape, files_of
from opensearch_sigv4.testing import Fault, LocalDomain

COMMAND = (sys.executable, "-m", "opensearch_sigv4.cli", "bulk")
TIMEOUT_S = 120


@pytest.fixture
def domain(judge):
    with LocalDomain(upstream=judge.url, keep=1000) as running:
        yield running


class Bulk:
    """The command, started with these arguments in front of a domain."""

    def __init__(self, domain, *arguments, stdin=None, command=COMMAND, **options):
        keys = domain.credentials
        self.process = subprocess.Popen(
            [*command, *map(str, arguments), "--url", domain.url, "--region", domain.region, "--json"],
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key},
            **options,
        )

    def end(self, stdin=None):
        self.stdout, self.stderr = self.process.communicate(stdin, timeout=TIMEOUT_S)
        self.returncode = self.process.returncode
        return self

    @property
    def told(self):
        return json.loads(self.stdout.splitlines()[-1])

    @property
    def counts(self):
        return {name: self.told[name] for name in ("indexed", "refused", "malformed", "unknown") if self.told[name]}


def bulk(domain, *arguments, stdin=None):
    started = Bulk(domain, *arguments, stdin=None if stdin is None else subprocess.PIPE)
    return started.end(stdin)


def ndjson(documents):
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def numbered(count, first=0):
    return [{"n": first + number, "text": 'ü \u2028 "[{,' * (number % 3)} for number in range(count)]


def action_lines(documents):
    return b"".join(b'{"index": {}}\n' + ndjson([document]) for document in documents)


def as_csv(documents):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["n", "text", "empty"])
    writer.writerows([document["n"], document["text"] + "\n", ""] for document in documents)
    return text.getvalue().encode()


FORMATS = {
    "ndjson": ndjson,
    "bulk": action_lines,
    "json": lambda documents: json.dumps(documents).encode(),
    "indented.json": lambda documents: b"\xef\xbb\xbf\n" + json.dumps(documents, indent=2).encode() + b"\n",
    "csv": as_csv,
}


def in_two_parts(compress):
    return lambda content: compress(content[:99]) + compress(b"") + compress(content[99:])


COMPRESSIONS = {"": bytes, ".gz": in_two_parts(gzip.compress), ".zst": in_two_parts(zstandard.compress)}


def each_once(count, first=0):
    return dict.fromkeys(range(first, first + count), 1)


# --- what is read ----------------------------------------------------------------------------------------------


def test_every_format_in_every_compression_and_patterns(domain, judge, tmp_path):
    first = 0
    for name, render in FORMATS.items():
        for suffix, compress in COMPRESSIONS.items():
            (tmp_path / f"some.{name}{suffix}").write_bytes(compress(render(numbered(50, first))))
            first += 50
    result = bulk(domain, tmp_path / "s?me.*", "--index", "n", "--threads", 1, "--chunk-mb", 0.01)
    assert result.counts == {"indexed": first}
    assert result.returncode == 0
    held = judge.held("n")
    assert {int(n): times for n, times in held.items()} == each_once(first)
    assert sum(type(n) is str for n in held) == 150  # of the three CSV files
    texts = judge.held("text")
    assert texts['ü \u2028 "[{,'] == 4 * 3 * 17
    assert all("empty" not in document for document in judge.documents("n").values())


@pytest.mark.parametrize("name", FORMATS)
def test_standard_input(domain, judge, name):
    for suffix, compress in COMPRESSIONS.items():
        if name != "csv":
            result = bulk(domain, "-", "--index", suffix or "n", stdin=compress(FORMATS[name](numbered(5))))
            assert result.counts == {"indexed": 5}, result.stderr
    result = bulk(domain, "-", "--index", "n", "--format", name.split(".")[-1], stdin=FORMATS[name](numbered(5, 5)))
    assert result.counts == {"indexed": 5}, result.stderr
    assert bulk(domain, "-", "--index", "n", stdin=b"").counts == {}


def test_lines_are_passed_on_as_they_came(domain, tmp_path):
    line = b'{"z" : 1.0e5,"a":\t12345678901234567890123, "u": "\\u00fc"  }'
    (tmp_path / "a.ndjson").write_bytes(b"\n  " + line + b" \r\n\r\n" + line)
    assert bulk(domain, tmp_path / "a.ndjson", "--index", "n").counts == {"indexed": 2}
    assert domain.requests[-1].body == (b'{"index":{}}\n' + line + b"\n") * 2
    assert domain.requests[-1].target == b"/n/_bulk"
    (tmp_path / "a.json").write_bytes(b'[{"z" : 1.0e5,\n   "a": "\\n  "\r\n}]')
    assert bulk(domain, tmp_path / "a.json", "--index", "n").counts == {"indexed": 1}
    assert domain.requests[-1].body == b'{"index":{}}\n{"z" : 1.0e5,"a": "\\n  "}\n'


def test_options_reach_the_wire(domain, judge, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(10)))
    result = bulk(
        domain, tmp_path / "a.ndjson", "--index", "a b", "--pipeline", "p/q", "--compress", "--chunk-mb", 1e-9
    )
    assert result.counts == {"indexed": 10}
    assert {request.target for request in domain.requests} == {b"/a%20b/_bulk?pipeline=p%2Fq"}
    assert [request["actions"] for request in judge.requests()] == [1] * 10
    assert {request["encoding"] for request in judge.requests()} == {"gzip"}


def test_ids_and_routing_from_fields(domain, judge, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(
        b'{"id": 7, "in": {"er": "x"}}\n{"id": "8", "in.er": "y"}\n{"id": 12345678901234567890123, "in": {"er": 1}}\n'
        b'{"id": 1.5, "in": {"er": 1}}\n{"in": {"er": 1}}\n{"id": "", "in": {"er": 1}}\n{"id": 9, "in": 3}\n'
        b'{"id": "' + b"9" * 513 + b'", "in.er": 1}\n'
    )
    file = tmp_path / "a.ndjson"
    result = bulk(domain, file, "--index", "n", "--id-field", "id", "--routing-field", "in.er", "--op", "create")
    assert result.counts == {"indexed": 3, "malformed": 5}
    assert set(judge.documents("n")) == {"7", "8", "12345678901234567890123"}
    assert {entry["action"] for entry in judge.log()} == {"create"}
    assert b'{"create":{"_id":"7","routing":"x"}}\n' in domain.requests[-1].body
    reasons = ["id must be text", "no field id", "no field id", "no field in.er", "more than 512 bytes"]
    for line, reason in enumerate(reasons, 4):
        assert re.search(f"{file}:{line}: .*{reason}".encode(), result.stderr)


def test_updates_merge_and_create(domain, judge, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b'{"id": 1, "a": 1}\n{"id": 2, "a": 1}\n')
    (tmp_path / "b.ndjson").write_bytes(b'{"id": 2, "b": 2}\n{"id": 3, "b": 2}\n')
    assert bulk(domain, tmp_path / "a.ndjson", "--index", "n", "--id-field", "id").counts == {"indexed": 2}
    result = bulk(domain, tmp_path / "b.ndjson", "--index", "n", "--id-field", "id", "--op", "update")
    assert result.counts == {"indexed": 2}
    assert judge.documents("n") == {"1": {"id": 1, "a": 1}, "2": {"id": 2, "a": 1, "b": 2}, "3": {"id": 3, "b": 2}}


def test_action_lines_decide_for_themselves(domain, judge, tmp_path):
    file = tmp_path / "a"
    file.write_bytes(
        b'\xef\xbb\xbf{"create": {"_id": 1, "routing": "r"}}\n{"n": 1}\n\n'
        b'{"index":{"_index":"m","_id":"2"}}\r\n{"n": 2}\n'
        b'{"update":{"_id":"1"}}\n{"doc": {"m": 1}}\n{"delete":{"_index":"m","_id":"2"}}\n{"index":{}}\n{"n": 3}'
    )
    result = bulk(domain, file, "--index", "n")
    assert result.counts == {"indexed": 5}
    assert judge.documents("n").pop("1") == {"n": 1, "m": 1}
    assert judge.documents("m") == {}
    assert judge.held("n") == {1: 1, 3: 1}


def test_a_wrong_action_is_named_and_spoils_nothing(domain, judge, tmp_path):
    file = tmp_path / "a"
    wrong = [
        (b'{"index":{}}\n{"n": 1', "not a JSON object"),
        (b'{"index":{}\n{"n": 1}', "not a JSON object"),
        (b'{"index":{},"create":{}}\n{"n": 1}', "no action line"),
        (b'{"delete":{}}', "delete needs an _id"),
        (b'{"update":{}}\n{"doc":{}}', "update needs an _id"),
        (b'{"index":{"_type":"t"}}\n{"n": 1}', "no parameter of an action: _type"),
        (b'{"index":{"_id":"%b"}}\n{"n": 1}' % (b"i" * 513), "more than 512 bytes"),
        (b'{"index":{"_id":1.5}}\n{"n": 1}', "must be text or an integer"),
        (b'{"index":{"if_seq_no":1}}\n{"n": 1}', "go together"),
        (b'{"index":{}}\n', "no document follows"),
        (b'{"index":{"_index":""}}\n{"n": 1}', "names an index"),
        (b'{"index":{}}', "no document follows"),
    ]
    content, expected = b"", []
    for number, (lines, reason) in enumerate(wrong):
        good = b'{"index":{}}\n{"n": %d}\n' % (100 + number)
        expected.append((content.count(b"\n") + good.count(b"\n") + 1, reason))
        content += good + lines + b"\n"
    file.write_bytes(content.rstrip())
    result = bulk(domain, file, "--index", "n")
    assert result.counts == {"indexed": len(wrong), "malformed": len(wrong)}, result.stderr
    assert judge.held("n") == each_once(len(wrong), 100)
    for line, reason in expected:
        assert re.search(f"{file}:{line}: .*{reason}".encode(), result.stderr), (line, reason, result.stderr)


def test_wrong_elements_and_rows_are_named(domain, judge, tmp_path):
    array = tmp_path / "a.json"
    array.write_bytes(b'[{"n": 1},\n5, "x]", {"n": NaN},\n [], {"n": \n2}, null ,{"t": "a\nb"},{"n":3} ]\n')
    rows = tmp_path / "a.csv"
    rows.write_bytes(b'n,t\n4,"a\nb"\n5\n\n6,x,y\n7,"a"b\n8,\xff\n9,\n')
    result = bulk(domain, array, rows, "--index", "n")
    assert result.counts == {"indexed": 5, "malformed": 10}, result.stderr
    assert judge.held("n") == {1: 1, 2: 1, 3: 1, "4": 1, "9": 1}
    for place in ("2 (element 2)", "2 (element 3)", "2 (element 4)", "3 (element 5)", "4 (element 7)", "4 (element 8)"):
        assert f"{array}:{place}: not a JSON object".encode() in result.stderr
    for place in ("4: 1 fields, but", "6: 3 fields, but", "7: not a row of CSV", "8: not UTF-8"):
        assert f"{rows}:{place}".encode() in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "indexed", "reason"),
    [
        ("a.json", b'[{"n": 1}\n{"n": 2}]', 1, "line 2: a comma is missing"),
        ("a.json", b'[{"n": 1},]', 1, "line 1: an element is missing"),
        ("a.json", b'[{"n": 1}]\n[]', 1, "line 2: something follows the array"),
        ("a.json", b'[{"n": 1}, {"n": "', 1, "line 1: the file ends in the middle of an element"),
        ("a.json", b'[{"n": 1}', 1, "line 1: the file ends in the middle of the array"),
        ("a.json.zst", zstandard.compress(b'{"n": 1}\n' * 3)[:-3], 0, "ends in the middle of a zstd frame"),
        ("a.json.zst", zstandard.compress(b'{"n": 1}\n' * 3) + b"\x28\xb5\x2f\xfd", 3, "in the middle"),
        ("a.json.gz", gzip.compress(b'{"n": 1}\n' * 3)[:-3], 3, "nothing was read from it any further"),
        ("a.csv", b"n,n\n1,2\n", 0, "line 1: a header has each name once: 'n'"),
    ],
)
def test_what_cannot_be_read_to_its_end_is_named(domain, tmp_path, name, content, indexed, reason):
    (tmp_path / name).write_bytes(content)
    result = bulk(domain, tmp_path / name, "--index", "n")
    assert re.search(f"{tmp_path / name}: .*{re.escape(reason)}".encode(), result.stderr), result.stderr
    assert result.told["indexed"] <= indexed
    assert (result.returncode, result.told["complete"]) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{lines}"], "lines: --index is missing"),
        (["{actions}", "--op", "create"], "--op, --id-field and --routing-field are for documents"),
        (["{lines}", "--index", "n", "--op", "update"], "--op update needs --id-field"),
        (["nothing*", "--index", "n"], "nothing.: no file has such a name"),
        (["{lines}", "{lines}", "--index", "n"], "lines: given twice"),
        (["{lines}", "--index", "n", "--failed", "{lines}"], "both --failed and input"),
        (["{lines}", "--index", "n", "--failed", "{actions}"], "actions is not empty"),
        (["-", "--index", "n", "--checkpoint", "{dir}/c"], "a checkpoint needs files"),
        (["{lines}", "--index", "n", "--checkpoint", "{actions}"], "no checkpoint"),
        (["{lines}", "--index", "n", "--checkpoint", "{dir}/c", "--failed", "{dir}/c"], "--failed and --checkpoint"),
        (["{lines}", "--index", "n", "--checkpoint", "{dir}/no/c"], "No such file or directory"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_sent(domain, judge, tmp_path, arguments, message):
    (tmp_path / "lines").write_bytes(ndjson(numbered(3)))
    (tmp_path / "actions").write_bytes(action_lines(numbered(3)))
    names = {"dir": tmp_path, "lines": tmp_path / "lines", "actions": tmp_path / "actions"}
    result = bulk(domain, *[argument.format(**names) for argument in arguments])
    assert re.fullmatch(rf"Error: .*{message}.*\n", result.stderr.decode())
    assert result.returncode in (1, 2)
    assert judge.requests() == []
    assert (tmp_path / "actions").read_bytes() == action_lines(numbered(3))


def test_without_zstandard_the_error_names_the_command(tmp_path):
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"{}"))
    code = "import sys; sys.modules['zstandard'] = None; from opensearch_sigv4.cli import main; main()"
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
    result = subprocess.run(
        [
            *(sys.executable, "-c", code, "bulk", tmp_path / "a.zst", "--index", "n"),
            *("--url", "http://127.0.0.1:1", "--region", "us-east-1"),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **keys},
    )
    assert re.fullmatch(r"Error: zstandard is missing.* pip install 'opensearch-sigv4\[bulk\]'\n", result.stderr)


def test_without_the_extra_bulk_it_is_only_slower(domain, judge, tmp_path):
    (tmp_path / "a.ndjson.gz").write_bytes(
        gzip.compress(b'{"n": 12345678901234567890123, "t": "\\ud800"}\n{"n": 2}\n{\n')
    )
    (tmp_path / "b.csv").write_bytes("n,t\n3,ü\n".encode() + b"4,\xff\n")
    keys = domain.credentials
    missing = "sys.modules.update(dict.fromkeys(['orjson', 'isal', 'isal.igzip', 'zstandard']))"
    code = f"import sys; {missing}; from opensearch_sigv4.cli import main; main()"
    result = subprocess.run(
        [
            *(sys.executable, "-c", code, "bulk", tmp_path / "a.ndjson.gz", tmp_path / "b.csv", "--index", "n"),
            *("--id-field", "n", "--json", "--url", domain.url, "--region", domain.region),
        ],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, "AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key},
    )
    assert (json.loads(result.stdout)["indexed"], json.loads(result.stdout)["malformed"]) == (3, 2), result.stderr
    assert set(judge.documents("n")) == {"12345678901234567890123", "2", "3"}


# --- the readers alone -----------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(['"', "\\", "]", "}", "[{", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=4), values, max_size=4)


def taken(file, place=START, max_bytes=1 << 20, **shape):
    """[(document, place after it), ...] as the portions of the reader tell."""
    reader = Reader([file], Shape("n", add_ids=True, **shape), place, 1)
    found = []
    while (portion := reader.take(max_bytes)) is not None:
        assert portion.unreadable is None, portion.unreadable
        found.append((portion.body.getvalue(), portion.end))
    reader.close()
    return found


@given(
    st.lists(documents, max_size=6), st.sampled_from([None, 1]), st.integers(1, 40), st.sampled_from(sorted(FORMATS))
)
def test_any_place_is_a_place_to_go_on(tmp_path_factory, given_documents, indent, block, name):
    path = tmp_path_factory.mktemp("reading") / "a"
    if name == "bulk":
        content = action_lines(given_documents)
    elif name.endswith("json") and name != "ndjson":
        content = json.dumps(given_documents, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    elif name == "csv":
        content = as_csv([{"n": 1, "text": json.dumps(document)} for document in given_documents])
    else:
        content = ndjson(given_documents)
    path.write_bytes(content)
    file = File("a", str(path), len(content), name.split(".")[-1], "", "prefix")
    before, _reading._BLOCK_BYTES = _reading._BLOCK_BYTES, block
    try:
        whole = taken(file)
        for number, (_, place) in enumerate(whole):
            assert taken(file, place) == whole[number + 1 :]
    finally:
        _reading._BLOCK_BYTES = before
    sources = [json.loads(lines.splitlines()[1]) for lines, _ in whole]
    if name != "csv":
        assert sources == given_documents
    else:
        assert [json.loads(source["text"]) for source in sources] == given_documents
    assert len({lines.splitlines()[0] for lines, _ in whole}) == len(whole)  # each has an id of its own


def test_ids_tell_files_apart_and_know_a_file_again(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"{}\n")
        os.utime(tmp_path / name, (1, 1))
    a, b = files_of([str(tmp_path / "a"), str(tmp_path / "b")], with_identity=True)
    assert a.id_prefix != b.id_prefix
    (tmp_path / "a").rename(tmp_path / "c")
    assert files_of([str(tmp_path / "c")], with_identity=True)[0].identity == a.identity
    os.utime(tmp_path / "c", (1, 2))
    assert files_of([str(tmp_path / "c")], with_identity=True)[0].identity != a.identity


# --- what is refused, and what nobody knows --------------------------------------------------------------------


def test_what_failed_can_be_fed_again(domain, judge, tmp_path):
    file, failed = tmp_path / "a.ndjson", tmp_path / "failed"
    file.write_bytes(ndjson(numbered(30)[:20]) + b"broken\n\xff\n" + ndjson(numbered(10, 20)))
    domain.faults = lambda _: Fault.documents(lambda action: 400 if json.loads(action.source)["n"] % 3 == 0 else None)
    result = bulk(domain, file, "--index", "n", "--failed", failed, "--pipeline", "p", "--threads", 1)
    assert result.counts == {"indexed": 20, "refused": 10, "malformed": 2}
    assert result.told["statuses"] == {"400": 10}
    assert f"{file}:1: mapper_parsing_exception: failed to parse".encode() in result.stderr
    told = [json.loads(line)["failed"] for line in failed.read_bytes().splitlines() if line.startswith(b'{"failed"')]
    assert [(entry["line"], entry["outcome"]) for entry in told[:3]] == [
        (21, "malformed"),
        (22, "malformed"),
        (1, "refused"),
    ]
    assert (told[0]["text"], told[1]["base64"], told[2]["status"]) == ("broken", "/w==", 400)
    assert told[2]["reason"] == "mapper_parsing_exception: failed to parse"
    body = b"".join(line for line in failed.read_bytes().splitlines(True) if not line.startswith(b'{"failed"'))
    actions = judge_module.parse(body, None)
    assert [metadata for _, metadata, _ in actions] == [{"_index": "n", "pipeline": "p"}] * 10

    again = tmp_path / "again"
    result = bulk(domain, failed, "--failed", again)  # as it is
    assert result.counts == {"refused": 10, "malformed": 2}
    domain.faults = None
    result = bulk(domain, again)
    assert result.counts == {"indexed": 10, "malformed": 2}
    assert f"{again}:1: malformed before, at {failed}:1: malformed before, at {file}:21".encode() in result.stderr
    assert judge.executions("n") == each_once(30)


def test_a_lost_answer_leaves_documents_unknown_and_they_are_told(domain, judge, tmp_path):
    file, failed = tmp_path / "a.ndjson", tmp_path / "failed"
    file.write_bytes(ndjson(numbered(4000)))
    requests = iter(range(100))
    domain.faults = lambda _: Fault.reset(executed=True) if next(requests) == 1 else None
    result = bulk(domain, file, "--index", "n", "--failed", failed, "--threads", 1, "--chunk-mb", 0.02)
    unknown = result.told["unknown"]
    assert unknown > 100
    assert result.counts == {"indexed": 4000 - unknown, "unknown": unknown}
    assert result.returncode == 1
    assert result.stderr.count(b"may or may not be in") == 100
    assert failed.read_bytes().count(b'"outcome":"unknown"') == unknown
    assert judge.executions("n") == each_once(4000)


def test_an_answer_that_tells_too_little_leaves_documents_unknown(domain, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(5)))
    failed = tmp_path / "failed"
    with Sink("0") as sink:
        result = bulk(sink, tmp_path / "a.ndjson", "--index", "n", "--failed", failed)
    assert result.counts == {"unknown": 5}
    assert re.search(rb"a.ndjson:1: may or may not be in: .*has 0 items, not 5", result.stderr)
    assert failed.read_bytes().count(b'"status":"N/A"') == 5
    failed.unlink()
    domain.faults = lambda _: Fault.cut()
    result = bulk(domain, tmp_path / "a.ndjson", "--index", "n", "--failed", failed)
    assert result.counts == {"unknown": 5}
    assert b"a.ndjson:1: may or may not be in: the answer is no JSON: " in result.stderr
    assert len(max(failed.read_bytes().splitlines(), key=len)) < 300


def test_with_ids_lost_answers_and_throttling_leave_no_trace(domain, judge, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_bytes(ndjson(numbered(2000)))
    requests = iter(range(100))
    faults = [Fault.reset(executed=True), Fault.answer(429), Fault.answer(503, executed=True), Fault.cut()]
    domain.faults = lambda _: faults[number // 2] if (number := next(requests)) % 2 and number < 8 else None
    result = bulk(domain, file, "--index", "n", "--id-field", "n", "--op", "create", "--chunk-mb", 0.02)
    assert result.counts == {"indexed": 2000}, result.stderr
    assert judge.held("n") == each_once(2000)


def test_what_fails_every_request_ends_the_run(domain, judge, tmp_path):
    file, failed = tmp_path / "a.ndjson", tmp_path / "failed"
    file.write_bytes(ndjson(numbered(20_000)))
    requests = iter(range(1000))
    domain.faults = lambda _: Fault.answer(403, "not allowed") if next(requests) >= 2 else None
    result = bulk(domain, file, "--index", "n", "--failed", failed, "--threads", 2, "--chunk-mb", 0.02)
    assert re.search(rb"stopped: Auth.*; nothing of the request that begins at .*a.ndjson:\d+ is in", result.stderr)
    assert result.returncode == 1
    assert result.told["stopped"].startswith("AuthorizationException")
    assert result.counts == {"indexed": sum(judge.held("n").values())}
    assert next(requests) < 10


# --- how it ends -----------------------------------------------------------------------------------------------


def slowly(domain, delay_s=0.02):
    """Each answer comes late; the number of requests so far can be waited for."""
    domain.faults = lambda _: Fault.slow(delay_s)


def wait_for_requests(domain, count, process):
    deadline = time.monotonic() + TIMEOUT_S
    while domain.verified < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ndjson", []),
        ("ndjson", ["--op", "create"]),
        ("ndjson", ["--op", "create", "--id-field", "n"]),
        ("bulk.gz", []),
        ("indented.json.zst", []),
        ("csv", ["--op", "update", "--id-field", "n"]),
    ],
)
def test_a_killed_run_goes_on_with_every_document_once(domain, judge, tmp_path, name, options, seed):
    rng = random.Random(seed)
    suffix = re.search(r"(\.gz|\.zst)?$", name)[0]
    for part in range(2):
        content = FORMATS[name.removesuffix(suffix)](numbered(1500, part * 1500))
        (tmp_path / f"{part}.{name}").write_bytes(COMPRESSIONS[suffix](content))
    failed = tmp_path / "failed"
    arguments = [
        *sorted(tmp_path.glob(f"?.{name}")),
        *("--index", "n", "--checkpoint", tmp_path / "checkpoint", "--failed", failed, "--chunk-mb", 0.008),
        *options,
    ]
    refused = Fault.documents(lambda action: 400 if number_of(action.source) % 100 == 7 else None)
    domain.faults = lambda _: Fault(delay_s=0.02, choose=refused.choose)
    for _ in range(3):
        run = Bulk(domain, *arguments)
        wait_for_requests(domain, domain.verified + rng.randint(1, 12), run.process)
        time.sleep(rng.random() * 0.02)
        run.process.kill()
        assert run.end().returncode == -signal.SIGKILL
    run = bulk(domain, *arguments)
    assert run.counts == {"indexed": 2970, "refused": 30}, run.stderr
    assert {int(n): times for n, times in judge.held("n").items()} == {n: 1 for n in range(3000) if n % 100 != 7}
    entries = [json.loads(line) for line in failed.read_bytes().splitlines()]
    assert sorted(number_of(json.dumps(entry)) for entry in entries if entry.keys() & {"n", "doc"}) == [
        n for n in range(3000) if n % 100 == 7
    ]
    before = judge.requests()
    again = bulk(domain, *arguments)
    assert again.counts == run.counts
    assert b"all of this was done before" in again.stderr
    assert judge.requests() == before
    domain.faults = None
    assert bulk(domain, failed).counts == {"indexed": 30}
    assert {int(n): times for n, times in judge.held("n").items()} == each_once(3000)


def number_of(source):
    document = json.loads(source)
    return int(document.get("doc", document)["n"])


def test_a_checkpoint_is_of_one_input_and_one_way_to_send_it(domain, tmp_path):
    file, checkpoint = tmp_path / "a.ndjson", tmp_path / "checkpoint"
    file.write_bytes(ndjson(numbered(5000)))
    arguments = [file, "--index", "n", "--checkpoint", checkpoint, "--chunk-mb", 0.01]
    slowly(domain, 0.1)
    run = Bulk(domain, *arguments)
    wait_for_requests(domain, 12, run.process)
    run.process.kill()
    run.end()
    assert "place" in json.loads(checkpoint.read_bytes())
    for other, message in (
        (["--op", "create"], b"is of a run with --op none, not 'create'"),
        (["--no-ids"], b"--no-ids none, not True"),
        (["--failed", tmp_path / "failed"], b"--failed none"),
    ):
        result = bulk(domain, *arguments, *other)
        assert message in result.stderr
        assert result.returncode == 2
    second = tmp_path / "second.ndjson"
    second.write_bytes(b"{}\n")
    assert b"is of a run with 1 files, not 2" in bulk(domain, second, *arguments).stderr
    moved = file.rename(tmp_path / "b.ndjson")
    domain.faults = None
    with open(moved, "ab") as appended:
        appended.write(b"{}\n")
    assert b"was changed since" in bulk(domain, moved, *arguments[1:]).stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("options", []), ("identities", []), ("id_prefixes", ["\ud800"]), ("id_prefixes", None), ("files", 1)),
        *(
            ("place", [-1]),
            ("place", ["a"]),
            ("place", [0, 1 << 64]),
            ("place", [2]),
            ("sent", 1),
            ("failed_bytes", None),
        ),
        *(("tally", {"statuses": []}), ("tally", {"indexed": "1"}), ("tally", {"statuses": {"indexed": "1"}})),
    ],
)
def test_a_checkpoint_that_somebody_edited_is_refused(tmp_path, name, value):
    path, file = tmp_path / "checkpoint", File("a", "a", 3, None, "identity", "prefix")
    Checkpoint(str(path), [file], {}).save()
    assert Checkpoint(str(path), [file], {}).is_resumed
    path.write_text(json.dumps({**json.loads(path.read_bytes()), name: value}))
    with pytest.raises(InputError, match="no checkpoint of this version"):
        Checkpoint(str(path), [file], {})


def test_a_checkpoint_of_brackets_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="no checkpoint of this version"):
        Checkpoint(str(path), [], {})


def test_a_moved_file_is_the_same_one(domain, judge, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_bytes(ndjson(numbered(5000)))
    options = ["--index", "n", "--checkpoint", tmp_path / "checkpoint", "--chunk-mb", 0.01]
    slowly(domain, 0.1)
    run = Bulk(domain, file, *options)
    wait_for_requests(domain, 12, run.process)
    run.process.kill()
    run.end()
    domain.faults = None
    assert bulk(domain, file.rename(tmp_path / "b.ndjson"), *options).counts == {"indexed": 5000}
    assert judge.held("n") == each_once(5000)


def test_after_a_stop_the_same_command_goes_on(domain, judge, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_bytes(ndjson(numbered(5000)) + b"x\n")
    arguments = [file, "--index", "n", "--checkpoint", tmp_path / "checkpoint", "--chunk-mb", 0.02, "--threads", 2]
    requests = iter(range(1000))
    domain.faults = lambda _: Fault.answer(403, "not allowed") if next(requests) >= 3 else None
    result = bulk(domain, *arguments)
    assert b"the same command goes on at" in result.stderr
    domain.faults = None
    result = bulk(domain, *arguments)
    assert re.search(rb"going on at .*a.ndjson:\d+", result.stderr)
    assert result.counts == {"indexed": 5000, "malformed": 1}
    assert f"{file}:5001: not a JSON object".encode() in result.stderr
    assert judge.held("n") == each_once(5000)


def test_a_conflict_of_an_update_does_not_say_that_it_was_done(domain, tmp_path):
    file, checkpoint = tmp_path / "a.ndjson", tmp_path / "checkpoint"
    file.write_bytes(
        b"".join(b'{"update":{"_id":%d}}\n{"doc":{"n":%d},"doc_as_upsert":true}\n' % (n, n) for n in range(999))
    )
    arguments = [file, "--index", "n", "--checkpoint", checkpoint, "--chunk-mb", 0.004]
    slowly(domain, 0.1)
    run = Bulk(domain, *arguments)
    wait_for_requests(domain, 8, run.process)
    run.process.kill()
    run.end()
    before = json.loads(checkpoint.read_bytes())
    assert before["sent"] > before["place"]
    domain.faults = lambda _: Fault.documents(lambda action: 409)
    indexed = before["tally"]["indexed"]
    assert bulk(domain, *arguments).counts == {"indexed": indexed, "refused": 999 - indexed}


def test_without_ids_nothing_gets_one(domain, judge, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(10)))
    bulk(domain, tmp_path / "a.ndjson", "--index", "n", "--checkpoint", tmp_path / "c", "--no-ids")
    assert all(identifier.startswith("judge") for identifier in judge.documents("n"))
    bulk(domain, tmp_path / "a.ndjson", "--index", "m", "--checkpoint", tmp_path / "d")
    assert not any(identifier.startswith("judge") for identifier in judge.documents("m"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_tells_the_true_counts(domain, judge, tmp_path, number):
    file = tmp_path / "a.ndjson"
    file.write_bytes(ndjson(numbered(20_000)))
    slowly(domain, 0.1)
    run = Bulk(domain, file, "--index", "n", "--chunk-mb", 0.02)
    wait_for_requests(domain, 10, run.process)
    run.process.send_signal(number)
    run.end()
    assert run.returncode == 128 + number
    assert 0 < run.told["indexed"] < 20_000
    assert judge.executions("n") == each_once(run.told["indexed"])
    assert f"{number.name}; nothing from {file}:{run.told['indexed'] + 1} on".encode() in run.stderr
    assert b"Traceback" not in run.stderr


def test_an_interrupt_ends_waiting_for_input(domain, judge):
    run = Bulk(domain, "-", "--index", "n", "--chunk-mb", 1e-9, stdin=subprocess.PIPE)
    run.process.stdin.write(b'{"n": 1}\n{"n": 2}\n')
    run.process.stdin.flush()
    wait_for_requests(domain, 1, run.process)  # the second one waits for a third
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(TIMEOUT_S) == 128 + signal.SIGINT
    assert run.end().counts == {"indexed": 1}
    assert judge.held("n") == {1: 1}


def test_an_interrupt_does_not_wait_to_send_again(domain, judge, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(3000)))
    domain.faults = lambda _: Fault.answer(429)
    run = Bulk(domain, tmp_path / "a.ndjson", "--index", "n", "--chunk-mb", 0.02)
    wait_for_requests(domain, 10, run.process)
    started = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    run.end()
    assert time.monotonic() - started < 10
    assert run.counts == {}  # none of it was executed, and it may be sent later
    assert judge.requests() == []


def test_what_an_interrupt_gave_up_is_for_the_next_run(domain, judge, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(3000)))
    arguments = [tmp_path / "a.ndjson", "--index", "n", "--checkpoint", tmp_path / "checkpoint", "--op", "create"]
    arguments += ["--chunk-mb", 0.02, "--failed", tmp_path / "failed"]
    domain.faults = lambda _: Fault.documents(lambda action: 429 if number_of(action.source) % 2 else None)
    run = Bulk(domain, *arguments)
    wait_for_requests(domain, 10, run.process)
    run.process.send_signal(signal.SIGINT)
    run.end()
    assert run.told["refused"] > 0
    assert run.told["indexed"] == sum(judge.held("n").values())
    domain.faults = None
    run = bulk(domain, *arguments)
    assert run.counts == {"indexed": 3000}, run.stderr
    assert judge.held("n") == each_once(3000)
    assert (tmp_path / "failed").read_bytes() == b""


def test_the_second_interrupt_ends_it_at_once(domain, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(3000)))
    domain.faults = lambda _: Fault.timeout()
    run = Bulk(domain, tmp_path / "a.ndjson", "--index", "n")
    wait_for_requests(domain, 1, run.process)
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(10) == 128 + signal.SIGINT
    run.end()


# --- what it shows, and what it takes --------------------------------------------------------------------------


def test_a_terminal_shows_a_bar(domain, tmp_path):
    pty = pytest.importorskip("pty")
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(5000)))
    slowly(domain, 0.2)
    ours, theirs = pty.openpty()
    keys = domain.credentials
    process = subprocess.Popen(
        [
            *(*COMMAND, tmp_path / "a.ndjson", "--index", "n", "--chunk-mb", "0.02"),
            *("--url", domain.url, "--region", domain.region),
        ],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while block := os.read(ours, 4096):
            shown += block
    os.close(ours)
    assert process.wait(TIMEOUT_S) == 0
    assert re.search(rb"[\d,]+ documents, [\d.]+ MB/s, 0 errors .*\d+%", shown)


def test_elsewhere_it_says_a_line_now_and_then(domain, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(ndjson(numbered(3000)))
    slowly(domain, 0.2)
    keys = domain.credentials
    code = "import sys; from opensearch_sigv4.cli import _progress, main; _progress.LINES_INTERVAL_S = 0.3; main()"
    result = subprocess.run(
        [
            *(sys.executable, "-c", code, "bulk", tmp_path / "a.ndjson", "--index", "n", "--chunk-mb", "0.02"),
            *("--threads", "1", "--url", domain.url, "--region", domain.region),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
        env={**os.environ, "AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key},
    )
    assert re.search(r"^[\d,]+ documents, [\d.]+ MB/s, 0 errors, \d+ %, 0:00:\d\d left$", result.stderr, re.MULTILINE)
    assert result.stdout == "3,000 indexed, 0 refused, 0 malformed, 0 unknown\n"


def test_a_resumed_run_knows_where_its_failed_file_ends(domain, judge, tmp_path):
    """What a stopped run had written behind the checkpoint is gone, and the next one counts from there."""
    source, failed, checkpoint = tmp_path / "a.ndjson", tmp_path / "failed", tmp_path / "checkpoint"
    source.write_bytes(ndjson(numbered(400)))
    options = ("--index", "n", "--chunk-mb", "0.005", "--threads", "2", "--failed", failed, "--checkpoint", checkpoint)

    def first(request):
        if b'"n": 0,' in request.body:
            return Fault.answer(403, "no permissions")
        return Fault.documents(lambda action: 400)

    domain.faults = first
    assert bulk(domain, source, *options).returncode == 1
    seen = []
    domain.faults = lambda request: seen.append(1) or (Fault.answer(403, "no permissions") if len(seen) > 1 else None)
    assert bulk(domain, source, *options).returncode == 1
    assert failed.stat().st_size == json.loads(checkpoint.read_bytes())["failed_bytes"] == 0
    domain.faults = None
    last = bulk(domain, source, *options)
    assert last.returncode == 0, last.stderr
    assert judge.held("n") == dict.fromkeys(range(400), 1)


TWICE = (b'{"index":{"_id":"8","_id":"9"}}', b'{"index":{},"index":{}}', b'{"index":{"_i\\u0064":"8","_id":"9"}}')


@pytest.mark.parametrize("line", TWICE)
def test_a_name_twice_in_an_action_does_not_spoil_its_request(domain, judge, tmp_path, line):
    file = tmp_path / "a.bulk"
    file.write_bytes(b'{"index":{"_id":"a:b"}}\n{"n":1}\n' + line + b'\n{"n":2}\n{"index":{}}\n{"n":3}\n')
    ended = bulk(domain, file, "--index", "n")
    assert ended.counts == {"indexed": 2, "malformed": 1}
    assert b"a.bulk:3: an action with a name that is there twice" in ended.stderr
    assert judge.held("n") == {1: 1, 3: 1}


@pytest.mark.parametrize("option", ["--index", "--id-field", "--routing-field"])
def test_an_option_that_is_empty_is_no_option(domain, tmp_path, option):
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'{"n":1}\n')
    ended = bulk(domain, file, "--index", "n", option, "")
    assert ended.returncode == 2
    assert f"{option} is empty".encode() in ended.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lzma.compress(b'{"n":1}\n'), "xz is not read"),
        (bz2.compress(b'{"n":1}\n'), "bzip2 is not read"),
        ('{"n":1}\n'.encode("utf-16"), "UTF-16 is not read"),
    ],
)
def test_what_is_not_read_is_named(domain, tmp_path, content, message):
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    ended = bulk(domain, file, "--index", "n")
    assert ended.returncode == 2
    assert f"a.ndjson: {message}".encode() in ended.stderr


def test_one_thread_sends_nothing_before_the_last_request_is_settled(domain, judge, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_bytes(ndjson(numbered(400)))
    domain.faults = lambda request: Fault.answer(403, "no permissions") if b'"n": 150,' in request.body else None
    ended = bulk(domain, file, "--index", "n", "--chunk-mb", "0.005", "--threads", "1")
    assert ended.returncode == 1
    assert max(judge.held("n")) < 150


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux")
def test_a_failed_file_that_cannot_be_written_ends_the_run_with_the_true_counts(domain, judge, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'{"n":1}\nno JSON\n{"n":2}\n')
    ended = bulk(domain, file, "--index", "n", "--failed", "/dev/full")
    assert ended.returncode == 1
    assert ended.told["stopped"] == "/dev/full cannot be written: No space left on device"
    assert ended.counts.get("indexed", 0) == judge.held("n").total()


def test_what_cannot_be_read_is_in_the_json(domain, tmp_path):
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(ndjson(numbered(4000)))[:-20])
    ended = bulk(domain, file, "--index", "n")
    assert ended.returncode == 1
    assert len(ended.told["unreadable"]) == 1
    assert "a.ndjson.gz: " in ended.told["unreadable"][0]


# Linux counts for a process what its parent held when it was started: so a small one in between starts it.
MEASURED = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv[1:]])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6, flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_mb(domain, *arguments):
    """The largest resident size that the command's process had, and what it told."""
    run = Bulk(domain, *arguments, command=[sys.executable, "-c", MEASURED, *COMMAND[1:]]).end()
    assert run.returncode == 0, run.stderr
    *_, told, peak = run.stdout.splitlines()
    return float(peak), json.loads(told)


class Sink:
    """A node that answers every `_bulk`, by default with all items, and keeps nothing."""

    def __init__(self, items="(body.count(b'\\n') // 2)"):
        self._items = items

    def __enter__(self):
        code = (
            "import gzip, http.server, sys, threading\n"
            "class Handler(http.server.BaseHTTPRequestHandler):\n"
            "    protocol_version = 'HTTP/1.1'\n"
            "    def log_message(self, *_): pass\n"
            "    def do_POST(self):\n"
            "        body = self.rfile.read(int(self.headers['Content-Length']))\n"
            '        item = b\'{"index":{"_index":"n","_id":"AbCdEfGhIjKlMnOpQrSt","_version":1,"result":\'\n'
            '        item += b\'"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":12345,\'\n'
            '        item += b\'"_primary_term":1,"status":201}}\'\n'
            "        if self.headers.get('Content-Encoding'): body = gzip.decompress(body)\n"
            "        items = b','.join([item] * ITEMS)\n"
            '        answer = b\'{"took":1,"errors":false,"items":[\' + items + b\']}\'\n'
            "        self.send_response(200)\n"
            "        self.send_header('Content-Type', 'application/json')\n"
            "        self.send_header('Content-Length', str(len(answer)))\n"
            "        self.end_headers()\n"
            "        self.wfile.write(answer)\n"
            "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)\n"
            "print(server.server_address[1], flush=True)\n"
            "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
            "sys.stdin.read()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code.replace("ITEMS", self._items)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.credentials = judge_credentials()
        self.region = "us-east-1"
        return self

    def __exit__(self, *_):
        self._process.communicate(timeout=10)


def judge_credentials():
    from opensearch_sigv4.testing.domain import EXAMPLE_CREDENTIALS

    return EXAMPLE_CREDENTIALS


def write_documents(path, size, compress=None):
    """NDJSON of about this size, its documents like real ones."""
    rng = random.Random(7)
    block = ndjson({"n": n, "text": rng.randbytes(200).hex(), "tags": ["a", "b"] * 20} for n in range(2000))
    with (compress or open)(path, "wb") as file:
        for _ in range(max(1, size // len(block))):
            file.write(block)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="the peak of one child is POSIX")
def test_memory_does_not_grow_with_the_input(tmp_path):
    with Sink() as sink:
        peaks = []
        for size in (50_000_000, 150_000_000):
            write_documents(tmp_path / "a.ndjson", size)
            peak, told = peak_mb(sink, tmp_path / "a.ndjson", "--index", "n")
            assert told["complete"]
            peaks.append(peak)
    assert peaks[1] - peaks[0] < 20, peaks  # of 100 MB more of input
    assert max(peaks) < 150, peaks


@pytest.mark.full
@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.json"])
def test_a_gigabyte_fits_into_150_mb(tmp_path, name):
    path = tmp_path / name
    write_documents(path, 1_000_000_000, gzip.open if name.endswith("gz") else None)
    if name == "a.json":
        lines = tmp_path / "lines"
        path.rename(lines)
        with open(lines, "rb") as source, open(path, "wb") as array:
            array.write(b"[" + next(source))
            for line in source:
                array.write(b"," + line)
            array.write(b"]")
    with Sink() as sink:
        peak, told = peak_mb(sink, path, "--index", "n", "--checkpoint", tmp_path / "checkpoint")
    assert told["complete"]
    assert told["bytes"] > 900_000_000
    print(f"{name}: {peak:.0f} MB, {told['indexed'] / told['seconds']:,.0f} documents/s, {told['seconds']} s")
    assert peak < 150
