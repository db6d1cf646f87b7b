"""A connection for urllib3's pools that costs less: one send, one receive, and one plain shape of answer read here.

`HTTPConnection` and `HTTPSConnection` are urllib3's own, with `request` and `getresponse` cut short for what nearly
every request and answer looks like. Whatever looks different goes to urllib3 and http.client: a request before any of
it was sent, an answer with the very bytes (or the error) that were received, so that what comes out is theirs.

An answer is plain when its head arrives whole with the first receive, every line of it printable ASCII ended by CRLF;
HTTP/1.1; a status from 200 on that is neither 204 nor 304; exactly one Content-Length, of digits; no
Transfer-Encoding; no `close`. The receives that read it have the sizes of those of the buffered reader that http.client
uses, so that bytes after the answer are lost, or left to be found by the pool, exactly where they are with urllib3.

What is known of urllib3 and http.client beyond their documentation is checked once, by `_is_known`; programs that
patch them (tracers, recorders) are looked for on every request. test_transport.py holds all of it equal to urllib3.
"""

from __future__ import annotations

import http.client
import inspect
import io
import re
import socket
import sys
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import version
from operator import attrgetter, is_not
from types import FunctionType
from typing import Any, ClassVar, Final

import urllib3.connection
import urllib3.connectionpool
import urllib3.response
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection as _StockHTTPConnection
from urllib3.connection import HTTPSConnection as _StockHTTPSConnection
from urllib3.response import HTTPResponse as _StockHTTPResponse
from urllib3.util import SKIP_HEADER

from .core._secrets import RequestHeaders

# What `sock.makefile("rb")` reads at a time.
_BUFFER_SIZE: Final = io.DEFAULT_BUFFER_SIZE
# Up to here a copy of the body, to send it with the head, costs less than a second `send`.
_JOINED_BODY_MAX_BYTES: Final = 64 * 1024
# A larger body that comes in many pieces costs less in http.client, which has one buffer for all of it.
_PLAIN_BODY_MAX_BYTES: Final = 256 * 1024
# Well under the 100 at which http.client gives up.
_PLAIN_MAX_HEADERS: Final = 64

_IDLE: Final = "Idle"
_REQUEST_SENT: Final = "Request-sent"

_CONTENT_LENGTH_0_IF_NO_BODY: Final = {
    "POST": True,
    "PUT": True,
    "PATCH": True,
    "GET": False,
    "HEAD": False,
    "DELETE": False,
    "OPTIONS": False,
}


# The newest urllib3 whose connections and responses these were held equal to. What a newer one refuses, or sends, would
# be passed by, so it keeps its own connections until this number is raised; a test fails where the newest is not used.
_NEWEST_URLLIB3: Final = (2, 8)

# The sockets of the standard library itself. What others put in their place is left to the code they were written for.
_SOCKETS: Final = frozenset(
    kind
    for kind in (socket.socket, getattr(sys.modules.get("ssl"), "SSLSocket", None))
    if kind is not None and kind.__module__ in ("socket", "ssl")
)


# What a connection raises that its server has ended.
_LOST: Final[tuple[type[OSError], ...]] = (
    ConnectionError,
    *(getattr(sys.modules.get("ssl"), name, ConnectionError) for name in ("SSLEOFError", "SSLZeroReturnError")),
)


# --- requests ----------------------------------------------------------------------------------------------


class _HeaderNames(dict[Any, str]):
    """Header names that are HTTP tokens, in lower case; any other name gives the empty string."""

    # A server may send as many names as it likes: those in use find their way back in.
    _MAX_SIZE: Final = 1024
    _MAX_KEPT_CHARACTERS: Final = 64
    _TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

    def __missing__(self, name: Any) -> str:
        if type(name) is not str or self._TOKEN.fullmatch(name) is None:
            return ""
        lower = name.lower()
        if len(self) >= self._MAX_SIZE:
            self.clear()
        if len(lower) <= self._MAX_KEPT_CHARACTERS:
            self[name] = lower
        return lower


