"""gzip: the engines, the requests that go without it, and that a repeated request compresses and hashes nothing."""

import gzip
import itertools
import os
import sys
import threading
import warnings
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import opensearchpy
import pytest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import OpenSearch, Urllib3HttpConnection

from conftest import DATA
from opensearch_sigv4 import SigV4HttpConnection, SigV4Signer, compression, connect
from opensearch_sigv4.compression import Compressor, best_engine, refuses_gzip
from opensearch_sigv4.testing import LocalDomain
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY
from processes import run

MODULES = {"isal": "isal.igzip_lib", "zlib-ng": "zlib_ng.zlib_ng", "zlib": "zlib"}
LEVELS = {"isal": range(4), "zlib-ng": range(10), "zlib": range(10)}
ENGINES = list(MODULES)
BULK = b'{"index":{"_index":"logs"}}\n{"message":"hello"}\n' * 50


def level_9(body):
    """What opensearch-py sends."""
    return Urllib3HttpConnection()._gzip_compress(body)


# --- the engines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@given(body=st.binary(max_size=5000) | st.binary(max_size=20).map(lambda part: part * 2000), level=st.integers(0, 9))
def test_anyone_can_read_it(engine, body, level):
    compressor = Compressor(engine, level % len(LEVELS[engine]))
    packed = compressor.compress(body)
    assert type(packed) is bytes
    assert gzip.decompress(packed) == body
    inflated = zlib.decompressobj(31)
    assert inflated.decompress(packed) == body
    assert inflated.eof
    assert inflated.unused_data == b""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_every_time_and_of_any_kind_of_body(engine):
    compressor = Compressor(engine)
    packed = compressor.compress(BULK)
    assert packed[4:8] == bytes(4)  # RFC 1952: no time
    strided = memoryview(bytes(itertools.chain.from_iterable(zip(BULK, BULK, strict=True))))[::2]
    for body in (BULK, BULK.decode(), bytearray(BULK), memoryview(BULK), strided):
        assert compressor.compress(body) == packed


@pytest.mark.parametrize("engine", ENGINES)
def test_every_level_of_an_engine(engine):
    for level in LEVELS[engine]:
        assert Compressor(engine, level).level == level
    for wrong in (-1, LEVELS[engine][-1] + 1, 2.0, "2"):
        with pytest.raises(ValueError, match=f"^http_compress_level: {engine} has the levels 0 to"):
            Compressor(engine, wrong)


@pytest.mark.parametrize("wrong", ["", "gzip", "ISAL", 9, []])
def test_an_unknown_engine(wrong):
    with pytest.raises(ValueError, match=r"^http_compress_engine: one of isal, zlib-ng, zlib is needed"):
        Compressor(wrong)


@pytest.mark.parametrize("missing", range(3))
def test_the_best_engine_is_the_first_that_is_there(monkeypatch, missing):
    for engine in ENGINES[:missing]:
        monkeypatch.setitem(sys.modules, MODULES[engine], None)
    assert best_engine() == Compressor().engine == ENGINES[missing]
    connection = SigV4HttpConnection(http_compress=True)
    assert connection._compressor == Compressor(ENGINES[missing])


@pytest.mark.parametrize("engine", ["isal", "zlib-ng"])
def test_a_named_engine_that_is_missing_is_one_line(monkeypatch, engine):
    monkeypatch.setitem(sys.modules, MODULES[engine], None)
    with pytest.raises(ImportError) as caught:
        SigV4HttpConnection(http_compress=True, http_compress_engine=engine)
    assert str(caught.value) == f"http_compress_engine: {engine} is not installed: pip install {engine}"
    SigV4HttpConnection(http_compress=False, http_compress_engine=engine)


def test_no_engine_is_imported_before_it_is_needed():
    script = (
        "import sys, opensearch_sigv4.connection as c; c.SigV4HttpConnection(); "
        "print([m for m in sys.modules if m.startswith(('isal', 'zlib_ng'))])"
    )
    assert run(sys.executable, "-c", script).stdout == "[]\n"


