"""The command's input: of any bytes in a file each is in one document, or is named as malformed, or is unreadable.

An input is six choices, and then the file, which is read plain, compressed, or as a checkpoint.
"""

import codecs
import contextlib
import gzip
import json
import os
import tempfile
from dataclasses import replace

import zstandard

from fuzzing import instrumented, main, outcome

with instrumented():
    from opensearch_sigv4.cli import _reading
    from opensearch_sigv4.cli._checkpoint import Checkpoint
    from opensearch_sigv4.cli._reading import START, Document, File, InputError, Malformed, Place, Reader, Shape

BLANKS = b" \t\r\n"
FORMATS = (None, "ndjson", "bulk", "json", "csv")
SHAPES = (
    Shape(index="i"),
    Shape(index="i", add_ids=True),
    Shape(index="i", id_field="a"),
    Shape(index="i", op="update", id_field="a.b", routing_field="c"),
    Shape(index="i", op="create", routing_field="c", add_ids=True),
    Shape(),
)
PACKED = (bytes, gzip.compress, zstandard.ZstdCompressor().compress, lambda data: b"\x1f\x8b\x08\x00" + data)
PACKED += (lambda data: b"\x28\xb5\x2f\xfd" + data,)
# What is read at a time: where lines and elements break must not matter.
BLOCKS = (256 << 10, 16, 61)
LINES = (100 << 20, 200)
NAMES = ("file", "file.csv", "file.csv.gz")

DIRECTORY = tempfile.TemporaryDirectory()
PATH = os.path.join(DIRECTORY.name, "input")


