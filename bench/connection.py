"""What one small request costs its client: a POST of 1 KB and an answer of 300 bytes, ours and the peers', in one run.

    python bench/connection.py [--quick] [--markdown] [--json FILE]

Each row is a client in a process of its own, over loopback and one connection that stays open, to one server in
another process. What is measured and what is not is in bench/README.md.
"""

import asyncio
import contextlib
import itertools
import json
import re
import socket
import ssl
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import harness
from sign import ACCESS_KEY, REGION, SECRET_KEY, SERVICE, TOKEN

SCHEMES = ("http", "https")
BODY_SIZE = 1 << 10
MESSAGE = "a" * (BODY_SIZE - 41)
BODY = b'{"number":"%015d","message":"' + MESSAGE.encode() + b'"}'
ANSWER = b'{"took":3,"errors":false,"items":[{"index":{"_id":"1","result":"created","status":201}}],"filler":"'
ANSWER += b"x" * (300 - len(ANSWER) - 2) + b'"}'
HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n"
    b"Content-Type: application/json; charset=UTF-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: keep-alive\r\n"
    b"access-control-allow-origin: *\r\n"
    b"x-amzn-requestid: 0aa11bb2-c3c3-4d4d-8e8e-5f5f6a6a7b7b\r\n"
    b"\r\n" % len(ANSWER)
)
EXPECTED = (200, ANSWER.decode())
EXPECTED_PARSED = json.loads(ANSWER)

OPENSEARCH_PY = "opensearch-py, unsigned"
OPENSEARCH_PY_SIGNED = "opensearch-py, signed"
CYTHON = "ours, signed (cython)"
PYTHON = "ours, signed (python)"
STOCK = "ours, signed (python), urllib3's connections"
UNSIGNED = "ours, unsigned"
URLOPEN = "urllib3 urlopen"
HTTP_CLIENT = "http.client"
RAW = "raw socket"
CLIENT_OPENSEARCH_PY = "opensearch-py, signed, with its client"
CLIENT_CYTHON = "ours, signed (cython), with the client"
CLIENT_PYTHON = "ours, signed (python), with the client"
ASYNC_OPENSEARCH_PY = "opensearch-py async, unsigned"
ASYNC_OPENSEARCH_PY_SIGNED = "opensearch-py async, signed"
ASYNC_CYTHON = "ours async, signed (cython)"
ASYNC_PYTHON = "ours async, signed (python)"
AIOHTTP = "aiohttp alone"

_BATCH = 50


# --- the server ---------------------------------------------------------------------------------------------


class Server:
    """Answers every request with the same bytes, and keeps the last one of each target."""

    def __init__(self):
        import trustme

        self.last = {}
        self.directory = tempfile.TemporaryDirectory(prefix="bench-")
        authority = trustme.CA()
        self.ca_certs = str(Path(self.directory.name, "ca.pem"))
        authority.cert_pem.write_to_path(self.ca_certs)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.ports = {"http": self.listen(None), "https": self.listen(context)}

    def listen(self, context):
        listener = socket.create_server(("127.0.0.1", 0))

        def accept():
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.serve, args=(connection, context), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    def serve(self, connection, context):
        with contextlib.suppress(OSError):
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            find_length = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)").search
            received = b""
            while data := connection.recv(1 << 16):
                received += data
                end = received.find(b"\r\n\r\n")
                if end >= 0 and len(received) == end + 4 + int(find_length(received)[1]):
                    self.last[received.split(b" ", 2)[1]] = received
                    received = b""
                    connection.sendall(HEAD + ANSWER)


def serve_answers():
    server = Server()

    def tell(what, *arguments):
        return (server.ports, server.ca_certs) if what == "address" else server.last.get(*arguments)

    return tell


# --- the clients --------------------------------------------------------------------------------------------
# Each takes (scheme, port, ca_certs, target) and returns a function of one body that returns (status, text), or a
# coroutine function.