def test_compressors_are_equal_by_engine_and_level():
    assert Compressor("zlib") == Compressor("zlib", 5) != Compressor("zlib", 6)
    assert len({Compressor("zlib"), Compressor("zlib", 5), Compressor("isal")}) == 2
    assert Compressor("zlib") != "zlib"
    assert repr(Compressor("zlib", 6)) == "Compressor('zlib', 6)"


@pytest.mark.skipif(not DATA.exists(), reason="the shared data is not here")
@pytest.mark.parametrize(("engine", "percent"), [("isal", 15.5), ("zlib-ng", 3), ("zlib", 3.5)])
def test_sizes_of_real_bulk_bodies(engine, percent):
    """Against opensearch-py's, on the data that the table in `compression` was measured on."""
    with gzip.open(DATA) as lines:
        documents = list(itertools.islice(lines, 3000))
    body = b"".join(b'{"index":{"_index":"packages"}}\n' + line for line in documents)
    for part in (body, body[: len(body) // 6]):
        assert len(Compressor(engine).compress(part)) < len(level_9(part)) * (1 + percent / 100)


# --- which requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/_cluster/settings"),
        ("put", "/_cluster/settings?flat_settings=true"),
        ("POST", "/_cluster/settings"),
        ("PUT", "/%5Fcluster/settings/"),
        ("PUT", "//_cluster//settings"),
        ("PUT", "/_snapshot/backups"),
        ("post", "/_snapshot/backups/?verify=false"),
        ("PUT", "/_snapshot/back%2Fups"),
        ("POST", "/_snapshot/backups/monday/_restore"),
        ("POST", "/_snapshot/backups/mon%2Fday/_restore?wait_for_completion=true"),
    ],
)
def test_what_refuses_gzip(method, path):
    assert refuses_gzip(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_bulk"),
        ("PUT", "/logs/_settings"),
        ("PUT", "/_cluster%2Fsettings"),
        ("POST", "/_cluster/reroute"),
        ("PUT", "/logs/_cluster/settings"),
        ("POST", "/_bulk?next=/_cluster/settings"),
        ("GET", "/_snapshot/backups"),
        ("PUT", "/_snapshot/backups/monday"),
        ("PUT", "/_snapshot/backups/_restore"),
        ("POST", "/_snapshot/a/b/c/_restore"),
        ("POST", "/_snapshot"),
        ("POST", "/"),
        ("POST", ""),
    ],
)
def test_what_does_not(method, path):
    assert not refuses_gzip(method, path)


