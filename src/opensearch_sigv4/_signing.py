"""What the connections share, whatever sends their requests: when one signs, and how a request is made ready.

`SigningConnection` is mixed into a connection of opensearch-py's. Nothing here sends, waits, or imports an HTTP client.
"""

from __future__ import annotations

import inspect
import logging
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from ipaddress import ip_address
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode

from opensearchpy.exceptions import HTTP_EXCEPTIONS, TransportError
from urllib3 import make_headers

from . import _advice, compression, core, timing
from .auth import signer_behind
from .core import spec
from .core._secrets import RequestHeaders
from .credentials import CredentialSource, Identity
from .endpoint import Endpoint, parse_host
from .responses import REFUSED_STATUSES, Cause, cause_of, server_time, skewed_server_time
from .signer import SigV4Signer, region_from, sign_with_hash, signs_hashes

_log = logging.getLogger(__name__)

DEFAULT_POOL_MAXSIZE: Final = 10

# On an event loop, a body of more bytes is hashed in a thread of the loop's default executor. The loop stands still for
# 0.1 ms while a thread is handed work and its result comes back; hashing 256 KB takes 0.14 ms (AMD EPYC, Python 3.11).
HASH_IN_THREAD_MIN_BYTES: Final = 256 << 10

# What opensearch-py's Transport asks for when it sniffs (and the API methods only with headers).
_SNIFF_URL: Final = "/_nodes/_all/http"

# What says where a body ends: its sender says that, who knows what becomes of it on its way.
_FRAMING: Final = ("content-length", "transfer-encoding")

# AWS allows five minutes, some of which a request may have spent on its way.
_SKEW_MIN_S: Final = 240
# A clock that is off by less is right enough: no request is refused for it.
_CLOCK_TOLERANCE_S: Final = 60

# By how many seconds the clock of a host is ahead of this machine's, where requests were refused for that.
_clock_offsets: dict[str, float] = {}

AuthCallable = Callable[..., Any]


def endpoint_of_header(headers: Mapping[str, Any] | None) -> Endpoint | None:
    """The endpoint that a `Host` among a connection's headers names: through a tunnel it is what is signed."""
    for name, value in headers.items() if isinstance(headers, Mapping) else ():  # else its parent says what it is not
        if isinstance(name, str) and name.lower() == "host":
            return parse_host(_header_text(value).strip())
    return None


