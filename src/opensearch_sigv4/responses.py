"""What a failed request means: why it was refused, whether it was executed, and what may be done about it."""

from __future__ import annotations

import json
import re
import ssl
import sys
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_match_hostname import CertificateError

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
#: Statuses by which a signature or its owner is refused.
REFUSED_STATUSES: Final = frozenset({401, 403})
# What is read of an answer's text: a refusal says why at its beginning.
_MAX_TEXT: Final = 16_384

_SKEW_TEXT: Final = re.compile(
    r"Signature [a-z ]{7,15}: \S{1,40} is [a-z ]{10,30} \S{1,40} \(([0-9]{8}T[0-9]{6}Z) [-+] 5 min"
)
# What is sent as POST for its body only.
_READING_APIS: Final = frozenset({"_count", "_field_caps", "_mget", "_msearch", "_search"})
_MESSAGE_BEGINS: Final = re.compile(r'\s{0,100}\{\s{0,100}"[Mm]essage"\s{0,100}:\s{0,100}"')
# Of IAM and of access policies; of fine-grained access control.
_FORBIDDEN_TEXT: Final = re.compile(r"is not authorized to perform|security_exception|no permissions for \[")
# Of OpenSearch itself: `cluster_block_exception`, `index_create_block_exception`.
_BLOCKED_TYPE: Final = re.compile(r"[a-z_]{1,40}_block_exception")
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
        causes = list(causes_of(error))
        # First of all: aiohttp's exceptions for a handshake are of those for which no connection was made.
        if any(isinstance(c, ssl.SSLError) and getattr(c, "reason", None) in _HANDSHAKE_REASONS for c in causes):
            return Meaning.REFUSED
        if any(isinstance(c, CertificateError) for c in causes):
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


class Cause(Enum):
    """Why a domain or collection refused a request, as far as its answer tells."""

    #: Too many requests, or no capacity for more: 429, 402 of Serverless, or a 403 that says so.
    THROTTLED = "throttled"
    #: Signed at a time that is more than five minutes off the service's.
    SKEWED = "clock skew"
    #: The session token has expired.
    EXPIRED = "expired credentials"
    #: The access key or the session token is not known.
    UNRECOGNIZED = "unrecognized credentials"
    #: Signed for another region or service.
    SCOPE = "credential scope"
    #: The signature does not match the request.
    SIGNATURE = "signature mismatch"
    #: There is no signature, or none that could be read.
    UNSIGNED = "no signature"
    #: Signed well, but this identity may not do that.
    FORBIDDEN = "not authorised"
    #: Not refused for its signature: the cluster or the index takes no writes for now, as when its disks are full.
    BLOCKED = "blocked by OpenSearch"
    #: A 403 that tells nothing, as Serverless gives for all of these.
    UNEXPLAINED = "unexplained"
    #: The body is larger than the endpoint takes.
    TOO_LARGE = "too large"
    #: Anything else.
    OTHER = "other"


# What AWS writes, or the type that it names, in the order in which they are looked for: some types have several texts.
# Messages: botocore#1246 and #3643, opensearch-py#186 and #600, aws-sdk-js#853, Synapse#5689; types: AWS General
# Reference, "Common errors".
_CAUSES_BY_MESSAGE: Final = (
    (re.compile(r"(?:403 )?Request throttled", re.IGNORECASE), Cause.THROTTLED),
    (re.compile(r"Signature expired:|Signature not yet current:"), Cause.SKEWED),
    (re.compile(r"The (?:security token included in the request is|provided token has) expired"), Cause.EXPIRED),
    (re.compile(r"The security token included in the request is invalid"), Cause.UNRECOGNIZED),
    (re.compile(r"Credential should be scoped to"), Cause.SCOPE),
    (re.compile(r"The request signature we calculated does not match"), Cause.SIGNATURE),
    (re.compile(r"Missing Authentication Token|Authorization header requires|User: anonymous "), Cause.UNSIGNED),
)
_CAUSES_BY_TYPE: Final = {
    "AccessDeniedException": Cause.FORBIDDEN,
    "ExpiredTokenException": Cause.EXPIRED,
    "IncompleteSignatureException": Cause.UNSIGNED,
    "InvalidClientTokenId": Cause.UNRECOGNIZED,
    "InvalidSignatureException": Cause.SIGNATURE,
    "MissingAuthenticationTokenException": Cause.UNSIGNED,
    "RequestExpired": Cause.SKEWED,
    "ThrottlingException": Cause.THROTTLED,
    "UnrecognizedClientException": Cause.UNRECOGNIZED,
}


