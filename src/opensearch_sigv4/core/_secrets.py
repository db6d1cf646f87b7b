"""What keeps secret keys, session tokens and signatures out of what is printed: tracebacks with locals, and answers."""

import gc
import re
import sys
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from . import spec

REDACTED = "REDACTED"
_SECRET_HEADERS = frozenset({spec.AUTHORIZATION.lower(), spec.SECURITY_TOKEN.lower()})


class RequestHeaders(dict[str, Any]):
    """The headers of one request. `repr` hides what is secret, as it is shown wherever locals are.

    >>> RequestHeaders({"host": "localhost", "Authorization": "AWS4-HMAC-SHA256 ..."})
    {'host': 'localhost', 'Authorization': 'REDACTED'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr({name: REDACTED if name.lower() in _SECRET_HEADERS else value for name, value in self.items()})


def without_secrets(text: str, headers: RequestHeaders) -> str:
    """What a server said, without what is secret in the headers that it was sent, as it is or escaped for JSON.

    A 403 quotes the canonical request that should have been signed, session token included, or the Authorization that
    it could not read; and what it says becomes the text of an exception, and of a log record.
    """
    if not text:
        return text
    for name, value in headers.items():
        if name.lower() in _SECRET_HEADERS:
            secret = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            # Of an Authorization what proves something: the signature, or all that follows the scheme.
            secret = (
                secret.rpartition("Signature=")[2] if "Signature=" in secret else secret.partition(" ")[2] or secret
            )
            beginning = _PLAIN_BEGINNING.match(secret)
            if secret and (beginning is None or beginning[0] in text):
                text = re.sub("".join(map(_escaped, secret)), REDACTED, text)
    return text


# What no JSON writer escapes: without it the secret is not there in any form.
_PLAIN_BEGINNING = re.compile(r"[A-Za-z0-9]{4,}")


def _escaped(character: str) -> str:
    """A pattern for a character in all the forms that JSON has for it."""
    if character.isalnum() and character.isascii():
        return character
    return rf"(?:\\*{re.escape(character)}|\\+u(?i:{ord(character):04x}))"


def clear_frames(error: BaseException | None) -> None:
    """Empty the locals of all functions that have ended by this error, and by those that led to it.

    The traceback stays as it is. What printed it with locals (rich, Sentry, pytest -l) would print what these
    functions signed and sent, by which key. What the caller was handling before all this is left alone, and so is
    whatever still runs, or waits to go on: an error that several tasks have raised may hold frames of all of them.

    Thread-safety: any number of threads at once.
    """
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        traceback = current.__traceback__
        if traceback is not None:
            if not _clear(traceback.tb_frame) and current is not error:
                continue  # caught by somebody who has not ended: not what led to this error
            while (traceback := traceback.tb_next) is not None:
                _clear(traceback.tb_frame)
        pending += [current.__cause__, current.__context__]
        pending += [argument for argument in current.args if isinstance(argument, BaseException)]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions


class _ClearedFrames:
    """`with cleared_frames:` does that to what is raised within."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        clear_frames(error)


cleared_frames = _ClearedFrames()


def _clear(frame: FrameType) -> bool:
    """Whether this frame has ended; if so, its locals are gone."""
    if sys.version_info < (3, 13) and not any(held is frame.f_code for held in gc.get_referents(frame)):
        # It runs, or waits, as then something else owns what it refers to: to clear a waiting one would end it.
        return False
    with suppress(RuntimeError):  # the same, where Python says so by itself
        frame.clear()
        return True
    return False