class SigningConnection:
    """A connection that signs. The other base of its subclasses is a connection of opensearch-py's."""

    #: What signs the requests; None where nothing is signed, or where a callable `http_auth` does it.
    signer: SigV4Signer | None
    _sign: AuthCallable | None
    # The last signer that was made to sign by the host's clock: of which one, and by which offset.
    _corrected: tuple[SigV4Signer, float, SigV4Signer] | None = None

    # Of opensearch-py's Connection.
    headers: dict[str, Any]
    host: str
    hostname: str
    http_compress: bool
    url_prefix: str
    use_ssl: bool

    #: How a callable `http_auth` is called, in words and in deed.
    _called_with: str
    _call: Callable[[AuthCallable, str, str, Any, dict[str, Any]], Any]
    _source_of: Callable[[Any], CredentialSource]

    #: Whether the HTTP client compares the certificate's names itself, whatever an SSLContext says.
    _matches_names = True

    #: Whether the HTTP client encodes a header's str as latin-1, and takes bytes; else it encodes it as UTF-8.
    _sends_latin_1 = True

    def _construct(
        self,
        parent_init: inspect.Signature,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        region: str | None,
        service: str | None,
        credentials: Any,
        http_compress_engine: str | None,
        http_compress_level: int | None,
        http_compress_min_bytes: int,
    ) -> None:
        """`__init__`: the parent's with the arguments that are the parent's, and then how to sign."""
        arguments = parent_init.bind(self, *args, **kwargs).arguments
        arguments |= arguments.pop("kwargs", {})
        del arguments["self"]

        endpoint = parse_host(arguments.get("host") or "localhost")
        signed_endpoint = endpoint_of_header(arguments.get("headers")) or endpoint
        if endpoint is not None:
            _apply_aws_defaults(arguments)
        if arguments.get("pool_maxsize") is None:
            # aiohttp's connection has it as `maxsize`, too, and without a limit if that is None.
            arguments["pool_maxsize"] = arguments.get("maxsize", DEFAULT_POOL_MAXSIZE)

        http_auth = arguments.pop("http_auth", None)
        asked = any(argument is not None for argument in (region, service, credentials))
        if asked and http_auth is not None:
            raise ValueError(
                "http_auth: pass either it or region=, service= and credentials=, not both; "
                "a SigV4Signer as http_auth holds all three"
            )
        signer = signer_behind(http_auth)
        self._sign = self._checked_callable(http_auth) if signer is None and callable(http_auth) else None
        is_basic = isinstance(http_auth, (str, tuple, list))
        if not (http_auth is None or signer or self._sign or is_basic):
            raise TypeError(f"http_auth: {type(http_auth).__name__} is neither a signer, a callable nor basic auth")
        super().__init__(http_auth=None, **arguments)  # type: ignore[call-arg]
        self.http_auth = http_auth
        if is_basic:
            self.headers.update(
                make_headers(basic_auth=http_auth if isinstance(http_auth, str) else ":".join(http_auth))
            )
        self._engine_and_level = http_compress_engine, http_compress_level
        if not isinstance(http_compress_min_bytes, int):
            raise TypeError(f"http_compress_min_bytes: int is needed, not {type(http_compress_min_bytes).__name__}")
        self._min_bytes = http_compress_min_bytes
        if self.http_compress:
            _ = self._compressor  # what is wrong with it is said here, and not by the first request

        if asked:
            if service is None:
                service = signed_endpoint.service if signed_endpoint else "es"
            signer = SigV4Signer(self._source_of(credentials), region, service)
        if (signer or self._sign) and "authorization" in self.headers:
            raise ValueError("headers: an Authorization for every request cannot go with signing them")
        if http_auth is None and endpoint and not asked and "authorization" not in self.headers:
            signer = SigV4Signer(self._source_of(None), endpoint.region, endpoint.service)
        self.signer = signer
        if signer is not None:
            if signer.region is None:
                region = signed_endpoint.region if signed_endpoint else region_from(signer.source, self.hostname)
                self.signer = signer.with_region(region)
            self._prepare_signing(endpoint)

    def _prepare_signing(self, endpoint: Endpoint | None) -> None:
        # Sent, and not left to the HTTP client to add, so that the host on the wire is the host signed.
        headers = {name: _header_text(value) for name, value in self.headers.items()}
        self.headers = {"host": core.split_url(self.host).host, **headers}
        if endpoint is not None and not self.use_ssl:
            warnings.warn(
                f"{self.hostname} is addressed by plain http: documents and the session token go in clear",
                stacklevel=5,
            )

    def _warn_of_unverified(self, options: Mapping[str, Any]) -> None:
        """Warn of signed requests to whoever answers; of `verify_certs=False` the parents do."""
        if not (self._signs and self.use_ssl) or options.get("ssl_assert_fingerprint"):
            return
        context = options.get("ssl_context")
        if context is not None and context.verify_mode == ssl.CERT_NONE:
            passed = "an ssl_context that verifies nothing"
        elif context is not None and not context.check_hostname and not self._matches_names:
            passed = "an ssl_context that verifies no name"
        elif options.get("ssl_assert_hostname") is False and options.get("verify_certs", True):
            passed = "ssl_assert_hostname=False"
        else:
            return
        if options.get("ssl_show_warn", True):
            warnings.warn(f"Connecting to {self.host} using SSL with {passed} is insecure.", stacklevel=4)

    def _checked_callable(self, http_auth: Any) -> AuthCallable:
        try:
            if isinstance(http_auth, type):
                raise TypeError
            self._call(inspect.signature(http_auth).bind, "GET", "https://localhost/", None, {})
        except TypeError:
            raise TypeError(
                f"http_auth: {type(http_auth).__name__} is no signer that is taken over, and cannot be called with "
                f"({self._called_with}); for requests that are signed pass region= and credentials=, or a SigV4Signer"
            ) from None
        except ValueError:  # a built-in without a signature: it is called, as the parent would
            pass
        return http_auth  # type: ignore[no-any-return]

    @cached_property
    def _compressor(self) -> compression.Compressor:
        return compression.Compressor(*self._engine_and_level)

    def _gzip_compress(self, body: Any) -> bytes:
        return self._compressor.compress(body)

    # --- one request -------------------------------------------------------------------------------------------

    @property
    def _signs(self) -> bool:
        return self.signer is not None or self._sign is not None

    def _target(self, url: str, params: Mapping[str, Any] | None) -> str:
        """Path and query as they are signed and sent."""
        path, _, query = f"{self.url_prefix}{url}".partition("?")
        if params:
            encoded = urlencode(params, quote_via=quote, safe="")
            query = f"{query}&{encoded}" if query else encoded
        return core.request_target(path, query)

    def _request_headers(self, headers: Mapping[str, Any] | None) -> RequestHeaders:
        """The connection's headers and the call's own, under lower-case names."""
        merged = RequestHeaders(self.headers)
        for name, value in dict(headers or ()).items():
            merged[name.lower()] = value if isinstance(value, str) else _header_text(value)
        if self._signs:
            for name in _FRAMING:
                merged.pop(name, None)
        return merged

    def _compressor_for(
        self, method: str, url: str, body: bytes | memoryview | None, headers: dict[str, Any]
    ) -> compression.Compressor | None:
        """What compresses this body, if anything is to: then `headers` say so."""
        if (
            self.http_compress
            and body
            and size_of(body) >= self._min_bytes
            and "content-encoding" not in headers
            and not compression.refuses_gzip(method, url)
        ):
            headers["content-encoding"] = "gzip"
            return self._compressor
        return None

    def _signs_hashes(self, signer: SigV4Signer | None) -> bool:
        return signer is not None and signs_hashes(signer)

    def _sign_headers(
        self,
        signer: SigV4Signer,
        method: str,
        url: str,
        body: Any,
        headers: dict[str, Any],
        known_hash: str | None,
        watch: timing.Watch | None,
    ) -> str | None:
        """Sign into `headers`; return the body's hash if the signer made or was told it.

        Nothing of all these changes between here and the socket.
        """
        if _clock_offsets:
            signer = self._by_the_hosts_clock(signer)
        if watch is not None:
            if known_hash is None and signs_hashes(signer) and spec.CONTENT_SHA256.lower() not in headers:
                watch.start()
                known_hash = core.payload_hash(body)
                watch.end("hash")
            watch.start()
        signed = sign_with_hash(signer, method, url, body, headers, known_hash)
        if watch is not None:
            watch.end("sign")
        if self._sends_latin_1:
            for name, value in headers.items():
                if not value.isascii() and signer.signs(name):
                    headers[name] = value.encode()  # as it was signed
        add_signed(headers, signed)
        return signed.get(spec.CONTENT_SHA256)  # None where a caller's own was signed

    # --- a request that was refused ----------------------------------------------------------------------------

    def _remedy(self, status: int, text: str, answer: Mapping[str, str], tried: list[Cause]) -> Cause | None:
        """What is to be mended before this request is signed once more; None if there is nothing, or nothing new.

        SKEWED is mended when this returns; for EXPIRED, the caller asks its source for other credentials.

        Args:
            answer: headers.
            tried: the remedies that this request has had.
        """
        cause = cause_of(status, text, answer.get("x-amzn-errortype") or "")
        if Cause.SKEWED not in tried and self._corrects_clock(cause, text, answer.get("date")):
            tried.append(Cause.SKEWED)
            return Cause.SKEWED
        if Cause.EXPIRED not in tried and cause in (Cause.EXPIRED, Cause.UNRECOGNIZED):
            tried.append(Cause.EXPIRED)
            return Cause.EXPIRED
        return None

    @staticmethod
    def _status_of(status: int, text: str) -> int:
        """The status of an answer: 429 of a 403 that says so, for `retry_on_status` and the helpers to see."""
        return 429 if status in REFUSED_STATUSES and cause_of(status, text) is Cause.THROTTLED else status

    def _raise_error(self, status_code: int, raw_data: Any, content_type: str | None = None) -> None:
        """The parent's, which takes JSON for an object whatever it is."""
        try:
            super()._raise_error(status_code, raw_data, content_type)  # type: ignore[misc]
        except (AttributeError, RecursionError):
            raise HTTP_EXCEPTIONS.get(status_code, TransportError)(status_code, raw_data, None) from None

    def _corrects_clock(self, cause: Cause, text: str, date: str | None) -> bool:
        """Whether a refusal comes of this machine's clock; then the host's is what its requests are signed by."""
        if cause in (Cause.THROTTLED, Cause.BLOCKED):
            return False
        if not (self.use_ssl or _is_loopback(self.hostname)):
            return False  # whoever sits between could choose the time that is signed
        told = skewed_server_time(text) if cause is Cause.SKEWED else None
        if told is None:
            told = server_time(date)
        if told is None:
            return False
        offset = told - time.time()
        known = _clock_offsets.get(self.host, 0.0)
        # What is refused for no reason given, or for a vague one, is refused for the clock if that is far enough off.
        if cause is not Cause.SKEWED and abs(offset - known) < _SKEW_MIN_S:
            return False
        if abs(offset) < _CLOCK_TOLERANCE_S:
            _clock_offsets.pop(self.host, None)  # set right meanwhile; or the request was long on its way
        elif abs(offset - known) >= _CLOCK_TOLERANCE_S:
            _clock_offsets[self.host] = offset
            _log.warning(
                "this machine's clock is %.0f s %s that of %s, whose requests are signed by the latter from now on; "
                "set the clock (NTP)",
                abs(offset),
                "behind" if offset > 0 else "ahead of",
                self.host,
            )
        return True

    def _by_the_hosts_clock(self, signer: SigV4Signer) -> SigV4Signer:
        offset = _clock_offsets.get(self.host)
        if offset is None:
            return signer
        kept = self._corrected
        if kept is None or kept[0] is not signer or kept[1] != offset:
            kept = self._corrected = (signer, offset, signer.with_clock(lambda: time.time() + offset))
        return kept[2]

    def _refuse(
        self,
        status: int,
        text: str,
        answer: Mapping[str, str],
        method: str,
        url: str,
        headers: Mapping[str, Any],
        tried: list[Cause],
    ) -> NoReturn:
        """Raise opensearch-py's exception for an answer, with a note that tells what may be done about it.

        Args:
            status: what `_status_of` made of the answer's.
        """
        cause = cause_of(status, text, answer.get("x-amzn-errortype") or "")
        try:
            self._raise_error(status, text, answer.get("content-type"))
        except TransportError as error:
            note = _advice.note_for(cause, status, text, answer, method, url, headers, self.signer, tried)
            if note:
                error.add_note(note)
            raise
        raise AssertionError("_raise_error raises")


