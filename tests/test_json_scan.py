"""JSON as the bulk helpers need it: both twins against each other, and against what the json module makes of it."""

import json
import random
import sys
import tracemalloc
from enum import IntEnum
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import EXAMPLES, twin
from opensearch_sigv4.core import _python, _python_json

# As in test_twins.py: a quarter, where both twins get them.
few = settings(max_examples=max(100, EXAMPLES // 4))

MAX_DEPTH = _python_json.MAX_DEPTH
MAX_PLAIN_DEPTH = _python_json.MAX_PLAIN_DEPTH
SUCCEEDED = (
    b'{"index":{"_index":"logs","_id":"1","_version":1,"result":"created",'
    b'"_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}'
)
FAILED = b'{"create":{"_index":"logs","_id":"2","status":409,"error":{"type":"conflict","reason":"[2]: \\"exists\\""}}}'


@pytest.fixture(scope="module")
def cython():
    return twin("cython")


def outcome(function, *arguments):
    try:
        return "returned", function(*arguments)
    except Exception as error:
        return type(error), str(error)


def answer(*items):
    return b'{"took":30,"errors":true,"items":[' + b",".join(items) + b"]}"


# --- what json makes of it ----------------------------------------------------------------------------------


def refuse(constant):
    raise ValueError(constant)


def loads(data, **options):
    """What the json module, told to be strict, reads; its own ValueError for what is not valid."""
    return json.loads(data.decode(), parse_constant=refuse, **options)


def is_valid_object(data):
    try:
        return type(loads(data)) is dict
    except ValueError:
        return False


def expected_scan(data):
    """The number of items and the positions of those that failed, from the built answer."""
    items = loads(data).get("items")
    if not isinstance(items, list):
        return 0, []

    def has_succeeded(item):
        if not isinstance(item, dict) or len(item) != 1:
            return False
        (action,) = item.values()
        if not isinstance(action, dict):
            return False
        status = action.get("status")
        return type(status) is int and 200 <= status <= 299

    return len(items), [(at, item) for at, item in enumerate(items) if not has_succeeded(item)]


def check_against_json(core, data):
    if not is_valid_object(data):
        with pytest.raises(ValueError, match=r"^answer: not (valid JSON|a JSON object), at (its end, )?byte \d+$"):
            core.scan_bulk_answer(data)
        with pytest.raises(ValueError, match=r"^line: "):
            core.check_json_object(data)
        return
    if b"\n" not in data:
        assert core.check_json_object(data) is None
    count, failed = core.scan_bulk_answer(data)
    assert (count, [(at, loads(raw)) for at, raw in failed]) == expected_scan(data)
    assert all(type(raw) is bytes and raw in data and raw == raw.strip(b" \t\r\n") for _, raw in failed)


# --- answers of every kind ----------------------------------------------------------------------------------

texts = st.text(
    st.one_of(st.sampled_from('a"\\/\b\n\x1f\x7f\xe9\u65e5\U0001f642{}[]:,'), st.characters(exclude_categories=["Cs"])),
    max_size=8,
)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=10,
)
statuses = st.one_of(st.sampled_from([200, 201, 299, 300, 199, 404, 20, 2000, -200, 201.0, 2e2, "201", True]), values)
actions = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(["_id", "status", "_shards", "error"]), texts), values, max_size=4),
    st.builds(lambda pairs, status: {**pairs, "status": status}, st.dictionaries(texts, values, max_size=3), statuses),
    values,
)
names = st.sampled_from(["index", "create", "update", "delete"])
items = st.one_of(
    st.builds(lambda name, action: {name: action}, names, actions),
    st.dictionaries(texts, actions, max_size=3),
    values,
    st.just({"index": {"_index": "logs", "_shards": {"total": 1}, "status": 201}}),
)
answers = st.one_of(
    st.builds(
        lambda before, items, after: {**before, "items": items, **after},
        st.dictionaries(st.one_of(st.sampled_from(["took", "errors"]), texts), values, max_size=2),
        st.one_of(st.lists(items, max_size=6), values),
        st.dictionaries(st.sampled_from(["took", "errors", "ingest_took"]), values, max_size=2),
    ),
    values,
)
layouts = st.sampled_from(
    [{"separators": (",", ":")}, {}, {"indent": 2}, {"indent": "\t", "separators": (" \r, ", "\n:\t")}]
)
dumped = st.builds(
    lambda value, layout, ascii_only: json.dumps(value, ensure_ascii=ascii_only, **layout).encode(),
    answers,
    layouts,
    st.booleans(),
)

