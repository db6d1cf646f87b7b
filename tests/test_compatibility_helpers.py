"""Compatibility with opensearch-py: its helpers on its connections and on ours, and our helpers on ours.

tests/test_helpers.py compares our helpers with its own on one client, tests/test_real_node.py what a node refuses.
"""

import inspect
from dataclasses import replace

import pytest
from opensearchpy import helpers as opensearchpy_helpers

import sides
from opensearch_sigv4 import helpers
from real_node import RUN
from sides import ABSENT, Difference, Like, raw
from test_compatibility_dsl import ERROR, MADE_UP, accepted
from transports import Driven, call

INDEX = f"{RUN}helpers"
TARGET = f"{RUN}helpers-target"
NOWHERE = f"{RUN}helpers-nowhere"
# Of an action's metadata, which our helpers write in another order.
ORDER = (r'"_index":"([^"]*)","_id":"([^"]*)"', r'"_id":"\2","_index":"\1"')
MAPPING = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0},
    "mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}, "text": {"type": "keyword"}}},
}


@pytest.fixture
def pair(signed_pair, monkeypatch):
    monkeypatch.setattr(sides, "PLAIN", [*sides.PLAIN, *MADE_UP, ORDER])
    return accepted(signed_pair)


@pytest.fixture(scope="module")
def filled(real_node):
    """An index of five documents that no test writes to."""
    real_node.ask("DELETE", f"/{INDEX}?ignore_unavailable=true")
    real_node.ask("PUT", f"/{INDEX}", MAPPING)
    lines = [line for n in range(5) for line in ({"index": {"_id": str(n)}}, {"n": n})]
    assert not real_node.ask("POST", f"/{INDEX}/_bulk?refresh=true", lines)["errors"]
    yield
    real_node.ask("DELETE", f"/{INDEX}")


@pytest.fixture
def empty(real_node):
    """Called before each side: an empty index."""

    def remove():
        real_node.ask("DELETE", f"/{TARGET},{NOWHERE}?ignore_unavailable=true")

    def make():
        remove()
        real_node.ask("PUT", f"/{TARGET}", MAPPING)

    yield make
    remove()


@pytest.fixture(params=["their helpers", "our helpers"])
def helper(request, pair):
    """`helper(name, client)`: opensearch-py's on its connection, and on ours, in turn, its own and ours."""

    def find(name, client):
        is_ours = raw(client).transport.connection_class is pair.ours and request.param == "our helpers"
        return getattr(helpers if is_ours else opensearchpy_helpers, name_for(client, name))

    find.is_ours = request.param == "our helpers"
    return find


def name_for(client, name):
    return f"async_{name}" if isinstance(client, Driven) else name


# --- bulk --------------------------------------------------------------------------------------------------------


def document(id_, value=1, **more):
    return {"_index": TARGET, "_id": id_, "n": value, **more}


GOOD = [document("1"), document("2", text="ü 日本 🙂"), document("3", _op_type="create")]
MIXED = [
    *(document("1"), document("2", "many"), document("3", surplus=1)),
    document("1", _op_type="create"),
    {"_index": TARGET, "_op_type": "update", "_id": "9", "doc": {"n": 2}},
    {"_index": TARGET, "_op_type": "delete", "_id": "9"},
    {"_index": TARGET, "_op_type": "update", "_id": "1", "doc": {"n": 2}},
    {"_index": "UPPER", "_id": "1", "n": 1},
    document("4"),
]


def expand(n):
    return {"index": {"_index": TARGET, "_id": str(n)}}, {"n": n}


QUIET = {"raise_on_error": False}
CASES = {
    "good": (GOOD, {}),
    "in several chunks": (GOOD, {"chunk_size": 2}),
    "in chunks by size": (GOOD, {"max_chunk_bytes": 100}),
    "refresh and index": ([{"_id": "1", "n": 1}], {"index": TARGET, "refresh": True}),
    "as text": ('{"index":{"_id":"1"}}\n{"n":1}', {"index": TARGET}),
    "nothing": ([], {}),
    "refused": (MIXED, {}),
    "refused, raise_on_error off": (MIXED, QUIET),
    "refused, stats_only": (MIXED, {**QUIET, "stats_only": True}),
    "refused, ignore_status": (MIXED, {"ignore_status": (400, 404, 409)}),
    "refused, in chunks": (MIXED, {"chunk_size": 3}),
    "a callback": (range(3), {"expand_action_callback": expand}),
    "an index that is to be made": ([{"_index": NOWHERE, "_id": "1", "n": 1}], {}),
    "an index that must be there": ([{"_index": NOWHERE, "_id": "1", "n": 1}], {"require_alias": True}),
    "a parameter that there is not": (GOOD, {"params": {"surplus": 1}}),
    "the same, raise_on_exception off": (GOOD, {"params": {"surplus": 1}, "raise_on_exception": False, **QUIET}),
    "no JSON": ([document("1", object())], {}),
}
NOT_SENT = "the error says which document it was, and what was not sent"
WHICH = Difference("error.notes", ABSENT, ["sending documents 1 to 3 of the input"], "the error says which documents")
SURPLUS = "a parameter that there is not"
SURPLUS_QUIET = "the same, raise_on_exception off"


