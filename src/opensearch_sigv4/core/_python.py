"""AWS Signature Version 4 in plain Python: the specification that any other twin must equal.

Top to bottom in the order of AWS's "Create a signed AWS API request": the URL's parts, the canonical request
(step 1 and 2), the string to sign (3), the signing key and signature (4), the headers (5).
Rules, tables and their sources are in `spec`.
"""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from . import _python_bulk, _python_json, spec
from ._secrets import clear_frames

_PRINTABLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class UrlParts(NamedTuple):
    """What of a URL is signed: `host` in its normal form; `path` and `query` as they stand on the wire."""

    scheme: str
    host: str
    path: str
    query: str


class Signature(NamedTuple):
    """Every stage of one signature. Holds the session token, which `repr` does not show."""

    headers: dict[str, str]
    canonical_request: str
    string_to_sign: str
    credential_scope: str
    signed_headers: str

    def __repr__(self) -> str:
        return f"<Signature {self.credential_scope}>"


# --- the URL -----------------------------------------------------------------------------------------------


def split_url(url: str) -> UrlParts:
    """Split an absolute http or https URL into the parts that are signed.

    The host comes back in its normal form: lower case, without userinfo, trailing dot, zone of an IPv6
    address, or the scheme's default port. Spaces and non-ASCII characters of path and query, which cannot
    stand on the wire, come back percent-encoded as UTF-8; everything else is left as it is.
    """
    _check_text("url", url)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in spec.DEFAULT_PORTS:
        raise ValueError("url: an absolute http:// or https:// URL is needed")
    rest = rest.partition("#")[0]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "\\" in authority:
        raise ValueError("url: the host or port is missing or malformed")
    host = _normal_host(scheme, authority.rpartition("@")[2])
    return UrlParts(scheme, host, _escape_raw(f"/{path}" if slash else "/"), _escape_raw(query))


@lru_cache(maxsize=spec.TEXT_CACHE_SIZE)
def _normal_host(scheme: str, host_and_port: str) -> str:
    match = spec.HOST.fullmatch(host_and_port)
    if match is None:
        raise ValueError("url: the host or port is missing or malformed")
    host, port = match.groups()
    host = f"{host.partition('%')[0].rstrip(']')}]" if host[0] == "[" else host.rstrip(".")
    if not host:
        raise ValueError("url: the host or port is missing or malformed")
    host = host.lower()
    if port:
        number = int(port) if len(port) <= 9 else 0
        if not 0 < number <= 65535:
            raise ValueError("url: the port must be between 1 and 65535")
        if number != spec.DEFAULT_PORTS[scheme]:
            host = f"{host}:{number}"
    return host


def _escape_raw(text: str) -> str:
    if text.isascii() and " " not in text:
        return text
    return quote(text, safe=_PRINTABLE_ASCII)


def request_target(path: str, query: str = "") -> str:
    """Make the request target that no client or hop has a reason to change: path, and query if there is one.

    Escapes what RFC 3986 does not allow raw, and any `%` that starts no escape; writes escapes in upper-case
    hex, and a `+` of the query, which is read as a space, as `%20`. A target that is so already comes back
    unchanged, so it can be built once, signed and sent.

    Raises:
        ValueError: a segment of the path is exactly `.` or `..`: a hop that normalises paths would turn it
            into another resource's address; a path that does not begin with `/`; a raw `#` or `?` in the path;
            a control character.
    """
    _check_text("url", path)
    _check_text("url", query)
    if not path.startswith("/"):
        raise ValueError("url: the path must begin with '/'")
    if "#" in path or "?" in path or "#" in query:
        raise ValueError("url: a raw '#' or '?' ends the path; percent-encode it (%23, %3F)")
    refuse_dot_segments(path)
    target = _escape_invalid(path, spec.PATH_SAFE)
    return f"{target}?{_escape_invalid(query.replace('+', '%20'), spec.QUERY_SAFE)}" if query else target


def refuse_dot_segments(path: str) -> None:
    """Raise ValueError for a path with a segment that is exactly `.` or `..`."""
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(
            "url: a path segment that is exactly '.' or '..' may be normalised away on its way and reach "
            "another resource; it cannot be sent"
        )