class Recorder(BaseHTTPRequestHandler):
    """Keeps what came, and answers with the server's next status, or not at all."""

    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.received.append(SimpleNamespace(path=self.path, headers=self.headers.items(), body=body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, *_):
        pass


@pytest.fixture
def node():
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        server.received, server.statuses = [], []
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    compression.forget()
    yield
    compression.forget()


KINDS = {
    "signed": {"region": REGION, "credentials": Credentials(ACCESS_KEY, SECRET_KEY)},
    "called": {"http_auth": lambda method, url, body: {"authorization": "mine"}},
    "basic": {"http_auth": ("user", "password")},
    "unsigned": {},
}


@pytest.fixture(params=list(KINDS))
def connection(request, node):
    connection = SigV4HttpConnection(*node.server_address, http_compress=True, **KINDS[request.param])
    yield connection
    connection.close()


def connection_to(node, kind="signed", **options):
    return SigV4HttpConnection(*node.server_address, **{"http_compress": True, **KINDS[kind], **options})


def encoding(received):
    return [value for name, value in received.headers if name.lower() == "content-encoding"]


@pytest.mark.parametrize(
    "body", [BULK, BULK.decode(), bytearray(BULK), memoryview(BULK), memoryview(BULK + BULK)[::2]], ids=type
)
def test_bodies_are_compressed(connection, node, body):
    connection.perform_request("POST", "/_bulk", body=body)
    assert encoding(node.received[0]) == ["gzip"]
    assert gzip.decompress(node.received[0].body) == (bytes(body) if not isinstance(body, str) else BULK)
    assert ("accept-encoding", "gzip,deflate") in [(name.lower(), value) for name, value in node.received[0].headers]


@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy"])
def test_what_would_be_refused_goes_uncompressed(connection, node, prefix):
    connection.url_prefix = prefix
    connection.perform_request("PUT", "/_cluster/settings", {"flat_settings": "true"}, BULK)
    connection.perform_request("PUT", "/_cluster/settings?flat_settings=true", body=BULK)
    connection.perform_request("POST", "/_snapshot/backups/monday/_restore", body=BULK)
    for received in node.received:
        assert received.path.startswith(prefix + "/_")
        assert (encoding(received), received.body) == ([], BULK)
    assert connection.http_compress is True


@pytest.mark.parametrize("body", [None, b"", "", bytearray()])
def test_an_empty_body_is_not_compressed(connection, node, body):
    connection.perform_request("POST", "/_bulk", body=body)
    assert (encoding(node.received[0]), node.received[0].body) == ([], b"")


@pytest.mark.parametrize("name", ["content-encoding", "Content-Encoding"])
def test_an_encoded_body_is_not_compressed_again(connection, node, name):
    packed = gzip.compress(BULK)
    connection.perform_request("POST", "/_bulk", body=packed, headers={name: "gzip"})
    assert (encoding(node.received[0]), node.received[0].body) == (["gzip"], packed)
    connection.headers["content-encoding"] = "gzip"  # as headers= of the client set it
    connection.perform_request("POST", "/_bulk", body=packed)
    assert (encoding(node.received[1]), node.received[1].body) == (["gzip"], packed)


@pytest.mark.parametrize("kind", ["signed", "called"])
def test_a_callers_length_of_the_body_as_it_was_is_not_sent(node, kind):
    connection = connection_to(node, kind)
    connection.perform_request("POST", "/_bulk", body=BULK, headers={"Content-Length": str(len(BULK))})
    [received] = node.received
    assert gzip.decompress(received.body) == BULK
    connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_small_bodies(node, kind):
    connection = connection_to(node, kind, http_compress_min_bytes=5)
    for body in (b"1234", "\u00fc\u00fc", bytearray(4), b"12345", "\u00fc\u00fc.", memoryview(b"12345678").cast("I")):
        connection.perform_request("POST", "/_bulk", body=body)
    assert [encoding(received) for received in node.received] == [[], [], [], ["gzip"], ["gzip"], ["gzip"]]
    connection.close()


def test_the_options_through_opensearch_py(node):
    options = {"http_compress_engine": "zlib", "http_compress_level": 1, "http_compress_min_bytes": 3}
    with OpenSearch(node.url, connection_class=SigV4HttpConnection, http_compress=True, **options) as client:
        client.bulk(body=BULK)
    with connect(node.url, **KINDS["signed"], http_compress=True, **options) as client:
        client.bulk(body=BULK)
    assert node.received[0].body == node.received[1].body == Compressor("zlib", 1).compress(BULK)
    with pytest.raises(ValueError, match=r"^http_compress_level: isal has the levels 0 to 3, not 9"):
        connect(node.url, **KINDS["signed"], http_compress=True, http_compress_engine="isal", http_compress_level=9)


@pytest.mark.parametrize("wrong", ["5", None, 1.5])
def test_a_smallest_size_that_is_none(wrong):
    with pytest.raises(TypeError, match=r"^http_compress_min_bytes: int is needed"):
        SigV4HttpConnection(http_compress_min_bytes=wrong)


def test_compression_switched_on_and_off_later(node):
    connection = connection_to(node, http_compress=False)
    for connection.http_compress in (False, True, False):
        connection.perform_request("POST", "/_bulk", body=BULK)
    assert [encoding(received) for received in node.received] == [[], ["gzip"], []]
    connection.close()


def test_logs_of_an_unsigned_connection_are_the_parents(node, caplog):
    caplog.set_level("DEBUG", logger="opensearch")
    seen = []
    for kind in (Urllib3HttpConnection, SigV4HttpConnection):
        caplog.clear()
        connection = kind(*node.server_address, http_compress=True)
        connection.close()  # a later request opens it, and keeps it open
        connection.perform_request("POST", "/_bulk", body=BULK)
        connection.close()
        records = [record for record in caplog.records if record.name == "opensearch"]
        seen.append([(record.levelname, record.msg, record.args[:3]) for record in records])
    assert seen[0] == seen[1]
    assert ("DEBUG", "> %s", (BULK.decode(),)) in seen[0]


# --- what a repeated request need not do again -------------------------------------------------------------


@pytest.fixture
def work(monkeypatch):
    """What was compressed, and what our signers were asked to hash."""
    done = SimpleNamespace(compressed=0, hashed=0)
    compress, sign = Compressor.compress, SigV4Signer.sign

    def counting(compressor, body):
        done.compressed += 1
        return compress(compressor, body)

    def signing(signer, method, url, body=None, headers=None, **options):
        signed = sign(signer, method, url, body, headers, **options)
        done.hashed += "X-Amz-Content-SHA256" in signed
        return signed

    monkeypatch.setattr(Compressor, "compress", counting)
    monkeypatch.setattr(SigV4Signer, "sign", signing)
    return done


@pytest.fixture
def domain(node):
    """A domain that verifies what it receives, and gives the node's answers."""
    with LocalDomain(upstream=node.url) as domain:
        yield domain


def in_clear(request):
    """A verified request's headers but for what is new in each, and its body."""
    changing = (b"authorization", b"x-amz-date")
    return [(name, b"" if name.lower() in changing else value) for name, value in request.headers], request.body


AUTHS = {
    "ours": lambda credentials: SigV4Signer(credentials, REGION),
    "theirs, taken over": lambda credentials: opensearchpy.Urllib3AWSV4SignerAuth(
        Credentials(credentials.access_key, credentials.secret_key), REGION
    ),
}


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_repeated_request_compresses_and_hashes_once(domain, node, work, auth, compress, status):
    node.statuses = [status, status, status]
    http_auth = AUTHS[auth](domain.credentials)
    with OpenSearch(
        domain.url, connection_class=SigV4HttpConnection, http_auth=http_auth, http_compress=compress
    ) as client:
        client.bulk(body=BULK)
        assert (work.compressed, work.hashed) == (int(compress), 1)
        assert (domain.verified, domain.refused) == (4, 0)
        first, *others = map(in_clear, domain.requests)
        assert others == [first] * 3
        assert (gzip.decompress(first[1]) if compress else first[1]) == BULK
        assert compression._slot.prepared is None


def test_on_another_nodes_connection(domain, node, work):
    node.statuses = [503]
    hosts = [domain.url, domain.url.replace("127.0.0.1", "localhost")]
    with OpenSearch(
        hosts,
        connection_class=SigV4HttpConnection,
        http_auth=SigV4Signer(domain.credentials, REGION),
        http_compress=True,
    ) as client:
        client.bulk(body=BULK)
    assert (work.compressed, work.hashed) == (1, 1)
    assert (domain.verified, domain.refused) == (2, 0)
    first, second = (dict(request.headers) for request in domain.requests)
    assert {first.pop(b"host").split(b":")[0], second.pop(b"host").split(b":")[0]} == {b"127.0.0.1", b"localhost"}
    assert first[b"Authorization"] != second[b"Authorization"]
    assert first[b"X-Amz-Content-SHA256"] == second[b"X-Amz-Content-SHA256"]
    assert domain.requests[0].body == domain.requests[1].body


def test_after_an_answer_that_was_lost(node, work):
    node.statuses = [None, 200]
    with OpenSearch(node.url, connection_class=SigV4HttpConnection, http_compress=True, **KINDS["signed"]) as client:
        client.bulk(body=BULK)
    assert (work.compressed, work.hashed) == (1, 1)
    assert node.received[0].body == node.received[1].body


def test_a_status_that_the_program_adds(node, work):
    node.statuses = [429, 429]
    with OpenSearch(
        node.url,
        connection_class=SigV4HttpConnection,
        http_compress=True,
        retry_on_status=(429,),
        **KINDS["signed"],
    ) as client:
        client.bulk(body=BULK)
    assert (work.compressed, work.hashed) == (1, 1)


@pytest.mark.parametrize("kind", ["called", "basic", "unsigned"])
def test_without_our_signer_only_compression_is_saved(node, work, kind):
    node.statuses = [503, None, 503]
    with OpenSearch(node.url, connection_class=SigV4HttpConnection, http_compress=True, **KINDS[kind]) as client:
        client.bulk(body=BULK)
    assert (work.compressed, work.hashed) == (1, 0)
    assert len({received.body for received in node.received}) == 1
    assert [encoding(received) for received in node.received] == [["gzip"]] * 4
    assert compression._slot.prepared is None


def test_a_callable_is_never_told_a_hash(node):
    seen = []

    def auth(method, url, body):
        seen.append(body)
        return {"X-Amz-Content-SHA256": "mine", "Authorization": "mine"}

    node.statuses = [503]
    with OpenSearch(node.url, connection_class=SigV4HttpConnection, http_compress=True, http_auth=auth) as client:
        client.bulk(body=BULK)
    assert seen[0] is seen[1]
    assert seen[0] == node.received[1].body
    assert fail_then(node, SigV4HttpConnection(*node.server_address, http_compress=True, http_auth=auth)) is None


def fail_then(node, connection, body=BULK, **request):
    """The hash that is left by a request that failed."""
    node.statuses = [503]
    with pytest.raises(opensearchpy.TransportError):
        connection.perform_request("POST", "/_bulk", body=body, **request)
    return compression._slot.prepared and compression._slot.prepared.payload_hash


class OwnSign(SigV4Signer):
    """A signer whose `sign` may mean anything by a body's hash."""

    def sign(self, method, url, body=None, headers=None, *, at=None):
        assert "X-Amz-Content-SHA256" not in (headers or {})
        return super().sign(method, url, body, headers, at=at)


@pytest.mark.parametrize(
    "signer",
    [
        SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY), REGION, unsigned_payload=True),
        OwnSign(Credentials(ACCESS_KEY, SECRET_KEY), REGION),
    ],
    ids=["unsigned payload", "own sign"],
)
def test_signers_that_a_hash_means_nothing_to(node, signer):
    other = connection_to(node, credentials=None, region=None, http_auth=signer)
    assert fail_then(node, other) is None
    plain = connection_to(node)
    assert fail_then(node, plain) is not None
    for connection in (plain, other):  # what one left, the other takes
        node.received.clear()
        connection.perform_request("POST", "/_bulk", body=BULK)
        sent = {name.lower(): value for name, value in node.received[0].headers}
        assert (sent["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD") is (connection.signer.unsigned_payload)
        connection.close()
        assert fail_then(node, plain) is not None


def test_a_callers_own_hash_is_not_taken_for_the_bodys(node):
    connection = connection_to(node)
    own = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    assert fail_then(node, connection, headers=own) is None
    connection.perform_request("POST", "/_bulk", body=BULK)
    assert fail_then(node, connection) is not None
    connection.perform_request("POST", "/_bulk", body=BULK, headers=own)
    hashes = [value for name, value in node.received[-1].headers if name.lower() == "x-amz-content-sha256"]
    assert hashes == ["UNSIGNED-PAYLOAD"]
    connection.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    assert fail_then(node, connection) is None
    connection.close()


def test_a_hash_that_is_told_stands_for_the_body(core):
    """What the reuse rests on, in both twins: the hash among the headers is signed, and the body is not read."""

    def sign(body, headers):
        return core.sign(
            "POST", "https://localhost/_bulk", body, headers, ACCESS_KEY, SECRET_KEY, None, REGION, "es", AT.timestamp()
        ).headers

    first = sign(BULK, {})
    own = {"X-Amz-Content-SHA256": first["X-Amz-Content-SHA256"]}
    assert sign(b"another body", own) | own == first
    assert list(sign(BULK, own) | own) == list(first)


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 413, 500])
def test_nothing_is_held_after_success_or_a_failure_that_is_not_repeated(connection, node, status):
    node.statuses = [503, status]
    with pytest.raises(opensearchpy.TransportError):
        connection.perform_request("POST", "/_bulk", body=BULK)
    assert compression._slot.prepared.body is BULK
    if status == 200:
        connection.perform_request("POST", "/_bulk", body=BULK)
    else:
        with pytest.raises(opensearchpy.TransportError):
            connection.perform_request("POST", "/_bulk", body=BULK)
    assert compression._slot.prepared is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", ["request", "uncompressed request", "close", "forget"])
