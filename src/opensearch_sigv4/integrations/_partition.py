"""`index_partition`: what a task of any engine does with its part of the documents, and the account that it gives."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from io import BytesIO
from numbers import Integral
from shutil import copyfileobj
from typing import IO, Any, Final
from uuid import uuid4

from opensearchpy import OpenSearch
from opensearchpy.client.utils import _make_path
from opensearchpy.exceptions import NotFoundError, SerializationError, TransportError
from opensearchpy.helpers import expand_action

from ..client import connect, host_of
from ..core._python_bulk import RENAMED
from ..credentials import source_of
from ..helpers._call import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_CHUNK_SIZE,
    DEFAULT_INITIAL_BACKOFF_S,
    DEFAULT_MAX_BACKOFF_S,
    DEFAULT_MAX_RETRIES,
    call_of,
)
from ..helpers._delivery import Failure, Outcome, Settled
from ..helpers._documents import Chunk, identity_of, is_repeatable
from ..helpers._failed import document_lines, malformed_line, told_of
from ..helpers._sync import settled_in_parallel
from ..responses import RETRIABLE_ITEM_STATUSES

OPS: Final = ("index", "create", "update", "delete")
CREATE_NEEDS_IDS: Final = (
    "create needs {id_field}, or {add_ids}: by ids that are made here, an attempt of a task that gets its rows in "
    "another order would take those of the one before for its own"
)
_METADATA: Final = RENAMED.union(("_id", "_index", "_op_type", "_source"))
_CLIENT_OPTIONS: Final = {"http_compress": True, "timeout": 120}
# Of a document that another attempt of the task, or an earlier run, may have sent: it is there, or is not any more.
_DONE_BEFORE: Final = {("create", 409), ("delete", 404)}
_MAX_REASONS: Final = 10
_MAX_ID_BYTES: Final = 512
_QUEUE_SIZE: Final = 1
_MOST: Final = (1 << 31) - 1
# What no new index may be called. Source: OpenSearch documentation, "Index naming restrictions".
_NO_INDEX_NAME: Final = re.compile(r'^[_+-]|^\.\.?$|[\\/*?"<>|\s,#:]|^.{256}')
_CHECK_TIMEOUT_S: Final = 20
_TLS_OPTIONS: Final = ("verify_certs", "ca_certs", "ssl_assert_hostname", "ssl_show_warn", "ssl_context")
# No task would fare better with these; with others it may, later.
_FATAL_STATUSES: Final = (401, 403, 404, 405)

_log = logging.getLogger(__name__)

#: A document's fields, where its id and routing are read, and the action that it becomes.
Entry = tuple[Mapping[str, Any], dict[str, Any]]


@dataclass
class Summary:
    """What became of the documents. Summaries add up, by `+` and by `sum`.

    Attributes:
        indexed: documents that are in, as they were to be created, updated or deleted.
        existing: those of `op_type="create"` whose id was there already, and of `"delete"` whose was not: by an earlier
            attempt of their task, or before.
        refused: those that are not in, each for a reason of its own.
        unknown: those that may be in or not, because an answer was lost: without an id, or of an update of their own.
        statuses: how many were refused or unknown by the status that they met, `"malformed"` if they were no JSON.
        reasons: the first few different reasons.
        failed_files: where they are, if there is a `failed_path`.

    >>> Summary(indexed=3) + Summary(indexed=4, refused=1)
    Summary(indexed=7, existing=0, refused=1, unknown=0, statuses={}, reasons=[], failed_files=[])
    """

    indexed: int = 0
    existing: int = 0
    refused: int = 0
    unknown: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    failed_files: list[str] = field(default_factory=list)

    @property
    def documents(self) -> int:
        """All of them."""
        return self.indexed + self.existing + self.refused + self.unknown

    @property
    def complete(self) -> bool:
        """Whether none was refused, and of none it is unknown."""
        return not (self.refused or self.unknown)

    def __radd__(self, other: object) -> Summary:
        return self if other == 0 else NotImplemented  # what `sum` begins with

    def __add__(self, other: Summary) -> Summary:
        if not isinstance(other, Summary):
            return NotImplemented
        return Summary(
            self.indexed + other.indexed,
            self.existing + other.existing,
            self.refused + other.refused,
            self.unknown + other.unknown,
            dict(Counter(self.statuses) + Counter(other.statuses)),
            list(dict.fromkeys([*self.reasons, *other.reasons]))[:_MAX_REASONS],
            [*self.failed_files, *other.failed_files],
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "documents": self.documents, "complete": self.complete}

    def __str__(self) -> str:
        counts = [f"{self.indexed:,} indexed"]
        counts += [
            f"{getattr(self, name):,} {name}" for name in ("existing", "refused", "unknown") if getattr(self, name)
        ]
        text = ", ".join(counts)
        if self.reasons:
            text += f" ({'; '.join(self.reasons)})"
        return text

    def note(self, status: str, reason: str) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if len(self.reasons) < _MAX_REASONS and reason not in self.reasons:
            self.reasons.append(reason)


class DocumentsRefused(Exception):  # noqa: N818 - it says what happened
    """Documents were refused, or of some it is unknown, and there was no `failed_path` to keep them; the others are in.

    Attributes:
        summary: of all documents.
    """

    def __init__(self, summary: Summary) -> None:
        super().__init__(summary)
        self.summary = summary

    def __str__(self) -> str:
        return (
            f"documents are not in: {self.summary}; a path to keep them (failedPath, failed_path) makes this no error"
        )


def index_partition(
    documents: Iterable[Mapping[str, Any]],
    index: str | None = None,
    *,
    url: str,
    region: str | None = None,
    service: str | None = None,
    credentials: Any = None,
    profile: str | None = None,
    op_type: str = "index",
    id_field: str | None = None,
    routing_field: str | None = None,
    pipeline: str | None = None,
    id_prefix: str | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    max_chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    concurrency: int = 1,
    max_retries: int = DEFAULT_MAX_RETRIES,
    failed_path: str | None = None,
    partition: str | None = None,
    client_options: Mapping[str, Any] | None = None,
) -> Summary:
    """Index one partition of a larger set of documents, and return what became of each: the body of a task.

    It makes a client, sends, and closes it; nothing is shared with other tasks. Documents that the domain refuses are
    counted, and kept under `failed_path`; what stops all of them (no credentials, no connection, a 403, throttling that
    does not end) raises, so that the engine tries its task again. A task that runs twice doubles nothing if its
    documents have ids, or an `id_prefix` gives them some.

    While the domain throttles, each task sends less, and pauses between its requests: so do all of them, and together
    they come to what the domain takes.

    :arg documents: mappings, consumed in the caller's thread. As `helpers.bulk` takes them, with `_id`, `_index`,
        `_op_type`, `_source` and so on, or just fields; but `version`, `routing` and other names without an underscore
        are fields here, not metadata
    :arg index: where documents go that do not say it themselves
    :arg url, region, service, credentials, profile: as `opensearch_sigv4.connect` takes them; credentials are looked
        for where this runs. To go to other processes they have to be picklable: None, a profile, a callable, or static
    :arg op_type: of documents that do not say it themselves: `index`, `create`, `update` (merges fields into a
        document, or creates it), `delete`
    :arg id_field: the field whose value is the document's id; a document without it is refused
    :arg routing_field: the field whose value is its routing
    :arg pipeline: an ingest pipeline
    :arg id_prefix: what the ids begin with that documents without one get when they are indexed, before their position
        in the partition; to be created they need their own. The same for each attempt of a task, and for no other task
    :arg chunk_size, max_chunk_bytes: documents and bytes in a request
    :arg concurrency: requests in flight
    :arg max_retries: how often a document is sent again that was certainly not executed, or that has an id
    :arg failed_path: a directory, or the URI of one that pyarrow knows (`s3://...`), for a file of the documents that
        are not in; it is written when all have an outcome. `opensearch-sigv4 bulk` takes it as input
    :arg partition: the name of that file, `part-` before it and `.ndjson` after it; by default it is a random one
    :arg client_options: further arguments of the client; by default it compresses, and waits 120 seconds for an answer

    Raises:
        TransportError: a request failed as a whole, or documents were throttled until `max_retries`.
        botocore.exceptions.NoCredentialsError: there are none here.
        ValueError: an argument that is none.
        Exception: what `documents` raises. What was sent before is in.

    Thread-safety: any number of threads; each call has a client of its own.

    >>> from opensearch_sigv4.testing import LocalDomain
    >>> with LocalDomain() as domain:
    ...     to = {"url": domain.url, "region": domain.region, "credentials": domain.credentials}
    ...     index_partition([{"id": n, "square": n * n} for n in range(3)], "squares", id_field="id", **to)
    Summary(indexed=3, existing=0, refused=0, unknown=0, statuses={}, reasons=[], failed_files=[])
    """
    job = Job(
        index=index,
        url=url,
        region=region,
        service=service,
        credentials=credentials,
        profile=profile,
        op_type=op_type,
        id_field=id_field,
        routing_field=routing_field,
        pipeline=pipeline,
        chunk_size=chunk_size,
        max_chunk_bytes=max_chunk_bytes,
        concurrency=concurrency,
        max_retries=max_retries,
        failed_path=failed_path,
        client_options=client_options,
    )
    if partition is not None and not re.fullmatch(r"[\w.=-]+", partition):
        raise ValueError("partition: letters, digits, and any of - _ . = are needed, for it is part of a file's name")
    return job.run(documents, job.entry, partition or uuid4().hex, id_prefix)


@dataclass(frozen=True)
class Job:
    """What all tasks of one load have in common: `index_partition`'s arguments. It is pickled to them.

    Raises:
        ValueError: an argument that is none, by its name.
    """

    url: str
    index: str | None = None
    region: str | None = None
    service: str | None = None
    credentials: Any = field(default=None, repr=False)
    profile: str | None = None
    op_type: str = "index"
    id_field: str | None = None
    routing_field: str | None = None
    pipeline: str | None = None
    chunk_size: int = DEFAULT_CHUNK_SIZE
    max_chunk_bytes: int = DEFAULT_CHUNK_BYTES
    concurrency: int = 1
    max_retries: int = DEFAULT_MAX_RETRIES
    failed_path: str | None = None
    create_index: bool = True
    client_options: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # A source is what says in which form credentials can be pickled, and which cannot.
        object.__setattr__(self, "credentials", source_of(self.credentials, profile=self.profile))
        object.__setattr__(self, "profile", None)
        if self.op_type not in OPS:
            raise ValueError(f"op_type: one of {', '.join(OPS)} is needed, not {self.op_type!r}")
        for name in ("chunk_size", "max_chunk_bytes", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
            if getattr(self, name) > _MOST:
                raise ValueError(f"{name}: at most {_MOST}")
        if self.failed_path is not None and not is_uri(self.failed_path):
            object.__setattr__(self, "failed_path", os.path.abspath(self.failed_path))  # of the driver
        if self.max_retries < 0:
            raise ValueError("max_retries: at least 0")

    def client(self, **options: Any) -> OpenSearch:
        """A client to the domain, which the caller closes."""
        return connect(
            self.url,
            region=self.region,
            service=self.service,
            credentials=self.credentials,
            **{**_CLIENT_OPTIONS, "pool_maxsize": self.concurrency, **(self.client_options or {}), **options},
        )

    # --- before any task starts

    def check(self) -> None:
        """Raise what would end each of the tasks, by a request of the kind that they send, which can index nothing.

        Where there are no credentials, because only the tasks' machines have some, any answer will do.

        Raises:
            ValueError: arguments that make no client, an index that is not there with `create_index=False`, or a
                `failed_path` that is a file.
            TransportError: the domain cannot be reached, or refuses.
        """
        if self.failed_path is not None:
            check_path("failed_path", self.failed_path, is_directory=True)
        with self.client(timeout=_CHECK_TIMEOUT_S, max_retries=0) as client:
            try:
                # Signed and authorized as a task's, and refused with a 400 because there is nothing in it.
                client.transport.perform_request("POST", _make_path(self.index, "_bulk"))
            except TransportError as error:
                is_no_endpoint = "no handler found" in str(error)  # of a URL with a path
                if not isinstance(error.status_code, int) or error.status_code in _FATAL_STATUSES or is_no_endpoint:
                    error.add_note(f"{self.url} was asked before any task was started")
                    raise
            except Exception as error:
                if not _is_missing_credentials(error):
                    raise
                _log.warning("there are no credentials here: those of the tasks' machines could not be tried")
                self._check_unsigned()
                return
            if self.index is not None:
                self._check_index(client)
            if self.pipeline is not None:
                self._check_pipeline(client)

    def _check_pipeline(self, client: OpenSearch) -> None:
        try:
            is_there = bool(client.ingest.get_pipeline(id=self.pipeline))
        except NotFoundError:
            is_there = False
        except TransportError:
            return  # it may not be looked at
        if not is_there:
            raise ValueError(f"pipeline: there is no {self.pipeline!r} at {self.url}")

    def _check_index(self, client: OpenSearch) -> None:
        try:
            is_there = client.indices.exists(index=self.index)
        except TransportError:
            return  # it may not be looked at
        if is_there:
            return
        if not self.create_index:
            raise ValueError(f"index: there is no {self.index!r} at {self.url}, and create_index is false")
        assert self.index is not None
        is_computed = self.index.startswith("<")  # of today's date, by OpenSearch
        if not is_computed and (_NO_INDEX_NAME.search(self.index) or self.index != self.index.lower()):
            raise ValueError(f"index: {self.index!r} is not there, and cannot be the name of a new one")

    def _check_unsigned(self) -> None:
        given = self.client_options or {}
        options = {name: given[name] for name in _TLS_OPTIONS if name in given}
        with OpenSearch([host_of(self.url)], timeout=_CHECK_TIMEOUT_S, max_retries=0, **options) as client:
            try:
                client.transport.perform_request("HEAD", "/")
            except TransportError as error:
                if not isinstance(error.status_code, int):
                    raise

    # --- in a task

    def entry(self, document: Mapping[str, Any]) -> Entry:
        """A document with or without metadata; see `index_partition`.

        Raises:
            ValueError: it is no document.
        """
        if not isinstance(document, Mapping):
            raise ValueError(f"a mapping is needed, not {type(document).__name__}")
        if _METADATA.isdisjoint(document):
            return self.row(document if type(document) is dict else dict(document), self.op_type)
        metadata = {name: document[name] for name in _METADATA & document.keys()}
        op_type = metadata.pop("_op_type", None)
        if op_type is not None and self.op_type == "update":  # all of which may be executed twice
            raise ValueError("_op_type: not beside op_type='update'")
        fields = metadata.pop("_source", None)
        if fields is None:
            fields = {name: value for name, value in document.items() if name not in _METADATA}
        elif not isinstance(fields, Mapping):
            raise ValueError(f"_source: a mapping is needed, not {type(fields).__name__}")
        if op_type not in (None, *OPS):
            raise ValueError(f"_op_type: one of {', '.join(OPS)} is needed, not {op_type!r}")
        if op_type == "update":
            return fields, {**metadata, "_op_type": op_type, **fields}  # `doc`, `script` and so on
        return fields, {**metadata, **self.row(fields, op_type or self.op_type)[1]}

    def row(self, fields: dict[str, Any], op_type: str) -> Entry:
        """A document whose fields are all data, whatever they are called."""
        if op_type == "update":
            return fields, {"_op_type": "update", "doc": fields, "doc_as_upsert": True}
        return fields, {"_op_type": op_type, "_source": fields}

    def row_of_table(self, fields: dict[str, Any]) -> Entry:
        """A row, whose `_id` is no field that a document may have."""
        source = {name: value for name, value in fields.items() if name != "_id"} if "_id" in fields else fields
        return fields, self.row(source, self.op_type)[1]

    def run(
        self, documents: Iterable[Any], make: Callable[[Any], Entry], partition: str, id_prefix: str | None = None
    ) -> Summary:
        """Send documents, each as `make` returns it, and return what became of them; see `index_partition`."""
        parameters = {"index": self.index, "pipeline": self.pipeline}
        account = _Account(self, partition)
        with self.client() as client, account:
            call = call_of(
                client=client,
                args=(),
                kwargs={name: value for name, value in parameters.items() if value is not None},
                chunk_size=self.chunk_size,
                max_chunk_bytes=self.max_chunk_bytes,
                raise_on_error=False,
                expand_action_callback=expand_action,
                raise_on_exception=False,
                max_retries=self.max_retries,
                initial_backoff=DEFAULT_INITIAL_BACKOFF_S,
                max_backoff=DEFAULT_MAX_BACKOFF_S,
                ignore_status=(),
                retry_unknown=self.op_type == "update",  # merging the same fields once more changes nothing
                idempotent=False,
            )
            call.chunker.unfit = lambda action, error: account.malformed(action.get("_source", action), error)
            actions = self._actions(documents, make, id_prefix, account)
            with closing(settled_in_parallel(call, actions, self.concurrency, _QUEUE_SIZE)) as settling:
                for settled in settling:
                    account.settle(settled)
            account.keep()
        return account.summary

    def _actions(
        self, documents: Iterable[Any], make: Callable[[Any], Entry], id_prefix: str | None, account: _Account
    ) -> Iterator[dict[str, Any]]:
        id_field, routing_field = self.id_field, self.routing_field
        for position, document in enumerate(documents):
            account.position = position
            try:
                fields, action = make(document)
                if id_field is not None:
                    action["_id"] = _text_of(fields, id_field)
                elif action.get("_id") is None:
                    # An id that is made here tells nothing of a document: with another order of the rows the next
                    # attempt gives it to another one. An index puts that in its place; the others would lose it.
                    if action["_op_type"] != "index" and (id_prefix is not None or action["_op_type"] != "create"):
                        raise ValueError(f"{action['_op_type']} needs an _id")
                    if id_prefix is not None:
                        action["_id"] = f"{id_prefix}{position}"
                if routing_field is not None:
                    action["routing"] = _text_of(fields, routing_field)
            except ValueError as error:
                account.malformed(document, error)
            else:
                yield action


def _text_of(fields: Mapping[str, Any], name: str) -> str:
    """The value of the field of an id or a routing.

    Raises:
        ValueError: there is none, or it is none.
    """
    value = fields.get(name)
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        if value is None:
            raise ValueError(f"{name}: it is missing or null")
        # pandas makes floats of integers where some are missing.
        if isinstance(value, bool) or not isinstance(value, (Integral, float, Decimal)) or value != value // 1:
            raise ValueError(f"{name}: text or an integer is needed, not {type(value).__name__}")
        return str(int(value))
    if not value:
        raise ValueError(f"{name}: it is empty")
    if len(value.encode(errors="surrogatepass")) > _MAX_ID_BYTES:
        raise ValueError(f"{name}: more than {_MAX_ID_BYTES} bytes")
    return value


def _text_of_document(document: Any) -> bytes:
    """What is kept of it: JSON, if it has any."""
    try:
        return json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        return repr(document).encode(errors="backslashreplace")


def _is_missing_credentials(error: Exception) -> bool:
    from botocore.exceptions import NoCredentialsError

    return isinstance(error, NoCredentialsError)


class _Account:
    """Counts the outcomes of a partition's documents, and keeps those that are not in."""

    def __init__(self, job: Job, partition: str) -> None:
        self.summary = Summary()
        self._job = job
        self._name = f"part-{partition}.ndjson"
        self._file: IO[bytes] | None = None
        #: Of the document that was taken last.
        self.position = 0
        self._malformed: list[int] = []  # their positions
        self._passed = 0  # how many of them come before the chunk's document that was settled last

    def __enter__(self) -> _Account:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def settle(self, settled: Settled) -> None:
        """Account for a chunk.

        Raises:
            TransportError: what another attempt of the task may have more luck with.
        """
        self.summary.indexed += settled.succeeded
        for position, outcome in settled.outcomes(with_succeeded=False):
            if isinstance(outcome, Failure) or not outcome[0]:
                self._settle(settled.chunk, position, outcome)

    def _settle(self, chunk: Chunk, position: int, outcome: Outcome) -> None:
        told = told_of(outcome)
        action = chunk.action(position)
        # Anything else another attempt would execute twice.
        may_repeat = is_repeatable(action) or (self._job.op_type == "update" and identity_of(action) is not None)
        if isinstance(outcome, Failure):
            if not outcome.is_refusal and (may_repeat or not outcome.unknown):
                raise outcome.error
        else:
            [op_type] = outcome[1]
            if (op_type, told.status) in _DONE_BEFORE:
                self.summary.existing += 1
                return
            if may_repeat and told.status in RETRIABLE_ITEM_STATUSES:
                raise TransportError(told.status, told.reason, outcome[1])
        if told.unknown:
            self.summary.unknown += 1
        else:
            self.summary.refused += 1
        self.summary.note(str(told.status), told.reason)
        if self._job.failed_path is not None:
            lines = document_lines(chunk, position, index=self._job.index, pipeline=self._job.pipeline)
            self._write(told.line(self._origin(self._position_of(chunk.first + position))) + lines)

    def _position_of(self, sent: int) -> int:
        """Where a document stands in the partition that is the so manieth of those sent; called with rising numbers."""
        while self._passed < len(self._malformed) and self._malformed[self._passed] <= sent + self._passed:
            self._passed += 1
        return sent + self._passed

    def _origin(self, position: int) -> dict[str, Any]:
        return {"file": self._name, "line": position + 1}

    def malformed(self, document: Any, error: Exception) -> None:
        """Account for what is no document: it is the one that was taken last."""
        reason = str(error.args[1] if isinstance(error, SerializationError) and len(error.args) > 1 else error)
        self._malformed.append(self.position)
        self.summary.refused += 1
        self.summary.note("malformed", reason)
        if self._job.failed_path is not None:
            self._write(malformed_line(self._origin(self.position), _text_of_document(document), reason))

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._file.write(lines)

    def keep(self) -> None:
        """Put the file where it belongs, in place of one that an earlier attempt of the task has left there."""
        path = self._job.failed_path
        if path is None:
            return
        target = f"{path.rstrip('/')}/{self._name}"
        if self._file is not None:
            self._file.seek(0)
            self.summary.failed_files.append(target)
        keep(target, self._file)


