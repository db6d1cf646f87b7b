"""`format("opensearch-sigv4")` in a local Spark, whose Python workers are processes of their own.

It finds the format by itself; its executors' workers are killed, and the domain throttles.
"""

import datetime as dt
import gzip
import json
import os
import signal
import sys
import threading
import warnings
from decimal import Decimal
from pathlib import Path

import pytest
from opensearchpy.exceptions import TransportError

pytest.importorskip("pyspark", reason="needs the extra spark, and Java")

from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession
from pyspark.sql import types as T

from clusters import documents, from_readme
from opensearch_sigv4 import connect
from opensearch_sigv4.integrations.spark import OpenSearchDataSource
from opensearch_sigv4.testing import Fault, LocalDomain
from raw_server import RawServer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::UserWarning")

FORMAT = "opensearch-sigv4"
UTC = dt.UTC


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Four tasks at a time, each of which may fail three times, in Berlin."""
    home = tmp_path_factory.mktemp("spark")
    (home / "credentials").write_text("")
    changes = {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TZ": "Europe/Berlin",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = (
                SparkSession.builder.master("local[4,4]")
                .config("spark.ui.enabled", "false")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.driver.host", "127.0.0.1")
                .config("spark.sql.session.timeZone", "Europe/Berlin")
                .config("spark.sql.warehouse.dir", str(home / "warehouse"))
                .config("spark.sql.execution.arrow.maxRecordsPerBatch", "500")
                .getOrCreate()
            )
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    session.sparkContext.setLogLevel("OFF")
    session.credentials_file = home / "credentials"
    yield session
    session.stop()


def options_of(domain):
    keys = {"accessKey": domain.credentials.access_key, "secretKey": domain.credentials.secret_key}
    return {"url": domain.url, "region": domain.region, **keys}


@pytest.fixture
def to(domain):
    return options_of(domain)


def numbers(spark, count, partitions=4):
    return spark.range(0, count, 1, partitions).selectExpr("id AS n", "concat('number ', id) AS name")


def save(frame, summary_path=None, **options):
    """Write a frame; the summary."""
    if summary_path is not None:
        options["summaryPath"] = str(summary_path)
    frame.write.format(FORMAT).options(**options).mode("append").save()
    return None if summary_path is None else json.loads(Path(summary_path).read_text())


# --- writing -----------------------------------------------------------------------------------------------------


def test_rows_arrive_once_and_are_counted(spark, judge, to, tmp_path):
    summary = save(numbers(spark, 3000), tmp_path / "summary.json", index="i", idField="n", **to)
    assert (summary["indexed"], summary["documents"], summary["complete"]) == (3000, 3000, True)
    assert judge.documents("i") == {str(n): {"n": n, "name": f"number {n}"} for n in range(3000)}
    assert judge.executions("n") == dict.fromkeys(range(3000), 1)


def test_rows_without_an_id_get_one_each(spark, judge, to):
    numbers(spark, 200).write.format(FORMAT).options(**to).mode("append").save("i")  # a path is an index
    assert judge.held("n") == dict.fromkeys(range(200), 1)
    assert len({identifier.partition("-")[0] for identifier in judge.documents("i")}) == 1
    save(numbers(spark, 10), index="j", addIds="false", **to)
    assert all(identifier.startswith("judge0") for identifier in judge.documents("j"))


def test_operations(spark, judge, to, tmp_path):
    def of(count, **options):
        return save(numbers(spark, count), tmp_path / "summary.json", index="i", idField="n", **options, **to)

    assert of(5, opType="create")["indexed"] == 5
    again = of(8, opType="create")
    assert (again["indexed"], again["existing"]) == (3, 5)
    assert of(8, opType="update")["indexed"] == 8
    assert of(8, opType="delete")["indexed"] == 8
    assert judge.documents("i") == {}


TYPES = T.StructType(
    [
        T.StructField("_id", T.StringType()),
        T.StructField("version", T.StringType()),
        T.StructField("at", T.TimestampType()),
        T.StructField("local", T.TimestampNTZType()),
        T.StructField("day", T.DateType()),
        T.StructField("price", T.DecimalType(38, 18)),
        T.StructField("data", T.BinaryType()),
        T.StructField("tags", T.ArrayType(T.StringType())),
        T.StructField("counts", T.MapType(T.StringType(), T.LongType())),
        T.StructField("by_number", T.MapType(T.IntegerType(), T.BooleanType())),
        T.StructField("inner", T.StructType().add("at", T.TimestampType()).add("n", T.ByteType())),
        T.StructField("many", T.ArrayType(T.StructType([T.StructField("price", T.DecimalType(3, 1))]))),
        T.StructField("ratio", T.DoubleType()),
        T.StructField("nothing", T.StringType()),
    ]
)
AT = dt.datetime(2024, 10, 27, 0, 30, 0, 250, UTC)  # 02:30 in Berlin, for the first time of two
ROW = (
    "a",
    "1.2",
    AT,
    dt.datetime(2024, 1, 2, 3, 4, 5),
    dt.date(1969, 7, 20),
    Decimal("12345678901234567890.123456789012345678"),
    bytearray(b"\x00\xff"),
    ["x", None],
    {"k": 1},
    {1: True},
    (AT, None),
    [(Decimal("1.5"),)],
    0.5,
    None,
)
DOCUMENT = {
    "version": "1.2",
    "at": "2024-10-27T00:30:00.000250Z",
    "local": "2024-01-02T03:04:05.000000",
    "day": "1969-07-20",
    "price": Decimal("12345678901234567890.123456789012345678"),
    "data": "AP8=",
    "tags": ["x", None],
    "counts": {"k": 1},
    "by_number": {"1": True},
    "inner": {"at": "2024-10-27T00:30:00.000250Z"},
    "many": [{"price": Decimal("1.5")}],
    "ratio": Decimal("0.5"),
}


def test_each_type_arrives_as_opensearch_expects_it(spark, domain, to):
    save(spark.createDataFrame([ROW], TYPES), index="i", **to)
    action, document, _ = gzip.decompress(domain.requests[-1].body).split(b"\n")
    assert json.loads(action) == {"index": {"_id": "a"}}
    assert json.loads(document, parse_float=Decimal) == DOCUMENT


def test_a_row_with_nan_is_refused_alone(spark, judge, to, tmp_path):
    rows = spark.range(4).selectExpr("id AS n", "IF(id = 2, double('NaN'), 0.5D) AS f")
    with pytest.raises(PySparkException, match="3 indexed, 1 refused"):
        save(rows, index="i", idField="n", **to)
    summary = save(rows, tmp_path / "s", index="i", idField="n", failedPath=str(tmp_path / "failed"), **to)
    assert summary["statuses"] == {"malformed": 1}
    [file] = summary["failed_files"]
    assert json.loads(Path(file).read_text())["failed"]["outcome"] == "malformed"
    assert judge.held("n") == {0: 1, 1: 1, 3: 1}


def test_refused_rows_are_kept(spark, domain, judge, to, tmp_path):
    domain.faults = lambda request: Fault.documents(lambda action: 400 if action.id in ("3", "700") else None)
    failed = tmp_path / "failed"
    summary = save(numbers(spark, 1000), tmp_path / "s", index="i", idField="n", failedPath=str(failed), **to)
    assert (summary["indexed"], summary["refused"], summary["statuses"]) == (998, 2, {"400": 2})
    assert sorted(summary["failed_files"]) == sorted(str(failed / name) for name in os.listdir(failed))
    kept = [json.loads(Path(file).read_text().splitlines()[2])["n"] for file in summary["failed_files"]]
    assert sorted(kept) == [3, 700]
    with pytest.raises(PySparkException, match=r"documents are not in: 998 indexed, 2 refused"):
        save(numbers(spark, 1000), index="i", idField="n", **to)


def workers():
    """The processes of Spark's Python workers, which one daemon forks."""
    parents = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if b"pyspark.daemon" in (directory / "cmdline").read_bytes():
                parents[int(directory.name)] = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    return [process for process, parent in parents.items() if parent in parents]


