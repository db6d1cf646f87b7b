"""`opensearch_sigv4.helpers` against a real server, beside opensearch-py's own."""

import asyncio
import contextvars
import heapq
import inspect
import itertools
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import opensearchpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opensearchpy import AsyncOpenSearch, OpenSearch, RequestsHttpConnection
from opensearchpy import helpers as theirs
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import SerializationError

from opensearch_sigv4 import AWSV4SignerAsyncAuth, connect, connect_async, helpers
from opensearch_sigv4.helpers import _gate
from opensearch_sigv4.helpers._call import DEFAULT_INITIAL_BACKOFF_S, DEFAULT_MAX_BACKOFF_S, DEFAULT_MAX_RETRIES
from opensearch_sigv4.helpers._delivery import Policy
from opensearch_sigv4.helpers._gate import AsyncGate, Limit
from opensearch_sigv4.testing import Fault, LocalDomain
from processes import run

FAST = {"initial_backoff": 0.001, "max_backoff": 0.01}


@pytest.fixture
def client(judge):
    """opensearch-py's own client, unsigned."""
    with OpenSearch(judge.url) as client:
        yield client


@pytest.fixture
def signed(domain):
    with connect(domain.url, region=domain.region, credentials=domain.credentials) as client:
        yield client


def documents(count, **more):
    return [{"_index": "i", "_id": str(n), "n": n, **more} for n in range(count)]


def comparable(results):
    """Results without what differs from run to run, or the exception's type and text."""
    try:
        return [(ok, _normal(item)) for ok, item in results]
    except Exception as error:
        return [type(error).__name__, _normal(list(error.args))]


def _normal(value):
    if isinstance(value, dict):
        return {name: _normal(v) for name, v in value.items() if name not in ("_seq_no", "took", "exception")}
    if isinstance(value, list | tuple):
        return [_normal(v) for v in value]
    return "made" if isinstance(value, str) and value.startswith("judge0") else value


# --- opensearch-py's results ------------------------------------------------------------------------------------

action_lists = st.lists(
    st.fixed_dictionaries(
        {"_index": st.just("i"), "n": st.integers(0, 9)},
        optional={
            "_id": st.sampled_from(["a", "b", "c"]),
            "_op_type": st.sampled_from(["index", "create", "delete", "update"]),
            "_source": st.fixed_dictionaries({"doc": st.just({"x": 1})}),
            "routing": st.just("r"),
        },
    ).filter(lambda action: "_id" in action or action.get("_op_type", "index") in ("index", "create")),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    action_lists,
    st.integers(1, 4),
    st.fixed_dictionaries(
        {},
        optional={
            "raise_on_error": st.booleans(),
            "yield_ok": st.booleans(),
            "ignore_status": st.sampled_from([(), 404, [409, 404], (400,)]),
            "max_chunk_bytes": st.integers(1, 200),
        },
    ),
)
def test_the_results_are_opensearch_pys(judge, client, actions, chunk_size, options):
    found = []
    for module in (theirs, helpers):
        judge.reset()
        results = comparable(module.streaming_bulk(client, actions, chunk_size, max_retries=0, **options))
        judge_log = judge.log()
        judge.reset()
        parallel_options = {name: value for name, value in options.items() if name != "yield_ok"}
        parallel = comparable(module.parallel_bulk(client, actions, 1, chunk_size, **parallel_options))
        judge.reset()
        counts = comparable(
            (0, module.bulk(client, actions, chunk_size=chunk_size, max_retries=0, **options)) for _ in range(1)
        )
        found.append([results, parallel, counts, [_normal([*entry.values()]) for entry in judge_log]])
    assert found[1] == found[0]


