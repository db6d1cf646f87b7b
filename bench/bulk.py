"""What a document costs the client that indexes it in bulk: opensearch-py's helpers and ours, plain and gzip.

    python bench/bulk.py [--quick] [--markdown] [--json FILE]

Each row is a process of its own and sends the same documents over loopback to one sink in another process, which
answers as OpenSearch does and keeps what it received. What is measured and what is not is in bench/README.md.
"""

import asyncio
import contextlib
import gc
import gzip
import hashlib
import importlib.util
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import harness
from connection import refreshable
from sign import ACCESS_KEY, REGION, SECRET_KEY, SERVICE, TOKEN

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "debian-packages.ndjson.gz"
ENCODINGS = ("plain", "gzip")
INDEX = "packages"
KEY = "package"  # the field that is also each document's id
PLANTED_EVERY, PLANTED_AT = 1000, 500  # of a thousand documents one is refused
COPIES = 4  # of the documents, in the file for the command
EQUAL_CHUNK = 500  # opensearch-py's default
_TIMEOUT_S = 60
_MODULUS = 1 << 256

UNSIGNED = "opensearch-py, unsigned"
SIGNED = "opensearch-py, signed"
PARALLEL = "opensearch-py, parallel_bulk"
CONNECTION = "opensearch-py, our connection"
CYTHON = "ours (cython)"
EQUAL = "ours (cython), chunks of 500"
PYTHON = "ours (python)"
OUR_PARALLEL = "ours (cython), parallel_bulk"
COMMAND = "our command"


# --- documents ----------------------------------------------------------------------------------------------


def generated(count):
    """Lines like those of the Debian packages, from a seed: for where those are not."""
    numbers = random.Random(20261124)
    words = ["".join(numbers.choices("abcdefghijklmnopqrstuvwxyz", k=numbers.randint(3, 11))) for _ in range(4000)]
    for number in range(count):
        name = f"{numbers.choice(words)}-{number}"
        document = {
            KEY: name,
            "version": f"{numbers.randint(0, 9)}.{numbers.randint(0, 99)}-{numbers.randint(1, 9)}",
            "architecture": numbers.choice(["amd64", "all"]),
            "section": numbers.choice(words[:58]),
            "installed_size_kib": int(10 ** numbers.uniform(1, 5)),
            "size_bytes": int(10 ** numbers.uniform(3, 8)),
            "summary": " ".join(numbers.choices(words, k=numbers.randint(3, 9))) + numbers.choice(["", "", " für ü"]),
            "homepage": f"https://{numbers.choice(words)}.example.org/{name}",
            "depends": [
                f"{word} (>= {numbers.randint(0, 9)}.{numbers.randint(0, 99)})"
                for word in numbers.choices(words, k=numbers.randint(0, 10))
            ],
            "sha256": numbers.randbytes(32).hex(),
            "filename": f"pool/main/{name[0]}/{name}/{name}_amd64.deb",
        }
        yield json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def write_documents(path, count):
    """Write the first `count` documents, one a line; (what they are, their ids in order, what the sink is to get)."""
    if DATA.exists():
        what = DATA.name
        with gzip.open(DATA) as lines:
            chosen = [line for line, _ in zip(lines, range(count), strict=False)]
    else:
        what, chosen = "generated documents", list(generated(count))
    path.write_bytes(b"".join(chosen))
    documents = [json.loads(line) for line in chosen]
    return (
        what,
        [document[KEY] for document in documents],
        meaning((["index", {"_index": INDEX, "_id": document[KEY]}], document) for document in documents),
    )


def meaning(pairs):
    """What ([action, metadata], document) pairs mean, in whatever order: their number, and sums of their hashes."""
    count = documents = actions = 0
    for action, document in pairs:
        content = _canonical(document)
        documents += _hash(content)
        actions += _hash(_canonical(action) + b"\n" + content)
        count += 1
    return {"count": count, "documents": documents % _MODULUS, "actions": actions % _MODULUS}


