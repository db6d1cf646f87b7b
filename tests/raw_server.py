"""An HTTP server that keeps the bytes of each request as they came: nothing is parsed away that might be a secret."""

import re
import socket
import threading
from contextlib import suppress

OK = (200, {})


class RawServer:
    """On loopback; one request a connection, each answered with what `answer(request_line)` returns.

    That is a status, headers as str or bytes, and a text if there is one. `requests` holds each request's head and
    body.
    """

    def __init__(self, answer=lambda line: OK, *, tls=None):
        self._answer = answer
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.requests = []
        self.port = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Closing the listener would not end an accept that is under way.
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"stop")
        self._thread.join(10)
        self._listener.close()

    def _serve(self):
        while True:
            connection, _ = self._listener.accept()
            connection.settimeout(10)
            with connection:
                if connection.recv(4, socket.MSG_PEEK) == b"stop":
                    return
                if self._tls is not None:
                    try:
                        connection = self._tls.wrap_socket(connection, server_side=True)
                    except OSError:  # whom the client did not trust
                        continue
                with connection, connection.makefile("rb") as file:
                    if request := read_request(file):
                        self.requests.append(request)
                        connection.sendall(answer_of(*self._answer(request[0].split(b"\r\n")[0].decode())))


def read_request(file):
    """Head and body, the latter without the framing of a chunked one; None at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            return None
        head += line
    if length := re.search(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n", head):
        return head, file.read(int(length[1]))
    body = b""
    if b"transfer-encoding: chunked" in head.lower():
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        file.readline()
    return head, body


def answer_of(status, headers, text=""):
    body = text.encode()
    lines = [f"HTTP/1.1 {status} Any".encode(), f"content-length: {len(body)}".encode(), b"connection: close"]
    for name, value in headers.items():
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def tells_nothing(request, token):
    """Whether a raw request holds neither a signature, nor any x-amz-* header, nor the token; never shown."""
    raw = b"".join(request).lower()
    return not any(secret in raw for secret in (b"authorization", b"x-amz-", b"aws4", token.lower().encode()))