def test_what_a_last_failure_leaves_goes_with_the_next_request(node, kind, later):
    node.statuses = [503, 503]
    client = OpenSearch(
        node.url, connection_class=SigV4HttpConnection, http_compress=True, max_retries=1, **KINDS[kind]
    )
    with pytest.raises(opensearchpy.TransportError):
        client.bulk(body=BULK)
    assert compression._slot.prepared.body is BULK
    if later == "request":
        client.transport.perform_request("GET", "/")
    elif later == "uncompressed request":
        other = connection_to(node, kind, http_compress=False)
        other.perform_request("GET", "/")
    elif later == "close":
        client.close()
    else:
        compression.forget()
    assert compression._slot.prepared is None
    client.close()


def test_what_a_signer_raises_leaves_nothing(node):
    connection = connection_to(node, credentials=lambda: broken.pop())
    broken = [Credentials(ACCESS_KEY, SECRET_KEY)]
    assert fail_then(node, connection) is not None
    with pytest.raises(IndexError):
        connection.perform_request("POST", "/_bulk", body=BULK)
    assert compression._slot.prepared is None


def test_by_identity_not_by_equality(connection, node, work):
    node.statuses = [503]
    with pytest.raises(opensearchpy.TransportError):
        connection.perform_request("POST", "/_bulk", body=BULK)
    same = bytes(bytearray(BULK))
    connection.perform_request("POST", "/_bulk", body=same)
    assert work.compressed == 2
    assert node.received[0].body == node.received[1].body


