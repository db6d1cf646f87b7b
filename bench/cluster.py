"""What a document costs a cluster that indexes it: the plain loop over opensearch-py's helpers in each task, and ours.

    python bench/cluster.py [--quick] [--markdown] [--json FILE]

Spark in local mode and a Dask LocalCluster, each with its own processes; all of them count, the JVM included. They send
to bench/bulk.py's sink, in this process. What is measured and what is not is in bench/README.md.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import bulk
import harness
from sign import ACCESS_KEY, REGION, SECRET_KEY, TOKEN

ENGINES = ("Spark", "Dask")
TASKS = 2
COUNT, QUICK_COUNT = 20_000, 2_000
COPIES = 5  # of the documents: what a job costs by itself is in a round, too
ROUNDS, QUICK_ROUNDS = 7, 1
THEIRS = "opensearch-py's helpers.bulk in each task"
OURS = "ours"
NOTHING = "the rows, read and dropped in each task"
_KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_SESSION_TOKEN": TOKEN}


# --- what a task of each row does ----------------------------------------------------------------------------


def their_loop(documents, url, encoding):
    """What README files of opensearch-py suggest: a client for each partition, and `helpers.bulk`."""
    from botocore.session import Session
    from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth, Urllib3HttpConnection
    from opensearchpy.helpers import bulk as their_bulk

    with OpenSearch(
        url,
        http_auth=Urllib3AWSV4SignerAuth(Session().get_credentials(), REGION),
        connection_class=Urllib3HttpConnection,
        http_compress=encoding == "gzip",
        timeout=120,
    ) as client:
        actions = ({"_index": bulk.INDEX, "_id": document[bulk.KEY], "_source": document} for document in documents)
        indexed, errors = their_bulk(client, actions, raise_on_error=False)
    return {"indexed": indexed, "refused": len(errors)}


def plain_row(row):
    """A Spark row as the document that it was: with `null` for nothing it would be another one."""
    return {name: value for name, value in row.asDict(recursive=True).items() if value is not None}


def drop(documents):
    return {"indexed": sum(1 for _ in documents), "refused": 0}


# --- the engines ----------------------------------------------------------------------------------------------


def spark(row, path, url, encoding):
    """The function that loads the documents once; their reading is not in it."""
    os.environ.update(_KEYS, PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master(f"local[{TASKS}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    frame = session.read.json(str(path)).repartition(TASKS).persist()
    frame.count()

    if row == OURS:
        output = Path(tempfile.mkdtemp())

        def load():
            options = {"url": url, "region": REGION, "index": bulk.INDEX, "idField": bulk.KEY}
            options |= {"compress": str(encoding == "gzip"), "failedPath": output / "failed"}
            options["summaryPath"] = output / "summary.json"
            frame.write.format("opensearch-sigv4").options(**options).mode("append").save()
            return json.loads((output / "summary.json").read_text())

        return load

    # The accumulators are what `foreachPartition` has for an account.
    indexed, refused = session.sparkContext.accumulator(0), session.sparkContext.accumulator(0)

    def task(rows):
        documents = map(plain_row, rows)
        found = their_loop(documents, url, encoding) if row == THEIRS else drop(documents)
        indexed.add(found["indexed"])
        refused.add(found["refused"])

    def load():
        indexed.value = refused.value = 0
        frame.foreachPartition(task)
        return {"indexed": indexed.value, "refused": refused.value}

    return load


def dask(row, path, url, encoding):
    """The same for Dask, with the documents in its workers."""
    multiprocessing.current_process()._config["daemon"] = False  # it has processes of its own
    os.environ.update(_KEYS)
    import dask.bag
    import distributed

    cluster = distributed.LocalCluster(TASKS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    client = distributed.Client(cluster)
    with path.open("rb") as lines:
        documents = dask.bag.from_sequence(map(json.loads, lines), npartitions=TASKS).persist()
    distributed.wait(documents)

    if row == OURS:
        from opensearch_sigv4.integrations.dask import to_opensearch

        def load():
            summary = to_opensearch(
                documents,
                bulk.INDEX,
                url=url,
                region=REGION,
                id_field=bulk.KEY,
                failed_path=tempfile.mkdtemp(),
                client_options={"http_compress": encoding == "gzip"},
                scheduler=client,
            )
            return summary.as_dict()

        return load

    def task(part):
        return their_loop(part, url, encoding) if row == THEIRS else drop(part)

    def load():
        parts = dask.compute(*[dask.delayed(task)(part) for part in documents.to_delayed()], scheduler=client)
        return {name: sum(part[name] for part in parts) for name in ("indexed", "refused")}

    return load


def setup(engine, row, path, url, encoding):
    try:
        load = {"Spark": spark, "Dask": dask}[engine](row, Path(path), url, encoding)
    except ImportError as error:
        raise harness.Unavailable(str(error)) from error

    def a_round():
        before, began = cpu_s(), time.perf_counter()
        told = load()
        return {
            "cpu_s": cpu_s() - before,
            "wall_s": time.perf_counter() - began,
            "indexed": told["indexed"],
            "refused": told["refused"],
        }

    return a_round


def cpu_s():
    """Seconds of CPU of this process and of all that descend from it, ended ones too."""
    import psutil

    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


# --- the rounds -----------------------------------------------------------------------------------------------


def problem(row, encoding, reply, seen, documents, ids):
    """What is wrong with one round; `""` for nothing."""
    if row == NOTHING:
        return "" if reply["indexed"] == len(ids) * COPIES and seen["requests"] == 0 else "other rows than there are"
    refused = len(bulk.planted(ids)) * COPIES
    checks = {
        "documents sent": (seen["count"], len(ids) * COPIES),
        "their hashes": (seen["actions"], documents["actions"] * COPIES % (1 << 256)),
        "an encoding": (seen["encodings"][-1], "gzip" if encoding == "gzip" else ""),
        "signatures": (seen["signatures"], ["verified"]),
        "documents indexed": (reply["indexed"], len(ids) * COPIES - refused),
        "documents refused": (reply["refused"], refused),
    }
    return "; ".join(f"{what}: {got}, not {wanted}" for what, (got, wanted) in checks.items() if got != wanted)


def main():
    options = harness.arguments(__doc__.partition("\n")[0]).parse_args()
    count = QUICK_COUNT if options.quick else COUNT
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    versions, notes = harness.versions("opensearch-py", "urllib3", "botocore", "orjson", "isal", "pyspark", "dask")
    print(f"{harness.machine()}\n{', '.join(f'{name} {version}' for name, version in versions.items())}")
    results, problems = {}, []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "documents.ndjson"
        what, ids, documents = bulk.write_documents(path, count)
        path.write_bytes(path.read_bytes() * COPIES)
        print(f"{len(ids)} {what}, {COPIES} times, in {TASKS} tasks")
        for encoding in bulk.ENCODINGS:
            for engine in ENGINES:
                found, more = measure(engine, encoding, path, documents, ids, rounds)
                results.setdefault(encoding, {})[engine] = found
                notes += more
                problems += [
                    f"{engine}, {encoding}, {row}: {one['problem']}" for row, one in found.items() if one["problem"]
                ]
                print_table(engine, encoding, found, len(ids) * COPIES, options)
    print("\n".join(["", *notes, *problems]))
    harness.write_json(
        options, {"versions": versions, "documents": len(ids) * COPIES, "problems": problems, "encodings": results}
    )
    return 1 if problems else 0


def measure(engine, encoding, path, documents, ids, rounds):
    """({row: its best round and the median, with what was wrong}, notes); rows in turn, after one round to warm up."""
    sink = bulk.Sink(ids)
    found = {row: {"rounds": [], "problem": ""} for row in (NOTHING, THEIRS, OURS)}
    url = f"http://127.0.0.1:{sink.port}"
    started = [harness.Worker(row, setup, engine, row, str(path), url, encoding) for row in found]
    try:
        with harness.workers(started) as (ready, notes):
            for number in range(rounds + 1):
                for row, worker in ready.items():
                    reply = worker.ask()
                    found[row]["problem"] = found[row]["problem"] or problem(
                        row, encoding, reply, sink.tell(), documents, ids
                    )
                    if number:
                        found[row]["rounds"].append(reply)
    finally:
        sink.close()
    found = {row: one for row, one in found.items() if one["rounds"]}
    for one in found.values():
        times = sorted(reply["cpu_s"] for reply in one["rounds"])
        one |= {"min_s": times[0], "median_s": statistics.median(times), "correct": "NO" if one["problem"] else "yes"}
    return found, notes


def print_table(engine, encoding, found, count, options):
    if THEIRS not in found:
        return
    print(f"\n{engine}, {encoding}: microseconds of CPU for each document, of all processes\n")
    lines = [
        [
            row,
            f"{one['min_s'] / count * 1e6:.1f}",
            f"{one['median_s'] / count * 1e6:.1f}",
            f"{count / one['min_s']:,.0f}",
            f"{found[THEIRS]['min_s'] / one['min_s']:.1f}",
            one["correct"],
        ]
        for row, one in found.items()
    ]
    header = ["row", "min", "median", "documents per CPU second", "theirs / it", "correct"]
    print(harness.table(header, lines, markdown=options.markdown))


if __name__ == "__main__":
    import cluster  # by a name that the tasks' processes know, too

    sys.exit(cluster.main())
