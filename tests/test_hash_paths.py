"""Every way to compute SHA-256 that can run here, forced in turn, as Python sees it: against hashlib and hmac, which
OpenSSL answers, and against the Python twin. `c/` does the same in C, and for CPUs that are not here.
"""

import array
import ctypes
import hashlib
import hmac
import mmap
import random

import pytest

from conftest import twin
from opensearch_sigv4.core import _python, spec
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN

URL = "https://search-logs.us-east-1.es.amazonaws.com/logs/_bulk?refresh=true&b=%20"
SOURCE = random.Random(0).randbytes((2 << 20) + 99)  # 99: room to begin at odd addresses

# NIST's examples for FIPS 180-4 ("SHA256.pdf"), and the empty message and a million "a" of its test vectors.
NIST = [
    (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    (
        b"".join(b"abcdefghijklmnopqrstu"[first : first + 8] for first in range(14)),
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ),
    (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
]

# Wherever the core begins to do something else (to ask hashlib, to release the GIL), it is beside a power of two.
AROUND_THRESHOLDS = sorted({(1 << power) + off for power in range(9, 21) for off in (-1, 0, 1)})
RANDOM_SIZES = random.Random(1).sample(range(301, 2 << 20), 40)


def paths():
    try:
        return twin("cython").hash_paths()
    except pytest.skip.Exception:
        return ("portable",)  # each test skips for the reason that `twin` gives


@pytest.fixture(params=paths())
def core(request):
    """The compiled twin, hashing one way after the other."""
    cython = twin("cython")
    before = cython.hash_path()
    cython.select_hash_path(request.param)
    yield cython
    cython.select_hash_path(before)


def test_the_path_is_the_one_that_was_asked_for(core, request):
    assert core.hash_path() == request.node.callspec.params["core"]
    assert core.hash_paths()[-2:] == ("portable", "openssl")


def test_a_path_that_is_not_here_changes_nothing(core):
    before = core.hash_path()
    for name in ("", "md5", "X86-SHA", "portable "):
        with pytest.raises(ValueError, match="no way to compute SHA-256"):
            core.select_hash_path(name)
        assert core.hash_path() == before


@pytest.mark.parametrize(("message", "digest"), NIST, ids=lambda value: f"{len(value)}")
def test_nists_answers(core, message, digest):
    assert core.payload_hash(message) == digest
    assert core.payload_hash(bytearray(message)) == digest
    assert core.payload_hash(message.decode()) == digest


@pytest.mark.parametrize("offset", [0, 1, 7])
def test_short_lengths(core, offset):
    view = memoryview(SOURCE)
    for size in range(301):
        body = view[offset : offset + size]
        assert core.payload_hash(body) == hashlib.sha256(body).hexdigest(), size
        assert core.payload_hash(bytes(body)) == hashlib.sha256(body).hexdigest(), size


@pytest.mark.parametrize("sizes", [AROUND_THRESHOLDS, RANDOM_SIZES], ids=["around thresholds", "random"])
def test_long_lengths(core, sizes):
    view = memoryview(SOURCE)
    for number, size in enumerate(sizes):
        body = view[number : number + size]
        expected = hashlib.sha256(body).hexdigest()
        assert core.payload_hash(body) == expected, size
        assert core.payload_hash(bytes(body)) == expected, size


def buffers(size):
    """The same bytes in a buffer of every kind; `size` is divisible by 12."""
    data = SOURCE[:size]
    yield "bytes", data
    yield "bytearray", bytearray(data)
    yield "read-only view", memoryview(data)
    yield "writable view", memoryview(bytearray(data))
    yield "slice", memoryview(b"?" + data + b"!")[1:-1]
    yield "strided", memoryview(bytes(byte for pair in zip(data, data, strict=True) for byte in pair))[::2]
    yield "reversed", memoryview(data[::-1])[::-1]
    yield "words", memoryview(data).cast("I")
    yield "a matrix", memoryview(data).cast("B", (3, size // 3))
    yield "floats", memoryview(data).cast("f", (2, size // 8) if size % 8 == 0 else (size // 4,))
    yield "array", array.array("H", data)
    yield "ctypes", (ctypes.c_uint16 * (size // 2)).from_buffer_copy(data)
    anonymous = mmap.mmap(-1, size)
    anonymous[:] = data
    yield "mmap", anonymous
    anonymous.close()  # BufferError if the buffer was not given back


@pytest.mark.parametrize("size", [12, 2040, 2052, 65_532, 262_152])
def test_every_kind_of_buffer(core, size):
    expected = hashlib.sha256(SOURCE[:size]).hexdigest()
    for kind, buffer in buffers(size):
        assert core.payload_hash(buffer) == expected, kind
        arguments = ("PUT", URL, buffer, {}, ACCESS_KEY, SECRET_KEY, None, REGION, "es", 0)
        assert core.sign(*arguments).headers["X-Amz-Content-SHA256"] == expected, kind


def test_text(core):
    for text in ("ü" * 40_000, "日" * 30, "a" * 100_000, ""):
        assert core.payload_hash(text) == hashlib.sha256(text.encode()).hexdigest()
    assert core.payload_hash(None) == NIST[0][1]
    assert core.payload_hash(memoryview(b"x").cast("B", ())) == hashlib.sha256(b"x").hexdigest()


# A key of 64 bytes is HMAC's block, a longer one is hashed first; the first key here is "AWS4" and the secret.
@pytest.mark.parametrize("size", [1, 16, 40, 59, 60, 61, 100, 124, 125, 1000, 10_000])
def test_signing_keys_are_hmacs(core, size):
    secret, day, region, service = "s" * size, "20150830", "r" * size, "es"
    expected = (spec.KEY_PREFIX + secret).encode()
    for part in (day, region, service, spec.TERMINATOR):
        expected = hmac.digest(expected, part.encode(), "sha256")
    key = core.SigningKey(secret, day, region, service)
    for length in (*range(201), 4096, 70_000):
        message = "m" * length
        assert key.signature(message) == hmac.digest(expected, message.encode(), "sha256").hex(), length
    assert key.signature("ü") == hmac.digest(expected, "ü".encode(), "sha256").hex()


def requests():
    for size in (0, 1, 55, 56, 64, 1000, 2047, 2048, 40_000, 300_000):
        yield "POST", URL, SOURCE[:size], {"content-type": "application/x-ndjson"}, TOKEN
    yield "GET", URL, None, None, None
    yield "GET", f"{URL}&{'q' * 5000}", None, {"X-Amz-Meta": "v" * 5000, "Host": "h"}, TOKEN
    yield "PUT", URL, b"body", [("X-Amz-Content-SHA256", spec.UNSIGNED_PAYLOAD)], None
    yield "PUT", "https://host/ü", "ü", {"x-amz-a": "1"}, TOKEN  # left to the Python twin


def test_whole_signatures(core):
    further = frozenset({"content-type"})
    for method, url, body, headers, token in requests():
        for timestamp in (AT.timestamp(), 0):
            arguments = (ACCESS_KEY, SECRET_KEY, token, REGION, "es", timestamp, further)
            assert core.sign(method, url, body, headers, *arguments) == _python.sign(
                method, url, body, headers, *arguments
            )


def test_a_key_of_one_path_goes_on_signing_on_another(core):
    other = next(path for path in core.hash_paths() if path != core.hash_path())
    key = core.SigningKey(SECRET_KEY, "20150830", REGION, "es")
    expected = key.signature("to sign")
    core.select_hash_path(other)  # the fixture selects what was there before
    assert key.signature("to sign") == expected