def test_another_address_may_want_the_same_body_otherwise(connection, node):
    node.statuses = [503]
    with pytest.raises(opensearchpy.TransportError):
        connection.perform_request("PUT", "/logs/_settings", body=BULK)
    connection.perform_request("PUT", "/_cluster/settings", body=BULK)
    assert (encoding(node.received[1]), node.received[1].body) == ([], BULK)


def test_another_compressor_compresses_again(node):
    connections = [connection_to(node, http_compress_engine="zlib", http_compress_level=level) for level in (1, 9)]
    fail_then(node, connections[0])
    connections[1].perform_request("POST", "/_bulk", body=BULK)
    assert node.received[1].body == Compressor("zlib", 9).compress(BULK) != node.received[0].body
    connections[1].close()


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("kind", [bytearray, lambda body: memoryview(bytearray(body)).toreadonly()])
def test_a_body_that_may_change_is_never_found_again(domain, node, kind, compress):
    node.statuses = [503]
    connection = SigV4HttpConnection(
        *domain.url.removeprefix("http://").split(":"),
        region=REGION,
        credentials=domain.credentials,
        http_compress=compress,
    )
    body = kind(BULK)
    with pytest.raises(opensearchpy.TransportError):
        connection.perform_request("POST", "/_bulk", body=body)
    assert compression._slot.prepared is None
    (body if type(body) is bytearray else body.obj)[0:1] = b"X"
    connection.perform_request("POST", "/_bulk", body=body)
    sent = [gzip.decompress(request.body) if compress else request.body for request in domain.requests]
    assert sent == [BULK, b"X" + BULK[1:]]
    assert (domain.verified, domain.refused) == (2, 0)
    connection.close()


