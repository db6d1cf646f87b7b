"""What becomes of a request, and of documents, by each fault of LocalDomain, over each transport and by each helper."""

import logging
import re
from contextlib import contextmanager

import pytest
from botocore.credentials import Credentials
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, OpenSearchException, SerializationError

from opensearch_sigv4 import helpers
from opensearch_sigv4.testing import Fault, LocalDomain, in_turn
from transports import TRANSPORTS, all_transports

TIMEOUT_S = 0.3
SIGNED_BY_US = ("urllib3", "aiohttp")  # the others sign by an auth object, which sees no answer

# The fault, which befalls one request; what our connections make of it; what the others do; and whether the node
# executed the request. An outcome is that of opensearch-py's client without its retries.
REQUESTS = {
    "throttled": (Fault.throttled(), "TransportError 429", "TransportError 429", False),
    "throttled, 403": (Fault.throttled(403), "TransportError 429", "AuthorizationException 403", False),
    "throttled, 402": (Fault.throttled(402), "TransportError 402", "TransportError 402", False),
    "expired": (Fault.expired(), "AuthorizationException 403", "AuthorizationException 403", False),
    "unrecognized": (Fault.unrecognized(), "AuthorizationException 403", "AuthorizationException 403", False),
    "wrong region": (Fault.wrong_region(), "AuthorizationException 403", "AuthorizationException 403", False),
    "wrong service": (Fault.wrong_service("osis"), "AuthorizationException 403", "AuthorizationException 403", False),
    "forbidden": (Fault.forbidden(), "AuthorizationException 403", "AuthorizationException 403", False),
    "forbidden, roles": (Fault.forbidden("roles"), "AuthorizationException 403", "AuthorizationException 403", False),
    "too large": (Fault.too_large(), "TransportError 413", "TransportError 413", False),
    "ids refused": (Fault.ids_refused(), "RequestError 400", "RequestError 400", False),
    "503": (Fault.answer(503), "TransportError 503", "TransportError 503", False),
    "reset": (Fault.reset(), "ConnectionError N/A", "ConnectionError N/A", False),
    "reset, executed": (Fault.reset(executed=True), "ConnectionError N/A", "ConnectionError N/A", True),
    "timeout": (Fault.timeout(), "timeout", "timeout", False),
    "timeout, executed": (Fault.timeout(executed=True), "timeout", "timeout", True),
    "slow": (Fault.slow(0.01, over_s=0.01), "created", "created", True),
    "truncated": (Fault.truncated(), "ConnectionError N/A", "ConnectionError N/A", True),
    "cut": (Fault.cut(), "SerializationError", "SerializationError", True),
}
# What is different of a collection.
COLLECTION_REQUESTS = {
    "throttled, 403": (Fault.throttled(403), "AuthorizationException 403", "AuthorizationException 403", False),
}


@pytest.fixture(scope="module")
def transports():
    with all_transports() as transports:
        yield transports


@pytest.fixture(scope="module", params=["es", "aoss"])
def running_domain(request):
    with LocalDomain(service=request.param) as domain:
        yield domain


@pytest.fixture
def domain(running_domain):
    running_domain.faults = None
    running_domain.reset()
    return running_domain


@pytest.fixture(autouse=True)
def _quiet():
    """opensearch-py logs each failed request with its traceback."""
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("opensearch").setLevel(logging.NOTSET)


@contextmanager
def client_of(transports, name, domain):
    with transports[name].client(domain, max_retries=0, timeout=TIMEOUT_S) as client:
        client.indices.delete(index="i", params={"ignore_unavailable": "true"})
        client.cat.indices()  # there is a connection now that is kept alive
        domain.reset()
        yield client


def outcome_of(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)["result"]
    except SerializationError:
        return "SerializationError"
    except OpenSearchException as error:
        # Over httpx, which opensearch-py has not, a timeout is a ConnectionError.
        is_timeout = isinstance(error, ConnectionTimeout) or "Timeout" in type(error.info).__name__
        return "timeout" if is_timeout else f"{type(error).__name__} {error.status_code}"


