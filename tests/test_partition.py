"""`index_partition`, the body of a task: what arrives, what is told of the rest, and what another attempt changes."""

import functools
import json
import os
import pickle
import threading
from decimal import Decimal
from types import SimpleNamespace

import pytest
from opensearchpy import TransportError
from opensearchpy.exceptions import AuthorizationException
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError

from commands import SECRET_KEY, Commands
from opensearch_sigv4.integrations import DocumentsRefused, Summary, index_partition
from opensearch_sigv4.integrations._partition import Job
from opensearch_sigv4.testing import Fault, LocalDomain


def of(domain):
    return {"url": domain.url, "region": domain.region, "credentials": domain.credentials}


@pytest.fixture
def to(domain):
    return of(domain)


@pytest.fixture
def commands(capfdbinary, monkeypatch):
    return Commands(capfdbinary, monkeypatch)


def numbers(count):
    return [{"n": n, "name": f"number {n}"} for n in range(count)]


def failed(choose):
    """A fault of the documents whose source `choose` gives a status for."""
    return Fault.documents(lambda action: choose(json.loads(action.source)))


# --- what arrives -----------------------------------------------------------------------------------------------


def test_every_document_arrives_once_and_is_counted(domain, judge, to):
    summary = index_partition(numbers(2500), "i", id_field="n", **to)
    assert summary == Summary(indexed=2500)
    assert summary.complete
    assert summary.documents == 2500
    assert judge.documents("i") == {str(document["n"]): document for document in numbers(2500)}
    assert judge.executions("n") == dict.fromkeys(range(2500), 1)
    assert [request["encoding"] for request in judge.requests()] == ["gzip"] * 3


def test_names_without_an_underscore_are_fields(judge, to):
    """opensearch-py's helpers take `version`, `routing` and others out of a document; Debian's packages have one."""
    document = {"id": "a", "version": "1.2-3", "routing": "r", "pipeline": "p", "parent": 1, "doc": 2, "script": 3}
    for op_type, index in (("index", "i"), ("create", "c"), ("update", "u")):
        assert index_partition([document], index, id_field="id", op_type=op_type, **to).indexed == 1
        assert judge.documents(index) == {"a": document}


def test_metadata_are_those_of_the_helpers(judge, to):
    documents = [
        {"_id": "a", "_index": "j", "n": 1},
        {"_id": "b", "_source": {"n": 2, "_source": 3}},
        {"_id": "c", "_op_type": "create", "n": 3},
        {"_id": "b", "_op_type": "update", "doc": {"more": 4}},
        {"_id": "c", "_op_type": "delete"},
        {"_id": "d", "_routing": "r", "n": 5},
    ]
    assert index_partition(documents, "i", **to) == Summary(indexed=6)
    assert judge.documents("j") == {"a": {"n": 1}}
    assert judge.documents("i") == {"b": {"n": 2, "_source": 3, "more": 4}, "d": {"n": 5}}


def test_mappings_and_generators(judge, to):
    from collections import ChainMap

    assert index_partition((ChainMap({"n": n}) for n in range(3)), "i", id_field="n", **to).indexed == 3
    assert judge.held("n") == dict.fromkeys(range(3), 1)


def test_fields_for_id_and_routing(judge, domain, to):
    documents = [{"key": "a", "tenant": 7}, {"key": 5, "tenant": "t"}]
    assert index_partition(documents, "i", id_field="key", routing_field="tenant", **to).indexed == 2
    [request] = domain.requests
    actions = [json.loads(line) for line in _body(request).split(b"\n")[:-1:2]]
    assert actions == [
        {"index": {"_id": "a", "routing": "7"}},
        {"index": {"_id": "5", "routing": "t"}},
    ]


def _body(request):
    import gzip

    return gzip.decompress(request.body)


def test_an_attempt_that_runs_again_doubles_nothing(judge, to):
    documents = numbers(30)
    for _ in range(2):
        assert index_partition(documents, "i", id_prefix="load-7-", **to).indexed == 30
    assert judge.documents("i") == {f"load-7-{n}": document for n, document in enumerate(documents)}
    for _ in range(2):
        index_partition(documents, "without", **to)
    assert judge.held("n") == dict.fromkeys(range(30), 3)