def _escape_invalid(text: str, safe: str) -> str:
    if "%" not in text:
        return quote(text, safe=safe)
    head, *rest = text.split("%")
    parts = [quote(head, safe=safe)]
    for part in rest:
        escape = part[:2]
        if len(escape) == 2 and set(escape) <= _HEX_DIGITS:
            parts.append(f"%{escape.upper()}{quote(part[2:], safe=safe)}")
        else:
            parts.append(f"%25{quote(part, safe=safe)}")
    return "".join(parts)


_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


# --- step 1: the canonical request -------------------------------------------------------------------------


@lru_cache(maxsize=spec.TEXT_CACHE_SIZE)
def canonical_path(path: str) -> str:
    """CanonicalUri: the absolute path, normalised, then URI-encoded except for its slashes.

    The path is the wire's, so what is escaped there is escaped twice here, as every service but S3 wants it:
    `%20` on the wire is `%2520`. Dot segments and empty segments go first, as text: `%2E` is not a dot.
    """
    if "//" in path or "/." in path:
        path = _normalize_path(path)
    return quote(path, safe="/") or "/"


def _normalize_path(path: str) -> str:
    # RFC 3986, 5.2.4, on segments. A trailing "." or ".." leaves no slash behind, as botocore and awscrt have it
    # (RFC 3986 would keep it); test_canonical.py pins it against both.
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    end = "/" if segments and path.endswith("/") else ""
    return f"/{'/'.join(segments)}{end}"


