"""`to_opensearch` on Dask's schedulers: threads, and workers that are killed while the domain throttles."""

import os
import pickle
import signal
import threading
from collections import Counter
from decimal import Decimal

import pytest

dask = pytest.importorskip("dask", reason="needs the extra dask")
pytest.importorskip("dask.dataframe", reason="needs the extra dask")
distributed = pytest.importorskip("distributed", reason="needs the extra dask")

import boto3  # noqa: E402
import dask.bag  # noqa: E402, F811
import dask.dataframe  # noqa: E402
import pandas as pd  # noqa: E402
from opensearchpy.exceptions import AuthorizationException  # noqa: E402
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError  # noqa: E402

from clusters import documents, set_environment  # noqa: E402
from opensearch_sigv4 import connect  # noqa: E402
from opensearch_sigv4.integrations import DocumentsRefused, Summary  # noqa: E402
from opensearch_sigv4.integrations.dask import to_opensearch  # noqa: E402
from opensearch_sigv4.testing import Fault, LocalDomain  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default::UserWarning", "default::ResourceWarning")


@pytest.fixture
def to(domain):
    return {"url": domain.url, "region": domain.region, "credentials": domain.credentials}


@pytest.fixture
def on_threads(to):
    return {**to, "scheduler": "threads"}


