"""SigV4HttpConnection: opensearch-py's urllib3 connection, which sends exactly the bytes that it signed."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from opensearchpy.compat import reraise_exceptions
from opensearchpy.connection import Urllib3HttpConnection
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, SSLError, TransportError
from urllib3.exceptions import ProtocolError, ReadTimeoutError
from urllib3.exceptions import SSLError as Urllib3SSLError
from urllib3.util.retry import Retry

from . import _transport, compression, core, timing
from ._advice import NOT_SIGNED, advised
from ._signing import (
    AuthCallable,
    SigningConnection,
    add_signed,
    asked_again,
    frozen,
    identity_in,
    warn_of_sniffing,
)
from .core._secrets import clear_frames, cleared_frames, without_secrets
from .credentials import source_of
from .responses import REFUSED_STATUSES, Cause, cause_of, is_safe
from .signer import SigV4Signer

_NO_RETRIES: Final = Retry(False)
_PARENT_INIT: Final = inspect.signature(Urllib3HttpConnection.__init__)


class SigV4HttpConnection(SigningConnection, Urllib3HttpConnection):
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

    _called_with = "method, url, body"
    _source_of = staticmethod(source_of)

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
        self._construct(
            _PARENT_INIT,
            args,
            kwargs,
            region,
            service,
            credentials,
            http_compress_engine,
            http_compress_level,
            http_compress_min_bytes,
        )
        self._warn_of_unverified(kwargs)

    def _checked_callable(self, http_auth: Any) -> AuthCallable:
        if inspect.iscoroutinefunction(http_auth) or inspect.iscoroutinefunction(type(http_auth).__call__):
            raise TypeError("http_auth: an awaitable signer cannot serve a synchronous connection")
        return super()._checked_callable(http_auth)

    @staticmethod
    def _call(function: AuthCallable, method: str, url: str, body: Any, headers: dict[str, Any]) -> Any:
        return function(method, url, body)

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
        if not self._signs:
            core.refuse_dot_segments(f"{self.url_prefix}{url}".partition("?")[0])
            if self.http_compress and body:
                return self._compressed_as_parent(method, url, params, body, timeout, ignore, headers)
            compression.forget()
            return super().perform_request(method, url, params, body, timeout, ignore, headers)
        warn_of_sniffing(url, headers)
        if self.pool is None:
            self._create_urllib3_pool()

        target = self._target(url, params)
        orig_body = body
        watch = timing.watch()
        request_headers = self._request_headers(headers)
        body, compressor, payload_hash = self._wire_body(method, url, body, request_headers, watch)
        method, full_url = method.upper(), self.host + target
        signer = None if "authorization" in request_headers else self.signer
        if signer is None:
            payload_hash = None
        if self._sign is not None and "authorization" not in request_headers:
            add_signed(request_headers, dict(self._call(self._sign, method, full_url, body, request_headers)))
        if signer is None:
            core.check_head(method, request_headers)  # as the signer does
        tried: list[Cause] = []
        while True:
            if signer is not None:
                payload_hash = self._sign_headers(signer, method, full_url, body, request_headers, payload_hash, watch)
            start = time.time()
            self.metrics.request_start()
            try:
                response = self._exchange(method, target, body, request_headers, timeout, watch)
                duration = time.time() - start
                raw_data = response.data.decode("utf-8", "surrogatepass")
            except BaseException as e:
                clear_frames(e)
                if isinstance(e, reraise_exceptions) or not isinstance(e, Exception):
                    raise
                self.log_request_fail(method, full_url, target, orig_body, time.time() - start, exception=e)
                self._keep(orig_body, compressor, body, payload_hash)
                if isinstance(e, Urllib3SSLError):
                    raise advised(SSLError("N/A", str(e), e), full_url) from e
                if isinstance(e, ReadTimeoutError):
                    raise advised(ConnectionTimeout("TIMEOUT", str(e), e), full_url) from e
                raise advised(OpenSearchConnectionError("N/A", str(e), e), full_url) from e
            finally:
                self.metrics.request_end()
            if watch is not None:
                watch.tell()
            if signer is None or response.status not in REFUSED_STATUSES:
                break
            remedy = self._remedy(response.status, raw_data, response.headers, tried)
            if remedy is None or (remedy is Cause.EXPIRED and not self._are_renewed(signer, request_headers)):
                break
            request_headers = self._request_headers(headers)
            if compressor is not None:
                request_headers["content-encoding"] = "gzip"

        status = response.status
        if status >= 400:
            raw_data = without_secrets(raw_data, request_headers)
            status = self._status_of(status, raw_data)
        self._raise_warnings(response.headers.get_all("warning", ()))
        if not 200 <= status < 300 and status not in ignore:
            self.log_request_fail(method, full_url, target, orig_body, duration, response.status, raw_data)
            if response.status in compression.REPEATED_STATUSES:
                self._keep(orig_body, compressor, body, payload_hash)
            answer_headers = self.get_response_headers(response)
            self._refuse(status, raw_data, answer_headers, method, full_url, request_headers, tried)
        self.log_request_success(method, full_url, target, orig_body, response.status, raw_data, duration)
        return status, response.headers, raw_data

    @staticmethod
    def _are_renewed(signer: SigV4Signer, headers: Mapping[str, Any]) -> bool:
        """Whether there are other credentials than those that signed these headers."""
        with cleared_frames, asked_again:
            return signer.source.renew(identity_in(headers))  # type: ignore[no-any-return]

    def _exchange(
        self,
        method: str,
        target: str,
        body: Any,
        headers: dict[str, Any],
        timeout: float | None,
        watch: timing.Watch | None,
    ) -> Any:
        """Send a request and read its answer; send it again if only a kept-alive connection was lost."""
        kw: dict[str, Any] = {"timeout": timeout} if timeout else {}
        if watch is not None:
            watch.start()
            kw["preload_content"] = False
        try:
            response = self.pool.urlopen(method, target, body, retries=_NO_RETRIES, headers=headers, **kw)
        except (ProtocolError, Urllib3SSLError) as error:
            # The server closed it when it had been idle, in the moment in which this request was sent.
            if not (_transport.was_kept_alive(error) and is_safe(method, target.partition("?")[0])):
                raise
            response = self.pool.urlopen(method, target, body, retries=_NO_RETRIES, headers=headers, **kw)
        if watch is not None:
            watch.note("wait")
            _ = response.data  # which is read here
            watch.note("read")
        return response

    def _raise_error(self, status_code: int, raw_data: Any, content_type: str | None = None) -> None:
        try:
            super()._raise_error(status_code, raw_data, content_type)
        except TransportError as error:
            if not self._signs and cause_of(status_code, str(raw_data)) is Cause.UNSIGNED:
                error.add_note(NOT_SIGNED)
            raise

    def _wire_body(
        self, method: str, url: str, body: Any, headers: dict[str, Any], watch: timing.Watch | None = None
    ) -> tuple[Any, compression.Compressor | None, str | None]:
        """The body as it is sent, what compressed it (then `headers` say so), and its hash if that is known."""
        given, body = body, core.body_buffer(body)
        compressor = self._compressor_for(method, url, body, headers)
        prepared = compression.take(given, compressor)
        if prepared is not None:
            return prepared.wire, compressor, prepared.payload_hash
        if compressor is None:
            return frozen(body), None, None
        if watch is None:
            return self._gzip_compress(body), compressor, None
        watch.start()
        wire = self._gzip_compress(body)
        watch.end("gzip")
        return wire, compressor, None

    def _keep(self, given: Any, compressor: compression.Compressor | None, wire: Any, payload_hash: str | None) -> None:
        compression.keep(given, compressor, wire, payload_hash if self._signs_hashes(self.signer) else None)

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