def _canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _hash(content):
    return int.from_bytes(hashlib.sha256(content).digest(), "big")


def planted(ids):
    """The documents that the sink refuses."""
    return [identifier for number, identifier in enumerate(ids) if number % PLANTED_EVERY == PLANTED_AT]


# --- the sink -----------------------------------------------------------------------------------------------

_FIND_KEYS = re.compile(rb'"%s": *"([^"\\]*)"' % KEY.encode()).findall
_FIND_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)").search
_FIND_ENCODING = re.compile(rb"(?i)\r\ncontent-encoding: *([^\r]*)").search
_TAKES_GZIP = re.compile(rb"(?i)\r\naccept-encoding:[^\r]*gzip").search
_HEAD = (
    b"HTTP/1.1 %d %s\r\n"
    b"Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n"
    b"content-type: application/json; charset=UTF-8\r\n"
    b"%b"
    b"content-length: %d\r\n"
    b"access-control-allow-origin: *\r\n"
    b"x-amzn-requestid: 0aa11bb2-c3c3-4d4d-8e8e-5f5f6a6a7b7b\r\n"
    b"\r\n"
)


def item(number, identifier, is_planted):
    """A document's item, as OpenSearch 2 words it."""
    told = {"_index": INDEX, "_id": identifier}
    if is_planted:
        cause = {"type": "illegal_argument_exception", "reason": 'For input string: "9223372036854775808"'}
        reason = f"failed to parse field [size_bytes] of type [long] in document with id '{identifier}'."
        told |= {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": reason, "caused_by": cause}}
    else:
        told |= {"_version": 1, "result": "created", "_shards": {"total": 2, "successful": 1, "failed": 0}}
        told |= {"_seq_no": number, "_primary_term": 1, "status": 201}
    return {"index": told}


class Sink:
    """Answers each `_bulk` request from items made before, and keeps it until it is asked what it was.

    Args:
        ids: the documents' ids; what comes with another id is answered with 400.
        drops: how many documents of a round it forgets, for the test that this is seen.
    """

    def __init__(self, ids, drops=0):
        from isal import igzip

        from opensearch_sigv4.testing import faults

        self.gunzip, self.gzip, self.filtered = igzip.decompress, igzip.compress, faults.filtered
        refused = frozenset(planted(ids))
        self.items = {
            identifier.encode(): item(number, identifier, identifier in refused)
            for number, identifier in enumerate(ids)
        }
        self.refused = frozenset(identifier.encode() for identifier in refused)
        self.answers = {}  # {filter_path: (an answer's begin with and without errors, {id: item})}
        self.drops = drops
        self.received = []
        self.answer_bytes = 0
        self.digests = {}
        self.transports = set()
        ready = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=(self.serve(ready),), daemon=True)
        self.thread.start()
        ready.wait(30)

    async def serve(self, ready):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self.loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await self.stop.wait()
            for transport in self.transports:  # leaving the server's block waits for them
                transport.abort()

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()

    def answer(self, head, body):
        """The bytes that answer a request."""
        self.received.append((head, body))
        content, status, reason, encoded = b'{"error":"unknown","status":400}', 400, b"Bad Request", b""
        with contextlib.suppress(LookupError, ValueError, OSError):
            plain = self.plain(head, body)
            ids = _FIND_KEYS(plain)
            beginnings, items = self.prepared(_query(head).get("filter_path", ""))
            chosen = [items[identifier] for identifier in ids]
            has_errors = not self.refused.isdisjoint(ids)
            content = beginnings[has_errors] + b",".join(filter(None, chosen)) + b"]}"
            status, reason = 200, b"OK"
        if _TAKES_GZIP(head):
            content, encoded = self.gzip(content, 1), b"content-encoding: gzip\r\n"
        answer = _HEAD % (status, reason, encoded, len(content)) + content
        self.answer_bytes += len(answer)
        return answer

    def prepared(self, filter_path):
        if filter_path not in self.answers:
            patterns = filter_path.split(",") if filter_path else []
            items, beginnings = {}, []
            for identifier, told in self.items.items():
                kept = self.filtered({"items": [told]}, patterns).get("items", [])
                items[identifier] = b"".join(json.dumps(one, separators=(",", ":")).encode() for one in kept)
            for errors in (False, True):
                kept = self.filtered({"took": 30, "errors": errors}, patterns)
                beginning = json.dumps(kept, separators=(",", ":"))[:-1]
                beginnings.append((beginning + ("," if kept else "") + '"items":[').encode())
            self.answers[filter_path] = beginnings, items
        return self.answers[filter_path]

    def plain(self, head, body):
        """A request's body as it was before its encoding."""
        encoding = _encoding(head)
        if encoding not in ("", "gzip"):
            raise ValueError(f"unknown encoding {encoding!r}")
        return self.gunzip(body) if encoding else bytes(body)

    def tell(self):
        """What was received since the last time, as `problem` compares it."""
        received, self.received = self.received, []
        answer_bytes, self.answer_bytes = self.answer_bytes, 0
        total = {"count": 0, "documents": 0, "actions": 0}
        for head, body in received:
            for name, number in self.digest(_path(head), self.plain(head, body)).items():
                total[name] = (total[name] + number) % _MODULUS
        total["count"] -= self.drops
        return {
            **total,
            "requests": len(received),
            "encodings": sorted({_encoding(head) for head, _ in received}),
            "wire_bytes": sum(len(head) + len(body) for head, body in received),
            "body_bytes": sum(len(body) for _, body in received),
            "answer_bytes": answer_bytes,
            "signatures": sorted({signature(head, body) for head, body in received}),
        }

    def digest(self, path, plain):
        """`meaning` of a body."""
        key = hashlib.sha256(path.encode() + b"\n" + plain).digest()
        if key not in self.digests:  # the next round has the same again
            self.digests[key] = meaning(_pairs(plain, path.strip("/").removesuffix("_bulk").strip("/")))
        return self.digests[key]