# Dicts whose items are as they are seen.
_HEADER_KINDS: Final[frozenset[type]] = frozenset((dict, RequestHeaders))

_lower_to_send: Final = _HeaderNames().__getitem__


def _body_buffer(body: Any) -> bytes | bytearray | memoryview | None:
    """The bytes of a body that is a str, bytes, a bytearray or a view of bytes; None for any other."""
    kind = type(body)
    if kind is bytes or kind is bytearray:
        return body  # type: ignore[no-any-return]
    if kind is memoryview and body.format == "B" and body.ndim == 1 and body.c_contiguous:
        return body  # type: ignore[no-any-return]
    if kind is str:
        try:
            return body.encode()  # type: ignore[no-any-return]
        except UnicodeEncodeError:
            pass
    return None


# --- answers -----------------------------------------------------------------------------------------------


class _Replay(io.RawIOBase):
    """A socket's file that first gives what was received already: bytes, where empty ones are an end, or an error."""

    def __init__(self, received: list[bytes | OSError], file: Any) -> None:
        self._received = received[::-1]
        self._file = file

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()  # type: ignore[no-any-return]

    def readinto(self, buffer: Any) -> int | None:
        if not self._received:
            return self._file.readinto(buffer)  # type: ignore[no-any-return]
        data = self._received.pop()
        if isinstance(data, OSError):
            try:
                raise data
            finally:
                del data  # else the error would hold the frame that holds it
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        if size < len(data):
            self._received.append(data[size:])
        return size

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            super().close()


class _ReplayedSocket:
    def __init__(self, received: list[bytes | OSError], sock: socket.socket) -> None:
        self._received = received
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Replay(self._received, self._sock.makefile(mode, buffering=0)), _BUFFER_SIZE)  # type: ignore[call-overload]


def _replayed(response_class: Any, received: list[bytes | OSError], sock: Any, *args: Any, **kwargs: Any) -> Any:
    return response_class(_ReplayedSocket(received, sock), *args, **kwargs)


class _PlainResponse(http.client.HTTPResponse):
    """http.client's part of an answer that is here whole. Its headers are parsed when somebody looks at them."""

    _message: http.client.HTTPMessage | None

    def __init__(self, head: bytes, method: str | None, status: int, reason: str, body: bytes | None) -> None:
        # `body` is what is still to be read of it; None when it was read, as then http.client has no file any more.
        self._head = head
        self._message = None
        self._method = method
        self.fp = None if body is None else io.BytesIO(body)  # type: ignore[assignment]
        self.length = 0 if body is None else len(body)
        self.code = self.status = status
        self.reason = reason
        self.version = 11
        self.debuglevel = 0
        self.chunked = self.will_close = False
        self.chunk_left = "UNKNOWN"  # type: ignore[assignment]

    @property
    def headers(self) -> http.client.HTTPMessage:
        if self._message is None:
            lines = io.BytesIO(self._head)
            lines.readline()  # the status line
            self._message = http.client.parse_headers(lines)
        return self._message

    @headers.setter
    def headers(self, headers: http.client.HTTPMessage) -> None:
        self._message = headers

    msg = headers


# What the constructor of urllib3's response gives its object in the versions that we know, ...
_RESPONSE_ATTRIBUTES: Final = frozenset(
    """
    headers status version version_string reason decode_content _has_decoded_content _request_url _retries chunked
    _decoder _decoder_initialized enforce_content_length auto_close _body _uncached_read_occurred _fp
    _original_response _fp_bytes_read msg _pool _connection _sock_shutdown chunk_left length_remaining _decoded_buffer
    """.split()  # noqa: SIM905
)
# ... and what of it belongs to one answer.
_OF_ONE_RESPONSE: Final = frozenset(
    """
    headers status version_string reason decode_content _request_url enforce_content_length _body _fp
    _original_response _fp_bytes_read _sock_shutdown _decoded_buffer
    """.split()  # noqa: SIM905
)