def warn_of_sniffing(url: str, headers: Any) -> None:
    """Warn of the request by which opensearch-py's Transport sniffs."""
    if url == _SNIFF_URL and headers is None:
        warnings.warn(
            "sniffing a signed client: Amazon OpenSearch Service does not publish the addresses of its nodes; "
            "leave sniff_on_start, sniffer_timeout and sniff_on_connection_fail off",
            stacklevel=3,
        )


def identity_in(headers: Mapping[str, Any]) -> Identity:
    """Access key and session token of a request that was signed."""
    credential = str(headers.get(spec.AUTHORIZATION)).partition("Credential=")[2]
    return credential.partition("/")[0], headers.get(spec.SECURITY_TOKEN)


class _AskedAgain:
    """`with asked_again:` has what is raised within say why it was asked."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        note = "opensearch-sigv4: asked again, as the service refused the credentials at hand (expired or unknown)"
        if isinstance(error, Exception) and note not in getattr(error, "__notes__", ()):
            error.add_note(note)


asked_again = _AskedAgain()


def _is_loopback(hostname: str) -> bool:
    try:
        return hostname == "localhost" or ip_address(hostname.strip("[]")).is_loopback
    except ValueError:
        return False


def add_signed(headers: dict[str, Any], signed: Mapping[str, str]) -> None:
    """Set what was signed, in place of what stands under the same names."""
    for name, value in signed.items():
        headers.pop(name.lower(), None)
        headers[name] = value


def frozen(body: bytes | memoryview | None) -> bytes | memoryview | None:
    """The body, copied where its owner may change it between the hash and the socket."""
    return body.tobytes() if isinstance(body, memoryview) and type(body.obj) is not bytes else body


def size_of(body: bytes | memoryview) -> int:
    return body.nbytes if isinstance(body, memoryview) else len(body)


def _header_text(value: Any) -> Any:
    """What http.client would make of a header value that is no str; what it refuses stays, to be refused."""
    if isinstance(value, int):
        return str(value)
    return value.decode() if isinstance(value, bytes) else value


def _apply_aws_defaults(arguments: dict[str, Any]) -> None:
    """For a host that AWS names: https and its port unless the caller said http."""
    port = arguments.get("port")
    scheme = arguments.get("scheme")
    if scheme is None and "use_ssl" not in arguments and port != spec.DEFAULT_PORTS["http"]:
        scheme = "https"
    is_https = scheme == "https" or bool(arguments.get("use_ssl"))
    arguments["use_ssl"] = is_https
    if port is None:
        arguments["port"] = spec.DEFAULT_PORTS["https" if is_https else "http"]
