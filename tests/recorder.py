"""A server that answers every request with what its test says, and keeps what it received. Fixture `server`."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace


class Recorder(BaseHTTPRequestHandler):
    """Answers every request with what the server's `answer` says, and keeps what it received."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart: a kept-alive connection would wait 40 ms in between

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.received.append((self.command, self.path, self.headers.items(), body))
        answer = self.server.answer
        status, headers, answer = answer(self) if callable(answer) else answer
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            for each in value if isinstance(value, list) else [value]:
                self.send_header(name, each)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def recorder(tls=None):
    """A server with `url`; `received`: (method, target, headers, body) of each request; and `answer`.

    That is (status, headers, body), or a function of the handler, in its thread, that returns one. A header whose
    value is a list is sent once for each. `tls` is the SSLContext of a server.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # of a client that did not wait for its answer
        server.received = []
        server.answer = (200, {}, b"{}")
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@contextlib.contextmanager
def nowhere():
    """What looks like a recorder and is a port on which nothing listens, and nothing else will."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield SimpleNamespace(url=f"http://127.0.0.1:{reserved.getsockname()[1]}", received=[])


def sent(server):
    headers = {}
    for name, value in server.received[-1][2]:
        assert name.lower() not in headers, f"{name} was sent twice"
        headers[name.lower()] = value
    return headers