@lru_cache(maxsize=spec.TEXT_CACHE_SIZE)
def canonical_query(query: str) -> str:
    """CanonicalQueryString: each name and value URI-encoded once, sorted by name, then by value.

    The order is that of the encoded text. Names that repeat and values that are empty are kept; a parameter that
    is empty altogether (`&&`) is none. A `+` is a space, as the service reads it, hence `%20`.
    """
    if not query:
        return ""
    pairs = []
    for parameter in query.split("&"):
        if parameter:
            name, _, value = parameter.partition("=")
            pairs.append((_encode_once(name), _encode_once(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def _encode_once(text: str) -> str:
    if "%" in text or "+" in text:
        return quote(unquote_to_bytes(text.replace("+", " ")), safe="")
    return quote(text, safe="")


def canonical_headers(headers: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """CanonicalHeaders and SignedHeaders of (lower-case name, value) pairs.

    Sorted by name. Values are trimmed, and runs of spaces inside them become one; the values of a name that
    repeats are joined by commas in the order in which they came. Each header ends with a newline.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        trimmed = " ".join(filter(None, value.split(" "))) if " " in value else value
        values[name] = f"{values[name]},{trimmed}" if name in values else trimmed
    names = sorted(values)
    return "".join([f"{name}:{values[name]}\n" for name in names]), ";".join(names)


def body_buffer(body: object) -> bytes | memoryview | None:
    """A body as it is hashed and sent: None, bytes, or a view of the caller's buffer; str as UTF-8.

    Only a buffer that is not contiguous in memory is copied.
    """
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return _encode_utf8("body", body)
    try:
        view = memoryview(body)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"body: None, str or a bytes-like object is needed, not {type(body).__name__}") from None
    return view if view.c_contiguous and view.ndim else view.tobytes()


def payload_hash(body: object) -> str:
    """HashedPayload: the lower-case hex SHA-256 of a body that is None, str (UTF-8) or bytes-like."""
    buffer = body_buffer(body)
    return spec.EMPTY_PAYLOAD_HASH if buffer is None else hashlib.sha256(buffer).hexdigest()


def canonical_request(
    method: str, path: str, query: str, header_lines: str, signed_headers: str, payload_hash: str
) -> str:
    """The six elements of the canonical request, each on its own line (`header_lines` ends with one)."""
    return f"{method}\n{path}\n{query}\n{header_lines}\n{signed_headers}\n{payload_hash}"


def hash_paths() -> tuple[str, ...]:
    """The ways to compute SHA-256 that can run here, the fastest first."""
    return ("openssl",)


def hash_path() -> str:
    """The way that is in use."""
    return "openssl"


def select_hash_path(path: str) -> None:
    """Use another way. For the start of a process and for tests: nothing may be signing meanwhile.

    Raises:
        ValueError: a way that is not among `hash_paths()`.
    """
    if path not in hash_paths():
        raise ValueError(f"no way to compute SHA-256 is called {path!r} here; there are: {', '.join(hash_paths())}")


# --- step 3: the string to sign ----------------------------------------------------------------------------


@lru_cache(maxsize=2)
def format_amz_date(timestamp: int) -> str:
    """`YYYYMMDDTHHMMSSZ` of a Unix time in whole seconds."""
    return time.strftime(spec.AMZ_DATE_FORMAT, time.gmtime(timestamp))


def string_to_sign(amz_date: str, credential_scope: str, canonical_request: str) -> str:
    """Algorithm, time, scope, and the hash of the canonical request (step 2), each on its own line."""
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return f"{spec.ALGORITHM}\n{amz_date}\n{credential_scope}\n{digest}"


# --- step 4: the signature ---------------------------------------------------------------------------------


class SigningKey:
    """The key of one secret, day, region and service. It shows itself to nobody and cannot be pickled."""

    __slots__ = ("_hmac", "credential_scope")

    def __init__(self, secret_key: str, day: str, region: str, service: str) -> None:
        check_key_parts(secret_key, day, region, service)
        key = (spec.KEY_PREFIX + secret_key).encode()
        for part in (day, region, service, spec.TERMINATOR):
            key = hmac.digest(key, part.encode(), "sha256")
        self._hmac = hmac.new(key, digestmod="sha256")
        self.credential_scope = f"{day}/{region}/{service}/{spec.TERMINATOR}"

    def signature(self, string_to_sign: str) -> str:
        """The lower-case hex HMAC-SHA256 of the string to sign."""
        signature = self._hmac.copy()
        signature.update(string_to_sign.encode())
        return signature.hexdigest()

    def __repr__(self) -> str:
        return f"<SigningKey {self.credential_scope}>"

    def __reduce__(self) -> Any:
        raise TypeError("a SigningKey cannot be pickled: it is secret, and cheap to derive again")


@lru_cache(maxsize=spec.SIGNING_KEY_CACHE_SIZE)
def signing_key(secret_key: str, day: str, region: str, service: str) -> SigningKey:
    """The signing key, derived once a day, region, service and secret. Thread-safe; the oldest unused go."""
    return SigningKey(secret_key, day, region, service)


# --- step 5: the headers -----------------------------------------------------------------------------------


def sign(
    method: str,
    url: str,
    body: object,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    access_key: str,
    secret_key: str,
    token: str | None,
    region: str,
    service: str,
    timestamp: float,
    further_headers: Set[str] = frozenset(),
    unsigned_payload: bool = False,
) -> Signature:
    """Sign one request, and return its headers with every stage on the way.

    Signed are `host`, every `x-amz-*` among `headers`, and those named in `further_headers` (lower case).
    The caller's own X-Amz-Content-SHA256 is kept and signed as it is; its X-Amz-Date, and with a token its
    X-Amz-Security-Token, are replaced. Credentials, region and service were checked by the caller.
    """
    method = _upper_method(method)
    parts = split_url(url)

    amz_date = format_amz_date(math.floor(timestamp))
    signed = [("x-amz-date", amz_date)]
    set_headers = {spec.AUTHORIZATION: "", spec.AMZ_DATE: amz_date}
    if token:
        signed.append(("x-amz-security-token", token))
        set_headers[spec.SECURITY_TOKEN] = token

    host: str | None = None
    hashed_payload: str | None = None
    for lower, value in _lower_pairs(headers):
        if lower == "host":
            if host is not None:
                raise ValueError("headers: more than one Host")
            host = value.strip(" ")
            if not host:
                raise ValueError("headers: the Host is empty")
        elif lower.startswith(spec.SIGNED_PREFIX):
            if lower == "x-amz-content-sha256":
                if hashed_payload is not None:
                    raise ValueError("headers: more than one X-Amz-Content-SHA256")
                hashed_payload = value.strip(" ")
                signed.append((lower, value))
            elif lower != "x-amz-date" and not (token and lower == "x-amz-security-token"):
                signed.append((lower, value))
        elif lower in further_headers:
            signed.append((lower, value))
    signed.append(("host", parts.host if host is None else host))
    if hashed_payload is None:
        hashed_payload = spec.UNSIGNED_PAYLOAD if unsigned_payload else payload_hash(body)
        signed.append(("x-amz-content-sha256", hashed_payload))
        set_headers[spec.CONTENT_SHA256] = hashed_payload

    header_lines, signed_headers = canonical_headers(signed)
    request = canonical_request(
        method,
        canonical_path(parts.path),
        canonical_query(parts.query),
        header_lines,
        signed_headers,
        hashed_payload,
    )
    key = signing_key(secret_key, amz_date[:8], region, service)
    to_sign = string_to_sign(amz_date, key.credential_scope, request)
    set_headers[spec.AUTHORIZATION] = (
        f"{spec.ALGORITHM} Credential={access_key}/{key.credential_scope}, "
        f"SignedHeaders={signed_headers}, Signature={key.signature(to_sign)}"
    )
    return Signature(set_headers, request, to_sign, key.credential_scope, signed_headers)


class RequestSigner:
    """What signs requests: a source of credentials, a clock, and what all its signatures have in common."""

    __slots__ = ("_clock", "_further_headers", "_region", "_service", "_source", "_unsigned_payload")

    def __init__(
        self,
        source: Any,
        clock: Callable[[], float],
        region: str | None,
        service: str,
        further_headers: Set[str],
        unsigned_payload: bool,
    ) -> None:
        self._source = source
        self._clock = clock
        self._region = region
        self._service = service
        self._further_headers = further_headers
        self._unsigned_payload = unsigned_payload

    @property
    def source(self) -> Any:
        return self._source

    @property
    def region(self) -> str | None:
        return self._region

    @property
    def service(self) -> str:
        return self._service

    @property
    def further_headers(self) -> Set[str]:
        return self._further_headers

    @property
    def unsigned_payload(self) -> bool:
        return self._unsigned_payload

    def region_of(self, url: str) -> str:
        """The region to sign for where none was given."""
        raise NotImplementedError

    def sign(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        *,
        at: datetime | None = None,
    ) -> dict[str, str]:
        """Sign one request and return the headers to set on it, and only those.

        Args:
            method: signed in upper case; send it so.
            url: absolute, as it is sent. Spaces and non-ASCII characters, which nobody can send raw, are
                signed percent-encoded as UTF-8; a fragment is never sent, so never signed.
            body: None, str (UTF-8) or any bytes-like object: the bytes as they are sent, compressed if so.
            headers: the request's own, a mapping or pairs. A `Host` there is the host signed; every `x-amz-*`
                there is signed, an `X-Amz-Content-SHA256` is taken for the payload's hash.
            at: an aware datetime, for tests and replays; None is now.

        Returns:
            `Authorization`, `X-Amz-Date`, `X-Amz-Security-Token` where the credentials have a token, and
            `X-Amz-Content-SHA256` unless `headers` has one.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: a control character or a lone surrogate, a naive `at`, a URL that is not absolute, or
                no region to be found. No message holds a value.
            botocore.exceptions.BotoCoreError: what the credentials raise when there are none, as it is.

        Thread-safety: any number of threads at once.
        """
        return self._signature(method, url, body, headers, at).headers

    def _signature(
        self,
        method: str,
        url: str,
        body: object,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
        at: datetime | None,
    ) -> Signature:
        """Sign one request with the credentials and, unless `at` says another, at the time of this call."""
        try:
            region = self.region_of(url) if self._region is None else self._region
            timestamp = self._clock() if at is None else timestamp_of(at)
            access_key, secret_key, token = self._source.snapshot()
            return sign(
                method,
                url,
                body,
                headers,
                access_key,
                secret_key,
                token,
                region,
                self._service,
                timestamp,
                self._further_headers,
                self._unsigned_payload,
            )
        except BaseException as error:
            access_key = secret_key = token = None  # this frame has not ended yet
            clear_frames(error)
            raise


def timestamp_of(at: datetime) -> float:
    """The Unix time of an aware datetime."""
    if not isinstance(at, datetime):
        raise TypeError(f"at: an aware datetime is needed, not {type(at).__name__}")
    if at.utcoffset() is None:
        raise ValueError("at: a naive datetime is ambiguous; give it a time zone")
    return at.timestamp()


class Kept:
    """Credentials of botocore's that are refreshed now and then, and the generation of them that was read last."""

    __slots__ = ("_clock", "_credentials", "generation")

    def __init__(self, credentials: Any, clock: Callable[[], float], generation: Any) -> None:
        self._credentials = credentials
        self._clock = clock
        #: A tuple of botocore's expiry and frozen credentials, the time when a refresh is due, the snapshot, and more.
        self.generation = generation

    def current(self) -> Any:
        """The generation's snapshot; None if botocore holds another one by now or a refresh is due."""
        expiry, frozen, refresh_at, snapshot, *_ = self.generation
        credentials = self._credentials
        # botocore publishes the keys before their expiry, so a new expiry never meets old keys when it is read first.
        if (
            credentials._expiry_time is expiry
            and credentials._frozen_credentials is frozen
            and self._clock() < refresh_at
        ):
            return snapshot
        return None


# --- JSON, which has a file of its own ----------------------------------------------------------------------

scan_bulk_answer = _python_json.scan_bulk_answer
check_json_object = _python_json.check_json_object
is_plain_json = _python_json.is_plain_json
encode_plain = _python_json.encode_plain
expand_action = _python_bulk.expand_action
take_plain = _python_bulk.take_plain


# --- what is checked, and how it is said (never with the value: it may be a secret) -------------------------


def _upper_method(method: object) -> str:
    _check_text("method", method)
    return _upper_token(method)


@lru_cache(maxsize=spec.TEXT_CACHE_SIZE)
def _upper_token(method: str) -> str:
    if spec.TOKEN.fullmatch(method) is None:
        raise ValueError("method: not an HTTP token")
    return method.upper()


def check_head(method: str, headers: Mapping[str, str]) -> None:
    """Raise TypeError or ValueError, as `sign` does, for what could be sent as another method or other headers."""
    _upper_method(method)
    _lower_pairs(headers)


def _lower_pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> list[tuple[str, str]]:
    if headers is None:
        return []
    items = headers.items() if hasattr(headers, "items") else headers
    try:
        pairs = [(name, value) for name, value in items]
    except (TypeError, ValueError):
        raise TypeError("headers: a mapping or (name, value) pairs are needed") from None
    lower_pairs = []
    for name, value in pairs:
        _check_text("header name", name)
        lower = _lower_token(name)
        _check_text("header", value, name)
        lower_pairs.append((lower, value))
    return lower_pairs


@lru_cache(maxsize=spec.TEXT_CACHE_SIZE)
def _lower_token(name: str) -> str:
    if spec.TOKEN.fullmatch(name) is None:
        raise ValueError("headers: a name that is not an HTTP token")
    return name.lower()


def check_key_parts(secret_key: object, day: object, region: object, service: object) -> None:
    """Raise TypeError or ValueError for what no signing key is made of."""
    for argument, text in (("secret_key", secret_key), ("day", day), ("region", region), ("service", service)):
        _check_text(argument, text)


def _check_text(argument: str, text: object, name: str = "") -> None:
    if isinstance(text, str) and text.isascii() and text.isprintable():
        return
    if name:
        argument = f"{argument} {name}"
    if not isinstance(text, str):
        raise TypeError(f"{argument}: str is needed, not {type(text).__name__}")
    if spec.CONTROL.search(text) is not None:
        raise ValueError(f"{argument}: a control character is not allowed")
    _encode_utf8(argument, text)


def _encode_utf8(argument: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        position = error.start
    raise ValueError(f"{argument}: a lone surrogate at index {position} has no UTF-8 form")
