"""Compatibility with opensearch-py: its helpers on its connections and on ours, and our helpers on ours.

tests/test_helpers.py compares our helpers with its own on one client, tests/test_real_node.py what a node refuses.
"""

import asyncio
import inspect

import pytest
from opensearchpy import helpers as opensearchpy_helpers

import sides
from opensearch_sigv4 import helpers
from sides import Difference, raw
from test_compatibility_dsl import ERROR, INFO, MADE_UP, accepted
from transports import Driven, call

INDEX = "osv4-helpers"
TARGET = "osv4-helpers-target"
NOWHERE = "osv4-helpers-nowhere"
MAPPING = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0},
    "mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}, "text": {"type": "keyword"}}},
}


@pytest.fixture
def pair(signed_pair, monkeypatch):
    monkeypatch.setattr(sides, "PLAIN", [*sides.PLAIN, *MADE_UP])
    return accepted(signed_pair)


@pytest.fixture
def indices(real_node):
    """Called before each side: two indices, the first with five documents."""

    def remove():
        real_node.ask("DELETE", f"/{INDEX},{TARGET},{NOWHERE}?ignore_unavailable=true")

    def make():
        remove()
        for index in (INDEX, TARGET):
            real_node.ask("PUT", f"/{index}", MAPPING)
        lines = [line for n in range(5) for line in ({"index": {"_id": str(n)}}, {"n": n})]
        assert not real_node.ask("POST", f"/{INDEX}/_bulk?refresh=true", lines)["errors"]

    yield make
    remove()


@pytest.fixture(params=["their helpers", "our helpers"])
def helper(request, pair):
    """`helper(name, client)`: opensearch-py's on its connection, and on ours, in turn, its own and ours."""

    def find(name, client):
        is_ours = raw(client).transport.connection_class is pair.ours and request.param == "our helpers"
        return getattr(helpers if is_ours else opensearchpy_helpers, name_for(client, name))

    find.param = request.param
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
DIFFERS = {}


def same(pair, helper, domain, function, differs, before):
    return pair.same(function, domain, differs=differs, before=before)


def texts(actions):
    return actions.split("\n") if isinstance(actions, str) else actions


@pytest.mark.row("`bulk`, `async_bulk`")
@pytest.mark.parametrize("name", CASES)
def test_bulk(pair, helper, real_domain, indices, name):
    actions, options = CASES[name]
    pair.same(
        lambda client: call(helper("bulk", client), client, texts(actions), **options),
        real_domain,
        differs=DIFFERS.get(("bulk", name), []),
        before=indices,
    )