class _CannedSocket:
    """Just enough of a socket for urllib3 to read one answer from memory."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)

    def settimeout(self, _timeout: float | None) -> None: ...

    def shutdown(self, _how: int) -> None: ...


def _stock_attributes(answer: bytes) -> dict[str, Any]:
    """The attributes of what urllib3 makes of an answer."""
    connection = _StockHTTPConnection("localhost")
    connection.debuglevel = 0
    connection.sock = _CannedSocket(answer)
    connection._response_options = urllib3.connection._ResponseOptions("GET", "/", True, True, True)
    connection._HTTPConnection__state = _REQUEST_SENT  # type: ignore[attr-defined]
    return vars(connection.getresponse())


@cache
def _response_attributes() -> dict[str, Any] | None:
    """What all plain responses have in common; None if this urllib3 keeps something that we do not know."""
    empty = _stock_attributes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    filled = _stock_attributes(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nA: b\r\n\r\n{}")
    common = {name: value for name, value in filled.items() if name not in _OF_ONE_RESPONSE}
    if filled.keys() <= _RESPONSE_ATTRIBUTES and all(empty[name] == value for name, value in common.items()):
        return common
    return None


_TAKES_SHUTDOWN: Final = "sock_shutdown" in inspect.signature(_StockHTTPResponse).parameters


_lower_received: Final = _HeaderNames().__getitem__
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_max_headers: Final = partial(getattr, http.client, "_MAXHEADERS", 100)


def _parse_plain_head(received: bytes) -> tuple[int, str, dict[str, list[str]], int, int] | None:
    """Status, reason, headers as HTTPHeaderDict keeps them, where the body begins, and its length; or None."""
    end = received.find(b"\r\n\r\n")
    if end < 0 or not received.startswith(b"HTTP/1.1 "):
        return None
    head = received[:end]
    text = head.decode("latin-1")
    status_line, *lines = text.split("\r\n")
    # Nothing but printable ASCII and the CRLF that it was split at; no blank at the start of a line or value.
    if (
        len(lines) > min(_PLAIN_MAX_HEADERS, _max_headers())
        or head.translate(None, _PRINTABLE) != b"\r\n" * len(lines)
        or ":  " in text
    ):
        return None

    digits = status_line[9:12]
    if len(digits) != 3 or not digits.isdigit() or status_line[12:13] not in ("", " "):
        return None
    status = int(digits)
    if status < 200 or status in (204, 304):
        return None

    # Blanks at the end of a value stay: so they do with http.client.
    pairs = [line.split(": ", 1) for line in lines]
    headers = {_lower_received(pair[0]): pair for pair in pairs if len(pair) == 2}
    if len(headers) != len(pairs):
        merged = _merge(pairs)
        if merged is None:
            return None
        headers = merged
    length = headers.get("content-length")
    if length is None or len(length) != 2 or len(length[1]) > 7 or not length[1].isdigit():
        return None
    if "" in headers or "transfer-encoding" in headers:
        return None
    if "connection" in headers and "close" in headers["connection"][1].lower():
        return None
    if "content-type" in headers and headers["content-type"][1][:1] in ("m", "M"):
        return None  # multipart and message are parsed further, and may be warned of
    return status, status_line[13:].strip(" "), headers, end + 4, int(length[1])


def _merge(pairs: list[list[str]]) -> dict[str, list[str]] | None:
    """Headers of which some have the same name; None if a line is no name, colon, blank and value."""
    headers: dict[str, list[str]] = {}
    for pair in pairs:
        if len(pair) != 2:
            return None
        name, value = pair
        lower = _lower_received(name)
        if lower in headers:
            headers[lower].append(value)
        else:
            headers[lower] = [name, value]
    return headers


# --- connections -------------------------------------------------------------------------------------------


# The methods between a pool and the socket that others replace to see, or to change, what goes through them.
_HOOKS: Final = ("request", "putrequest", "putheader", "endheaders", "send", "getresponse")
_hooks: Final = attrgetter(*_HOOKS)
_HTTP_CLIENT_HOOKS: Final = _hooks(http.client.HTTPConnection)
# What reads an answer: where it is replaced, an answer has to go through it.
_ANSWER_HOOKS: Final = ("begin", "read")
_answer_hooks: Final = attrgetter(*_ANSWER_HOOKS)
_HTTP_CLIENT_ANSWER_HOOKS: Final = _answer_hooks(http.client.HTTPResponse)
_PARSE_HEADERS: Final = http.client.parse_headers
_response_hooks: Final = attrgetter("__init__", "read")
_RESPONSE_HOOKS: Final = _response_hooks(_StockHTTPResponse)


def _differ(now: tuple[Any, ...], then: tuple[Any, ...]) -> bool:
    """Whether any is another object: a wrapper may say that it equals what it wraps."""
    return any(map(is_not, now, then))


class _Lean(_StockHTTPConnection):
    _stock: ClassVar[type]
    _stock_hooks: ClassVar[tuple[Any, ...]]

    # http.client's, under the names that it has there.
    _HTTPConnection__state: str
    _HTTPConnection__response: http.client.HTTPResponse | None
    _http_vsn: int
    _http_vsn_str: str
    _buffer: list[bytes]

    def _is_patched(self) -> bool:
        """Whether somebody sits between urllib3 and the socket, and has to be called."""
        return (
            _differ(_hooks(self._stock), self._stock_hooks)
            or _differ(_hooks(http.client.HTTPConnection), _HTTP_CLIENT_HOOKS)
            or _differ(_answer_hooks(http.client.HTTPResponse), _HTTP_CLIENT_ANSWER_HOOKS)
            or http.client.parse_headers is not _PARSE_HEADERS
            or urllib3.response.HTTPResponse is not _StockHTTPResponse
            or _differ(_response_hooks(_StockHTTPResponse), _RESPONSE_HOOKS)
            or not self.__dict__.keys().isdisjoint(_HOOKS)
            or self.debuglevel > 0
        )

    # Whether this connection, as it is open now, has given an answer before.
    _has_answered = False

    def connect(self) -> None:
        self._has_answered = False
        super().connect()

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        chunked: bool = False,
        preload_content: bool = True,
        decode_content: bool = True,
        enforce_content_length: bool = True,
    ) -> None:
        buffer = None if body is None else _body_buffer(body)
        head = None
        if not chunked and (body is None or buffer is not None) and self._can_send():
            head = self._plain_head(method, url, buffer, {} if headers is None else headers)
        if head is None:
            super().request(
                method,
                url,
                body,
                headers,
                chunked=chunked,
                preload_content=preload_content,
                decode_content=decode_content,
                enforce_content_length=enforce_content_length,
            )
            return

        # As urllib3 and http.client do: before anything is sent, for an answer may come though not all could be sent.
        self._response_options = urllib3.connection._ResponseOptions(
            method, url, preload_content, decode_content, enforce_content_length
        )
        self._HTTPConnection__response = None
        self._HTTPConnection__state = _REQUEST_SENT
        self._method = method

        sock = self.sock
        if sock is None:
            self.connect()
            sock = self.sock
        elif sock.gettimeout() != self.timeout:
            sock.settimeout(self.timeout)
        sys.audit("http.client.send", self, head)
        try:
            if not buffer:
                sock.sendall(head)
                return
            sys.audit("http.client.send", self, buffer)
            if len(buffer) <= _JOINED_BODY_MAX_BYTES:
                sock.sendall(b"".join((head, buffer)))
            else:
                sock.sendall(head)
                sock.sendall(buffer)
        except _LOST as error:
            self._mark(error)
            raise

    def _can_send(self) -> bool:
        response = self._HTTPConnection__response
        return (
            self._HTTPConnection__state == _IDLE
            and not self._buffer  # of a request that was refused half-way: http.client sends it with the next
            and (response is None or response.isclosed())
            and (type(self.sock) in _SOCKETS if self.sock is not None else bool(self.auto_open))
            and self._http_vsn == 11
            and self._http_vsn_str == "HTTP/1.1"
            and not self._is_patched()
        )

    def _plain_head(
        self, method: str, url: str, buffer: bytes | bytearray | memoryview | None, headers: Mapping[str, str]
    ) -> bytes | None:
        """The head as urllib3 would send it; None for what it might refuse, or send in another way."""
        if type(headers) not in _HEADER_KINDS or type(url) is not str or type(method) is not str:
            return None
        needs_length = _CONTENT_LENGTH_0_IF_NO_BODY.get(method)
        if needs_length is None or not (url.isascii() and url.isprintable()) or " " in url:
            return None
        if {*map(type, headers), *map(type, headers.values())} - {str}:
            return None
        names = frozenset(map(_lower_to_send, headers))
        if "" in names or "transfer-encoding" in names:
            return None

        lines = [f"{method} {url or '/'} HTTP/1.1"]
        if "host" not in names:
            host = self._host_value(url)
            if host is None:
                return None
            lines.append(f"Host: {host}")
        if "accept-encoding" not in names:
            lines.append("Accept-Encoding: identity")
        if "content-length" not in names:
            if buffer is not None:
                lines.append(f"Content-Length: {len(buffer)}")
            elif needs_length:
                lines.append("Content-Length: 0")
        if "user-agent" not in names:
            lines.append(f"User-Agent: {urllib3.connection._get_default_user_agent()}")
        try:
            lines += map(": ".join, headers.items())
            text = "\r\n".join((*lines, "", ""))
            head = text.encode("latin-1")
        except (TypeError, UnicodeEncodeError):
            return None
        # A CR or LF in a value is refused or, folded, sent by http.client.
        line_ends = len(lines) + 1
        if head.count(b"\r") != line_ends or head.count(b"\n") != line_ends or SKIP_HEADER in text:
            return None
        return head

    def _host_value(self, url: str) -> str | None:
        host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
        if url.startswith("http") or not host.isascii() or ":" in host:
            return None
        return host if port == self.default_port else f"{host}:{port}"

    def getresponse(self) -> _StockHTTPResponse:  # type: ignore[override]
        try:
            response = self._getresponse()
        except _LOST as error:
            self._mark(error)
            raise
        self._has_answered = True
        return response

    def _mark(self, error: OSError) -> None:
        """Let `was_kept_alive` know."""
        if self._has_answered:
            error._was_kept_alive = True  # type: ignore[attr-defined]

    def _getresponse(self) -> _StockHTTPResponse:
        options = self._response_options
        sock = self.sock
        timeout = self.timeout
        if (
            options is None
            or not options.preload_content
            or self._method == "HEAD"
            or timeout == 0  # a socket that never waits: http.client makes something else of it
            or type(sock) not in _SOCKETS
            or self._HTTPConnection__state != _REQUEST_SENT
            or self._HTTPConnection__response is not None
            or self.response_class is not http.client.HTTPResponse
            or self._is_patched()
        ):
            return super().getresponse()
        if sock.gettimeout() != timeout:
            sock.settimeout(timeout)

        # As urllib3 does: whatever is raised from here on, nobody can ask a second time for what is left of the answer.
        self._response_options = None
        received: list[bytes | OSError] = []
        try:
            data = sock.recv(_BUFFER_SIZE)
        except OSError as error:
            received.append(error)
            head = None
        else:
            received.append(data)
            head = _parse_plain_head(data)
        if head is None:
            return self._replay(received, options)
        status, reason, headers, start, length = head
        missing = start + length - len(data)
        if missing > 0:
            if length > _PLAIN_BODY_MAX_BYTES or not self._receive(sock, received, missing):
                return self._replay(received, options)
            data = b"".join(received)  # type: ignore[arg-type]
        body = data[start : start + length]

        self._HTTPConnection__state = _IDLE
        header_dict = HTTPHeaderDict.__new__(HTTPHeaderDict)
        header_dict._container = headers
        attributes = None if "content-encoding" in headers else _response_attributes()
        if attributes is None:
            # urllib3's own constructor reads the body, and decodes it.
            shutdown: dict[str, Any] = {"sock_shutdown": sock.shutdown} if _TAKES_SHUTDOWN else {}
            original = _PlainResponse(data[:start], self._method, status, reason, body)
            return _StockHTTPResponse(
                body=original,
                headers=header_dict,
                status=status,
                version=original.version,
                version_string=self._http_vsn_str,
                reason=reason,
                preload_content=options.preload_content,
                decode_content=options.decode_content,
                original_response=original,
                enforce_content_length=options.enforce_content_length,
                request_method=options.request_method,
                request_url=options.request_url,
                **shutdown,
            )
        original = _PlainResponse(data[:start], self._method, status, reason, None)
        response: _StockHTTPResponse = _StockHTTPResponse.__new__(_StockHTTPResponse)
        response.__dict__.update(
            attributes,
            headers=header_dict,
            status=status,
            version_string=self._http_vsn_str,
            reason=reason,
            decode_content=options.decode_content,
            enforce_content_length=options.enforce_content_length,
            _request_url=options.request_url,
            _body=body,
            _fp=original,
            _original_response=original,
            _fp_bytes_read=length,
            _decoded_buffer=urllib3.response.BytesQueueBuffer(),
        )
        if _TAKES_SHUTDOWN:
            response._sock_shutdown = sock.shutdown
        return response

    def _receive(self, sock: socket.socket, received: list[bytes | OSError], missing: int) -> bool:
        """The rest of a body, by receives as a buffered reader makes them; False if it ended or failed.

        As long as whole buffers are missing it receives these, at once; then a buffer is filled to its end.
        """
        filled = 0
        while missing > 0:
            whole = missing - missing % _BUFFER_SIZE
            try:
                data = sock.recv(whole or _BUFFER_SIZE - filled)
            except OSError as error:
                received.append(error)
                return False
            received.append(data)
            if not data:
                return False
            missing -= len(data)
            if not whole:
                filled += len(data)
        return True

    def _replay(self, received: list[bytes | OSError], options: Any) -> _StockHTTPResponse:
        try:
            if self.sock is None and isinstance(received[-1], OSError):
                raise received[-1]  # another thread closed the connection
            self._response_options = options
            self.response_class = partial(_replayed, self.response_class, received)  # type: ignore[assignment]
            try:
                return super().getresponse()
            finally:
                del self.response_class
        finally:
            received.clear()  # as in `readinto`


def was_kept_alive(error: Exception) -> bool:
    """Whether what a pool raised is the end of a connection that had been kept open since an earlier answer."""
    return any(getattr(cause, "_was_kept_alive", False) for cause in error.args)


class HTTPConnection(_Lean):
    """urllib3's `HTTPConnection`, lean."""

    _stock = _StockHTTPConnection
    _stock_hooks = tuple(getattr(_StockHTTPConnection, name, None) for name in _HOOKS)


