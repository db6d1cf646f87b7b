"""What a failed request means: whether it was executed, and what may be done about it."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Final

from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

#: Statuses that refuse a request, or one document of a `_bulk` request, for now: nothing was executed.
THROTTLED_STATUSES: Final = frozenset({402, 429})
#: Of one document in a `_bulk` answer, a 503 says that its shard was not there to execute it.
RETRIABLE_ITEM_STATUSES: Final = THROTTLED_STATUSES | {503}
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
_MAX_CAUSES: Final = 10

# Why a TLS handshake fails, which comes before any request, and would fail again. Others come at any time.
_HANDSHAKE_REASONS: Final = frozenset(
    [
        *("CERTIFICATE_VERIFY_FAILED", "HTTP_REQUEST", "NO_PROTOCOLS_AVAILABLE", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        *("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_VERSION_NUMBER"),
    ]
)
_THROTTLED_TEXT: Final = re.compile("request throttled", re.IGNORECASE)
_SIZE_TEXT: Final = re.compile(r"exceeded ([1-9][0-9]{0,15}) bytes")


class Meaning(Enum):
    """What a request's failure says of it."""

    #: Refused for now, nothing was executed: it may be sent again, later and less often.
    THROTTLED = "throttled"
    #: No connection was made, nothing was executed: it may be sent again.
    UNREACHED = "unreached"
    #: Refused for its size, nothing was executed.
    TOO_LARGE = "too large"
    #: It may have been executed, wholly, partly or not at all.
    UNKNOWN = "unknown"
    #: Refused; the same request would be refused again.
    REFUSED = "refused"


def meaning_of(error: Exception) -> Meaning:
    """Say what an exception of opensearch-py's transport means for the request.

    Args:
        error: any exception. What is not recognised is UNKNOWN if it is a failure of the connection, and REFUSED if
            it is an answer of the domain.

    Thread-safety: a pure function.

    Source: Amazon OpenSearch Service Developer Guide, "Handling errors" (403 with `Request throttled due to too many
    requests`, 429, 413) and "Amazon OpenSearch Serverless: troubleshooting" (402 for capacity).

    >>> meaning_of(TransportError(429, "rejected_execution_exception"))
    <Meaning.THROTTLED: 'throttled'>
    >>> meaning_of(TransportError(504, "Gateway Time-out"))
    <Meaning.UNKNOWN: 'unknown'>
    """
    if not isinstance(error, TransportError):
        return Meaning.UNKNOWN
    if isinstance(error, OpenSearchConnectionError):
        causes = list(_causes(error))
        # First of all: aiohttp's exceptions for a handshake are of those for which no connection was made.
        if any(isinstance(c, ssl.SSLError) and getattr(c, "reason", None) in _HANDSHAKE_REASONS for c in causes):
            return Meaning.REFUSED
        never_connected = _never_connected()
        return Meaning.UNREACHED if any(isinstance(c, never_connected) for c in causes) else Meaning.UNKNOWN
    status = error.status_code
    if status in THROTTLED_STATUSES or (status == 403 and _THROTTLED_TEXT.search(str(error.args[1:]))):
        return Meaning.THROTTLED
    if status == 413:
        return Meaning.TOO_LARGE
    # "N/A": no answer, for the connection was closed by its owner.
    return Meaning.UNKNOWN if status in _GATEWAY_STATUSES or status == "N/A" else Meaning.REFUSED


def size_limit(error: TransportError) -> int | None:
    """The bytes that a 413 names as the endpoint's limit, if it does: `Request size exceeded 10485760 bytes`.

    >>> size_limit(TransportError(413, '{"Message":"Request size exceeded 10485760 bytes"}'))
    10485760
    """
    named = _SIZE_TEXT.search(str(error.args[1:]))
    return int(named[1]) if named else None


def _never_connected() -> tuple[type[BaseException], ...]:
    """The exceptions that say so, of the HTTP clients that are loaded: without one, none of its can have come."""
    types: list[type[BaseException]] = [NewConnectionError, ConnectTimeoutError]
    if aiohttp := sys.modules.get("aiohttp"):
        types += [aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError]
    return tuple(types)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it wraps: its arguments, urllib3's `reason` and `original_error`, its `__cause__`."""
    found: list[BaseException] = [error]
    for cause in found:
        yield cause
        if len(found) > _MAX_CAUSES:
            return
        wrapped = [*cause.args, getattr(cause, "reason", None), getattr(cause, "original_error", None), cause.__cause__]
        found += [e for e in wrapped if isinstance(e, BaseException) and not any(e is known for known in found)]
