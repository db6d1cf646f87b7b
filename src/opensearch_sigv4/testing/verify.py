"""Judge one signed request from the bytes received. Sans-I/O, and independent of the library's own signer.

awscrt, AWS's signer in C, signs the request again and the two Authorization headers must be equal, byte for byte.
It reads a target that begins with `//` or holds `:/` as a URL with a scheme, so botocore judges those; botocore
also writes the canonical request that a refusal quotes. What a signature does not prove is checked before it: that
the body is the one whose hash was signed, and that every header AWS wants signed is signed.

Source: AWS IAM User Guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

from awscrt.auth import AwsCredentialsProvider, AwsSignedBodyHeaderType, AwsSigningConfig, aws_sign_request
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpHeaders, HttpRequest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials as BotocoreCredentials

VERIFIED = "verified"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
CLOCK_WINDOW_S = 5 * 60

# Something on the way may change these, so that a signature over them holds here and breaks in life.
_FORBIDDEN_SIGNED_HEADERS = re.compile(
    r"authorization|connection|x-amzn-trace-id|user-agent|keep-alive|transfer-encoding|te|trailer|upgrade|"
    r"proxy-authorization|proxy-authenticate|accept-encoding|content-length|expect|x-forwarded-.*"
)
# awscrt adds these itself, from its configuration.
_ADDED_BY_AWSCRT = frozenset({"x-amz-date", "x-amz-security-token", "x-amz-content-sha256"})
_AMZ_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_AMZ_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access_key>[^/,\s]+)/(?P<day>[0-9]{8})/(?P<region>[^/,\s]+)/"
    r"(?P<service>[^/,\s]+)/aws4_request, SignedHeaders=(?P<signed_headers>[^=,\s]+), Signature=[0-9a-f]{64}"
)
_AWSCRT_TIMEOUT_S = 10  # with static credentials it answers before it returns; this bounds a defect


@dataclass(frozen=True, repr=False)
class Credentials:
    """Credentials that a domain accepts. `repr` shows neither the secret nor the token.

    Args:
        access_key: the access key.
        secret_key: the secret key.
        token: the session token that must come with it; None if none may.
        expires_at: epoch seconds from which they count as expired; None for never.

    Thread-safety: immutable.

    >>> Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    Credentials(access_key='AKIDEXAMPLE', secret_key='***', token=None, expires_at=None)
    """

    access_key: str
    secret_key: str
    token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        token = None if self.token is None else "***"
        return (
            f"Credentials(access_key={self.access_key!r}, secret_key='***', token={token!r}, "
            f"expires_at={self.expires_at!r})"
        )


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a domain thinks of one request. `repr` shows no token.

    Args:
        code: `"verified"`, or the error as AWS names it.
        message: for the client; after a mismatch it quotes the request's own headers, as AWS does.
        reason: the same without the session token.
        status: the HTTP status of a refusal.
    """

    code: str
    message: str = ""
    reason: str = ""
    status: int = 403

    def __repr__(self) -> str:
        return f"Verdict(code={self.code!r}, reason={self.reason!r}, status={self.status})"


class _RefusedError(Exception):
    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


def _invalid(message: str) -> _RefusedError:
    return _RefusedError("InvalidSignatureException", message)


def _incomplete(message: str) -> _RefusedError:
    return _RefusedError("IncompleteSignatureException", message)


def verify(
    method: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    *,
    region: str,
    service: str,
    find_credentials: Callable[[str], Credentials | None],
    now: float,
    allow_unsigned_payload: bool = False,
) -> Verdict:
    """Judge one request; a bad one is a verdict, never an exception.

    Args:
        method: as received.
        target: as received, in origin or absolute form.
        headers: names and values as received, in order, duplicates included.
        body: as received, compressed or not.
        region: the domain's.
        service: `"es"` or `"aoss"`; the latter wants `x-amz-content-sha256` in every request.
        find_credentials: the credentials of an access key; None if it is unknown.
        now: the domain's time, in epoch seconds.
        allow_unsigned_payload: accept `UNSIGNED-PAYLOAD` in place of the body's hash.

    Thread-safety: a pure function.
    """
    token = ""
    try:
        request = _parse(method, target, headers)
        token = request.value("x-amz-security-token") or ""
        credentials = _check_credentials(request, find_credentials, now)
        _check_scope(request, region, service)
        _check_clock(request, now)
        _check_signed_headers(request)
        payload_hash = _check_payload(request, body, service, allow_unsigned_payload)
        _check_signature(request, credentials, payload_hash)
    except _RefusedError as refused:
        reason = refused.message.replace(token, "***") if token else refused.message
        return Verdict(refused.code, refused.message, reason, refused.status)
    return Verdict(VERIFIED)


def origin_form(target: bytes) -> bytes:
    """The path and query of a request target. An absolute one is what a client sends to a proxy (RFC 9112, 3.2.2).

    >>> origin_form(b"http://127.0.0.1:9200/index/_doc/1?routing=a")
    b'/index/_doc/1?routing=a'
    """
    absolute = re.match(rb"(?i:https?)://[^/?#]*", target)
    if absolute is None:
        return target
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