def test_update_and_delete(judge, to):
    index_partition(numbers(4), "i", id_field="n", **to)
    assert index_partition([{"n": 1, "more": True}], "i", id_field="n", op_type="update", **to).indexed == 1
    assert index_partition([{"n": 2}, {"n": 99}], "i", id_field="n", op_type="delete", **to) == Summary(
        indexed=1, existing=1
    )
    assert judge.documents("i") == {
        "0": {"n": 0, "name": "number 0"},
        "1": {"n": 1, "name": "number 1", "more": True},
        "3": {"n": 3, "name": "number 3"},
    }


def test_what_was_created_before_is_told_apart(to):
    assert index_partition(numbers(3), "i", id_field="n", op_type="create", **to) == Summary(indexed=3)
    summary = index_partition(numbers(5), "i", id_field="n", op_type="create", **to)
    assert summary == Summary(indexed=2, existing=3)
    assert summary.complete


def test_several_requests_in_flight(judge, to):
    assert index_partition(numbers(300), "i", id_field="n", chunk_size=10, concurrency=4, **to).indexed == 300
    assert judge.executions("n") == dict.fromkeys(range(300), 1)


# --- what does not arrive ----------------------------------------------------------------------------------------


def test_refused_documents_are_counted_and_kept(domain, judge, to, tmp_path, commands):
    domain.faults = lambda request: failed(lambda source: 400 if source["n"] in (3, 7) else None)
    options = {"id_field": "n", "pipeline": "p", "failed_path": str(tmp_path / "failed"), "partition": "00002"}
    summary = index_partition(numbers(10), "i", **options, **to)
    assert (summary.indexed, summary.refused, summary.statuses) == (8, 2, {"400": 2})
    assert not summary.complete
    assert summary.reasons == ["mapper_parsing_exception: failed to parse"]
    file = tmp_path / "failed" / "part-00002.ndjson"
    assert summary.failed_files == [str(file)]
    assert os.listdir(file.parent) == [file.name]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["failed"] == {
        "file": file.name,
        "line": 4,
        "outcome": "refused",
        "status": 400,
        "reason": "mapper_parsing_exception: failed to parse",
    }
    assert lines[1:3] == [{"index": {"_id": "3", "_index": "i", "pipeline": "p"}}, {"n": 3, "name": "number 3"}]

    # The command takes the file, when what was wrong is mended.
    domain.faults = None
    sent = commands("bulk", file, "--url", domain.url, "--region", domain.region)
    assert sent.status == 0, sent.stderr
    assert judge.held("n") == dict.fromkeys(range(10), 1)


def test_the_file_says_where_each_was(domain, to, tmp_path):
    domain.faults = lambda request: failed(lambda source: 400)
    documents = [{"n": 0}, 7, {"n": float("nan")}, {"n": 3}, None, {"n": 5}, {"n": 6}]
    index_partition(documents, "i", chunk_size=2, failed_path=str(tmp_path), partition="0", **to)
    told = [json.loads(line).get("failed") for line in (tmp_path / "part-0.ndjson").read_text().splitlines()]
    places = [(one["line"], one["outcome"]) for one in told if one]
    assert sorted(places) == [(n, "refused" if n in (1, 4, 6, 7) else "malformed") for n in range(1, 8)]


def test_the_file_is_that_of_the_last_attempt(domain, to, tmp_path):
    options = {"id_field": "n", "failed_path": str(tmp_path), "partition": "1", **to}
    domain.faults = lambda request: failed(lambda source: 400)
    index_partition(numbers(3), "i", **options)
    assert len((tmp_path / "part-1.ndjson").read_text().splitlines()) == 9
    domain.faults = lambda request: failed(lambda source: 400 if source["n"] == 2 else None)
    index_partition(numbers(3), "i", **options)
    assert len((tmp_path / "part-1.ndjson").read_text().splitlines()) == 3
    domain.faults = None
    assert index_partition(numbers(3), "i", **options).failed_files == []
    assert os.listdir(tmp_path) == []


def test_an_attempt_that_ends_early_leaves_no_file(domain, to, tmp_path):
    def documents():
        yield from numbers(3)
        raise RuntimeError("the rows ended")

    domain.faults = lambda request: failed(lambda source: 400)
    with pytest.raises(RuntimeError, match="the rows ended"):
        index_partition(documents(), "i", chunk_size=1, failed_path=str(tmp_path), **to)
    assert os.listdir(tmp_path) == []


