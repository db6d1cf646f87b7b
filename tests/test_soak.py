"""Many requests, while credentials rotate, the domain's clock jumps and answers are lost: each is accounted for.

A domain whose faults are chosen by a request's number answers each with its own path, so that it needs no node, and an
answer that reaches another caller is seen. Requests come in rounds, within each of which something happens; after it,
none is under way, and all of them are judged.
"""

import asyncio
import gc
import json
import logging
import os
import random
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from opensearchpy import TransportError

from opensearch_sigv4 import _signing, connect, connect_async
from opensearch_sigv4.testing import Fault, LocalDomain
from refreshing import ADVISORY, MINUTES, Clock, Refresher, join_refreshers, refreshable
from test_threads import generation

THREADS, TASKS = 8, 64
LOST = "N/A"
HOUR = 3600
ANSWER = Fault.answer(200)
EVENTS = ("nothing", "rotation", "expiry", "clock", "expiry and clock")
REFUSALS = {
    "expiry": ("The security token included in the request is ",),
    "clock": ("Signature expired: ", "Signature not yet current: "),
}
# What the allocator and caches take beyond a fifth of the requests; a hundred bytes lost with each would be 8 MB.
MAX_GROWTH_KB = 6_000
MAX_NEW_OBJECTS = 1_000


@dataclass(frozen=True)
class Injected:
    """A fault, the share of the requests that meet it, and what their callers see."""

    share: float
    fault: Fault
    seen: int | str


NONE = Injected(1, ANSWER, 200)
FAULTS = {
    "429": Injected(0.01, Fault.answer(429), 429),
    "403 throttled": Injected(0.01, Fault.answer(403), 429),
    "503": Injected(0.01, Fault.answer(503), 503),
    "reset before": Injected(0.01, Fault.reset(), LOST),
    "reset after": Injected(0.01, Fault.reset(), LOST),
    "silence": Injected(0.002, Fault.timeout(limit_s=0.02), LOST),
    "truncated": Injected(0.01, replace(ANSWER, sent=0.5, is_length_right=False), LOST),
    "slow": Injected(0.005, replace(ANSWER, delay_s=0.005), 200),
    "closed after": Injected(0.03, replace(ANSWER, is_length_right=False), 200),
}


@pytest.fixture(autouse=True)
def _quiet():
    """Each fault is logged, and pytest would keep all of that."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def request_of(number):
    """A read, a read with a body, or one of two writes: (method, path, body)."""
    body = {"n": number, "text": "ü" * (number % 97)}
    match number % 4:
        case 0:
            return "GET", f"/soak/_doc/{number}", None
        case 1:
            return "POST", f"/soak{number}/_search", body
    return "PUT", f"/soak/_doc/{number}", body


def outcome_of(answer, path):
    return 200 if answer == f"200 OK {path}" else f"another's answer: {answer}"


class Soak:
    """The domain, credentials of two kinds, and the account of each round."""

    def __init__(self, seed):
        self._seed = seed
        self._visits = defaultdict(list)
        self._paths = {}
        self._events, self._offsets = cycle(EVENTS), cycle((HOUR, 0, -HOUR, 0))
        self._offset = self._rotations = self._round_size = self._arrived = 0
        self._event = ""
        self.counts, self.injected, self.refusals = Counter(), Counter(), Counter()
        self.domain = LocalDomain(
            upstream="http://127.0.0.1:1",  # nobody asks it
            clock=lambda: time.time() + self._offset,
            keep=100_000,
            faults=self._fault,
        )
        self._current = generation(0)
        self.domain.add_credentials(*self._current)
        self._clock = Clock()
        self._refresher = Refresher(self._clock, self._current)
        self._held = Credentials(*self._current)
        self.credentials = [lambda: self._held, refreshable(HOUR, self._refresher, self._current)]

    # --- what happens, in the domain's thread ------------------------------------------------------------------

    def _fault(self, request):
        if request.verdict != "verified":
            return None
        number = self._paths[request.target]
        method, _, body = request_of(number)
        assert request.method == method
        assert (json.loads(request.body) if request.body else None) == body
        self._arrived += 1
        if self._arrived == self._round_size // 2:
            self._happen()
        name = "" if self._visits[number] else self._chosen(number)
        self._visits[number].append(name)
        return FAULTS.get(name, NONE).fault

    def _chosen(self, number):
        chance = random.Random(f"{self._seed} {number}").random()
        for name, injected in FAULTS.items():
            chance -= injected.share
            if chance < 0:
                return name
        return ""

    def _happen(self):
        if "expiry" in self._event:
            self._rotate(forward_s=MINUTES)
        elif self._event == "rotation":
            self._rotate(forward_s=HOUR - ADVISORY)  # it is time to refresh, and the old ones are good for a while
        if "clock" in self._event:
            self._offset = next(self._offsets)

    def _rotate(self, forward_s):
        old = self._current
        self._rotations += 1
        self._current = self._refresher.values = generation(self._rotations)
        self._held = Credentials(*self._current)
        self.domain.add_credentials(*self._current)
        if "expiry" in self._event:
            self.domain.add_credentials(*old, expires_at=0)
        self._clock.forward(forward_s)

    # --- the account -------------------------------------------------------------------------------------------

    def begin(self, numbers):
        self._event, self._round_size, self._arrived = next(self._events), len(numbers), 0
        self._paths = {request_of(number)[1].encode(): number for number in numbers}

    def judge(self, numbers, outcomes, concurrency):
        """Judge a round: `outcomes` has (number, outcome), for each as often as it came."""
        assert sorted(number for number, _ in outcomes) == list(numbers)
        for number, outcome in outcomes:
            names = self._visits.pop(number, ())
            self.injected.update(names)
            visits = [FAULTS.get(name, NONE) for name in names]
            self.counts.update((outcome,))
            told = (number, outcome, visits)
            assert outcome == (visits[-1].seen if visits else LOST), told
            if len(visits) > 1:  # a read whose connection was lost
                first, _ = visits
                is_read = number % 4 < 2
                assert is_read, told
                assert first.seen == LOST, told
        assert not self._visits
        refused = [request for request in self.domain.requests if request.verdict != "verified"]
        assert self.domain.verified == self._arrived
        assert self.domain.refused == len(refused)
        assert len(refused) <= 3 * concurrency, self._event
        injected = tuple(text for name, texts in REFUSALS.items() if name in self._event for text in texts)
        for request in refused:
            assert request.reason.startswith(injected), (self._event, request.reason)
            self.refusals.update((request.verdict,))
        self.domain.reset()


# --- the callers -------------------------------------------------------------------------------------------------


def urllib3_rounds(soak, rounds):
    """Threads that share two connections, of which each has one kind of credentials."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(soak.domain.url, **options_of(soak, kind))) for kind in (0, 1)]
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))

        def requests(thread, numbers):
            return [ask(clients[thread % 2], number) for number in numbers[thread::THREADS]]

        for numbers in rounds:
            soak.begin(numbers)
            found = pool.map(requests, range(THREADS), [numbers] * THREADS)
            soak.judge(numbers, [outcome for outcomes in found for outcome in outcomes], THREADS)
            yield
    join_refreshers()