def killing(domain, at_request, every=5):
    """Faults that kill all workers at a request, and throttle another one now and then."""
    lock, seen = threading.Lock(), [0]

    def faults(request):
        if not request.body:
            return None
        with lock:
            seen[0] += 1
            number = seen[0]
        if number == at_request:
            for process in workers():
                os.kill(process, signal.SIGKILL)
        return Fault.throttled() if number % every == 0 else None

    return faults


def test_tasks_are_killed_while_the_domain_throttles(spark, domain, judge, to, tmp_path):
    """Each document is there once, and counted once; without ids of its own, too."""
    loaded = documents()
    path = tmp_path / "documents.ndjson"
    path.write_text("".join(json.dumps(document) + "\n" for document in loaded))
    frame = spark.read.json(str(path)).repartition(8).persist()
    frame.count()
    for index, more in (("i", {"idField": "package"}), ("j", {})):
        judge.reset()
        domain.faults = killing(domain, at_request=7)
        summary = save(frame, tmp_path / "summary.json", index=index, chunkSize="500", **more, **to)
        domain.faults = None
        assert (summary["indexed"], summary["documents"]) == (len(loaded), len(loaded))
        found = judge.documents(index)
        assert sorted(map(json.dumps, found.values())) == sorted(
            json.dumps(dict(sorted(document.items()))) for document in loaded
        )
        assert max(judge.executions("package").values()) > 1  # or nobody was killed in time
    frame.unpersist()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"indx": "i"}, r"option indx: there is none of that name; is index meant\?"),
        ({"xyzzy": "i"}, "option xyzzy: there is none of that name; there are url, index"),
        ({"index": None}, "option index: it is missing"),
        ({"url": None}, "option url: it is missing"),
        ({"url": "http://127.0.0.1:9"}, "was asked before any task was started"),
        ({"url": "http://nowhere.invalid"}, "was asked before any task was started"),
        ({"slices": "3"}, "option slices: it is for reading, not for writing"),
        ({"chunkSize": "many"}, "option chunkSize: an integer of at least 1 is needed, not 'many'"),
        ({"opType": "upsert"}, "option opType: one of index, create, update, delete is needed, not 'upsert'"),
        ({"idField": "key"}, "option idField: there is no column 'key'; there are n, name"),
        ({"routingField": "key"}, "option routingField: there is no column 'key'"),
        ({"opType": "update"}, "option idField: update needs it"),
        ({"opType": "create"}, "create needs idField, or addIds=false"),
        ({"failedPath": "dbfs:/x/y"}, "failed_path: Unrecognized filesystem type"),
        ({"compress": "1"}, "option compress: true or false is needed, not '1'"),
        ({"timeout": "-1"}, "option timeout: a number of seconds is needed"),
        ({"secretKey": None}, "options accessKey and secretKey: they go together"),
        ({"profile": "p"}, "options accessKey and profile: one of the two"),
        ({"accessKey": None, "secretKey": None, "credentials": "x"}, "option credentials: module:function is needed"),
        ({"failedPath": __file__}, "is a file, a directory is needed"),
        ({"failedPath": "nowhere://x/y"}, "failed_path: Unrecognized filesystem type"),
        ({"summaryPath": "nowhere://x/y"}, "option summaryPath: Unrecognized filesystem type"),
        ({"summaryPath": str(Path(__file__).parent)}, "is a directory, the name of a file is needed"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_any_task(spark, judge, to, changes, text):
    started = spark.sparkContext.accumulator(0)
    frame = numbers(spark, 10).rdd.map(lambda row: (started.add(1), row)[1]).toDF(numbers(spark, 1).schema)
    options = {name: value for name, value in {"index": "i", **to, **changes}.items() if value is not None}
    with pytest.raises(PySparkException, match=text) as raised:
        save(frame, **options)
    assert (to["secretKey"] in str(raised.value)) is False
    assert started.value == 0
    assert judge.log() == []


def test_columns_that_no_document_can_have(spark, to):
    with pytest.raises(PySparkException, match="column i: of the type duration"):
        save(spark.sql("SELECT INTERVAL '1' DAY AS i"), index="i", **to)
    with pytest.raises(PySparkException, match="there is no column"):
        save(spark.range(3).select(), index="i", **to)
    with pytest.raises(PySparkException, match="column m, its keys: of the type struct"):
        save(spark.sql("SELECT map(named_struct('a', 1), 2) AS m"), index="i", **to)
    with pytest.raises(PySparkException, match="columns of one name: a"):
        save(spark.sql("SELECT 1 AS a, 2 AS b").toDF("a", "a"), index="i", **to)
    for value in ("parse_json('{}')", "array(named_struct('a', map('k', parse_json('{}'))))"):
        with pytest.raises(PySparkException, match="column v: of the type variant"):
            save(spark.sql(f"SELECT {value} AS v"), index="i", **to)
    save(spark.sql("SELECT named_struct('variant', 'a') AS v"), index="i", **to)
    with pytest.raises(PySparkException, match='only "append" is here'):
        numbers(spark, 1).write.format(FORMAT).options(index="i", **to).mode("overwrite").save()


def test_a_refusal_is_said_before_any_task(spark, domain, judge, to):
    domain.faults = lambda request: Fault.forbidden()
    with pytest.raises(PySparkException, match="is not authorized to perform"):
        save(numbers(spark, 1), index="i", **to)
    assert judge.log() == []


# --- credentials -------------------------------------------------------------------------------------------------


def provide():
    """For the option `credentials`: called in each worker."""
    from types import SimpleNamespace

    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).with_name(f"asked-{os.getpid()}").touch()
    return SimpleNamespace(access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token=None)


