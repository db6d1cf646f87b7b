"""What the core leaves in memory: no object for each call, and no key that was dropped."""

import gc
import hmac
import os
import select
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from botocore.credentials import RefreshableCredentials

from conftest import twin
from opensearch_sigv4 import core as public_core
from opensearch_sigv4 import credentials
from opensearch_sigv4.core import spec
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN

URL = "https://search-logs.us-east-1.es.amazonaws.com/logs/_bulk"
DAY = "20150830"
FURTHER = frozenset({"content-type"})
DAY_S = 86_400


# --- leaks -------------------------------------------------------------------------------------------------


class BadMapping:
    def items(self):
        raise RuntimeError("no items")


class BadPairs:
    def __iter__(self):
        yield "x-amz-a", "1"
        raise RuntimeError("no more")


class BadSet(frozenset):
    def __contains__(self, name):
        raise RuntimeError("not to be asked")

    def __bool__(self):
        return True


class Str(str):
    __slots__ = ()


NOTHING = (
    object()
)  # that anybody could use; and not shared, as a small number is, so that its references can be counted
LONG = "l" * 5000  # more than a buffer on the stack holds
OUTCOMES = {
    # What the compiled twin signs by itself.
    "plain": {},
    "no body, no token": {"body": None, "token": None},
    "a mapping of headers": {"headers": {"X-Amz-A": " a  b ", "Host": "h", "Accept": "*/*"}},
    "pairs": {"headers": [("X-Amz-A", "1"), ("content-type", "a/b")], "further": FURTHER},
    "its own payload hash": {"headers": (("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"),)},
    "unsigned payload": {"unsigned": True},
    "a query to sort": {"url": f"{URL}?b=1&a=%32&A=%2f"},
    "a long URL": {"url": f"{URL}?{LONG}&a"},
    "a large body": {"body": b"x" * 100_000},
    "bytearray": {"body": bytearray(b"x" * 100)},
    "strided": {"body": memoryview(b"xyz" * 100)[::2]},
    "text": {"body": "ü"},
    "an integer time": {"timestamp": 0},
    # What it leaves to the Python twin.
    "non-ASCII": {"url": f"{URL}/ü"},
    "dots": {"url": f"{URL}/../_search"},
    "subclasses": {"method": Str("GET"), "token": Str("t"), "headers": {"x-amz-a": Str("1")}},
    "names that repeat": {"headers": [("x-amz-a", "1"), ("X-Amz-A", "2")]},
    "many headers": {"headers": {f"x-amz-{number}": "1" for number in range(40)}},
    "many parameters": {"url": f"{URL}?{'&'.join('ba' * 30)}"},
    "a mapping of its own": {"headers": os.environ.__class__({}, str, str, str, str)},
    # Errors, early and late, of both.
    "no method": {"method": None},
    "no token at all": {"method": "G T"},
    "no URL": {"url": b"x"},
    "a relative URL": {"url": "/logs"},
    "a control character": {"url": f"{URL}\n"},
    "a bad header": {"headers": {"x-amz-a": "1\r2"}},
    "a header that is no text": {"headers": {"x-amz-a": 1}},
    "a pair that is none": {"headers": [("x-amz-a", "1"), ("x", "y", "z")]},
    "two hosts": {"headers": [("host", "1"), ("Host", "2")]},
    "headers that are none": {"headers": NOTHING},
    "items that raise": {"headers": BadMapping()},
    "an iterator that raises": {"headers": BadPairs()},
    "a set that raises": {"headers": {"accept": "1"}, "further": BadSet({"a"})},
    "a bad body": {"body": NOTHING},
    "a bad body behind a long URL": {"body": NOTHING, "url": f"{URL}?{LONG}"},
    "a body that UTF-8 cannot hold": {"body": "\ud800"},
    "a time that is none": {"timestamp": "now"},
    "a time beyond all": {"timestamp": 1e300},
    "no secret": {"secret": None},
    "no region": {"region": NOTHING},
    "no access key": {"access": NOTHING},
}


PLAIN = {
    "method": "POST", "url": URL, "body": b"{}", "headers": None, "access": ACCESS_KEY, "secret": SECRET_KEY,
    "token": TOKEN, "region": REGION, "service": "es", "timestamp": AT.timestamp(), "further": frozenset(),
    "unsigned": False,
}  # fmt: skip


