"""What several threads may do to one signer at once, harder than anybody would: values that are changed while they are
read, keys that fall out of the cache while they are used. With a GIL it is quickly passed; a free-threaded Python is
what it is for, on which the core must leave the GIL disabled as well.
"""

import hashlib
import os
import random
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from opensearch_sigv4.core import _python
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN
from processes import run

URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/_bulk?b=1&a=2"
READERS = 4
ROUNDS = 1500
CHANGES = 200
DAY_S = 86_400
IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@pytest.fixture(autouse=True)
def _switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.skipif(not IS_FREE_THREADED, reason="this Python always has a GIL")
def test_the_core_leaves_the_gil_disabled(core):
    program = f"""
import sys, warnings
warnings.simplefilter("error")
assert not sys._is_gil_enabled()
from opensearch_sigv4.core import _{core.name}
assert not sys._is_gil_enabled()
"""
    # In a process of its own: other packages that the tests use may have enabled it here, or PYTHON_GIL forbids that.
    ran = run(sys.executable, "-c", program, timeout=60, PYTHONPATH=os.pathsep.join(sys.path))
    assert ran.returncode == 0, ran.stderr


def race(read, *changes):
    """Call `read(round)` in several threads, ROUNDS times in each, and each of `changes` in one, meanwhile."""
    start = threading.Barrier(READERS + len(changes))
    over = threading.Event()

    def reader():
        start.wait(10)
        for number in range(ROUNDS):
            read(number)

    def changer(change):
        start.wait(10)
        number = 0
        while number < CHANGES or not over.is_set():
            change(number)
            number += 1

    with ThreadPoolExecutor(READERS + len(changes)) as pool:
        changers = [pool.submit(changer, change) for change in changes]
        readers = [pool.submit(reader) for _ in range(READERS)]
        try:
            for future in readers:
                future.result(120)
        finally:
            over.set()
        for future in changers:
            future.result(60)


def assert_is_whole(core, signature):
    """That each stage of a signature follows from the one before."""
    canonical_hash = hashlib.sha256(signature.canonical_request.encode()).hexdigest()
    assert signature.string_to_sign.endswith(f"\n{canonical_hash}")
    day, region, service, _ = signature.credential_scope.split("/")
    expected = core.SigningKey(SECRET_KEY, day, region, service).signature(signature.string_to_sign)
    assert signature.headers["Authorization"].endswith(
        f"SignedHeaders={signature.signed_headers}, Signature={expected}"
    )


@pytest.mark.parametrize("further", [frozenset(), frozenset({"accept"})])
@pytest.mark.parametrize("kind", [dict, list])
def test_headers_that_change_while_they_are_signed(core, kind, further):
    def value(number):
        return f"{number}-" * (number % 300 + 1)  # made anew, and of many sizes

    def valid(name, text):
        return text == value(int(text.partition("-")[0])) and int(name.removeprefix("x-amz-meta-")) < 12

    headers = {f"x-amz-meta-{number}": value(number) for number in range(12)}
    shared = headers if kind is dict else [*headers.items()]

    def change(number):
        name = f"x-amz-meta-{number % 12}"
        if kind is list:
            if number % 3:
                shared[number % 5] = (name, value(number))
            elif len(shared) > 8:
                shared.pop()
            else:
                shared.extend([(f"x-amz-meta-{index}", value(index)) for index in range(4)])
        elif number % 7 == 0:
            shared.clear()
        elif number % 3:
            shared[name] = value(number)
        else:
            shared.pop(name, None)

    def read(number):
        arguments = ("POST", URL, b"body", shared, ACCESS_KEY, SECRET_KEY, TOKEN, REGION, "es", AT.timestamp() + number)
        try:
            signature = core.sign(*arguments, further)
        except RuntimeError as error:
            # Python's own, where its iterator walks a dict in the Python twin.
            assert "during iteration" in str(error) or "keys changed" in str(error)  # noqa: PT017
            return
        assert_is_whole(core, signature)
        for line in signature.canonical_request.splitlines():
            if line.startswith("x-amz-meta-"):
                name, _, joined = line.partition(":")
                assert all(valid(name, text) for text in joined.split(","))

    race(read, change, change)