def test_the_executors_find_credentials_themselves(spark, domain, judge):
    to = {"url": domain.url, "region": domain.region, "index": "i", "idField": "n"}
    with pytest.raises(PySparkException, match="Unable to locate credentials"):
        save(numbers(spark, 10), **to)
    assert domain.refused == 1  # the check, which had none either
    domain.reset()
    keys = domain.credentials
    spark.credentials_file.write_text(
        f"[default]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
        f"[other]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
    )
    try:
        save(numbers(spark, 10), **to)
        save(numbers(spark, 10), profile="other", **to)
    finally:
        spark.credentials_file.write_text("")
    assert judge.held("n") == dict.fromkeys(range(10), 1)
    assert min(judge.executions("n").values()) >= 2  # and more by the first load's tasks, if they still run
    save(numbers(spark, 10), credentials="test_spark:provide", **to)
    assert len(list(spark.credentials_file.parent.glob("asked-*"))) > 1


def test_given_keys_are_not_shown(spark, to, capfd):
    numbers(spark, 1).createOrReplaceTempView("one")
    frame = spark.read.format(FORMAT).options(**to, index="i").schema("n long").load()
    frame.explain(True)
    plan = frame._jdf.queryExecution().toString()
    assert (to["secretKey"] in capfd.readouterr().out + plan) is False


