"""What is told of a document that is not in, and the lines that keep it: `opensearch-sigv4 bulk` reads them again.

Before each document's own lines stands one that tells of it, `{"failed": {"outcome": "refused", ...}}`.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final, NamedTuple

from opensearchpy.exceptions import SerializationError, TransportError

from .._difference import without_secrets
from ._delivery import Failure, Outcome
from ._documents import Chunk

try:
    import orjson as _orjson
except ModuleNotFoundError:
    _orjson = None  # type: ignore[assignment]

FAILED_KEY: Final = "failed"
_MAX_TEXT_BYTES: Final = 1 << 20
_MAX_REASON_CHARACTERS: Final = 2000


class Told(NamedTuple):
    """What there is to tell of a document that is not known to be in."""

    unknown: bool
    status: Any
    reason: str

    def line(self, origin: dict[str, Any]) -> bytes:
        """The line before the document's own."""
        outcome = "unknown" if self.unknown else "refused"
        return failed_line({**origin, "outcome": outcome, "status": self.status, "reason": self.reason})


def told_of(outcome: Outcome) -> Told:
    """What there is to tell of a document by its outcome, which is no success."""
    if isinstance(outcome, Failure):
        return Told(outcome.unknown, outcome.status, _reason_of_error(outcome.error))
    [result] = outcome[1].values()
    return Told(bool(result.get("unknown")), result.get("status"), _reason(result))


def malformed_line(origin: dict[str, Any], text: bytes, reason: str) -> bytes:
    """The line that tells of a document that never was one, and holds it."""
    told: dict[str, Any] = {**origin, "outcome": "malformed", "reason": reason}
    try:
        told["text"] = text[:_MAX_TEXT_BYTES].decode()
    except UnicodeDecodeError:
        told["base64"] = base64.b64encode(text[:_MAX_TEXT_BYTES]).decode()
    if len(text) > _MAX_TEXT_BYTES:
        told["truncated"] = True
    return failed_line(told)


def failed_line(told: dict[str, Any]) -> bytes:
    return dumps({FAILED_KEY: told}) + b"\n"


def document_lines(chunk: Chunk, position: int, **parameters: str | None) -> bytes:
    """A document's lines, with what the request said for all of them: `index`, `pipeline`."""
    action, _, rest = chunk.lines(position).partition(b"\n")
    [(op_type, metadata)] = loads(action).items()
    for name, value in parameters.items():
        if value is not None:
            metadata.setdefault("_index" if name == "index" else name, value)
    return dumps({op_type: metadata}) + b"\n" + rest


def _reason_of_error(error: Exception) -> str:
    if isinstance(error, TransportError) and isinstance(error.args[-1], dict):
        return f"{error.status_code}: {_reason(error.args[-1])}"
    if isinstance(error, SerializationError):  # it holds the whole answer
        return f"the answer is no JSON: {error.args[-1]}"
    return without_secrets(str(error))[:_MAX_REASON_CHARACTERS]


def _reason(result: dict[str, Any]) -> str:
    error = result.get("error") or result.get("result") or f"status {result.get('status')}"
    return f"{error.get('type')}: {error.get('reason')}" if isinstance(error, dict) else str(error)


def described(error: BaseException) -> str:
    """An error with its notes, in one line."""
    text = ". ".join([f"{type(error).__name__}: {error}".rstrip(": "), *getattr(error, "__notes__", ())])
    return without_secrets(text)  # a 403 quotes the session token


def loads(text: bytes) -> Any:
    if _orjson is not None:
        try:
            return _orjson.loads(text)
        except ValueError:  # a lone surrogate, which json takes
            pass
    return json.loads(text)


def dumps(value: Any) -> bytes:
    if _orjson is not None:
        try:
            return _orjson.dumps(value)
        except TypeError:  # an integer over 64 bits, or a lone surrogate
            pass
    return json.dumps(value, separators=(",", ":")).encode()