def _pairs(plain, index):
    lines = iter(plain.split(b"\n")[:-1])
    for line in lines:
        ((action, metadata),) = json.loads(line).items()
        yield [action, {"_index": index, **metadata}], json.loads(next(lines))


class _Connection(asyncio.Protocol):
    """Collects a request, however it comes in pieces, and hands it over whole."""

    def __init__(self, sink):
        self.sink = sink
        self.pieces, self.missing, self.head = [], None, b""

    def connection_made(self, transport):
        self.transport = transport
        self.sink.transports.add(transport)

    def connection_lost(self, _):
        self.sink.transports.discard(self.transport)

    def data_received(self, data):
        if self.missing is None:
            data = b"".join([*self.pieces, data])
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.pieces = [data]
                return
            self.head, data = data[: end + 4], data[end + 4 :]
            length = _FIND_LENGTH(self.head)
            if length is None:
                self.transport.abort()  # chunked: no row sends that
                return
            self.pieces, self.missing = [], int(length[1])
        self.pieces.append(data)
        self.missing -= len(data)
        if self.missing <= 0:
            body = b"".join(self.pieces)
            self.pieces, self.missing = [], None
            self.transport.write(self.sink.answer(self.head, body))


def _encoding(head):
    found = _FIND_ENCODING(head)
    return found[1].decode() if found else ""


def _path(head):
    return unquote(head.split(b" ", 2)[1].partition(b"?")[0].decode())


def _query(head):
    return dict(parse_qsl(head.split(b" ", 2)[1].partition(b"?")[2].decode()))


def signature(head, body):
    """`"unsigned"`, `"verified"` by awscrt, or what is wrong with the signature."""
    from opensearch_sigv4.testing.verify import Credentials, verify

    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = request_line.split(b" ")
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    if not any(name.lower() == b"authorization" for name, _ in headers):
        return "unsigned"
    return verify(
        method.decode(),
        target,
        headers,
        body,
        region=REGION,
        service=SERVICE,
        find_credentials=lambda _: Credentials(ACCESS_KEY, SECRET_KEY, TOKEN),
        now=time.time(),
    ).code