def expected(name, helper, items="value.1.{}."):
    """What differs in a case, `items` being the path of an item in what is returned."""
    if name == SURPLUS:
        return [*ERROR, WHICH] if helper.is_ours else ERROR
    if name == SURPLUS_QUIET:  # each item has the exception, and its text
        kinds = ((items.format(number) + f"{_op}.{{}}") for number, _op in enumerate(("index", "index", "create")))
        return [
            replace(difference, path=path.format(name))
            for path in kinds
            for name, difference in (("error", ERROR[-1]), ("exception", EXCEPTION))
        ]
    if name == "no JSON" and helper.is_ours:
        return [
            Difference("error.text", Like(r"\(.*\)"), Like(r"\(.*nothing from document 1 on was sent.\)"), NOT_SENT)
        ]
    return []


EXCEPTION = replace(ERROR[-1], ours=Like(r"RequestError\(400, 'illegal_argument_exception', \{.*"))


def texts(actions):
    return actions.split("\n") if isinstance(actions, str) else actions


@pytest.mark.row("`bulk`, `async_bulk`")
@pytest.mark.parametrize("name", CASES)
def test_bulk(pair, helper, real_domain, empty, name):
    actions, options = CASES[name]
    pair.same(
        lambda client: call(helper("bulk", client), client, texts(actions), **options),
        real_domain,
        differs=expected(name, helper),
        before=empty,
    )


STREAMED = [
    *("in several chunks", "refused", "refused, raise_on_error off", "refused, ignore_status", "no JSON"),
    *(SURPLUS, SURPLUS_QUIET),
]
OUR_HELPERS = pytest.mark.parametrize("helper", ["our helpers"], indirect=True)  # which are its own, re-exported
ASYNC = pytest.mark.parametrize("signed_pair", ["aiohttp"], indirect=True)
SYNC = pytest.mark.parametrize("signed_pair", ["urllib3"], indirect=True)


@pytest.mark.row("`streaming_bulk`, `async_streaming_bulk`")
@pytest.mark.parametrize("name", STREAMED)
def test_streaming_bulk(pair, helper, real_domain, empty, name):
    actions, options = CASES[name]
    pair.same(
        lambda client: call(helper("streaming_bulk", client), client, texts(actions), **options),
        real_domain,
        differs=expected(name, helper, "value.{}.1."),
        before=empty,
    )


@pytest.mark.row("`streaming_bulk`, `async_streaming_bulk`")
def test_only_failures(pair, helper, real_domain, empty):
    theirs, _ = pair.same(
        lambda client: call(helper("streaming_bulk", client), client, MIXED, yield_ok=False, **QUIET),
        real_domain,
        before=empty,
    )
    assert [ok for ok, _ in theirs.value] == [False] * 6


@pytest.mark.row("`parallel_bulk`")
@SYNC
@pytest.mark.parametrize("name", STREAMED)
def test_parallel_bulk(pair, helper, real_domain, empty, name):
    actions, options = CASES[name]
    pair.same(
        lambda client: call(helper("parallel_bulk", client), client, texts(actions), thread_count=1, **options),
        real_domain,
        differs=expected(name, helper, "value.{}.1."),
        before=empty,
    )


@pytest.mark.row("`bulk`, `async_bulk`")
@ASYNC
def test_an_asynchronous_iterable(pair, helper, real_domain, empty):
    async def documents():
        for action in GOOD:
            yield action

    pair.same(lambda client: call(helper("bulk", client), client, documents()), real_domain, before=empty)


@pytest.mark.row("`bulk`, `async_bulk`")
def test_a_closed_client(pair, helper, real_domain, empty):
    def closed(client):
        client.close()
        return call(helper("bulk", client), client, GOOD)

    pair.same(closed, real_domain, before=empty)


@pytest.mark.row("`BulkIndexError`, `ScanError`")
def test_either_error_is_caught_as_the_other(pair, helper, real_domain, empty):
    def caught(client):
        with pytest.raises(helpers.BulkIndexError) as by_ours:
            call(helper("bulk", client), client, MIXED)
        with pytest.raises(opensearchpy_helpers.BulkIndexError) as by_theirs:
            call(helper("bulk", client), client, MIXED)
        return len(by_ours.value.errors), len(by_theirs.value.errors), by_theirs.value.errors

    pair.same(caught, real_domain, before=empty)


ACTIONS = [
    {"_index": "i", "_id": 1, "n": 1},
    {"_op_type": "create", "_index": "i", "_source": {"n": 1}, "routing": "r", "_version": 3},
    {"_op_type": "delete", "_index": "i", "_id": "1"},
    {"_op_type": "update", "_index": "i", "_id": "1", "doc": {"n": 1}, "retry_on_conflict": 2},
    '{"n":1}',
    b'{"n":1}',
]