def test_a_uri_is_written_by_pyarrow(domain, to, tmp_path):
    pytest.importorskip("pyarrow.fs", reason="the extras spark and dask bring pyarrow")
    domain.faults = lambda request: failed(lambda source: 400)
    options = {"failed_path": f"{tmp_path.as_uri()}/new/failed/", "partition": "0", **to}
    for _ in range(2):
        index_partition(numbers(1), "i", **options)
        assert len((tmp_path / "new/failed/part-0.ndjson").read_text().splitlines()) == 3
    domain.faults = None
    index_partition(numbers(1), "i", **options)
    assert os.listdir(tmp_path / "new/failed") == []


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"n": float("nan")}, "Out of range float values are not JSON compliant"),
        ({"key": None, "n": 1}, None),
        ({"n": 1, "key": object()}, "text or an integer is needed, not object"),
        ({"n": 1, "key": ""}, "key: it is empty"),
        ({"n": 1, "key": True}, "key: text or an integer is needed, not bool"),
        ({"n": 1, "key": 1.5}, "key: text or an integer is needed, not float"),
        ({"n": 1, "key": "é" * 257}, "key: more than 512 bytes"),
        ({"n": 1}, "key: it is missing or null"),
    ],
)
def test_what_is_no_document_is_refused_here(judge, to, tmp_path, document, reason):
    if "key" not in document and reason != "key: it is missing or null":
        document = {**document, "key": "k"}
    documents = [{"n": 0, "key": "a"}, document, {"n": 2, "key": "b"}]
    summary = index_partition(documents, "i", id_field="key", failed_path=str(tmp_path), partition="0", **to)
    assert (summary.indexed, summary.refused, summary.statuses) == (2, 1, {"malformed": 1})
    assert judge.held("n") == {0: 1, 2: 1}
    assert reason is None or reason in summary.reasons[0]
    [line] = (tmp_path / "part-0.ndjson").read_text().splitlines()
    assert json.loads(line)["failed"]["outcome"] == "malformed"
    text = json.loads(line)["failed"]["text"]
    assert text == repr(document) or json.loads(text) == document


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (7, "a mapping is needed, not int"),
        (None, "a mapping is needed, not NoneType"),
        ({"_source": "{}"}, "_source: a mapping is needed, not str"),
        ({"_op_type": "upsert"}, "_op_type: one of index, create, update, delete is needed, not 'upsert'"),
    ],
)
def test_what_is_no_document_at_all_is_refused_alone(judge, to, document, reason):
    summary = index_partition([{"n": 1}, document, {"n": 2}], "i", **to)
    assert (summary.indexed, summary.refused, summary.reasons) == (2, 1, [reason])
    assert judge.held("n") == {1: 1, 2: 1}


@pytest.mark.parametrize(
    "index", ["Logs", "_logs", "-logs", "+logs", "a,b", "a*", "a b", "a/b", "a:b", "..", "é" * 256]
)
def test_a_name_that_no_new_index_can_have(domain, to, index):
    domain.faults = lambda request: Fault.answer(404) if request.method == "HEAD" else None
    with pytest.raises(ValueError, match=r"cannot be the name of a new one|a path segment|\.\."):
        Job(index=index, **to).check()
    domain.faults = lambda request: Fault.answer(200) if request.method == "HEAD" else None
    Job(index="<logs-{now/d}>", **to).check()


@pytest.mark.parametrize("id_prefix", [None, "p-"])
@pytest.mark.parametrize("op_type", ["update", "delete", "create"])
def test_what_needs_an_id(to, op_type, id_prefix):
    """By an id that is made here, one document would be taken for another in an attempt with another order."""
    summary = index_partition([{"n": 1, "_op_type": op_type}], "i", id_prefix=id_prefix, **to)
    assert summary.reasons == ([f"{op_type} needs an _id"] if op_type != "create" or id_prefix else [])


def test_a_document_that_has_its_id_is_created(judge, to):
    summary = index_partition([{"n": 1}, {"_id": "a", "n": 2}], "i", id_prefix="p-", op_type="create", **to)
    assert (summary.indexed, summary.refused, summary.reasons) == (1, 1, ["create needs an _id"])
    assert judge.documents("i") == {"a": {"n": 2}}


