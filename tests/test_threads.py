"""One signer, many threads: while credentials rotate and the day changes, each signature is of one generation."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.credentials import Snapshot
from oracles import REGION

THREADS = 8
SIGNATURES = 400
URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/"
GENERATIONS = [
    Snapshot("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "EXAMPLETOKEN0"),
    Snapshot("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "EXAMPLETOKEN1"),
    Snapshot("AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY", "EXAMPLETOKEN2"),
]


def signed_by_botocore(signed, at):
    """The Authorization that botocore makes for the generation whose token was sent."""
    number = int(signed["X-Amz-Security-Token"].removeprefix("EXAMPLETOKEN"))
    signer = SigV4Auth(Credentials(*GENERATIONS[number]), "es", REGION)
    request = AWSRequest("GET", URL, headers={name: signed[name] for name in signed if name.startswith("X-Amz-")})
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return signer._inject_signature_to_request(request, signature).headers["Authorization"]


def test_signing_while_credentials_rotate_and_the_day_changes():
    current = [GENERATIONS[0]]
    signer = SigV4Signer(lambda: current[0], REGION)
    midnight = datetime(2027, 1, 1, tzinfo=UTC)
    start = threading.Barrier(THREADS + 1)

    def sign(thread):
        start.wait(10)
        results = []
        for number in range(SIGNATURES):
            at = midnight + timedelta(seconds=(number % 3) - 1 + thread % 2)
            results.append((at, signer.sign("GET", URL, at=at)))
        return results

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(sign, thread) for thread in range(THREADS)]
        start.wait(10)
        while not all(future.done() for future in futures):
            for generation in GENERATIONS:
                current[0] = generation
        results = [result for future in futures for result in future.result()]
    assert len(results) == THREADS * SIGNATURES
    assert len({signed["X-Amz-Security-Token"] for _, signed in results}) > 1
    assert all(signed["Authorization"] == signed_by_botocore(signed, at) for at, signed in results)
