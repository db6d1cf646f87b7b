"""Arrow's record batches become documents: what Spark and Dask hold, in the form that OpenSearch's fields take.

Arrow                        the document
---------------------------  ------------------------------------------------------------------------------
null                         left out, within structs too; `null` with `keep_nulls`, and in arrays
bool, integers, floats       the same; NaN and infinity are no JSON: such a document is refused
decimal                      a number with all its digits
string                       the same
binary                       base64, as a `binary` field has it
timestamp with a zone        `2026-11-28T06:44:18.250000Z`: the instant, in UTC
timestamp without one        `2026-11-28T06:44:18.250000`, which a `date` field takes for UTC
date                         `2026-11-28`
time                         `06:44:18.250000`
list                         an array
struct, map                  an object; a map's keys become text
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from opensearchpy.exceptions import SerializationError
from opensearchpy.serializer import JSONSerializer

Convert = Callable[[Any], Any]


class Documents:
    """Makes documents of record batches of one schema.

    Args:
        schema: theirs.
        keep_nulls: write them, rather than leave them out.

    Raises:
        ValueError: two columns of one name, or a type that no document can hold, by its column.

    >>> schema = pa.schema({"name": pa.string(), "at": pa.timestamp("ms", "UTC"), "tags": pa.list_(pa.string())})
    >>> batch = pa.RecordBatch.from_pydict({"name": ["a", None], "at": [0, 1500], "tags": [["x"], []]}, schema)
    >>> for document in Documents(schema).of(batch):
    ...     print(document)
    {'name': 'a', 'at': '1970-01-01T00:00:00.000Z', 'tags': ['x']}
    {'at': '1970-01-01T00:00:01.500Z', 'tags': []}
    """

    def __init__(self, schema: pa.Schema, *, keep_nulls: bool = False) -> None:
        self._names = schema.names
        if not self._names:
            raise ValueError("there is no column")
        self._keeps_nulls = keep_nulls
        if len(set(self._names)) < len(self._names):
            twice = {name for name in self._names if self._names.count(name) > 1}
            raise ValueError(f"columns of one name: {', '.join(sorted(twice))}")
        self._converts = [_convert_of(field.type, field.name, keep_nulls) for field in schema]
        #: Whether a document may hold a `Decimal`, which only `ExactSerializer` writes as it is.
        self.has_decimals = any(_holds(field.type, pa.types.is_decimal) for field in schema)

    def of(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        """The documents of a batch."""
        columns = [self._values(column, convert) for column, convert in zip(batch.columns, self._converts, strict=True)]
        names = self._names
        if self._keeps_nulls or not any(column.null_count for column in batch.columns):
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))
        else:
            for values in zip(*columns, strict=True):
                yield {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def _values(self, column: pa.Array, convert: Convert | None) -> list[Any]:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if pa.types.is_timestamp(kind):  # in one step, which has no limits of years
            in_utc = column.cast(pa.timestamp(kind.unit, "UTC" if kind.tz else None))
            text = pc.strftime(in_utc, "%Y-%m-%dT%H:%M:%SZ" if kind.tz else "%Y-%m-%dT%H:%M:%S")
            return text.to_pylist()  # type: ignore[no-any-return]
        values = _with_shortest_floats(column).to_pylist()
        if self.has_decimals and _has_non_finite(column):
            convert = _chained(convert, _marked)
        if convert is None:
            return values  # type: ignore[no-any-return]
        return [None if value is None else convert(value) for value in values]


def _with_shortest_floats(column: pa.Array) -> pa.Array:
    """A column whose 32-bit floats are the 64-bit ones with as few digits: 1.1, and not 1.100000023841858."""
    kind = column.type
    if pa.types.is_float32(kind):
        return column.cast(pa.string()).cast(pa.float64())
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_float32(kind.value_type):
        if column.offset:
            column = column.take(pa.array(range(len(column))))
        list_class = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        return list_class.from_arrays(column.offsets, _with_shortest_floats(column.values), mask=column.is_null())
    return column


class ExactSerializer(JSONSerializer):
    """opensearch-py's serializer, but that a `Decimal` is written with all its digits."""

    def dumps(self, data: Any) -> Any:
        if isinstance(data, (str, bytes)):
            return data
        try:
            return orjson.dumps(data, default=self._exact)
        except TypeError as error:
            raise SerializationError(data, error.__cause__ or error) from error

    def _exact(self, value: Any) -> Any:
        if isinstance(value, _NotFinite):
            raise TypeError(f"{float(value)} is no JSON")
        if isinstance(value, Decimal):
            if not value.is_finite():
                raise TypeError(f"{value} is no JSON")
            return orjson.Fragment(format(value, "f"))
        return self.default(value)


