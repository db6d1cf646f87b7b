"""Micro benchmark: what one signature costs, ours and the peers', in one run, each signature checked.

    python bench/sign.py [--quick] [--markdown] [--json FILE]

A row is timed from (method, URL, body, headers) to the signed headers, in a process of its own. No request is signed
twice: each has a body of its own, or a URL of its own where the body is empty. What is measured and what is not is in
bench/README.md.
"""

import hashlib
import inspect
import io
import itertools
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

import harness

# What AWS publishes as examples; the session token is 300 characters of the one in the documentation of STS.
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8"
    "YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6f"
    "E8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9K"
)
REGION = "us-east-1"
SERVICE = "es"
HOST = "search-logs-abc.us-east-1.es.amazonaws.com"
ORIGIN = f"https://{HOST}"
HEADERS = {"content-type": "application/x-ndjson", "host": HOST}

CYTHON = "ours (cython)"
PYTHON = "ours (python)"
OPENSEARCH_PY = "opensearch-py"
BOTOCORE = "botocore"
REQUESTS_AWS4AUTH = "requests-aws4auth"
AWSCRT = "awscrt"
AWSCRT_HASHED = "awscrt, body hashed by hashlib"
HASHLIB = "hashlib alone"
FLOOR = "sha floor"

THREADS = (1, 2, 4)
# Ours under this part of the floor is a mistake of the bench or the signer. The clock of a virtual machine's CPU goes
# up and down: minima of the same hashing in two rows lay 16 % apart. A body that is not hashed comes out far below.
LEAST_OF_FLOOR = 0.8
# A batch of requests is made, then signed: few enough that their bodies stay in the core's own cache, where a body that
# was just serialised is too.
_BATCH_MAX_CALLS = 256
_BATCH_MAX_BYTES = 128 << 10
# With threads a batch has to outlast several of the interpreter's switch intervals (5 ms).
_THREAD_MAX_CALLS = 10_000
_THREAD_MAX_BYTES = 16 << 20
# AWS refuses a signature that is older or newer than this.
_CLOCK_WINDOW = timedelta(minutes=5)


class Case(NamedTuple):
    """What is signed. `cold`: a new day, and so a new signing key, for each call."""

    size: int
    token: bool = True
    cold: bool = False

    def __str__(self):
        token = "300-character session token" if self.token else "no session token"
        return f"{size_in_words(self.size)} body, {token}, {'cold' if self.cold else 'warm'} key"


