"""What takes long: gigabytes, and many requests. `pytest --full` runs it."""

import hashlib
import mmap
import tracemalloc

import pytest
from botocore.credentials import Credentials

from opensearch_sigv4 import SigV4HttpConnection, core
from opensearch_sigv4.testing import LocalDomain
from oracles import REGION

pytestmark = pytest.mark.full

SIZE = (4 << 30) + (1 << 20) + 1  # more than 32 bits can count


def test_a_body_of_gigabytes_is_hashed_where_it_is(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(SIZE)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
        tracemalloc.start()
        assert core.payload_hash(body) == expected
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_soak_with_rotating_credentials():
    with LocalDomain(keep=0) as domain:
        first = Credentials(domain.credentials.access_key, domain.credentials.secret_key)
        second = Credentials("AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY")
        domain.add_credentials(second.access_key, second.secret_key)
        current = [first]
        host, port = domain.url.removeprefix("http://").split(":")
        connection = SigV4HttpConnection(host, int(port), region=REGION, credentials=lambda: current[0])
        for number in range(30_000):
            if number % 500 == 0:
                current[0] = second if current[0] is first else first
            connection.perform_request("GET", "/_cluster/health", headers={"x-amz-number": str(number)})
        connection.close()
        assert (domain.verified, domain.refused) == (30_000, 0)