def rows_of_frame(frame: Any, *, keep_nulls: bool = False) -> tuple[Iterator[dict[str, Any]], bool]:
    """The documents of a pandas DataFrame's rows, and whether they may hold a `Decimal`.

    A column of objects of several types, which Arrow cannot hold, goes as it is.
    """
    columns: dict[str, pa.Array] = {}
    mixed: dict[str, list[Any]] = {}
    for number, name in enumerate(map(str, frame.columns)):
        series = frame.iloc[:, number]
        try:
            column = pa.Array.from_pandas(series)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            mixed[name] = [
                None if is_missing else value for value, is_missing in zip(series, series.isna(), strict=True)
            ]
        else:
            columns[name] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not columns:
        return _with_mixed(({} for _ in range(len(frame))), mixed, keep_nulls), False
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    documents = Documents(batch.schema, keep_nulls=keep_nulls)
    rows = documents.of(batch)
    return _with_mixed(rows, mixed, keep_nulls) if mixed else rows, documents.has_decimals


def _with_mixed(
    rows: Iterable[dict[str, Any]], mixed: dict[str, list[Any]], keep_nulls: bool
) -> Iterator[dict[str, Any]]:
    for row, values in zip(rows, zip(*mixed.values(), strict=True), strict=True):
        row |= {name: value for name, value in zip(mixed, values, strict=True) if keep_nulls or value is not None}
        yield row


class _NotFinite(float):
    """Not a float to orjson, which writes NaN and infinity as null."""


def _marked(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else _NotFinite(value)
    if isinstance(value, dict):
        return {name: _marked(inner) for name, inner in value.items()}
    return [_marked(inner) for inner in value] if isinstance(value, list) else value


def _chained(first: Convert | None, second: Convert) -> Convert:
    return second if first is None else lambda value: second(first(value))


def _children(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_dictionary(kind):
        return [kind.value_type]
    return [kind.field(number).type for number in range(kind.num_fields)]


def _holds(kind: pa.DataType, what: Callable[[pa.DataType], bool]) -> bool:
    return what(kind) or any(_holds(child, what) for child in _children(kind))


def _has_non_finite(column: pa.Array) -> bool:
    """Whether a column holds a NaN or an infinity."""
    kind = column.type
    if pa.types.is_floating(kind):
        return not pc.all(pc.is_finite(column), min_count=0).as_py()
    if not _holds(kind, pa.types.is_floating):
        return False
    if pa.types.is_map(kind):
        return _has_non_finite(column.items)
    return any(map(_has_non_finite, column.flatten() if pa.types.is_struct(kind) else [column.flatten()]))


def _convert_of(kind: pa.DataType, path: str, keep_nulls: bool) -> Convert | None:
    """The function that makes of a value what stands in a document; None for what needs none.

    Raises:
        ValueError: no document can hold one.
    """
    types = pa.types
    if (
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
        or types.is_decimal(kind)
    ):
        return None
    if types.is_timestamp(kind):
        return _instant if kind.tz else _iso
    if types.is_date(kind) or types.is_time(kind):
        return _iso
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _base64
    if types.is_dictionary(kind):
        return _convert_of(kind.value_type, path, keep_nulls)
    if types.is_struct(kind):
        fields = {field.name: _convert_of(field.type, f"{path}.{field.name}", keep_nulls) for field in kind}
        return _object_by(fields, keep_nulls)
    if types.is_map(kind):
        if types.is_nested(kind.key_type):
            raise ValueError(
                f"column {path}, its keys: of the type {kind.key_type}, which no document can hold: cast it"
            )
        key = _convert_of(kind.key_type, f"{path}, its keys", keep_nulls) or _text
        return _mapping_by(key, _convert_of(kind.item_type, f"{path}, its values", keep_nulls), keep_nulls)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _convert_of(kind.value_type, f"{path}, its elements", keep_nulls)
        return inner and _array_by(inner)
    raise ValueError(f"column {path}: of the type {kind}, which no document can hold: cast it")


def _iso(value: Any) -> str:
    return value.isoformat()  # type: ignore[no-any-return]


def _instant(value: Any) -> str:
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _apply(convert: Convert | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)


def _object_by(converts: dict[str, Convert | None], keep_nulls: bool) -> Convert:
    return lambda value: {
        name: _apply(convert, value[name])
        for name, convert in converts.items()
        if keep_nulls or value[name] is not None
    }


def _mapping_by(key: Convert, item: Convert | None, keep_nulls: bool) -> Convert:
    return lambda value: {key(name): _apply(item, inner) for name, inner in value if keep_nulls or inner is not None}


def _array_by(convert: Convert) -> Convert:
    return lambda value: [_apply(convert, inner) for inner in value]
