"""JSON as the bulk helpers meet it, in plain Python: the specification that any other twin must equal.

Text is read without being built (RFC 8259, to the letter, and RFC 3629 for its UTF-8): what stands in the answer to a
`_bulk` request, and whether a line is fit to be sent in one. `csrc/json.c` does the same in C.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Any, TypeVar

T = TypeVar("T")

#: How many containers may be open at once in text: what Jackson, and so OpenSearch, reads by default.
MAX_DEPTH = 1000
#: The same in a value that is to be serialised: orjson ends at 254.
MAX_PLAIN_DEPTH = 250

# --- the grammar: each pattern takes as much as it can, and gives nothing back --------------------------------------


def all_of(group: bytes, quantifier: bytes = b"*") -> bytes:
    """The pattern of as many as there are, of which none is given back.

    Before CPython 3.11.5 (Debian 12 has 3.11.2) a possessive quantifier of a group matches what it should not, see
    https://github.com/python/cpython/issues/106052. An atomic group does not, but remembers each repetition meanwhile.
    """
    if sys.version_info < (3, 11, 5):
        return rb"(?>(?:" + group + rb")" + quantifier + rb")"
    return rb"(?:" + group + rb")" + quantifier + rb"+"


_SPACE = rb"[ \t\n\r]*+"  # RFC 8259, 2
_NUMBER = rb"-?+(?:0|[1-9][0-9]*+)" + all_of(rb"\.[0-9]++", b"?") + all_of(rb"[eE][+-]?+[0-9]++", b"?")  # RFC 8259, 6
_UTF8 = (  # RFC 3629, 4, beyond ASCII
    rb"[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})'
_ASCII = rb"[ !#-\[\]-\x7f]*+"  # but for what must be escaped
_CHARACTERS = _ASCII + all_of(rb"(?:" + _ESCAPE + rb"|" + _UTF8 + rb")" + _ASCII)  # RFC 8259, 7
_STRING = rb'"' + _CHARACTERS + rb'"'
_SCALAR = rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|true|false|null)"

# What is nested no deeper than this is read by one pattern, which is much quicker than step by step.
_FLAT_DEPTH = 3


def _flat(depth: int) -> bytes:
    """The pattern of a value in which no more than `depth` containers are open at once."""
    if depth == 0:
        return _SCALAR
    value = _flat(depth - 1)
    # Behind a comma another value must begin, and without one the container must end.
    pair = _STRING + _SPACE + rb":" + _SPACE + value + _SPACE + rb"(?:," + _SPACE + rb'(?=")|(?=\}))'
    element = value + _SPACE + rb"(?:," + _SPACE + rb"(?!\])|(?=\]))"
    an_object = rb"\{" + _SPACE + all_of(pair) + rb"\}"
    an_array = rb"\[" + _SPACE + all_of(element) + rb"\]"
    return rb"(?:" + _SCALAR + rb"|" + an_object + rb"|" + an_array + rb")"


# An item as OpenSearch writes it, of one action that has one "status", names without escapes; and what is behind it.
def _usual_item() -> bytes:
    comma = rb"," + _SPACE
    name = rb'"' + _ASCII + rb'"' + _SPACE + rb":" + _SPACE
    other = rb'(?!"status")' + name + _flat(2) + _SPACE
    status = rb'"status"' + _SPACE + rb":" + _SPACE + rb"(?:2[0-9][0-9]|(?P<failed>[1-9][0-9]*+))" + _SPACE
    action = rb"\{" + _SPACE + all_of(other + comma) + status + all_of(comma + other) + rb"\}"
    item = rb"\{" + _SPACE + name + action + _SPACE + rb"\}"
    return rb"(?P<item>" + item + rb")" + _SPACE + rb"(?:" + comma + rb"(?=\{)|(?=\]))"


_PATTERNS = {
    "space": lambda: _SPACE,
    "characters": lambda: _CHARACTERS,
    "name": lambda: _STRING + _SPACE + rb":" + _SPACE,
    "scalar": lambda: _SCALAR,
    "flat": lambda: _flat(_FLAT_DEPTH),
    "usual item": _usual_item,
}


@cache
def _pattern(name: str) -> re.Pattern[bytes]:
    return re.compile(_PATTERNS[name]())  # when it is needed first: all of them take 20 ms


# --- one step after the other: each begins at an offset and returns where it ended -----------------------------------


class _UnfitError(Exception):
    def __init__(self, reason: str, at: int) -> None:
        self.reason = reason
        self.at = at  # the offset of the first token that does not belong where it is


INVALID = "not valid JSON"
TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
NOT_AN_OBJECT = "not a JSON object"
NEWLINE = "a line break"


def _skip(name: str, data: bytes, at: int) -> int:
    match = _pattern(name).match(data, at)
    return match.end() if match else at


def _skip_name(data: bytes, at: int) -> int:
    """Past a pair's name and colon, to its value."""
    if match := _pattern("name").match(data, at):
        return match.end()
    if data[at : at + 1] == b'"':
        at = _skip("characters", data, at + 1)
        if data[at : at + 1] == b'"':  # so what is missing is the colon
            at = _skip("space", data, at + 1)
    raise _UnfitError(INVALID, at)