def test_attempts_with_their_rows_in_another_order(judge, to):
    """As an engine gives them after a shuffle: the last one is what there is."""
    documents = numbers(30)
    with pytest.raises(RuntimeError):
        index_partition(_ending(documents[:20]), "i", id_prefix="p-", chunk_size=5, **to)
    assert index_partition(documents[::-1], "i", id_prefix="p-", chunk_size=5, **to).indexed == 30
    assert judge.held("n") == dict.fromkeys(range(30), 1)


def _ending(documents):
    yield from documents
    raise RuntimeError("killed")


def test_what_may_not_be_executed_twice_is_not(domain, judge, to):
    """By a job of updates, which may, documents with an operation of their own are refused."""
    domain.faults = lambda request: Fault.reset(executed=True) if domain.verified == 1 else None
    summary = index_partition([{"_op_type": "index", "n": 1}, {"n": 2, "_id": "a"}], "i", op_type="update", **to)
    assert (summary.indexed, summary.refused) == (1, 1)
    assert summary.reasons == ["_op_type: not beside op_type='update'"]
    assert judge.held("n") == {2: 1}


def test_a_part_has_a_name_that_leaves_its_directory_not(to):
    with pytest.raises(ValueError, match="partition: letters, digits"):
        index_partition([], "i", partition="../a", **to)


@pytest.mark.parametrize("value", [7.0, Decimal("7"), 7])
def test_a_whole_number_is_an_id(judge, to, value):
    """pandas makes floats of integers where some are missing."""
    index_partition([{"key": value, "n": 1}], "i", id_field="key", **to)
    assert list(judge.documents("i")) == ["7"]


@pytest.mark.parametrize(
    "fault", [Fault.throttled(), Fault.documents(lambda action: 429), Fault.reset(executed=True), Fault.forbidden()]
)
def test_what_another_attempt_may_mend_is_raised(domain, to, fault):
    domain.faults = lambda request: fault
    with pytest.raises(TransportError):
        index_partition(numbers(3), "i", id_field="n", max_retries=0, **to)


def test_without_ids_an_attempt_that_may_have_been_executed_is_not_repeated(domain, judge, to, tmp_path):
    domain.faults = lambda request: Fault.reset(executed=True)
    summary = index_partition(numbers(3), "i", failed_path=str(tmp_path), partition="0", **to)
    assert (summary.indexed, summary.unknown) == (0, 3)
    assert judge.executions("n") == dict.fromkeys(range(3), 1)
    line = json.loads((tmp_path / "part-0.ndjson").read_text().splitlines()[0])
    assert line["failed"]["outcome"] == "unknown"


def test_throttling_that_ends_is_waited_for(domain, judge, to):
    throttled = iter(range(3))
    domain.faults = lambda request: Fault.throttled() if next(throttled, None) is not None else None
    assert index_partition(numbers(3), "i", id_field="n", **to).indexed == 3
    assert judge.executions("n") == dict.fromkeys(range(3), 1)


def test_no_thread_and_no_connection_stays(domain, to):
    before = threading.active_count()
    index_partition(numbers(10), "i", concurrency=3, **to)
    assert threading.active_count() == before


# --- the account -------------------------------------------------------------------------------------------------


def test_summaries_add_up():
    first = Summary(1, 2, 3, 4, {"400": 2, "429": 1}, ["a", "b"], ["f"])
    second = Summary(10, 0, 1, 0, {"400": 1}, ["b", "c"], ["g"])
    assert sum([first, second], Summary()) == Summary(11, 2, 4, 4, {"400": 3, "429": 1}, ["a", "b", "c"], ["f", "g"])
    assert sum([first, second]) == first + second
    with pytest.raises(TypeError):
        first + 1
    assert str(first) == "1 indexed, 2 existing, 3 refused, 4 unknown (a; b)"
    assert json.loads(json.dumps(first.as_dict()))["documents"] == 10
    assert pickle.loads(pickle.dumps(first)) == first
    refused = pickle.loads(pickle.dumps(DocumentsRefused(first)))
    assert refused.summary == first
    assert str(first) in str(refused)