def test_the_signatures_are_opensearch_pys():
    for name in ("bulk", "streaming_bulk", "parallel_bulk", "async_bulk", "async_streaming_bulk"):
        positional = [
            parameter.name
            for parameter in inspect.signature(getattr(theirs, name)).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        ours = inspect.signature(getattr(helpers, name)).parameters
        assert list(ours)[: len(positional)] == positional
        assert all(
            ours[new].kind in (ours[new].KEYWORD_ONLY, ours[new].VAR_KEYWORD) for new in list(ours)[len(positional) :]
        )


def test_the_other_names_are_opensearch_pys():
    for name in ("BulkIndexError", "ScanError", "async_reindex", "async_scan", "expand_action", "reindex", "scan"):
        assert getattr(helpers, name) is getattr(theirs, name)


def test_arguments_for_client_bulk(signed, domain, judge):
    actions = [{"n": 1}, {"n": 2}]
    assert helpers.bulk(signed, actions, index="named", refresh="wait_for", request_timeout=7, idempotent=True) == (
        2,
        [],
    )
    assert domain.requests[-1].target == b"/named/_bulk?refresh=wait_for"
    assert len(judge.documents("named")) == 2


def test_whatever_connection_the_client_has(judge, domain):
    for options in (
        {"hosts": judge.url, "connection_class": RequestsHttpConnection},
        {"hosts": judge.url, "http_compress": True},
        {"hosts": [judge.url] * 2},
    ):
        with OpenSearch(**options) as client:
            assert helpers.bulk(client, documents(3), chunk_size=2) == (3, [])
    assert judge.executions("n") == {0: 3, 1: 3, 2: 3}


class Wrapper:
    """As opensearch-py's own tests have one."""

    def __init__(self, client):
        self.client = client
        self.transport = client.transport
        self.called = 0

    def bulk(self, *args, **kwargs):
        self.called += 1
        return self.client.bulk(*args, **kwargs)


class Proxy:
    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)


def patched(client):
    client.bulk = client.bulk
    return client


def patched_transport(client):
    client.transport.perform_request = client.transport.perform_request
    return client


@pytest.mark.parametrize("wrap", [Wrapper, Proxy, patched, patched_transport])
def test_a_client_that_sends_in_a_way_of_its_own_is_warned_of(signed, domain, wrap):
    wrapped = wrap(signed)
    with pytest.warns(RuntimeWarning, match="give it max_retries=0"):
        assert helpers.bulk(wrapped, documents(4), chunk_size=2) == (4, [])
    signed.transport.max_retries = 0
    first = iter([Fault.reset(executed=True)])
    domain.faults = lambda request: next(first, None)
    domain.reset()
    no_id = [{"_index": "i", "n": 1}]
    _, [error] = helpers.bulk(wrapped, no_id, raise_on_exception=False, raise_on_error=False)
    assert (error["index"]["unknown"], domain.verified) == (True, 1)


def test_the_doubles_of_a_programs_own_tests(client):
    """Whatever they pretend to be, their `bulk` is called; behind it is the real server."""
    client.transport.max_retries = 0
    for double in (mock.MagicMock(wraps=client), mock.create_autospec(client), mock.MagicMock(spec=client)):
        double.transport = client.transport
        double.bulk.side_effect = client.bulk
        assert helpers.bulk(double, documents(3), chunk_size=2) == (3, [])
        assert double.bulk.call_count == 2


def test_what_a_subclass_keeps_is_kept(judge):
    class Client(OpenSearch):
        sent = 0

        def bulk(self, **kwargs):
            self.sent += 1
            return super().bulk(**kwargs)

    with Client(judge.url) as client:
        assert helpers.bulk(client, documents(5), chunk_size=2) == (5, [])
        assert client.sent == 3


def test_a_class_whose_objects_can_have_no_view(client):
    class Slotted:
        __slots__ = ("transport",)

        def bulk(self, **kwargs):
            return client.bulk(**kwargs)

    slotted = Slotted()
    slotted.transport = client.transport
    client.transport.max_retries = 0
    assert helpers.bulk(slotted, documents(3)) == (3, [])


@pytest.mark.parametrize("name", ["bulk", "streaming_bulk", "parallel_bulk"])
def test_a_client_of_the_other_kind(client, name):
    async def other():
        async with AsyncOpenSearch(client.transport.hosts) as async_client:
            with pytest.raises(TypeError, match="client: a synchronous one is needed"):
                list(getattr(helpers, name)(async_client, documents(1)))

    asyncio.run(other())
    if name != "parallel_bulk":
        with pytest.raises(TypeError, match="client: an asynchronous one is needed"):
            asyncio.run(run_to_end(getattr(helpers, f"async_{name}")(client, documents(1))))


async def run_to_end(started):
    return await started if inspect.iscoroutine(started) else [result async for result in started]


@pytest.mark.parametrize("options", [{"max_chunk_bytes": float("inf")}, {"max_chunk_bytes": 1e7}, {"chunk_size": 1e3}])
def test_sizes_that_are_floats(client, options):
    assert helpers.bulk(client, documents(3), **options) == (3, [])