def quietly(function, *arguments):
    with suppress(TypeError, ValueError, OverflowError, RuntimeError, AttributeError):
        function(*arguments)


def assert_keeps_nothing(call, times=400, warm_up=50):
    """That calling it again and again leaves nothing behind: one object that each call leaves would be seen."""
    tracemalloc.start()
    try:
        for _ in range(warm_up):
            call()
        grown = []
        # A dict that grows once in a while is no leak; what leaks does so every time.
        while not grown or (grown[-1] >= times * 8 and len(grown) < 4):
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(times):
                call()
            gc.collect()
            grown.append(tracemalloc.get_traced_memory()[0] - before)
        assert grown[-1] < times * 8, grown
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", OUTCOMES)
def test_signing_leaves_nothing_behind(core, case):
    arguments = list((PLAIN | OUTCOMES[case]).values())
    assert_keeps_nothing(lambda: quietly(core.sign, *arguments))
    before = list(map(sys.getrefcount, arguments))
    for _ in range(100):
        quietly(core.sign, *arguments)
    assert list(map(sys.getrefcount, arguments)) == before


def test_a_signer_leaves_nothing_behind(core, monkeypatch):
    now = [AT.timestamp()]
    monkeypatch.setattr(public_core, "Kept", core.Kept)
    fetched = {
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "token": TOKEN,
        "expiry_time": "2099-01-01T00:00:00Z",
    }
    refreshable = RefreshableCredentials.create_from_metadata(fetched, lambda: fetched, "test")
    signer = core.RequestSigner(credentials.source_of(refreshable), lambda: now[0], REGION, "es", FURTHER, False)
    days = count()

    def call():
        now[0] = AT.timestamp() + next(days) % 200 * DAY_S  # more keys than are kept
        signer.sign("POST", URL, b"{}", {"accept": "*/*"})
        signer.sign("POST", URL, b"{}", at=datetime(2026, 1, 1, tzinfo=UTC))
        signer._signature("GET", URL, None, None, None)
        quietly(signer.sign, "GET", None)
        quietly(signer.sign, "GET", URL, None, None, 5)

    assert_keeps_nothing(call, warm_up=2000)


def test_the_parts_leave_nothing_behind(core):
    key = core.SigningKey(SECRET_KEY, DAY, REGION, "es")

    def call():
        key.signature("to sign")
        repr(key)
        quietly(key.signature, None)
        quietly(key.__reduce__)
        core.SigningKey(SECRET_KEY, DAY, REGION, "es")
        core.SigningKey("s" * 5000, DAY, REGION, "es")
        quietly(core.SigningKey, SECRET_KEY, DAY, REGION, "\ud800")
        quietly(core.SigningKey, 5, DAY, REGION, "es")
        for body in (None, b"x", b"x" * 100_000, bytearray(b"x" * 3000), memoryview(b"xy" * 9)[::2], "ü", 5, "\ud800"):
            quietly(core.payload_hash, body)
        for text in ("/a b", "/a", "/ü/..", "\ud800", "/%41?", 5, f"/{LONG} "):
            quietly(core.canonical_path, text)
            quietly(core.canonical_query, text)
            quietly(core.request_target, text, "a=b+c")
        core.hash_paths()
        quietly(core.select_hash_path, "none")

    assert_keeps_nothing(call)


SUCCEEDED = b'{"index":{"_id":"1","status":201}}'
FAILED = b'{"index":{"_id":"2","status":409,"error":{"type":"a","reason":"b"}}}'


def test_reading_json_leaves_nothing_behind(core):
    mixed = b'{"items":[' + b",".join([SUCCEEDED, FAILED] * 20) + b"]}"
    texts = [
        *(mixed, mixed[:-1], b'{"\\u0069tems":[1,{}]}', b"[]", b"  ", b'{"a":' * 2000, b'{"a":"\xff"}'),
        *(mixed.decode(), mixed.decode().replace("1", "ü"), '{"a":"\ud800"}'),
    ]
    # Copies, as constants may be shared with others.
    answers = [text[:1] + text[1:] for text in texts] + [Str("{}"), NOTHING, bytearray(b"{}")]
    before = list(map(sys.getrefcount, answers))

    def call():
        for answer in answers:
            quietly(core.scan_bulk_answer, answer)
            quietly(core.check_json_object, answer)
        quietly(core.check_json_object, b"{}\n")

    assert_keeps_nothing(call, times=20, warm_up=5)
    assert list(map(sys.getrefcount, answers)) == before


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists() or "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="a process's size is read through /proc; AddressSanitizer keeps what was freed",
)
def test_a_large_answer_leaves_nothing_behind():
    """The list of what failed is C's own memory, which tracemalloc does not count."""
    cython = twin("cython")
    failed = b'{"items":[' + b",".join([b"{}"] * 200_000) + b"]}"
    damaged = failed[:-1]
    resident = []
    for _ in range(6):
        for _ in range(10):
            quietly(cython.scan_bulk_answer, damaged)
        assert cython.scan_bulk_answer(failed)[0] == 200_000
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    # Each call that kept its list would add 4.8 MB.
    assert resident[-1] - resident[1] < 20 * 4_800_000