# What a text may be made of that is nearly an answer.
TOKENS = [
    *b"{}[],:\"\\ \t\n\r0-e.\x00\x1f\x7f\x80\xc3\xed\xf0\xff",
    *(b'"items"', b'"items":[', b'"status"', b'"st\\u0061tus"', b'"\\u0069tems"', b'"a":1', b'"status":201'),
    *(b"200", b"2e1", b"-0", b"01", b"1.", b".5", b"1e5", b"1E+", b"true", b"nul", b"NaN", b"-Infinity"),
    *(b'"\\ud83d\\ude00"', b'"\\ud83d"', '"🙂"'.encode(), b'"\xed\xa0\x80"', b"\xef\xbb\xbf", b"\\u12"),
    *(SUCCEEDED, FAILED, b'{"index":{"status":200}}', b'{"x":{}}'),
]  # fmt: skip
tokens = st.sampled_from([token if isinstance(token, bytes) else bytes([token]) for token in TOKENS])
made_of_tokens = st.lists(tokens, max_size=12).map(b"".join)


def mutated(data, changes):
    data = bytearray(data)
    for at, size, token in changes:
        at %= len(data) + 1
        data[at : at + size] = token
    return bytes(data)


changes = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 5), tokens), min_size=1, max_size=3)
spoiled = st.one_of(
    st.builds(mutated, dumped, changes),
    st.builds(mutated, st.just(answer(SUCCEEDED, FAILED)), changes),
    st.builds(lambda data, size: data[: size % (len(data) + 1)], dumped, st.integers(0, 2000)),
    made_of_tokens,
    made_of_tokens.map(lambda inner: b'{"items":[' + inner + b"]}"),
    st.binary(max_size=20),
)


@few
@given(dumped)
def test_answers_are_read_as_json_reads_them(core, data):
    check_against_json(core, data)


@few
@given(spoiled)
@example(b'{"items":[{"index":{"status":201}},]}')
@example(b'{"items":[1,]}')
@example(b'{"a":1,}')
@example(b'{"a":[[[[[1}]]]]}')
def test_what_json_refuses_is_refused(core, data):
    check_against_json(core, data)


@given(st.one_of(dumped, spoiled))
def test_twins_are_equal(cython, data):
    for name in ("scan_bulk_answer", "check_json_object"):
        assert outcome(getattr(cython, name), data) == outcome(getattr(_python, name), data)
    text = data.decode("utf-8", "surrogateescape")  # with lone surrogates where it is no UTF-8
    assert outcome(cython.scan_bulk_answer, text) == outcome(_python.scan_bulk_answer, text)


@few
@given(st.one_of(dumped, spoiled))
def test_the_offset_is_that_of_the_first_wrong_token(core, data):
    kind, message = outcome(core.scan_bulk_answer, data)
    if kind is not ValueError:
        return
    at = offset(message)
    assert message.endswith(f" at its end, byte {at}") == (at == len(data))
    kind, before = outcome(core.scan_bulk_answer, data[:at])
    assert kind == "returned" or before.endswith(f"at its end, byte {at}")
    assert offset(outcome(core.scan_bulk_answer, data[: at + LONGEST_TOKEN])[1]) == at


@few
@given(dumped)
def test_an_answer_as_text(core, data):
    assert outcome(core.scan_bulk_answer, data.decode()) == outcome(core.scan_bulk_answer, data)


LONGEST_TOKEN = 6  # of those that are right or wrong as a whole: \u0000


def offset(message):
    return int(message.rpartition(" ")[2])


# --- cases --------------------------------------------------------------------------------------------------