@pytest.fixture(scope="module")
def cluster():
    dask.config.set({"distributed.scheduler.allowed-failures": 10})
    with (
        distributed.LocalCluster(3, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def bag(count, partitions=4, **more):
    return dask.bag.from_sequence([{"n": n, **more} for n in range(count)], npartitions=partitions)


def test_a_bag(judge, on_threads):
    assert to_opensearch(bag(100), "i", id_field="n", **on_threads) == Summary(indexed=100)
    assert judge.executions("n") == dict.fromkeys(range(100), 1)


def test_documents_without_ids_get_one_each(judge, on_threads):
    assert to_opensearch(bag(100), "i", **on_threads).indexed == 100
    assert judge.held("n") == dict.fromkeys(range(100), 1)
    assert len({identifier.partition("-")[0] for identifier in judge.documents("i")}) == 1
    assert to_opensearch(bag(10), "j", add_ids=False, **on_threads).indexed == 10
    assert all(identifier.startswith("judge0") for identifier in judge.documents("j"))


def test_documents_with_ids_can_be_created(judge, on_threads):
    documents = [{"_id": str(n), "n": n} for n in range(10)]
    parts = dask.bag.from_sequence(documents, npartitions=2)
    assert to_opensearch(parts, "i", op_type="create", **on_threads) == Summary(indexed=10)
    assert to_opensearch(parts, "i", op_type="create", **on_threads) == Summary(existing=10)
    with pytest.raises(DocumentsRefused, match="create needs an _id"):
        to_opensearch(bag(3), "i", op_type="create", **on_threads)
    assert judge.held("n") == dict.fromkeys(range(10), 1)


def test_a_frame(judge, on_threads):
    frame = pd.DataFrame(
        {
            "_id": ["a", "b", "c"],
            "version": ["1", None, "3"],
            "at": pd.to_datetime(["2024-07-01", None, "2024-01-01"]).tz_localize("Europe/Berlin"),
            "price": [Decimal("1.10"), Decimal("0.123456789012345678"), None],
        }
    )
    with dask.config.set({"dataframe.convert-string": False}):
        parts = dask.dataframe.from_pandas(frame, npartitions=2)
        assert to_opensearch(parts, "i", **on_threads).indexed == 3
    found = judge.documents("i")
    at = {identifier: document.get("at", "")[:19] for identifier, document in found.items()}
    assert at == {"a": "2024-06-30T22:00:00", "b": "", "c": "2023-12-31T23:00:00"}
    assert {identifier: document.get("version") for identifier, document in found.items()} == {
        "a": "1",
        "b": None,
        "c": "3",
    }
    assert found["b"]["price"] == pytest.approx(0.123456789012345678)


def test_the_digits_of_a_decimal_are_sent(domain, on_threads):
    import gzip

    frame = pd.DataFrame({"price": [Decimal("0.123456789012345678901234567890")]})
    with dask.config.set({"dataframe.convert-string": False}):
        to_opensearch(dask.dataframe.from_pandas(frame, npartitions=1), "i", **on_threads)
    assert b'{"price":0.123456789012345678901234567890}\n' in gzip.decompress(domain.requests[-1].body)


def test_an_index_may_be_the_id(judge, on_threads):
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    to_opensearch(dask.dataframe.from_pandas(frame, npartitions=1), "i", id_field="key", **on_threads)
    assert judge.documents("i") == {"x": {"key": "x", "n": 1}, "y": {"key": "y", "n": 2}}


def test_refused_documents(domain, on_threads, tmp_path):
    domain.faults = lambda request: Fault.documents(lambda action: 400 if action.id in ("3", "70") else None)
    with pytest.raises(DocumentsRefused, match="98 indexed, 2 refused") as raised:
        to_opensearch(bag(100), "i", id_field="n", **on_threads)
    assert raised.value.summary.indexed == 98
    summary = to_opensearch(bag(100), "i", id_field="n", failed_path=str(tmp_path), **on_threads)
    assert (summary.refused, len(summary.failed_files)) == (2, 2)
    assert sorted(summary.failed_files) == sorted(str(tmp_path / name) for name in os.listdir(tmp_path))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"id_feld": "n"}, TypeError, "unexpected keyword argument 'id_feld'"),
        ({"partition": "0"}, TypeError, "unexpected keyword argument 'partition'"),
        ({"op_type": "upsert"}, ValueError, "op_type"),
        ({"url": "http://127.0.0.1:9"}, OpenSearchConnectionError, "refused"),
        ({"credentials": "profile"}, TypeError, "credentials"),
        ({"credentials": boto3.Session(), "scheduler": "processes"}, TypeError, "credentials: .* cannot be pickled"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_any_task(judge, on_threads, options, error, text):
    started = []
    parts = bag(10).map(lambda document: started.append(document) or document)
    with pytest.raises(error, match=text):
        to_opensearch(parts, "i", **{**on_threads, **options})
    assert not started
    assert judge.log() == []


def test_no_other_collection_and_no_other_column(on_threads):
    with pytest.raises(TypeError, match="a bag or a DataFrame of Dask is needed, not list"):
        to_opensearch([{"n": 1}], "i", **on_threads)
    with pytest.raises(TypeError, match="a bag or a DataFrame of Dask is needed, not Series"):
        to_opensearch(dask.dataframe.from_pandas(pd.DataFrame({"n": [1]}), npartitions=1)["n"], "i", **on_threads)
    twice = dask.dataframe.from_pandas(pd.DataFrame([[1, 2]], columns=["a", "b"]), npartitions=1)
    twice.columns = ["a", "a"]
    with pytest.raises(ValueError, match="columns of one name: a"):
        to_opensearch(twice, "i", **on_threads)
    frame = dask.dataframe.from_pandas(pd.DataFrame({"n": [1]}), npartitions=1)
    with pytest.raises(ValueError, match="there is no column"):
        to_opensearch(frame[[]], "i", **on_threads)
    with pytest.raises(ValueError, match="id_field: delete needs it"):
        to_opensearch(frame, "i", op_type="delete", **on_threads)
    with pytest.raises(ValueError, match="create needs id_field, or add_ids=False"):
        to_opensearch(frame, "i", op_type="create", **on_threads)
    with pytest.raises(ValueError, match="retries: at least 0"):
        to_opensearch(frame, "i", retries=-1, **on_threads)
    with pytest.raises(DocumentsRefused, match="delete needs an _id"):
        to_opensearch(bag(3), "i", op_type="delete", **on_threads)
    for argument in ("id_field", "routing_field"):
        with pytest.raises(ValueError, match=f"{argument}: there is no column 'key'; there are n"):
            to_opensearch(frame, "i", **{argument: "key"}, **on_threads)


def test_a_refusal_is_said_before_any_task(domain, on_threads):
    domain.faults = lambda request: Fault.forbidden()
    with pytest.raises(AuthorizationException):
        to_opensearch(bag(10), "i", **on_threads)


# --- several processes -------------------------------------------------------------------------------------------


def test_processes_know_no_secret_but_one_that_was_given(cluster, domain, judge, to, monkeypatch):
    """The workers look for credentials themselves: theirs are in their environment."""
    keys = {
        "AWS_ACCESS_KEY_ID": domain.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": domain.credentials.secret_key,
    }
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    cluster.run(set_environment, keys)
    to.pop("credentials")
    assert to_opensearch(bag(100), "i", id_field="n", scheduler=cluster, **to).indexed == 100
    assert judge.executions("n") == dict.fromkeys(range(100), 1)
    assert domain.refused == 1  # of the check here, without a signature
    domain.reset()


def test_a_bag_that_the_workers_hold(cluster, judge, to):
    """Before Dask 2025.5 a task gets the key of its partition in place of it."""
    held = bag(100).persist(scheduler=cluster)
    assert to_opensearch(held, "i", id_field="n", scheduler=cluster, **to).indexed == 100
    assert judge.executions("n") == dict.fromkeys(range(100), 1)


def test_a_worker_is_killed_while_the_domain_throttles(cluster, domain, judge, to):
    """Each document is there once, and counted once."""
    pids = list(cluster.run(os.getpid).values())
    seen, lock = Counter(), threading.Lock()

    def faults(request):
        with lock:
            seen["requests"] += request.target.endswith(b"/_bulk")
            number = seen["requests"]
        if number == 8:
            os.kill(pids[0], signal.SIGKILL)
        return Fault.throttled() if number % 4 == 0 else None

    domain.faults = faults
    loaded = documents()
    parts = dask.bag.from_sequence(loaded, npartitions=8)
    summary = to_opensearch(parts, "i", id_field="package", scheduler=cluster, chunk_size=400, **to)
    assert summary == Summary(indexed=len(loaded))
    assert judge.documents("i") == {document["package"]: document for document in loaded}
    executed = judge.executions("package")
    assert set(executed) == {document["package"] for document in loaded}
    assert domain.verified == seen["requests"] + 1  # and the look at the index


def test_a_task_that_raises_is_started_again(cluster, domain, judge, to):
    refusals = iter(range(2))

    def faults(request):
        if request.target != b"/i/_bulk" or not request.body:
            return None
        return Fault.forbidden() if next(refusals, None) is not None else None

    domain.faults = faults
    assert to_opensearch(bag(100), "i", id_field="n", scheduler=cluster, **to).indexed == 100
    assert judge.held("n") == dict.fromkeys(range(100), 1)


def test_what_a_task_raises_reaches_the_caller(cluster, domain, to):
    domain.faults = lambda request: Fault.forbidden() if request.body else None
    with pytest.raises(AuthorizationException):
        to_opensearch(bag(10), "i", id_field="n", scheduler=cluster, retries=1, **to)


@pytest.mark.parametrize("where", ["local", "real_domain"])
def test_the_documents_of_debian(cluster, where, request):
    """Into an OpenSearch that searches: osmem-server, and a real node."""
    if where == "real_domain":
        domain, index = request.getfixturevalue("real_domain"), f"{pytest.importorskip('real_node').RUN}dask"
        _load(cluster, domain, index)
    else:
        with LocalDomain() as domain:
            _load(cluster, domain, "packages")


def _load(cluster, domain, index):
    to = {"url": domain.url, "region": domain.region, "credentials": domain.credentials}
    loaded = documents()
    throttled = iter(range(3))
    domain.faults = lambda request: Fault.throttled() if request.body and next(throttled, None) is not None else None
    with connect(**to) as client:
        try:
            parts = dask.bag.from_sequence(loaded, npartitions=6)
            summary = to_opensearch(parts, index, id_field="package", scheduler=cluster, **to)
            assert summary == Summary(indexed=len(loaded))
            client.indices.refresh(index=index)
            assert client.count(index=index)["count"] == len(loaded)
        finally:
            domain.faults = None
            client.indices.delete(index=index, ignore_unavailable=True)
    assert domain.refused == 0


def test_a_summary_is_small(cluster):
    assert len(pickle.dumps(Summary(indexed=10**9))) < 300
