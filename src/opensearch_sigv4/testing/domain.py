"""LocalDomain: an OpenSearch domain on loopback that lets through what is signed as AWS wants it, and nothing else.

A thread with its own event loop serves HTTP. Each request is judged from the bytes received (`verify`), recorded,
and then refused as AWS would refuse it or forwarded unchanged to a node, in `LocalDomain._answer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import aiohttp
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict
from yarl import URL

from .faults import IDS_REFUSED, PIECES, Choose, Fault, divide, names_a_document
from .verify import VERIFIED, Credentials, Verdict, origin_form, verify

# The key pair of AWS's SigV4 test suite.
EXAMPLE_CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
_NO_FAULT = Fault()
CLIENT_MAX_SIZE = 128 * 1024 * 1024
_MAX_LINE_SIZE = 64 * 1024
_START_TIMEOUT_S = 60
_SHUTDOWN_TIMEOUT_S = 1
_CLOSE_TIMEOUT_S = 10
_ACCEPT_TURNS = 10  # of the loop; a connection that asyncio has accepted is set up in four

# RFC 9110, 7.6.1, and what the client of the next hop writes itself.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade content-length expect".split()
)
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # SO_LINGER, no time
_SIGNATURE = re.compile(rb"Signature=[0-9a-fA-F]*")


class AnyCredentials(Protocol):
    """Anything with these three, such as botocore's credentials."""

    @property
    def access_key(self) -> Any: ...
    @property
    def secret_key(self) -> Any: ...
    @property
    def token(self) -> Any: ...


@dataclass(frozen=True, repr=False)
class ReceivedRequest:
    """One request as it came in. `repr` shows neither its signature nor its token, and of the body the size.

    Args:
        method: as sent.
        target: as sent.
        headers: names and values as sent, in order.
        body: the bytes on the wire, still compressed if they came so.
        verdict: `"verified"`, or the error code of the refusal.
        reason: why it was refused, session token removed; also where the answer tells nothing (`aoss`).

    Thread-safety: immutable.
    """

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    verdict: str
    reason: str

    def __repr__(self) -> str:
        headers = tuple((name, _redacted(name, value)) for name, value in self.headers)
        return (
            f"ReceivedRequest(method={self.method!r}, target={self.target!r}, headers={headers!r}, "
            f"body=<{len(self.body)} bytes>, verdict={self.verdict!r}, reason={self.reason!r})"
        )


Faults = Callable[[ReceivedRequest], Fault | None]


def _redacted(name: bytes, value: bytes) -> bytes:
    match name.lower():
        case b"x-amz-security-token":
            return b"***"
        case b"authorization":
            signed = value.startswith(b"AWS4-HMAC-SHA256 ")
            return _SIGNATURE.sub(b"Signature=***", value) if signed else b"***"
    return value


