"""What an error says beside what the service said: what was refused, the likeliest cause, and what to change."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opensearchpy.exceptions import ConnectionTimeout, TransportError
from urllib3.util.ssl_match_hostname import CertificateError

from . import core
from ._difference import first_difference, server_canonical_request
from .core import spec
from .endpoint import parse_host
from .responses import Cause, Meaning, causes_of, meaning_of, message_of, server_time

if TYPE_CHECKING:
    from .signer import SigV4Signer

E = TypeVar("E", bound=TransportError)

#: Of a request that was to be signed by somebody else, or by nobody.
NOT_SIGNED: Final = (
    "It was not signed: this connection has no region=, service=, credentials= or signer, and its host is not one "
    "that "
    "AWS names; or the call brought an Authorization of its own."
)
SEE_DOCTOR: Final = " `opensearch-sigv4 doctor` looks at what can be seen from here."
_NOTABLE_SKEW_S: Final = 60
_NO_TLS_REASONS: Final = frozenset(["HTTP_REQUEST", "WRONG_VERSION_NUMBER"])
_REFRESHED: Final = "There are no others, or none were asked for within 10 s of the last time. "


def advised(error: E, url: str) -> E:
    """The exception for a request that had no answer, with a note that tells the likeliest cause, if there is one."""
    advice = _advice_on_failure(error, core.split_url(url).host)
    if advice is not None:
        error.add_note(f"opensearch-sigv4: {advice}")
    return error


def _advice_on_failure(error: TransportError, host: str) -> str | None:
    for cause in causes_of(error):
        if isinstance(cause, (ssl.SSLCertVerificationError, CertificateError)):
            if "match" in str(cause):  # of OpenSSL, urllib3 and aiohttp, each in its own words
                return (
                    f"The certificate is not for {host}. Through a tunnel, pass headers={{'Host': NAME}} and "
                    "ssl_assert_hostname=NAME with the endpoint's own name."
                )
            if "expired" in str(cause) or "not yet valid" in str(cause):
                return f"By this machine's clock the certificate of {host} is not valid now."
            return (
                "The certificate's issuer is not known here. Pass ca_certs= with the CA's file: that of a proxy "
                "which inspects TLS, if one is between."
            )
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in _NO_TLS_REASONS:
            return f"{host} does not speak TLS there: is it the right port, or is it http?"
        if isinstance(cause, socket.gaierror):
            return (
                f"{host} has no address here. The names of domains in a VPC resolve within it: through a VPN or from "
                "an instance there."
            )
        if isinstance(cause, ConnectionRefusedError):
            return f"Nothing listens on {host}: endpoints of AWS do on ports 443 and 80 only."
    if meaning_of(error) is Meaning.UNREACHED:
        return (
            f"No connection to {host} was made in time. A domain in a VPC is reached from within it, if its security "
            "group lets this machine in."
        )
    if isinstance(error, ConnectionTimeout):
        return (
            "The request was sent, and there was no answer in time (timeout=): it may have been executed, or be "
            "executed still."
        )
    return "The answer was lost: the request may have been executed." if _was_sent(error) else None


def _was_sent(error: TransportError) -> bool:
    aiohttp = sys.modules.get("aiohttp")  # without it none of its exceptions can have come
    lost = (ConnectionError, aiohttp.ServerDisconnectedError) if aiohttp else ConnectionError
    return meaning_of(error) is Meaning.UNKNOWN and any(isinstance(cause, lost) for cause in causes_of(error))


def note_for(
    cause: Cause,
    status: int,
    text: str,
    answer: Mapping[str, str],
    method: str,
    url: str,
    headers: Mapping[str, Any],
    signer: SigV4Signer | None,
    tried: list[Cause],
) -> str | None:
    """The note for an exception; None where the service's own words are enough.

    Args:
        answer: the answer's headers.
        headers: the request's, as sent.
        signer: what signed it; None where somebody else did.
        tried: the remedies that the request has had in vain.
    """
    if spec.AUTHORIZATION not in headers:  # a caller's own has another spelling, and another owner
        signer = None
    if cause is Cause.OTHER and (signer is None or signer.service != "aoss"):
        return None
    parts = core.split_url(url)
    advice = _advice(cause, status, text, answer, method, url, parts.host, headers, signer, tried)
    if advice is None:
        return None
    return f"opensearch-sigv4: {method} {parts.host}{parts.path} was refused ({cause.value}). {advice}"


def _advice(
    cause: Cause,
    status: int,
    text: str,
    answer: Mapping[str, str],
    method: str,
    url: str,
    host: str,
    headers: Mapping[str, Any],
    signer: SigV4Signer | None,
    tried: list[Cause],
) -> str | None:
    is_serverless = signer is not None and signer.service == "aoss"
    match cause:
        case Cause.THROTTLED:
            return (
                "Nothing was executed: send it again later, and less often. The helpers of opensearch_sigv4 do; of "
                "other requests opensearch-py repeats what its client's retry_on_status=(402, 429, 502, 503, 504) "
                "names, without waiting. Fewer requests at a time, bulk requests of 3 to 5 MiB, "
                + ("and a higher OCU limit help." if is_serverless else "and more or larger nodes help.")
            )
        case Cause.BLOCKED:
            return (
                "OpenSearch takes no writes there, whoever asks; its own words name the block. "
                "Amazon sets one where storage runs out, or memory pressure stays above 92 % for 30 minutes: see "
                "FreeStorageSpace and JVMMemoryPressure, make room or take larger nodes. What is set by hand is lifted "
                "by hand (index.blocks.* of the index's settings, cluster.blocks.* of the cluster's)."
            )
        case Cause.TOO_LARGE:
            return (
                "Its body is larger than this endpoint takes: 10 MiB on small instances and Serverless, 100 MiB on "
                "others. Send it in parts (max_chunk_bytes= of the bulk helpers, which halve what is too large by "
                "themselves); http_compress=True makes it smaller on the wire."
            )
        case Cause.SKEWED:
            return _clock_advice(answer) + (
                " It was signed once more by the service's time, in vain: is something delaying requests on their way?"
                if Cause.SKEWED in tried
                else " Set this machine's clock (NTP): the service's time is believed where the answer tells it, over "
                "TLS or from this machine itself."
            )
        case Cause.EXPIRED:
            return (
                "The session token has expired. "
                + (_REFRESHED if cause in tried else "")
                + "Log in again (aws sso login), or give credentials= something that refreshes: a session, "
                "botocore's refreshable credentials, or a callable."
            )
        case Cause.UNRECOGNIZED:
            return (
                "AWS does not know this access key, or the session token belongs to another one. "
                + (_REFRESHED if Cause.EXPIRED in tried else "")
                + "Check that key, secret and token are of one set, that the key was not deleted, and that it is of "
                "this partition (aws, aws-cn, aws-us-gov)."
            )
        case Cause.SCOPE:
            return _scope_advice(message_of(text), host, signer)
        case Cause.SIGNATURE:
            return _signature_advice(text, method, url, headers)
        case Cause.UNSIGNED:
            return (
                "It arrived without a signature that could be read: something between removes or changes the "
                "Authorization header (a proxy, a load balancer), or the host is no OpenSearch endpoint."
                if spec.AUTHORIZATION in headers
                else NOT_SIGNED
            )
        case Cause.FORBIDDEN:
            return (
                "The signature was accepted; its owner may not do this. Fine-grained access control: map the IAM "
                "role to a role of OpenSearch that may (Security, Roles, Mapped users: the role's ARN, not that of "
                "its session)."
                if "security_exception" in text or "no permissions" in text
                else "The signature was accepted; its owner may not do this. Allow the IAM role the action in its "
                "own policy or in the domain's access policy; the message names what is missing."
            )
        case Cause.UNEXPLAINED:
            return _unexplained_advice(status, answer, host, signer, tried)
    if is_serverless:
        return _serverless_advice(status, text, url)
    return None


def _clock_advice(answer: Mapping[str, str]) -> str:
    told = server_time(answer.get("date"))
    if told is None:
        return "This machine's clock and the service's are more than 5 minutes apart."
    offset = told - time.time()
    side = "behind" if offset > 0 else "ahead of"
    return f"This machine's clock is {abs(offset):.0f} s {side} the service's, which allows 300."


def _scope_advice(message: str, host: str, signer: SigV4Signer | None) -> str:
    endpoint = parse_host(host)
    signed_for = "" if signer is None else f"It was signed for service={signer.service!r}, region={signer.region!r}. "
    if endpoint is not None:
        return f"{signed_for}The host is of service={endpoint.service!r}, region={endpoint.region!r}: leave both out."
    which = "region=" if "region" in message else "service= (es for domains, aoss for Serverless)"
    return f"{signed_for}Pass the {which} of the endpoint that answers for {host}."


def _signature_advice(text: str, method: str, url: str, headers: Mapping[str, Any]) -> str:
    theirs = server_canonical_request(text)
    ours = None if theirs is None else _canonical_request(method, url, headers)
    if theirs is None or ours is None:
        return (
            "Either the secret key does not belong to the access key, or something between changes what was signed: "
            "host, path, query, body or an x-amz-* header. `opensearch-sigv4 explain` shows what is signed."
        )
    difference = first_difference(ours, theirs)
    if difference is None:
        return (
            "What arrived is what was signed, so the secret key does not belong to the access key: check that both, "
            "and the session token, are of one set, with no blank or quote around them."
        )
    return f"What arrived is not what was signed:\n{difference}"


def _canonical_request(method: str, url: str, headers: Mapping[str, Any]) -> str | None:
    """The canonical request of what was sent; None if it was not signed by a signer of ours."""
    names = str(headers.get(spec.AUTHORIZATION)).partition("SignedHeaders=")[2].partition(",")[0].split(";")
    values = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in headers.items()
    }
    payload_hash = values.get(spec.CONTENT_SHA256.lower())
    if payload_hash is None or not values.keys() >= set(names):
        return None
    parts = core.split_url(url)
    lines, signed_headers = core.canonical_headers((name, values[name]) for name in names)
    path, query = core.canonical_path(parts.path), core.canonical_query(parts.query)
    return core.canonical_request(method, path, query, lines, signed_headers, payload_hash)


def _unexplained_advice(
    status: int, answer: Mapping[str, str], host: str, signer: SigV4Signer | None, tried: list[Cause]
) -> str:
    if status == 401:
        return (
            "The domain asks for a user and password: its fine-grained access control may know internal users only "
            "(http_auth=(user, password))."
        )
    told = server_time(answer.get("date"))
    clock = ""
    if Cause.SKEWED in tried:
        clock = "This machine's clock was off; it was signed once more by the service's time. "
    elif told is not None and abs(told - time.time()) > _NOTABLE_SKEW_S:
        clock = f"{_clock_advice(answer)} "
    if signer is not None and signer.service == "aoss":
        return (
            f"{clock}Serverless tells no reason. In the order of likelihood: the collection's data access policy "
            f"does "
            "not name this identity (for an assumed role, the role's ARN); its network policy does not let this "
            "machine in; the IAM policy lacks aoss:APIAccessAll; region= is not the collection's; the credentials "
            f"are wrong or have expired.{SEE_DOCTOR}"
        )
    # Behind a name of one's own the service is a guess.
    other = (
        "" if signer is None or parse_host(host) else "If a Serverless collection is behind it, pass service='aoss'. "
    )
    return (
        f"{clock}{other}The answer tells no reason: it may come from something between (a proxy, a firewall, a load "
        f"balancer), or {host} is no OpenSearch endpoint.{SEE_DOCTOR}"
    )


def _serverless_advice(status: int, text: str, url: str) -> str | None:
    """What Serverless refuses that domains do not."""
    parts = core.split_url(url)
    path = parts.path.rstrip("/")
    if status == 404 and not path:
        return "Serverless has no `/`, so info() and ping() fail; cat.indices() shows whether it can be reached."
    if status == 404 and path.rpartition("/")[2] == "_refresh":
        return "Serverless has no _refresh: documents become searchable by themselves, within about a minute."
    if status == 400 and "refresh policy" in text:
        return "Serverless takes no refresh=true: leave it out."
    if status == 400 and "Document ID is not supported" in text:
        return "Time-series and vector collections give documents their ids themselves: leave the id out."
    return None