class HTTPSConnection(_Lean, _StockHTTPSConnection):
    """urllib3's `HTTPSConnection`, lean."""

    _stock = _StockHTTPSConnection
    _stock_hooks = tuple(getattr(_StockHTTPSConnection, name, None) for name in _HOOKS)


def _is_genuine(function: Any) -> bool:
    """Whether a method is still the one that its module defined: a wrapper has another module's globals."""
    return type(function) is FunctionType and (
        function.__globals__ is vars(http.client)
        or function.__globals__ is vars(urllib3.connection)
        or function.__globals__ is vars(urllib3.response)
    )


_IS_GENUINE: Final = all(
    map(
        _is_genuine,
        (
            *_HTTP_CLIENT_HOOKS,
            *HTTPConnection._stock_hooks,
            *HTTPSConnection._stock_hooks,
            *_HTTP_CLIENT_ANSWER_HOOKS,
            *_RESPONSE_HOOKS,
            _PARSE_HEADERS,
        ),
    )
)


def _is_known() -> bool:
    """What `_looks_known` said, once it was yes: a no may be due to somebody who patches something for a while."""
    global _known  # noqa: PLW0603
    _known = _known or _looks_known()
    return _known


_known = False


def _looks_known() -> bool:
    """Whether urllib3 and http.client keep their state as they do in the versions that we know."""
    state: dict[str, Any] = {
        "_HTTPConnection__state": _IDLE,
        "_HTTPConnection__response": None,
        "_buffer": [],
        "_http_vsn": 11,
        "_http_vsn_str": "HTTP/1.1",
        "_method": None,
        "_response_options": None,
        "_tunnel_host": None,
        "_tunnel_port": None,
        "auto_open": 1,
        "response_class": http.client.HTTPResponse,
        "sock": None,
        "timeout": None,
    }
    keywords = ("chunked", "preload_content", "decode_content", "enforce_content_length")
    options = ("request_method", "request_url", "preload_content", "decode_content", "enforce_content_length")
    try:
        connection = _StockHTTPConnection("localhost", timeout=None)
        _response_attributes()
        return (
            tuple(map(int, version("urllib3").split(".")[:2])) <= _NEWEST_URLLIB3
            and tuple(inspect.signature(_StockHTTPConnection.request).parameters)
            == ("self", "method", "url", "body", "headers", *keywords)
            and all(getattr(connection, name) == value for name, value in state.items())
            and urllib3.connection._ResponseOptions._fields == options
            and isinstance(urllib3.connection._get_default_user_agent(), str)
            and vars(HTTPHeaderDict([("A", "b"), ("c", "d"), ("a", "e")]))
            == {"_container": {"a": ["A", "b", "e"], "c": ["c", "d"]}}
            and isinstance(urllib3.response.BytesQueueBuffer(), object)
        )
    except Exception:
        return False