@dataclass(frozen=True, repr=False)
class _Request:
    """A request whose Authorization and X-Amz-Date have the right form."""

    method: str
    target: str  # in origin form
    headers: tuple[tuple[str, str], ...]  # names in lower case
    authorization: str
    access_key: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    amz_date: str
    date: datetime

    def value(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def named(self, names: Iterable[str]) -> list[tuple[str, str]]:
        wanted = frozenset(names)
        return [(name, value) for name, value in self.headers if name in wanted]


def _parse(method: str, raw_target: bytes, raw_headers: Sequence[tuple[bytes, bytes]]) -> _Request:
    try:
        headers = tuple((name.decode("ascii").lower(), value.decode()) for name, value in raw_headers)
        target = origin_form(raw_target).decode()
    except UnicodeDecodeError:
        raise _RefusedError("BadRequestException", "The target or a header is not UTF-8.", 400) from None
    if not target.startswith("/") or "#" in target:
        raise _RefusedError("BadRequestException", "The request target is not a path and a query.", 400)

    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    for name in ("authorization", "host", *sorted(_ADDED_BY_AWSCRT)):
        if len(values.get(name, ())) > 1:
            raise _incomplete(f"The header '{name}' must not be sent more than once.")
    if "authorization" not in values:
        raise _RefusedError("MissingAuthenticationTokenException", "Missing Authentication Token")
    authorization = values["authorization"][0]
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:  # not quoted: it may hold a password
        raise _incomplete(
            "The Authorization header must be 'AWS4-HMAC-SHA256 Credential=ACCESS_KEY/DAY/REGION/SERVICE/aws4_request, "
            "SignedHeaders=NAME;NAME, Signature=64 lower-case hex digits'."
        )
    if "x-amz-date" not in values:
        raise _incomplete("Authorization header requires existence of a 'X-Amz-Date' header.")
    amz_date = values["x-amz-date"][0]
    try:
        date = datetime.strptime(amz_date, _AMZ_DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        date = None
    if date is None or _AMZ_DATE.fullmatch(amz_date) is None:  # strptime takes one-digit hours
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{amz_date}'.")
    return _Request(
        method=method,
        target=target,
        headers=headers,
        authorization=authorization,
        access_key=match["access_key"],
        day=match["day"],
        region=match["region"],
        service=match["service"],
        signed_headers=tuple(match["signed_headers"].split(";")),
        amz_date=amz_date,
        date=date,
    )


def _check_credentials(
    request: _Request, find_credentials: Callable[[str], Credentials | None], now: float
) -> Credentials:
    credentials = find_credentials(request.access_key)
    token = request.value("x-amz-security-token")
    if (
        credentials is None
        or (credentials.token is None) != (token is None)
        or not hmac.compare_digest((credentials.token or "").encode(), (token or "").encode())
    ):
        raise _RefusedError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if credentials.expires_at is not None and credentials.expires_at <= now:
        raise _RefusedError("ExpiredTokenException", "The security token included in the request is expired")
    return credentials


def _check_scope(request: _Request, region: str, service: str) -> None:
    if request.region != region:
        raise _invalid("Credential should be scoped to a valid region. ")
    if request.service != service:
        raise _invalid(f"Credential should be scoped to correct service: '{service}'. ")
    if request.day != request.amz_date[:8]:
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{request.day}' != '{request.amz_date[:8]}', from '{request.amz_date}'."
        )


def _check_clock(request: _Request, now: float) -> None:
    signed_at, amz_date = request.date.timestamp(), request.amz_date
    if signed_at < now - CLOCK_WINDOW_S:
        earliest = _amz_date(now - CLOCK_WINDOW_S)
        raise _invalid(f"Signature expired: {amz_date} is now earlier than {earliest} ({_amz_date(now)} - 5 min.)")
    if signed_at > now + CLOCK_WINDOW_S:
        latest = _amz_date(now + CLOCK_WINDOW_S)
        raise _invalid(
            f"Signature not yet current: {amz_date} is still later than {latest} ({_amz_date(now)} + 5 min.)"
        )


def _amz_date(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime(_AMZ_DATE_FORMAT)


def _check_signed_headers(request: _Request) -> None:
    signed = request.signed_headers
    present = {name for name, _ in request.headers}
    if list(signed) != sorted({name.lower() for name in signed}):
        raise _incomplete("SignedHeaders must be in lower case, sorted, and each name there once.")
    if "host" not in signed:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in sorted(present):
        if name.startswith("x-amz-") and name not in signed:
            raise _invalid(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    for name in signed:
        if name not in present:
            raise _invalid(f"The 'SignedHeader' '{name}' is not in the request.")
        if _FORBIDDEN_SIGNED_HEADERS.fullmatch(name):
            raise _invalid(f"'{name}' must not be a 'SignedHeader': it may change on the way.")


def _check_payload(request: _Request, body: bytes, service: str, allow_unsigned_payload: bool) -> str:
    stated = request.value("x-amz-content-sha256")
    if stated is None and service == "aoss":
        raise _invalid("'x-amz-content-sha256' is missing.")
    if stated == UNSIGNED_PAYLOAD:
        if allow_unsigned_payload:
            return UNSIGNED_PAYLOAD
        raise _invalid("'x-amz-content-sha256' is UNSIGNED-PAYLOAD, which this domain does not accept.")
    payload_hash = sha256(body).hexdigest()
    if stated is not None and stated != payload_hash:
        raise _invalid("'x-amz-content-sha256' is not the SHA-256 of the body received.")
    return payload_hash


def _check_signature(request: _Request, credentials: Credentials, payload_hash: str) -> None:
    if awscrt_reads(request.target):
        try:
            expected = sign_with_awscrt(request, credentials, payload_hash)
        except AwsCrtError as error:
            raise _invalid(f"The request cannot be signed: {error.message}") from None
    else:
        expected = sign_with_botocore(request, credentials, payload_hash).authorization
    if hmac.compare_digest(expected.encode(), request.authorization.encode()):
        return
    message = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )
    by_botocore = sign_with_botocore(request, credentials, payload_hash)
    if by_botocore.authorization == expected:
        message += (
            f"\n\nThe Canonical String for this request should have been\n'{by_botocore.canonical_request}'"
            f"\n\nThe String-to-Sign should have been\n'{by_botocore.string_to_sign}'\n"
        )
    raise _invalid(message)


def awscrt_reads(target: str) -> bool:
    """Whether awscrt takes the target for a path and a query."""
    return not target.startswith("//") and ":/" not in target


def _split(target: str) -> tuple[str, str, str]:
    """Path, question mark and query, with `%20` for each `+`: live domains read it as a space, so the texts say that
    faraday_middleware-aws-signers-v4#1 quotes; awscrt alone would sign `%2B` and botocore `+`."""
    path, mark, query = target.partition("?")
    return path, mark, query.replace("+", "%20")


def sign_with_awscrt(request: _Request, credentials: Credentials, payload_hash: str) -> str:
    """The Authorization header that awscrt gives the request.

    Raises:
        AwsCrtError: it does not sign such a request, for example one with `X-Amz-Signature` in its query.
    """
    has_hash = request.value("x-amz-content-sha256") is not None
    config = AwsSigningConfig(
        credentials_provider=AwsCredentialsProvider.new_static(
            credentials.access_key, credentials.secret_key, credentials.token
        ),
        region=request.region,
        service=request.service,
        date=request.date,
        use_double_uri_encode=True,
        should_normalize_uri_path=True,
        signed_body_value=payload_hash,
        signed_body_header_type=(
            AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256 if has_hash else AwsSignedBodyHeaderType.NONE
        ),
    )
    headers = HttpHeaders(request.named(set(request.signed_headers) - _ADDED_BY_AWSCRT))
    bare = HttpRequest(request.method, "".join(_split(request.target)), headers)
    authorization: str = aws_sign_request(bare, config).result(_AWSCRT_TIMEOUT_S).headers.get("Authorization")
    return authorization


@dataclass(frozen=True, repr=False)
class _ByBotocore:
    canonical_request: str
    string_to_sign: str
    authorization: str


class _SigV4Auth(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer, which would leave out what it never signs itself, `traceparent` for one."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers


def sign_with_botocore(request: _Request, credentials: Credentials, payload_hash: str) -> _ByBotocore:
    """What botocore makes of the request, its query encoded here because botocore does not encode one again.

    It folds every Unicode space in a header's value, where AWS folds ASCII ones: such a value it gets wrong.
    """
    path, _, query = _split(request.target)
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    encoded = sorted((_encode(name), _encode(value)) for name, _, value in pairs)
    canonical_query = "&".join(f"{name}={value}" for name, value in encoded)
    headers = HTTPHeaders()
    for name, value in request.named(request.signed_headers):
        headers[name] = value
    wire = AWSRequest(request.method, f"https://host{path}?{canonical_query}", headers)
    wire.context["timestamp"] = request.amz_date
    auth = _SigV4Auth(
        BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.token),
        request.service,
        request.region,
    )
    # The last line is the payload's hash, of which botocore knows only the header.
    canonical_request = auth.canonical_request(wire).rpartition("\n")[0] + "\n" + payload_hash
    string_to_sign = auth.string_to_sign(wire, canonical_request)
    signed_headers = auth.signed_headers(auth.headers_to_sign(wire))
    return _ByBotocore(
        canonical_request,
        string_to_sign,
        f"AWS4-HMAC-SHA256 Credential={auth.scope(wire)}, SignedHeaders={signed_headers}, "
        f"Signature={auth.signature(string_to_sign, wire)}",
    )


def _encode(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="-_.~")
