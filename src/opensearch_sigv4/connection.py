"""SigV4HttpConnection: opensearch-py's urllib3 connection, which sends exactly the bytes that it signed."""

from __future__ import annotations

import copy
import inspect
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, urlencode

from opensearchpy.compat import reraise_exceptions
from opensearchpy.connection import Urllib3HttpConnection
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, SSLError, TransportError
from urllib3.exceptions import ReadTimeoutError
from urllib3.exceptions import SSLError as Urllib3SSLError
from urllib3.util.retry import Retry

from . import _transport, compression, core
from .auth import signer_behind
from .core import spec
from .endpoint import Endpoint, parse_host
from .signer import SigV4Signer, region_from

DEFAULT_POOL_MAXSIZE: Final = 10

_NO_RETRIES: Final = Retry(False)
_PARENT_INIT: Final = inspect.signature(Urllib3HttpConnection.__init__)
# What opensearch-py's Transport asks for when it sniffs (and the API methods only with headers).
_SNIFF_URL: Final = "/_nodes/_all/http"

AuthCallable = Callable[[str, str, Any], Mapping[str, str]]


class SigV4HttpConnection(Urllib3HttpConnection):
    """opensearch-py's `Urllib3HttpConnection` with AWS Signature Version 4: pass it as `connection_class`.

    It signs when any of `region`, `service` and `credentials` is given; when `http_auth` is a signer; or when
    `http_auth` is None and the host is one that AWS names (see `endpoint.parse_host`). Otherwise it is its
    parent. The request target is built once, signed, and sent as it is; a `Host` among a call's headers is the
    host signed; an `Authorization` among them (opensearch-py's `http_auth=` or `api_key=` on a call) is sent
    and nothing is signed. Every request goes through the `urlopen` of a urllib3 pool; the pool's connections are
    lean ones (`_transport`), unless `pool.ConnectionCls`, or that of all pools, is set to another class.

    All of the parent's arguments, and:

    :arg region: for example `us-east-1`; by default what the host, AWS_REGION, AWS_DEFAULT_REGION or the
        profile says
    :arg service: `es`, `aoss` or `osis`; by default what the host says, else `es`
    :arg credentials: whatever `SigV4Signer` takes; by default botocore's chain
    :arg http_auth: as in the parent, or a `SigV4Signer`, or an auth object of this package, of opensearch-py or
        of requests-aws4auth (`AWS4Auth`), which is taken over; or any callable `(method, url, body)`, called
        with the final URL and body
    :arg pool_maxsize: connections kept open to this host (default: 10)
    :arg port: for a host that AWS names 443 by default, and https is then the default scheme
    :arg http_compress: gzip bodies, and ask for compressed answers. Some requests go uncompressed: those that the
        service would refuse (`compression.refuses_gzip`), and those with a `content-encoding` among their headers,
        whose body is taken to be encoded already
    :arg http_compress_engine: `isal`, `zlib-ng` or `zlib`; by default the first of them that is installed
    :arg http_compress_level: one of the engine's own; by default what `compression` measured as sensible
    :arg http_compress_min_bytes: bodies below this size go uncompressed (default: 0, none of them)

    A body is compressed and hashed once: when opensearch-py's Transport repeats a request, on whatever connection,
    only date and signature are new. For that the last body that failed so is held (see `compression.forget`).

    Raises:
        TypeError: an `http_auth` that cannot be called so, or that holds no secret key.
        ValueError: `http_auth` together with `region`, `service` or `credentials`; no region to be found; or an
            engine or level that there is not.
        ImportError: `http_compress_engine` is not installed.

    Thread-safety: as its parent, any number of threads may share one connection.

    >>> from opensearchpy import OpenSearch
    >>> client = OpenSearch(
    ...     "https://search-logs-abc123.eu-central-1.es.amazonaws.com", connection_class=SigV4HttpConnection
    ... )
    >>> client.transport.get_connection().signer
    SigV4Signer(region='eu-central-1', service='es')
    """

    #: What signs the requests; None where nothing is signed, or where a callable `http_auth` does it.
    signer: SigV4Signer | None
    _sign: AuthCallable | None

    def __init__(
        self,
        *args: Any,
        region: str | None = None,
        service: str | None = None,
        credentials: Any = None,
        http_compress_engine: str | None = None,
        http_compress_level: int | None = None,
        http_compress_min_bytes: int = 0,
        **kwargs: Any,
    ) -> None:
        arguments = _PARENT_INIT.bind(self, *args, **kwargs).arguments
        arguments |= arguments.pop("kwargs", {})
        del arguments["self"]

        endpoint = parse_host(arguments.get("host") or "localhost")
        if endpoint is not None:
            _apply_aws_defaults(arguments)
        if arguments.get("pool_maxsize") is None:
            arguments["pool_maxsize"] = DEFAULT_POOL_MAXSIZE

        http_auth = arguments.pop("http_auth", None)
        asked = any(argument is not None for argument in (region, service, credentials))
        if asked and http_auth is not None:
            raise ValueError(
                "http_auth: pass either it or region=, service= and credentials=, not both; "
                "a SigV4Signer as http_auth holds all three"
            )
        signer = signer_behind(http_auth)
        self._sign = _checked_callable(http_auth) if signer is None and callable(http_auth) else None
        is_basic = isinstance(http_auth, (str, tuple, list))
        if not (http_auth is None or signer or self._sign or is_basic):
            raise TypeError(f"http_auth: {type(http_auth).__name__} is neither a signer, a callable nor basic auth")
        super().__init__(http_auth=http_auth if is_basic else None, **arguments)
        self.http_auth = http_auth
        self._engine_and_level = http_compress_engine, http_compress_level
        if not isinstance(http_compress_min_bytes, int):
            raise TypeError(f"http_compress_min_bytes: int is needed, not {type(http_compress_min_bytes).__name__}")
        self._min_bytes = http_compress_min_bytes
        if self.http_compress:
            _ = self._compressor  # what is wrong with it is said here, and not by the first request

        if asked:
            if service is None:
                service = endpoint.service if endpoint else "es"
            signer = SigV4Signer(credentials, region, service)
        if (signer or self._sign) and "authorization" in self.headers:
            raise ValueError("headers: an Authorization for every request cannot go with signing them")
        if http_auth is None and endpoint and not asked and "authorization" not in self.headers:
            signer = SigV4Signer(None, endpoint.region, endpoint.service)
        self.signer = signer
        if signer is not None:
            self._prepare_signing(signer, endpoint)

    def _prepare_signing(self, signer: SigV4Signer, endpoint: Endpoint | None) -> None:
        if signer.region is None:
            region = endpoint.region if endpoint else region_from(signer.source, self.hostname)
            self.signer = signer.with_region(region)
        # Sent, and not left to http.client to add, so that the host on the wire is the host signed.
        headers = {name: _header_text(value) for name, value in self.headers.items()}
        self.headers = {"host": core.split_url(self.host).host, **headers}
        if endpoint is not None and not self.use_ssl:
            warnings.warn(
                f"{self.hostname} is addressed by plain http: documents and the session token go in clear",
                stacklevel=4,
            )

    @cached_property
    def _compressor(self) -> compression.Compressor:
        return compression.Compressor(*self._engine_and_level)

    def _gzip_compress(self, body: Any) -> bytes:
        return self._compressor.compress(body)

    def _create_urllib3_pool(self) -> None:
        super()._create_urllib3_pool()
        _transport.make_lean(self.pool)

    def close(self) -> None:
        """Close the pool; as in the parent, a later request opens it again."""
        compression.forget()
        super().close()

    def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sign and send one request; arguments, result, log records and exceptions are the parent's.

        Raises:
            TypeError: a body that is neither None, str nor bytes-like.
            ValueError: a path segment that is exactly `.` or `..`, or a control character, in what would be
                sent. Nothing was sent.
            opensearchpy.TransportError: as the parent. What a signer raises comes as it is, and is not retried.
        """
        path, _, query = f"{self.url_prefix}{url}".partition("?")
        if self.signer is None and self._sign is None:
            core.refuse_dot_segments(path)
            if self.http_compress and body:
                return self._compressed_as_parent(method, url, params, body, timeout, ignore, headers)
            compression.forget()
            return super().perform_request(method, url, params, body, timeout, ignore, headers)
        if url == _SNIFF_URL and headers is None:
            warnings.warn(
                "sniffing a signed client: Amazon OpenSearch Service does not publish the addresses of its nodes; "
                "leave sniff_on_start, sniffer_timeout and sniff_on_connection_fail off",
                stacklevel=2,
            )
        if self.pool is None:
            self._create_urllib3_pool()

        if params:
            encoded = urlencode(params, quote_via=quote, safe="")
            query = f"{query}&{encoded}" if query else encoded
        target = core.request_target(path, query)
        start = time.time()
        orig_body = body
        request_headers: dict[str, Any] = {**self.headers}
        for name, value in dict(headers or ()).items():
            request_headers[name.lower()] = value if isinstance(value, str) else _header_text(value)
        body, compressor, payload_hash = self._wire_body(method, url, body, request_headers)
        method, full_url, payload_hash = self._sign_headers(method, target, body, request_headers, payload_hash)
        kw = {"timeout": timeout} if timeout else {}
        self.metrics.request_start()
        try:
            response = self.pool.urlopen(method, target, body, retries=_NO_RETRIES, headers=request_headers, **kw)
            duration = time.time() - start
            raw_data = response.data.decode("utf-8", "surrogatepass")
        except reraise_exceptions:
            raise
        except Exception as e:
            self.log_request_fail(method, full_url, target, orig_body, time.time() - start, exception=e)
            self._keep(orig_body, compressor, body, payload_hash)
            if isinstance(e, Urllib3SSLError):
                raise SSLError("N/A", str(e), e) from e
            if isinstance(e, ReadTimeoutError):
                raise ConnectionTimeout("TIMEOUT", str(e), e) from e
            raise OpenSearchConnectionError("N/A", str(e), e) from e
        finally:
            self.metrics.request_end()

        self._raise_warnings(response.headers.get_all("warning", ()))
        if not 200 <= response.status < 300 and response.status not in ignore:
            self.log_request_fail(method, full_url, target, orig_body, duration, response.status, raw_data)
            if response.status in compression.REPEATED_STATUSES:
                self._keep(orig_body, compressor, body, payload_hash)
            content_type = self.get_response_headers(response).get("content-type")
            self._raise_error(response.status, raw_data, content_type)
        self.log_request_success(method, full_url, target, orig_body, response.status, raw_data, duration)
        return response.status, response.headers, raw_data

    def _wire_body(
        self, method: str, url: str, body: Any, headers: dict[str, Any]
    ) -> tuple[Any, compression.Compressor | None, str | None]:
        """The body as it is sent, what compressed it (then `headers` say so), and its hash if that is known."""
        given = body
        body = core.body_buffer(body)
        compressor = None
        if (
            self.http_compress
            and body
            and (body.nbytes if isinstance(body, memoryview) else len(body)) >= self._min_bytes
            and "content-encoding" not in headers
            and not compression.refuses_gzip(method, url)
        ):
            compressor = self._compressor
            headers["content-encoding"] = "gzip"
        prepared = compression.take(given, compressor)
        if prepared is not None:
            return prepared.wire, compressor, prepared.payload_hash
        if compressor is not None:
            body = self._gzip_compress(body)
        elif isinstance(body, memoryview) and type(body.obj) is not bytes:
            body = body.tobytes()  # Its owner may change it between the hash and the socket.
        return body, compressor, None

    def _sign_headers(
        self, method: str, target: str, body: Any, headers: dict[str, Any], known_hash: str | None
    ) -> tuple[str, str, str | None]:
        """Sign into `headers`; the final method and URL, and the hash if our signer made it.

        Nothing of all these changes between here and the socket.
        """
        method = method.upper()
        full_url = self.host + target
        if "authorization" in headers:
            return method, full_url, None
        payload_hash = None
        if self.signer is not None:
            if known_hash is None or "x-amz-content-sha256" in headers or not _signs_hashes(self.signer):
                signed = self.signer.sign(method, full_url, body, headers)
            else:
                # Sent under the name and in the place that it had at first, when the signer set it.
                told = {spec.CONTENT_SHA256: known_hash}
                signed = self.signer.sign(method, full_url, body, {**headers, **told}) | told
            payload_hash = signed.get(spec.CONTENT_SHA256)  # None where a caller's own was signed
            for name, value in headers.items():
                if not value.isascii() and self.signer.signs(name):
                    # Signed as UTF-8, so sent as UTF-8: http.client would take latin-1.
                    headers[name] = value.encode()
        else:
            assert self._sign is not None
            signed = dict(self._sign(method, full_url, body))
        for name, value in signed.items():
            headers.pop(name.lower(), None)
            headers[name] = value
        return method, full_url, payload_hash

    def _keep(self, given: Any, compressor: compression.Compressor | None, wire: Any, payload_hash: str | None) -> None:
        is_hash = self.signer is not None and _signs_hashes(self.signer)
        compression.keep(given, compressor, wire, payload_hash if is_hash else None)

    def _compressed_as_parent(
        self, method: str, url: str, params: Any, body: Any, timeout: Any, ignore: Any, headers: Any
    ) -> Any:
        """The parent's `perform_request`, which compresses all bodies or none, made to send this one as it is to be."""
        if self.pool is None:
            self._create_urllib3_pool()
        lower = {name.lower(): value for name, value in {**self.headers, **dict(headers or ())}.items()}
        wire, compressor, _ = self._wire_body(method, url, body, lower)
        this_request: Any = copy.copy(self)
        this_request.http_compress = compressor is not None
        this_request._gzip_compress = lambda _: wire
        try:
            return super(SigV4HttpConnection, this_request).perform_request(
                method, url, params, body, timeout, ignore, headers
            )
        except TransportError as error:
            if compressor is not None and error.status_code in compression.REPEATED_STATUSES:
                compression.keep(body, compressor, wire, None)
            raise


def _signs_hashes(signer: SigV4Signer) -> bool:
    """Whether it signs a body's hash, and takes one that it is told for it; what another's `sign` does nobody knows."""
    return not signer.unsigned_payload and type(signer).sign is SigV4Signer.sign


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


def _checked_callable(http_auth: Any) -> AuthCallable:
    if inspect.iscoroutinefunction(http_auth) or inspect.iscoroutinefunction(type(http_auth).__call__):
        raise TypeError("http_auth: an awaitable signer cannot serve a synchronous connection")
    try:
        if isinstance(http_auth, type):
            raise TypeError
        inspect.signature(http_auth).bind("GET", "https://localhost/", None)
    except TypeError:
        raise TypeError(
            f"http_auth: {type(http_auth).__name__} cannot be called with (method, url, body); for requests that are "
            "signed pass region= and credentials=, or a SigV4Signer"
        ) from None
    except ValueError:  # a built-in without a signature: it is called, as the parent would
        pass
    return http_auth  # type: ignore[no-any-return]