def is_there(client):
    return client.indices.exists(index="i") and client.exists(index="i", id="1")


NAMES = [kind.name for kind in TRANSPORTS]


@pytest.mark.parametrize("transport", NAMES)
@pytest.mark.parametrize("name", sorted({*REQUESTS, *COLLECTION_REQUESTS}))
def test_a_request(transports, domain, transport, name):
    rows = REQUESTS if domain.service == "es" else REQUESTS | COLLECTION_REQUESTS
    fault, ours, others, is_executed = rows[name]
    with client_of(transports, transport, domain) as client:
        domain.faults = in_turn(fault)
        outcome = outcome_of(client.index, index="i", id="1", body={"n": 1})
        judged = domain.verified + domain.refused
        assert outcome == (ours if transport in SIGNED_BY_US else others)
        assert is_there(client) == is_executed
        assert judged == 1


# What our connections mend: what comes of it over them, and over the others; and how many requests they made.
MENDED = {
    "clock behind": ([Fault.skewed(3600)] * 2, "created", "AuthorizationException 403", 2),
    "clock ahead": ([Fault.skewed(-3600)] * 2, "created", "AuthorizationException 403", 2),
    "clock never right": (
        [Fault.skewed(3600), Fault.skewed(7200), Fault.skewed(10800)],
        *("AuthorizationException 403", "AuthorizationException 403", 2),
    ),
    "expired": ([Fault.expired()], "created", "AuthorizationException 403", 2),
    "expired for ever": ([Fault.expired()] * 9, "AuthorizationException 403", "AuthorizationException 403", 2),
    "expired, clock behind": (
        [Fault.expired(), Fault.skewed(3600), Fault.skewed(3600)],
        *("created", "AuthorizationException 403", 3),
    ),
}


@pytest.mark.parametrize("transport", NAMES)
@pytest.mark.parametrize("name", MENDED)
def test_what_can_be_mended(transports, domain, transport, name):
    faults, ours, others, requests = MENDED[name]
    if domain.service == "aoss" and "expired" in name:  # which a collection does not tell
        ours, requests = others, 1
    accepted = [("AKIDFIRST", "secret-EXAMPLEKEY", None), ("AKIDSECOND", "secret-EXAMPLEKEY", None)]
    for keys in accepted:
        domain.add_credentials(*keys)
    answers = iter([*[Credentials(*accepted[0])] * 3, *[Credentials(*accepted[1])] * 9])
    with transports[transport].client(
        domain, credentials=lambda: next(answers), max_retries=0, timeout=TIMEOUT_S
    ) as client:
        client.indices.delete(index="i", params={"ignore_unavailable": "true"})
        client.cat.indices()
        domain.reset()
        domain.faults = in_turn(*faults)
        assert outcome_of(client.index, index="i", id="1", body={"n": 1}) == (
            ours if transport in SIGNED_BY_US else others
        )
        assert domain.verified + domain.refused == (requests if transport in SIGNED_BY_US else 1)


@pytest.mark.parametrize("transport", NAMES)
@pytest.mark.parametrize(("api", "ours", "others"), [("search", "ok", "lost"), ("index", "lost", "lost")])
def test_a_connection_that_is_kept_alive_and_lost(transports, domain, transport, api, ours, others):
    with client_of(transports, transport, domain) as client:
        client.indices.create(index="i")
        domain.faults = in_turn(Fault.stale())
        client.cat.indices()
        try:
            client.index(index="i", id="1", body={}) if api == "index" else client.search(index="i", body={})
            outcome = "ok"
        except OpenSearchConnectionError:
            outcome = "lost"
        assert outcome == (ours if transport in SIGNED_BY_US else others)
        assert not is_there(client)