def _perform_request(connection, target):
    def ask(body):
        status, _, text = connection.perform_request("POST", target, body=body)
        return status, text

    return ask


def refreshable():
    """botocore's credentials of an assumed role, with hours to go."""
    from botocore.credentials import RefreshableCredentials

    expiry = datetime.now(UTC) + timedelta(hours=6)
    metadata = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": TOKEN, "expiry_time": expiry.isoformat()}
    return RefreshableCredentials.create_from_metadata(metadata, refresh_using=None, method="bench")


def _tls(scheme, ca_certs):
    return {"use_ssl": True, "ca_certs": ca_certs} if scheme == "https" else {}


def opensearch_py(scheme, port, ca_certs, target):
    from opensearchpy import Urllib3HttpConnection

    return _perform_request(Urllib3HttpConnection("127.0.0.1", port, **_tls(scheme, ca_certs)), target)


def opensearch_py_signed(scheme, port, ca_certs, target):
    from opensearchpy import Urllib3AWSV4SignerAuth, Urllib3HttpConnection

    auth = Urllib3AWSV4SignerAuth(refreshable(), REGION, SERVICE)
    options = _tls(scheme, ca_certs)
    return _perform_request(Urllib3HttpConnection("127.0.0.1", port, http_auth=auth, **options), target)


def _ours(scheme, port, ca_certs, **options):
    from opensearch_sigv4 import SigV4HttpConnection

    return SigV4HttpConnection("127.0.0.1", port, **_tls(scheme, ca_certs), **options)


def _need(backend):
    import opensearch_sigv4

    if opensearch_sigv4.backend != backend:
        raise harness.Unavailable(f"opensearch_sigv4.backend is {opensearch_sigv4.backend!r} (is the extension built?)")


def _ours_signed(backend, scheme, port, ca_certs):
    _need(backend)
    return _ours(scheme, port, ca_certs, region=REGION, service=SERVICE, credentials=refreshable())


def ours_cython(*address, target):
    return _perform_request(_ours_signed("cython", *address), target)


def ours_python(*address, target):
    return _perform_request(_ours_signed("python", *address), target)


def ours_stock(scheme, port, ca_certs, target):
    import urllib3

    connection = _ours_signed("python", scheme, port, ca_certs)
    stock = urllib3.HTTPSConnectionPool if scheme == "https" else urllib3.HTTPConnectionPool
    connection.pool.ConnectionCls = stock.ConnectionCls
    return _perform_request(connection, target)


def ours_unsigned(*address, target):
    return _perform_request(_ours(*address), target)


_HEADERS = {"content-type": "application/json", "connection": "keep-alive", "user-agent": "bench"}


def urlopen(scheme, port, ca_certs, target):
    import urllib3

    if scheme == "https":
        pool = urllib3.HTTPSConnectionPool("127.0.0.1", port, timeout=10, ca_certs=ca_certs)
    else:
        pool = urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=10)

    def ask(body):
        response = pool.urlopen("POST", target, body, headers=_HEADERS, retries=False)
        return response.status, response.data.decode()

    return ask


def http_client(scheme, port, ca_certs, target):
    import http.client

    if scheme == "https":
        context = ssl.create_default_context(cafile=ca_certs)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(body):
        connection.request("POST", target, body, _HEADERS)
        response = connection.getresponse()
        return response.status, response.read().decode()

    return ask


def raw_socket(scheme, port, ca_certs, target):
    """The floor: no answer is parsed, only what has this length is cut out of it."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if scheme == "https":
        sock = ssl.create_default_context(cafile=ca_certs).wrap_socket(sock, server_hostname="127.0.0.1")
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {BODY_SIZE}\r\n\r\n".encode()

    def ask(body):
        sock.sendall(head + body)
        answer = sock.recv(1 << 16)
        while len(answer) < len(HEAD) + len(ANSWER):
            answer += sock.recv(1 << 16)
        return int(answer[9:12]), answer[-len(ANSWER) :].decode()

    return ask


def _client(client, target):
    """All that a program waits for: a document made text, sent by opensearch-py's transport, and the answer parsed."""

    def ask(body):
        document = {"number": body[11:26].decode(), "message": MESSAGE}
        answer = client.transport.perform_request("POST", target, body=document)
        return EXPECTED if answer == EXPECTED_PARSED else answer

    return ask


