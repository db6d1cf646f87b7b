"""The lean connections: byte for byte and answer for answer what urllib3's own do.

The differential tests run one script of a server twice, once against urllib3's connections and once against ours. The
sockets are real, on loopback, and one thread drives both ends: a client that wants to receive first makes the server
send its next piece, so that where the pieces break is the test's to say, and nothing waits.
"""

import array
import contextlib
import fcntl
import gzip
import http.client
import io
import logging
import re
import select
import socket
import struct
import sys
import termios
import threading
import zlib

import pytest
import trustme
import urllib3
import urllib3.connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
        self.peers = []
        self.received = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def connect(self):
        sock = Stepped(socket.AF_INET, socket.SOCK_STREAM)
        sock.server = self
        sock.connect(self.listener.getsockname())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.peer, _ = self.listener.accept()
        sock.peer.setblocking(False)
        sock.number = len(self.peers)
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


class Stepped(socket.socket):
    def _step(self):
        pending = array.array("i", [0])
        fcntl.ioctl(self.fileno(), termios.FIONREAD, pending)
        if not pending[0] and self.peer.fileno() >= 0:
            self.server.step(self)

    def recv(self, *args):
        self._step()
        return super().recv(*args)

    def recv_into(self, *args):
        self._step()
        return super().recv_into(*args)


def stepped(connection_class, server):
    class Connection(connection_class):
        def _new_conn(self):
            return server.connect()

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
            request = dict(request)  # noqa: PLW2901
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