def serve_answers(ids):
    sink = Sink(ids)
    return lambda what: sink.port if what == "port" else sink.tell()


# --- the clients --------------------------------------------------------------------------------------------
# Each takes (port, encoding) and returns a function of the actions that returns (indexed, the items of the others).


def _client(port, encoding, **options):
    from opensearchpy import OpenSearch

    return OpenSearch(
        [{"host": "127.0.0.1", "port": port}], http_compress=encoding == "gzip", timeout=_TIMEOUT_S, **options
    )


def _their_signer():
    from opensearchpy import Urllib3AWSV4SignerAuth

    return Urllib3AWSV4SignerAuth(refreshable(), REGION, SERVICE)


def _bulk(helpers, client, **options):
    return lambda actions: helpers.bulk(client, actions, raise_on_error=False, **options)


def _parallel_bulk(helpers, client):
    def run(actions):
        indexed, failed = 0, []
        for ok, told in helpers.parallel_bulk(client, actions, raise_on_error=False):
            if ok:
                indexed += 1
            else:
                failed.append(told)
        return indexed, failed

    return run


def opensearch_py_unsigned(port, encoding):
    from opensearchpy import helpers

    return _bulk(helpers, _client(port, encoding))


def opensearch_py_signed(port, encoding):
    from opensearchpy import helpers

    return _bulk(helpers, _client(port, encoding, http_auth=_their_signer()))


def opensearch_py_parallel(port, encoding):
    from opensearchpy import helpers

    return _parallel_bulk(helpers, _client(port, encoding, http_auth=_their_signer()))


def our_connection(port, encoding):
    """The unchanged program of opensearch-py, its connection_class changed."""
    from opensearchpy import helpers

    from opensearch_sigv4 import SigV4HttpConnection

    _check_backend("cython")
    client = _client(port, encoding, http_auth=_their_signer(), connection_class=SigV4HttpConnection)
    return _bulk(helpers, client)


def _check_backend(backend):
    import opensearch_sigv4

    if opensearch_sigv4.backend != backend:
        raise harness.Unavailable(f"opensearch_sigv4.backend is {opensearch_sigv4.backend!r} (is the extension built?)")


def _ours(backend, port, encoding):
    _check_backend(backend)
    if importlib.util.find_spec("opensearch_sigv4.helpers") is None:
        raise harness.Unavailable("opensearch_sigv4.helpers is not there")
    from opensearch_sigv4 import SigV4HttpConnection, helpers

    return helpers, _client(
        port,
        encoding,
        region=REGION,
        service=SERVICE,
        credentials=refreshable(),
        connection_class=SigV4HttpConnection,
    )


def ours_cython(port, encoding):
    return _bulk(*_ours("cython", port, encoding))


def ours_equal_chunks(port, encoding):
    return _bulk(*_ours("cython", port, encoding), chunk_size=EQUAL_CHUNK)


def ours_python(port, encoding):
    return _bulk(*_ours("python", port, encoding))


def ours_parallel(port, encoding):
    return _parallel_bulk(*_ours("cython", port, encoding))


ROWS = {
    UNSIGNED: opensearch_py_unsigned,
    SIGNED: opensearch_py_signed,
    CONNECTION: our_connection,
    CYTHON: ours_cython,
    EQUAL: ours_equal_chunks,
    PYTHON: ours_python,
    PARALLEL: opensearch_py_parallel,
    OUR_PARALLEL: ours_parallel,
}


# --- a row's process ----------------------------------------------------------------------------------------