def size_in_words(size):
    for unit, name in ((1 << 20, "MB"), (1 << 10, "KB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


MAIN = Case(1 << 10)
LARGE = Case(5 << 20)
COLD = Case(1 << 10, cold=True)
WARM = [Case(size, token) for size in (0, 1 << 10, 64 << 10, 5 << 20) for token in (True, False)]
SIZES = [Case(size) for size in (256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 5 << 20)]
MEGABYTE = Case(1 << 20)


# --- the requests -------------------------------------------------------------------------------------------


def request(case, number):
    """(method, url, body, at) of the request of this number; no two of a case are the same.

    The URL is a new str each time, as a client makes it. The days of a cold case come back after 20,000 others.
    """
    at = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(days=number % 20_000) if case.cold else None
    if case.size:
        return "POST", f"{ORIGIN}/logs/_bulk", b"%015d\n" % number + _filler(case.size - 16), at
    return "GET", f"{ORIGIN}/logs/_doc/{number:012d}", b"", at


@cache
def _filler(size):
    line = b'{"message":"GET /index.html HTTP/1.1 200","took":17}\n'
    return (line * (size // len(line) + 1))[:size]


# --- the peers ----------------------------------------------------------------------------------------------
# Each takes a case and returns (prepare, sign_all): `prepare` turns a request into what the peer's users have in hand
# and is not timed; `sign_all` signs a batch of these and returns the headers of the last. The loops stand in each peer
# because a call more would be 2 % of our own row.


def _as_it_is(request):
    return request


def _refreshable(case):
    """botocore's credentials of an assumed role, with hours to go."""
    from botocore.credentials import RefreshableCredentials

    expiry = datetime.now(UTC) + timedelta(hours=6)
    metadata = {
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "token": TOKEN if case.token else None,
        "expiry_time": expiry.isoformat(),
    }
    return RefreshableCredentials.create_from_metadata(metadata, refresh_using=None, method="bench")


def _ours(case, backend):
    import opensearch_sigv4

    if opensearch_sigv4.backend != backend:
        raise harness.Unavailable(
            f"opensearch_sigv4.backend is {opensearch_sigv4.backend!r}, not {backend!r} (is the extension built?)"
        )
    sign = opensearch_sigv4.SigV4Signer(_refreshable(case), REGION, SERVICE).sign

    def sign_all(requests):
        for method, url, body, _ in requests:
            signed = sign(method, url, body, HEADERS)
        return signed

    def sign_all_at(requests):
        for method, url, body, at in requests:
            signed = sign(method, url, body, HEADERS, at=at)
        return signed

    return _as_it_is, sign_all_at if case.cold else sign_all


def ours_cython(case):
    return _ours(case, "cython")


def ours_python(case):
    return _ours(case, "python")


def opensearch_py(case):
    from opensearchpy.helpers.signer import AWSV4Signer

    if "headers" not in inspect.signature(AWSV4Signer.sign).parameters:
        raise harness.Unavailable("this version's AWSV4Signer.sign takes no headers")
    signer = AWSV4Signer(_refreshable(case), REGION, SERVICE)

    def sign_all(requests):
        for method, url, body, _ in requests:
            signed = signer.sign(method, url, body, HEADERS)
        return signed

    return _as_it_is, sign_all


def botocore(case):
    """As botocore's own clients do it: credentials frozen for each request."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    credentials = _refreshable(case)

    def sign_all(requests):
        for method, url, body, _ in requests:
            aws_request = AWSRequest(method, url, HEADERS, body)
            SigV4Auth(credentials.get_frozen_credentials(), SERVICE, REGION).add_auth(aws_request)
        return dict(aws_request.headers)

    return _as_it_is, sign_all


def awscrt(case):
    """As its users call it: it reads the body as a stream, and hashes it. Its credentials are static."""
    return _awscrt(case, hashes=True)


def awscrt_hashed(case):
    """The best that can be had of it: hashlib takes half the time of its reading of a stream."""
    return _awscrt(case, hashes=False)


def _awscrt(case, *, hashes):
    from awscrt import auth, http

    provider = auth.AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY, TOKEN if case.token else None)
    headers = list(HEADERS.items())

    def sign_all(requests):
        for method, url, body, at in requests:
            stream = io.BytesIO(body) if hashes else None
            http_request = http.HttpRequest(method, url[len(ORIGIN) :], http.HttpHeaders(headers), stream)
            config = auth.AwsSigningConfig(
                credentials_provider=provider,
                region=REGION,
                service=SERVICE,
                date=at,
                signed_body_value=None if hashes else hashlib.sha256(body).hexdigest(),
                signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
            )
            auth.aws_sign_request(http_request, config).result()
        return dict(http_request.headers)

    return _as_it_is, sign_all


def requests_aws4auth(case):
    """Its users have a PreparedRequest anyway, so making that is not timed."""
    from requests import Request
    from requests_aws4auth import AWS4Auth

    auth = AWS4Auth(refreshable_credentials=_refreshable(case), region=REGION, service=SERVICE)

    def prepare(request):
        method, url, body, at = request
        date = {"x-amz-date": at.strftime("%Y%m%dT%H%M%SZ")} if at else {}
        return Request(method, url, {**HEADERS, **date}, data=body).prepare()

    def sign_all(requests):
        for prepared in requests:
            auth(prepared)
        return dict(prepared.headers)

    return prepare, sign_all


def hashlib_alone(case):
    def sign_all(requests):
        for _, _, body, _ in requests:
            hashlib.sha256(body).hexdigest()

    return _as_it_is, sign_all


ROWS = {
    OPENSEARCH_PY: opensearch_py,
    BOTOCORE: botocore,
    REQUESTS_AWS4AUTH: requests_aws4auth,
    AWSCRT: awscrt,
    AWSCRT_HASHED: awscrt_hashed,
    PYTHON: ours_python,
    CYTHON: ours_cython,
    HASHLIB: hashlib_alone,
    FLOOR: hashlib_alone,
}
OURS = (CYTHON, PYTHON)
SIGNERS = [row for row in ROWS if row not in (HASHLIB, FLOOR)]
# The others derive the key for every request and take its day from the clock.
TAKE_A_TIME = (REQUESTS_AWS4AUTH, AWSCRT, AWSCRT_HASHED, PYTHON, CYTHON)


# --- a row's process ----------------------------------------------------------------------------------------


class Signing:
    """One case in one row's process: makes the requests, each once, and signs them."""

    def __init__(self, row, case):
        self.case = case
        self.prepare, self.sign_all = ROWS[row](case)
        self.made = 0
        self.wall_us = None

    def batch(self, calls):
        first, self.made = self.made, self.made + calls
        return [self.prepare(request(self.case, number)) for number in range(first, self.made)]

    def one_thread(self, budget_s):
        """One round: its sample, and [(number, signed headers)] of its last request."""
        calls = _at_most(_BATCH_MAX_CALLS, _BATCH_MAX_BYTES, self.case)
        sample, signed = harness.timed(self.sign_all, iter(lambda: self.batch(calls), None), budget_s)
        self.wall_us = sample.wall_us
        return sample, [(self.made - 1, signed)]

    def threads(self, budget_s):
        """One round for each of THREADS. Each thread signs as many requests as one alone does in about the budget; the
        time is from the first one's start to the last one's end.
        """
        if self.wall_us is None:
            self.one_thread(budget_s)
        calls = min(_at_most(_THREAD_MAX_CALLS, _THREAD_MAX_BYTES, self.case), int(budget_s * 1e6 / self.wall_us))
        return [self._in_threads(count, max(1, calls)) for count in THREADS]

    def _in_threads(self, count, calls):
        batches = [self.batch(calls) for _ in range(count)]
        last = [self.made - 1 - calls * number for number in reversed(range(count))]
        barrier = threading.Barrier(count)

        def work(batch):
            barrier.wait()
            start = time.perf_counter()
            signed = self.sign_all(batch)
            return start, time.perf_counter(), signed

        with ThreadPoolExecutor(count) as pool:
            cpu_start = time.process_time()
            starts, ends, signed = zip(*pool.map(work, batches), strict=True)
            cpu = time.process_time() - cpu_start
        total = calls * count
        sample = harness.Sample((max(ends) - min(starts)) / total * 1e6, cpu / total * 1e6, total)
        return sample, list(zip(last, signed, strict=True))


def _at_most(calls, size, case):
    return max(1, min(calls, size // max(1, case.size)))


def serve(row):
    """What a worker runs: returns the function that measures one round of this row."""
    cases = {}

    def measure(method, case, budget_s):
        if row == FLOOR:
            case = MEGABYTE
        if case not in cases:
            cases[case] = Signing(row, case)
        return getattr(cases[case], method)(budget_s)

    measure("one_thread", MAIN, 0)
    return measure


def start(row):
    env = {"OPENSEARCH_SIGV4_NO_EXTENSIONS": "1"} if row == PYTHON else {}
    return harness.Worker(row, serve, row, env=env)


# --- correct? -----------------------------------------------------------------------------------------------


def correct(row, case, number, signed):
    """Whether a signer of another house makes the same signature of this request at this time, over the same names."""
    method, url, body, at = request(case, number)
    sent = {name.lower(): value for name, value in {**HEADERS, **signed}.items()}
    names = re.search("SignedHeaders=([^,]+),", sent["authorization"])[1].split(";")
    date = datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(date - (at or datetime.now(UTC))) > _CLOCK_WINDOW or not {"host", "x-amz-date"} <= set(names):
        return False
    sign_again = signed_by_botocore if row in (AWSCRT, AWSCRT_HASHED) else signed_by_awscrt
    headers = {name: sent[name] for name in names if name in HEADERS}
    expected = sign_again(method, url, body, headers, names, TOKEN if case.token else None, date)
    return all(expected.get(name) == sent[name] for name in (*names, "authorization"))


def signed_by_awscrt(method, url, body, headers, names, token, date):
    """All headers, in lower case, as awscrt signs the request; it hashes the body itself."""
    from awscrt import auth, http

    header_type = auth.AwsSignedBodyHeaderType
    hashed = "x-amz-content-sha256" in names
    http_request = http.HttpRequest(
        method, url[len(ORIGIN) :], http.HttpHeaders(list(headers.items())), io.BytesIO(body)
    )
    config = auth.AwsSigningConfig(
        credentials_provider=auth.AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY, token),
        region=REGION,
        service=SERVICE,
        date=date,
        signed_body_header_type=header_type.X_AMZ_CONTENT_SHA_256 if hashed else header_type.NONE,
    )
    auth.aws_sign_request(http_request, config).result(60)
    return {name.lower(): value for name, value in http_request.headers}


def signed_by_botocore(method, url, body, headers, names, token, date):
    """The same as botocore signs it. Not by `add_auth`, which takes the time from the clock."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, token), SERVICE, REGION)
    aws_request = AWSRequest(method, url, headers, body)
    aws_request.context["timestamp"] = date.strftime("%Y%m%dT%H%M%SZ")
    aws_request.headers["x-amz-date"] = aws_request.context["timestamp"]
    if token:
        aws_request.headers["x-amz-security-token"] = token
    if "x-amz-content-sha256" in names:
        aws_request.headers["x-amz-content-sha256"] = signer.payload(aws_request)
    string_to_sign = signer.string_to_sign(aws_request, signer.canonical_request(aws_request))
    signed_headers = signer.signed_headers(signer.headers_to_sign(aws_request))
    return {
        **{name.lower(): value for name, value in aws_request.headers.items()},
        "authorization": f"AWS4-HMAC-SHA256 Credential={signer.scope(aws_request)}, SignedHeaders={signed_headers}, "
        f"Signature={signer.signature(string_to_sign, aws_request)}",
    }


def verdict(row, case, signatures):
    """The `correct` column of a row: of the last signature of every round, and of every thread."""
    if row not in SIGNERS:
        return "-"
    return "yes" if all(correct(row, case, number, signed) for number, signed in signatures) else "WRONG"


# --- the floor ----------------------------------------------------------------------------------------------


def sha256_blocks(length):
    """The 64-byte blocks of a message with its padding: the byte 0x80, zeros, and the length in 8 bytes."""
    return (length + 1 + 8 + 63) // 64


def floor_blocks(case):
    """The SHA-256 blocks of this request for a signer that keeps its key from one request to the next, and no more.

    The body, unless it is empty (its hash is a constant); the canonical request; and the HMAC of the string to sign.
    Of that one the inner and outer key pad, one block each, are absorbed when the key is made; there remain the string
    to sign and, outside, the 32 bytes of the inner digest. The key pads being whole blocks, what follows them is padded
    as if it stood alone. The lengths are those of the request with the headers that ours signs.

    A cold key is four HMACs of short texts, each of two key pads, one inner and one outer block, and then the two key
    pads of the new key itself: 4 * 4 + 2.

    A signer that kept hash states of requests could save two blocks more: the canonical request's first, up to the
    host, and within one second the first of the string to sign. Hence the tolerance in `problems`.
    """
    from botocore.credentials import Credentials

    from opensearch_sigv4 import SigV4Signer

    signer = SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY, TOKEN if case.token else None), REGION, SERVICE)
    method, url, body, at = request(case, 0)
    explained = signer.explain(method, url, body, HEADERS, at=at)
    return (
        (sha256_blocks(len(body)) if body else 0)
        + sha256_blocks(len(explained.canonical_request))
        + sha256_blocks(len(explained.string_to_sign))
        + sha256_blocks(32)
        + (4 * 4 + 2 if case.cold else 0)
    )


# --- measuring ----------------------------------------------------------------------------------------------


def measure_case(asked, case, rounds, budget_s):
    """{row: summary, with "correct"} of one case with one thread; the floor is scaled to this case."""
    results = {}
    for row, replies in harness.in_turn(asked, rounds, "one_thread", case, budget_s).items():
        samples, signatures = zip(*replies, strict=True)
        if row == FLOOR:
            scale = floor_blocks(case) / sha256_blocks(MEGABYTE.size)
            samples = [harness.Sample(s.wall_us * scale, s.cpu_us * scale, s.calls) for s in samples]
        correctness = verdict(row, case, itertools.chain(*signatures))
        results[row] = {**harness.summary(samples), "correct": correctness}
    return results


def measure_threads(asked, case, rounds, budget_s):
    """{row: {"correct": ..., number of threads: summary}}."""
    results = {}
    for row, replies in harness.in_turn(asked, rounds, "threads", case, budget_s).items():
        results[row] = {}
        signatures = []
        for number, count in enumerate(THREADS):
            samples, signed = zip(*(reply[number] for reply in replies), strict=True)
            results[row][count] = harness.summary(samples)
            signatures += itertools.chain(*signed)
        results[row]["correct"] = verdict(row, case, signatures)
    return results


def rows_of(case):
    """The rows of a case: without a time to set no cold key; and a row of hashing alone where that is most of it."""
    rows = [row for row in SIGNERS if not case.cold or row in TAKE_A_TIME]
    return [*rows, HASHLIB, FLOOR] if case.size >= 64 << 10 else [*rows, FLOOR]


# --- printing -----------------------------------------------------------------------------------------------


def case_table(results, *, markdown):
    base = next(row for row in OURS if row in results)
    header = ["us per signature", "CPU min", "median", "wall min", "median", f"CPU / {base}", "correct"]
    lines = []
    for row, result in results.items():
        cpu, wall = result["cpu_us"], result["wall_us"]
        times = [cpu["min"], cpu["median"], wall["min"], wall["median"]]
        ratio = cpu["min"] / results[base]["cpu_us"]["min"]
        lines.append([row, *(f"{us:.2f}" for us in times), f"{ratio:.2f}", result["correct"]])
    return harness.table(header, lines, markdown=markdown)


def sizes_table(cases, *, markdown):
    """CPU minima, with a column for each size."""
    header = ["us per signature, CPU min", *(size_in_words(case.size) for case in cases), "correct"]
    lines = []
    for row in ROWS:
        results = [rows.get(row) for rows in cases.values()]
        if not all(results):
            continue
        verdicts = {result["correct"] for result in results}
        verdict = "WRONG" if "WRONG" in verdicts else verdicts.pop()
        lines.append([row, *(f"{result['cpu_us']['min']:.2f}" for result in results), verdict])
    return harness.table(header, lines, markdown=markdown)


def print_if_busy(results):
    if rows := harness.busy(results):
        print(f"\nNOTE: THE MACHINE WAS BUSY: do not use these wall times ({', '.join(rows)})")


def threads_table(results, *, markdown):
    header = ["signatures per second", "1 thread"]
    for count in THREADS[1:]:
        header += [f"{count} threads", "/ 1"]
    lines = []
    for row, result in results.items():
        rates = [1e6 / result[count]["wall_us"]["min"] for count in THREADS]
        cells = [f"{rates[0]:.0f}"]
        for rate in rates[1:]:
            cells += [f"{rate:.0f}", f"{rate / rates[0]:.2f}"]
        lines.append([row, *cells, result["correct"]])
    return harness.table([*header, "correct"], lines, markdown=markdown)


def targets(cases):
    """[(what, ratio or None, at least, aim)]: the targets that concern `sign`.

    Of CPU minima. A row here is one thread that never waits, so wall time adds only what other programs took: on a
    busy machine one call of 3 ms lost 8 ms in every round, and hashing alone came out slower than hashing and signing.
    """

    def ratio(case, above, below):
        results = cases[case]
        if above in results and below in results:
            return results[above]["cpu_us"]["min"] / results[below]["cpu_us"]["min"]
        return None

    return [
        (f"{OPENSEARCH_PY} / {CYTHON}", ratio(MAIN, OPENSEARCH_PY, CYTHON), 35, 50),
        (f"{AWSCRT} / {CYTHON}", ratio(MAIN, AWSCRT, CYTHON), 10, 15),
        (f"{AWSCRT_HASHED} / {CYTHON}", ratio(MAIN, AWSCRT_HASHED, CYTHON), 10, 15),
        (f"{CYTHON} / {FLOOR}", ratio(MAIN, CYTHON, FLOOR), 2.5, 1.5),
        (f"{OPENSEARCH_PY} / {PYTHON}", ratio(MAIN, OPENSEARCH_PY, PYTHON), 5, 8),
        (f"5 MB: {CYTHON} / {HASHLIB}", ratio(LARGE, CYTHON, HASHLIB), 1.03, 1.00),
        (f"5 MB: {PYTHON} / {HASHLIB}", ratio(LARGE, PYTHON, HASHLIB), 1.03, 1.00),
    ]


def targets_table(targets, *, judged, markdown):
    lines = []
    for what, ratio, target, aim in targets:
        measured = "-" if ratio is None else f"{ratio:.3f}"
        verdict = reached(ratio, target, aim) if judged else "not judged"
        lines.append([what, measured, f"{target:g}", f"{aim:g}", verdict])
    return harness.table(["ratio of CPU minima", "measured", "target", "aim", "reached"], lines, markdown=markdown)


def reached(ratio, target, aim):
    if ratio is None:
        return "not measured"
    if aim > target:
        return "aim" if ratio >= aim else "target" if ratio >= target else "missed"
    # What ours is compared with here is part of what ours does.
    if ratio < LEAST_OF_FLOOR:
        return "IMPOSSIBLE"
    return "aim" if round(ratio, 2) <= aim else "target" if ratio <= target else "missed"


def problems(cases, threads, *, judged):
    """What makes the exit status 1: a wrong signature; if times are judged, one faster than its hashing could be."""
    found = []
    for case, results in itertools.chain(cases.items(), threads.items()):
        found += [f"WRONG: {row}, {case}" for row, result in results.items() if result["correct"] == "WRONG"]
    for case, results in cases.items() if judged else ():
        for row in OURS:
            for least in (FLOOR, HASHLIB):
                if row in results and least in results:
                    ratio = results[row]["cpu_us"]["min"] / results[least]["cpu_us"]["min"]
                    if ratio < LEAST_OF_FLOOR:
                        found.append(f"ERROR: {row}, {case}: {ratio:.2f} of {least}: the bench or the signer is wrong")
    return found


def main():
    options = harness.arguments(__doc__.partition("\n")[0]).parse_args()
    rounds = options.rounds or (2 if options.quick else 15)
    budget_s = 0.001 if options.quick else 0.02

    machine = harness.machine()
    versions, notes = harness.versions(
        "opensearch-sigv4", "opensearch-py", "botocore", "awscrt", "requests-aws4auth", "requests", "urllib3"
    )
    print(machine, ", ".join(f"{name} {version}" for name, version in versions.items()), sep="\n")

    cases, threads = {}, {}
    with harness.workers([start(row) for row in ROWS]) as (workers, left_out):
        notes += left_out
        for note in notes:
            print(f"NOTE: {note}")

        def asked_of(case):
            return {row: workers[row] for row in rows_of(case) if row in workers}

        for case in [*WARM, COLD]:
            cases[case] = measure_case(asked_of(case), case, rounds, budget_s)
            print(f"\n{case} ({floor_blocks(case)} SHA-256 blocks)\n")
            print(case_table(cases[case], markdown=options.markdown))
            print_if_busy(cases[case])
            if case.cold:
                print("\nnot measured: opensearch-py, botocore (no time to set; they derive the key each time anyway)")
        sizes = {case: cases.get(case) or measure_case(asked_of(case), case, rounds, budget_s) for case in SIZES}
        print(f"\nby size of the body, with a session token\n\n{sizes_table(sizes, markdown=options.markdown)}")
        for case in (MAIN, LARGE):
            asked = {row: worker for row, worker in workers.items() if row != FLOOR}
            threads[case] = measure_threads(asked, case, rounds, budget_s)
            print(f"\n{case}, threads\n\n{threads_table(threads[case], markdown=options.markdown)}")
            print_if_busy({row: result[1] for row, result in threads[case].items()})

    print(f"\ntargets: {MAIN}, unless it says otherwise\n")
    print(targets_table(targets(cases), judged=not options.quick, markdown=options.markdown))
    found = problems(sizes | cases, threads, judged=not options.quick)
    print("", *(found or ["every signature checked is correct"]), sep="\n")
    harness.write_json(options, as_json(machine, versions, notes, cases, sizes, threads, found))
    return 1 if found else 0


def as_json(machine, versions, notes, cases, sizes, threads, found):
    return {
        "machine": machine,
        "versions": versions,
        "notes": notes,
        "cases": {str(case): {"blocks": floor_blocks(case), "rows": rows} for case, rows in cases.items()},
        "sizes": {case.size: rows for case, rows in sizes.items()},
        "threads": {str(case): rows for case, rows in threads.items()},
        "targets": [
            dict(zip(("ratio", "measured", "target", "aim"), target, strict=True)) for target in targets(cases)
        ],
        "problems": found,
    }


if __name__ == "__main__":
    raise SystemExit(main())
