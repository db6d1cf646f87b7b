"""Arrow's types as documents have them: `integrations/_arrow.py`."""

import datetime as dt
import json
from decimal import Decimal

import pytest
from opensearchpy.exceptions import SerializationError

pa = pytest.importorskip("pyarrow", reason="the extras spark and dask bring pyarrow")
pytest.importorskip("orjson")

from opensearch_sigv4.integrations._arrow import Documents, ExactSerializer, rows_of_frame  # noqa: E402

UTC = dt.UTC
BERLIN = "Europe/Berlin"
LATE = dt.datetime(2024, 10, 27, 0, 30, 0, 5, UTC)  # 02:30 for the first time of two in Berlin


def rows(columns, **options):
    table = pa.table(columns)
    documents = Documents(table.schema, **options)
    return [row for batch in table.to_batches() for row in documents.of(batch)]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.bool_(), True, True),
        (pa.int8(), -1, -1),
        (pa.uint64(), 2**64 - 1, 2**64 - 1),
        (pa.float32(), 1.1, 1.1),
        (pa.list_(pa.float32()), [1.1, None, 2.0], [1.1, None, 2.0]),
        (pa.large_list(pa.float32()), [1e-10, 3.4028234663852886e38], [1e-10, 3.4028235e38]),
        (pa.float64(), 0.1, 0.1),
        (pa.string(), "ü\n", "ü\n"),
        (pa.large_string(), "x", "x"),
        (pa.binary(), b"\x00\xff", "AP8="),
        (pa.binary(2), b"ab", "YWI="),
        (pa.date32(), dt.date(1969, 7, 20), "1969-07-20"),
        (pa.time64("us"), dt.time(1, 2, 3, 4), "01:02:03.000004"),
        (pa.timestamp("us", "UTC"), LATE, "2024-10-27T00:30:00.000005Z"),
        (pa.timestamp("us", BERLIN), LATE, "2024-10-27T00:30:00.000005Z"),
        (pa.timestamp("s", "UTC"), 0, "1970-01-01T00:00:00Z"),
        (pa.timestamp("ms"), 1500, "1970-01-01T00:00:01.500"),
        (pa.timestamp("ns"), 1, "1970-01-01T00:00:00.000000001"),
        (pa.list_(pa.int32()), [1, None, 3], [1, None, 3]),
        (pa.list_(pa.binary()), [b"\x00", None], ["AA==", None]),
        (pa.large_list(pa.timestamp("us", BERLIN)), [LATE], ["2024-10-27T00:30:00.000005Z"]),
        (pa.list_(pa.float32(), 2), [1.0, 2.0], [1.0, 2.0]),
        (pa.list_(pa.list_(pa.date32())), [[dt.date(2024, 1, 1)], []], [["2024-01-01"], []]),
        (pa.struct([("a", pa.int8()), ("b", pa.string())]), {"a": 1, "b": None}, {"a": 1}),
        (pa.struct([("t", pa.timestamp("s"))]), {"t": dt.datetime(2024, 1, 1)}, {"t": "2024-01-01T00:00:00"}),
        (pa.map_(pa.string(), pa.int64()), [("k", 1), ("l", None)], {"k": 1}),
        (pa.map_(pa.int8(), pa.binary()), [(1, b"\x00")], {"1": "AA=="}),
        (pa.map_(pa.bool_(), pa.string()), [(True, "x")], {"true": "x"}),
        (pa.map_(pa.date32(), pa.string()), [(dt.date(2024, 1, 1), "x")], {"2024-01-01": "x"}),
        (pa.dictionary(pa.int8(), pa.string()), "x", "x"),
    ],
    ids=str,
)
def test_a_value_of_each_type(kind, value, expected):
    column = pa.array([value, None], kind)
    assert rows({"c": column}) == [{"c": expected}, {}]
    assert rows({"c": column.slice(1)}) == [{}]
    assert rows({"c": column.slice(0, 0)}) == []
    if not pa.types.is_dictionary(kind):
        nested = pa.array([[value], None], pa.list_(kind)) if not pa.types.is_map(kind) else None
        assert nested is None or rows({"c": nested})[1] == {}


def test_a_time_before_pythons():
    assert rows({"t": pa.array([-62167219200_000_000 + 1], pa.timestamp("us"))}) == [
        {"t": "0000-01-01T00:00:00.000001"}
    ]