def value_is_valid(core, value):
    """Whether a value is taken in each place where values are read; a line must agree."""
    results = set()
    for template in (b'{"a":%b}', b'{ "a" : [ %b , 1 ] }', b'{"items":[%b]}', b'{"items":[{"index":{"status":%b}}]}'):
        results.add(outcome(core.scan_bulk_answer, template.replace(b"%b", value))[0] == "returned")
        results.add(outcome(core.check_json_object, template.replace(b"%b", value))[0] == "returned")
    (is_valid,) = results
    return is_valid


@pytest.mark.parametrize(
    "value",
    [
        *(b"0", b"-0", b"-1", b"10", b"1.5", b"-0.0", b"1e5", b"1E+5", b"1e-05", b"0e0", b"0.0e-0", b"9" * 5000),
        *(
            b"1" + b"0" * 400,
            b"1e400",
            b"true",
            b"false",
            b"null",
            b'""',
            b'"a"',
            b'"\x7f"',
            b"[]",
            b"{}",
            b"[ ]",
            b"{ }",
        ),
        *(
            b'"' + b"\\" + escape + b'"'
            for escape in (b'"', b"\\", b"/", b"b", b"f", b"n", b"r", b"t", b"u00e9", b"uABcd")
        ),
        *(b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\ude00\\ud83d"', b'"\\u0000"', b'"12345678\\n"', b'"1234567\\u00e9"'),
        *('"\x80"'.encode(), '"߿"'.encode(), '"ࠀ"'.encode(), '"퟿"'.encode(), '"\uffff"'.encode()),
        *('"\U00010000"'.encode(), '"\U0010ffff"'.encode(), '"日本語, ausführlich"'.encode()),
        *(b'[[],{},[[]],"",{"":{"":[]}}]', b'{"a":1,"a":2}', b"[1 ,\t2\r, 3 ]", b'{"a" : 1 ,\t"b": 2 }'),
    ],
)
def test_valid_values(core, value):
    assert value_is_valid(core, value)


@pytest.mark.parametrize(
    "value",
    [
        *(b"-", b"+1", b"01", b"-01", b"00", b"1.", b".5", b"-.5", b"1.e5", b"1e", b"1E+", b"1e+-5", b"0x1", b"1_0"),
        *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"True", b"tru", b"truee", b"nul", b"nulll", b"fals"),
        *(b"undefined",),
        *(b'"', b'"a', b"'a'", b'"\\', b'"\\"', b'"\\x41"', b'"\\a"', b'"\\0"', b'"\\u"', b'"\\u123"', b'"\\u12g4"'),
        *(b'"\\U0041"', b'"\\u 123"', b'"\\u+123"', b'"\\u1_23"', b'"\\ud83d\\u"', b'"\\\n"'),
        *(b'"' + bytes([control]) + b'"' for control in range(32)),
        *(b'"12345678' + bytes([control]) + b'12345678"' for control in (0, 10, 31, 128, 255)),
        *(b"[", b"]", b"[1", b"[1,", b"[1,]", b"[,1]", b"[1 2]", b"[1,,2]", b"[1}", b"[1]]", b"[1:2]"),
        *(b"{", b"}", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"{,}", b'{"a"}', b'{"a":}', b'{"a" 1}'),
        *(b"{1:2}", b"{a:1}", b'{"a":1]', b'{"a":1 "b":2}', b'{"a":1,,"b":2}', b'{"a"::1}', b"{null:1}", b"{[]:1}"),
        *(b"1 2", b"//", b"/**/1", b"\x0b1", b"\x0c1", b"\xa01", b"\xc2\xa01", b"\xef\xbb\xbf1", b"\x001", b"1\x00"),
        # UTF-8: no character, overlong, a surrogate, beyond U+10FFFF, cut off.
        *(b'"\x80"', b'"\xbf"', b'"\xfe"', b'"\xff"', b'"\xc0\x80"', b'"\xc1\xbf"', b'"\xe0\x80\x80"'),
        *(b'"\xe0\x9f\xbf"',),
        *(b'"\xf0\x80\x80\x80"', b'"\xf0\x8f\xbf\xbf"', b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"'),
        *(b'"\xed\xa0\xbd\xed\xb8\x80"',),
        *(b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"', b'"\xf8\x88\x80\x80\x80"'),
        *(b'"\xc3"', b'"\xe2\x82"', b'"\xf0\x9f\x98"', b'"\xc3', b'"\xe2\x82', b'"\xf0\x9f\x98', b'"\xc3(\xa9"'),
        *(b"\xc3\xa9",),
    ],
)  # fmt: skip
def test_values_that_are_none(core, value):
    assert not value_is_valid(core, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "answer: not a JSON object, at its end, byte 0"),
        (b" \n", "answer: not a JSON object, at its end, byte 2"),
        (b" []", "answer: not a JSON object, at byte 1"),
        (b"\xef\xbb\xbf{}", "answer: not a JSON object, at byte 0"),
        (b'{"a":1}x', "answer: not valid JSON, at byte 7"),
        (b'{"a":1}\0', "answer: not valid JSON, at byte 7"),
        (b'{"a":1', "answer: not valid JSON, at its end, byte 6"),
        (b'{"a":01}', "answer: not valid JSON, at byte 6"),
        (b'{"a":1.}', "answer: not valid JSON, at byte 6"),
        (b'{"a":-}', "answer: not valid JSON, at byte 5"),
        (b'{"a":tru}', "answer: not valid JSON, at byte 5"),
        (b'{"a":NaN}', "answer: not valid JSON, at byte 5"),
        (b'{"a":"secret\n"}', "answer: not valid JSON, at byte 12"),
        (b'{"a":"\\u12"}', "answer: not valid JSON, at byte 6"),
        (b'{"secret', "answer: not valid JSON, at its end, byte 8"),
        (b'{"a" 1}', "answer: not valid JSON, at byte 5"),
        ('{"ü":"é', "answer: not valid JSON, at its end, byte 9"),
        ('{"ü":"\ud800"}', "answer: not valid JSON, at byte 7"),
        (b'{"a":"\xed\xa0\x80"}', "answer: not valid JSON, at byte 6"),
        (b"[" * 2000, "answer: not a JSON object, at byte 0"),
        (b'{"a":' * 2000, f"answer: nested more than 1000 deep, at byte {5 * MAX_DEPTH}"),
    ],
)
def test_messages(core, text, message):
    assert outcome(core.scan_bulk_answer, text) == (ValueError, message)
    if isinstance(text, bytes) and b"\n" not in text:
        assert outcome(core.check_json_object, text) == (ValueError, message.replace("answer: ", "line: "))


