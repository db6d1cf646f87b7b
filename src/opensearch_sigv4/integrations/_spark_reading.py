"""Documents become Spark's columns: the schema of a mapping, and values as its types have them."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

import pyarrow as pa
from opensearchpy.serializer import JSONSerializer
from pyspark.sql import types
from pyspark.sql.pandas.types import to_arrow_schema

# Those that `_instant` reads. Source: OpenSearch documentation, "Date field type", built-in formats.
_DATE_FORMATS: Final = frozenset(
    [
        *("", "epoch_millis", "date_optional_time", "strict_date_optional_time", "strict_date_optional_time_nanos"),
        *("date", "strict_date", "date_time", "strict_date_time", "date_time_no_millis", "strict_date_time_no_millis"),
        *("date_hour_minute_second", "strict_date_hour_minute_second", "yyyy-MM-dd", "yyyy-MM-dd'T'HH:mm:ss"),
    ]
)
_DECIMALS: Final = Context(prec=38, rounding=ROUND_HALF_UP)  # as Spark's
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Of a mapping's types; any other becomes text, as JSON where the document has more than text.
# Source: OpenSearch documentation, "Supported field types".
_TYPES: Final[dict[str, types.DataType]] = {
    "boolean": types.BooleanType(),
    "byte": types.ByteType(),
    "short": types.ShortType(),
    "integer": types.IntegerType(),
    "long": types.LongType(),
    "unsigned_long": types.DecimalType(20, 0),
    "half_float": types.FloatType(),
    "float": types.FloatType(),
    "double": types.DoubleType(),
    "scaled_float": types.DoubleType(),
    "date": types.TimestampType(),
    "date_nanos": types.TimestampType(),
    "binary": types.BinaryType(),
    "knn_vector": types.ArrayType(types.FloatType()),
}


def schema_of(
    mapping: dict[str, Any],
    sample: Sequence[dict[str, Any]] = (),
    array_fields: Sequence[str] = (),
    id_field: str | None = None,
) -> types.StructType:
    """The schema that the answer of `GET index/_mapping` says.

    A mapping does not tell a field with one value from one with several: those that are arrays in one of the sample's
    hits are taken for some, and those that `array_fields` names, by dotted names.

    Raises:
        ValueError: two indices whose fields differ, or a name in `array_fields` that is no field's.

    >>> mapping = {"logs": {"mappings": {"properties": {"at": {"type": "date"}, "n": {"type": "long"}}}}}
    >>> schema_of(mapping).simpleString()
    'struct<at:timestamp,n:bigint>'
    """
    remaining = set(array_fields)
    merged: dict[str, Any] = {}
    for name, of in mapping.items():
        _merge(merged, of.get("mappings", {}).get("properties", {}), name)
    found: set[str] = set()
    for hit in sample:
        _find_arrays(hit.get("_source") or {}, "", found)
    schema = _struct(merged, "", found | remaining, remaining)
    if remaining:
        raise ValueError(f"option arrayFields: no field is called {', '.join(sorted(remaining))}")
    if id_field is not None:
        if id_field in schema.names:
            raise ValueError(f"option idField: {id_field!r} is a field of the documents; give their ids another name")
        schema = types.StructType([types.StructField(id_field, types.StringType(), False), *schema.fields])
    if not schema.fields:
        raise ValueError("the index has no fields yet: give a schema")
    return schema


def _merge(merged: dict[str, Any], properties: dict[str, Any], index: str, path: str = "") -> None:
    for name, field in properties.items():
        known = merged.setdefault(name, {**field, "properties": {}} if "properties" in field else field)
        if _kind(known) != _kind(field):
            raise ValueError(f"field {path}{name}: of another type in {index} than in other indices; give a schema")
        if "properties" in field:
            _merge(known["properties"], field["properties"], index, f"{path}{name}.")


def _kind(field: dict[str, Any]) -> Any:
    """What a field becomes: `text` and `keyword` are the same to Spark."""
    if "properties" in field:
        return field.get("type") == "nested"
    return _type_of(field)


def _type_of(field: dict[str, Any]) -> types.DataType:
    # A date that is written in another way is left as it is, rather than misread.
    if not set(field.get("format", "").split("||")) <= _DATE_FORMATS:
        return types.StringType()
    return _TYPES.get(field.get("type", ""), types.StringType())


def _find_arrays(document: dict[str, Any], path: str, found: set[str]) -> None:
    for name, value in document.items():
        full_name = f"{path}{name}"
        if isinstance(value, list):
            found.add(full_name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                _find_arrays(inner, f"{full_name}.", found)


def _struct(properties: dict[str, Any], path: str, arrays: set[str], unseen: set[str]) -> types.StructType:
    fields = []
    for name, field in properties.items():
        if field.get("type") == "alias":  # not in the documents
            continue
        full_name = f"{path}{name}"
        kind = _type_of(field)
        if "properties" in field:
            kind = _struct(field["properties"], f"{full_name}.", arrays, unseen)
        unseen.discard(full_name)
        is_array = full_name in arrays or field.get("type") == "nested"
        if is_array and not isinstance(kind, types.ArrayType):
            kind = types.ArrayType(kind)
        fields.append(types.StructField(name, kind))
    return types.StructType(fields)


def arrow_schema(schema: types.StructType) -> pa.Schema:
    """A schema as the record batches have it that Spark takes and gives."""
    try:
        return to_arrow_schema(schema, timezone="UTC")
    except TypeError:  # before Spark 4.3
        return to_arrow_schema(schema)


class ExactDeserializer(JSONSerializer):
    """opensearch-py's serializer, but that numbers with a point are read as `Decimal`, with all their digits."""

    def loads(self, s: Any) -> Any:
        return json.loads(s, parse_float=Decimal)