def test_looking_at_values_leaves_nothing_behind(core):
    inner, other = {"a": 1.5, "b": ["c", None]}, object()
    values = [inner, [inner, (inner,)], {"a": inner, "b": other}, [other], {1: inner}, float("nan"), [[[inner]]]]
    values[1].append(values[1])
    before = list(map(sys.getrefcount, [*values, inner, other]))

    def call():
        for value in values:
            core.is_plain_json(value)

    assert_keeps_nothing(call)
    assert list(map(sys.getrefcount, [*values, inner, other])) == before


# --- secrets -----------------------------------------------------------------------------------------------

# Keys made and dropped in a process of their own, whose memory this one reads: it never holds what is looked for but
# where the core put it. It does each step when it is told to.
HOLDER = """
import sys
from importlib import import_module
twin, path, secret, day, region, service = sys.argv[1:]
core = import_module(f"opensearch_sigv4.core._{twin}")
core.select_hash_path(path)
url = "https://host/"
steps = sys.stdin

def done():
    print("done", flush=True)
    steps.readline()

def deep(function, levels=50):
    # Call it so far down the stack that what it leaves there is not overwritten at once.
    return function() if not levels else next(map(lambda _: deep(function, levels - 1), [None]))

def new():
    return core.SigningKey(secret, day, region, service)

key = new()
done()  # which the dynamic linker has not linked yet: it saves the registers on the stack, with what is left in them
# Many, as the memory of one would soon be another object's.
keys = [deep(new) for _ in range(100)]
done()
keys.clear()
del key
done()
for _ in range(3):
    deep(lambda: core.sign("GET", url, None, None, "AKIDEXAMPLE", secret, None, region, service, 1440938160))
done()
core.select_hash_path(path)  # forgets the keys that are kept
core.signing_key.cache_clear()
done()
done()
"""


def words(data):
    return [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]


def is_prime(number):
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def fraction_of_root(number, root):
    """The first 32 bits of the fraction of the number's square (2) or cube (3) root."""
    low, high = 0, number << 32
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**root <= number << (32 * root) else (low, middle - 1)
    return low & 0xFFFFFFFF


PRIMES = [number for number in range(2, 312) if is_prime(number)]
INITIAL = [fraction_of_root(prime, 2) for prime in PRIMES[:8]]
K = [fraction_of_root(prime, 3) for prime in PRIMES]


def state_after(block):
    """SHA-256's hash value after one block (FIPS 180-4, 6.2.2), which hashlib does not show."""

    def rotated(x, *counts):
        result = 0
        for bits in counts:
            result ^= x >> bits | x << 32 - bits
        return result & 0xFFFFFFFF

    w = words(block)
    for t in range(16, 64):
        sigma0 = rotated(w[t - 15], 7, 18) ^ w[t - 15] >> 3
        sigma1 = rotated(w[t - 2], 17, 19) ^ w[t - 2] >> 10
        w.append(w[t - 16] + sigma0 + w[t - 7] + sigma1 & 0xFFFFFFFF)
    a, b, c, d, e, f, g, h = INITIAL
    for t in range(64):
        t1 = h + rotated(e, 6, 11, 25) + (e & f ^ ~e & g) + K[t] + w[t]
        t2 = rotated(a, 2, 13, 22) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = t1 + t2 & 0xFFFFFFFF, a, b, c, d + t1 & 0xFFFFFFFF, e, f, g
    return [one + other & 0xFFFFFFFF for one, other in zip(INITIAL, (a, b, c, d, e, f, g, h), strict=True)]