def check(data):
    choices, content = [*data[:6], 0, 0, 0, 0, 0, 0], data[6:]
    if choices[0] == ord("c"):
        check_checkpoint(NAMES_IN_A_CHECKPOINT[choices[1] % len(NAMES_IN_A_CHECKPOINT)], content)
        return
    file_format = FORMATS[choices[0] % len(FORMATS)]
    shape = SHAPES[choices[1] % len(SHAPES)]
    stored = PACKED[choices[2] % len(PACKED)](content)
    with open(PATH, "wb") as file:
        file.write(stored)
    name = NAMES[choices[3] // 16 % len(NAMES)]
    file = File(name, PATH, len(stored), file_format, "identity", "prefix")
    file = replace(file, format=format_of(file))  # as a run does before it reads anything
    with limits(BLOCKS[choices[3] % len(BLOCKS)], LINES[choices[3] // 8 % len(LINES)]):
        items, error = read(file, shape)
        check_portions(file, shape, items, error, max_bytes=choices[4] * 4, max_documents=choices[5] % 7 + 1)
        check_continued(file, shape, items, error, choices[5])
    if PACKED[choices[2] % len(PACKED)] is bytes or error is None:
        check_items(content, file.format, shape, items, error, is_whole=choices[2] % len(PACKED) < 3)


@contextlib.contextmanager
def limits(block_bytes, line_bytes):
    kept = _reading._BLOCK_BYTES, _reading.MAX_LINE_BYTES
    _reading._BLOCK_BYTES, _reading.MAX_LINE_BYTES = block_bytes, line_bytes
    try:
        yield
    finally:
        _reading._BLOCK_BYTES, _reading.MAX_LINE_BYTES = kept


def format_of(file):
    try:
        with _reading.Stream(file) as stream:
            return file.format or _reading.format_of(file, stream)
    except _reading.unreadable_errors():
        return None


def read(file, shape, place=START):
    """(the items from a place on, why no more could be read or None)."""
    items = []
    try:
        with _reading.Stream(file) as stream:
            file_format = file.format or _reading.format_of(file, stream)
            _reading.check_format(file, file_format, shape)
            items.extend(_reading.read(file, file_format, stream, place, shape))
    except _reading.unreadable_errors() as error:
        return items, str(error)
    return items, None


def check_portions(file, shape, items, error, max_bytes, max_documents):
    """The portions of a run have what is in the file, in its order, whatever their size."""
    reader = Reader([file], shape, START, max_documents)
    documents, malformed, unreadable = [], [], None
    with contextlib.closing(reader):
        while portion := reader.take(max_bytes):
            starts = [0, *portion.ends]
            body = portion.body.getvalue()
            assert len(body) == starts[-1]
            numbers = zip(portion.line_numbers, portion.elements, strict=True)
            for start, end, (line, element) in zip(starts, portion.ends, numbers, strict=False):
                documents.append((body[start:end], line, element))
            malformed += [item for _, item in portion.malformed]
            unreadable = unreadable or portion.unreadable
    assert documents == [(item.lines, item.line, item.element) for item in items if isinstance(item, Document)]
    assert malformed == [item for item in items if isinstance(item, Malformed)]
    assert (unreadable is None) is (error is None), (unreadable, error)


def check_continued(file, shape, items, error, choice):
    """From behind any item on, what comes is what came after it."""
    if items:
        at = choice % len(items)
        place = Place(0, items[at].offset, items[at].lines_before, items[at].element)
        again, error_again = read(file, shape, place)
        assert (error_again is None) is (error is None), (place, error, error_again)
        rest = items[at + 1 :]
        if error is not None:  # how far a broken file can be read depends on what is read at a time
            rest, again = rest[: len(again)], again[: len(rest)]
        assert again == rest, (place, items, again)


def check_items(content, file_format, shape, items, error, is_whole):
    assert [item.offset for item in items] == sorted(item.offset for item in items)
    for item in items:
        line_breaks = content[: item.offset].count(b"\n")
        # The last line counts as one without its end, too.
        assert not is_whole or item.lines_before in (line_breaks, line_breaks + (file_format != "json")), item
        if isinstance(item, Document):
            assert item.lines.endswith(b"\n")
            for line in item.lines.splitlines() if b"\r" not in item.lines else ():
                assert isinstance(json.loads(line), dict), item
        else:
            assert item.reason
    if not is_whole or error is not None or shape.id_field or shape.routing_field or shape.add_ids:
        return
    lines = [
        line for line in (line.strip(BLANKS) for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n")) if line
    ]
    if file_format == "ndjson":
        assert lines == [text_of(item) for item in items]
        assert sum(isinstance(item, Malformed) for item in items) == sum(not is_object(line) for line in lines)
    elif file_format == "bulk":
        given = iter([line for item in items for line in lines_of(item)])
        expected = next(given, None)
        for line in lines:
            if line == expected:
                expected = next(given, None)
            else:  # a line of `--failed`, which only tells of the document after it
                assert json.loads(line).keys() == {"failed"}, (line, items)
        assert expected is None, items
    elif file_format == "json":
        kind, elements = outcome(json.loads, content.decode("utf-8-sig", "surrogateescape"))
        if kind == "returned":
            assert len(items) == len(elements)
            for item, element in zip(items, elements, strict=True):
                assert isinstance(item, Malformed) or json.loads(text_of(item)) == element
        elif kind is not RecursionError:
            assert not lines or any(isinstance(item, Malformed) for item in items), items


def text_of(item):
    """A document as it stood in the file."""
    return item.lines.partition(b"\n")[2][:-1] if isinstance(item, Document) else item.text


def lines_of(item):
    lines = (item.lines if isinstance(item, Document) else item.text).split(b"\n")
    return [line for line in lines if line.strip(BLANKS)]


def is_object(line):
    def refuse(constant):
        raise ValueError(constant)

    try:
        return isinstance(json.loads(line.decode(), parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


def check_checkpoint(name, content):
    """Whatever is in a checkpoint's file, it is refused, or a run can go on from it."""
    with open(PATH, "wb") as file:
        file.write(checkpoint_with(name, content))
    stored = File("file", PATH, 3, None, "identity", "prefix")
    try:
        checkpoint = Checkpoint(PATH, [stored], {"index": "i"})
    except InputError:
        return
    state = checkpoint.state
    state.tally.add(state.tally)
    assert all(count >= 0 for count in (state.failed_bytes, state.tally.failed, state.tally.indexed, state.tally.bytes))
    assert state.sent >= START
    assert len([prefix.encode() for prefix in checkpoint.id_prefixes]) == 1
    with contextlib.closing(Reader([stored], Shape(index="i"), state.place, 10)) as reader:
        while reader.take(100):
            pass
    checkpoint.save()


def checkpoint_with(name, content):
    """What was saved, with another value of this name; or the content itself."""
    kind, value = outcome(json.loads, content)
    return json.dumps({**SAVED, name: value}).encode() if kind == "returned" and name is not None else content


def saved():
    checkpoint = Checkpoint(PATH, [File("file", "file", 3, None, "identity", "prefix")], {"index": "i"})
    checkpoint.save()
    with open(PATH, "rb") as file:
        return json.load(file)


SAVED = saved()
NAMES_IN_A_CHECKPOINT = (None, *SAVED)

CONTENTS = (
    (
        b"\x01",
        b'{"a":"1","c":2}\n{"a":{"b":3},"c":"r"}\r\n\n  {"x":[1,{"y":null}]} \nnot json\n{"a":1e999}\n{"a":"\\ud800"}',
    ),
    (
        b"\x00",
        codecs.BOM_UTF8 + b'{"a":1}\n[1]\n{"a":NaN}\n{"a":"\xff"}\n{"a":1,"a":2}\n123456789012345678901234567890\n',
    ),
    (
        b"\x02",
        b'{"index":{"_id":"1","_index":"x"}}\n{"a":1}\n{"delete":{"_id":2}}\n\n{"update":{"_id":3}}\n{"doc":{}}\n',
    ),
    (
        b"\x02",
        b'{"create":{}}\n{"a":1}\n{"failed":{"outcome":"refused"}}\n{"index":{"_id":4}}\n{}\n{"index":{"x":1}}\n{}\nx\ny\n',
    ),
    (
        b"\x00",
        b'{"failed":{"outcome":"malformed","text":"x","file":"f","line":1}}\n{"index":{"_id":"1","_id":"2"}}\n{"a":2}',
    ),
    (b"\x03", b'[{"a":1},\n {"a":"]}{[\\"", "c":[{}]}, 3, "x,]",null\t,{"b":\n"x"}\n]\n'),
    (b"\x00", b" [ ] "),
    (b"\x01", b'\t{"a":1}\t\r\n\t\n\x0b{"a":2}\n{"a":\t3}\x00\n'),
    (b"\x03", b'[{"a":1} {"a":2}]'),
    (b"\x04", b'a,b,"c ""d"""\r\n1,2,3\r\n"x\ny",,"z"\n\n1,2\n"a"b,c,d\n\xff,1,2\n'),
)


def seeds():
    for number, (file_format, content) in enumerate(CONTENTS):
        for packed in range(3):
            choices = number * packed % len(SHAPES), packed, number * 3 + packed, number * 9, number
            yield file_format + bytes(choices) + content
        yield file_format + bytes((0, 3, 0, 50, 2)) + gzip.compress(content)[4:]
        yield file_format + bytes((0, 4, 1, 50, 2)) + zstandard.ZstdCompressor().compress(content)[4:]
    yield b"c\x00...." + json.dumps(SAVED).encode()
    for number, name in enumerate(NAMES_IN_A_CHECKPOINT):
        for value in (SAVED.get(name), None, [], {}, -1, [-1, "a", None, 0], ["a"], {"indexed": "a", "statuses": []}):
            yield b"c%c...." % number + json.dumps(value).encode()
    yield b"c\x00...." + b"[" * 3000
    yield b"c\x00...." + b"\xff\xfe{\x00"


if __name__ == "__main__":
    main(check, seeds)