@pytest.mark.parametrize("text", [b'{"a":\n1}', b'{"a":"\n"}', b"{}\n", b"\n{}", b"x\n"])
def test_a_line_has_no_line_break(core, text):
    assert outcome(core.check_json_object, text) == (ValueError, f"line: a line break, at byte {text.index(10)}")


def test_a_line_between_white_space(core):
    assert core.check_json_object(b' \t\r{"a" :\t[ ] }\r \t') is None


class Bytes(bytes):
    __slots__ = ()

    def __bytes__(self):
        raise AssertionError

    def __getitem__(self, key):
        raise AssertionError


class Str(str):
    __slots__ = ()

    def encode(self, *_):
        raise AssertionError


def test_types(core):
    data = answer(SUCCEEDED, FAILED)
    for text in (Bytes(data), Str(data.decode())):
        assert core.scan_bulk_answer(text) == (2, [(1, FAILED)])
    assert core.check_json_object(Bytes(data)) is None
    for wrong in (None, bytearray(data), memoryview(data), [data]):
        message = f"answer: str or bytes is needed, not {type(wrong).__name__}"
        assert outcome(core.scan_bulk_answer, wrong) == (TypeError, message)
        assert outcome(core.check_json_object, wrong) == (
            TypeError,
            f"line: bytes is needed, not {type(wrong).__name__}",
        )
    assert outcome(core.check_json_object, "{}") == (TypeError, "line: bytes is needed, not str")