def cause_of(status: int, text: str, error_type: str = "") -> Cause:
    """Say why a domain or collection refused a request.

    A text counts where AWS's own front writes it, as the whole answer or its `message`: in what OpenSearch itself
    answers, names and values of whoever sent the request stand, too.

    Args:
        status: of the answer.
        text: its body; empty of a HEAD request's.
        error_type: its header `x-amzn-ErrorType`.

    Thread-safety: a pure function; no text makes it raise.

    >>> cause_of(403, '{"message":"The security token included in the request is expired"}')
    <Cause.EXPIRED: 'expired credentials'>
    >>> cause_of(403, '{"status":403,"error":{"reason":"403 Forbidden","type":"Forbidden"}}')
    <Cause.UNEXPLAINED: 'unexplained'>
    """
    if status in (403, 429) and _BLOCKED_TYPE.fullmatch(_error_type_of(text)):
        return Cause.BLOCKED
    if status in THROTTLED_STATUSES:
        return Cause.THROTTLED
    if status == 413:
        return Cause.TOO_LARGE
    if status not in REFUSED_STATUSES and not error_type:
        return Cause.OTHER
    message = message_of(text)
    for beginning, cause in _CAUSES_BY_MESSAGE:
        if beginning.match(message):
            return cause
    by_type = _CAUSES_BY_TYPE.get(error_type.partition(":")[0].strip())
    if by_type is not None:
        return by_type
    if status not in REFUSED_STATUSES:
        return Cause.OTHER
    return Cause.FORBIDDEN if _FORBIDDEN_TEXT.search(message) else Cause.UNEXPLAINED


def message_of(text: str) -> str:
    """The `message` of an answer that is a JSON object with one, else the text itself; its beginning only."""
    if len(text) > _MAX_TEXT:
        begins = _MESSAGE_BEGINS.match(text)
        return text[begins.end() if begins else 0 :][:_MAX_TEXT]
    answer = _object_of(text)
    for name in ("message", "Message"):
        if isinstance(message := answer.get(name), str):
            return message
    return text


def _error_type_of(text: str) -> str:
    """What OpenSearch calls the error: the `type` of the `error` in its answer; empty if there is none."""
    error = _object_of(text).get("error") if len(text) <= _MAX_TEXT else None
    name = error.get("type") if isinstance(error, dict) else None
    return name if isinstance(name, str) else ""


def _object_of(text: str) -> dict[str, Any]:
    """The JSON object that the text is; an empty one if it is none."""
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def server_time(date: str | None) -> float | None:
    """The Unix time of an answer's `Date` header; None where there is none that can be read.

    >>> server_time("Sun, 30 Aug 2015 12:36:00 GMT")
    1440938160.0
    """
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def skewed_server_time(text: str) -> float | None:
    """The Unix time of the service, which the text of a refusal for clock skew names.

    >>> skewed_server_time("Signature expired: 20150830T120000Z is now earlier than 20150830T123100Z "
    ...                    "(20150830T123600Z - 5 min.)")
    1440938160.0
    """
    told = _SKEW_TEXT.match(message_of(text))
    try:
        return None if told is None else datetime.strptime(f"{told[1]}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
    except ValueError:
        return None


def is_safe(method: str, path: str) -> bool:
    """Whether a request only reads, so that it may be sent again though it may have been executed.

    Args:
        method: in upper case.
        path: without query.

    Source: RFC 9110, 9.2.1 and 9.2.2; a scroll, whatever its method, moves on with each request.

    >>> is_safe("POST", "/logs/_search"), is_safe("POST", "/logs/_doc"), is_safe("GET", "/_search/scroll")
    (True, False, False)
    """
    segments = [segment for segment in path.split("/") if segment]
    if "scroll" in segments:
        return False
    if method == "POST":
        # Alone, or of an index; further on such a name may be a document's id.
        is_of_index = len(segments) == 2 and not segments[0].startswith("_")
        return bool(segments) and segments[-1] in _READING_APIS and (len(segments) == 1 or is_of_index)
    return method in ("GET", "HEAD", "OPTIONS")


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


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it wraps: its arguments, urllib3's `reason` and `original_error`, its `__cause__`."""
    found: list[BaseException] = [error]
    for cause in found:
        yield cause
        if len(found) > _MAX_CAUSES:
            return
        wrapped = [*cause.args, getattr(cause, "reason", None), getattr(cause, "original_error", None), cause.__cause__]
        found += [e for e in wrapped if isinstance(e, BaseException) and not any(e is known for known in found)]