# --- streams -----------------------------------------------------------------------------------------------------


def test_a_stream(spark, domain, judge, to, tmp_path):
    source, summaries = tmp_path / "source", tmp_path / "summaries"
    source.mkdir()

    def run():
        stream = spark.readStream.schema("n long").json(str(source))
        query = (
            stream.writeStream.format(FORMAT)
            .options(index="i", summaryPath=str(summaries), checkpointLocation=str(tmp_path / "checkpoint"), **to)
            .trigger(availableNow=True)
            .start()
        )
        try:
            query.awaitTermination(120)
            assert query.exception() is None
        finally:
            query.stop()

    for first in (0, 50):
        (source / f"{first}.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(first, first + 50)))
        run()
    assert judge.held("n") == dict.fromkeys(range(100), 1)
    counts = {path.name: json.loads(path.read_text())["indexed"] for path in summaries.iterdir()}
    assert counts == {"batch-000000.json": 50, "batch-000001.json": 50}

    # The batch that was not committed runs again, in another query, and has the same ids.
    commits = tmp_path / "checkpoint" / "commits"
    for path in (commits / "1", commits / ".1.crc"):
        path.unlink(missing_ok=True)
    run()
    assert judge.held("n") == dict.fromkeys(range(100), 1)
    assert judge.executions("n") == {n: 1 if n < 50 else 2 for n in range(100)}


def test_several_loads_of_one_batch_of_a_stream(spark, judge, to, tmp_path):
    """In `foreachBatch` each is a load of its own: no row takes the id of another."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "0.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(20)))

    def write(frame, _):
        save(frame, index="i", **to)
        save(frame.selectExpr("n + 100 AS n"), index="i", **to)

    query = spark.readStream.schema("n long").json(str(tmp_path / "source")).writeStream.foreachBatch(write)
    query = query.option("checkpointLocation", str(tmp_path / "checkpoint")).trigger(availableNow=True).start()
    query.awaitTermination(120)
    assert query.exception() is None
    assert judge.held("n") == {**dict.fromkeys(range(20), 1), **dict.fromkeys(range(100, 120), 1)}


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searching():
    """An OpenSearch that searches."""
    with LocalDomain() as domain:
        yield domain


@pytest.mark.parametrize("where", ["searching", "real_domain"])
def test_the_documents_of_debian_there_and_back(spark, where, request, tmp_path):
    domain = request.getfixturevalue(where)
    index = "packages" if where == "searching" else f"{pytest.importorskip('real_node').RUN}spark"
    to = options_of(domain)
    loaded = documents()
    path = tmp_path / "documents.ndjson"
    path.write_text("".join(json.dumps(document) + "\n" for document in loaded))
    with connect(domain.url, region=domain.region, credentials=domain.credentials) as client:
        try:
            client.indices.create(index=index, body={"settings": {"number_of_shards": 3, "number_of_replicas": 0}})
            domain.faults = killing(domain, at_request=6)
            frame = spark.read.json(str(path)).repartition(8)
            summary = save(frame, tmp_path / "summary.json", index=index, idField="package", **to)
            domain.faults = None
            assert summary["indexed"] == len(loaded)
            client.indices.refresh(index=index)
            assert client.count(index=index)["count"] == len(loaded)

            back = spark.read.format(FORMAT).options(index=index, idField="_id", pageSize="700", **to).load()
            assert back.rdd.getNumPartitions() == 3
            assert dict(back.dtypes)["size_bytes"] == "bigint"
            assert dict(back.dtypes)["tags"] == "array<string>"
            found = [row.asDict() for row in back.collect()]
            assert len(found) == len(loaded)
            assert {row.pop("_id"): {k: v for k, v in row.items() if v is not None} for row in found} == {
                document["package"]: document for document in loaded
            }
            few = spark.read.format(FORMAT).options(
                index=index, slices="2", query='{"range": {"size_bytes": {"lt": 5000}}}', **to
            )
            expected = sum(document["size_bytes"] < 5000 for document in loaded)
            assert few.schema("size_bytes long").load().count() == expected > 0
        finally:
            domain.faults = None
            client.indices.delete(index=index, ignore_unavailable=True)
    assert domain.refused == 0


def test_types_come_back(spark, searching):
    to = options_of(searching)
    with connect(searching.url, region=searching.region, credentials=searching.credentials) as client:
        client.indices.create(
            index="types",
            body={"mappings": {"properties": {"price": {"type": "double"}, "data": {"type": "binary"}}}},
        )
        save(spark.createDataFrame([ROW], TYPES), index="types", **to)
        client.indices.refresh(index="types")
        client.index(
            index="types",
            id="b",
            body={"inner.n": 7, "tags": "one", "at": 1500, "day": "1969", "price": "1.25", "version": 3},
            refresh=True,
        )
    rows = spark.read.format(FORMAT).options(index="types", idField="_id", **to).schema(TYPES).load().collect()
    first, second = sorted(rows, key=lambda row: row["_id"])
    expected = spark.createDataFrame([ROW], TYPES).collect()[0].asDict()
    assert first.asDict() == expected
    assert second["inner"] == Row(at=None, n=7)
    assert second["tags"] == ["one"]
    assert second["at"].astimezone(UTC) == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)
    assert second["day"] == dt.date(1969, 1, 1)
    assert second["price"] == Decimal("1.25")
    assert second["version"] == "3"


def test_indices_with_the_same_ids(spark, searching):
    """Of documents with equal places and ids in two indices, pages that end between them lose none."""
    to = options_of(searching)
    for index in ("same-a", "same-b"):
        save(numbers(spark, 30, 1), index=index, idField="n", **to)
    with connect(searching.url, region=searching.region, credentials=searching.credentials) as client:
        client.indices.refresh(index="same-*")
    for slices in ("1", "3"):
        frame = spark.read.format(FORMAT).options(index="same-*", slices=slices, pageSize="7", **to).load()
        assert sorted(row["n"] for row in frame.collect()) == sorted([*range(30)] * 2)


def test_what_users_write(spark, searching):
    """A query as in a search's body, an id that is a field of another type, text here and keyword there."""
    to = options_of(searching)
    with connect(searching.url, region=searching.region, credentials=searching.credentials) as client:
        for index, kind in (("kind-a", "text"), ("kind-b", "keyword")):
            client.indices.create(index=index, body={"mappings": {"properties": {"name": {"type": kind}}}})
            client.index(index=index, id=7, body={"name": "x", "n": 7}, refresh=True)
    read = spark.read.format(FORMAT).options(query='{"query": {"term": {"n": 7}}}', **to)
    assert [(row["n"], row["name"]) for row in read.load("kind-*").collect()] == [(7, "x"), (7, "x")]
    assert [row["_id"] for row in read.schema("_id string").load("kind-*").collect()] == ["7", "7"]
    rows = read.option("idField", "key").schema("key long, name string").load("kind-*").collect()
    assert [row["key"] for row in rows] == [7, 7]
    with pytest.raises(PySparkException, match="option idField: 'n' is a field of the documents"):
        spark.read.format(FORMAT).options(idField="n", **to).load("kind-*")


def test_dates_of_other_formats_are_text(spark, searching):
    formats = {
        "seconds": "epoch_second",
        "day": "basic_date",
        "other": "yyyy-dd-MM",
        "usual": "strict_date||epoch_millis",
    }
    with connect(searching.url, region=searching.region, credentials=searching.credentials) as client:
        properties = {name: {"type": "date", "format": written} for name, written in formats.items()}
        client.indices.create(index="dates", body={"mappings": {"properties": properties}})
        document = {"seconds": 1700000000, "day": "20240506", "other": "2024-05-06", "usual": "2024-05-06"}
        client.index(index="dates", body=document, refresh=True)
    [row] = spark.read.format(FORMAT).options(**options_of(searching)).load("dates").collect()
    assert (row["seconds"], row["day"], row["other"]) == ("1700000000", "20240506", "2024-05-06")
    assert row["usual"].astimezone(UTC) == dt.datetime(2024, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("more", [{"_shards": {"total": 2, "failed": 1}}, {"timed_out": True}], ids=str)
def test_an_answer_that_is_not_whole_is_an_error(more):
    """By default OpenSearch answers a search with 200 where a shard has failed, without its documents."""
    answer = json.dumps({"_shards": {"failed": 0}, "timed_out": False, "hits": {"hits": []}, **more})
    with RawServer(lambda line: (200, {"Content-Type": "application/json"}, answer)) as server:
        options = {"url": server.url, "region": "us-east-1", "index": "i", "accessKey": "AKIDEXAMPLE", "secretKey": "k"}
        reader = OpenSearchDataSource(options).reader(T.StructType().add("n", T.LongType()))
        with reader._job.client() as client, pytest.raises(TransportError, match="the answer of i is not whole"):
            reader._page(client, {"query": {"match_all": {}}})


def test_reading_says_what_is_wrong_before_any_task(spark, searching):
    to = options_of(searching)
    save(numbers(spark, 1), index="present", **to)
    for options, text in (
        ({"index": "nowhere"}, "index_not_found_exception"),
        ({"index": "present", "query": "{"}, "option query: a query in JSON is needed"),
        ({"index": "present", "query": '{"nonsense": {}}'}, "nonsense"),
        ({"index": "present", "arrayFields": "no.such"}, "option arrayFields: no field is called no.such"),
        ({"index": "present", "keepAlive": "5"}, "option keepAlive: a time such as 5m or 30s is needed, not '5'"),
        ({"index": "present", "opType": "index"}, "option opType: it is for writing, not for reading"),
        ({"index": "present", "url": "http://127.0.0.1:9"}, "Connection refused"),
    ):
        with pytest.raises(PySparkException, match=text):
            spark.read.format(FORMAT).options(**{**to, **options}).load().count()


def test_no_point_in_time_is_left(spark, searching):
    save(numbers(spark, 2), index="pits", **options_of(searching))
    with connect(searching.url, region=searching.region, credentials=searching.credentials) as client:
        client.indices.refresh(index="pits")
        before = len(client.transport.perform_request("GET", "/_search/point_in_time/_all").get("pits", []))
        read = spark.read.format(FORMAT).options(index="pits", slices="3", **options_of(searching))
        assert read.schema("n long").load().count() == 2
        assert len(client.transport.perform_request("GET", "/_search/point_in_time/_all").get("pits", [])) == before


def test_readmes_example(spark, searching, tmp_path):
    """Its host is a domain here, and its directory another one."""
    keys = ", ".join(f"{name!r}: {value!r}" for name, value in options_of(searching).items())
    words = {
        '"url": "https://search-logs-abc123.eu-central-1.es.amazonaws.com"': keys,
        "/mnt/shared": str(tmp_path),
    }
    save_frame = from_readme("save", **words)
    save_frame(spark.createDataFrame([Row(package="a", section="rust"), Row(package="b", section="libs")]))
    assert json.loads((tmp_path / "summary.json").read_text())["indexed"] == 2
    with connect(searching.url, region=searching.region, credentials=searching.credentials) as client:
        client.indices.refresh(index="packages")
    [row] = from_readme("load", **words)(spark).collect()
    assert (row["package"], row["section"]) == ("a", "rust")