# --- the helpers ---------------------------------------------------------------------------------------------

# The fault befalls one request of four, of five documents each with an id. What becomes of those: all "in", or the
# status with which they are refused; and how often they were executed.
DOCUMENTS = {
    "throttled": (Fault.throttled(), "in", 1),
    "throttled, 403": (Fault.throttled(403), "in", 1),
    "throttled, 402": (Fault.throttled(402), "in", 1),
    "expired": (Fault.expired(), 403, 0),
    "wrong region": (Fault.wrong_region(), 403, 0),
    "forbidden": (Fault.forbidden(), 403, 0),
    "too large": (Fault.too_large(300), "in", 1),
    "ids refused": (Fault.ids_refused(), 400, 0),
    "some documents": (Fault.documents(lambda action: 429), "in", 1),
    "503": (Fault.answer(503), "in", 1),
    "503, executed": (Fault.answer(503, executed=True), "in", 2),
    "reset": (Fault.reset(), "in", 1),
    "reset, executed": (Fault.reset(executed=True), "in", 2),
    "timeout, executed": (Fault.timeout(executed=True), "in", 2),
    "slow": (Fault.slow(0.01, over_s=0.01), "in", 1),
    "truncated": (Fault.truncated(), "in", 2),
    "cut": (Fault.cut(), "in", 2),
    "stale": (Fault.stale(), "in", 1),
}
HELPERS = ("bulk", "streaming_bulk", "parallel_bulk")
ASYNC_HELPERS = ("async_bulk", "async_streaming_bulk")


@pytest.fixture(scope="module")
def judging_domain(running_judge):
    with LocalDomain(upstream=running_judge.url) as domain:
        yield domain


def outcomes_of(transports, client, helper, actions):
    """{number: "in" or status} of the documents."""
    options = {"chunk_size": 5, "raise_on_error": False, "raise_on_exception": False, "initial_backoff": 0.001}
    results = getattr(helpers, helper)(getattr(client, "_target", client), actions, **options)
    if helper == "async_bulk":
        results = transports._run(results)
    if helper == "async_streaming_bulk":

        async def collected(results):
            return [result async for result in results]

        results = transports._run(collected(results))
    if helper.endswith("streaming_bulk") or helper == "parallel_bulk":
        results = list(results)
        errors = [item for ok, item in results if not ok]
        assert len(results) == len(actions)
    else:
        succeeded, errors = results
        assert succeeded + len(errors) == len(actions)
    outcomes = dict.fromkeys((action["n"] for action in actions), "in")
    for item in errors:
        [error] = item.values()
        outcomes[int(error["_id"] if "_id" in error else error["data"]["n"])] = error["status"]
    return outcomes


@pytest.mark.parametrize(
    ("transport", "helper"),
    [(kind.name, helper) for kind in TRANSPORTS for helper in (ASYNC_HELPERS if kind.is_asynchronous else HELPERS)],
)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(transports, judging_domain, judge, transport, helper, name):
    fault, outcome, executions = DOCUMENTS[name]
    domain = judging_domain
    befallen = set()

    def faults(request):
        numbers = {int(number) for number in re.findall(rb'"n":([0-9]+)', request.body)}
        if 7 in numbers and not befallen:
            befallen.update(numbers)
            return fault
        return None

    with transports[transport].client(domain, max_retries=0, timeout=TIMEOUT_S) as client:
        domain.faults = faults
        actions = [{"_index": "i", "_id": number, "n": number} for number in range(20)]
        outcomes = outcomes_of(transports[transport], client, helper, actions)
    assert befallen == {5, 6, 7, 8, 9}
    assert outcomes == {number: outcome if number in befallen else "in" for number in range(20)}
    assert judge.held("n") == {number: 1 for number in range(20) if outcomes[number] == "in"}
    assert judge.executions("n") == {
        number: times for number in range(20) if (times := executions if number in befallen else 1)
    }