def _enter(data: bytes, at: int, depth: int) -> tuple[bytes, int]:
    """Into the container that begins here, inside of `depth` others: how it ends, and where its first token is."""
    if depth >= MAX_DEPTH:
        raise _UnfitError(TOO_DEEP, at)
    return b"}" if data[at : at + 1] == b"{" else b"]", _skip("space", data, at + 1)


def _next(data: bytes, at: int, end: bytes) -> tuple[bool, int]:
    """Behind a value in a container: whether it ends now, and where the next value or pair or what follows it is."""
    at = _skip("space", data, at)
    if data[at : at + 1] == end:
        return True, at + 1
    if data[at : at + 1] != b",":
        raise _UnfitError(INVALID, at)
    return False, _skip("space", data, at + 1)


def _skip_value(data: bytes, at: int, depth: int) -> int:
    """Past any value, inside of `depth` containers."""
    ends: list[bytes] = []  # of the containers that were opened here
    while True:
        is_shallow = depth + len(ends) + _FLAT_DEPTH <= MAX_DEPTH
        if match := _pattern("flat" if is_shallow else "scalar").match(data, at):
            at = match.end()
        elif data[at : at + 1] in (b"{", b"["):
            end, at = _enter(data, at, depth + len(ends))
            if data[at : at + 1] != end:
                ends.append(end)
                at = _skip_name(data, at) if end == b"}" else at
                continue
            at += 1
        else:  # In a string, it is the character that is wrong.
            raise _UnfitError(INVALID, _skip("characters", data, at + 1) if data[at : at + 1] == b'"' else at)
        is_over = True
        while ends and is_over:
            is_over, at = _next(data, at, ends[-1])
            if is_over:
                ends.pop()
        if not ends:
            return at
        if ends[-1] == b"}":
            at = _skip_name(data, at)


def _scan_object(
    data: bytes, at: int, depth: int, scan: Callable[[str, int], tuple[T, int]]
) -> tuple[dict[str, T], int]:
    """Past an object: what `scan`, which is given a name and where its value is, made of each value.

    Of a name that is repeated, in whatever spelling, the last one counts, as for `json.loads`.
    """
    found: dict[str, T] = {}
    end, at = _enter(data, at, depth)
    is_over = data[at : at + 1] == end
    at += is_over
    while not is_over:
        start = _skip_name(data, at)
        name = data[at + 1 : data.rindex(b'"', at, start)]
        text = json.loads(b'"%b"' % name) if b"\\" in name else name.decode()
        found[text], at = scan(text, start)
        is_over, at = _next(data, at, end)
    return found, at


def _start_of_object(data: bytes) -> int:
    at = _skip("space", data, 0)
    if data[at : at + 1] != b"{":
        raise _UnfitError(NOT_AN_OBJECT, at)
    return at


def _expect_end(data: bytes, at: int) -> None:
    at = _skip("space", data, at)
    if at != len(data):
        raise _UnfitError(INVALID, at)


# --- what is asked of text ------------------------------------------------------------------------------------------