def check_path(name: str, path: str, *, is_directory: bool) -> None:
    """
    Raises:
        ValueError: what is there is of the other kind, or pyarrow does not know such a URI.
    """
    if is_uri(path):
        try:
            _filesystem_of(path)
        except (ValueError, OSError) as error:  # pyarrow's are of these, too
            raise ValueError(f"{name}: {error}") from error
    elif is_directory and os.path.isfile(path):
        raise ValueError(f"{name}: {path} is a file, a directory is needed")
    elif not is_directory and os.path.isdir(path):
        raise ValueError(f"{name}: {path} is a directory, the name of a file is needed")


def is_uri(path: str) -> bool:
    """Whether it begins with a scheme: `s3://...`, and `dbfs:/...`, too."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", path) is not None


def _filesystem_of(uri: str) -> tuple[Any, str]:
    try:
        from pyarrow.fs import FileSystem
    except ImportError as error:
        raise ImportError(f"{uri}: for a URI pyarrow is needed: pip install pyarrow") from error
    return FileSystem.from_uri(uri)  # type: ignore[no-any-return]


def keep(path: str, content: bytes | IO[bytes] | None) -> None:
    """Write a file at once, in place of any other: at a path here, or at a URI that pyarrow knows; None removes it."""
    source = BytesIO(content) if isinstance(content, bytes) else content
    directory, _, name = path.rpartition("/")
    if is_uri(path):
        _keep_remotely(path, source)
    elif source is None:
        with suppress(FileNotFoundError):
            os.unlink(path)
    else:
        os.makedirs(directory or ".", exist_ok=True)
        temporary = os.path.join(directory, f".{name}.{uuid4().hex}")
        with open(temporary, "wb") as output:
            copyfileobj(source, output)
        os.replace(temporary, path)


def _keep_remotely(uri: str, source: IO[bytes] | None) -> None:
    filesystem, path = _filesystem_of(uri)
    if source is not None:
        filesystem.create_dir(os.path.dirname(path), recursive=True)
        with filesystem.open_output_stream(path) as output:
            copyfileobj(source, output)
    elif filesystem.get_file_info(path).is_file:
        filesystem.delete_file(path)