@pytest.mark.parametrize(
    "item",
    [
        *(b'{"index":{"status":200}}', b'{"delete":{"status":299}}', b'{ "index" : { "status" : 201 } }', SUCCEEDED),
        *(b'{"index":{"st\\u0061tus":201}}', b'{"index":{"status":409,"status":201}}', b'{"":{"status":201}}'),
        *(b'{"index":{"status":409,"stat\\u0075s":201}}', b'{"index":{"status":409},"index":{"status":201}}'),
        *(b'{"index":1,"\\u0069nde\\u0078":{"status":201}}', '{"日":{},"\\u65e5":{"status":201}}'.encode()),
        *('{"🙂":{},"\\ud83d\\ude42":{"status":201}}'.encode(), b'{"\\n\\/":{},"\\u000a/":{"status":201}}'),
        *(b'{"\\ud83d":{},"\\ud83d":{"status":201}}', b'{"index":{"_shards":{"status":500},"status":201}}'),
    ],
)  # fmt: skip
def test_an_item_that_succeeded(core, item):
    for items in ([item], [item, item], [FAILED, item, FAILED], [item, b"null", item]):
        count, failed = core.scan_bulk_answer(answer(*items))
        assert (count, failed) == (len(items), [(at, other) for at, other in enumerate(items) if other is not item])
        check_against_json(core, answer(*items))


@pytest.mark.parametrize(
    "item",
    [
        *(b"null", b"1", b'"status"', b"[]", b'[{"status":201}]', b"{}", b'{"status":201}', b'{"index":null}'),
        *(b'{"index":{}}', b'{"index":[{"status":201}]}', b'{"index":{"status":"201"}}', b'{"index":{"status":[201]}}'),
        *(b'{"index":{"status":201.0}}', b'{"index":{"status":2e2}}', b'{"index":{"status":2.1}}', FAILED),
        *(b'{"index":{"status":199}}', b'{"index":{"status":300}}', b'{"index":{"status":20}}'),
        *(b'{"index":{"status":2010}}',),
        *(b'{"index":{"status":-200}}', b'{"index":{"Status":201}}', b'{"index":{"status ":201}}'),
        *(b'{"index":{"tatus":201}}',),
        *(b'{"index":{"_shards":{"status":201}}}', b'{"index":{"status":201,"status":409}}'),
        *(b'{"index":{"\\u0000status":201}}',),
        *(b'{"index":{"status":201,"st\\u0061tus":null}}', b'{"index":{"status":201},"create":{"status":201}}'),
        *(b'{"index":{"status":201},"index":{"status":409}}', b'{"index":{"status":201},"inde\\u0078":{}}'),
        *(b'{"a":{"status":201},"a\\u0000":{"status":201}}', b'{"\\ud83d":{},"\\ude00":{"status":201}}'),
    ],
)  # fmt: skip
def test_an_item_that_did_not(core, item):
    for items in ([item], [SUCCEEDED, item], [item, SUCCEEDED, item]):
        count, failed = core.scan_bulk_answer(answer(*items))
        assert (count, failed) == (len(items), [(at, other) for at, other in enumerate(items) if other is item])
        check_against_json(core, answer(*items))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"{}", 0),
        (b'{"items":[]}', 0),
        (b'{"items":{"0":1}}', 0),
        (b'{"items":null,"errors":true}', 0),
        (b'{"Items":[1]}', 0),
        (b'{"a":{"items":[1]}}', 0),
        (b'{"items":[1],"errors":true}', 1),
        (b'{"\\u0069tem\\u0073":[1]}', 1),
        (b'{"items":[1,2],"items":[3]}', 1),
        (b'{"items":[1,2],"items":3}', 0),
        (b'{"items":3,"items":[1,2]}', 2),
    ],
)
def test_where_the_items_are(core, text, count):
    assert core.scan_bulk_answer(text)[0] == len(core.scan_bulk_answer(text)[1]) == count
    check_against_json(core, text)


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}])
def test_what_failed_is_as_it_stands_there(core, layout):
    items = [json.loads(item) for item in (FAILED, SUCCEEDED)] + [{"index": {"_id": "日本🙂", "status": 429}}]
    text = json.dumps({"took": 1, "items": items}, ensure_ascii=False, **layout)
    for whole in (text, text.encode()):
        count, failed = core.scan_bulk_answer(whole)
        assert (count, [at for at, _ in failed]) == (3, [0, 2])
        assert [json.loads(raw) for _, raw in failed] == [items[0], items[2]]
        assert all(raw in text.encode() for _, raw in failed)