def client_opensearch_py(scheme, port, ca_certs, target):
    from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth

    auth = Urllib3AWSV4SignerAuth(refreshable(), REGION, SERVICE)
    host = {"host": "127.0.0.1", "port": port}
    return _client(OpenSearch([host], http_auth=auth, **_tls(scheme, ca_certs)), target)


def _our_client(backend, scheme, port, ca_certs, target):
    from opensearch_sigv4 import connect

    _need(backend)
    options = {"ca_certs": ca_certs} if scheme == "https" else {}
    url = f"{scheme}://127.0.0.1:{port}"
    return _client(connect(url, region=REGION, service=SERVICE, credentials=refreshable(), **options), target)


def client_cython(*address, target):
    return _our_client("cython", *address, target)


def client_python(*address, target):
    return _our_client("python", *address, target)


def _perform_request_async(connection, target):
    async def ask(body):
        status, _, text = await connection.perform_request("POST", target, body=body)
        return status, text

    return ask


def async_opensearch_py(scheme, port, ca_certs, target, **options):
    from opensearchpy import AsyncHttpConnection

    connection = AsyncHttpConnection("127.0.0.1", port, **_tls(scheme, ca_certs), **options)
    return _perform_request_async(connection, target)


def async_opensearch_py_signed(*address, target):
    from opensearchpy import AWSV4SignerAsyncAuth

    return async_opensearch_py(*address, target, http_auth=AWSV4SignerAsyncAuth(refreshable(), REGION, SERVICE))


def _ours_async(backend, scheme, port, ca_certs, target):
    from opensearch_sigv4 import AsyncSigV4HttpConnection

    _need(backend)
    options = {"region": REGION, "service": SERVICE, "credentials": refreshable(), **_tls(scheme, ca_certs)}
    return _perform_request_async(AsyncSigV4HttpConnection("127.0.0.1", port, **options), target)


def async_cython(*address, target):
    return _ours_async("cython", *address, target)


def async_python(*address, target):
    return _ours_async("python", *address, target)


def aiohttp_alone(scheme, port, ca_certs, target):
    import aiohttp
    import yarl

    context = ssl.create_default_context(cafile=ca_certs) if scheme == "https" else True
    url = yarl.URL(f"{scheme}://127.0.0.1:{port}{target}", encoded=True)
    session = None

    async def ask(body):
        nonlocal session
        if session is None:
            connector = aiohttp.TCPConnector(ssl=context)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        async with session.post(url, data=body, headers=_HEADERS) as response:
            return response.status, await response.text()

    return ask


ROWS = {
    OPENSEARCH_PY: opensearch_py,
    OPENSEARCH_PY_SIGNED: opensearch_py_signed,
    CYTHON: ours_cython,
    PYTHON: ours_python,
    STOCK: ours_stock,
    UNSIGNED: ours_unsigned,
    URLOPEN: urlopen,
    HTTP_CLIENT: http_client,
    RAW: raw_socket,
    CLIENT_OPENSEARCH_PY: client_opensearch_py,
    CLIENT_CYTHON: client_cython,
    CLIENT_PYTHON: client_python,
    ASYNC_OPENSEARCH_PY: async_opensearch_py,
    ASYNC_OPENSEARCH_PY_SIGNED: async_opensearch_py_signed,
    ASYNC_CYTHON: async_cython,
    ASYNC_PYTHON: async_python,
    AIOHTTP: aiohttp_alone,
}
SIGNED = (
    *(OPENSEARCH_PY_SIGNED, CYTHON, PYTHON, STOCK),
    *(CLIENT_OPENSEARCH_PY, CLIENT_CYTHON, CLIENT_PYTHON),
    *(ASYNC_OPENSEARCH_PY_SIGNED, ASYNC_CYTHON, ASYNC_PYTHON),
)
ASYNC = (ASYNC_OPENSEARCH_PY, ASYNC_OPENSEARCH_PY_SIGNED, ASYNC_CYTHON, ASYNC_PYTHON, AIOHTTP)