@pytest.mark.parametrize("compress", [True, False])
def test_a_body_that_changes_after_it_was_signed(domain, compress):
    """The signature is of what the body was when it was asked for; the wire has that too."""
    body = bytearray(BULK)
    connection = SigV4HttpConnection(
        *domain.url.removeprefix("http://").split(":"),
        region=REGION,
        credentials=domain.credentials,
        http_compress=compress,
    )
    urlopen = connection.pool.urlopen

    def change_then_send(*args, **kwargs):
        body[:] = b"X" * len(body)
        return urlopen(*args, **kwargs)

    connection.pool.urlopen = change_then_send
    connection.perform_request("POST", "/_bulk", body=body)
    assert domain.verified == 1
    sent = domain.requests[0].body
    assert (gzip.decompress(sent) if compress else sent) == BULK
    connection.close()


def test_a_view_of_bytes_is_not_copied(node):
    connection = connection_to(node, http_compress=False)
    sent = []
    urlopen = connection.pool.urlopen
    connection.pool.urlopen = lambda *args, **kwargs: sent.append(args[2]) or urlopen(*args, **kwargs)
    connection.perform_request("POST", "/_bulk", body=memoryview(BULK)[:50])
    assert sent[0].obj is BULK
    connection.close()


def test_threads_do_not_share(node):
    fail_then(node, connection_to(node))
    left = [compression._slot.prepared]
    thread = threading.Thread(target=lambda: left.append(compression._slot.prepared))
    thread.start()
    thread.join()
    assert left[0].body is BULK
    assert left[1] is None