# --- depth and size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[0,{"a":', b' [ {"b":"[",\t"a" :\n'])
@pytest.mark.parametrize(
    "prefix", [b'{"a":', b'{"items":', b'{"items":[', b'{"items":[{"index":', b'{"items":[{"a":{"b":']
)
def test_depth(core, prefix, opening):
    def closings_of(text):
        return [b"}" if byte == ord("{") else b"]" for byte in text.replace(b'"["', b"") if byte in b"{["]

    def nested(depth):
        texts, closings = [prefix], closings_of(prefix)
        while len(closings) < depth:
            texts.append(opening)
            closings += closings_of(opening)
        return b"".join([*texts, b"0", *reversed(closings)]), len(closings)

    seen = set()
    for depth in (10, 250, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 3, 20_000):
        text, depth_of_text = nested(depth)
        fits = depth_of_text <= MAX_DEPTH
        seen.add(fits)
        kind, result = outcome(core.scan_bulk_answer, text)
        assert (kind == "returned") is fits
        assert fits or result.startswith("answer: nested more than 1000 deep, at byte ")
        kind, result = outcome(core.check_json_object, text.replace(b"\n", b" "))
        assert (kind == "returned") is fits
        if fits:
            continue
        depth_before = text[: offset(result)].replace(b'"["', b"")
        assert depth_before.count(b"{") + depth_before.count(b"[") == MAX_DEPTH
        assert outcome(_python.scan_bulk_answer, text) == outcome(core.scan_bulk_answer, text)
    assert seen == {True, False}