def index_all(row, port, path):
    """What a worker runs: returns the function that measures one round, all documents once."""
    actions = [
        {"_index": INDEX, "_id": document[KEY], "_source": document}
        for document in map(json.loads, Path(path).read_bytes().splitlines())
    ]
    runs = {encoding: ROWS[row](port, encoding) for encoding in ENCODINGS}

    def measure(encoding):
        gc.collect()
        held_before = _reset_peak()
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        indexed, failed = runs[encoding](actions)
        wall_end, cpu_end = time.perf_counter(), time.process_time()
        peak = _memory("VmHWM")
        return {
            "wall_us": (wall_end - wall_start) / len(actions) * 1e6,
            "cpu_us": (cpu_end - cpu_start) / len(actions) * 1e6,
            "indexed": indexed,
            "reported": sorted(_reported(told) for told in failed),
            "peak_mb": peak,
            "grown_mb": None if peak is None else peak - held_before,
        }

    return measure


def _reported(told):
    """(id, status) of an item that a helper reports as failed."""
    ((_, result),) = told.items()
    return result["_id"], result["status"]


def _memory(name):
    """A line of /proc/self/status in MB; None where there is none."""
    with contextlib.suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        return int(found[1]) / 1024 if found else None
    return None


def _reset_peak():
    """Let the peak begin anew (Linux), and return what is held now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def run_command(port, path, ids):
    """What the command's worker runs: each round is a process of `opensearch-sigv4 bulk`, from its start to its end."""
    command = [sys.executable, "-m", "opensearch_sigv4.cli", "bulk"]
    target = ["--index", INDEX, "--url", f"http://127.0.0.1:{port}", "--region", REGION, "--service", SERVICE, "--json"]
    usage = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
    if not hasattr(os, "wait4"):
        raise harness.Unavailable("os.wait4 is not here: what a process cost cannot be measured")
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_SESSION_TOKEN": TOKEN}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | keys
    flags = {"plain": ["--no-compress"] if "--no-compress" in usage else [], "gzip": ["--compress"]}
    with open(path, "rb") as lines:
        count = sum(1 for _ in lines)

    def measure(encoding):
        if encoding == "gzip" and "--compress" not in usage:
            return None
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            wall_start = time.perf_counter()
            process = subprocess.Popen(
                [*command, path, *target, *flags[encoding]], stdout=output, stderr=errors, env=environment
            )
            _, status, used = os.wait4(process.pid, 0)
            wall_end = time.perf_counter()
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            told, named = output.read().decode(), errors.read().decode()
        try:
            indexed = json.loads(told.splitlines()[-1])["indexed"]
        except (ValueError, LookupError):
            raise RuntimeError(f"the command ended with {process.returncode}: {told}{named}") from None
        refused = re.findall(rf"^{re.escape(str(path))}:(\d+): mapper_parsing_exception", named, re.MULTILINE)
        in_mb = (1 << 20) if sys.platform == "darwin" else (1 << 10)
        return {
            "wall_us": (wall_end - wall_start) / count * 1e6,
            "cpu_us": (used.ru_utime + used.ru_stime) / count * 1e6,
            "indexed": indexed,
            "reported": sorted((ids[(int(number) - 1) % len(ids)], 400) for number in refused),
            "peak_mb": used.ru_maxrss / in_mb,
            "grown_mb": None,
        }

    return measure


def start(row, port, path):
    env = {"OPENSEARCH_SIGV4_NO_EXTENSIONS": "1"} if row == PYTHON else {}
    return harness.Worker(row, index_all, row, port, path, env=env)


# --- correct? -----------------------------------------------------------------------------------------------