@pytest.mark.parametrize("when", ["thread", "atexit", "generator", "parallel"])
def test_at_the_interpreters_end(domain, judge, when):
    """What a thread or an exit handler sends then is sent; what a generator left behind is not."""
    code = f"""
import atexit, sys, threading, time
from opensearch_sigv4 import connect, helpers
from types import SimpleNamespace

access_key, secret_key = {domain.credentials.access_key!r}, {domain.credentials.secret_key!r}
keys = SimpleNamespace(access_key=access_key, secret_key=secret_key, token=None)
client = connect({domain.url!r}, region={domain.region!r}, credentials=keys)
documents = ({{"_index": "i", "n": n}} for n in range(600))

def work():
    time.sleep(0.3)
    print(helpers.bulk(client, documents, chunk_size=100))

if {when!r} == "thread":
    threading.Thread(target=work).start()
elif {when!r} == "atexit":
    atexit.register(work)
else:
    name = "streaming_bulk" if {when!r} == "generator" else "parallel_bulk"
    left = getattr(helpers, name)(client, documents, chunk_size=100)
    next(left)
"""
    if when in ("generator", "parallel"):
        domain.faults = lambda request: None if b'"n":0}' in request.body else Fault.answer(429)
    started = time.monotonic()
    ran = run(sys.executable, "-c", code, timeout=60)
    assert ran.returncode == 0, ran.stderr
    if when in ("thread", "atexit"):
        assert ran.stdout == "(600, [])\n"
        assert judge.executions("n") == dict.fromkeys(range(600), 1)
    else:
        assert time.monotonic() - started < 30
        assert max(judge.executions("n").values()) == 1


def test_sniffing_stays_the_clients_own(judge):
    async def function(client):
        client.transport.sniffer_timeout = 0.01
        sniffed = []

        async def sniff_hosts(initial=False):
            sniffed.append(client.transport.deserializer)

        client.transport.sniff_hosts = sniff_hosts
        await helpers.async_bulk(client, async_documents(documents(20)), chunk_size=2)
        return sniffed, client.transport.deserializer

    sniffed, own = run_async(judge, function)
    assert all(used is own for used in sniffed)


def test_a_wrapped_client_has_the_same_results(client):
    client.transport.max_retries = 0
    results = list(helpers.streaming_bulk(Wrapper(client), documents(3), chunk_size=2))
    assert [(ok, item["index"]["status"]) for ok, item in results] == [(True, 201)] * 3
    assert (
        helpers.bulk(Wrapper(client), [*documents(1, _op_type="create"), *documents(1)], raise_on_error=False)[0] == 1
    )


def test_the_client_is_left_as_it_was(client):
    before = dict(vars(client.transport))
    helpers.bulk(client, documents(3), chunk_size=1)
    assert vars(client.transport) == before


# --- threads and order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bulk", "streaming_bulk", "parallel_bulk"])
def test_the_callers_code_runs_in_its_thread(client, name):
    threads = set()

    def actions():
        for document in documents(20):
            threads.add(threading.get_ident())
            yield document

    def expand(document):
        threads.add(threading.get_ident())
        return helpers.expand_action(document)

    results = getattr(helpers, name)(client, actions(), chunk_size=2, expand_action_callback=expand)
    assert results == (20, []) if name == "bulk" else len(list(results)) == 20
    assert threads == {threading.get_ident()}


def test_one_chunk_is_prepared_ahead_and_none_is_sent_before_the_last_is_answered(signed, domain):
    taken = []
    domain.faults = lambda request: Fault.slow(0.3)

    def actions():
        for document in documents(6):
            taken.append(document["n"])
            yield document

    results = helpers.streaming_bulk(signed, actions(), chunk_size=2)
    assert next(results)[0]
    assert taken == [0, 1, 2, 3]
    assert domain.verified <= 2
    results.close()
    assert taken == [0, 1, 2, 3]


def test_what_was_refused_stops_the_next_chunk(client, judge):
    actions = [*documents(2), *documents(2, _op_type="create"), *documents(8, _op_type="create")[4:]]
    with pytest.raises(helpers.BulkIndexError) as raised:
        helpers.bulk(client, actions, chunk_size=2)
    assert [error["create"]["data"] for error in raised.value.errors] == [{"n": 0}, {"n": 1}]
    assert len(judge.requests()) == 2