class LocalDomain:
    """A domain (`service="es"`) or Serverless collection (`"aoss"`) on loopback that verifies every signature.

    It judges with signers that are not this library's, answers a refusal as AWS does, and forwards the rest to a
    node. The first key it accepts is `credentials`, AWS's published example unless given.

    Args:
        service: `"es"` or `"aoss"`.
        region: the region that a scope must name.
        https: serve TLS with a certificate of an own CA (`ca_certs`, `ssl_context()`).
        host: a loopback address: 127.0.0.0/8, `"::1"` or `"localhost"`.
        port: 0 for a free one.
        upstream: base URL (scheme, host, port) of the node to forward to; None starts `osmem-server`, empty and
            without its Japanese analysis.
        credentials: any object with `access_key`, `secret_key` and `token`, read once.
        keep: how many requests `requests` remembers, with their bodies.
        clock: the domain's time in epoch seconds.
        allow_unsigned_payload: accept `UNSIGNED-PAYLOAD`.
        client_max_size: the largest body; beyond it the answer is 413.
        faults: what goes wrong, see the property.

    Raises:
        ValueError: a host that is not loopback, an upstream that is not a base URL, or another service.
        ImportError: from `start`, where the extra `testing` or a wheel of osmem-server is missing.
        OSError: from `start`, for example because the port is taken.

    Thread-safety: every method and property may be used from any thread; `start` and `close` from one at a time.

    >>> import urllib.error, urllib.request
    >>> with LocalDomain() as domain:
    ...     try:
    ...         urllib.request.urlopen(domain.url)
    ...     except urllib.error.HTTPError as error:
    ...         print(error.code, error.headers["x-amzn-ErrorType"], domain.refused)
    ...         error.close()
    403 MissingAuthenticationTokenException 1
    """

    def __init__(
        self,
        *,
        service: str = "es",
        region: str = "us-east-1",
        https: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        upstream: str | None = None,
        credentials: AnyCredentials | None = None,
        keep: int = 100,
        clock: Callable[[], float] = time.time,
        allow_unsigned_payload: bool = False,
        client_max_size: int = CLIENT_MAX_SIZE,
        faults: Faults | None = None,
    ) -> None:
        if service not in ("es", "aoss"):
            raise ValueError(f"service must be 'es' or 'aoss', not {service!r}")
        self._address = _loopback(host)
        self._host = f"[{host}]" if ":" in host else host
        self._upstream = None if upstream is None else _base_url(upstream)
        self._service, self._region, self._https, self._port = service, region, https, port
        self._clock, self._allow_unsigned_payload = clock, allow_unsigned_payload
        self._client_max_size = client_max_size
        self.faults = faults
        self._keys: dict[str, Credentials] = {}
        self._lock = threading.Lock()
        self._requests: deque[ReceivedRequest] = deque(maxlen=keep)
        self._verified = self._refused = 0
        given = EXAMPLE_CREDENTIALS if credentials is None else credentials
        self._credentials = self.add_credentials(given.access_key, given.secret_key, given.token)
        self._url: str | None = None
        self._running: _Running | None = None

    def start(self) -> LocalDomain:
        """Start serving and return self.

        Raises:
            RuntimeError: it is running already.
        """
        if self._running is not None:
            raise RuntimeError("the LocalDomain is running already")
        running = _Running()
        try:
            node = self._upstream or running.start_node()
            tls = running.make_certificate(self._address) if self._https else None
            port = running.serve(
                self._answer, self._unreadable, self._address, self._port, tls, node, self._client_max_size
            )
        except BaseException:
            running.close()
            raise
        self._running = running
        self._url = f"{'https' if self._https else 'http'}://{self._host}:{port}"
        return self

    def close(self) -> None:
        """Stop serving, end the node if it was started here, and remove the certificate; again is a no-op."""
        running, self._running = self._running, None
        if running is not None:
            running.close()

    def __enter__(self) -> LocalDomain:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "not running" if self._running is None else self._url
        return f"<LocalDomain {self._service} {self._region} {state}>"

    @property
    def url(self) -> str:
        """The base URL, for example `http://127.0.0.1:PORT`; that of the last run after `close`.

        Raises:
            RuntimeError: the domain was never started.
        """
        if self._url is None:
            raise RuntimeError("the LocalDomain was not started")
        return self._url

    @property
    def region(self) -> str:
        """The region that a scope must name."""
        return self._region

    @property
    def service(self) -> str:
        """`"es"` or `"aoss"`."""
        return self._service

    @property
    def credentials(self) -> Credentials:
        """The first credentials accepted."""
        return self._credentials

    @property
    def ca_certs(self) -> str | None:
        """Path of the CA's PEM while an https domain runs, else None."""
        return None if self._running is None else self._running.ca_certs

    def ssl_context(self) -> ssl.SSLContext:
        """A client's SSLContext that trusts the domain.

        Raises:
            RuntimeError: it is not running with https.
        """
        if self.ca_certs is None:
            raise RuntimeError("the LocalDomain is not running with https=True")
        return ssl.create_default_context(cafile=self.ca_certs)

    def add_credentials(
        self, access_key: str, secret_key: str, token: str | None = None, expires_at: float | None = None
    ) -> Credentials:
        """Accept further credentials, in place of those with the same access key.

        Args:
            access_key: the access key.
            secret_key: the secret key.
            token: the session token that must come with it; None if none may.
            expires_at: epoch seconds of the domain's clock from which they are refused as expired.
        """
        credentials = Credentials(access_key, secret_key, token, expires_at)
        self._keys[access_key] = credentials
        return credentials

    @property
    def verified(self) -> int:
        """How many requests passed."""
        with self._lock:
            return self._verified

    @property
    def refused(self) -> int:
        """How many requests did not pass."""
        with self._lock:
            return self._refused

    @property
    def requests(self) -> tuple[ReceivedRequest, ...]:
        """The last requests as received, oldest first."""
        with self._lock:
            return tuple(self._requests)

    def reset(self) -> None:
        """Set the counters to zero and forget the requests."""
        with self._lock:
            self._requests.clear()
            self._verified = self._refused = 0

    @property
    def faults(self) -> Faults | None:
        """What goes wrong: a callable asked about each request, which returns a `Fault` or None; or None.

        It may be set at any time, and holds for the requests that are read from then on. A request is judged and
        recorded before it is asked about. What was refused (`request.verdict`) stays refused, unless by a fault that
        changes how it is judged: by another clock, region or service, whose verdict then counts and is recorded. What
        was verified counts so, whatever becomes of it.

        The callable runs in the domain's thread, for one request at a time, and everything else waits for it: it needs
        no lock of its own, and must not block. Requests of one connection come in their order, those of several in
        whichever the network brings them. So a seeded `random.Random` gives the same faults in every run of a client
        with one connection; for several, decide by what is in the request, for example by a hash of seed and body.
        What it raises is answered with 500 and logged by `aiohttp.server`.

        >>> import urllib.error, urllib.request
        >>> from botocore.auth import SigV4Auth
        >>> from botocore.awsrequest import AWSRequest
        >>> from opensearch_sigv4.testing import Fault
        >>> with LocalDomain(faults=lambda request: Fault.answer(429)) as domain:
        ...     signed = AWSRequest("GET", domain.url + "/_cat/indices")
        ...     SigV4Auth(domain.credentials, domain.service, domain.region).add_auth(signed)
        ...     try:
        ...         urllib.request.urlopen(urllib.request.Request(signed.url, headers=dict(signed.headers)))
        ...     except urllib.error.HTTPError as error:
        ...         print(error.code, error.read(), domain.verified)
        429 b'429 Too Many Requests /_cat/indices' 1
        """
        return self._faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        if faults is not None and not callable(faults):
            raise TypeError(
                f"faults must be callable or None, not {type(faults).__name__}; for one fault always pass "
                "lambda request: fault, for faults one after the other in_turn(...)"
            )
        self._faults = faults

    def _record(self, request: ReceivedRequest, *, in_place_of: ReceivedRequest | None = None) -> None:
        with self._lock:
            if in_place_of is None:
                self._requests.append(request)
            else:
                self._count(in_place_of, -1)
                for position, known in enumerate(self._requests):
                    if known is in_place_of:
                        self._requests[position] = request
            self._count(request, 1)

    def _count(self, request: ReceivedRequest, by: int) -> None:
        if request.verdict == VERIFIED:
            self._verified += by
        else:
            self._refused += by

    async def _answer(self, request: web.BaseRequest, node: _Node) -> web.StreamResponse:
        """Everything that happens to a request happens here."""
        target = request.raw_path.encode("utf-8", "surrogateescape")
        headers = request.raw_headers
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            message = _too_large(self._client_max_size)
            self._record(
                ReceivedRequest(request.method, target, headers, b"", "RequestEntityTooLargeException", message)
            )
            return self._dated(web.json_response({"Message": message}, status=413))
        assert isinstance(request.protocol, _Handler)
        if request.protocol.is_stale:
            return _reset(request)
        received, verdict = self._judge(request.method, target, headers, body)
        self._record(received)
        fault = None if self._faults is None else self._faults(received)
        if fault is not None and not isinstance(fault, Fault):
            raise TypeError(f"faults must return a Fault or None, not {type(fault).__name__}")
        if fault is not None and fault.judges:
            judged = received
            received, verdict = self._judge(request.method, target, headers, body, fault)
            self._record(received, in_place_of=judged)
        clock_offset_s = 0.0 if fault is None else fault.clock_offset_s
        if verdict.code != VERIFIED:
            return self._dated(self._refusal(verdict), clock_offset_s)
        if fault is None:
            return self._dated(await self._execute(received, node))
        return await self._fail(fault, request, received, node)

    def _judge(
        self,
        method: str,
        target: bytes,
        headers: tuple[tuple[bytes, bytes], ...],
        body: bytes,
        terms: Fault = _NO_FAULT,
    ) -> tuple[ReceivedRequest, Verdict]:
        if terms.refusal is not None:
            code, message = terms.refusal
            verdict = Verdict(code, message, message)
        else:
            verdict = verify(
                method,
                target,
                headers,
                body,
                region=terms.region or self._region,
                service=terms.service or self._service,
                find_credentials=self._keys.get,
                now=self._clock() + terms.clock_offset_s,
                allow_unsigned_payload=self._allow_unsigned_payload,
            )
        return ReceivedRequest(method, target, headers, body, verdict.code, verdict.reason), verdict

    async def _execute(self, received: ReceivedRequest, node: _Node) -> web.Response:
        target = origin_form(received.target)
        if self._service == "aoss" and (response := _serverless_answer(received.method, target)) is not None:
            return response
        return await node.forward(received.method, target, received.headers, received.body)

    async def _fail(
        self, fault: Fault, request: web.BaseRequest, received: ReceivedRequest, node: _Node
    ) -> web.StreamResponse:
        """Answer the request as `fault` says, in its order: execute, wait, answer."""
        response = web.Response()
        if fault.executed:
            if fault.sent < 1:  # of JSON, not of gzip
                received = replace(received, headers=_without(received.headers, b"accept-encoding"))
            if fault.limit_bytes is not None and len(received.body) > fault.limit_bytes:
                response = self._faulty_answer(413, _too_large(fault.limit_bytes), received.target)
            elif fault.refuses_ids and names_a_document(received.method, origin_form(received.target)):
                response = web.json_response(_error("illegal_argument_exception", IDS_REFUSED), status=400)
            elif fault.choose is None:
                response = await self._execute(received, node)
            else:
                response = await self._execute_some(fault.choose, received, node)
        if fault.status is not None:
            if fault.content is None or self._service == "aoss":
                response = self._faulty_answer(fault.status, fault.message, received.target)
            else:
                response = web.Response(text=fault.content, status=fault.status, content_type="application/json")
            response.headers.update(fault.headers)
        self._dated(response, fault.clock_offset_s)
        if not fault.is_kept_alive:
            assert isinstance(request.protocol, _Handler)
            request.protocol.is_stale = True

        is_there = await _pause(request, fault.delay_s)
        if fault.ending != "answer" or not is_there:
            return _reset(request)
        body = response.body if isinstance(response.body, bytes) else b""
        sent = body[: int(len(body) * fault.sent)]
        if fault.is_length_right and not fault.over_s:
            if fault.sent < 1:
                response.body = sent
            return response

        pieces = web.StreamResponse(status=response.status, reason=response.reason, headers=response.headers)
        pieces.headers["Content-Length"] = str(len(sent if fault.is_length_right else body))
        await pieces.prepare(request)
        size = -(-len(sent) // PIECES) or 1
        for start in range(0, len(sent), size):
            if not await _pause(request, fault.over_s / PIECES):
                return _reset(request)
            with contextlib.suppress(ConnectionError):  # the client went away in this very moment
                await pieces.write(sent[start : start + size])
        if not fault.is_length_right and request.transport is not None:
            request.transport.close()
        return pieces

    async def _execute_some(self, choose: Choose, received: ReceivedRequest, node: _Node) -> web.Response:
        """Forward what `choose` leaves of a `_bulk` request, and give an answer that has the others too."""
        target = origin_form(received.target)
        divided = divide(received.method, target, received.headers, received.body, choose)
        if divided is None:
            return await self._execute(received, node)
        content = None
        if divided.body:
            rest = replace(received, target=divided.target, headers=divided.headers, body=divided.body)
            response = await self._execute(rest, node)
            if response.status != 200 or not isinstance(response.body, bytes):
                return response
            content = response.body
        merged = divided.merged(content)
        if merged is None:
            return web.json_response({"message": "the node's answer has not one item for each action"}, status=502)
        return web.Response(body=merged, headers={"Content-Type": "application/json; charset=UTF-8"})

    def _faulty_answer(self, status: int, message: str | None, target: bytes) -> web.Response:
        """An answer with this status as the service gives it. AWS documents these nowhere: they are as seen in
        searchkick#1434, fluent-plugin-opensearch#30, OpenSearch#1583 and Synapse#5689."""
        if message is None and status == 413:
            message = _too_large(self._client_max_size)
        if self._service == "aoss":
            return _serverless_error(status, str(uuid.uuid4()), message)
        if status == 413:
            return web.json_response({"Message": message}, status=status)
        reason = _phrase(status)
        if status in _GATEWAY_TEXTS:
            text = f"<html><body><h1>{status} {reason}</h1>\n{message or _GATEWAY_TEXTS[status]}\n</body></html>\n"
            return web.Response(text=text, status=status, content_type="text/html", charset=None)
        path = origin_form(target).partition(b"?")[0].decode("utf-8", "replace")
        reason = message or (_THROTTLED if status == 403 else reason)
        return web.Response(text=f"{status} {reason} {path}", status=status, content_type="text/plain")

    def _unreadable(self, status: int, message: str) -> web.Response:
        """The answer to what the HTTP parser did not take."""
        self._record(ReceivedRequest("", b"", (), b"", "BadRequestException", message))
        response = self._dated(self._refusal(Verdict("BadRequestException", message, message, status)))
        response.force_close()
        return response

    def _refusal(self, verdict: Verdict) -> web.Response:
        request_id = str(uuid.uuid4())
        if self._service == "aoss":
            return _serverless_error(verdict.status, request_id)
        headers = {"x-amzn-RequestId": request_id, "x-amzn-ErrorType": verdict.code}
        return web.json_response({"message": verdict.message}, status=verdict.status, headers=headers)

    def _dated(self, response: web.Response, clock_offset_s: float = 0.0) -> web.Response:
        response.headers["Date"] = formatdate(self._clock() + clock_offset_s, usegmt=True)
        return response


def _loopback(host: str) -> str:
    """The address to bind for `host`; `localhost` on both families would be two ports."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback or (address.version == 6 and host != "::1"):
        raise ValueError(f"host must be a loopback address (127.0.0.0/8, ::1 or localhost), not {host!r}")
    return host


def _base_url(upstream: str) -> str:
    try:
        url = URL(upstream)
        good = url.scheme in ("http", "https") and url.host and url.path in ("", "/") and url.port is not None
    except ValueError:
        good = False
    if not good or url.raw_user or url.raw_password or url.raw_query_string or url.raw_fragment:
        raise ValueError("upstream must be a base URL: scheme, host and port, and nothing more")
    return str(url.origin())


def _too_large(limit_bytes: int) -> str:
    return f"Request size exceeded {limit_bytes} bytes"


_THROTTLED = "Request throttled due to too many requests"
_GATEWAY_TEXTS = {  # HAProxy's
    502: "The server returned an invalid or incomplete response.",
    503: "No server is available to handle this request.",
    504: "The server didn't respond in time.",
}


async def _pause(request: web.BaseRequest, duration_s: float) -> bool:
    """Wait, but not beyond the client's leaving or the domain's closing; whether neither has happened."""
    handler = request.protocol
    assert isinstance(handler, _Handler)
    if duration_s > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(handler.ended.wait(), duration_s)
    return not handler.ended.is_set()


def _reset(request: web.BaseRequest) -> web.Response:
    """Reset the connection (RST). What this returns is not sent: there is nothing to send it on."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


def _without(headers: tuple[tuple[bytes, bytes], ...], unwanted: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(pair for pair in headers if pair[0].lower() != unwanted)


def _phrase(status: int) -> str:
    if status == 413:
        return "Request Entity Too Large"  # RFC 9110 and Python 3.13 say otherwise
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _serverless_error(status: int, request_id: str, message: str | None = None) -> web.Response:
    reason = _phrase(status)
    error = {"reason": f"{status} {reason}", "type": reason}
    if status == 402:
        error = {"reason": "maximum OCU capacity reached", "type": "service_quota_exceeded_exception"}
    if message is not None:
        error["reason"] = message
    return web.json_response({"status": status, "request-id": request_id, "error": error}, status=status)


def _error(kind: str, reason: str) -> dict[str, Any]:
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": 400}


_REFRESH_PATH = re.compile(r"(?:/[^/]+)?/_refresh/?")


def _serverless_answer(method: str, target: bytes) -> web.Response | None:
    """What Serverless answers for itself: it has no `/` and no `_refresh`, and refreshes in its own time."""
    path, _, query = target.decode().partition("?")
    if path == "/" or _REFRESH_PATH.fullmatch(path):
        return web.Response(status=404)  # with an empty body: opensearch-py#646
    parameters = {unquote(name): value for name, value in parse_qsl(query, keep_blank_values=True)}
    if method in ("DELETE", "POST", "PUT") and parameters.get("refresh") in ("", "true"):
        return web.json_response(_error("status_exception", "true refresh policy is not supported."), status=400)
    return None


class _Node:
    """The client of the node behind the domain."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )

    async def forward(
        self, method: str, target: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes
    ) -> web.Response:
        """Send the request on without its signature, and give the answer back as it is."""
        forwarded: CIMultiDict[str] = CIMultiDict(
            (name.decode(), value.decode())
            for name, value in _end_to_end(headers)
            if name.lower() not in (b"authorization", b"host") and not name.lower().startswith(b"x-amz-")
        )
        try:
            async with self._session.request(
                method,
                URL(self._base_url + target.decode(), encoded=True),
                headers=forwarded,
                data=io.BytesIO(body) if body else None,  # aiohttp warns of large `bytes`
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            return web.json_response({"message": f"{self._base_url} did not answer: {error}"}, status=502)
        response = web.Response(status=answer.status, reason=answer.reason, body=content or None)
        for raw_name, raw_value in _end_to_end(answer.raw_headers):
            name, value = raw_name.decode("latin-1"), raw_value.decode("utf-8", "replace")
            response.headers.add(name, value)
        if method == "HEAD" and "Content-Length" in answer.headers:
            response.headers["Content-Length"] = answer.headers["Content-Length"]
        return response

    async def close(self) -> None:
        await self._session.close()


def _end_to_end(headers: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named]


class _Server(web.Server):
    """aiohttp's low-level server: raw targets, raw bodies, and our answer to what its parser does not take."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Any],
        unreadable: Callable[[int, str], web.Response],
        client_max_size: int,
    ) -> None:
        def request_factory(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=client_max_size)

        loop = asyncio.get_running_loop()
        super().__init__(handler, request_factory=request_factory)
        self.unreadable = unreadable
        self.closing = False

    def end(self) -> None:
        """Let no fault hold a request any longer."""
        self.closing = True
        for handler in self.connections:
            if isinstance(handler, _Handler):
                handler.ended.set()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self.closing:  # a TLS handshake that ended after `shutdown`, which nothing else would close
            transport.abort()

    def __call__(self) -> RequestHandler:
        return _Handler(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,
            max_line_size=_MAX_LINE_SIZE,
            max_field_size=_MAX_LINE_SIZE,
        )


class _Handler(RequestHandler):
    def __init__(self, manager: _Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.ended = asyncio.Event()  # the client has gone, or the domain closes
        self.is_stale = False  # it answers no further request
        if manager.closing:
            self.ended.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended.set()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status == 400 and isinstance(self._manager, _Server):
            # The further lines of the message quote the request, tokens and all.
            return self._manager.unreadable(status, (message or "The request is not HTTP").strip().splitlines()[0])
        return super().handle_error(request, status, exc, message)


async def _stop_accepting(listener: asyncio.Server) -> None:
    """Close the listener. asyncio loses a connection that it accepted and has not set up by then: wait for those."""
    with contextlib.suppress(NotImplementedError):  # Windows' loop has no readers
        for listening in listener.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)
    listener.close()


class _Running:
    """What one run of a domain holds: the node's process, the certificate's directory, the thread."""

    def __init__(self) -> None:
        self.ca_certs: str | None = None
        self._process: Any = None
        self._directory: str | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._bound_port = 0

    def start_node(self) -> str:
        try:
            from osmem_server import OsmemError, OsmemServer
        except ModuleNotFoundError:
            raise ImportError(
                "LocalDomain needs osmem-server: pip install 'opensearch-sigv4[testing]', or pass upstream= where it "
                "has no wheel",
                name="osmem_server",
            ) from None
        try:
            # Its Japanese dictionary costs the first write to each fresh node 0.9 s; without it, 2 ms.
            self._process = OsmemServer.start(japanese=False)
        except (OsmemError, OSError) as error:
            raise RuntimeError(f"osmem-server does not start here, pass upstream= ({error})") from None
        return str(self._process.url)

    def make_certificate(self, address: str) -> ssl.SSLContext:
        try:
            import trustme
        except ModuleNotFoundError:
            raise ImportError(
                "LocalDomain(https=True) needs trustme: pip install 'opensearch-sigv4[testing]'", name="trustme"
            ) from None
        ca = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(address, *({"localhost", "127.0.0.1", "::1"} - {address})).configure_cert(context)
        self._directory = tempfile.mkdtemp(prefix="local-domain-")
        pem = Path(self._directory, "ca.pem")
        ca.cert_pem.write_to_path(pem)
        self.ca_certs = str(pem)
        return context

    def serve(
        self,
        answer: Callable[[web.BaseRequest, _Node], Any],
        unreadable: Callable[[int, str], web.Response],
        address: str,
        port: int,
        tls: ssl.SSLContext | None,
        node_url: str,
        client_max_size: int,
    ) -> int:
        ready = threading.Event()

        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            node = _Node(node_url)
            try:
                server = _Server(lambda request: answer(request, node), unreadable, client_max_size)
                listener = await self._loop.create_server(server, address, port, ssl=tls)
                self._bound_port = listener.sockets[0].getsockname()[1]
                ready.set()
                await self._stop.wait()
                await _stop_accepting(listener)
                server.end()
                server.pre_shutdown()  # ends idle connections, for which `shutdown` would wait
                await server.shutdown(_SHUTDOWN_TIMEOUT_S)
            finally:
                await node.close()

        def run() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                self._failure = error
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="LocalDomain", daemon=True)
        self._thread.start()
        if not ready.wait(_START_TIMEOUT_S):
            raise TimeoutError("the LocalDomain did not start")
        if self._failure is not None:
            raise self._failure
        return self._bound_port

    def close(self) -> None:
        if self._thread is not None and self._thread.is_alive() and self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop ended by itself meanwhile: nothing could be served
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)
        if self._process is not None:
            # OsmemServer.close polls, leaves a pipe open, and makes the process write to stderr.
            process = self._process.process
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