def scan_bulk_answer(answer: str | bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """Read OpenSearch's answer to `_bulk`: how many items it has, and each that did not succeed.

    An item succeeded if it is an object of one name, whose value is an object whose "status" is an integer in
    200..299, in three digits. Any other did not: its position and, as it stands in the answer, its UTF-8 are returned.
    Of a name that is repeated, in whatever spelling, the last one counts, as for `json.loads`. Without "items", or
    where they are no array, there are none.

    Raises:
        TypeError: `answer` is neither str nor bytes.
        ValueError: it is not one object in valid JSON (RFC 8259), or nested more than MAX_DEPTH deep. The message
            has the offset in UTF-8 of the first token that does not belong where it is: a bracket, colon or comma, a
            number as far as it is one, a literal, or a character of a string. A lone surrogate is no valid character.
    """
    data = utf8_of_answer(answer)

    def scan(name: str, at: int) -> tuple[tuple[int, list[tuple[int, bytes]]], int]:
        if name == "items" and data[at : at + 1] == b"[":
            return _scan_items(data, at)
        return (0, []), _skip_value(data, at, 1)

    try:
        pairs, end = _scan_object(data, _start_of_object(data), 0, scan)
        _expect_end(data, end)
    except _UnfitError as error:
        raise unfit("answer", error.reason, error.at, len(data)) from None
    return pairs.get("items", (0, []))


def _scan_items(data: bytes, at: int) -> tuple[tuple[int, list[tuple[int, bytes]]], int]:
    usual_item = _pattern("usual item")
    count = 0
    failed: list[tuple[int, bytes]] = []
    end, at = _enter(data, at, 1)
    is_over = data[at : at + 1] == end
    at += is_over
    while not is_over:
        if match := usual_item.match(data, at):
            if match["failed"] is not None:
                failed.append((count, match["item"]))
            at = match.end()
            is_over = data[at : at + 1] == end
            at += is_over
        else:
            start = at
            has_succeeded, at = _scan_item(data, start)
            if not has_succeeded:
                failed.append((count, data[start:at]))
            is_over, at = _next(data, at, end)
        count += 1
    return (count, failed), at


def _scan_item(data: bytes, at: int) -> tuple[bool, int]:
    if data[at : at + 1] != b"{":
        return False, _skip_value(data, at, 2)
    actions, at = _scan_object(data, at, 2, lambda _, start: _scan_action(data, start))
    return len(actions) == 1 and all(actions.values()), at


def _scan_action(data: bytes, at: int) -> tuple[bool, int]:
    def scan(_: str, at: int) -> tuple[bool, int]:
        end = _skip_value(data, at, 4)
        return end - at == 3 and data[at:end].isdigit() and data[at : at + 1] == b"2", end

    if data[at : at + 1] != b"{":
        return False, _skip_value(data, at, 3)
    pairs, at = _scan_object(data, at, 3, scan)
    return pairs.get("status", False), at


def check_json_object(line: bytes) -> None:
    """Check that a line can stand in the body of a `_bulk` request as it is.

    Raises:
        TypeError: `line` is not bytes.
        ValueError: it is not exactly one object in valid JSON (RFC 8259) between spaces, tabs and carriage returns,
            is nested more than MAX_DEPTH deep, or has a line break, wherever that is. The message has the offset, as
            that of `scan_bulk_answer`, and nothing of the line.
    """
    data = bytes_of_line(line)
    newline = data.find(b"\n")
    if newline >= 0:
        raise unfit("line", NEWLINE, newline, len(data))
    try:
        _expect_end(data, _skip_value(data, _start_of_object(data), 0))
    except _UnfitError as error:
        raise unfit("line", error.reason, error.at, len(data)) from None


def utf8_of_answer(answer: object) -> bytes:
    """The UTF-8 of an answer, in which a lone surrogate is not valid; or a TypeError."""
    if isinstance(answer, str):
        return str.encode(answer, "utf-8", "surrogatepass")
    if isinstance(answer, bytes):
        return bytes.__getitem__(answer, slice(None))
    raise TypeError(f"answer: str or bytes is needed, not {type(answer).__name__}")


def bytes_of_line(line: object) -> bytes:
    """A line as it is, of a subclass's instance a copy; or a TypeError."""
    if isinstance(line, bytes):
        return bytes.__getitem__(line, slice(None))
    raise TypeError(f"line: bytes is needed, not {type(line).__name__}")


def unfit(argument: str, reason: str, at: int, size: int) -> ValueError:
    """The error for text of `size` bytes that is not fit from byte `at` on; of the text itself it says nothing."""
    where = f"byte {at}" if at < size else f"its end, byte {at}"
    return ValueError(f"{argument}: {reason}, at {where}")


# --- what is asked of values ----------------------------------------------------------------------------------------


def is_plain_json(value: Any) -> bool:
    """Whether a value is what json.dumps and orjson write alike, and no code but theirs is run for.

    That is one of exact dict, with names that are exact str, exact list and tuple, exact str, int, bool, None, and
    exact float that is finite, nested no more than MAX_PLAIN_DEPTH deep, so that one that holds itself is none. What
    orjson refuses among these, it refuses with an error: an int beyond 64 bits, a str with a lone surrogate.

    Thread-safety: of what another thread changes meanwhile, the one or the other is seen, or it is not plain.
    """
    # No set of types: to hash one runs what its metaclass defines.
    pending = [(value, 0)]
    try:
        while pending:
            value, depth = pending.pop()
            kind = type(value)
            if kind is dict or kind is list or kind is tuple:
                if depth == MAX_PLAIN_DEPTH:
                    return False
                if kind is dict:
                    for name in value:
                        if type(name) is not str:
                            return False
                    value = value.values()
                for inner in value:
                    kind = type(inner)
                    if kind is not str and kind is not int and kind is not bool and inner is not None:
                        pending.append((inner, depth + 1))
            elif kind is float:
                if not isfinite(value):
                    return False
            elif kind is not str and kind is not int and kind is not bool and value is not None:
                return False
    except RuntimeError:  # another thread changed the size of a dict
        return False
    return True


def encode_plain(value: Any, dumps: Callable[[Any], T]) -> T | None:
    """`dumps(value)` for what is plain and no str; None for anything else, and where `dumps` refuses it.

    Args:
        dumps: orjson's. Its TypeError is caught: an int beyond 64 bits, a lone surrogate.
    """
    if type(value) is str or not is_plain_json(value):
        return None
    try:
        return dumps(value)
    except TypeError:
        return None