@pytest.mark.parametrize("error", [ValueError("theirs"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("name", ["streaming_bulk", "parallel_bulk"])
def test_an_exception_of_the_callers_iterable(client, judge, name, error):
    def actions():
        yield from documents(5)
        raise error

    results = []
    with pytest.raises(type(error)) as raised:
        results.extend(getattr(helpers, name)(client, actions(), chunk_size=2))
    assert raised.value is error
    executed = judge.executions("n")
    if isinstance(error, Exception):
        assert len(results) == 4
        assert executed == dict.fromkeys(range(4), 1)
    else:  # a chunk that still waits for its thread is not sent
        assert executed in (dict.fromkeys(range(2), 1), dict.fromkeys(range(4), 1))


def test_a_document_that_cannot_be_sent(client, judge):
    results = []
    streaming = helpers.streaming_bulk(client, [*documents(3), {"_index": "i", "bad": object()}], chunk_size=2)
    with pytest.raises(SerializationError, match="document 4 of the input; nothing from document 3 on"):
        results.extend(streaming)
    assert len(results) == 2
    assert judge.executions("n") == {0: 1, 1: 1}


def test_abandoning_waits_for_the_request_in_flight(signed, domain, judge):
    domain.faults = lambda request: Fault.slow(0.2)
    results = helpers.streaming_bulk(signed, documents(100), chunk_size=2)
    next(results)
    results.close()
    seen = domain.verified
    assert judge.executions("n").total() == 2 * seen
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("opensearch-sigv4-bulk")]


def test_abandoning_does_not_wait_for_a_retry(signed, domain):
    domain.faults = lambda request: None if domain.verified == 1 else Fault.answer(429)
    results = helpers.streaming_bulk(signed, documents(100), chunk_size=2, initial_backoff=100, max_backoff=100)
    next(results)
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 20


def test_one_chunk_needs_no_thread(client):
    client.transport.max_retries = 0
    seen = []

    class Client:
        transport = client.transport

        def bulk(self, **kwargs):
            seen.append(threading.get_ident())
            return client.bulk(**kwargs)

    helpers.bulk(Client(), documents(3))
    assert seen == [threading.get_ident()]


def test_parallel_results_come_in_order(signed, domain):
    delays = iter([0.3, 0.0, 0.1, 0.0] * 10)
    domain.faults = lambda request: Fault.slow(next(delays))
    results = list(helpers.parallel_bulk(signed, documents(16), thread_count=4, chunk_size=2))
    assert [item["index"]["_id"] for _, item in results] == [str(n) for n in range(16)]


def test_parallel_requests_are_in_flight_together(client):
    all_in = threading.Barrier(3, timeout=20)
    client.transport.max_retries = 0

    class Client:
        transport = client.transport

        def bulk(self, **kwargs):
            all_in.wait()
            return {"items": [{"index": {"status": 201}}]}

    assert len(list(helpers.parallel_bulk(Client(), documents(6), thread_count=3, chunk_size=1))) == 6


def test_a_full_chunk_is_sent_while_the_iterable_waits(signed, domain):
    arrived = threading.Event()

    def actions():
        yield from documents(2)
        assert arrived.wait(20), "the first chunk was not sent"
        yield from documents(4)[2:]

    def faults(request):
        arrived.set()

    domain.faults = faults
    assert helpers.bulk(signed, actions(), chunk_size=2) == (4, [])


def test_many_calls_at_once(signed, judge):
    with ThreadPoolExecutor(8) as threads:
        calls = [
            threads.submit(helpers.bulk, signed, [{"_index": f"i{call}", "n": n} for n in range(50)], chunk_size=7)
            for call in range(8)
        ]
        assert [call.result() for call in calls] == [(50, [])] * 8
    assert judge.executions("n") == dict.fromkeys(range(50), 8)


# --- the gate ---------------------------------------------------------------------------------------------------


def test_the_limit_halves_once_a_round_and_recovers():
    limit = Limit(8)

    def room():
        began = 0
        while limit.has_room:
            limit.begin()
            began += 1
        for _ in range(began):
            limit.end()
        return began

    assert room() == 8
    for _ in range(4):
        limit.begin()
    limit.throttled()
    limit.throttled()  # of the same round
    for _ in range(4):
        limit.end()
    assert room() == 4
    for _ in range(4):
        limit.throttled()
    assert 1 <= room() <= 2
    assert limit.pause_s(1) == 0
    for _ in range(20):
        limit.throttled()
        limit.begin()
        limit.end()
    assert room() == 1
    assert 0.005 * 127 <= limit.pause_s(0.01) <= 0.015 * 127  # a request in 128 times as long as it takes
    assert 5 <= limit.pause_s(1) <= 15
    for _ in range(100):
        limit.passed()
    assert room() == 8
    assert limit.pause_s(1) == 0


def given_up(monkeypatch, *, at_once=None, a_second=None, least=None):
    """A simulation of 32 processes that load one domain for ten minutes: the requests that were refused too often.

    The domain takes so many requests at once or a second, and refuses all others. Also returns the share of what it
    could have taken.
    """
    if least is not None:
        monkeypatch.setattr(_gate, "_LEAST", least)
    randomness = random.Random(1)
    monkeypatch.setattr(random, "uniform", randomness.uniform)
    policy = Policy(DEFAULT_MAX_RETRIES, DEFAULT_INITIAL_BACKOFF_S, DEFAULT_MAX_BACKOFF_S, False, 1 << 20)
    takes_s, prepares_s, end_s = 0.1, 0.02, 600
    numbers = itertools.count()  # of events at one time the first comes first
    events = [(randomness.random(), next(numbers), Limit(1), 0) for _ in range(32)]
    inside = passed = gave_up = 0
    tokens = filled_at = 0.0
    while (event := heapq.heappop(events))[0] < end_s:
        at, _, limit, attempt = event
        if attempt is None:  # the answer
            inside -= 1
            passed += 1
            limit.end()
            pause_s = max(limit.pause_s(takes_s), randomness.uniform(0, prepares_s))
            limit.passed()
            heapq.heappush(events, (at + pause_s, next(numbers), limit, 0))
            continue
        limit.begin()
        if a_second is not None:
            tokens, filled_at = min(a_second, tokens + (at - filled_at) * a_second), at
        if inside == at_once or (a_second is not None and tokens < 1):
            limit.end()
            limit.throttled()
            gave_up += attempt == policy.max_retries
            attempt = attempt + 1 if attempt < policy.max_retries else 0
            heapq.heappush(events, (at + policy.backoff_s(max(attempt - 1, 0)), next(numbers), limit, attempt))
        else:
            inside += 1
            tokens -= 1
            heapq.heappush(events, (at + takes_s, next(numbers), limit, None))
    return gave_up, passed / ((a_second or at_once / takes_s) * end_s)


@pytest.mark.parametrize("domain", [{"at_once": 2}, {"at_once": 12}, {"a_second": 20}, {"a_second": 120}], ids=str)
def test_many_that_know_nothing_of_each_other_slow_down_together(domain, monkeypatch):
    gave_up, used = given_up(monkeypatch, **domain)
    assert gave_up == 0
    assert used > 0.5


@pytest.mark.parametrize("domain", [{"at_once": 2}, {"a_second": 20}], ids=str)
def test_without_pauses_some_would_give_up(domain, monkeypatch):
    gave_up, _ = given_up(monkeypatch, least=1, **domain)
    assert gave_up > 10


def test_the_async_gate_loses_nobody():
    """Of those that wait, some are cancelled, while they wait or in the very turn in which they are woken."""

    async def main():
        gate, inside, most, through = AsyncGate(2, asyncio.Event()), 0, 0, []

        async def enter(number):
            nonlocal inside, most
            async with gate:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
                through.append(number)

        tasks = [asyncio.create_task(enter(number)) for number in range(50)]
        for turn in range(20):
            await asyncio.sleep(0)
            tasks[turn * 2 + 5].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = {number for number, outcome in enumerate(outcomes) if outcome is not None}
        assert most == 2
        assert cancelled
        assert {*through} | cancelled == {*range(50)}

    asyncio.run(main())


def test_parallelism_backs_off(signed, domain, judge):
    throttled = iter(range(12))
    domain.faults = lambda request: Fault.answer(429) if next(throttled, None) is not None else None
    results = list(helpers.parallel_bulk(signed, documents(60), chunk_size=3, thread_count=6, **FAST))
    assert [ok for ok, _ in results] == [True] * 60
    assert judge.executions("n") == dict.fromkeys(range(60), 1)


# --- retries ----------------------------------------------------------------------------------------------------


def test_the_transports_own_retries_are_not_used(signed, domain):
    domain.faults = lambda request: Fault.reset(executed=True)
    with pytest.raises(OpenSearchConnectionError) as raised:
        helpers.bulk(signed, [{"_index": "i", "n": 1}])
    assert domain.verified == 1
    assert raised.value.__notes__[-1] == "sending document 1 of the input"
    _, [error] = helpers.bulk(signed, [{"_index": "i", "n": 1}], raise_on_exception=False, raise_on_error=False)
    assert error["index"]["unknown"] is True
    assert error["index"]["status"] == "N/A"
    assert isinstance(error["index"]["exception"], OpenSearchConnectionError)


def test_a_repeated_document_is_executed_twice_only_if_that_is_the_same(signed, domain, judge):
    first = iter([Fault.reset(executed=True)])
    domain.faults = lambda request: next(first, None)
    actions = [*documents(2), {"_index": "i", "n": "no id"}]
    succeeded, [error] = helpers.bulk(signed, actions, raise_on_exception=False, raise_on_error=False, **FAST)
    assert (succeeded, error["index"]["unknown"], error["index"]["data"]) == (2, True, {"n": "no id"})
    assert judge.executions("n") == {0: 2, 1: 2, "no id": 1}
    assert judge.held("n") == {0: 1, 1: 1, "no id": 1}


def test_idempotent_documents_are_never_unknown(signed, domain, judge):
    first = iter([Fault.reset(executed=True), Fault.timeout(executed=True, limit_s=0.1), Fault.cut()])
    domain.faults = lambda request: next(first, None)
    assert helpers.bulk(signed, [{"_index": "i", "n": n} for n in range(3)], idempotent=True, **FAST) == (3, [])
    assert judge.held("n") == {0: 1, 1: 1, 2: 1}


def test_a_413_teaches_the_limit(signed, domain, judge):
    def faults(request):
        return Fault.answer(413, "Request size exceeded 1000 bytes") if len(request.body) > 1000 else None

    domain.faults = faults
    assert helpers.bulk(signed, documents(400), max_chunk_bytes=4000) == (400, [])
    sizes = [len(request.body) for request in domain.requests]
    assert sum(size > 1000 for size in sizes) in (1, 2)  # the one in flight, and what was prepared meanwhile
    assert judge.executions("n") == dict.fromkeys(range(400), 1)


def test_what_a_signer_raises_comes_as_it_is(domain, judge):
    def no_credentials():
        raise LookupError("none")

    with connect(domain.url, region=domain.region, credentials=no_credentials) as client:
        with pytest.raises(LookupError, match="none") as raised:
            helpers.bulk(client, documents(3), raise_on_exception=False, raise_on_error=False)
        assert raised.value.__notes__ == ["sending documents 1 to 3 of the input"]
    assert domain.verified == domain.refused == 0


def test_a_dead_host_is_marked_in_the_clients_own_pool(judge, unused_port):
    with OpenSearch([f"http://127.0.0.1:{unused_port}", judge.url], randomize_hosts=False) as client:
        assert helpers.bulk(client, documents(6), chunk_size=2, **FAST) == (6, [])
        assert client.transport.connection_pool.dead_count
    assert judge.executions("n") == dict.fromkeys(range(6), 1)


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def test_nothing_listens(unused_port):
    with OpenSearch(f"http://127.0.0.1:{unused_port}") as client:
        with pytest.raises(OpenSearchConnectionError):
            helpers.bulk(client, documents(3), max_retries=2, **FAST)
        with pytest.raises(OpenSearchConnectionError):  # opensearch-py's hangs here
            list(helpers.parallel_bulk(client, documents(30), chunk_size=2, max_retries=2, **FAST))


def test_an_aws_endpoint_limits_the_chunks():
    from opensearch_sigv4.helpers._call import _size_limit

    with OpenSearch("https://abc.eu-central-1.aoss.amazonaws.com") as client:
        assert _size_limit(client, 50 << 20) == 10 << 20
    with OpenSearch("https://search-x-y.eu-central-1.es.amazonaws.com") as client:
        assert _size_limit(client, 200 << 20) == 100 << 20
        assert _size_limit(client, 5 << 20) == 5 << 20
    with OpenSearch("http://localhost:9200") as client:
        assert _size_limit(client, 200 << 20) == 200 << 20


# --- asyncio ----------------------------------------------------------------------------------------------------


def run_async(judge, function):
    async def main():
        client = AsyncOpenSearch(judge.url)
        try:
            return await function(client)
        finally:
            await client.close()

    return asyncio.run(main())


async def collected(generator):
    return [result async for result in generator]


async def async_documents(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("wrap", [list, async_documents])
def test_async_results_are_opensearch_pys(judge, wrap):
    actions = [*documents(5), *documents(2, _op_type="create"), {"_index": "i", "n": "no id"}]
    found = []
    for module in (theirs, helpers):
        judge.reset()

        async def both(client, module=module):
            try:
                first = await collected(module.async_streaming_bulk(client, wrap(actions), 3, raise_on_error=False))
            except Exception as error:
                first = [(type(error), [])]
            judge.reset()
            with pytest.raises(helpers.BulkIndexError) as raised:
                await module.async_bulk(client, wrap(actions), chunk_size=3)
            return comparable(first), _normal(raised.value.errors), await module.async_bulk(client, wrap(documents(4)))

        found.append(run_async(judge, both))
    assert found[0] == found[1]


def test_async_requests_overlap_with_the_documents(judge):
    async def function(client):
        client.transport.max_retries = 0
        arrived = asyncio.Event()

        async def actions():
            for document in documents(2):
                yield document
            await asyncio.wait_for(arrived.wait(), 20)
            for document in documents(4)[2:]:
                yield document

        class Client:
            transport = client.transport

            async def bulk(self, **kwargs):
                arrived.set()
                return await client.bulk(**kwargs)

        return await helpers.async_bulk(Client(), actions(), chunk_size=2)

    assert run_async(judge, function) == (4, [])


def test_async_closing_waits_and_cancelling_cancels(judge):
    async def function(client):
        client.transport.max_retries = 0
        release, sent = asyncio.Event(), []

        class Client:
            transport = client.transport

            async def bulk(self, **kwargs):
                sent.append("begun")
                if len(sent) > 1:
                    try:
                        await release.wait()
                    except asyncio.CancelledError:
                        sent.append("cancelled")
                        raise
                sent.append("ended")
                return await client.bulk(**kwargs)

        results = helpers.async_streaming_bulk(Client(), documents(10), chunk_size=2)
        await anext(results)
        asyncio.get_running_loop().call_later(0.05, release.set)
        await results.aclose()
        assert sent == ["begun", "ended", "begun", "ended"]

        release.clear()
        sent.clear()
        task = asyncio.create_task(helpers.async_bulk(Client(), documents(10), chunk_size=2))
        while len(sent) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sent == ["begun", "ended", "begun", "cancelled"]

    run_async(judge, function)


@pytest.mark.parametrize("wrap", [list, async_documents])
def test_async_concurrency_is_bounded_and_in_order(judge, wrap):
    """Three are in flight together, never four, and the last to be answered does not change the order."""

    async def function(client):
        client.transport.max_retries = 0
        in_flight, most, all_in = 0, 0, asyncio.Event()

        class Client:
            transport = client.transport

            async def bulk(self, **kwargs):
                nonlocal in_flight, most
                in_flight += 1
                most = max(most, in_flight)
                if in_flight == 3:
                    all_in.set()
                await all_in.wait()
                for _ in range(len(kwargs["body"]) % 7):  # so that they end in another order
                    await asyncio.sleep(0)
                try:
                    return await client.bulk(**kwargs)
                finally:
                    in_flight -= 1

        results = helpers.async_streaming_bulk(Client(), wrap(documents(60)), chunk_size=2, concurrency=3)
        numbers = [item["index"]["_id"] for _, item in await collected(results)]
        assert most == 3
        return numbers

    assert run_async(judge, function) == [str(number) for number in range(60)]
    assert judge.executions("n") == dict.fromkeys(range(60), 1)


def test_async_outcomes_come_before_the_next_chunk_is_full(judge):
    """An iterable that waits for the outcomes of its first documents, as one that acknowledges them does."""

    async def function(client):
        acknowledged = asyncio.Event()

        async def actions():
            for document in documents(2):
                yield document
            await acknowledged.wait()
            yield documents(3)[2]

        results = []
        async for ok, _ in helpers.async_streaming_bulk(client, actions(), chunk_size=2):
            results.append(ok)
            if len(results) == 2:
                acknowledged.set()
        return results

    assert run_async(judge, function) == [True] * 3


def test_async_iterables_have_one_task_and_one_context(judge):
    variable = contextvars.ContextVar("variable")

    async def function(client):
        tasks = set()

        async def actions():
            token = variable.set("set")
            async with asyncio.timeout(60):
                for document in documents(10):
                    tasks.add(asyncio.current_task())
                    assert variable.get() == "set"
                    yield document
            variable.reset(token)

        assert await helpers.async_bulk(client, actions(), chunk_size=3) == (10, [])
        return len(tasks)

    assert run_async(judge, function) == 1


def test_async_iterables_are_cancelled_with_the_helper(judge):
    async def function(client):
        seen = []

        async def actions():
            try:
                for document in documents(3):
                    yield document
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        results = helpers.async_streaming_bulk(client, actions(), chunk_size=2)
        await anext(results)
        await results.aclose()
        assert len(asyncio.all_tasks()) == 1
        return seen

    assert run_async(judge, function) == ["cancelled"]


def test_async_chunks_go_on_while_the_first_waits_to_be_sent_again(domain, judge):
    """All but the first; as `parallel_bulk` does with its queue."""
    answered = []

    def faults(request):
        if b'"_id":"0"' in request.body and len(answered) < 7:
            return Fault.answer(429)
        answered.append(request.body)
        return None

    domain.faults = faults

    async def main():
        async with connect_async(domain.url, region=domain.region, credentials=domain.credentials) as client:
            return await helpers.async_bulk(
                client,
                documents(16),
                chunk_size=2,
                concurrency=4,
                initial_backoff=0.01,
                max_backoff=0.02,
                max_retries=99,
            )

    assert asyncio.run(main()) == (16, [])


def test_async_concurrency_backs_off(domain, judge):
    throttled = iter(range(12))
    domain.faults = lambda request: Fault.answer(429) if next(throttled, None) is not None else None

    async def main():
        async with connect_async(domain.url, region=domain.region, credentials=domain.credentials) as client:
            return await helpers.async_bulk(client, documents(60), chunk_size=3, concurrency=6, **FAST)

    assert asyncio.run(main()) == (60, [])
    assert judge.executions("n") == dict.fromkeys(range(60), 1)
    assert domain.refused == 0


def test_async_concurrency_that_is_none(judge):
    with pytest.raises(ValueError, match=r"^concurrency: "):
        run_async(judge, lambda client: helpers.async_bulk(client, documents(1), concurrency=0))


def test_async_concurrency_stops_at_what_raises(judge):
    """A refused document, of the third request, ends it: the four that may have begun by then are waited for."""

    async def function(client):
        actions = [*documents(4), *documents(2, _op_type="create"), *documents(100)]
        with pytest.raises(helpers.BulkIndexError):
            await helpers.async_bulk(client, actions, chunk_size=2, concurrency=2)
        return len(asyncio.all_tasks())

    assert run_async(judge, function) == 1  # itself
    assert len(judge.requests()) <= 3 + 4


def test_async_builds_the_clients_own_pool(judge):
    async def function(client):
        await helpers.async_bulk(client, documents(1))
        return len(client.transport.connection_pool.connections), client.transport.max_retries

    assert run_async(judge, function) == (1, 3)


def test_async_faults(domain, judge):
    async def function(client):
        faults = iter([Fault.answer(429), Fault.reset(executed=True), Fault.documents(lambda action: 503), None])
        judge_domain.faults = lambda request: next(faults, None)
        return await helpers.async_bulk(
            client,
            [*documents(3), {"_index": "i", "n": "no id"}],
            raise_on_exception=False,
            raise_on_error=False,
            **FAST,
        )

    with LocalDomain(upstream=judge.url) as judge_domain:
        signer = AWSV4SignerAsyncAuth(judge_domain.credentials, judge_domain.region)

        async def main():
            client = AsyncOpenSearch(
                judge_domain.url, http_auth=signer, connection_class=opensearchpy.AsyncHttpConnection
            )
            try:
                return await function(client)
            finally:
                await client.close()

        succeeded, [error] = asyncio.run(main())
    assert (succeeded, error["index"].get("unknown")) == (3, True)
    assert judge.held("n") == {0: 1, 1: 1, 2: 1, "no id": 1}