def hmac_states(key):
    key = (hmac.digest(b"", b"", "sha256") if len(key) > 64 else key).ljust(64, b"\0")
    return [state_after(bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C)]


def in_memory(state, order=range(8)):
    return b"".join(state[index].to_bytes(4, sys.byteorder) for index in order)


def test_the_compression_function_here():
    padded = b"abc\x80".ljust(63, b"\0") + b"\x18"
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert b"".join(word.to_bytes(4, "big") for word in state_after(padded)).hex() == digest


class Needles:
    """What must not be found: {name: bytes}."""

    def __init__(self):
        # Its own region, so that no other test's process has these keys.
        self.region = "wipe-test-1"
        keys = [(spec.KEY_PREFIX + SECRET_KEY).encode()]
        for part in (DAY, self.region, "es", spec.TERMINATOR):
            keys.append(hmac.digest(keys[-1], part.encode(), "sha256"))
        names = ("AWS4 + secret", "kDate", "kRegion", "kService", "kSigning")
        self.keys = dict(zip(names, keys, strict=True)).items()
        self.forms = []
        for name, key in list(self.keys)[1:]:
            # Compilers move 16 bytes at a time, so half of a key may be left; and what the key was made from, or into.
            self.forms += [(f"first half of {name}", key[:16]), (f"second half of {name}", key[16:])]
            self.forms.append((f"{name} as words", in_memory(words(key))))
            self.forms += [(f"{name} ^ {pad:x}", bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C)]
        self.intermediate_states = []
        for name, key in list(self.keys)[:-1]:
            for side, state in zip(("inner", "outer"), hmac_states(key), strict=True):
                self.intermediate_states.append((f"{side} state of {name}", in_memory(state)))
        states = hmac_states(keys[-1])
        sides = list(zip(("inner", "outer"), states, strict=True))
        self.states = [(f"{side} state", in_memory(state)) for side, state in sides]
        # Halves of a state as vectors hold them: in order, and in that of the x86 instructions (FEBA and HGDC).
        orders = {"abcd": (0, 1, 2, 3), "efgh": (4, 5, 6, 7), "feba": (5, 4, 1, 0), "hgdc": (7, 6, 3, 2)}
        self.halves = [
            (f"{order} of the {side} state", in_memory(state, indices))
            for side, state in sides
            for order, indices in orders.items()
        ]


def found(process, needles):
    """The names of the needles that are in the writable memory of a process."""
    names = set()
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            addresses, permissions = line.split()[:2]
            if not permissions.startswith("rw"):
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:  # a mapping of a device
                continue
            names.update(name for name, needle in needles if needle in data)
    return names


class Holder:
    def __init__(self, twin_name, path, needles):
        command = [sys.executable, "-c", HOLDER, twin_name, path, SECRET_KEY, DAY, needles.region, "es"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))

    def __enter__(self):
        return self

    def wait(self):
        assert select.select([self.process.stdout], [], [], 60)[0], "no answer"
        assert self.process.stdout.readline() == b"done\n"

    def next(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.wait()

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def native_paths():
    try:
        return [path for path in twin("cython").hash_paths() if path != "openssl"]
    except pytest.skip.Exception:
        return ["portable"]  # the test skips for the reason that `twin` gives


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/mem").exists() or "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="a process's memory is read through /proc; under AddressSanitizer it has terabytes",
)


@needs_proc
@pytest.mark.parametrize("path", native_paths())
def test_a_signing_key_that_is_dropped_is_wiped(path):
    twin("cython")
    needles = Needles()
    # Of the signing key, too, only the states are kept.
    never = [*needles.keys, *needles.forms, *needles.intermediate_states]
    with Holder("cython", path, needles) as holder:
        holder.wait()
        for is_held in (True, True, False, True, False):
            if is_held:
                assert found(holder.process, needles.states) == {"inner state", "outer state"}
                assert found(holder.process, never) == set()
            else:
                assert found(holder.process, [*never, *needles.states, *needles.halves]) == set()
            holder.next()


@needs_proc
@pytest.mark.parametrize("twin_name", ["cython", "python"])
def test_a_key_that_openssl_holds_is_found(twin_name):
    # Which makes sure that `found` finds. What of it is left when the key goes, the core does not promise.
    twin(twin_name)
    needles = Needles()
    with Holder(twin_name, "openssl", needles) as holder:
        holder.wait()
        assert found(holder.process, needles.states) == {"inner state", "outer state"}