def test_an_empty_container_is_as_deep_as_any(core):
    assert (
        outcome(core.check_json_object, b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")[0]
        == "returned"
    )
    for inner in (b"[]", b"{}"):
        text = b'{"a":' + b"[" * (MAX_DEPTH - 1) + inner + b"]" * (MAX_DEPTH - 1) + b"}"
        assert outcome(core.check_json_object, text)[1].startswith("line: nested more than 1000 deep")


def test_a_big_answer(core):
    items = [FAILED if number % 1000 == 7 else SUCCEEDED for number in range(20_000)]
    data = answer(*items)
    expected = len(items), [(at, item) for at, item in enumerate(items) if item is FAILED]
    assert core.scan_bulk_answer(data) == core.scan_bulk_answer(data.decode()) == expected
    assert core.check_json_object(data) is None
    cut = outcome(core.scan_bulk_answer, data[:-1])
    assert cut == (ValueError, f"answer: not valid JSON, at its end, byte {len(data) - 1}")
    assert core.scan_bulk_answer(answer(*[FAILED] * 20_000)) == (20_000, [(at, FAILED) for at in range(20_000)])


def test_text_in_ascii_is_read_where_it_is(cython):
    for text in (answer(*[SUCCEEDED] * 5000), answer(*[SUCCEEDED] * 5000).decode()):
        tracemalloc.start()
        try:
            assert cython.scan_bulk_answer(text) == (5000, [])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10_000


def test_every_truncation(core):
    data = answer(SUCCEEDED, FAILED, '{"index":{"_id":"日\\u00e9🙂","status":-1.5e+3}}'.encode())
    for size in range(len(data)):
        kind, message = outcome(core.scan_bulk_answer, data[:size])
        assert (kind, message) == outcome(_python.scan_bulk_answer, data[:size])
        assert kind is ValueError
        assert size - LONGEST_TOKEN < offset(message) <= size


# --- plain values -------------------------------------------------------------------------------------------


class Number(int):
    pass


class Level(IntEnum):
    LOW = 1


class Pairs(dict):
    pass


class Hostile:
    """What it is asked for, it refuses."""

    def __getattribute__(self, name):
        raise AssertionError(name)


class HostileType(type):
    """A type that claims to be any other."""

    def __hash__(cls):
        raise AssertionError

    def __eq__(cls, other):
        raise AssertionError


class OfHostileType(metaclass=HostileType):
    pass


PLAIN_VALUES = [
    *(None, True, False, 0, -1, 2**63, 10**30, 0.0, -0.0, 1e308, 5e-324, "", "a", "日", "\ud800", [], (), {}),
    *([[]], [{}], ([], {}), {"": None}, {"a": {"b": [1, (2.5, "c"), {"d": None}]}}, [[1, 2], ["a", None, True]]),
]  # fmt: skip
OTHER_VALUES = [
    *(float("nan"), float("inf"), -float("inf"), b"a", bytearray(b"a"), object(), {1}, frozenset({1}), range(3)),
    *(1j, int),
    *(Number(1), Level.LOW, Str("a"), Pairs(), Pairs(a=1), MappingProxyType({"a": 1}), iter([]), ..., NotImplemented),
    *({1: 1}, {None: 1}, {True: 1}, {1.5: 1}, {Str("a"): 1}, {Level.LOW: 1}, {b"a": 1}, {("a",): 1}, {"a": 1, 2: 2}),
    *(Hostile(), OfHostileType(), OfHostileType),
]  # fmt: skip
WRAPPERS = [
    lambda value: value,
    lambda value: [value],
    lambda value: (1, value),
    lambda value: {"a": "b", "c": value, "d": 1},
    lambda value: {"a": [{"b": ([], value)}, 2]},
    lambda value: [[value], [1]],
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_plain_values(core, wrap):
    for value in PLAIN_VALUES:
        assert core.is_plain_json(wrap(value)) is True


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_values_that_are_not_plain(core, wrap):
    for number, value in enumerate(OTHER_VALUES):
        assert core.is_plain_json(wrap(value)) is False, number


@few
@given(
    st.recursive(
        st.one_of(scalars, st.floats(), st.sampled_from(OTHER_VALUES[:-3]), st.binary(max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.one_of(texts, st.integers(), st.none(), texts.map(Str)), inner, max_size=3),
        ),
        max_leaves=10,
    )
)
def test_twins_agree_on_what_is_plain(cython, value):
    assert cython.is_plain_json(value) is _python.is_plain_json(value)


@few
@given(values)
def test_what_is_plain_is_written_alike(core, value):
    assert core.is_plain_json(value) is True
    orjson = pytest.importorskip("orjson")  # no wheel for a Python without a GIL
    kind, written = outcome(orjson.dumps, value)
    if kind == "returned":
        assert json.loads(written) == json.loads(json.dumps(value))
    else:
        assert "64-bit" in written


@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner}, lambda inner: [1, "a", inner]]
)
def test_the_depth_of_plain_values(core, wrap):
    def nested(depth):
        value = "innermost"
        for _ in range(depth):
            value = wrap(value)
        return value

    assert core.is_plain_json(nested(MAX_PLAIN_DEPTH)) is True
    orjson = pytest.importorskip("orjson")  # no wheel for a Python without a GIL
    assert json.loads(orjson.dumps(nested(MAX_PLAIN_DEPTH))) == json.loads(json.dumps(nested(MAX_PLAIN_DEPTH)))
    for depth in (MAX_PLAIN_DEPTH + 1, MAX_PLAIN_DEPTH + 2, 10_000):
        assert core.is_plain_json(nested(depth)) is False


def test_what_holds_itself_is_not_plain(core):
    a_list, a_dict = [], {}
    a_list += [a_list, a_list, a_list]
    a_dict.update(a=a_dict, b=[a_dict], c=(a_dict, a_list))
    for value in (a_list, a_dict, [a_list], {"a": a_dict}):
        assert core.is_plain_json(value) is False


def test_it_can_be_asked_at_any_depth_of_the_stack(core):
    value = []
    for _ in range(MAX_PLAIN_DEPTH - 1):
        value = [value]

    def deep(levels):
        return core.is_plain_json(value) if levels == 0 else deep(levels - 1)

    depth_here = 0
    frame = sys._getframe()
    while frame is not None:
        depth_here, frame = depth_here + 1, frame.f_back
    assert deep(sys.getrecursionlimit() - depth_here - 10) is True


def test_a_large_value(core):
    rows = [{f"field{number}": random.Random(number).random() for number in range(20)} for _ in range(2000)]
    assert core.is_plain_json(rows) is True
    rows[-1]["field19"] = float("nan")
    assert core.is_plain_json(rows) is False
