"""The lean connections: byte for byte and answer for answer what urllib3's own do.

The differential tests run one script of a server twice, once against urllib3's connections and once against ours. The
sockets are real, on loopback, and one thread drives both ends: a client that wants to receive first makes the server
send its next piece, so that where the pieces break is the test's to say, and nothing waits.
"""

import array
import contextlib
import functools
import gc
import gzip
import http.client
import inspect
import io
import logging
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import weakref
import zlib
from types import SimpleNamespace

import pytest
import trustme
import urllib3
import urllib3.connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from urllib3.util import SKIP_HEADER

from conftest import EXAMPLES
from opensearch_sigv4 import SigV4HttpConnection, _transport

CLOSE = "close"
RESET = "reset"
TIMEOUT = "timeout"

LEAN = _transport.HTTPConnection
STOCK = urllib3.connection.HTTPConnection


# --- one script, two clients -------------------------------------------------------------------------------


class Server:
    """Plays `answers`, one per request, each a list of pieces (bytes, CLOSE, RESET or TIMEOUT)."""

    def __init__(self, answers):
        self.answers = answers
        self.pieces = []
        self.clients = []
        self.peers = []
        self.received = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def connect(self, socket_class):
        sock = socket_class(socket.AF_INET, socket.SOCK_STREAM)
        sock.server = self
        sock.connect(self.listener.getsockname())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.peer, _ = self.listener.accept()
        sock.peer.setblocking(False)
        sock.number = len(self.peers)
        self.clients.append(sock)
        self.peers.append(sock.peer)
        self.received.append(b"")
        return sock

    def next_request(self):
        self.pieces = list(self.answers.pop(0)) if self.answers else []
        self.sock = None

    def step(self, sock):
        """Play the next piece to a client that wants to receive; without one, it ends."""
        self.read(sock)
        self.sock = sock
        if not self.pieces:
            sock.peer.close()
            return
        piece = self.pieces.pop(0)
        if piece == TIMEOUT:
            raise TimeoutError("timed out")
        self.play(sock, piece)

    def play(self, sock, piece):
        with contextlib.suppress(OSError):
            if piece in (CLOSE, RESET):
                if piece == RESET:
                    sock.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.peer.close()
            elif piece != TIMEOUT:
                sock.peer.sendall(piece)

    def read(self, sock):
        with contextlib.suppress(OSError):
            while data := sock.peer.recv(1 << 20):
                self.received[sock.number] += data

    def finish_request(self):
        """What the client did not ask for is sent all the same."""
        for piece in self.pieces:
            if self.sock is not None:
                self.play(self.sock, piece)
        if self.sock is not None:
            self.read(self.sock)
            if set(self.pieces) - {TIMEOUT} and self.sock.fileno() >= 0:
                select.select([self.sock], [], [], 5)
        self.pieces = []

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()
        for client in self.clients:
            # Nor may a response that nobody read to its end keep one open until the garbage collector comes by.
            client._io_refs = 0
            client.close()


class Stepped(socket.socket):
    def _step(self):
        if self.peer.fileno() >= 0 and not select.select([self], [], [], 0)[0]:
            self.server.step(self)

    def recv(self, *args):
        self._step()
        return super().recv(*args)

    def recv_into(self, *args):
        self._step()
        return super().recv_into(*args)


@pytest.fixture(autouse=True, scope="module")
def _stepped_sockets_count_as_the_standard_librarys():
    known = _transport._SOCKETS
    _transport._SOCKETS = known | {Stepped}
    yield
    _transport._SOCKETS = known


def stepped(connection_class, server, socket_class=None):
    class Connection(connection_class):
        def _new_conn(self):
            return server.connect(socket_class or Stepped)

    return Connection


def plain_text(value):
    text = re.sub(r"0x[0-9a-f]+", "0x", str(value))
    return re.sub(r"<[\w.<>]*Connection(\(.*?\))?( object)? at 0x>", "<connection>", text)


def chain(error):
    """An exception and its causes, by type and text."""
    links = []
    while error is not None:
        links.append((type(error), plain_text(error)))
        error = error.__cause__ or error.__context__
    return links


def look_at(response):
    original = response._original_response
    return {
        "type": type(response),
        "status": response.status,
        "version": (response.version, response.version_string),
        "reason": response.reason,
        "headers": list(response.headers.items()),
        "getlist": [response.headers.getlist(name) for name in response.headers],
        "data": response.data,
        "read": (response.read(), response.read(3), response.read1(), list(response.stream()), b"".join(response)),
        "closed": (response.closed, response.isclosed(), original.isclosed(), original.fp is None),
        "length": (response.length_remaining, response.tell(), original.length),
        "request": (response.geturl(), response.retries.total, response.connection, response._pool is not None),
        "decode": (response.decode_content, response.enforce_content_length, response.chunked),
        "original": (original.status, original.code, original.reason, original.version, original.will_close),
        "msg": (
            original.msg is original.headers,
            type(original.msg),
            original.msg.items(),
            list(map(type, original.msg.defects)),
        ),
        "getheaders": (original.getheaders(), original.getheader("content-length"), original.chunked),
        "attributes": sorted(vars(response)),
        "shutdown": getattr(response, "_sock_shutdown", "") is None,
    }


READERS = {
    "read": lambda response: response.read(),
    "read some": lambda response: [response.read(3), response.read(9000), response.read()],
    "read1": lambda response: [response.read1(5), response.read()],
    "stream": lambda response: list(response.stream(7)),
    "raw": lambda response: response.read(decode_content=False),
    "nothing": lambda response: None,
    "drain": lambda response: response.drain_conn(),
    "close": lambda response: response.close(),
}


@contextlib.contextmanager
def log_of(name):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def play(connection_class, answers, requests):
    """What each of `requests` comes to, in turn, through one pool with one connection."""
    server = Server([list(answer) for answer in answers])
    outcomes = []
    with contextlib.closing(server), log_of("urllib3") as log:
        pool = urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, timeout=10)
        pool.ConnectionCls = stepped(connection_class, server)
        for request in requests:
            request = dict(request)
            reader = request.pop("reader", None)
            server.next_request()
            response = None
            try:
                response = pool.urlopen(retries=False, **request)
                if reader is None:
                    outcome = look_at(response)
                else:
                    outcome = (response.status, list(response.headers.items()), READERS[reader](response))
                    response.release_conn()
            except Exception as error:
                outcome = [(kind, text.replace(str(server.port), "PORT")) for kind, text in chain(error)]
            if response is not None and reader is not None:
                response.release_conn()
            server.finish_request()
            idle = pool.pool.queue[-1] if pool.pool.queue else "taken"
            records = [(r.name, r.levelname, r.msg, plain_text(r.args).replace(str(server.port), "PORT")) for r in log]
            log.clear()
            outcomes.append((outcome, records, len(server.peers), idle == "taken" or idle is None or idle.sock is None))
        pool.close()
        return outcomes, [received.replace(b":%d" % server.port, b":PORT") for received in server.received]


def assert_same(answers, requests):
    theirs = play(STOCK, answers, requests)
    ours = play(LEAN, answers, requests)
    assert ours == theirs
    return ours[0]


GET = {"method": "GET", "url": "/a"}
HEAD = {"method": "HEAD", "url": "/a"}
POST = {"method": "POST", "url": "/a?b=c", "body": b"{}", "headers": {"content-type": "application/json"}}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def head(*lines, status=b"HTTP/1.1 200 OK"):
    return b"\r\n".join([status, *lines, b"", b""])


def with_length(body, *lines, **status):
    return head(*lines, b"Content-Length: %d" % len(body), **status) + body