def ask(client, number):
    method, path, body = request_of(number)
    try:
        return number, outcome_of(client.transport.perform_request(method, path, body=body), path)
    except TransportError as error:
        return number, error.status_code


def aiohttp_rounds(soak, rounds):
    """The same with tasks."""
    with asyncio.Runner() as runner:
        stack, clients = runner.run(opened(soak))
        try:
            for numbers in rounds:
                soak.begin(numbers)
                found = runner.run(ask_all(clients, numbers))
                soak.judge(numbers, [outcome for outcomes in found for outcome in outcomes], TASKS)
                yield
        finally:
            runner.run(stack.aclose())
    join_refreshers()


async def opened(soak):
    stack = AsyncExitStack()
    clients = [connect_async(soak.domain.url, **options_of(soak, kind)) for kind in (0, 1)]
    return stack, [await stack.enter_async_context(client) for client in clients]


async def ask_all(clients, numbers):
    async def requests(task):
        return [await ask_async(clients[task % 2], number) for number in numbers[task::TASKS]]

    found = await asyncio.gather(*map(requests, range(TASKS)))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return found


async def ask_async(client, number):
    method, path, body = request_of(number)
    try:
        return number, outcome_of(await client.transport.perform_request(method, path, body=body), path)
    except TransportError as error:
        return number, error.status_code


def options_of(soak, kind):
    return {"region": soak.domain.region, "credentials": soak.credentials[kind], "max_retries": 0, "timeout": 30}


ROUNDS = {"urllib3": urllib3_rounds, "aiohttp": aiohttp_rounds}


def soaked(name, count, round_size):
    """What a run met, and by how many KB the process grew after a fifth of it; 0 where that is not to be known."""
    soak = Soak(seed=count)
    sizes = []
    with soak.domain:
        rounds = [range(start, start + round_size) for start in range(0, count, round_size)]
        for _ in ROUNDS[name](soak, rounds):
            sizes.append(resident_kb())
    _signing._clock_offsets.clear()
    return soak, sizes[-1] - sizes[len(sizes) // 5]


def resident_kb():
    if not PROCESS.exists():
        return 0
    [line] = [line for line in (PROCESS / "status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])


PROCESS = Path("/proc/self")


def held():
    """What a leak would leave: open files, threads and objects."""
    gc.collect()
    files = len(os.listdir(PROCESS / "fd")) if PROCESS.exists() else 0
    return files, threading.active_count(), len(gc.get_objects())


@pytest.mark.parametrize("name", ROUNDS)
@pytest.mark.parametrize(
    ("count", "round_size"), [(1_000, 100), pytest.param(100_000, 2_000, marks=pytest.mark.full)], ids=str
)
def test_each_request_has_its_own_answer_and_nothing_is_left_behind(name, count, round_size):
    soaked(name, 500, 100)
    files, threads, objects = held()
    start = time.monotonic()
    soak, growth_kb = soaked(name, count, round_size)
    told = (
        f"{count} requests over {name} in {time.monotonic() - start:.0f} s: outcomes {dict(soak.counts)}, "
        f"faults {dict(soak.injected)}, refusals {dict(soak.refusals)}, grown by {growth_kb} KB"
    )
    print(told)
    assert soak.counts.total() == count
    assert soak.counts[200] > 0.9 * count, told
    assert set(soak.refusals) == {"ExpiredTokenException", "InvalidSignatureException"}, told
    assert set(FAULTS) <= set(soak.injected), told
    files_now, threads_now, objects_now = held()
    assert (files_now, threads_now) == (files, threads), told
    assert objects_now - objects < MAX_NEW_OBJECTS, told
    assert count < 10_000 or growth_kb < MAX_GROWTH_KB, told