def test_nulls_are_kept_if_asked_for():
    struct = pa.array([{"a": None}, None], pa.struct([("a", pa.int8())]))
    assert rows({"n": pa.array([1, None]), "s": struct}, keep_nulls=True) == [
        {"n": 1, "s": {"a": None}},
        {"n": None, "s": None},
    ]


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.month_day_nano_interval(), pa.list_(pa.duration("s"))], ids=str)
def test_types_that_no_document_has(kind):
    with pytest.raises(ValueError, match=r"^column c.*: of the type .*: cast it"):
        Documents(pa.schema([("c", kind)]))


def test_no_column():
    with pytest.raises(ValueError, match="there is no column"):
        Documents(pa.schema([]))


def test_columns_of_one_name():
    with pytest.raises(ValueError, match="columns of one name: a"):
        Documents(pa.schema([("a", pa.int8()), ("b", pa.int8()), ("a", pa.int8())]))


# --- decimals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", ["123456789012345678901234567890.123", "0.100", "-0.000", "0.000000001", "1000", "1E+3", "1E-30"]
)
def test_decimals_keep_their_digits(number):
    written = ExactSerializer().dumps({"d": Decimal(number)})
    assert json.loads(written, parse_float=Decimal, parse_int=Decimal) == {"d": Decimal(number)}
    assert "E" not in written.decode()


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), object(), {1, 2}])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(SerializationError):
        ExactSerializer().dumps({"d": value})


@pytest.mark.parametrize(
    ("column", "refused"),
    [
        (pa.array([1.0, float("nan"), None]), [1]),
        (pa.array([[1.0], [2.0, float("inf")], []]), [1]),
        (pa.array([{"a": {"b": float("-inf")}}, {"a": None}, None]), [0]),
        (pa.array([[("k", float("nan"))], [], None], pa.map_(pa.string(), pa.float32())), [0]),
        (pa.array([[float("nan")], [1.0], [2.0]], pa.list_(pa.float64(), 1)), [0]),
        (pa.array([1.0, 2.0, None]), []),
    ],
    ids=str,
)
def test_beside_decimals_a_nan_is_refused_and_not_written_as_null(column, refused):
    found = rows({"c": column, "d": pa.array([Decimal(1)] * 3)})
    serializer = ExactSerializer()
    for number, row in enumerate(found):
        if number in refused:
            with pytest.raises(SerializationError, match="is no JSON"):
                serializer.dumps(row)
        else:
            assert json.loads(serializer.dumps(row))["d"] == 1


def test_has_decimals():
    assert Documents(pa.schema([("a", pa.list_(pa.struct([("b", pa.decimal128(3))])))])).has_decimals
    assert not Documents(pa.schema([("a", pa.list_(pa.struct([("b", pa.int8())])))])).has_decimals


# --- pandas ------------------------------------------------------------------------------------------------------


def test_a_frame():
    pd = pytest.importorskip("pandas", reason="the extra dask brings pandas")
    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "f": [0.5, float("nan")],
            "s": pd.array(["a", None], "string"),
            "t": [pd.Timestamp("2024-01-01", tz=BERLIN), pd.NaT],
            "c": pd.Categorical(["x", "y"]),
            "mixed": pd.Series([1, "x"], dtype=object),
            "list": pd.Series([["a"], None], dtype=object),
            "object": pd.Series([{"a": 1}, {"b": 2}], dtype=object),
            "d": pd.Series([Decimal("1.10"), None], dtype=object),
            7: [True, False],
        },
    ).set_index(pd.Index([10, 20]))
    found, has_decimals = rows_of_frame(frame)
    assert has_decimals
    assert list(found) == [
        {
            "n": 1,
            "f": 0.5,
            "s": "a",
            "t": "2023-12-31T23:00:00.000000Z",
            "c": "x",
            "mixed": 1,
            "list": ["a"],
            "object": {"a": 1},
            "d": Decimal("1.10"),
            "7": True,
        },
        {"n": 2, "c": "y", "mixed": "x", "object": {"b": 2}, "7": False},
    ]
    assert list(rows_of_frame(frame[["mixed"]])[0]) == [{"mixed": 1}, {"mixed": "x"}]
    [first, _] = rows_of_frame(frame[["f", "mixed"]], keep_nulls=True)[0]
    assert first == {"f": 0.5, "mixed": 1}
