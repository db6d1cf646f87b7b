"""Nothing lost, nothing doubled: documents through a faulty domain, and what the server behind it really holds.

The judge imports nothing of the library. For each document the helpers give one outcome, and the judge says how often
it was executed and whether it is held.
"""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest
from opensearchpy import AsyncHttpConnection, AsyncOpenSearch

from judge import Judge
from opensearch_sigv4 import AWSV4SignerAsyncAuth, connect, helpers
from opensearch_sigv4.testing import Fault, LocalDomain

MALFORMED_EVERY = 997
LIMIT_BYTES = 20_000
KINDS = ("index", "index", "index", "index", "index", "no id", "no id", "create", "create", "update")
QUIET = {"raise_on_error": False, "raise_on_exception": False}
# Never a reason to give up: the longest series of faults is shorter.
PATIENT = {"max_retries": 60, "initial_backoff": 0.001, "max_backoff": 0.02, **QUIET}


def kind_of(n):
    return KINDS[n % len(KINDS)]


def documents(count):
    for n in range(count):
        padding = "x" * (n * 7919 % 400)
        match kind_of(n):
            case "no id":
                yield {"_index": "i", "n": n, "padding": padding}
            case "update":
                source = {"doc": {"n": n, "padding": padding}, "doc_as_upsert": True}
                yield {"_op_type": "update", "_index": "i", "_id": f"u{n}", "_source": source}
            case op_type:
                yield {"_op_type": op_type, "_index": "i", "_id": str(n), "n": n, "padding": padding}


class Faults:
    """A third of the requests meet a fault, by a seeded choice; each `MALFORMED_EVERY`th document is always refused."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.injected = Counter()

    def __call__(self, request):
        if len(request.body) > LIMIT_BYTES or not self.injected:
            return self._counted("413", Fault.answer(413, f"Request size exceeded {LIMIT_BYTES} bytes"))
        chance, status = self._random.random(), self._random.choice((502, 503, 504))
        refused = Fault.documents(self._refused)
        for share, name, fault in (
            (0.03, "reset before", Fault.reset()),
            (0.03, "reset after", replace(refused, ending="reset")),
            (0.02, "silence before", Fault.timeout(limit_s=0.02)),
            (0.02, "silence after", replace(refused, ending="silence", delay_s=0.02)),
            (0.03, "429", Fault.answer(429)),
            (0.02, "402", Fault.answer(402)),
            (0.02, "403 throttled", Fault.answer(403)),
            (0.03, "gateway before", Fault.answer(status)),
            (0.03, "gateway after", replace(refused, status=status)),
            (0.02, "slow", replace(refused, delay_s=0.01, over_s=0.01)),
            (0.02, "truncated", replace(refused, sent=0.5, is_length_right=False)),
            (0.02, "cut", replace(refused, sent=0.7)),
            (0.05, "documents", Fault.documents(self._throttled)),
        ):
            if chance < share:
                return self._counted(name, fault)
            chance -= share
        return refused

    def _counted(self, name, fault):
        self.injected[name] += 1
        return fault

    def _refused(self, action):
        number = action.source.partition(b'"n":')[2].partition(b",")[0]
        return 400 if int(number) % MALFORMED_EVERY == 0 else None

    def _throttled(self, action):
        refused = self._refused(action)
        return refused or self._random.choices((429, 503, 402, None), (2, 1, 1, 40))[0]


def judged(results, count, judge):
    """Compare the outcome of each document with what the judge executed and holds; return how often each came."""
    executed, held = judge.executions("n"), judge.held("n")
    outcomes = Counter()
    number = 0
    for number, (ok, item) in enumerate(results, 1):
        n = number - 1
        [(op_type, info)] = item.items()
        assert op_type == {"no id": "index"}.get(kind_of(n), kind_of(n))
        wrong = f"{n} ({kind_of(n)}): {info}, executed {executed[n]} times, held {held[n]} times"
        if ok:
            outcomes["ok"] += 1
            assert held[n] == 1, wrong
            assert executed[n] == 1 or kind_of(n) == "index", wrong
        elif info.get("unknown"):
            outcomes["unknown"] += 1
            # A document that is refused after an answer was lost may still be in by the first attempt.
            assert kind_of(n) in ("no id", "update") or n % MALFORMED_EVERY == 0, wrong
            assert executed[n] <= 1, wrong
        else:
            outcomes[info["status"]] += 1
            assert (info["status"], n % MALFORMED_EVERY) == (400, 0), wrong
            assert (executed[n], held[n]) == (0, 0), wrong
    assert number == count
    return outcomes


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (6_000, "streaming_bulk"),
        (12_000, "parallel_bulk"),
        (6_000, "async_streaming_bulk"),
        pytest.param(200_000, "parallel_bulk", marks=pytest.mark.full),
        pytest.param(200_000, "streaming_bulk", marks=pytest.mark.full),
    ],
)
def test_the_outcome_of_each_document_is_what_the_server_holds(count, name):
    faults = Faults(seed=count)
    options = {"chunk_size": 100, **PATIENT}
    with Judge() as judge, LocalDomain(upstream=judge.url, faults=faults, keep=1) as domain:
        if name == "async_streaming_bulk":
            results = asyncio.run(streamed_async(domain, documents(count), options))
        else:
            with connect(
                domain.url, region=domain.region, credentials=domain.credentials, http_compress=count % 4000 == 0
            ) as client:
                results = list(getattr(helpers, name)(client, documents(count), **options))
        outcomes = judged(results, count, judge)
    assert domain.refused == 0
    assert outcomes["ok"] > 0.9 * count
    assert outcomes["unknown"] > 0
    assert outcomes[400] <= -(-count // MALFORMED_EVERY)
    assert len(faults.injected) == 14, faults.injected


async def streamed_async(domain, actions, options):
    client = AsyncOpenSearch(
        domain.url,
        http_auth=AWSV4SignerAsyncAuth(domain.credentials, domain.region),
        connection_class=AsyncHttpConnection,
    )
    try:
        return [result async for result in helpers.async_streaming_bulk(client, actions, **options)]
    finally:
        await client.close()


@pytest.mark.parametrize("name", ["streaming_bulk", "parallel_bulk"])
def test_idempotent_and_retry_unknown_leave_nothing_unknown(name):
    count = 3_000
    for options in ({"idempotent": True}, {"retry_unknown": True}):
        with Judge() as judge, LocalDomain(upstream=judge.url, faults=Faults(seed=3), keep=1) as domain:
            with connect(domain.url, region=domain.region, credentials=domain.credentials) as client:
                actions = ({"_index": "i", "n": n, "padding": ""} for n in range(count))
                results = list(getattr(helpers, name)(client, actions, chunk_size=50, **PATIENT, **options))
            held = judge.held("n")
        assert [ok for ok, _ in results] == [n % MALFORMED_EVERY != 0 for n in range(count)]
        if "idempotent" in options:
            assert set(held.values()) == {1}
        else:
            assert max(held.values()) > 1  # asked for


def test_a_real_timeout_of_the_client():
    first = iter([Fault.timeout(executed=True), Fault.timeout()])
    with Judge() as judge, LocalDomain(upstream=judge.url, faults=lambda request: next(first, None)) as domain:
        with connect(domain.url, region=domain.region, credentials=domain.credentials, timeout=0.5) as client:
            results = list(helpers.streaming_bulk(client, documents(8), **PATIENT))
        assert [ok for ok, _ in results] == [True] * 5 + [False, False] + [True]
        assert judge.held("n") == dict.fromkeys(range(8), 1)