def test_many_threads_each_with_its_own_body(node):
    """Every second answer is a failure: the repeated request has the body of its own thread."""
    node.statuses = [503, 200] * 200
    wrong = []

    def index(number):
        with OpenSearch(
            node.url, connection_class=SigV4HttpConnection, http_compress=True, max_retries=400, **KINDS["signed"]
        ) as client:
            for round_ in range(20):
                body = f'{{"index":{{}}}}\n{{"thread":{number},"round":{round_}}}\n'
                client.transport.perform_request("POST", f"/{number}/{round_}", body=body)

    threads = [threading.Thread(target=index, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for received in node.received:
        _, number, round_ = received.path.split("/")
        expected = f'{{"index":{{}}}}\n{{"thread":{number},"round":{round_}}}\n'.encode()
        if gzip.decompress(received.body) != expected:
            wrong.append(received)
    assert len(node.received) >= 120
    assert wrong == []


def test_a_request_within_a_request(node, work):
    """Credentials that are fetched with a request of their own, while the first one has its body in hand."""
    inner = connection_to(node, "unsigned")
    fetched = itertools.count()

    def credentials():
        if next(fetched) == 1:
            inner.perform_request("POST", "/secret", body=b"inner body")
        return Credentials(ACCESS_KEY, SECRET_KEY)

    node.statuses = [503, 200, 503]
    with OpenSearch(
        node.url, connection_class=SigV4HttpConnection, http_compress=True, region=REGION, credentials=credentials
    ) as client:
        client.bulk(body=BULK)
    inner.close()
    bodies = [gzip.decompress(received.body) for received in node.received]
    assert bodies == [BULK, b"inner body", BULK, BULK]
    assert (work.compressed, work.hashed) == (2, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork(node, work):
    """What the parent left is the child's too: nothing of it can have changed."""
    connection = connection_to(node)
    fail_then(node, connection)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and up warn of fork beside threads
        child = os.fork()
    if not child:
        try:
            connection.perform_request("POST", "/_bulk", body=BULK)
            os._exit(0 if work.compressed == 1 and compression._slot.prepared is None else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert compression._slot.prepared.body is BULK
    assert node.received[0].body == node.received[1].body
