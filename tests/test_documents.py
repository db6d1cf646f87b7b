"""What the bulk helpers make of documents: the bytes that opensearch-py would send, in chunks."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import time
import uuid
from collections import OrderedDict, namedtuple

import numpy
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy.exceptions import SerializationError
from opensearchpy.helpers import expand_action
from opensearchpy.serializer import JSONSerializer

from conftest import twin
from opensearch_sigv4.core import _python_bulk
from opensearch_sigv4.helpers import _documents
from opensearch_sigv4.helpers._documents import Chunker, is_repeatable, time_ordered_ids

SERIALIZER = JSONSerializer()


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


class Name(str, enum.Enum):  # noqa: UP042 - as programs have it
    A = "a"


@dataclasses.dataclass
class Point:
    x: int


Pair = namedtuple("Pair", "a b")

UNUSUAL = [
    datetime.datetime(2026, 11, 24, 12, 30, 1, 5),
    datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC),
    datetime.date(2026, 11, 24),
    datetime.time(1, 2),
    decimal.Decimal("1.50"),
    uuid.UUID(int=7),
    Colour.RED,
    Level.HIGH,
    Name.A,
    Text("subclass"),
    Point(1),
    Pair(1, 2),
    OrderedDict(b=1, a=2),
    {2: "int key", None: "null key", True: 2, 1.5: 3},
    {Name.A: 1, Text("k"): 2},
    (1, [2, (3,)]),
    {1, 2},
    b"bytes",
    2**64,
    -(2**63) - 1,
    10**400,
    "\ud800",
    {"\udfff": 1},
    object(),
    bytearray(b"x"),
    decimal.Decimal("NaN"),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)


@pytest.fixture(scope="session")
def python():
    return twin("python")


@pytest.fixture(scope="session")
def cython():
    return twin("cython")


@pytest.fixture(params=[True, False], ids=["orjson", "json"])
def on_each(request, core, monkeypatch):
    """On each twin, with and without orjson."""
    for name in ("encode_plain", "expand_action", "take_plain"):
        monkeypatch.setattr(_documents.core, name, getattr(core, name))
    if not request.param:
        monkeypatch.setattr(_documents, "_orjson_dumps", None)


def outcome(encoded, value):
    """The bytes; or the type of what was raised."""
    try:
        return encoded(value)
    except Exception as error:
        return type(error)


def theirs(value):
    return SERIALIZER.dumps(value).encode()


def ours(value, serializer=SERIALIZER):
    chunker = Chunker(10, 1 << 20, serializer, expand=lambda value: ({"index": {}}, value))
    chunker.fill(iter([value]))
    return chunker.rest().lines(0).partition(b"\n")[2].removesuffix(b"\n")


@pytest.mark.parametrize("value", UNUSUAL, ids=repr)
@pytest.mark.parametrize("wrap", [lambda v: {"f": v}, lambda v: {"a": [{"b": v}]}, lambda v: {"f": (v,)}])
@pytest.mark.usefixtures("on_each")
def test_unusual_values_are_what_opensearch_py_makes_of_them(value, wrap):
    document = wrap(value)
    expected = outcome(theirs, document)
    if isinstance(value, decimal.Decimal) and value.is_nan():
        expected = SerializationError  # theirs writes NaN
    assert outcome(ours, document) == expected


@pytest.mark.parametrize(
    "value",
    [
        numpy.int64(7),
        numpy.uint8(7),
        numpy.float32(1.5),
        numpy.float64(1.5),
        numpy.bool_(True),
        numpy.datetime64("2026-11-24T12:00"),
        numpy.array([[1, 2], [3, 4]]),
        numpy.str_("text"),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("on_each")
def test_numpy_values_are_what_opensearch_py_makes_of_them(value):
    assert ours({"f": [value]}) == theirs({"f": [value]})


@pytest.mark.parametrize("value", [numpy.float32("nan"), numpy.float64("inf"), numpy.array([1.0, math.nan])], ids=repr)
@pytest.mark.usefixtures("on_each")
def test_numpy_values_that_are_no_json_numbers(value):
    with pytest.raises(SerializationError):
        ours({"f": value})


@given(json_values)
def test_plain_values_mean_the_same(value):
    encoded = ours([value])
    assert json.loads(encoded) == json.loads(theirs([value]))
    assert b"\n" not in encoded


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "where", [lambda n: n, lambda n: [n], lambda n: {"a": [1, {"b": n}]}, lambda n: decimal.Decimal(n)]
)
@pytest.mark.usefixtures("on_each")
def test_what_is_no_json_number_names_its_document(number, where):
    chunker = Chunker(2, 1 << 20, SERIALIZER)
    documents = iter([*({"n": n} for n in range(3)), {"_id": "seven", "n": where(number)}])
    assert len(chunker.fill(documents)) == 2
    with pytest.raises(SerializationError, match=r"document 4 of the input, _id 'seven'; nothing from document 3 on"):
        chunker.fill(documents)


def test_null_is_null():
    assert ours({"a": None, "null": [None]}) == b'{"a":null,"null":[null]}'


def test_another_serializer_is_asked_itself():
    class Serializer(JSONSerializer):
        def default(self, data):
            return "theirs"

    assert ours({"a": object(), "b": math.nan}, Serializer()) == b'{"a":"theirs","b":NaN}'


@pytest.mark.parametrize("text", ['{"a":1}', b'{"a":1}', Text('{"a":1}')])
def test_text_is_sent_as_it_is(text):
    chunker = Chunker(10, 1 << 20, SERIALIZER)
    chunker.fill(iter([text]))
    assert chunker.rest().body == b'{"index":{}}\n{"a":1}\n'


def test_text_of_several_lines_would_spoil_its_chunk():
    chunker = Chunker(10, 1 << 20, SERIALIZER)
    chunker.fill(iter(['{"a":1}\r\n', b'{"b":2}\n']))
    with pytest.raises(ValueError, match="single line") as raised:
        chunker.fill(iter(['{\n"a":1}']))
    assert raised.value.__notes__ == ["document 3 of the input; nothing from document 1 on was sent"]
    assert chunker.rest().body == b'{"index":{}}\n{"a":1}\n{"index":{}}\n{"b":2}\n'


metadata_names = [*_python_bulk.METADATA, "_op_type", "_source", "_type", "title", "_other"]
documents = st.dictionaries(st.sampled_from(metadata_names), json_values, max_size=8).flatmap(
    lambda document: st.fixed_dictionaries(
        {}, optional={"_op_type": st.sampled_from(["index", "create", "update", "delete"]), "_source": json_values}
    ).map(lambda usual: {**document, **usual})
)


def expanded(expand, document):
    try:
        return expand(document)
    except Exception as error:
        return type(error), str(error)


@given(document=documents)
def test_expand_is_opensearch_pys(core, document):
    before = json.dumps(document, default=repr)
    assert expanded(core.expand_action, document) == expanded(expand_action, document)
    assert json.dumps(document, default=repr) == before


class Key(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "document",
    [
        {Key("_id"): 1, "a": 2},
        {1: 2, None: 3, "_id": 4},
        {"_version": 1, "version": 2},
        {"version": 2, "_version": 1},
        {"_op_type": "update", "_id": 1, "_source": ["a"], "doc": {}},
        {"_op_type": "update", "_id": 1, "_source": True},
        {"_op_type": "index", "_source": OrderedDict(a=1), "_id": 1},
        {"_source": None, "_id": 1},
        {"_op_type": ["unhashable"]},
    ],
    ids=repr,
)
def test_expand_of_unusual_dicts(core, document):
    assert expanded(core.expand_action, document) == expanded(expand_action, document)


@pytest.mark.parametrize("document", ["text", OrderedDict(_id=1), None], ids=repr)
def test_expand_takes_dicts_only(core, document):
    with pytest.raises(TypeError, match=f"document: a dict is needed, not {type(document).__name__}"):
        core.expand_action(document)


def test_expand_leaves_the_source_itself_to_the_caller(core):
    source = {"a": 1}
    _, data = core.expand_action({"_source": source})
    assert data is source


@pytest.mark.parametrize("document", ["text", b"bytes", OrderedDict(_id=1, a=2)], ids=repr)
def test_what_is_no_dict_is_expanded_by_opensearch_py(document):
    chunker = Chunker(10, 1 << 20, SERIALIZER)
    chunker.fill(iter([document]))
    action, data = expand_action(document)
    chunk = chunker.rest()
    assert (chunk.action(0), chunk.datum(0)) == (SERIALIZER.dumps(action).encode(), data)


@pytest.mark.parametrize("value", [{"a": 1}, [1, None], "text", {"a": math.nan}, {"a": 2**64}, {"a": "\ud800"}, 7, b""])
def test_plain_values_only_reach_orjson(core, value):
    def dumps(value):
        return orjson.dumps(value)

    is_plain = value in ({"a": 1}, [1, None], 7)
    assert core.encode_plain(value, dumps) == (orjson.dumps(value) if is_plain else None)


def test_what_dumps_raises_but_a_type_error_comes_through(core):
    with pytest.raises(ZeroDivisionError):
        core.encode_plain({}, lambda value: 1 / 0)


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(1, 6), st.integers(60, 200))
def test_chunks_hold_every_document_once_and_keep_within_their_limits(sizes, chunk_size, max_bytes):
    chunker = Chunker(chunk_size, max_bytes, SERIALIZER)
    documents = [{"_id": n, "t": "x" * size} for n, size in enumerate(sizes)]
    iterator = iter(documents)
    chunks = [*iter(lambda: chunker.fill(iterator), None)]
    chunks += [rest] if (rest := chunker.rest()) else []
    number = 0
    for chunk in chunks:
        assert chunk.first == number
        assert 1 <= len(chunk) <= chunk_size
        assert len(chunk.body) <= max_bytes or len(chunk) == 1
        assert chunk.body == b"".join(chunk.lines(position) for position in range(len(chunk)))
        for position in range(len(chunk)):
            action, data = expand_action(documents[number])
            assert chunk.lines(position) == theirs(action) + b"\n" + theirs(data) + b"\n"
            assert (json.loads(chunk.action(position)), chunk.datum(position)) == (action, data)
            number += 1
    assert number == len(documents)


def test_a_chunk_is_given_as_soon_as_it_is_full():
    taken = []

    def documents():
        for number in range(4):
            taken.append(number)
            yield {"n": number}

    chunker = Chunker(2, 1 << 20, SERIALIZER)
    iterator = documents()
    chunker.fill(iterator)
    assert taken == [0, 1]


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1)])
def test_sizes_below_one(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        Chunker(*sizes, SERIALIZER)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"index": {"_id": "1"}}, True),
        ({"index": {"_id": 0, "_index": "i", "routing": "r", "pipeline": "p"}}, True),
        ({"create": {"_id": "1"}}, True),
        ({"delete": {"_id": "1"}}, True),
        ({"update": {"_id": "1"}}, False),
        ({"index": {}}, False),
        ({"index": {"_id": None}}, False),
        ({"index": {"_id": "1", "if_seq_no": 1, "if_primary_term": 1}}, False),
        ({"index": {"_id": "1", "version": 1}}, False),
        ({"index": {"_id": "1", "op_type": "create"}}, False),
        ("no JSON", False),
        (None, False),
        ([], False),
        ({"index": None}, False),
        ({}, False),
    ],
    ids=repr,
)
def test_what_may_be_executed_twice(action, expected):
    text = action if isinstance(action, str) else json.dumps(action)
    assert is_repeatable(text) is is_repeatable(text.encode()) is expected


usual = st.fixed_dictionaries(
    {"t": json_values},
    optional={
        "_id": json_values,
        "_op_type": st.sampled_from(["index", "delete", "create", 7]),
        "_source": json_values,
    },
)


@given(st.lists(usual | documents | st.just("{}"), max_size=8), st.integers(1, 5), st.integers(1, 300))
def test_take_plain_is_the_same_on_both_twins(python, cython, items, chunk_size, max_bytes):
    def taken(core):
        iterator, found, body = iter(items), [], bytearray()
        ends, data = [], []
        while True:
            result = core.take_plain(iterator, orjson.dumps, chunk_size, max_bytes, body, ends, data)
            found.append((result, bytes(body[: ends[-1] if ends else 0]), [*ends], [*data]))
            if result is None and len(ends) < chunk_size:
                return found
            ends, data = [], []

    assert taken(cython) == taken(python)


def test_take_plain_hands_the_iterables_exception_on(core):
    def documents():
        yield {"a": 1}
        raise LookupError

    body, ends, data = bytearray(), [], []
    with pytest.raises(LookupError):
        core.take_plain(documents(), orjson.dumps, 10, 1000, body, ends, data)
    assert (body[:21], ends, data) == (b'{"index":{}}\n{"a":1}\n', [21], [{"a": 1}])


def test_ids_order_by_time():
    ids = [time_ordered_ids()() for _ in range(3)]
    next_id = time_ordered_ids()
    ids = [next_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    parsed = [uuid.UUID(text) for text in ids]
    assert {(value.version, value.variant) for value in parsed} == {(7, uuid.RFC_4122)}
    assert abs((parsed[-1].int >> 80) / 1000 - time.time()) < 60


def test_ids_are_given_to_what_has_none():
    chunker = Chunker(10, 1 << 20, SERIALIZER, add_ids=True)
    documents = [
        {"a": 1},
        {"_op_type": "create", "a": 1},
        {"_id": "own", "a": 1},
        {"_id": None, "a": 1},
        {"_op_type": "update", "a": 1},
        '{"a": 1}',
    ]
    chunker.fill(iter(documents))
    chunk = chunker.rest()
    ids = [next(iter(json.loads(chunk.lines(n).splitlines()[0]).values())).get("_id") for n in range(len(documents))]
    assert ids[2] == "own"
    assert ids[4] is None
    assert len({ids[0], ids[1], ids[3], ids[5]} - {None}) == 4


@pytest.mark.parametrize("where", ["instance", "class"])
def test_a_serializer_whose_dumps_is_replaced_is_asked_itself(monkeypatch, where):
    serializer = JSONSerializer()
    if where == "instance":
        serializer.dumps = lambda data: '{"replaced":1}'
    else:
        monkeypatch.setattr(JSONSerializer, "dumps", lambda self, data: '{"replaced":1}')
    assert ours({"a": 1}, serializer) == b'{"replaced":1}'


@pytest.mark.parametrize(
    ("body", "ends", "error"),
    [(None, [], TypeError), (bytearray(), None, TypeError), (bytearray(9), [-(10**9)], ValueError)],
)
def test_take_plain_refuses_what_is_no_body(cython, body, ends, error):
    with pytest.raises(error):
        cython.take_plain(iter([{"a": 1}]), orjson.dumps, 1, 1, body, ends, [])