def problem(row, encoding, reply, seen, documents, ids):
    """What is wrong with one round of a row; `""` for nothing.

    Args:
        reply: what the row's process says.
        seen: what the sink says of the same round.
        documents: their `meaning`, from the file.
        ids: the documents' ids.
    """
    copies = COPIES if row == COMMAND else 1
    expected = sorted([(identifier, 400) for identifier in planted(ids)] * copies)
    # the command gives no ids: its documents are compared
    hashed = "documents" if row == COMMAND else "actions"
    checks = {
        "documents sent": (seen["count"], len(ids) * copies),
        "their hashes": (seen[hashed], documents[hashed] * copies % _MODULUS),
        "encodings": (seen["encodings"], ["gzip" if encoding == "gzip" else ""]),
        "signatures": (seen["signatures"], ["unsigned" if row == UNSIGNED else "verified"]),
        "documents indexed": (reply["indexed"], len(ids) * copies - len(expected)),
        "failures reported": ([tuple(pair) for pair in reply["reported"]], expected),
    }
    wrong = [(what, *pair) for what, pair in checks.items() if pair[0] != pair[1]]
    return "; ".join(f"{what}: {_short(got)}, not {_short(wanted)}" for what, got, wanted in wrong)


def _short(value):
    text = f"{len(value)} of them" if isinstance(value, list) and len(value) > 4 else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


# --- measuring and printing ---------------------------------------------------------------------------------


def measure(asked, sink, encoding, rounds, documents, ids):
    """{row: result, with "correct"}, rows in turn."""
    replies = {row: [] for row in asked}
    heard, wrong = {}, {}
    for number in range(rounds + 1):
        for row, worker in asked.items():
            sink.ask("tell")
            reply = worker.ask(encoding)
            if reply is None:
                continue
            seen = sink.ask("tell")
            heard[row] = seen
            found = problem(row, encoding, reply, seen, documents, ids)
            if found:
                wrong.setdefault(row, found)
            if number:  # the first warms up
                replies[row].append(reply)
    return {row: _result(given, heard[row], wrong.get(row, "")) for row, given in replies.items() if given}


def _result(replies, seen, wrong):
    def of(name):
        values = [reply[name] for reply in replies if reply[name] is not None]
        return {"min": min(values), "median": statistics.median(values), "max": max(values)} if values else None

    return {
        "wall_us": of("wall_us"),
        "cpu_us": of("cpu_us"),
        "peak_mb": of("peak_mb"),
        "grown_mb": of("grown_mb"),
        "rounds": len(replies),
        "documents": seen["count"],
        **{name: seen[name] for name in ("requests", "wire_bytes", "body_bytes", "answer_bytes")},
        "problem": wrong,
        "correct": "WRONG" if wrong else "yes",
    }


def encoding_table(results, *, markdown):
    header = ["us per document", "CPU min", "median", "wall min", "median", f"{SIGNED} / it", "median"]
    header += ["bytes sent", "requests", "peak MB", "grown MB", "correct"]
    base = results[SIGNED]["cpu_us"]
    lines = []
    for row, result in results.items():
        cpu, wall = result["cpu_us"], result["wall_us"]
        times = [cpu["min"], cpu["median"], wall["min"], wall["median"]]
        ratios = [base["min"] / cpu["min"], base["median"] / cpu["median"]]
        lines.append(
            [
                row,
                *(f"{us:.2f}" for us in times),
                *(f"{ratio:.2f}" for ratio in ratios),
                f"{result['wire_bytes'] / max(result['documents'], 1):.1f}",
                str(result["requests"]),
                *(f"{result[name]['max']:.0f}" if result[name] else "" for name in ("peak_mb", "grown_mb")),
                result["correct"],
            ]
        )
    return harness.table(header, lines, markdown=markdown)


def targets(encodings):
    """[(what, measured, at least, aim, unit)]: the targets; a ratio is to be large, anything else small."""
    found = []

    def ratio(what, encoding, row, least, aim):
        results = encodings[encoding]
        if row in results:
            measured = results[SIGNED]["cpu_us"]["min"] / results[row]["cpu_us"]["min"]
            found.append((f"{what}: {SIGNED} / {row}", measured, least, aim, "x"))

    ratio("helpers.bulk, plain", "plain", CYTHON, 6, 9)
    ratio("helpers.bulk, plain", "plain", EQUAL, 6, 9)
    ratio("helpers.bulk, gzip", "gzip", CYTHON, 8, 11)
    ratio("helpers.bulk, gzip", "gzip", EQUAL, 8, 11)
    ratio("connection_class alone, gzip", "gzip", CONNECTION, 2.2, 2.6)
    compressed = encodings["gzip"]
    for row in (CONNECTION, CYTHON, EQUAL, COMMAND):
        if row in compressed:
            peer, size = (compressed[name]["body_bytes"] / compressed[name]["documents"] for name in (SIGNED, row))
            what = f"compressed size over opensearch-py's level 9: {row}"
            found.append((what, (size / peer - 1) * 100, 8, 3, "%"))
    for encoding, results in encodings.items():
        if COMMAND in results:
            found.append((f"peak memory: {COMMAND}, {encoding}", results[COMMAND]["peak_mb"]["max"], 150, 100, " MB"))
    return found