# --- pools -------------------------------------------------------------------------------------------------


class _LeanConnections:
    """What makes a pool's connections lean, unless somebody gave the pool, or every pool of its kind, another class."""

    _lean: ClassVar[type]
    _stock: ClassVar[type]

    @property
    def ConnectionCls(self) -> Any:  # noqa: N802
        try:
            return self.__dict__["ConnectionCls"]  # None, too: such a pool makes no connections
        except KeyError:
            pass
        usual: Any = super().ConnectionCls  # type: ignore[misc]
        return self._lean if usual is self._stock and _IS_GENUINE and _is_known() else usual

    @ConnectionCls.setter
    def ConnectionCls(self, connection_class: Any) -> None:  # noqa: N802
        self.__dict__["ConnectionCls"] = connection_class

    @ConnectionCls.deleter
    def ConnectionCls(self) -> None:  # noqa: N802
        del self.__dict__["ConnectionCls"]


class HTTPConnectionPool(_LeanConnections, urllib3.HTTPConnectionPool):
    """urllib3's `HTTPConnectionPool` with lean connections; nothing else differs."""

    _lean = HTTPConnection
    _stock = _StockHTTPConnection


class HTTPSConnectionPool(_LeanConnections, urllib3.HTTPSConnectionPool):
    """urllib3's `HTTPSConnectionPool` with lean connections; nothing else differs."""

    _lean = HTTPSConnection
    _stock = _StockHTTPSConnection


_LEAN_POOLS: Final[dict[type, type]] = {
    urllib3.HTTPConnectionPool: HTTPConnectionPool,
    urllib3.HTTPSConnectionPool: HTTPSConnectionPool,
}


def make_lean(pool: Any) -> None:
    """Give a fresh pool of urllib3 lean connections; a pool of any other class stays as it is."""
    lean = _LEAN_POOLS.get(type(pool))
    if lean is not None:
        pool.__class__ = lean