def test_reasons_are_few(domain, to):
    domain.faults = lambda request: Fault.documents(lambda action: _error(action.id))
    summary = index_partition(numbers(50), "i", id_field="n", **to)
    assert summary.refused == 50
    assert len(summary.reasons) == 10


def _error(identifier):
    from opensearch_sigv4.testing.faults import DocumentError

    return DocumentError(400, "parse", f"no {identifier}")


# --- between processes -------------------------------------------------------------------------------------------


def test_it_can_be_pickled(to):
    call = pickle.loads(pickle.dumps(functools.partial(index_partition, index="i", id_field="n", **to)))
    assert call(numbers(2)).indexed == 2


def test_credentials_are_looked_for_where_it_runs(domain, monkeypatch):
    job = pickle.dumps(Job(url=domain.url, index="i", region=domain.region, id_field="n"))
    assert SECRET_KEY.encode() not in job
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", domain.credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", domain.credentials.secret_key)
    from opensearch_sigv4 import credentials as module

    monkeypatch.setattr(module, "_defaults", {})
    job = pickle.loads(job)
    assert job.run(numbers(2), job.entry, "0").indexed == 2


def test_a_job_shows_no_secret_and_refuses_what_belongs_to_this_process(to):
    assert SECRET_KEY not in repr(Job(index="i", **to))
    mutable = SimpleNamespace(access_key="AKIDEXAMPLE", secret_key=SECRET_KEY, token=None)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Job(index="i", **{**to, "credentials": mutable}))


# --- before any task ---------------------------------------------------------------------------------------------


def test_a_check_executes_nothing(domain, judge, to):
    Job(index="i", **to).check()
    Job(index="i", **{**to, "client_options": {"timeout": 3}}).check()
    assert judge.log() == []
    assert [request.target for request in domain.requests] == [b"/i/_bulk", b"/i"] * 2


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"url": "http://127.0.0.1:9"}, OpenSearchConnectionError, "Connection refused"),
        ({"url": "search.example.com"}, ValueError, "url"),
        ({"op_type": "upsert"}, ValueError, "op_type: one of index, create, update, delete is needed, not 'upsert'"),
        ({"chunk_size": 0}, ValueError, "chunk_size: at least 1"),
        ({"max_retries": -1}, ValueError, "max_retries: at least 0"),
        ({"failed_path": __file__}, ValueError, "is a file, a directory is needed"),
    ],
    ids=str,
)
def test_what_is_wrong_for_all_is_said_before(domain, to, arguments, error, text):
    with pytest.raises(error, match=text):
        Job(**{"index": "i", **to, **arguments}).check()


def test_an_index_that_has_to_be_there(domain, to):
    domain.faults = lambda request: Fault.answer(404) if request.method == "HEAD" else None
    Job(index="i", **to).check()
    with pytest.raises(ValueError, match=f"there is no 'i' at {domain.url}, and create_index is false"):
        Job(index="i", create_index=False, **to).check()


def test_a_refusal_is_said_before(domain, to):
    domain.faults = lambda request: Fault.forbidden()
    with pytest.raises(AuthorizationException) as raised:
        Job(index="i", **to).check()
    assert f"{domain.url} was asked before any task was started" in raised.value.__notes__


def test_a_pipeline_that_is_not_there(real_domain):
    with pytest.raises(ValueError, match="pipeline: there is no 'nowhere' at"):
        Job(index="i", pipeline="nowhere", **of(real_domain)).check()


def test_a_url_that_leads_elsewhere():
    with LocalDomain() as domain, pytest.raises(TransportError, match="no handler found"):
        Job(index="i", **{**of(domain), "url": f"{domain.url}/elsewhere"}).check()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_domain_is_for_the_tasks(domain, to, status):
    domain.faults = lambda request: Fault.answer(status)
    Job(index="i", **to).check()


def test_without_credentials_here_an_answer_is_enough(running_domain, caplog, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    running_domain.reset()
    to = {"url": running_domain.url, "region": running_domain.region}
    Job(index="i", **to).check()
    assert "those of the tasks' machines could not be tried" in caplog.text
    assert running_domain.refused == 1
    with pytest.raises(OpenSearchConnectionError):
        Job(index="i", **{**to, "url": "http://127.0.0.1:9"}).check()
    running_domain.reset()