# --- a row's process ----------------------------------------------------------------------------------------


def target_of(row, scheme):
    return f"/{scheme:5}-{list(ROWS).index(row)}/_bulk".replace(" ", "-")


def ask_all(row, ports, ca_certs):
    """What a worker runs: returns the function that measures one round, and how many answers were wrong in it."""
    clients = {scheme: ROWS[row](scheme, ports[scheme], ca_certs, target=target_of(row, scheme)) for scheme in SCHEMES}
    numbers = itertools.count()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # aiohttp's, for sessions that are open until the process ends

    async def wrong_answers(ask, bodies):
        return sum([await ask(body) != EXPECTED for body in bodies])

    def measure(scheme, budget_s):
        ask = clients[scheme]
        wrong = 0

        def run(bodies):
            nonlocal wrong
            if row in ASYNC:
                wrong += loop.run_until_complete(wrong_answers(ask, bodies))
            else:
                wrong += sum([ask(body) != EXPECTED for body in bodies])
            return bodies[-1]

        batches = iter(lambda: [BODY % number for number in itertools.islice(numbers, _BATCH)], None)
        sample, last = harness.timed(run, batches, budget_s)
        return sample, wrong, last

    return measure


def start(row, ports, ca_certs):
    env = {"OPENSEARCH_SIGV4_NO_EXTENSIONS": "1"} if row in (PYTHON, STOCK, CLIENT_PYTHON, ASYNC_PYTHON) else {}
    return harness.Worker(row, ask_all, row, ports, ca_certs, env=env)


# --- correct? -----------------------------------------------------------------------------------------------


def correct(row, scheme, received, body):
    """Whether the last request of a round is the one that was sent, and signed so that awscrt signs it alike."""
    from opensearch_sigv4.testing.verify import VERIFIED, Credentials, verify

    head, _, received_body = received.partition(b"\r\n\r\n")
    request_line, *lines = head.split(b"\r\n")
    method, target, _ = request_line.split(b" ")
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    if (method, target.decode(), received_body) != (b"POST", target_of(row, scheme), body):
        return False
    is_signed = any(name.lower() == b"authorization" for name, _ in headers)
    if row not in SIGNED:
        return not is_signed
    verdict = verify(
        "POST",
        target,
        headers,
        received_body,
        region=REGION,
        service=SERVICE,
        find_credentials=lambda _: Credentials(ACCESS_KEY, SECRET_KEY, TOKEN),
        now=time.time(),
    )
    return verdict.code == VERIFIED


# --- measuring and printing ---------------------------------------------------------------------------------


def measure(asked, server, scheme, rounds, budget_s):
    """{row: summary, with "correct"}, rows in turn."""
    samples = {row: [] for row in asked}
    is_correct = dict.fromkeys(asked, True)
    for number in range(rounds + 1):
        for row, worker in asked.items():
            sample, wrong, body = worker.ask(scheme, budget_s)
            received = server.ask("last", target_of(row, scheme).encode())
            is_correct[row] &= not wrong and correct(row, scheme, received, body)
            if number:  # the first warms up
                samples[row].append(sample)
    return {row: {**harness.summary(samples[row]), "correct": "yes" if is_correct[row] else "WRONG"} for row in asked}