@pytest.mark.parametrize("kind", [dict, list])
def test_values_that_change_while_they_are_looked_at(core, kind):
    """Whatever is in them at any time is plain, but for what one thread puts in and takes out again."""
    shared = {"nested": {"a": [1]}} if kind is dict else [{"a": [1]}]
    document = {"before": [1, 2], "shared": shared, "after": {"b": 1.5}}

    def change(number):
        made_anew = {"a": [f"{number}-" * (number % 50), {"b": number}, (1.5,) * (number % 9)]}
        if kind is dict:
            shared[f"field{number % 20}"] = made_anew
            if number % 7 == 0:
                shared.clear()
        else:
            shared.append(made_anew)
            if number % 7 == 0:
                del shared[:]

    seen = set()

    def read(number):
        seen.add(core.is_plain_json(document))
        assert not core.is_plain_json([shared, object()])

    race(read, change, change)
    # In the Python twin, a dict whose size changes is not plain.
    assert seen == {True} or (core.name, kind) == ("python", dict)


def test_answers_are_read_by_many_threads(core):
    items = [b'{"index":{"_id":"%d","status":%d}}' % (number, 409 if number % 9 else 201) for number in range(300)]
    answers = [b'{"items":[' + b",".join(items * times) + b"]}" for times in (1, 40)]  # the latter without the GIL
    expected = [core.scan_bulk_answer(answer) for answer in answers]

    def read(number):
        if number % (10 if core.name == "cython" else 300) == 0:
            index = number % 20 == 0
            assert core.scan_bulk_answer(answers[index]) == expected[index]

    race(read)


def test_generations_that_change_while_they_are_read(core):
    def generation(number):
        return SimpleNamespace(expiry=[number]), SimpleNamespace(frozen=[number]), 10.0 + number, (number, "s", "t")

    generations = [generation(number) for number in range(50)]
    credentials = SimpleNamespace(_expiry_time=None, _frozen_credentials=None)
    kept = core.Kept(credentials, lambda: 5.0, generations[0])

    def change(number):
        # Objects that nothing else refers to, and then those that the credentials have, too.
        kept.generation = generation(number)
        kept.generation = chosen = generations[number % 50]
        credentials._expiry_time, credentials._frozen_credentials = chosen[:2]

    def read(_):
        for _ in range(20):
            snapshot = kept.current()
            assert snapshot is None or snapshot is generations[snapshot[0]][3]
            expiry, frozen, expires_at, (number, *_) = kept.generation
            assert (expiry.expiry, frozen.frozen, expires_at) == ([number], [number], 10.0 + number)

    race(read, change, change)


def test_more_days_and_secrets_than_keys_are_kept(core):
    choice = random.Random(0)
    cases = []
    for number in range(300):
        secret = f"{SECRET_KEY}{number % 7}"
        timestamp = AT.timestamp() + number * DAY_S
        arguments = ("POST", URL, b"body", None, ACCESS_KEY, secret, TOKEN, REGION, "es", timestamp)
        cases.append((arguments, _python.sign(*arguments)))

    def read(_):
        arguments, expected = choice.choice(cases)
        assert core.sign(*arguments) == expected

    def forget(_):
        core.signing_key.cache_clear()

    race(read, forget)


def test_large_bodies_in_one_buffer(core):
    data = random.Random(0).randbytes(300_000)
    bodies = [data, bytearray(data), memoryview(data), memoryview(bytearray(data))[100:]]
    expected = [hashlib.sha256(body).hexdigest() for body in bodies]

    def read(number):
        if number % 20 == 0:
            assert [core.payload_hash(body) for body in bodies] == expected

    race(read)


def test_a_signer_of_all_threads(core):
    class Source:
        kept = None

        def snapshot(self):
            return current[0]

    current, now = [None], [None]
    signer = core.RequestSigner(Source(), lambda: now[0], REGION, "es", frozenset(), False)
    expected = {}
    for number in range(10):
        for second in range(10):
            arguments = (f"AKIDEXAMPLE{number}", f"{SECRET_KEY}{number}", TOKEN)
            timestamp = AT.timestamp() + second * DAY_S
            headers = _python.sign("GET", URL, b"body", None, *arguments, REGION, "es", timestamp).headers
            expected[headers["Authorization"]] = headers

    def change(number):
        current[0] = (f"AKIDEXAMPLE{number % 10}", f"{SECRET_KEY}{number % 10}", TOKEN)
        now[0] = AT.timestamp() + number % 10 * DAY_S

    change(0)

    def read(_):
        signed = signer.sign("GET", URL, b"body")
        assert signed == expected[signed["Authorization"]]

    race(read, change)
