"""AsyncSigV4HttpConnection: opensearch-py's aiohttp connection, which sends exactly the bytes that it signed."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

try:
    import aiohttp
except ImportError as error:
    raise ImportError(
        "AsyncSigV4HttpConnection needs aiohttp: pip install 'opensearch-sigv4[async]'", name=error.name
    ) from None
import yarl
from multidict import CIMultiDict, CIMultiDictProxy
from opensearchpy.compat import reraise_exceptions, urlencode
from opensearchpy.connection.http_async import AsyncHttpConnection
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, SSLError, TransportError
from opensearchpy.metrics import Metrics, MetricsNone

from . import compression, core, timing
from ._advice import advised
from ._signing import (
    HASH_IN_THREAD_MIN_BYTES,
    AuthCallable,
    SigningConnection,
    add_signed,
    asked_again,
    frozen,
    identity_in,
    size_of,
    warn_of_sniffing,
)
from ._threads import in_worker
from .async_credentials import loop_source_of
from .core._secrets import clear_frames, cleared_frames, without_secrets
from .credentials import Snapshot
from .responses import REFUSED_STATUSES, Cause, is_safe

_PARENT_INIT: Final = inspect.signature(AsyncHttpConnection.__init__)

# As many bytes are compressed in a thread, as HASH_IN_THREAD_MIN_BYTES are hashed in one. 64 KB of
# documents take isal 0.1 ms and zlib 1 ms (AMD EPYC, Python 3.11).
_COMPRESS_IN_THREAD_MIN_BYTES: Final = 64 << 10
_WITH_WHICH_NO_BODY_IS_HASHED: Final = frozenset(["authorization", "x-amz-content-sha256"])
_MAX_LINE_BYTES: Final = 65536  # of an answer's head, as in http.client; aiohttp's own limit is 8190
_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
_CONNECT_SHARE: Final = 0.95  # of the time for a request: on a busy loop both must not seem to end together
_SHORTEST_TIMEOUT_S: Final = 0.001  # none is left, and 0 would mean no timeout at all


class AsyncSigV4HttpConnection(SigningConnection, AsyncHttpConnection):
    """opensearch-py's `AsyncHttpConnection` with AWS Signature Version 4: pass it as `connection_class`.

    `SigV4HttpConnection` for an `opensearchpy.AsyncOpenSearch`: it signs in the same cases, takes over the same signer
    objects, and sends what it signed. Nothing that it does blocks the event loop: credentials are fetched in a thread
    or awaited, once for all requests that need them and while those that have valid ones go on; large bodies are
    compressed and hashed in a thread. A request is signed when it has a connection, not while it waits for one.

    A signed request follows no redirect: the answer is raised, and names the target. Errors have their `info`, and
    `metrics` is told of each request, neither of which is so in the parent.

    All of the parent's arguments, those of `SigV4HttpConnection`, which says more about them, and:

    :arg credentials: whatever `SigV4Signer` takes, and what has to be awaited: an aiobotocore session or credentials
        object, a coroutine function, or a callable that returns an awaitable
    :arg http_auth: as in the parent; or a signer object that is taken over; or any callable, which is called in the
        loop with the keywords `method`, `url`, `body` and `headers` of the final request, and may return an awaitable
    :arg pool_maxsize: connections kept open, and requests sent at a time, to this host (default: 10)
    :arg ssl_assert_hostname: the name that the server's certificate must have in place of the host's; False for any
    :arg metrics: an `opensearchpy.Metrics`
    :arg trust_env: go through the proxy that the environment names, as `AIOHttpConnection` does; the parent ignores it

    Raises:
        TypeError: an `http_auth` that cannot be called so, or that holds no secret key.
        ValueError: `http_auth` together with `region`, `service` or `credentials`; no region to be found; or an
            engine or level that there is not.
        ImportError: `http_compress_engine` is not installed.

    Thread-safety: as its parent, for the tasks of one event loop. It may be used on another once that one has ended.

    >>> from opensearchpy import AsyncOpenSearch
    >>> client = AsyncOpenSearch(
    ...     "https://search-logs-abc123.eu-central-1.es.amazonaws.com", connection_class=AsyncSigV4HttpConnection
    ... )
    """

    _called_with = "method=, url=, body=, headers="
    _source_of = staticmethod(loop_source_of)
    _sends_latin_1 = False
    _matches_names = False
    _slots: asyncio.Semaphore
    _closed: asyncio.Future[None]

    def __init__(
        self,
        *args: Any,
        region: str | None = None,
        service: str | None = None,
        credentials: Any = None,
        http_compress_engine: str | None = None,
        http_compress_level: int | None = None,
        http_compress_min_bytes: int = 0,
        ssl_assert_hostname: str | bool | None = None,
        metrics: Metrics = MetricsNone(),  # noqa: B008 - which has no state
        trust_env: bool = False,
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
        self._warn_of_unverified({**kwargs, "ssl_assert_hostname": ssl_assert_hostname})
        self.metrics = metrics
        self._options: dict[str, Any] = {"max_line_size": _MAX_LINE_BYTES, "max_field_size": _MAX_LINE_BYTES}
        if isinstance(ssl_assert_hostname, str):
            self._options["server_hostname"] = ssl_assert_hostname
        if trust_env and not proxy_bypass(self.hostname):
            # Not by aiohttp's own trust_env, which would put what ~/.netrc says in place of the signature.
            self._options["proxy"] = getproxies().get(self.scheme)
        if ssl_assert_hostname is False and self.use_ssl and "ssl_context" not in kwargs:
            self._ssl_context.check_hostname = False
        if self.signer is not None:
            self._source = loop_source_of(self.signer.source)
            self._loop_signer = self.signer.with_source(self._source)

    @staticmethod
    def _call(function: AuthCallable, method: str, url: str, body: Any, headers: dict[str, Any]) -> Any:
        return function(method=method, url=url, body=body, headers=headers)

    async def _create_aiohttp_session(self) -> None:
        await super()._create_aiohttp_session()
        session: Any = self.session
        session.headers.clear()  # each request has all of its own; what only these hold would be sent unsigned
        if self._signs:
            # aiohttp would send a PUT or DELETE again, unasked, when the connection is lost that it was sent on.
            session._retry_connection = False
            _note_reuse(session.connector)
            if self.signer is not None:
                self._source.hold()
        self._slots = asyncio.Semaphore(self._limit or sys.maxsize)
        self._closed = self.loop.create_future()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open a session on the loop that runs; one that was left open on a loop that has ended is closed."""
        old = self.session
        if old is not None and not self.loop.is_closed():
            raise RuntimeError("this connection belongs to another event loop, which has not ended")
        self.loop = loop
        await self._create_aiohttp_session()  # which waits for nothing, so that no other task opens a second one
        if old is not None:
            await self._close_session(old)

    async def close(self) -> None:
        """Close the session. A request that is under way fails, and is not repeated; a later one opens it again."""
        session, self.session = self.session, None
        compression.forget(asyncio.current_task())
        if session is not None:
            if not self.loop.is_closed():
                self._closed.set_result(None)
            await self._close_session(session)

    async def _close_session(self, session: Any) -> None:
        try:
            if self.signer is not None:
                await self._source.release()
        finally:
            await session.close()

    async def perform_request(
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

        `timeout` counts from here, but for the time that this request's credentials take; what is sent once more, after
        a refusal that could be mended, has all of it again.

        Raises:
            TypeError: a body that is neither None, str nor bytes-like.
            ValueError: a path segment that is exactly `.` or `..`, or a control character, in what would be
                sent. Nothing was sent.
            opensearchpy.TransportError: as the parent; and with status "N/A", which is not retried, where `close` ended
                the request. What a signer raises comes as it is, and is not retried.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        url_path = f"{self.url_prefix}{url}"
        if self._signs:
            warn_of_sniffing(url, headers)
            method = method.upper()
            full_url = self.host + self._target(url, params)
        else:
            core.refuse_dot_segments(url_path.partition("?")[0])
            target = url_path + (f"?{urlencode(params)}" if params else "")
            if not (target.isascii() and target.isprintable()) or " " in target:
                target = self._target(url, params)  # what could end a line is escaped, or refused
            full_url = self.host + target
        if self.session is None or self.loop is not loop:
            await self._open(loop)
        session: Any = self.session
        slots, closed = self._slots, self._closed
        if timeout is None:
            timeout = self.timeout
        request_headers = self._request_headers(headers)
        orig_body = body
        watch = timing.watch()

        brings_its_own = "authorization" in request_headers
        signs = self.signer is not None and not brings_its_own
        if signs and self._source.keeps:
            await self._credentials(session, closed)  # so that nobody holds a connection who waits for credentials
        if slots.locked():
            start = loop.time()
            try:
                async with asyncio.timeout(timeout or None):
                    await slots.acquire()
            except TimeoutError:
                none_free = aiohttp.ConnectionTimeoutError("no connection became free")
                self.log_request_fail(method, full_url, url_path, orig_body, loop.time() - start, exception=none_free)
                raise ConnectionTimeout("TIMEOUT", str(none_free), none_free) from none_free
            if timeout:
                timeout = max(timeout + start - loop.time(), _SHORTEST_TIMEOUT_S)
        else:
            await slots.acquire()
        tried: list[Cause] = []
        try:
            self._refuse_if_closed(session)
            body, compressor, payload_hash = await self._wire_body(method, url, body, request_headers, task, watch)
            if brings_its_own:
                payload_hash = None
                if self._signs:
                    core.check_head(method, request_headers)  # as the signer does
            elif self._sign is not None:
                signed = self._call(self._sign, method, full_url, body, request_headers)
                add_signed(request_headers, dict(await signed if inspect.isawaitable(signed) else signed))
                core.check_head(method, request_headers)
            while True:
                if signs:
                    self._source.take(await self._credentials(session, closed))
                    payload_hash = self._sign_headers(
                        self._loop_signer, method, full_url, body, request_headers, payload_hash, watch
                    )
                self._refuse_if_closed(session)
                start = loop.time()
                self.metrics.request_start()
                try:
                    response, raw_data = await self._exchange(
                        session, method, full_url, body, request_headers, timeout, watch
                    )
                    duration = loop.time() - start
                except BaseException as e:
                    clear_frames(e)
                    if isinstance(e, reraise_exceptions) or not isinstance(e, Exception):
                        raise
                    _forget_request(e)
                    self.log_request_fail(method, full_url, url_path, orig_body, loop.time() - start, exception=e)
                    self._refuse_if_closed(session, e)
                    self._keep(orig_body, compressor, body, payload_hash, task)
                    if isinstance(e, (aiohttp.ServerFingerprintMismatch, aiohttp.ClientSSLError)):
                        raise advised(SSLError("N/A", str(e), e), full_url) from e
                    if isinstance(e, TimeoutError):
                        raise advised(ConnectionTimeout("TIMEOUT", str(e), e), full_url) from e
                    raise advised(OpenSearchConnectionError("N/A", str(e), e), full_url) from e
                finally:
                    self.metrics.request_end()
                if watch is not None:
                    watch.tell()
                if not signs or response.status not in REFUSED_STATUSES:
                    break
                remedy = self._remedy(response.status, raw_data, response.headers, tried)
                if remedy is None or (remedy is Cause.EXPIRED and not await self._are_renewed(request_headers)):
                    break
                request_headers = self._request_headers(headers)
                if compressor is not None:
                    request_headers["content-encoding"] = "gzip"
        finally:
            slots.release()

        status = response.status
        if status >= 400:
            raw_data = without_secrets(raw_data, request_headers)
            if self._signs:
                status = self._status_of(status, raw_data)
        self._raise_warnings(response.headers.getall("warning", ()))
        if not 200 <= status < 300 and status not in ignore:
            self.log_request_fail(method, full_url, url_path, orig_body, duration, response.status, raw_data)
            if status in compression.REPEATED_STATUSES:
                self._keep(orig_body, compressor, body, payload_hash, task)
            location = response.headers.get("location")
            if self._signs and 300 <= status < 400 and location is not None:
                self._raise_error(status, f"a redirect to {location}, which a signed request does not follow")
            self._refuse(status, raw_data, response.headers, method, full_url, request_headers, tried)
        self.log_request_success(method, full_url, url_path, orig_body, status, raw_data, duration)
        return status, response.headers, raw_data

    async def _are_renewed(self, headers: Mapping[str, Any]) -> bool:
        """Whether there are other credentials than those that signed these headers."""
        with cleared_frames, asked_again:
            return await self._source.refetch(identity_in(headers))

    async def _exchange(
        self,
        session: Any,
        method: str,
        url: str,
        body: Any,
        headers: dict[str, Any],
        timeout: float | None,
        watch: timing.Watch | None,
    ) -> tuple[aiohttp.ClientResponse, str]:
        """Send a request and read its answer; send it again if only a kept-alive connection was lost."""
        options: dict[str, Any] = {**self._options}
        if self._signs:
            options["allow_redirects"] = False  # which would be another request, under the signature of this one
        if watch is not None:
            watch.start()
        for is_last in (False, True):
            try:
                async with session.request(
                    method,
                    yarl.URL(url, encoded=True),
                    data=_payload(body),
                    headers=headers,
                    timeout=_timeout(timeout),
                    fingerprint=self.ssl_assert_fingerprint,
                    **options,
                ) as response:
                    if watch is not None:
                        watch.note("wait")
                    text = await response.text()
                    if watch is not None:
                        watch.note("read")
                    return response, text
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                # The server closed it when it had been idle, in the moment in which this request was sent.
                if is_last or not (
                    self._signs and _on_kept_alive.get() and is_safe(method, yarl.URL(url, encoded=True).raw_path)
                ):
                    raise
        raise AssertionError("the last one returns or raises")

    async def _credentials(self, session: Any, closed: asyncio.Future[None]) -> Snapshot:
        with cleared_frames:
            snapshot = self._source.ready() or await self._source.fetch(closed)
        if snapshot is None:
            self._refuse_if_closed(session)
            raise AssertionError("it was closed")
        return snapshot

    def _refuse_if_closed(self, session: Any, error: Exception | None = None) -> None:
        if self.session is not session:
            raise TransportError("N/A", "the connection was closed before the request was answered", error) from error

    async def _wire_body(
        self, method: str, url: str, given: Any, headers: dict[str, Any], task: Any, watch: timing.Watch | None
    ) -> tuple[Any, compression.Compressor | None, str | None]:
        """The body as it is sent, what compressed it (then `headers` say so), and its hash if that is known."""
        if not self._signs and not (self.http_compress and given):
            compression.forget(task)
            return given, None, None
        body = core.body_buffer(given)
        compressor = self._compressor_for(method, url, body, headers)
        prepared = compression.take(given, compressor, task)
        if prepared is not None:
            return prepared.wire, compressor, prepared.payload_hash

        def compress_and_hash(*, with_hash: bool) -> tuple[Any, str | None]:
            wire = frozen(body) if compressor is None else self._gzip_compress(body)
            return wire, core.payload_hash(wire) if with_hash else None

        size = 0 if body is None else size_of(body)
        needs_hash = self._signs_hashes(self.signer) and headers.keys().isdisjoint(_WITH_WHICH_NO_BODY_IS_HASHED)
        is_large = (
            size >= _COMPRESS_IN_THREAD_MIN_BYTES if compressor else needs_hash and size >= HASH_IN_THREAD_MIN_BYTES
        )
        if watch is None:
            # If it is not large, the signer hashes it.
            make = partial(compress_and_hash, with_hash=needs_hash and is_large)
            wire, payload_hash = await in_worker(make) if is_large else make()
            return wire, compressor, payload_hash

        watch.start()
        make = partial(compress_and_hash, with_hash=False)
        wire, payload_hash = await in_worker(make) if is_large else make()
        if compressor is not None:
            watch.end("gzip")
        if needs_hash and is_large:
            watch.start()
            payload_hash = await in_worker(partial(core.payload_hash, wire))
            watch.end("hash")
        return wire, compressor, payload_hash

    def _keep(
        self, given: Any, compressor: compression.Compressor | None, wire: Any, payload_hash: str | None, task: Any
    ) -> None:
        compression.keep(given, compressor, wire, payload_hash if self._signs_hashes(self.signer) else None, task)


# Whether the request of this context had a connection that another one had before.
_on_kept_alive: ContextVar[bool] = ContextVar("_on_kept_alive", default=False)


def _note_reuse(connector: Any) -> None:
    """Have a connector say which requests get a connection that was kept alive. It does so in their own tasks."""
    connect, has_served = connector.connect, WeakSet[Any]()

    async def noting(*args: Any, **kwargs: Any) -> Any:
        _on_kept_alive.set(False)
        connection = await connect(*args, **kwargs)
        protocol = connection.protocol
        _on_kept_alive.set(protocol in has_served)
        has_served.add(protocol)
        return connection

    connector.connect = noting


def _forget_request(error: BaseException) -> None:
    """Take the headers that were sent out of what aiohttp raises of an answer, for its `repr` shows them."""
    if isinstance(error, aiohttp.ClientResponseError):
        error.request_info = error.request_info._replace(headers=_NO_HEADERS)
        error.args = (error.request_info, *error.args[1:])


def _timeout(total_s: float | None) -> aiohttp.ClientTimeout:
    """A timeout whose exception tells whether a connection was made: that for connecting is a little shorter."""
    if not total_s:
        return aiohttp.ClientTimeout(total=None)
    # aiohttp would round those over its threshold, so that both ended together.
    return aiohttp.ClientTimeout(total=total_s, connect=total_s * _CONNECT_SHARE, ceil_threshold=sys.maxsize)


class _LargePayload(aiohttp.payload.BytesPayload):
    """A body that is sent as it is, without aiohttp's advice to make a file of it, which it would read in threads."""

    def __init__(self, body: bytes | memoryview) -> None:
        super(aiohttp.payload.BytesPayload, self).__init__(body, content_type="application/octet-stream")
        self._size = size_of(body)


def _payload(body: Any) -> Any:
    is_large = isinstance(body, (bytes, memoryview)) and size_of(body) > aiohttp.payload.TOO_LARGE_BYTES_BODY
    return _LargePayload(body) if is_large else body
