"""Spark: `df.write.format("opensearch-sigv4")`, `spark.read.format("opensearch-sigv4")`, and streams of both kinds.

`pip install 'opensearch-sigv4[spark]'` on the driver and the executors; then Spark finds the format by itself
(`pyspark_opensearch_sigv4`). README has the options.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from opensearchpy.exceptions import NotFoundError, TransportError

try:
    import pyarrow as pa
    from pyspark import TaskContext
    from pyspark.sql.datasource import (
        DataSource,
        DataSourceArrowWriter,
        DataSourceReader,
        DataSourceStreamArrowWriter,
        InputPartition,
        WriterCommitMessage,
    )
    from pyspark.sql.types import ArrayType, DataType, MapType, StructType, VariantType
except ImportError as error:
    raise ImportError("Spark 4.1 or newer is needed: pip install 'opensearch-sigv4[spark]'") from error

from ._arrow import Documents, ExactSerializer
from ._options import Options
from ._partition import CREATE_NEEDS_IDS, DocumentsRefused, Job, Summary, check_path, is_uri, keep
from ._spark_reading import Columns, ExactDeserializer, arrow_schema, schema_of

_log = logging.getLogger(__name__)

_BATCH_ID: Final = "streaming.sql.batchId"
_QUERY_ID: Final = "sql.streaming.queryId"
_SAMPLE_SIZE: Final = 1000
_DEFAULT_PAGE_SIZE: Final = 1000
_DEFAULT_KEEP_ALIVE: Final = "5m"


class OpenSearchDataSource(DataSource):
    """The format `opensearch-sigv4`.

    Raises:
        ValueError: an option that is none, or a column that no document can hold; on the driver, before any task.
        TransportError: the domain cannot be reached, or refuses; there as well.

    Source: Spark's "Python Data Source API".
    """

    @classmethod
    def name(cls) -> str:
        return "opensearch-sigv4"

    def writer(self, schema: StructType, overwrite: bool) -> BatchWriter:
        return BatchWriter(Options(self.options, "writing"), schema, overwrite)

    def streamWriter(self, schema: StructType, overwrite: bool) -> StreamWriter:  # noqa: N802 - Spark's
        return StreamWriter(Options(self.options, "writing"), schema, overwrite)

    def schema(self) -> StructType:
        options = Options(self.options, "reading")
        with options.job().client() as client:
            mapping = client.indices.get_mapping(index=options["index"])
            sample = client.search(index=options["index"], body={"size": _SAMPLE_SIZE})["hits"]["hits"]
        return schema_of(mapping, sample, options.get("arrayFields", []), options.get("idField"))

    def reader(self, schema: StructType) -> Reader:
        return Reader(Options(self.options, "reading"), schema)


@dataclass
class Written(WriterCommitMessage):
    """What a task tells the driver."""

    summary: Summary


class _Writer:
    """What a batch and a stream have in common: made on the driver, pickled to the tasks."""

    is_streaming = False

    def __init__(self, options: Options, schema: StructType, overwrite: bool) -> None:
        if overwrite:
            raise ValueError(
                'mode: only "append" is here; delete the index, or give its documents ids that are the same'
            )
        job = options.job()
        names = schema.names
        for option, name in (("idField", job.id_field), ("routingField", job.routing_field)):
            if name is not None and name not in names:
                raise ValueError(f"option {option}: there is no column {name!r}; there are {', '.join(names)}")
        if job.id_field is None and "_id" in names:
            job = replace(job, id_field="_id")
        if job.id_field is None and job.op_type in ("update", "delete"):
            raise ValueError(f"option idField: {job.op_type} needs it")
        if job.id_field is None and job.op_type == "create" and options.get("addIds", True):
            raise ValueError(CREATE_NEEDS_IDS.format(id_field="idField", add_ids="addIds=false"))
        _check_types(schema)
        self._keeps_nulls = not options.get("ignoreNullFields", True)
        documents = Documents(arrow_schema(schema), keep_nulls=self._keeps_nulls)
        if documents.has_decimals:
            job = replace(job, client_options={**(job.client_options or {}), "serializer": ExactSerializer()})
        if (summary_path := options.get("summaryPath")) is not None:
            check_path("option summaryPath", summary_path, is_directory=self.is_streaming)
            if not is_uri(summary_path):
                summary_path = os.path.abspath(summary_path)
        job.check()
        self._job = job
        self._adds_ids = options.get("addIds", True)
        self._summary_path = summary_path
        self._load_id = uuid4().hex[:16]

    def write(self, iterator: Iterator[pa.RecordBatch]) -> Written:
        """In a task: index its rows."""
        context = TaskContext.get()
        load_id = self._load_id
        if self.is_streaming:
            # The same when the query starts again and repeats the batch. A `foreachBatch` may have several loads.
            query_and_batch = [context.getLocalProperty(name) for name in (_QUERY_ID, _BATCH_ID)]
            if None in query_and_batch:
                raise RuntimeError(
                    "Spark does not tell of which query and batch this task is: its ids would be others'"
                )
            load_id = "-".join(query_and_batch)
        part = f"{context.partitionId():05d}-{load_id}"
        id_prefix = f"{load_id}-{context.partitionId()}-" if self._adds_ids else None
        return Written(self._job.run(self._rows(iterator), self._job.row_of_table, part, id_prefix))

    def _rows(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Any]:
        documents = None
        for batch in batches:
            if documents is None:
                documents = Documents(batch.schema, keep_nulls=self._keeps_nulls)
            yield from documents.of(batch)

    def _commit(self, messages: Iterable[WriterCommitMessage | None], part: str | None = None) -> None:
        summary = sum((message.summary for message in messages if isinstance(message, Written)), Summary())
        _log.log(logging.INFO if summary.complete else logging.WARNING, "%s: %s", self._job.index, summary)
        if self._summary_path is not None:
            path = self._summary_path if part is None else f"{self._summary_path.rstrip('/')}/{part}.json"
            keep(path, json.dumps(summary.as_dict(), indent=1).encode())
        if not summary.complete and self._job.failed_path is None:
            raise DocumentsRefused(summary)


class BatchWriter(_Writer, DataSourceArrowWriter):
    """Of `df.write`."""

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        self._commit(messages)


class StreamWriter(_Writer, DataSourceStreamArrowWriter):
    """Of `df.writeStream`."""

    is_streaming = True

    def commit(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803 - Spark's
        self._commit(messages, f"batch-{batchId:06d}")

    def abort(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803 - Spark's
        pass


def _check_types(schema: StructType) -> None:
    """
    Raises:
        ValueError: a type that Arrow's type does not tell from another.
    """
    for field in schema.fields:
        if _holds_variant(field.dataType):
            raise ValueError(f"column {field.name}: of the type variant: cast it, or use to_json")


def _holds_variant(kind: DataType) -> bool:
    if isinstance(kind, StructType):
        return any(_holds_variant(field.dataType) for field in kind.fields)
    if isinstance(kind, MapType):
        return _holds_variant(kind.valueType)
    if isinstance(kind, ArrayType):
        return _holds_variant(kind.elementType)
    return isinstance(kind, VariantType)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass
class Slice(InputPartition):
    """One part of an index, which one task reads."""

    number: int
    of: int


class Reader(DataSourceReader):
    """Of `spark.read`: each task reads one slice of the index, page by page."""

    def __init__(self, options: Options, schema: StructType) -> None:
        self._job: Job = replace(options.job(), id_field=None)
        self._schema = schema
        self._id_field = options.get("idField", "_id")
        Columns(schema, self._id_field)  # what it raises is said before any task
        self._query = options.get("query", {"match_all": {}})
        self._page_size = options.get("pageSize", _DEFAULT_PAGE_SIZE)
        self._keep_alive = options.get("keepAlive", _DEFAULT_KEEP_ALIVE)
        self._slices = options.get("slices")

    def partitions(self) -> list[Slice]:
        """On the driver: as many as the index has primary shards, if `slices` says nothing else."""
        with self._job.client() as client:
            # Fails here, and not in the tasks, if there is no index, or the query is none.
            client.search(index=self._job.index, body={"query": self._query, "size": 0})
            slices = self._slices or _primary_shards(client, self._job.index)
        return [Slice(number, slices) for number in range(slices)]

    def read(self, partition: Slice) -> Iterator[pa.RecordBatch]:
        """In a task: its slice's documents."""
        columns = Columns(self._schema, self._id_field)
        with self._job.client(serializer=ExactDeserializer()) as client:
            point = client.create_pit(index=self._job.index, params={"keep_alive": self._keep_alive})["pit_id"]
            try:
                body: dict[str, Any] = {
                    "query": self._query,
                    "size": self._page_size,
                    "pit": {"id": point, "keep_alive": self._keep_alive},
                    # `_doc` is the cheapest order; where there are several shards or indices it is no document's own.
                    "sort": ["_doc", "_id", "_index"],
                    "track_total_hits": False,
                    "_source": columns.names,
                }
                if partition.of > 1:
                    body["slice"] = {"id": partition.number, "max": partition.of}
                while hits := self._page(client, body):
                    yield columns.batch(hits)
                    body["search_after"] = hits[-1]["sort"]
            finally:
                with suppress(TransportError):
                    client.delete_pit(body={"pit_id": [point]})

    def _page(self, client: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
        # By default an answer without the documents of a shard that failed is a success.
        answer = client.search(body=body, params={"allow_partial_search_results": "false"})
        if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
            raise TransportError(
                "N/A", f"the answer of {self._job.index} is not whole: {answer.get('_shards')}", answer
            )
        return answer["hits"]["hits"]  # type: ignore[no-any-return]


def _primary_shards(client: Any, index: str | None) -> int:
    try:
        settings = client.indices.get_settings(index=index)
    except TransportError as error:
        if isinstance(error, NotFoundError):
            raise
        return 1  # it does not tell
    return sum(int(of["settings"]["index"].get("number_of_shards", 1)) for of in settings.values()) or 1