def reached(measured, least, aim, unit):
    if unit == "x":
        measured, least, aim = -measured, -least, -aim
    return "aim" if measured <= aim else "target" if measured <= least else "missed"


def targets_table(found, *, judged, markdown):
    lines = []
    for what, measured, least, aim, unit in found:
        verdict = reached(measured, least, aim, unit) if judged else "not judged"
        lines.append([what, *(f"{value:.3g}{unit}" for value in (measured, least, aim)), verdict])
    return harness.table(["from CPU minima", "measured", "target", "aim", "reached"], lines, markdown=markdown)


def main():
    parser = harness.arguments(__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, help="how many of the documents, at most 20,000")
    options = parser.parse_args()
    rounds = (1 if options.quick else 7) if options.rounds is None else options.rounds
    count = min(options.documents or (2_000 if options.quick else 20_000), 20_000)

    machine = harness.machine()
    packages = ("opensearch-sigv4", "opensearch-py", "urllib3", "botocore", "awscrt", "orjson", "isal")
    versions, notes = harness.versions(*packages)
    print(machine, ", ".join(f"{name} {version}" for name, version in versions.items()), sep="\n")

    encodings = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path, copies = Path(directory, "documents.ndjson"), Path(directory, "copies.ndjson")
        what, ids, documents = write_documents(path, count)
        copies.write_bytes(path.read_bytes() * COPIES)
        size = path.stat().st_size
        print(f"{len(ids):,} documents of {size / len(ids):.0f} bytes: {what}; the command gets {COPIES} times as many")
        with contextlib.closing(harness.Worker("sink", serve_answers, ids)) as sink:
            sink.wait_until_ready()
            port = sink.ask("port")
            rows = [start(row, port, str(path)) for row in ROWS]
            command = harness.Worker(COMMAND, run_command, port, str(copies), ids)
            with harness.workers([*rows, command]) as (asked, left_out):
                notes += left_out
                command = {COMMAND: asked.pop(COMMAND)} if COMMAND in asked else {}
                for encoding in ENCODINGS:
                    results = measure(asked, sink, encoding, rounds, documents, ids)
                    results |= measure(command, sink, encoding, min(rounds, 2), documents, ids)
                    encodings[encoding] = results
                    if command and COMMAND not in results:
                        notes.append(f"{COMMAND}, {encoding}: left out: it has no --compress")
                    print(f"\n{encoding}\n\n{encoding_table(results, markdown=options.markdown)}")

    print()
    found = targets(encodings)
    print(targets_table(found, judged=not options.quick, markdown=options.markdown))
    print(*(f"NOTE: {note}" for note in notes), sep="\n")
    problems = [
        f"WRONG: {row}, {encoding}: {result['problem']}"
        for encoding, results in encodings.items()
        for row, result in results.items()
        if result["problem"]
    ]
    print(*(problems or ["every document, every signature and every report is correct"]), sep="\n")
    results = {
        "machine": machine,
        "versions": versions,
        "documents": {"what": what, "count": len(ids), "bytes": size},
        "notes": notes,
        "encodings": encodings,
        "targets": [dict(zip(("what", "measured", "target", "aim", "unit"), target, strict=True)) for target in found],
        "problems": problems,
    }
    harness.write_json(options, results)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
