"""One signer, many threads: while credentials rotate and the day changes, each signature is of one generation."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials

from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.credentials import Snapshot
from oracles import REGION

THREADS = 8
SIGNATURES = 250
ROTATIONS = 100
URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/"
SECRETS = [
    ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"),
]
MIDNIGHT = datetime(2027, 1, 1, tzinfo=UTC)


def generation(number):
    """The number-th generation of credentials, which its token names."""
    return Snapshot(*SECRETS[number % len(SECRETS)], f"EXAMPLETOKEN{number}")


def number_of(signed):
    return int(signed["X-Amz-Security-Token"].removeprefix("EXAMPLETOKEN"))


def is_botocores(signed, at, body=None):
    """Whether botocore signs the same with the generation whose token was sent."""
    signer = SigV4Auth(Credentials(*generation(number_of(signed))), "es", REGION)
    headers = {name: signed[name] for name in signed if name.startswith("X-Amz-")}
    request = AWSRequest("GET", URL, data=body, headers=headers)
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    expected = signer._inject_signature_to_request(request, signature).headers["Authorization"]
    return signed["Authorization"] == expected


@pytest.fixture(autouse=True)
def _switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(interval)


def sign_in_threads(sign_one, rotate):
    """What `sign_one(thread, number)` returned in all threads, while `rotate` goes on until it has rotated enough."""
    start = threading.Barrier(THREADS + 1)
    enough = threading.Event()

    def sign(thread):
        start.wait(10)
        results = []
        for number in count():
            if number >= SIGNATURES and enough.is_set():
                break
            result = sign_one(thread, number)
            # As many as the rotation takes are signed; the first ones and a sample of the others are kept.
            if number < SIGNATURES or number % 101 == 0:
                results.append(result)
        return results

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(sign, thread) for thread in range(THREADS)]
        try:
            start.wait(10)
            for _ in range(ROTATIONS):
                rotate()
        finally:
            enough.set()
        return [result for future in futures for result in future.result(30)]


def test_signing_while_credentials_rotate_and_the_day_changes():
    numbers = count(1)
    current = [generation(0)]
    signer = SigV4Signer(lambda: current[0], REGION)
    signed_with_current = threading.Event()

    def sign_one(thread, number):
        at = MIDNIGHT + timedelta(seconds=(number % 3) - 1 + thread % 2)
        signed = signer.sign("GET", URL, at=at)
        if signed["X-Amz-Security-Token"] == current[0].token:
            signed_with_current.set()
        return at, signed

    def rotate():
        current[0] = generation(next(numbers))
        signed_with_current.clear()
        assert signed_with_current.wait(10)

    results = sign_in_threads(sign_one, rotate)
    assert len(results) >= THREADS * SIGNATURES
    assert len({number_of(signed) for _, signed in results}) > 10
    assert {signed["X-Amz-Date"][:8] for _, signed in results} == {"20261231", "20270101"}
    assert all(is_botocores(signed, at) for at, signed in results)


def test_each_signature_uses_the_refreshable_credentials_that_were_current_during_its_call():
    now = [MIDNIGHT - timedelta(hours=1)]
    numbers = count(0)

    def refresh():
        token = generation(next(numbers))
        return {
            "access_key": token.access_key,
            "secret_key": token.secret_key,
            "token": token.token,
            "expiry_time": (now[0] + timedelta(minutes=30)).isoformat(),
        }

    credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
    credentials._time_fetcher = lambda: now[0]
    signer = SigV4Signer(credentials, REGION)
    signed_with_new = threading.Event()

    def generation_at_botocore():
        return int(credentials._frozen_credentials.token.removeprefix("EXAMPLETOKEN"))

    def sign_one(thread, number):
        at = MIDNIGHT + timedelta(seconds=number % 3 - 1)
        before = generation_at_botocore()
        signed = signer.sign("GET", URL, b"body", at=at)
        after = generation_at_botocore()
        assert before <= number_of(signed) <= after
        if after > before:
            signed_with_new.set()
        return at, signed

    def rotate():
        before = generation_at_botocore()
        # Within botocore's mandatory window: the next caller refreshes, and all others wait for it.
        now[0] += timedelta(minutes=25)
        for _ in range(1000):
            if generation_at_botocore() != before:
                return
            signed_with_new.wait(0.01)
            signed_with_new.clear()
            now[0] += timedelta(seconds=1)  # an attempt that ended after the leap is repeated ten seconds later
        pytest.fail("the credentials were not refreshed")

    results = sign_in_threads(sign_one, rotate)
    assert len({number_of(signed) for _, signed in results}) > 10
    assert all(is_botocores(signed, at, b"body") for at, signed in results)
