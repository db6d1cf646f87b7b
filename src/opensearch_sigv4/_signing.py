"""What the connections share, whatever sends their requests: when one signs, and how a request is made ready.

`SigningConnection` is mixed into a connection of opensearch-py's. Nothing here sends, waits, or imports an HTTP client.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, urlencode

from urllib3 import make_headers

from . import compression, core
from .auth import signer_behind
from .core import spec
from .credentials import CredentialSource
from .endpoint import Endpoint, parse_host
from .signer import SigV4Signer, region_from, sign_with_hash, signs_hashes

DEFAULT_POOL_MAXSIZE: Final = 10

# On an event loop, a body of more bytes is hashed in a thread of the loop's default executor. The loop stands still for
# 0.1 ms while a thread is handed work and its result comes back; hashing 256 KB takes 0.14 ms (AMD EPYC, Python 3.11).
HASH_IN_THREAD_MIN_BYTES: Final = 256 << 10

# What opensearch-py's Transport asks for when it sniffs (and the API methods only with headers).
_SNIFF_URL: Final = "/_nodes/_all/http"

# What says where a body ends: its sender says that, who knows what becomes of it on its way.
_FRAMING: Final = ("content-length", "transfer-encoding")

AuthCallable = Callable[..., Any]


class SigningConnection:
    """A connection that signs. The other base of its subclasses is a connection of opensearch-py's."""

    #: What signs the requests; None where nothing is signed, or where a callable `http_auth` does it.
    signer: SigV4Signer | None
    _sign: AuthCallable | None

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
                service = endpoint.service if endpoint else "es"
            signer = SigV4Signer(self._source_of(credentials), region, service)
        if (signer or self._sign) and "authorization" in self.headers:
            raise ValueError("headers: an Authorization for every request cannot go with signing them")
        if http_auth is None and endpoint and not asked and "authorization" not in self.headers:
            signer = SigV4Signer(self._source_of(None), endpoint.region, endpoint.service)
        self.signer = signer
        if signer is not None:
            self._prepare_signing(signer, endpoint)

    def _prepare_signing(self, signer: SigV4Signer, endpoint: Endpoint | None) -> None:
        if signer.region is None:
            region = endpoint.region if endpoint else region_from(signer.source, self.hostname)
            self.signer = signer.with_region(region)
        # Sent, and not left to the HTTP client to add, so that the host on the wire is the host signed.
        headers = {name: _header_text(value) for name, value in self.headers.items()}
        self.headers = {"host": core.split_url(self.host).host, **headers}
        if endpoint is not None and not self.use_ssl:
            warnings.warn(
                f"{self.hostname} is addressed by plain http: documents and the session token go in clear",
                stacklevel=5,
            )

    def _checked_callable(self, http_auth: Any) -> AuthCallable:
        try:
            if isinstance(http_auth, type):
                raise TypeError
            self._call(inspect.signature(http_auth).bind, "GET", "https://localhost/", None, {})
        except TypeError:
            raise TypeError(
                f"http_auth: {type(http_auth).__name__} cannot be called with ({self._called_with}); for requests that "
                "are signed pass region= and credentials=, or a SigV4Signer"
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

    def _request_headers(self, headers: Mapping[str, Any] | None) -> dict[str, Any]:
        """The connection's headers and the call's own, under lower-case names."""
        merged = {**self.headers}
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
        self, signer: SigV4Signer, method: str, url: str, body: Any, headers: dict[str, Any], known_hash: str | None
    ) -> str | None:
        """Sign into `headers`; return the body's hash if the signer made or was told it.

        Nothing of all these changes between here and the socket.
        """
        signed = sign_with_hash(signer, method, url, body, headers, known_hash)
        if self._sends_latin_1:
            for name, value in headers.items():
                if not value.isascii() and signer.signs(name):
                    headers[name] = value.encode()  # as it was signed
        add_signed(headers, signed)
        return signed.get(spec.CONTENT_SHA256)  # None where a caller's own was signed


def warn_of_sniffing(url: str, headers: Any) -> None:
    """Warn of the request by which opensearch-py's Transport sniffs."""
    if url == _SNIFF_URL and headers is None:
        warnings.warn(
            "sniffing a signed client: Amazon OpenSearch Service does not publish the addresses of its nodes; "
            "leave sniff_on_start, sniffer_timeout and sniff_on_connection_fail off",
            stacklevel=3,
        )


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