@pytest.mark.row("`expand_action`")
@pytest.mark.parametrize("action", ACTIONS)
def test_expand_action(action):
    expanded = helpers.expand_action(action)
    assert expanded == opensearchpy_helpers.expand_action(action)
    assert expanded[0]


# --- scan --------------------------------------------------------------------------------------------------------

ROUTED = {"query": {"range": {"n": {"gte": 2}}}}
SCANS = {
    "all": {"index": INDEX},
    "in several scrolls": {"index": INDEX, "size": 2},
    "a query": {"index": INDEX, "query": ROUTED},
    "in order": {"index": INDEX, "preserve_order": True, "query": {"sort": [{"n": "desc"}]}, "size": 3},
    "parameters": {
        "index": INDEX,
        "scroll": "1m",
        "request_timeout": 30,
        "_source": "false",
        "ignore_unavailable": True,
    },
    "headers": {"index": INDEX, "headers": {"X-Opaque-Id": "mine"}, "scroll_kwargs": {"request_timeout": 30}},
    "nothing": {"index": INDEX, "query": {"query": {"match_none": {}}}},
    "a wrong index": {"index": NOWHERE},
    "a wrong query": {"index": INDEX, "query": {"query": {"surplus": {}}}},
}
SCAN_RAISES = {"a wrong index": "NotFoundError", "a wrong query": "RequestError"}


@pytest.mark.row("`scan`, `async_scan`")
@OUR_HELPERS
@pytest.mark.parametrize("name", SCANS)
def test_scan(pair, helper, real_domain, filled, name):
    theirs, _ = pair.same(
        lambda client: call(helper("scan", client), client, **SCANS[name]),
        real_domain,
        differs=ERROR if name in SCAN_RAISES else [],
    )
    assert (theirs.error and theirs.error["type"]) == SCAN_RAISES.get(name)


@pytest.mark.row("`scan`, `async_scan`")
@OUR_HELPERS
def test_a_scan_that_is_abandoned(pair, helper, real_domain, filled):
    def abandon(client):
        hits = helper("scan", client)(raw(client), index=INDEX, size=2)
        if inspect.isgenerator(hits):
            first = next(hits)
            hits.close()
            return first
        first = client._run(anext(hits))
        client._run(hits.aclose())
        return first

    theirs, _ = pair.same(abandon, real_domain)
    assert [request["method"] for request in theirs.requests] == ["POST", "DELETE"]


@pytest.mark.row("`BulkIndexError`, `ScanError`")
@OUR_HELPERS
@pytest.mark.parametrize("raise_on_error", [True, False])
def test_a_scan_of_which_a_shard_fails(pair, helper, server, raise_on_error):
    first = b'{"_scroll_id":"s","hits":{"hits":[{"_id":"1"}]},"_shards":{"total":2,"successful":1,"skipped":0}}'

    def answer(handler):
        return 200, {}, b'{"hits":{"hits":[]}}' if handler.path.endswith("/scroll") else first

    server.answer = answer

    def scan(client):
        try:
            return call(helper("scan", client), client, index="i", raise_on_error=raise_on_error)
        except helpers.ScanError as error:
            return type(error).__name__, error.scroll_id, str(error)

    theirs, _ = pair.same(scan, server)
    assert (theirs.value[0] == "ScanError") is raise_on_error


# --- reindex -----------------------------------------------------------------------------------------------------

REINDEXED = {
    "all": {"source_index": INDEX},
    "a query": {"source_index": INDEX, "query": ROUTED},
    "in chunks": {"source_index": [INDEX], "chunk_size": 2, "scan_kwargs": {"size": 3}, "scroll": "1m"},
    "options of bulk": {"source_index": INDEX, "bulk_kwargs": {"stats_only": False, "refresh": True}},
    "a wrong index": {"source_index": NOWHERE},
}


@pytest.mark.row("`reindex`, `async_reindex`")
@OUR_HELPERS
@pytest.mark.parametrize("name", REINDEXED)
def test_reindex(pair, helper, real_domain, filled, empty, name):
    theirs, _ = pair.same(
        lambda client: call(helper("reindex", client), client, target_index=TARGET, **REINDEXED[name]),
        real_domain,
        differs=ERROR if name in SCAN_RAISES else [],
        before=empty,
    )
    assert (theirs.error and theirs.error["type"]) == SCAN_RAISES.get(name)


@pytest.mark.row("`reindex`, `async_reindex`")
@OUR_HELPERS
def test_reindex_of_two_clients(pair, helper, real_domain, filled, empty):
    def reindex(client):
        connection_class = raw(client).transport.connection_class
        with pair.client(connection_class, real_domain.url) as other:
            return call(helper("reindex", client), client, INDEX, TARGET, target_client=raw(other))

    theirs, _ = pair.same(reindex, real_domain, before=empty)
    assert theirs.value == [5, 0]