BIG = bytes(range(256)) * 160
ANSWERS = {
    "plain": [OK],
    "empty body": [with_length(b"")],
    "no reason": [with_length(b"{}", status=b"HTTP/1.1 200")],
    "blank reason": [with_length(b"{}", status=b"HTTP/1.1 200 ")],
    "spaced reason": [with_length(b"{}", status=b"HTTP/1.1 404   Not  Found  ")],
    "two spaces": [with_length(b"{}", status=b"HTTP/1.1  200 OK")],
    "tab": [with_length(b"{}", status=b"HTTP/1.1\t200 OK")],
    "HTTP/1.0": [with_length(b"{}", status=b"HTTP/1.0 200 OK")],
    "HTTP/1.0 kept": [with_length(b"{}", b"Connection: keep-alive", status=b"HTTP/1.0 200 OK")],
    "HTTP/1.2": [with_length(b"{}", status=b"HTTP/1.2 200 OK")],
    "HTTP/2": [with_length(b"{}", status=b"HTTP/2 200 OK")],
    "http/1.1": [with_length(b"{}", status=b"http/1.1 200 OK")],
    "status 99": [with_length(b"{}", status=b"HTTP/1.1 099 OK")],
    "status 1000": [with_length(b"{}", status=b"HTTP/1.1 1000 OK")],
    "status +20": [with_length(b"{}", status=b"HTTP/1.1 +20 OK")],
    "status 2_0": [with_length(b"{}", status=b"HTTP/1.1 2_0 OK")],
    "status 999": [with_length(b"{}", status=b"HTTP/1.1 999 What")],
    "status 20": [with_length(b"{}", status=b"HTTP/1.1 20 OK")],
    "status 200OK": [with_length(b"{}", status=b"HTTP/1.1 200OK")],
    "arabic digits": [with_length(b"{}", status="HTTP/1.1 ٢٠٠ OK".encode())],
    "superscript": [with_length(b"{}", status=b"HTTP/1.1 20\xb2 OK")],
    "204": [head(status=b"HTTP/1.1 204 No Content")],
    "204 with a body": [with_length(b"{}", status=b"HTTP/1.1 204 No Content")],
    "304": [with_length(b"{}", status=b"HTTP/1.1 304 Not Modified")],
    "100 first": [b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
    "100 first, apart": [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
    "100 with headers": [b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + OK],
    "103 first": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK],
    "101": [head(b"Upgrade: x", status=b"HTTP/1.1 101 Switching")],
    "chunked": [head(b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"],
    "chunked and a length": [head(b"Transfer-Encoding: chunked", b"Content-Length: 9") + b"2\r\n{}\r\n0\r\n\r\n"],
    "chunked, bad": [head(b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n"],
    "identity": [with_length(b"{}", b"Transfer-Encoding: identity")],
    "no length": [head(b"A: b") + b"{}", CLOSE],
    "no length, kept": [head(b"A: b") + b"{}"],
    "same length twice": [head(b"Content-Length: 2", b"content-length: 2") + b"{}"],
    "other length twice": [head(b"Content-Length: 2", b"Content-Length: 3") + b"{}x"],
    "length list": [head(b"Content-Length: 2, 2") + b"{}"],
    "negative length": [head(b"Content-Length: -2") + b"{}", CLOSE],
    "signed length": [head(b"Content-Length: +2") + b"{}"],
    "underscored length": [head(b"Content-Length: 1_0") + b"0123456789"],
    "arabic length": [head("Content-Length: ٢".encode()) + b"{}"],
    "superscript length": [head(b"Content-Length: \xb2") + b"{}"],
    "hexadecimal length": [head(b"Content-Length: 0x2") + b"{}"],
    "empty length": [head(b"Content-Length: ") + b"{}"],
    "spaced length": [head(b"Content-Length:   2  ") + b"{}"],
    "tabbed length": [head(b"Content-Length:\t2\t") + b"{}"],
    "zeros before the length": [head(b"Content-Length: 0000002") + b"{}"],
    "many zeros before the length": [head(b"Content-Length: 00000000000000000002") + b"{}"],
    "length of 5000 digits": [head(b"Content-Length: " + b"9" * 5000) + b"{}"],
    "length too large to allocate": [head(b"Content-Length: 9223372036854775808") + b"{}"],
    "too short": [head(b"Content-Length: 10") + b"{}", CLOSE],
    "too short, reset": [head(b"Content-Length: 10") + b"{}", RESET],
    "too short, timeout": [head(b"Content-Length: 10") + b"{}", TIMEOUT],
    "too short at first": [head(b"Content-Length: 10") + b"{}", b"01234567"],
    "too short by a buffer": [head(b"Content-Length: 40960") + BIG[:20000], CLOSE],
    "close": [with_length(b"{}", b"Connection: close"), CLOSE],
    "Close": [with_length(b"{}", b"Connection: keep-alive, Close")],
    "keep-alive, then close": [with_length(b"{}", b"Connection: keep-alive", b"Connection: close")],
    "close, then keep-alive": [with_length(b"{}", b"Connection: close", b"Connection: keep-alive")],
    "unclosed": [with_length(b"{}", b"Connection: not-closed")],
    "closed after it": [OK, CLOSE],
    "reset after it": [OK, RESET],
    "nothing": [CLOSE],
    "reset": [RESET],
    "timeout": [TIMEOUT],
    "half a status line": [b"HTTP/1.1 2", CLOSE],
    "half a head": [b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE],
    "half a head, reset": [b"HTTP/1.1 200 OK\r\nContent-Le", RESET],
    "half a head, timeout": [b"HTTP/1.1 200 OK\r\nContent-Le", TIMEOUT],
    "split head": [b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 2\r\n\r\n{}"],
    "split at the end of the head": [OK[:-4], OK[-4:-2], OK[-2:]],
    "byte by byte": [OK[i : i + 1] for i in range(len(OK))],
    "head and body apart": [OK[:-2], OK[-2:]],
    "body byte by byte": [OK[:-2], b"{", b"}"],
    "larger than a buffer": [with_length(BIG)],
    "larger than a buffer, apart": [with_length(BIG)[:-40960], BIG],
    "larger than a buffer, in pieces": [
        with_length(BIG)[:5000],
        with_length(BIG)[5000:30001],
        with_length(BIG)[30001:],
    ],
    "larger than a buffer, with more": [with_length(BIG) + b"more" * 2000],
    "larger than is parsed": [
        with_length(BIG * 26)[:9000],
        *[(BIG * 26)[i : i + 60000] for i in range(0, 1064960, 60000)],
    ],
    "junk behind": [OK + b"junk"],
    "junk behind the last buffer": [head(b"Content-Length: 5000"), b"a" * 3000, b"a" * 2000 + b"j" * 4000],
    "an answer behind the last buffer": [head(b"Content-Length: 9000"), b"a" * 500, b"a" * 8500 + b"j" * 7692 + OK],
    "an answer behind": [OK + OK.replace(b"{}", b"[]")],
    "an answer behind, apart": [OK, OK.replace(b"{}", b"[]")],
    "an answer behind, over a buffer": [with_length(b"x" * 9000) + OK.replace(b"{}", b"[]") * 300],
    "head as long as a buffer": [with_length(b"{}", b"A: " + b"x" * (8192 - 46))],
    "head longer than a buffer": [with_length(b"{}", b"A: " + b"x" * 8192)],
    "head that ends with the buffer": [with_length(b"{}", b"A: " + b"x" * (8192 - 44))],
    "line too long": [with_length(b"{}", b"A: " + b"x" * 65536)],
    "status line too long": [with_length(b"{}", status=b"HTTP/1.1 200 " + b"x" * 65536)],
    "98 headers": [with_length(b"{}", *[b"A: b"] * 98)],
    "99 headers": [with_length(b"{}", *[b"A: b"] * 99)],
    "100 headers": [with_length(b"{}", *[b"A: b"] * 100)],
    "70 headers": [with_length(b"{}", *[b"A: b"] * 70)],
    "bare LF": [b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"],
    "one bare LF": [b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\n{}"],
    "an end of bare LF": [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\n{}", CLOSE],
    "an end of bare LF before another": [b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\n{}\r\n\r\n{}"],
    "bare CR": [b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 2\r\nC: d\r\n\r\n{}", CLOSE],
    "CR CR LF": [b"HTTP/1.1 200 OK\r\nA: b\r\r\nContent-Length: 2\r\n\r\n{}", CLOSE],
    "CR LF first": [b"\r\n" + OK],
    "folded": [with_length(b"{}", b"A: b", b" c", b"\td")],
    "folded first": [with_length(b"{}", b" c: d")],
    "folded, only blanks": [with_length(b"{}", b"A: b", b" ", b"C: d")],
    "no colon": [with_length(b"{}", b"A: b", b"nonsense")],
    "no colon before the length": [head(b"nonsense", b"Content-Length: 2") + b"{}", CLOSE],
    "no name": [with_length(b"{}", b": b")],
    "space before the colon": [with_length(b"{}", b"A : b")],
    "space in the length's name": [head(b"Content-Length : 2") + b"{}", CLOSE],
    "From": [with_length(b"{}", b"From nobody: at all")],
    "From, a header": [with_length(b"{}", b"From: nobody")],
    "odd names": [with_length(b"{}", b"A(b): c", b'"d": e', b"f;g: h", b"\x7f: i")],
    "name not ASCII": [with_length(b"{}", b"\xc3\xbc: c")],
    "value not ASCII": [with_length(b"{}", "A: ü".encode(), b"B: \xa0 \x85 \xad")],
    "separators in values": [with_length(b"{}", b"A: b\x0bc\x0cd\x1ce\x1df\x1eg\x85h", b"B: c")],
    "separators around values": [with_length(b"{}", b"A: \x0b\x1cb\x1d \x0c", b"B: \x1f")],
    "NUL": [with_length(b"{}", b"A: b\x00c")],
    "blanks around values": [with_length(b"{}", b"A:b", b"B:   c   ", b"C:\t d \t", b"D:", b"E: ", b"F:   ")],
    "blanks before a value": [with_length(b"{}", b"A:   b", b"C: d")],
    "no blank before a value": [with_length(b"{}", b"A:b", b"C: d")],
    "blanks behind a value": [with_length(b"{}", b"A: b   ")],
    "an empty value": [with_length(b"{}", b"A: ", b"B: c")],
    "colons in values": [with_length(b"{}", b"A: b: c", b"Date: 10:11:12", b"B::c")],
    "encoded words": [with_length(b"{}", b"A: =?utf-8?q?=C3=BC?=")],
    "same name twice": [with_length(b"{}", b"Set-Cookie: a", b"set-cookie: b", b"SET-COOKIE: c", b"A: b")],
    "multipart": [with_length(b"{}", b"Content-Type: multipart/mixed; boundary=x")],
    "multipart without a boundary": [with_length(b"{}", b"Content-Type: Multipart/mixed")],
    "multipart in base64": [
        with_length(b"{}", b"Content-Type: multipart/a; boundary=b", b"Content-Transfer-Encoding: base64")
    ],
    "message": [with_length(b"{}", b"Content-Type: message/rfc822")],
    "message about delivery": [with_length(b"{}", b"Content-Type: message/delivery-status")],
    "two types": [with_length(b"{}", b"Content-Type: a/b", b"Content-Type: multipart/mixed")],
    "redirect": [with_length(b"", b"Location: /b", status=b"HTTP/1.1 307 There")],
    "retry": [with_length(b"{}", b"Retry-After: 0", status=b"HTTP/1.1 503 Later")],
    "413": [with_length(b"{}", b"Connection: close", status=b"HTTP/1.1 413 Too Large"), CLOSE],
    "gzip": [with_length(gzip.compress(BIG), b"Content-Encoding: gzip")],
    "x-gzip": [with_length(gzip.compress(b"{}"), b"Content-Encoding: X-Gzip")],
    "gzip members": [with_length(gzip.compress(b"{") + gzip.compress(b"}") + b"junk", b"Content-Encoding: gzip")],
    "gzip, cut": [with_length(gzip.compress(BIG)[:-9], b"Content-Encoding: gzip")],
    "gzip, empty": [with_length(b"", b"Content-Encoding: gzip")],
    "gzip that is not": [with_length(b"{}", b"Content-Encoding: gzip")],
    "gzip, apart": [with_length(gzip.compress(BIG), b"Content-Encoding: gzip")[:70], gzip.compress(BIG)[-9:], CLOSE],
    "deflate": [with_length(zlib.compress(b"{}"), b"Content-Encoding: deflate")],
    "raw deflate": [with_length(zlib.compress(b"{}")[2:-4], b"Content-Encoding: deflate")],
    "deflate, gzip": [with_length(gzip.compress(zlib.compress(b"{}")), b"Content-Encoding: deflate, gzip")],
    "br": [with_length(b"\x0b\x00\x80{}\x03", b"Content-Encoding: br")],
    "unknown encoding": [with_length(b"{}", b"Content-Encoding: aws-chunked")],
    "encodings on two lines": [with_length(gzip.compress(b"{}"), b"Content-Encoding: gzip", b"Content-Encoding: gzip")],
    "too many encodings": [with_length(b"{}", b"Content-Encoding: " + b", ".join([b"gzip"] * 9))],
}


LATER = [[OK.replace(b"{}", b"[]")], [OK.replace(b"{}", b"[1")]]


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name):
    for request in (GET, POST, HEAD, {**GET, "decode_content": False}, {**GET, "enforce_content_length": False}):
        assert_same([ANSWERS[name], *LATER], [request, POST, GET])
    for reader in READERS:
        request = {**GET, "preload_content": False, "reader": reader}
        assert_same([ANSWERS[name], *LATER], [request, POST, GET])


def test_the_answers_are_read_by_ours(monkeypatch):
    """What compares urllib3's connections with themselves would prove nothing."""
    parsed = []
    original = _transport._parse_plain_head
    monkeypatch.setattr(_transport, "_parse_plain_head", lambda data: parsed.append(data) or original(data))
    play(LEAN, [ANSWERS["plain"], *LATER], [GET, POST, GET])
    assert len(parsed) == 3
    assert all(map(original, parsed))


def test_an_error_keeps_nothing_alive():
    def is_gone(connection_class, answer):
        server = Server([answer])
        with contextlib.closing(server):
            connection = stepped(connection_class, server)("127.0.0.1", server.port)
            server.next_request()
            connection.request("GET", "/")
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.getresponse()
            connection.close()
            reference = weakref.ref(connection)
            del connection
            return reference() is None

    gc.disable()
    try:
        for answer in ([TIMEOUT], [RESET], [OK[:20], RESET]):
            assert is_gone(STOCK, answer)
            assert is_gone(LEAN, answer)
    finally:
        gc.enable()


# --- the same, at random ------------------------------------------------------------------------------------

STATUS_LINES = [
    *[b"HTTP/1.1 200 OK"] * 8,
    *[b"HTTP/1.1 %d X" % status for status in (100, 101, 103, 199, 201, 204, 206, 302, 304, 404, 413, 503, 999)],
    *[
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 200\tOK",
    ],
]
NAMES = [
    b"Content-Length",
    b"content-length",
    b"Transfer-Encoding",
    b"Connection",
    b"Content-Type",
    b"A",
    b"a",
    b"From",
]
NAMES += [
    b"Content-Encoding",
    b"Set-Cookie",
    b"X-Y",
    b"From x",
    b"",
    b" ",
    b"A ",
    b"\tB",
    b"\xfc",
    b"a\x0bb",
    b"Keep-Alive",
]
VALUES = [b"0", b"2", b"5", b"10", b"9000", b"+2", b"-1", b" 2 ", b"2, 2", b"02", b"1e1", b"2\x1c", b"\xb2", b"2;"]
VALUES += [b"close", b"keep-alive", b"Close, x", b"chunked", b"identity", b"gzip", b"deflate", b"gzip, deflate", b"br"]
VALUES += [
    b"application/json",
    b"multipart/x",
    b"text/plain; charset=utf-8",
    b"",
    b" ",
    b"\t",
    b"a\r\n b",
    b"\x85",
    b"\x00",
]
BODIES = [
    b"{}",
    b"",
    b"01234567890",
    gzip.compress(b"{}" * 50),
    zlib.compress(b"{}"),
    b"5\r\nhello\r\n0\r\n\r\n",
    BIG[:9000],
]


@st.composite
def raw_answers(draw):
    """Bytes that are, nearly are, or once were an answer, in pieces."""
    body = draw(st.sampled_from(BODIES))
    pairs = [(b"Content-Length", b"%d" % len(body))] if draw(st.integers(0, 9)) else []
    names = st.one_of(st.sampled_from(NAMES), st.from_regex(rb"[ -~]{1,3}", fullmatch=True))
    values = st.one_of(st.sampled_from(VALUES), st.from_regex(rb"[ -~]{0,4}", fullmatch=True), st.binary(max_size=3))
    pairs += draw(st.lists(st.tuples(names, values), max_size=4))
    pairs = draw(st.permutations(pairs))
    colon = draw(st.sampled_from([b": "] * 6 + [b":", b":  ", b":\t", b" : ", b" "]))
    end = draw(st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b"\r\r\n"]))
    lines = [draw(st.sampled_from(STATUS_LINES)), *[name + colon + value for name, value in pairs], b"", b""]
    raw = end.join(lines) + body
    if draw(st.integers(0, 3)) == 0:
        raw = draw(st.sampled_from([OK, b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n", raw])) + raw
    raw += draw(st.sampled_from([b""] * 6 + [b"\r\n", b"junk", OK, OK * 300]))
    mutable = bytearray(raw)
    for _ in range(draw(st.sampled_from([0] * 4 + [1, 1, 2, 5]))):
        at = draw(st.integers(0, min(len(mutable), 150)))
        cut = draw(st.integers(0, 3))
        mutable[at : at + cut] = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b":", b"\t", b"\x1c", b"\xe9", b"0"])
        )
    raw = bytes(mutable)
    if draw(st.integers(0, 7)) == 0:  # a larger body, in large pieces, with something behind it
        size = draw(st.integers(4000, 30000))
        raw = with_length(b"a" * size) + draw(st.sampled_from([b"", b"j" * 4000, b"j" * 8000 + OK, OK]))
        cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
        return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
    cuts = sorted(draw(st.lists(st.integers(0, min(len(raw), 9100)), max_size=3)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
    return pieces + draw(st.sampled_from([[], [], [], [CLOSE], [RESET], [TIMEOUT]]))


@st.composite
def calls(draw):
    call = draw(st.sampled_from([GET, GET, POST, POST, HEAD]))
    if draw(st.integers(0, 4)) == 0:
        return {**call, "preload_content": False, "reader": draw(st.sampled_from(list(READERS)))}
    return {**call, **draw(st.sampled_from([{}, {}, {}, {"decode_content": False}, {"enforce_content_length": False}]))}


def fuzz(**given_arguments):
    """An example takes milliseconds: a fifth of the usual number."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return lambda test: settings(max_examples=max(100, EXAMPLES // 5), suppress_health_check=checks)(
        given(**given_arguments)(test)
    )


@fuzz(answers=st.lists(raw_answers(), min_size=1, max_size=2), requests=st.lists(calls(), min_size=2, max_size=3))
def test_any_answers(answers, requests):
    assert_same([*answers, *LATER], requests)


# --- what is sent ------------------------------------------------------------------------------------------


class Reader:
    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read(self, _size):
        return self.pieces.pop(0) if self.pieces else b""


class Text(str):
    __slots__ = ()

    def __format__(self, spec):
        return "formatted"

    def __str__(self):
        return "made a str"


def sent(connection_class, calls, host="127.0.0.1", port=None, **options):
    """The bytes of each call of `request`, or what it raised, and whether an answer is read then."""
    server = Server([])
    outcomes = []
    with contextlib.closing(server):
        connection = stepped(connection_class, server)(host, port or server.port, **options)
        for call in calls:
            call = {name: value() if callable(value) else value for name, value in call.items()}
            server.answers = [[OK]]
            server.next_request()
            before = len(server.received[-1]) if server.peers else 0
            try:
                connection.request(**call)
                response = connection.getresponse()
                outcome = (look_at_sent(response, call), server.received[-1][before:])
            except Exception as error:
                outcome = chain(error)
                connection.close()
            outcomes.append((outcome, connection._response_options, connection._method, len(server.peers)))
        connection.close()
        return [plain_text(outcome).replace(str(server.port), "PORT") for outcome in outcomes]


def look_at_sent(response, call):
    return (response.status, response.geturl(), response.data if call.get("preload_content", True) else response.read())


def assert_same_sent(*calls, **options):
    theirs = sent(STOCK, calls, **options)
    ours = sent(LEAN, calls, **options)
    assert ours == theirs
    return ours


BODIES_SENT = {
    "none": None,
    "bytes": b"{}",
    "empty": b"",
    "str": '{"a": "ü€"}',
    "empty str": "",
    "surrogate": "\ud800",
    "str of a kind": Text("{}"),
    "bytearray": bytearray(b"{}"),
    "memoryview": memoryview(b"{}"),
    "strided": memoryview(b"{x}")[::2],
    "ints": array.array("i", [1, 2]),
    "view of ints": memoryview(array.array("i", [1, 2])),
    "two dimensions": memoryview(b"1234").cast("B", (2, 2)),
    "signed": memoryview(b"{}").cast("b"),
    "large": b"x" * 70_000,
    "as large as is joined": bytearray(64 * 1024),
    "file": lambda: io.BytesIO(b"{}"),
    "text file": lambda: io.StringIO("{ü}"),
    "reader": lambda: Reader(b"{", b"}"),
    "iterator": lambda: iter([b"{", "", "}"]),
    "list": [b"{", b"", b"}"],
    "dict": {"a": 1},
    "int": 5,
    "false": False,
}


@pytest.mark.parametrize("body", BODIES_SENT)
def test_bodies_sent(body):
    body = BODIES_SENT[body]
    for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "post"):
        framed = ({}, {"Content-Length": "2"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"})
        for headers in (None, *framed):
            call = {"method": method, "url": "/a", "body": body, "headers": headers}
            assert_same_sent(call, {**call, "chunked": True})


HEADERS_SENT = [
    None,
    {},
    {"X-A": "b", "x-a": "c", "X-a": "d"},
    {"host": "elsewhere", "ACCEPT-ENCODING": "gzip", "User-Agent": "me"},
    {"Host": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER, "user-agent": SKIP_HEADER},
    {"X-A": SKIP_HEADER},
    {"X-A": f"{SKIP_HEADER}, b"},
    {"X-A": "", "X-B": " b ", "X-C": "\t", "X-D": "ü", "X-E": "\xa0\x85", "X-F": "\x00\x1c\x7f"},
    {"X-A": "€"},
    {"X-A": "\ud800"},
    {"X-A": "a\r\nX-B: c"},
    {"X-A": "a\r\n b"},
    {"X-A": "a\n\tb"},
    {"X-A": "a\r\n"},
    {"X-A": "a\r"},
    {"X-A": "a\n", "X-B": "b\r"},
    {"X-A": b"bytes", b"X-B": "c"},
    {"X-A": "ü€".encode()},
    {"X-A": 5, "X-B": True},
    {"X-A": None},
    {"X-A": 1.5},
    {"X-A": ["a", "b"]},
    {"X-A": Text("a"), Text("X-B"): "b"},
    {"": "a"},
    {"X A": "b"},
    {" X": "b"},
    {"X:": "b"},
    {"X\r\nY": "b"},
    {"X-ü": "b"},
    {"X-\u017f": "b"},
    {5: "b"},
    {"(X)": "b", "a/b": "c", '"': "d"},
    {"Content-Length": "3", "content-length": "4"},
    {"Content-Length": 2},
    {"Connection": "close"},
    urllib3.HTTPHeaderDict([("A", "b"), ("a", "c"), ("B", "d")]),
    http.client.HTTPMessage(),
    [("A", "b")],
]


@pytest.mark.parametrize("headers", HEADERS_SENT, ids=repr)
def test_headers_sent(headers):
    for call in (GET, POST, {**GET, "body": "ü", "chunked": True}):
        assert_same_sent({**call, "headers": headers}, GET)


@pytest.mark.parametrize(
    "url",
    [
        *[
            "",
            "/",
            "/a?b=c&d",
            "/a b",
            "/a\tb",
            "/a\r\nb: c",
            "/\x7f",
            "/\x00",
            "/ü",
            "/\xa0",
            "/\u2028",
            "*",
            "a",
            "http",
        ],
        *["http://elsewhere:1/a", "https://[::1]:1/", "httpx://u@ü/", "//double", b"/bytes", None, 5, Text("/a")],
    ],
)
def test_targets_sent(url):
    for call in (GET, POST):
        assert_same_sent({**call, "url": url}, {**call, "url": url, "headers": {"Host": "h"}})


@pytest.mark.parametrize("method", ["", "get", "G T", "GET\r\n", "GET\n", "G\x00", "GÉT", "A", "!", b"GET", None, 5])
def test_methods_sent(method):
    assert_same_sent({**GET, "method": method}, {**GET, "method": method, "body": b"{}"})


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "ex.org:1", "::1", "[::1]", "fe80::1%eth0", "bücher.example"]
)
@pytest.mark.parametrize("port", [None, 80, 443])
def test_hosts_sent(host, port):
    assert_same_sent(GET, POST, host=host, port=port)


@pytest.mark.parametrize("options", [{}, {"preload_content": False}, {"decode_content": False}])
def test_requests_after_one_another(options):
    assert_same_sent(*[{**call, **options} for call in (GET, POST, HEAD, GET, {**POST, "chunked": True}, POST)])


texts = st.text(st.sampled_from("aZ09-_ :;\r\n\t\x00\x7fé€/?%@"), max_size=6)


@fuzz(
    method=st.sampled_from(["GET", "POST", "HEAD", "DELETE", "PUT", "X", "g et"]),
    url=st.one_of(st.just("/"), texts.map("/{}".format)),
    headers=st.dictionaries(
        st.one_of(st.sampled_from(["Host", "content-length", "Accept-Encoding", "X-A", "x-a", "user-agent"]), texts),
        st.one_of(texts, st.binary(max_size=3), st.integers(0, 9), st.just("ok")),
        max_size=4,
    ),
    body=st.one_of(st.none(), texts, st.binary(max_size=5), st.binary(max_size=5).map(bytearray)),
)
def test_any_request_sent(method, url, headers, body):
    assert_same_sent({"method": method, "url": url, "headers": headers, "body": body}, GET)


@pytest.mark.parametrize("acts", ["a", "rr", "raa", "raraa", "rca", "rcra", "rasa"])
def test_calls_out_of_turn(acts):
    """r: request, a: its answer, s: a request whose answer is left unread, c: close."""

    def outcomes(connection_class):
        server = Server([])
        results = []
        with contextlib.closing(server):
            connection = stepped(connection_class, server)("127.0.0.1", server.port)
            for act in acts:
                try:
                    if act in "rs":
                        server.answers = [[OK]]
                        server.next_request()
                        connection.request("GET", "/", preload_content=act == "r")
                    results.append(
                        connection.getresponse().data if act == "a" else connection.close() if act == "c" else 0
                    )
                except http.client.HTTPException as error:
                    results.append(chain(error))
            connection.close()
        return results

    assert outcomes(LEAN) == outcomes(STOCK)


# --- servers in threads: TLS, proxies, uploads, time ---------------------------------------------------------


def read_request(sock, received=b""):
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        if not data:
            return None
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    while len(body) < int(length[1] if length else 0):
        body += sock.recv(65536)
    return head, body


def echo(sock):
    """Answers with the request line and the length of the body, until the client goes."""
    while (request := read_request(sock)) is not None:
        answer = b"%s %d" % (request[0].split(b"\r\n")[0], len(request[1]))
        sock.sendall(with_length(b"" if request[0].startswith(b"HEAD") else answer, b"Content-Type: text/plain"))


@contextlib.contextmanager
def serving(handle, tls=None):
    """A port of loopback where each connection is given to `handle`."""
    threads = []

    def run(sock):
        with contextlib.suppress(OSError):
            sock.settimeout(10)
            with sock, tls.wrap_socket(sock, server_side=True) if tls else sock as wrapped:
                handle(wrapped)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threads.append(threading.Thread(target=run, args=(sock,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(10)
            for thread in threads:
                thread.join(10)


POOLS = {
    "stock": {"http": urllib3.HTTPConnectionPool, "https": urllib3.HTTPSConnectionPool},
    "lean": {"http": _transport.HTTPConnectionPool, "https": _transport.HTTPSConnectionPool},
}


def asked(pool, *requests, **options):
    """Status and body of each request, or what it raised, and whether our parser read the answer."""
    outcomes = []
    lean = []
    for request in requests:
        try:
            response = pool.urlopen(**{"retries": False, **options, **request})
            outcomes.append((response.status, response.data, list(response.headers.items())))
            lean.append(type(response._original_response) is _transport._PlainResponse)
        except Exception as error:
            outcomes.append([kind for kind, _ in chain(error)])
    return outcomes, lean


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """The authority, a client's certificate and key, and another authority, as files."""
    directory = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    trustme.CA().cert_pem.write_to_path(directory / "other.pem")
    client = authority.issue_cert("client@example.org")
    client.private_key_pem.write_to_path(directory / "key.pem")
    client.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    return {name: str(directory / f"{name}.pem") for name in ("ca", "other", "key", "cert")}


@pytest.fixture(scope="module")
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "elsewhere.example").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def fingerprint(tls):
    with serving(echo, tls) as port:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))


@pytest.mark.parametrize(
    ("options", "is_good"),
    [
        ({"ca_certs": "ca"}, True),
        ({"ca_certs": "other"}, False),
        ({"ca_certs": "ca", "assert_hostname": "elsewhere.example"}, True),
        ({"ca_certs": "ca", "assert_hostname": "other.example"}, False),
        ({"ca_certs": "ca", "assert_hostname": False}, True),
        ({"ca_certs": "ca", "server_hostname": "elsewhere.example"}, True),
        ({"ca_certs": "ca", "server_hostname": "other.example"}, False),
        ({"cert_reqs": "CERT_NONE", "assert_fingerprint": "right"}, True),
        ({"cert_reqs": "CERT_NONE", "assert_fingerprint": "00" * 32}, False),
        ({"ca_certs": "ca", "ssl_context": True}, True),
        ({"ca_certs": "ca", "cert_file": "cert", "key_file": "key"}, True),
        (
            {
                "ca_certs": "ca",
                "ssl_minimum_version": ssl.TLSVersion.TLSv1_2,
                "ssl_maximum_version": ssl.TLSVersion.TLSv1_2,
            },
            True,
        ),
    ],
    ids=str,
)
def test_tls(tls, files, fingerprint, options, is_good):
    import hashlib

    options = {name: files.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    if options.get("assert_fingerprint") == "right":
        options["assert_fingerprint"] = hashlib.sha256(fingerprint).hexdigest()
    outcomes = {}
    for kind, classes in POOLS.items():
        if "ssl_context" in options:
            options["ssl_context"] = ssl.create_default_context(cafile=files["ca"])
        with serving(echo, tls) as port, classes["https"]("127.0.0.1", port, timeout=10, **options) as pool:
            outcomes[kind], lean = asked(pool, GET, POST, {**POST, "body": b"x" * 200_000}, HEAD, GET)
            assert pool.num_connections == (1 if is_good else 5)
            assert lean == ([kind == "lean"] * 3 + [False, kind == "lean"] if is_good else [])
            if is_good:
                (connection,) = [idle for idle in pool.pool.queue if idle is not None]
                assert connection.is_verified
                assert isinstance(connection, urllib3.connection.HTTPSConnection)
    assert outcomes["lean"] == outcomes["stock"]
    assert (outcomes["lean"][0][0] == 200) is is_good


def test_client_certificates(tls, authority, files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    def name_client(sock):
        while read_request(sock):
            sock.sendall(with_length(str(sock.getpeercert()["subjectAltName"]).encode()))

    for classes in POOLS.values():
        with serving(name_client, context) as port:
            options = {"cert_file": files["cert"], "key_file": files["key"]}
            with classes["https"]("127.0.0.1", port, ca_certs=files["ca"], timeout=10, **options) as pool:
                assert b"client@example.org" in pool.urlopen("GET", "/").data
            with classes["https"]("127.0.0.1", port, ca_certs=files["ca"], timeout=10) as pool:
                assert asked(pool, GET)[0][0][0] in (urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        OK[:-1],
        b"",
        with_length(BIG),
        with_length(BIG)[:-1],
        with_length(b"{}", b"Connection: close"),
        head(b"A: b") + b"{}",
    ],
    ids=len,
)
@pytest.mark.parametrize("ending", ["clean", "ragged"])
def test_tls_that_ends(tls, files, answer, ending):
    def handle(sock):
        read_request(sock)
        sock.sendall(answer)
        if ending == "clean":
            sock.unwrap()

    outcomes = {}
    for kind, classes in POOLS.items():
        options = {"ca_certs": files["ca"], "timeout": 10}
        with serving(handle, tls) as port, classes["https"]("127.0.0.1", port, **options) as pool:
            first = asked(pool, GET)[0]
            for idle in pool.pool.queue:
                if idle is not None and idle.sock is not None:
                    assert select.select([idle.sock], [], [], 10)[0]  # the end has arrived
            outcomes[kind] = [*first, *asked(pool, POST)[0], pool.num_connections]
    assert outcomes["lean"] == outcomes["stock"]


def forward(sock):
    """A proxy: CONNECT makes a tunnel, anything else is answered like `echo`."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        if not data:
            return
        received += data
    if not received.startswith(b"CONNECT "):
        sock.sendall(with_length(received.split(b"\r\n")[0]))
        echo(sock)
        return
    host, port = received.split()[1].decode().split(":")
    with socket.create_connection((host, int(port)), timeout=10) as upstream:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        ends = {sock: upstream, upstream: sock}
        while True:  # in one thread: OpenSSL's connections are not for two
            is_pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
            for end in [sock] if is_pending else select.select(list(ends), [], [], 10)[0]:
                data = end.recv(1 << 16)
                if not data:
                    return
                ends[end].sendall(data)


@pytest.mark.parametrize("proxy", ["http", "https"])
@pytest.mark.parametrize("target", ["http", "https"])
def test_proxies(tls, files, proxy, target):
    """Forwarded, tunnelled, and tunnelled through TLS, where the socket is one of urllib3's and its own code runs."""
    outcomes = {}
    with serving(echo, tls if target == "https" else None) as port:
        for kind, classes in POOLS.items():
            with serving(forward, tls if proxy == "https" else None) as proxy_port:
                url = f"{proxy}://127.0.0.1:{proxy_port}"
                with urllib3.ProxyManager(url, ca_certs=files["ca"], proxy_headers={"X-P": "1"}, timeout=10) as manager:
                    manager.pool_classes_by_scheme = classes
                    target_url = f"{target}://127.0.0.1:{port}"
                    pool = manager.connection_from_url(target_url)
                    calls = [GET, POST, {**POST, "body": b"x" * 100_000}]
                    if target == "http":
                        calls = [{**call, "url": f"{target_url}{call['url']}"} for call in calls]
                    with pool:
                        outcomes[kind], lean = asked(pool, *calls, assert_same_host=False)
                    in_tls = (proxy, target) == ("https", "https")
                    assert lean == [kind == "lean" and not in_tls] * 3
                    assert pool.num_connections == 1
    assert outcomes["lean"] == outcomes["stock"]
    assert [outcome[0] for outcome in outcomes["lean"]] == [200] * 3


def test_a_refused_tunnel():
    def refuse(sock):
        read_request(sock)
        sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    outcomes = {}
    for kind, classes in POOLS.items():
        with serving(refuse) as port, urllib3.ProxyManager(f"http://127.0.0.1:{port}", timeout=10) as manager:
            manager.pool_classes_by_scheme = classes
            outcomes[kind], _ = asked(manager.connection_from_url("https://127.0.0.1:1"), GET)
    assert outcomes["lean"] == outcomes["stock"]
    assert outcomes["lean"][0][0] is urllib3.exceptions.ProxyError


@pytest.mark.parametrize(("scheme", "ending"), [("http", "reset"), ("http", "read"), ("https", "read")])
@pytest.mark.parametrize("size", [1000, 30_000_000])
def test_an_early_answer_to_an_upload(tls, files, scheme, ending, size):
    """The server answers 413 after the head, and closes on what is still coming or reads it: the answer arrives.

    Not with a reset in TLS: that breaks what was received before it too, at times, for urllib3 as for us.
    """

    def refuse(sock):
        received = b""
        while b"\r\n\r\n" not in received:
            received += sock.recv(100)
        sock.sendall(with_length(b"{}", b"Connection: close", status=b"HTTP/1.1 413 Too Large"))
        while ending == "read" and sock.recv(1 << 20):
            pass

    outcomes = {}
    for kind, classes in POOLS.items():
        with serving(refuse, tls if scheme == "https" else None) as port:
            options = {"ca_certs": files["ca"]} if scheme == "https" else {}
            with classes[scheme]("127.0.0.1", port, timeout=10, **options) as pool:
                outcomes[kind], _ = asked(pool, {**POST, "body": b"x" * size})
    assert outcomes["lean"] == outcomes["stock"]
    assert outcomes["lean"][0][0] == 413


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), ConnectionResetError(104, "reset"), OSError(5, "io"), TimeoutError("t")]
)
@pytest.mark.parametrize("size", [2, 100_000])
def test_what_sending_raises_comes_unwrapped(error, size):
    def outcome(connection_class):
        server = Server([[OK]])
        with contextlib.closing(server):
            connection = stepped(connection_class, server)("127.0.0.1", server.port)
            server.next_request()
            connection.connect()
            connection.sock.sendall = sends = FailingSend(connection.sock, error)
            with pytest.raises(type(error)) as caught:
                connection.request("POST", "/", b"x" * size)
            assert caught.value is error
            assert sends.is_used
            status = connection.getresponse().status
            connection.close()
            return status

    assert outcome(LEAN) == outcome(STOCK) == 200


class FailingSend:
    def __init__(self, sock, error):
        self.is_used = False
        self.error = error

    def __call__(self, data):
        self.is_used = True
        raise self.error


@pytest.mark.parametrize("timeout", [0.05, urllib3.Timeout(connect=5, read=0.05), urllib3.Timeout(total=0.05)])
@pytest.mark.parametrize("answer", [b"", OK[:20], OK[:-1]])
def test_read_timeouts(timeout, answer):
    ended = threading.Event()

    def handle(sock):
        read_request(sock)
        sock.sendall(answer)
        ended.wait(10)

    outcomes = {}
    for kind, classes in POOLS.items():
        with serving(handle) as port, classes["http"]("127.0.0.1", port) as pool:
            (error,), _ = asked(pool, GET, timeout=timeout)
            outcomes[kind] = error[0]  # its cause may be another when a slow machine uses the total up before
            ended.set()
        ended.clear()
    assert outcomes["lean"] == outcomes["stock"]
    assert outcomes["lean"] is urllib3.exceptions.ReadTimeoutError


def test_timeouts_of_a_reused_connection_are_set_anew():
    with serving(echo) as port, POOLS["lean"]["http"]("127.0.0.1", port) as pool:
        for timeout in (5, None, 7.5, urllib3.Timeout(connect=1, read=2)):
            pool.urlopen("POST", "/", b"{}", timeout=timeout)
            (connection,) = [idle for idle in pool.pool.queue if idle is not None]
            assert connection.sock.gettimeout() == getattr(timeout, "read_timeout", timeout)
        assert pool.num_connections == 1


def test_sending_has_the_connect_timeout_and_receiving_the_read_timeout():
    class Noting(Stepped):
        seen = ()

        def sendall(self, data):
            self.seen += (self.gettimeout(),)
            return super().sendall(data)

        def _step(self):
            self.seen += (self.gettimeout(),)
            super()._step()

    def seen(connection_class):
        server = Server([[OK], [OK]])
        with contextlib.closing(server):
            pool = urllib3.HTTPConnectionPool("127.0.0.1", server.port)
            pool.ConnectionCls = stepped(connection_class, server, Noting)
            for _ in range(2):
                server.next_request()
                pool.urlopen("GET", "/", timeout=urllib3.Timeout(connect=3, read=7))
            noted = pool.pool.queue[-1].sock.seen
            pool.close()
        return noted

    # A new socket has urllib3's connect timeout from `create_connection`, which these sockets do not go through.
    assert seen(LEAN)[1:] == seen(STOCK)[1:] == (7, 3, 7)


def test_a_socket_that_never_waits():
    ended = threading.Event()

    def handle(sock):
        read_request(sock)
        ended.wait(10)

    def outcome(connection_class):
        with serving(handle) as port, contextlib.closing(connection_class("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/")
            connection.timeout = 0
            with pytest.raises(Exception) as caught:  # noqa: PT011
                connection.getresponse()
            ended.set()
        ended.clear()
        return [kind for kind, _ in chain(caught.value)]

    assert outcome(LEAN) == outcome(STOCK)


def test_a_connection_that_cannot_be_made():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    errors = [asked(classes["http"]("127.0.0.1", port), GET)[0] for classes in POOLS.values()]
    assert errors[0] == errors[1]
    assert errors[0][0][0] is urllib3.exceptions.NewConnectionError


def test_threads_share_a_connection():
    answers = {}

    def ask(number):
        answers[number] = [connection.perform_request("GET", f"/{number}/{i}")[2] for i in range(50)]

    with serving(echo) as port:
        connection = SigV4HttpConnection("127.0.0.1", port, timeout=10)
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        connection.close()
    assert answers == {number: [f"GET /{number}/{i} HTTP/1.1 0" for i in range(50)] for number in range(8)}


# --- others that sit between urllib3 and the socket ----------------------------------------------------------


@pytest.fixture
def echo_port():
    with serving(echo) as port:
        yield port


def lean_connection(port):
    return contextlib.closing(SigV4HttpConnection("127.0.0.1", port, timeout=10))


def test_the_connection_has_lean_connections(echo_port, files):
    with lean_connection(echo_port) as connection:
        connection.perform_request("GET", "/")
        assert connection.pool.ConnectionCls is _transport.HTTPConnection
        assert isinstance(connection.pool.pool.queue[-1], _transport.HTTPConnection)
        assert type(connection.pool).urlopen is urllib3.HTTPConnectionPool.urlopen
        assert str(connection.pool) == str(urllib3.HTTPConnectionPool("127.0.0.1", echo_port))
    connection = SigV4HttpConnection("127.0.0.1", 1, use_ssl=True, ca_certs=files["ca"])
    assert connection.pool.ConnectionCls is _transport.HTTPSConnection
    connection.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_replaced_connection_class_is_respected(monkeypatch, files, scheme):
    """As vcrpy does it: for all pools that there are, while a cassette is in."""
    pool = SigV4HttpConnection("127.0.0.1", 1, use_ssl=scheme == "https", ca_certs=files["ca"]).pool
    stock = POOLS["stock"][scheme]
    lean = POOLS["lean"][scheme]._lean
    assert pool.ConnectionCls is lean

    class Recorder(stock.ConnectionCls):
        pass

    class Own(stock.ConnectionCls):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(stock, "ConnectionCls", Recorder)
        assert pool.ConnectionCls is Recorder
        assert type(pool._new_conn()) is Recorder
    assert pool.ConnectionCls is lean
    pool.ConnectionCls = None
    assert pool.ConnectionCls is None
    pool.ConnectionCls = Own
    assert type(pool._new_conn()) is Own
    del pool.ConnectionCls
    assert type(pool._new_conn()) is lean


def test_a_pool_of_ones_own_is_left_alone(echo_port, monkeypatch):
    class Own(urllib3.HTTPConnectionPool):
        pass

    monkeypatch.setattr(urllib3, "HTTPConnectionPool", Own)
    with lean_connection(echo_port) as connection:
        assert type(connection.pool) is Own
        assert connection.pool.ConnectionCls is STOCK
        connection.perform_request("GET", "/")


METHODS = ["putrequest", "putheader", "endheaders", "send", "getresponse"]
PATCHED = [(STOCK, "request"), (http.client.HTTPResponse, "begin"), (http.client.HTTPResponse, "read")]
PATCHED += [(urllib3.response.HTTPResponse, "__init__"), (urllib3.response.HTTPResponse, "read")]
PATCHED += [(owner, name) for owner in (STOCK, http.client.HTTPConnection) for name in METHODS]


class EqualWrapper:
    """A wrapper that says it is what it wraps, as wrapt's are, with which New Relic and Datadog patch."""

    def __init__(self, wrapped, calls):
        self.wrapped = wrapped
        self.calls = calls

    def __get__(self, instance, owner):
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args, **kwargs):
        self.calls.append(1)
        return self.wrapped(*args, **kwargs)

    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash(self.wrapped)


def plain_wrapper(original, calls):
    def patched(self, *args, **kwargs):
        calls.append(1)
        return original(self, *args, **kwargs)

    return patched


@pytest.mark.parametrize("wrapper", [plain_wrapper, EqualWrapper])
@pytest.mark.parametrize(("owner", "name"), PATCHED)
def test_patched_methods_are_called(echo_port, monkeypatch, owner, name, wrapper):
    """Tracers replace methods of http.client or urllib3, some in the middle of a program."""
    calls = []
    patched = wrapper(getattr(owner, name), calls)

    with lean_connection(echo_port) as connection:
        connection.perform_request("POST", "/", body=b"{}")
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, patched)
            assert connection.perform_request("POST", "/", body=b"{}")[2] == "POST / HTTP/1.1 2"
            seen = list(calls)
        connection.perform_request("POST", "/", body=b"{}")
    assert seen
    assert calls == seen


@pytest.mark.parametrize("name", METHODS)
def test_methods_patched_on_one_connection_are_called(echo_port, name):
    with lean_connection(echo_port) as connection:
        connection.perform_request("POST", "/", body=b"{}")
        one = connection.pool.pool.queue[-1]
        calls = []
        original = getattr(one, name)
        setattr(one, name, lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
        connection.perform_request("POST", "/", body=b"{}")
        assert calls


def test_http_clients_own_limits_and_version_are_kept(echo_port, monkeypatch):
    with lean_connection(echo_port) as connection:
        connection.perform_request("GET", "/")
        with monkeypatch.context() as patch:
            patch.setattr(http.client, "_MAXHEADERS", 0)
            with pytest.raises(OpenSearchConnectionError, match="got more than 0 headers"):
                connection.perform_request("GET", "/")
        with monkeypatch.context() as patch:
            patch.setattr(http.client.HTTPConnection, "_http_vsn", 10)
            patch.setattr(http.client.HTTPConnection, "_http_vsn_str", "HTTP/1.0")
            assert connection.perform_request("GET", "/")[2].startswith("GET / HTTP/1.0")


class CountedSocket(socket.socket):
    received = 0

    def recv_into(self, *args):
        size = super().recv_into(*args)
        CountedSocket.received += size
        return size


def test_sockets_of_others_are_read_as_urllib3_reads_them(echo_port, monkeypatch):
    """Recorders, rate limiters and fakes replace `socket.socket` by a class, or by a function."""
    original = socket.socket
    for replacement in (CountedSocket, lambda *args, **kwargs: original(*args, **kwargs)):
        with monkeypatch.context() as patch, lean_connection(echo_port) as connection:
            patch.setattr(socket, "socket", replacement)
            assert connection.perform_request("POST", "/", body=b"{}")[2] == "POST / HTTP/1.1 2"
            assert connection.perform_request("POST", "/", body=b"{}")[2] == "POST / HTTP/1.1 2"
    assert CountedSocket.received > 0


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("kind", ["stock", "lean"])
def test_an_answer_that_was_interrupted_is_not_asked_for_again(kind):
    """What is left of a body must not be taken for an answer, whoever catches the interruption."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = POOLS[kind]["http"]("127.0.0.1", 1).ConnectionCls("127.0.0.1", 1)
        connection.sock = ours
        connection.request("GET", "/")
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(evil))

        def interrupt(*_):
            theirs.sendall(evil)
            raise Interrupted

        previous = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with pytest.raises(Interrupted):
                connection.getresponse()
        finally:
            signal.signal(signal.SIGALRM, previous)
        with pytest.raises(http.client.ResponseNotReady):
            connection.getresponse()
        connection.close()


def test_a_connection_closed_by_another_thread():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = _transport.HTTPConnection("127.0.0.1", 1, timeout=10)
        connection.sock = ours
        connection.request("GET", "/")
        theirs.sendall(OK[:20])
        closer = threading.Timer(0.05, lambda: (connection.close(), theirs.close()))
        closer.start()
        with pytest.raises((OSError, http.client.HTTPException)) as caught:
            connection.getresponse()
        assert not isinstance(caught.value, http.client.ResponseNotReady)
        closer.join(10)


def test_names_are_not_kept_without_end():
    names = _transport._HeaderNames()
    for number in range(5000):
        assert names[f"X-{number}"] == f"x-{number}"
        assert names[f"X-{number}" + "a" * 9000] == f"x-{number}" + "a" * 9000
    assert len(names) <= names._MAX_SIZE
    assert max(map(len, names)) <= names._MAX_KEPT_CHARACTERS


class EqualText(str):
    """A header's name that is found where another one was."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("x-b")


def test_strings_that_pretend_are_not_sent(echo_port):
    with lean_connection(echo_port) as connection:
        connection.pool.urlopen("GET", "/", headers={"x-b": "1"})
        with pytest.raises(ValueError, match="Invalid header name"):
            connection.pool.urlopen("GET", "/", headers={EqualText("Evil: 1\r\nx"): "1"})


def test_a_replaced_response_class_is_used(echo_port, monkeypatch):
    class Own(urllib3.response.HTTPResponse):
        pass

    with lean_connection(echo_port) as connection:
        monkeypatch.setattr(urllib3.response, "HTTPResponse", Own)
        assert type(connection.pool.urlopen("GET", "/")) is Own


def test_http_clients_debug_level(echo_port, monkeypatch, capsys):
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with lean_connection(echo_port) as connection:
        connection.perform_request("POST", "/", body=b"{}")
    printed = capsys.readouterr().out
    assert "send: b'POST / HTTP/1.1" in printed
    assert "reply: 'HTTP/1.1 200 OK" in printed


SETTINGS = """
import http.client, socket, sys
import urllib3.connection
from opensearch_sigv4 import SigV4HttpConnection, _transport

connection = SigV4HttpConnection("127.0.0.1", int(sys.argv[1]))
socket.setdefaulttimeout(30)
http.client.HTTPConnection.debuglevel = 1
original = urllib3.connection.HTTPConnection.getresponse
urllib3.connection.HTTPConnection.getresponse = lambda self: int("broken for a while")
assert connection.pool.ConnectionCls is urllib3.connection.HTTPConnection
urllib3.connection.HTTPConnection.getresponse = original
assert connection.pool.ConnectionCls is _transport.HTTPConnection
http.client.HTTPConnection.debuglevel = 0
connection.perform_request("GET", "/")
connection.close()
"""


def test_passing_settings_do_not_turn_it_off_for_good(echo_port):
    command = [sys.executable, "-c", SETTINGS, str(echo_port)]
    printed = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert printed.stdout == ""


def test_a_urllib3_that_we_do_not_know_keeps_its_connections(echo_port, monkeypatch):
    assert _transport._is_known()
    with monkeypatch.context() as patch:
        patch.setattr(urllib3.connection._ResponseOptions, "_fields", ("other",))
        assert not _transport._looks_known()
    with monkeypatch.context() as patch:
        patch.delattr(urllib3.connection, "_ResponseOptions")
        assert not _transport._looks_known()
    for name, other in [
        ("version", lambda name: "2.9.0"),
        ("inspect", SimpleNamespace(signature=lambda function: inspect.signature(lambda self, method, url, new: 0))),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(_transport, name, other)
            assert not _transport._looks_known()
    monkeypatch.setattr(_transport, "_is_known", lambda: False)
    with lean_connection(echo_port) as connection:
        assert connection.pool.ConnectionCls is STOCK
        assert connection.perform_request("GET", "/")[0] == 200


@pytest.mark.parametrize("name", ["plain", "empty body", "spaced reason", "gzip", "gzip that is not", "junk behind"])
def test_a_response_with_attributes_that_we_do_not_know(monkeypatch, name):
    monkeypatch.setattr(_transport, "_response_attributes", lambda: None)
    assert_same([ANSWERS[name], *LATER], [GET, POST, GET])


def test_attributes_that_we_do_not_know_are_seen(monkeypatch):
    original = urllib3.response.HTTPResponse.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.new = 1

    assert _transport._response_attributes.__wrapped__() is not None
    monkeypatch.setattr(urllib3.response.HTTPResponse, "__init__", init)
    assert _transport._response_attributes.__wrapped__() is None


AUDITED = """
import sys, urllib3, urllib3.connection
from opensearch_sigv4 import _transport

events = []
sys.addaudithook(lambda name, args: events.append((name, args[1:])) if name.startswith("http.client") else None)
for connection_class in (urllib3.connection.HTTPConnection, _transport.HTTPConnection):
    with urllib3.HTTPConnectionPool("127.0.0.1", int(sys.argv[1])) as pool:
        pool.ConnectionCls = connection_class
        pool.urlopen("GET", "/")
        pool.urlopen("POST", "/", b"{}")
        pool.urlopen("POST", "/", bytearray(100_000))
half = len(events) // 2
assert events[:half] == events[half:], events
assert half == 6, events
"""


def test_audit_events(echo_port):
    subprocess.run([sys.executable, "-c", AUDITED, str(echo_port)], check=True, timeout=60)


PATCHED_BEFORE = """
import http.client, sys
original = http.client.HTTPConnection.putrequest
calls = []
http.client.HTTPConnection.putrequest = lambda *args, **options: calls.append(1) or original(*args, **options)
from opensearch_sigv4 import SigV4HttpConnection
connection = SigV4HttpConnection("127.0.0.1", int(sys.argv[1]))
connection.perform_request("GET", "/")
connection.close()
assert len(calls) == 1, calls
"""


def test_methods_that_were_patched_before_are_called(echo_port):
    subprocess.run([sys.executable, "-c", PATCHED_BEFORE, str(echo_port)], check=True, timeout=60)