def scheme_tables(results, *, markdown):
    """One for those that block and one for asyncio, each with its ratios to opensearch-py's, unsigned."""
    groups = [(OPENSEARCH_PY, [row for row in results if row not in ASYNC]), (ASYNC_OPENSEARCH_PY, ASYNC)]
    return "\n\n".join(
        scheme_table({row: results[row] for row in rows if row in results}, base, markdown=markdown)
        for base, rows in groups
    )


def scheme_table(results, base, *, markdown):
    header = ["us per request", "CPU min", "median", "wall min", "median", f"/ {base}", "median", "correct"]
    base = results[base]["cpu_us"]
    lines = []
    for row, result in results.items():
        cpu, wall = result["cpu_us"], result["wall_us"]
        times = [cpu["min"], cpu["median"], wall["min"], wall["median"]]
        ratios = [cpu["min"] / base["min"], cpu["median"] / base["median"]]
        lines.append([row, *(f"{us:.1f}" for us in times), *(f"{ratio:.2f}" for ratio in ratios), result["correct"]])
    return harness.table(header, lines, markdown=markdown)


def targets(schemes):
    """[(what, ratio, at least, aim)]: the targets of `perform_request`; the smaller the better."""
    results = schemes["http"]
    return [
        (row, results[row]["cpu_us"]["min"] / results[OPENSEARCH_PY]["cpu_us"]["min"], 0.85, 0.6)
        for row in (CYTHON, PYTHON)
        if row in results
    ]


def reached(ratio, target, aim):
    return "aim" if ratio <= aim else "target" if ratio <= target else "missed"


def targets_table(targets, *, judged, markdown):
    lines = []
    for what, ratio, target, aim in targets:
        verdict = reached(ratio, target, aim) if judged else "not judged"
        lines.append([what, f"{ratio:.3f}", f"{target:g}", f"{aim:g}", verdict])
    header = [f"http, ratio of CPU minima to {OPENSEARCH_PY}", "measured", "target", "aim", "reached"]
    return harness.table(header, lines, markdown=markdown)


def main():
    options = harness.arguments(__doc__.partition("\n")[0]).parse_args()
    rounds = options.rounds or (2 if options.quick else 15)
    budget_s = 0.001 if options.quick else 0.05

    machine = harness.machine()
    versions, notes = harness.versions("opensearch-sigv4", "opensearch-py", "urllib3", "aiohttp", "botocore", "awscrt")
    print(machine, ", ".join(f"{name} {version}" for name, version in versions.items()), sep="\n")

    schemes = {}
    server = harness.Worker("server", serve_answers)
    with contextlib.closing(server):
        server.wait_until_ready()
        ports, ca_certs = server.ask("address")
        with harness.workers([start(row, ports, ca_certs) for row in ROWS]) as (asked, left_out):
            notes += left_out
            for note in notes:
                print(f"NOTE: {note}")
            for scheme in SCHEMES:
                schemes[scheme] = measure(asked, server, scheme, rounds, budget_s)
                print(f"\n{scheme}\n\n{scheme_tables(schemes[scheme], markdown=options.markdown)}")

    print()
    print(targets_table(targets(schemes), judged=not options.quick, markdown=options.markdown))
    found = [
        f"WRONG: {row}, {scheme}"
        for scheme, results in schemes.items()
        for row, result in results.items()
        if result["correct"] != "yes"
    ]
    print("", *(found or ["every answer, and every signature checked, is correct"]), sep="\n")
    harness.write_json(options, as_json(machine, versions, notes, schemes, found))
    return 1 if found else 0


def as_json(machine, versions, notes, schemes, found):
    return {
        "machine": machine,
        "versions": versions,
        "notes": notes,
        "schemes": schemes,
        "targets": [
            dict(zip(("row", "measured", "target", "aim"), target, strict=True)) for target in targets(schemes)
        ],
        "problems": found,
    }


if __name__ == "__main__":
    raise SystemExit(main())
