"""Where two canonical requests part: the one that we signed, and the one that a domain's 403 quotes.

Pure functions over text that anyone may have written: none of them raises, and nothing secret comes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

# What `es` says after a mismatch. Live texts that say so are quoted in aws-sdk-js#853 and aws4#12.
_CANONICAL_MARKER: Final = "The Canonical String for this request should have been"
_STRING_TO_SIGN_MARKER: Final = "The String-to-Sign should have been"
# A canonical request ends with its only line of this form that a quote can follow: names and values stand beside `:`
# and `=`, a path begins with `/`. An apostrophe in a header's value so ends nothing.
_QUOTED: Final = re.compile(
    rf"\s*'(?P<request>[^\n]*\n.*?\n[0-9A-Za-z-]+)'(?:\s+{_STRING_TO_SIGN_MARKER}\s*'(?P<to_sign>[^']*)')?", re.DOTALL
)
_MAX_QUOTED_CHARACTERS: Final = 256 << 10  # beyond what a request line and headers may be, escaped twice
_MAX_REFUSALS: Final = 8
_MAX_ESCAPINGS: Final = 4  # the repr of JSON within JSON is three

_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_TOKEN_HEADER: Final = "x-amz-security-token"  # noqa: S105 - a header's name
_TOKEN: Final = re.compile(r"(?i)x-amz-security-token(?:[ \t]*:([^\n]+)|=([^&\s]+))")
_SECRET_PARAMETER: Final = re.compile(r"(?i)((?:security-token|signature|credential)=)[^&,\s]+")
# Possessive: going back would take a run of backslashes the square of its length.
_QUOTED_SECRET: Final = re.compile(
    r"""(?i)(x-amz-security-token["'\\]*+\s*+[:=]\s*+["'\\]*+|\bsignature=)(?:[^\s\\&,;'"]|\\++/)+"""
)
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", _TOKEN_HEADER})
_REDACTED: Final = "REDACTED"
_HIDDEN: Final = frozenset({_REDACTED, "***"})
_MAX_LINE_CHARACTERS: Final = 120
_BEFORE_CHARACTERS: Final = 40


def server_canonical_request(text: str) -> str | None:
    r"""The canonical request that a domain expected, out of the text of its 403; None where it quotes none.

    Args:
        text: the message, the JSON that held it, a log or the repr of an exception around either, escaped as often
            as that may be. Of several refusals the last one counts.

    Thread-safety: a pure function, which never raises; its time is linear in the text.

    >>> body = '{"message": "... should have been\\n\'GET\\n/\\n\\nhost:localhost\\n\\nhost\\ne3b0\'\\n"}'
    >>> server_canonical_request(body.replace("...", "The Canonical String for this request"))
    'GET\n/\n\nhost:localhost\n\nhost\ne3b0'
    """
    quoted = _quoted(text)
    return quoted["request"] if quoted else None


def server_string_to_sign(text: str) -> str | None:
    """The string to sign that stands beside `server_canonical_request(text)`; None where there is none."""
    quoted = _quoted(text)
    return quoted["to_sign"] if quoted else None


def _quoted(text: str) -> re.Match[str] | None:
    end = len(text)
    for _ in range(_MAX_REFUSALS):
        start = text.rfind(_CANONICAL_MARKER, 0, end)
        if start < 0:
            return None
        after = start + len(_CANONICAL_MARKER)
        quoted = _QUOTED.match(_plain(text[after : min(end, after + _MAX_QUOTED_CHARACTERS)]))
        if quoted is not None:
            return quoted
        end = start  # this one was cut off
    return None


def _plain(text: str) -> str:
    """Text that begins with a newline, however often that was escaped, with its newlines as they were."""
    for _ in range(_MAX_ESCAPINGS):
        if not text.startswith("\\"):
            break
        text = _ESCAPE.sub(_unescaped, text)
    # JSON writes what lies beyond the first plane as two surrogates.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\r\n", "\n")


def _unescaped(escape: re.Match[str]) -> str:
    escaped = escape[1]
    return chr(int(escaped[1:], 16)) if len(escaped) > 1 else _ESCAPED.get(escaped, escaped)


@dataclass(frozen=True)
class Difference:
    """The first element in which two canonical requests differ. It holds no session token and no signature.

    Attributes:
        element: `HTTP method`, `canonical URI`, `canonical query string`, `header NAME`, `signed headers` or
            `payload hash`.
        ours: that line, secrets hidden, and cut to where it differs; None for a header that is not there.
        theirs: the same of the other request.
        cause: the likeliest one, in a sentence.
    """

    element: str
    ours: str | None
    theirs: str | None
    cause: str

    def __str__(self) -> str:
        ours, theirs = ("(not there)" if line is None else line for line in (self.ours, self.theirs))
        return f"{self.element} differs:\n  signed:   {ours}\n  received: {theirs}\n{self.cause}"


def first_difference(ours: str, theirs: str) -> Difference | None:
    r"""The first element in which two canonical requests differ; None if there is none.

    Args:
        ours: the canonical request that was signed, as in `Explanation.canonical_request`.
        theirs: the one that the domain made of what it received. A session token that a log hid
            (`REDACTED`, `***`) is taken for the same one.

    Thread-safety: a pure function, which never raises.

    Source: AWS IAM User Guide, "Elements of an AWS API request signature", for the names.

    >>> print(first_difference("GET\n/\n\nhost:localhost:9443\n\nhost\ne3b0", "GET\n/\n\nhost:a.com\n\nhost\ne3b0"))
    header host differs:
      signed:   localhost:9443
      received: a.com
    The domain was addressed by another name: a proxy, tunnel or custom domain. Sign its own name, as the header Host.
    """
    our, their = _parsed(ours), _parsed(theirs)
    tokens = _tokens(ours) | _tokens(theirs)
    if our.method != their.method:
        return _difference("HTTP method", our.method, their.method, _METHOD_CAUSE, tokens)
    if our.path != their.path:
        return _difference("canonical URI", our.path, their.path, _cause_of_path(our.path, their.path), tokens)
    if our.query != their.query:
        cause = _cause_of_query(our.query, their.query)
        return _difference("canonical query string", our.query, their.query, cause, tokens)
    for name in sorted({*our.headers, *their.headers}):
        signed, received = our.headers.get(name), their.headers.get(name)
        if signed == received or (name == _TOKEN_HEADER and {signed, received} & _HIDDEN):
            continue
        cause = _cause_of_header(name, signed, received)
        if name in _SECRET_HEADERS:
            signed, received = (value and _REDACTED for value in (signed, received))
        return _difference(f"header {name}", signed, received, cause, tokens)
    if our.signed_headers != their.signed_headers:
        return _difference("signed headers", our.signed_headers, their.signed_headers, _SIGNED_HEADERS_CAUSE, tokens)
    if our.payload_hash != their.payload_hash:
        return _difference("payload hash", our.payload_hash, their.payload_hash, _PAYLOAD_CAUSE, tokens)
    return None


class _Request(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[str, str]
    signed_headers: str
    payload_hash: str


def _parsed(text: str) -> _Request:
    """The elements of a canonical request; those that are missing are empty."""
    lines = text.split("\n")
    method, path, query = (*lines[:3], "", "", "")[:3]
    headers: dict[str, str] = {}
    end = lines.index("", 3) if "" in lines[3:] else len(lines)
    for line in lines[3:end]:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    signed_headers, *payload_hash = (*lines[end + 1 :], "")
    return _Request(method, path, query, headers, signed_headers, "\n".join(payload_hash).strip())


# --- causes ------------------------------------------------------------------------------------------------

_METHOD_CAUSE: Final = "A proxy, or a redirect that was followed, changed the method."
_SIGNED_HEADERS_CAUSE: Final = "The Authorization that arrived lists other headers: another signer made it."
_PAYLOAD_CAUSE: Final = (
    "The body was changed after it was signed: compressed, serialised again, cut short, or its line ends converted."
)
_HEADER_CAUSES: Final = {
    "host": "The domain was addressed by another name: a proxy, tunnel or custom domain. Sign its own name, as the "
    "header Host.",
    "x-amz-content-sha256": _PAYLOAD_CAUSE,
    "x-amz-date": "They were signed at different times: they are not the same request.",
    _TOKEN_HEADER: "They were signed with the session tokens of different sessions.",
}


def _cause_of_path(ours: str, theirs: str) -> str:
    if _decoded(ours) == _decoded(theirs):
        return "It is the same path, encoded otherwise: an HTTP client or a proxy quoted or unquoted it after signing."
    return "Something on the way rewrote the path: a proxy that adds or removes a prefix, or that normalises paths."


def _decoded(path: str) -> str:
    """A canonical path is encoded twice, and once more by what quotes it again."""
    for _ in range(3):
        path = unquote(path, errors="replace")
    return path


def _cause_of_query(ours: str, theirs: str) -> str:
    signed, received = ours.split("&"), theirs.split("&")
    if sorted(map(_decoded, signed)) == sorted(map(_decoded, received)):
        return "They are the same parameters, encoded or ordered otherwise after signing: '+' for a space, for example."
    if set(signed) < set(received):
        return "A parameter was added after signing."
    if set(signed) > set(received):
        return "A parameter was removed after signing."
    return "Something changed the parameters after signing."


def _cause_of_header(name: str, signed: str | None, received: str | None) -> str:
    if received is None:
        return "The request that arrived did not sign it: another signer made it, or it was removed on the way."
    if signed is None:
        return "The request that arrived signed it, too: another signer made it, or it was added before signing."
    cause = _HEADER_CAUSES.get(name)
    return cause or "Something on the way changed it: an HTTP client, instrumentation or a proxy. Sign it last, or not."


# --- what is shown -----------------------------------------------------------------------------------------


def _difference(element: str, ours: str | None, theirs: str | None, cause: str, tokens: set[str]) -> Difference:
    element, signed, received = (_redacted(text or "", tokens) for text in (element, ours, theirs))
    start = 0
    if ours is not None and theirs is not None and max(len(signed), len(received)) > _MAX_LINE_CHARACTERS:
        pairs = enumerate(zip(signed, received, strict=False))
        differs_at = next((i for i, (a, b) in pairs if a != b), min(len(signed), len(received)))
        start = max(0, differs_at - _BEFORE_CHARACTERS)
    return Difference(
        _cut(element, 0),
        None if ours is None else _cut(signed, start),
        None if theirs is None else _cut(received, start),
        cause,
    )


def _tokens(text: str) -> set[str]:
    """The session tokens in a canonical request, wherever they stand, and as they would stand in a query."""
    found = {(header or parameter).strip() for header, parameter in _TOKEN.findall(text)}
    found |= {unquote(token) for token in found}
    return {form for token in found for form in (token, quote(token, safe="", errors="replace")) if len(form) > 3}


def _redacted(text: str, tokens: set[str]) -> str:
    for token in sorted(tokens, key=len, reverse=True):
        text = text.replace(token, _REDACTED)
    return _SECRET_PARAMETER.sub(rf"\1{_REDACTED}", text)


def _cut(line: str, start: int) -> str:
    """What can be shown of a line from `start` on."""
    part = printable(line[start : start + _MAX_LINE_CHARACTERS])
    return f"{'...' if start else ''}{part}{'...' if start + _MAX_LINE_CHARACTERS < len(line) else ''}"


def printable(text: str) -> str:
    """The text of others with whatever could move a terminal's cursor, newlines included, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def without_secrets(text: str) -> str:
    r"""Text that may quote what was sent, however escaped, with its session tokens and signatures hidden.

    >>> without_secrets("x-amz-security-token:EXAMPLE\\/TOKEN\\nhost:a, Signature=00ff")
    'x-amz-security-token:REDACTED\\nhost:a, Signature=REDACTED'
    """
    return _QUOTED_SECRET.sub(rf"\1{_REDACTED}", text)