Read = Callable[[Any], Any]


class Columns:
    """Makes record batches of search hits.

    Args:
        schema: Spark's.
        id_field: the column for the documents' ids, where the schema has it.

    Raises:
        ValueError: a type that no document has.
    """

    def __init__(self, schema: types.StructType, id_field: str) -> None:
        self._fields = [(field.name, _read_of(field.dataType, field.name)) for field in schema.fields]
        self._schema = arrow_schema(schema)
        self._id_field = id_field
        #: What is to be in the hits' `_source`.
        self.names = [name for name, _ in self._fields if name != id_field]

    def batch(self, hits: Iterable[dict[str, Any]]) -> pa.RecordBatch:
        """
        Raises:
            ValueError: a value that is not of its column's type, by the document's id.
        """
        columns: list[list[Any]] = [[] for _ in self._fields]
        for hit in hits:
            source = _undotted(hit.get("_source") or {}, self.names)
            for (name, read), column in zip(self._fields, columns, strict=True):
                value = hit["_id"] if name == self._id_field else source.get(name)
                try:
                    column.append(None if value is None else read(value))
                except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
                    raise ValueError(f"document {hit['_id']!r} of {hit['_index']}: {error}") from error
        arrays = []
        for column, field in zip(columns, self._schema, strict=True):
            try:
                arrays.append(pa.array(column, field.type))
            except (pa.ArrowException, OverflowError) as error:
                raise ValueError(f"column {field.name}: {error}") from error
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _undotted(source: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A document whose `{"a.b": 1}` is `{"a": {"b": 1}}`, as OpenSearch reads it."""
    if not any("." in name and name not in names for name in source):
        return source
    result: dict[str, Any] = {}
    for name, value in source.items():
        if name in names:
            result[name] = value
            continue
        *path, last = name.split(".")
        inner = result
        for step in path:
            inner = inner.setdefault(step, {})
        if isinstance(value, dict) and isinstance(inner.get(last), dict):
            inner[last] |= value
        else:
            inner[last] = value
    return result


def _read_of(kind: types.DataType, path: str) -> Read:
    """The function that makes a value of that type of what stands in a document."""
    if isinstance(kind, types.ArrayType):
        inner = _read_of(kind.elementType, path)
        return lambda value: [
            None if one is None else inner(one) for one in (value if isinstance(value, list) else [value])
        ]
    single = _read_of_single(kind, path)

    def read(value: Any) -> Any:
        if isinstance(value, list):
            if len(value) > 1:
                raise ValueError(f"field {path} is an array there: name it in the option arrayFields, or give a schema")
            value = value[0] if value else None
        return None if value is None else single(value)

    return read


def _read_of_single(kind: types.DataType, path: str) -> Read:
    if isinstance(kind, types.StringType):
        return _text
    if isinstance(kind, types.BooleanType):
        return lambda value: _boolean(value, path)
    if isinstance(kind, types.IntegralType):
        return lambda value: _integer(value, path)
    if isinstance(kind, types.FractionalType) and not isinstance(kind, types.DecimalType):
        return float
    if isinstance(kind, types.DecimalType):
        exponent = Decimal(1).scaleb(-kind.scale)
        return lambda value: _decimal(value, exponent, path)
    if isinstance(kind, types.BinaryType):
        return lambda value: b64decode(value, validate=True)
    if isinstance(kind, types.TimestampType):
        return lambda value: _instant(value, path)
    if isinstance(kind, types.TimestampNTZType):
        return lambda value: _instant(value, path).replace(tzinfo=None)
    if isinstance(kind, types.DateType):
        return lambda value: _day(value, path)
    if isinstance(kind, types.StructType):
        fields = [(field.name, _read_of(field.dataType, f"{path}.{field.name}")) for field in kind.fields]
        names = kind.names
        return lambda value: _object(_undotted(value, names), fields)
    if isinstance(kind, types.MapType):
        key = _read_of_single(kind.keyType, f"{path}, its keys")
        inner = _read_of(kind.valueType, path)
        return lambda value: [(key(name), None if one is None else inner(one)) for name, one in value.items()]
    raise ValueError(f"column {path}: no document holds the type {kind.simpleString()}")


def _object(value: dict[str, Any], fields: Sequence[tuple[str, Read]]) -> dict[str, Any]:
    return {name: None if value.get(name) is None else read(value[name]) for name, read in fields}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=float, ensure_ascii=False)


def _boolean(value: Any, path: str) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false", ""):
        return False
    raise ValueError(f"field {path}: {value!r} is no boolean")


def _integer(value: Any, path: str) -> int:
    number = Decimal(str(value)) if not isinstance(value, int) else value
    if number != int(number):
        raise ValueError(f"field {path}: {value!r} is no integer")
    return int(number)


def _decimal(value: Any, exponent: Decimal, path: str) -> Decimal:
    try:
        return Decimal(str(value)).quantize(exponent, context=_DECIMALS)
    except ArithmeticError as error:
        raise ValueError(f"field {path}: {value!r} is no decimal that the column can hold") from error


def _instant(value: Any, path: str) -> datetime:
    """A date as OpenSearch's default format has it: `strict_date_optional_time||epoch_millis`."""
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        try:
            found = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"field {path}: {value!r} is no date in ISO 8601; read it as a string") from error
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if isinstance(value, str) and len(value) == 4:
        return datetime(int(value), 1, 1, tzinfo=UTC)
    return _EPOCH + timedelta(milliseconds=float(value))


def _day(value: Any, path: str) -> date:
    return _instant(value, path).astimezone(UTC).date()
