"""Dask: `to_opensearch(bag_or_dataframe, index, ...)`, on any of its schedulers."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final
from uuid import uuid4

try:
    import cloudpickle
    import dask
    import dask.bag
    import dask.local
    import dask.threaded
    from dask.base import get_scheduler
    from dask.delayed import delayed
except ImportError as error:
    raise ImportError("Dask is needed: pip install 'opensearch-sigv4[dask]'") from error

from ._partition import CREATE_NEEDS_IDS, DocumentsRefused, Job, Summary

_DEFAULT_RETRIES: Final = 3


def to_opensearch(
    collection: Any,
    index: str,
    *,
    url: str,
    add_ids: bool = True,
    create_index: bool = True,
    keep_nulls: bool = False,
    retries: int = _DEFAULT_RETRIES,
    scheduler: Any = None,
    **options: Any,
) -> Summary:
    """Index a bag or a DataFrame, each partition in a task of its own, and return what became of the documents.

    Before any task starts, one request is made here that would be refused if theirs were. The tasks look for
    credentials where they run. A task that runs again, because its worker was lost or it raised, doubles nothing:
    documents without an id get one from their partition and their position in it.

    :arg collection: a `dask.bag.Bag` of mappings, as `index_partition` takes them; or a `dask.dataframe.DataFrame`,
        whose rows become documents: NaN, NaT and NA are left out, timestamps become text in ISO 8601, decimals keep
        their digits, bytes become base64. A column `_id` holds ids
    :arg index: where they go
    :arg url: of the domain or collection
    :arg add_ids: give documents without an id one; not for Serverless time-series and vector collections
    :arg create_index: false raises if there is no such index, which OpenSearch would make with the first document
    :arg keep_nulls: write what a DataFrame's row has not as `null`
    :arg retries: how often the distributed scheduler starts a task again that raised
    :arg scheduler: as `dask.compute` takes it; by default Dask's own choice, which is a `Client` if there is one
    :arg options: everything else that `index_partition` takes: `id_field`, which may be the name of a DataFrame's
        index, `op_type`, `region`, `credentials`, `failed_path` and so on

    Raises:
        ValueError, TransportError: what is wrong for all tasks, before they start; or what the last attempt of a task
            raised.
        DocumentsRefused: documents were refused, and there is no `failed_path` to keep them; all others are in.
        TypeError: another kind of collection, an argument that `index_partition` has not, or credentials that cannot
            go to another process.

    Thread-safety: as Dask's.

    >>> import dask.bag
    >>> from opensearch_sigv4.testing import LocalDomain
    >>> with LocalDomain() as domain:
    ...     to = {"url": domain.url, "region": domain.region, "credentials": domain.credentials}
    ...     numbers = dask.bag.from_sequence(({"_id": n, "square": n * n} for n in range(100)), npartitions=4)
    ...     to_opensearch(numbers, "squares", scheduler="threads", **to).indexed
    100
    """
    is_frame = hasattr(collection, "to_delayed") and getattr(collection, "ndim", None) == 2
    if not is_frame and not isinstance(collection, dask.bag.Bag):
        raise TypeError(f"collection: a bag or a DataFrame of Dask is needed, not {type(collection).__name__}")
    if unknown := sorted(options.keys() - {argument.name for argument in fields(Job)}):
        raise TypeError(f"to_opensearch() got an unexpected keyword argument {unknown[0]!r}")
    job = Job(index=index, url=url, create_index=create_index, **options)
    if retries < 0:
        raise ValueError("retries: at least 0")
    if is_frame:
        job = _checked(job, collection, add_ids)
    if get_scheduler(scheduler=scheduler, collections=[collection]) not in (dask.threaded.get, dask.local.get_sync):
        cloudpickle.dumps(job)  # or Dask would say no more than that something cannot be pickled
    job.check()
    load_id = uuid4().hex[:16]
    write = _write_frame if is_frame else _write_bag
    parts = collection.to_delayed()
    with dask.annotate(retries=retries):
        tasks = [
            delayed(write, pure=False)(part, job, number, load_id, add_ids, keep_nulls)
            for number, part in enumerate(parts)
        ]
        summary = sum(dask.compute(*tasks, scheduler=scheduler), Summary())
    if not summary.complete and job.failed_path is None:
        raise DocumentsRefused(summary)
    return summary


def _checked(job: Job, frame: Any, add_ids: bool) -> Job:
    """The job, with a column `_id` as the id's.

    Raises:
        ValueError: a field that is no column, or no ids where they are needed.
    """
    names = [str(name) for name in frame.columns]
    if not names:
        raise ValueError("there is no column")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns of one name: {', '.join(twice)}")
    for argument, name in (("id_field", job.id_field), ("routing_field", job.routing_field)):
        if name is not None and name not in names and name != frame.index.name:
            raise ValueError(f"{argument}: there is no column {name!r}; there are {', '.join(names)}")
    if job.id_field is None and "_id" in names:
        return replace(job, id_field="_id")
    if job.id_field is None and job.op_type in ("update", "delete"):
        raise ValueError(f"id_field: {job.op_type} needs it")
    if job.id_field is None and job.op_type == "create" and add_ids:
        raise ValueError(CREATE_NEEDS_IDS.format(id_field="id_field", add_ids="add_ids=False"))
    return job


def _write_bag(documents: Any, job: Job, number: int, load_id: str, add_ids: bool, keep_nulls: bool) -> Summary:
    return job.run(documents, job.entry, *_names(number, load_id, add_ids))


def _write_frame(frame: Any, job: Job, number: int, load_id: str, add_ids: bool, keep_nulls: bool) -> Summary:
    from ._arrow import ExactSerializer, rows_of_frame

    if job.id_field is not None and job.id_field == frame.index.name and job.id_field not in frame.columns:
        frame = frame.reset_index()
    rows, has_decimals = rows_of_frame(frame, keep_nulls=keep_nulls)
    if has_decimals:
        job = replace(job, client_options={**(job.client_options or {}), "serializer": ExactSerializer()})
    return job.run(rows, job.row_of_table, *_names(number, load_id, add_ids))


def _names(number: int, load_id: str, add_ids: bool) -> tuple[str, str | None]:
    """The partition's name, and what its documents' ids begin with: the same for each attempt."""
    return f"{number:05d}-{load_id}", f"{load_id}-{number}-" if add_ids else None
