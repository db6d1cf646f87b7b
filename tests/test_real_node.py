"""On a real OpenSearch, behind a domain that verifies: what was sent is asked of the node itself, without our code."""

import gzip
import json
import random
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from contextlib import closing
from itertools import count, islice

import pytest
from opensearchpy import AuthorizationException, OpenSearch, RequestError, TransportError
from opensearchpy import helpers as opensearchpy_helpers

from conftest import DATA
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4HttpConnection, helpers
from opensearch_sigv4.testing import LocalDomain
from processes import environment
from real_node import RUN
from test_wire import ODD
from transports import TRANSPORTS, Driven, all_transports, call

COUNT = 20_000
PATIENCE = 100  # retries, a second apart
PREFIX = f"{RUN}real-"
STORED = {"type": "keyword", "index": False, "doc_values": False}
TEMPLATE = {
    "index_patterns": [f"{PREFIX}*"],
    "template": {
        "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
        "mappings": {
            "dynamic": "strict",
            "properties": {
                **{name: {"type": "keyword"} for name in ("package", "section", "priority", "tags")},
                **{name: {"type": "long"} for name in ("installed_size_kib", "size_bytes")},
                **dict.fromkeys(("version", "architecture", "homepage", "depends", "sha256", "filename"), STORED),
                "summary": {"type": "text"},
            },
        },
        "aliases": {f"{RUN}all": {}},
    },
}
SYNC_HELPERS = ("bulk", "streaming_bulk", "parallel_bulk")
ASYNC_HELPERS = ("async_bulk", "async_streaming_bulk")


# --- documents, and what the node holds ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents():
    """All of shared/data, or, in a clone that has it not, as many that are made up."""
    if DATA.exists():
        with gzip.open(DATA) as lines:
            return [json.loads(line) for line in islice(lines, COUNT)]
    numbers = random.Random(7)
    return [
        {
            "package": f"made-up-{number}",
            "version": f"1:{number % 10}.{number % 7}-1",
            "section": numbers.choice(["libs", "devel", "python", "ü 日本"]),
            "tags": numbers.sample(["a::b", "c::d", "e::f g"], 2),
            "installed_size_kib": numbers.randrange(10_000),
            "size_bytes": numbers.randrange(10_000_000),
            "summary": " ".join(numbers.choices(["library", "for", "signed", "🙂", 'quotes "', "requests"], k=8)),
        }
        for number in range(COUNT)
    ]


def actions(documents, index):
    return ({"_index": index, "_id": str(n), "_source": document} for n, document in enumerate(documents))


def tally(documents):
    return {
        "documents": len(documents),
        "size_bytes": sum(document["size_bytes"] for document in documents),
        "installed_size_kib": sum(document["installed_size_kib"] for document in documents),
        "section": Counter(document["section"] for document in documents),
    }


SUMS = {name: {"sum": {"field": name}} for name in ("size_bytes", "installed_size_kib")}
SECTIONS = {"section": {"terms": {"field": "section", "size": 1000}}}


def held(node, index):
    """The tally of what the node holds."""
    node.ask("POST", f"/{index}/_refresh")
    answer = node.ask("POST", f"/{index}/_search", {"size": 0, "track_total_hits": True, "aggs": {**SUMS, **SECTIONS}})
    found = answer["aggregations"]
    return {
        "documents": answer["hits"]["total"]["value"],
        **{name: found[name]["value"] for name in SUMS},
        "section": {bucket["key"]: bucket["doc_count"] for bucket in found["section"]["buckets"]},
    }


def put(node, index, documents):
    """Index the documents, by their number as id, in the plainest way; without our code."""
    for start in range(0, len(documents), 2_000):
        part = documents[start : start + 2_000]
        lines = [line for number, document in enumerate(part, start) for line in ({"index": {"_id": number}}, document)]
        answer = node.ask("POST", f"/{index}/_bulk", lines)
        assert not answer["errors"]
    assert held(node, index) == tally(documents)


@pytest.fixture(scope="module")
def transports():
    with all_transports() as transports:
        yield transports


@pytest.fixture(scope="module")
def with_template(real_node):
    real_node.ask("PUT", f"/_index_template/{RUN}real", TEMPLATE)
    yield
    real_node.ask("DELETE", f"/{PREFIX}*")
    real_node.ask("DELETE", f"/_index_template/{RUN}real")


@pytest.fixture(scope="module")
def numbers():
    return count()


@pytest.fixture
def index(real_node, with_template, numbers):
    """The name of an index that is not there yet."""
    index = f"{PREFIX}{next(numbers)}"
    yield index
    real_node.ask("DELETE", f"/{index}?ignore_unavailable=true")


@pytest.fixture(scope="module")
def packages(real_node, with_template, documents):
    """An index that holds all documents, to be read only."""
    index = f"{PREFIX}packages"
    put(real_node, index, documents)
    return index


@pytest.fixture(params=[kind.name for kind in TRANSPORTS])
def client(request, transports, real_domain):
    """A client over each transport, which compresses, and takes compressed answers."""
    with transports[request.param].client(real_domain, timeout=60, http_compress=True) as client:
        yield client


# --- bulk ------------------------------------------------------------------------------------------------------


def outcomes(results):
    """(number that succeeded, the failed items) of what any of the helpers returns."""
    if isinstance(results, tuple):
        return results
    return sum(ok for ok, _ in results), [item for ok, item in results if not ok]


def loads():
    """Each transport with each helper, plain and compressed in turn; opensearch-py's own on its two main ones."""
    turn = count()
    for kind in TRANSPORTS:
        for name in ASYNC_HELPERS if kind.is_asynchronous else SYNC_HELPERS:
            for module in (helpers, opensearchpy_helpers):
                is_quick = module is helpers or (kind.name, name) in (("urllib3", "bulk"), ("aiohttp", "async_bulk"))
                is_compressed = next(turn) % 4 in (0, 3)
                yield pytest.param(
                    *(kind.name, getattr(module, name), is_compressed),
                    id=f"{kind.name}-{module.__name__.partition('.')[0]}-{name}-{'gzip' if is_compressed else 'plain'}",
                    marks=() if is_quick else pytest.mark.full,
                )


@pytest.mark.parametrize(("transport", "helper", "is_compressed"), [*loads()])
def test_all_documents_arrive(real_node, real_domain, transports, documents, index, transport, helper, is_compressed):
    with transports[transport].client(real_domain, timeout=60, http_compress=is_compressed) as client:
        results = call(helper, client, actions(documents, index), chunk_size=2_000)
    assert outcomes(results) == (COUNT, [])
    assert held(real_node, index) == tally(documents)
    bodies = {request.body[:2] for request in real_domain.requests if b"_bulk" in request.target}
    assert bodies == {b"\x1f\x8b" if is_compressed else b'{"'}


def command(domain, *arguments):
    """`opensearch-sigv4 bulk` in a process of its own."""
    keys = domain.credentials
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "opensearch_sigv4.cli", "bulk", *map(str, arguments)),
            *("--url", domain.url, "--region", domain.region, "--json"),
        ],
        env=environment(AWS_ACCESS_KEY_ID=keys.access_key, AWS_SECRET_ACCESS_KEY=keys.secret_key),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def file(documents, tmp_path_factory):
    file = tmp_path_factory.mktemp("documents") / "packages.ndjson.gz"
    file.write_bytes(gzip.compress(b"".join(json.dumps(document).encode() + b"\n" for document in documents), 1))
    return file


def test_all_documents_of_a_file_arrive(real_node, real_domain, documents, file, index):
    with command(real_domain, file, "--index", index) as process:
        output, error = process.communicate(timeout=120)
    assert (process.returncode, json.loads(output)["indexed"]) == (0, COUNT), error
    assert held(real_node, index) == tally(documents)


# --- what is in an answer --------------------------------------------------------------------------------------


def scanned(client, index):
    scan = helpers.async_scan if isinstance(client, Driven) else helpers.scan
    return call(scan, client, index=index, size=5_000)


def scrolled(client, index):
    page = client.search(index=index, body={"size": 5_000}, params={"scroll": "1m"})
    while page["hits"]["hits"]:
        yield from page["hits"]["hits"]
        page = client.scroll(body={"scroll_id": page["_scroll_id"], "scroll": "1m"})
    assert client.clear_scroll(body={"scroll_id": [page["_scroll_id"]]})["num_freed"] == 1


def paged(client, index):
    """By a point in time."""
    point = client.create_pit(index=index, params={"keep_alive": "1m"})["pit_id"]
    search = {"size": 5_000, "pit": {"id": point, "keep_alive": "1m"}, "sort": ["_seq_no"]}
    while hits := client.search(body=search)["hits"]["hits"]:
        yield from hits
        search["search_after"] = hits[-1]["sort"]
    assert client.delete_pit(body={"pit_id": [point]})["pits"][0]["successful"]


@pytest.mark.parametrize("read", [scanned, scrolled, paged])
def test_all_documents_are_read_back(client, packages, documents, read):
    hits = {hit["_id"]: hit["_source"] for hit in read(client, packages)}
    assert len(hits) == COUNT
    assert all(hits[str(number)] == document for number, document in enumerate(documents))


def test_an_answer_comes_compressed(client, packages):
    def answer_to(client):
        return client.transport.get_connection().perform_request("GET", f"/{packages}/_search")

    _, headers, _ = call(answer_to, client)
    assert {name.lower(): value for name, value in headers.items()}["content-encoding"] == "gzip"


def test_searches(client, packages, documents):
    by_section = tally(documents)["section"]
    section = max(by_section, key=by_section.get)
    odd = max(by_section, key=lambda name: (not name.isalnum(), name))
    sizes = sorted((document["size_bytes"] for document in documents), reverse=True)

    def total(**arguments):
        return client.search(index=packages, **arguments)["hits"]["total"]["value"]

    everything = {"track_total_hits": "true"}
    assert total(body={"query": {"term": {"section": section}}}, params=everything) == by_section[section]
    assert total(params={"q": f'section:"{odd}" AND size_bytes:[0 TO *]', **everything}) == by_section[odd]
    assert client.count(index=packages, params={"q": f'section:"{odd}"'})["count"] == by_section[odd]
    middle = sizes[COUNT // 2]
    over = {"range": {"size_bytes": {"gt": middle}}}
    assert total(body={"query": over}, params=everything) == sum(size > middle for size in sizes)
    page = client.search(
        index=packages,
        body={"query": {"match": {"summary": "library"}}, "sort": [{"size_bytes": "desc"}], "_source": ["size_bytes"]},
        params={"size": 10, "filter_path": "hits.hits._source,took"},
    )
    with_word = [d["size_bytes"] for d in documents if "library" in d["summary"].lower().replace("-", " ").split()]
    found = [hit["_source"]["size_bytes"] for hit in page["hits"]["hits"]]
    assert set(page) == {"took", "hits"}
    assert len(found) == 10
    assert set(sorted(with_word, reverse=True)[:5]) <= {*found, *(size for size in with_word if size < found[-1])}
    both = [{"index": packages}, {"size": 0}, {}, {"size": 0, "query": {"term": {"section": odd}}}]
    answers = client.msearch(body=both, index=packages, params={"rest_total_hits_as_int": "true"})["responses"]
    assert [answer["hits"]["total"] for answer in answers] == [COUNT, by_section[odd]]
    assert [answer["status"] for answer in answers] == [200, 200]


def test_aggregations(client, packages, documents):
    by_section = defaultdict(list)
    for document in documents:
        by_section[document["section"]].append(document["size_bytes"])
    body = {"size": 0, "aggs": {"section": {**SECTIONS["section"], "aggs": {"s": {"stats": {"field": "size_bytes"}}}}}}
    answer = client.search(index=packages, body=body)["aggregations"]["section"]
    assert answer["sum_other_doc_count"] == 0
    assert {bucket["key"]: (bucket["s"]["count"], bucket["s"]["sum"]) for bucket in answer["buckets"]} == {
        section: (len(sizes), sum(sizes)) for section, sizes in by_section.items()
    }
    tags = {"tags": {"cardinality": {"field": "tags", "precision_threshold": 40_000}}}
    answer = client.search(index=packages, body={"size": 0, "aggs": tags})
    assert answer["aggregations"]["tags"]["value"] == len({tag for d in documents for tag in d.get("tags", ())})


def test_by_query(client, real_node, documents, index):
    some = documents[:500]
    put(real_node, index, some)
    large = {"range": {"size_bytes": {"gte": 50_000}}}
    script = {"source": "ctx._source.size_bytes += params.more", "params": {"more": 1}}
    updated = client.update_by_query(
        index=index, body={"query": large, "script": script}, params={"refresh": "true", "conflicts": "proceed"}
    )
    some = [{**d, "size_bytes": d["size_bytes"] + 1} if d["size_bytes"] >= 50_000 else d for d in some]
    assert updated["updated"] == sum(document["size_bytes"] >= 50_000 for document in some)
    assert held(real_node, index) == tally(some)

    copy = f"{index}-copy"
    body = {"source": {"index": index, "query": large}, "dest": {"index": copy}}
    client.reindex(body=body, params={"refresh": "true", "wait_for_completion": "true"})
    assert held(real_node, copy) == tally([document for document in some if document["size_bytes"] >= 50_000])

    deleted = client.delete_by_query(index=index, body={"query": large}, params={"refresh": "true"})
    some = [document for document in some if document["size_bytes"] < 50_000]
    assert deleted["deleted"] == 500 - len(some)
    assert held(real_node, index) == tally(some)
    client.indices.delete(index=copy)


def test_templates_and_aliases(client, real_node, index):
    assert client.indices.exists_index_template(name=f"{RUN}real")
    client.indices.create(index=index)
    [made] = client.indices.get_mapping(index=index).values()
    assert made["mappings"]["properties"]["size_bytes"] == {"type": "long"}
    assert f"{RUN}all" in client.indices.get_alias(index=index)[index]["aliases"]

    alias, other = f"{PREFIX}ü 日本,"[:-1].replace(" ", "-"), f"{index}-other"
    client.indices.put_alias(index=index, name=alias, body={"filter": {"term": {"section": "a b"}}})
    for number, section in enumerate(["a b", "c", "a b"]):
        client.index(index=index, id=number, body={"section": section}, params={"refresh": "true"})
    assert client.count(index=alias)["count"] == 2
    client.indices.create(index=other)
    swap = [{"remove": {"index": index, "alias": alias}}, {"add": {"index": other, "alias": alias}}]
    assert client.indices.update_aliases(body={"actions": swap})["acknowledged"]
    assert client.count(index=alias)["count"] == 0
    assert set(real_node.ask("GET", f"/_alias/{PREFIX}%C3%BC*")) == {other}
    assert client.indices.exists_alias(name=alias)
    client.indices.delete(index=other)


def test_odd_ids(client, real_node, index):
    for odd in ODD:
        client.index(index=index, id=odd, body={"package": odd, "size_bytes": 1})
        client.update(index=index, id=odd, body={"script": {"source": "ctx._source.size_bytes += 1"}})
    client.indices.refresh(index=index)
    search = {"size": 100, "query": {"match_all": {}}}
    hits = real_node.ask("POST", f"/{index}/_search", search)["hits"]["hits"]
    assert {hit["_id"]: hit["_source"] for hit in hits} == {odd: {"package": odd, "size_bytes": 2} for odd in ODD}
    for odd in ODD:
        assert client.get_source(index=index, id=odd)["package"] == odd
        assert client.explain(index=index, id=odd, body={"query": {"term": {"package": odd}}})["matched"]
    found = client.mget(index=index, body={"ids": ODD})["docs"]
    assert [document["_source"]["package"] for document in found] == ODD
    for odd in ODD:
        assert client.delete(index=index, id=odd, params={"routing": odd, "refresh": "true"})["_id"] == odd
    assert held(real_node, index)["documents"] == 0


@pytest.mark.parametrize("name", [f"{PREFIX}日本-ü", f"{PREFIX}a+b", f"{PREFIX}$(a)&b=c;d@e!", f"<{PREFIX}{{now/d}}>"])
def test_odd_names_of_indices(client, with_template, name):
    made = client.index(index=name, id="1", body={"package": "a"})["_index"]
    assert made == name or "now/d" in name
    assert client.get(index=name, id="1")["_index"] == made
    assert client.indices.delete(index=name)["acknowledged"]
    assert not client.indices.exists(index=made)


# --- errors, as the real server words them ---------------------------------------------------------------------


def number(id_, value=1, **metadata):
    return {"_id": id_, "size_bytes": value, **metadata}


REFUSED = {
    "a value that does not fit": (number("2", "many"), 400, "mapper_parsing_exception"),
    "a field that is not in the mapping": ({"_id": "2", "x": 1}, 400, "strict_dynamic_mapping_exception"),
    "made already": (number("1", _op_type="create"), 409, "version_conflict_engine_exception"),
    "an older version": (
        number("1", version=1, version_type="external"),
        409,
        "version_conflict_engine_exception",
    ),
    "update of what is not there": (
        {"_op_type": "update", "_id": "2", "doc": {"size_bytes": 1}},
        404,
        "document_missing_exception",
    ),
    "delete of what is not there": ({"_op_type": "delete", "_id": "2"}, 404, None),
    "a name that no index can have": (number("2", _index="UPPER"), 400, "invalid_index_name_exception"),
    "a closed index": (number("2", _index=f"{PREFIX}closed"), 400, "index_closed_exception"),
    "an index that is not to be written": (number("2", _index=f"{PREFIX}read"), 403, "cluster_block_exception"),
}


@pytest.fixture(scope="module")
def refusing_indices(real_node, with_template):
    for name in ("closed", "read"):
        real_node.ask("PUT", f"/{PREFIX}{name}")
    real_node.ask("POST", f"/{PREFIX}closed/_close")
    real_node.ask("PUT", f"/{PREFIX}read/_settings", {"index.blocks.write": True})


@pytest.mark.parametrize("name", REFUSED)
def test_a_document_is_refused(client, real_node, index, refusing_indices, name):
    action, status, kind = REFUSED[name]
    documents = [number("a"), action, number("b")]
    for id_ in ("1", "a", "b"):
        real_node.ask("PUT", f"/{index}/_doc/{id_}?version=5&version_type=external", {"size_bytes": 1})

    def refused_by(module):
        call(named(module, "bulk", client), client, documents, index=index)

    results, errors = [], []
    for module in (opensearchpy_helpers, helpers):
        streaming = named(module, "streaming_bulk", client)
        results.append(without_counters(call(streaming, client, documents, index=index, raise_on_error=False)))
        with pytest.raises(helpers.BulkIndexError) as raised:
            refused_by(module)
        errors.append(without_counters(raised.value.errors))
    theirs, ours = results
    assert [ok for ok, _ in ours] == [True, False, True]
    [refused] = ours[1][1].values()
    assert (refused["status"], refused.get("error", {}).get("type")) == (status, kind)
    assert ours == theirs
    assert errors[0] == errors[1]
    assert held(real_node, index)["documents"] == 3


def is_ours(client):
    kinds = SigV4HttpConnection, AsyncSigV4HttpConnection
    return isinstance(call(lambda client: client.transport.get_connection(), client), kinds)


def named(module, name, client):
    return getattr(module, f"async_{name}" if isinstance(client, Driven) else name)


def without_counters(results):
    """Without what differs from a request to the next same one."""
    if isinstance(results, dict):
        return {name: without_counters(results[name]) for name in results.keys() - {"_seq_no", "_version"}}
    return [without_counters(each) for each in results] if isinstance(results, list | tuple) else results


WHOLE = {
    "a line that is no JSON": ('{"index":{}}\n{}\nnothing\n', "json_parse_exception"),
    "an id that is too long": ('{"index":{"_id":"%s"}}\n{}\n' % ("i" * 513), "action_request_validation_exception"),
    "a parameter that there is not": ('{"index":{"_x":1}}\n{}\n', "illegal_argument_exception"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_request_is_refused(client, real_node, index, name):
    body, kind = WHOLE[name]
    with pytest.raises(RequestError) as raised:
        client.bulk(index=index, body=body)
    assert (raised.value.status_code, raised.value.error) == (400, kind)
    assert raised.value.info["error"]["root_cause"][0]["type"] == kind
    assert not hasattr(raised.value, "__notes__")  # its own words are enough


def test_what_is_too_large(client, real_node, index):
    """The node's limit is for bodies as they are sent, so these cannot be compressed; 413 comes with no body."""
    limit = real_node.max_content_length
    if limit > 20 * 2**20:
        pytest.skip(f"this node takes {limit} bytes: too much to be made in a quick test")
    noise = random.Random(limit).randbytes(limit * 3 // 4 + 100_000).hex()[: limit + limit // 10]
    with pytest.raises(TransportError) as raised:
        client.index(index=index, body={"homepage": noise})
    assert raised.value.status_code == 413
    if is_ours(client):
        assert "Send it in parts" in raised.value.__notes__[0]

    pieces = [noise[at : at + 100_000] for at in range(0, limit, 100_000)]
    documents = [{"_id": n, "size_bytes": 1, "homepage": piece} for n, piece in enumerate(pieces * 2)]
    documents.insert(7, {"_id": "too large", "homepage": noise})
    results = call(
        named(helpers, "bulk", client),
        client,
        documents,
        index=index,
        chunk_size=len(documents),
        max_chunk_bytes=10 * limit,
        raise_on_error=False,
        raise_on_exception=False,
    )
    succeeded, [failure] = results
    assert succeeded == len(documents) - 1
    assert (failure["index"]["status"], failure["index"]["_id"]) == (413, "too large")
    assert held(real_node, index)["documents"] == succeeded


def test_a_full_disk_that_is_emptied(client, real_node, index, documents):
    """OpenSearch's own block at the flood stage: 429 for each document, until there is room again."""
    some = documents[:1000]
    put(real_node, index, some[:10])
    real_node.ask("PUT", f"/{index}/_settings", {"index.blocks.read_only_allow_delete": True})
    with pytest.raises(TransportError) as raised:
        client.index(index=index, body={})
    assert (raised.value.status_code, raised.value.error) == (429, "cluster_block_exception")

    lift = {"index.blocks.read_only_allow_delete": None}
    room = threading.Timer(0.3, real_node.ask, ("PUT", f"/{index}/_settings", lift))
    room.start()
    results = call(named(helpers, "bulk", client), client, actions(some, index), chunk_size=100, initial_backoff=0.1)
    room.join()
    assert results == (1000, [])
    assert held(real_node, index) == tally(some)


def test_a_block_is_no_refused_signature(client, real_node, index):
    real_node.ask("PUT", f"/{index}", {"settings": {"index.blocks.write": True}})
    with pytest.raises(AuthorizationException) as raised:
        client.index(index=index, body={})
    assert raised.value.error == "cluster_block_exception"
    if is_ours(client):
        assert "blocked by OpenSearch" in raised.value.__notes__[0]


# --- a node that is short of threads, and one that ends ---------------------------------------------------------


@pytest.fixture(scope="module")
def own_domain(own_node):
    own_node.ask("PUT", f"/_index_template/{RUN}real", TEMPLATE)
    with LocalDomain(upstream=own_node.url) as domain:
        yield domain


def test_documents_that_are_rejected_are_sent_again(own_node, own_domain, transports, documents):
    with transports["urllib3"].client(own_domain, pool_maxsize=8, timeout=60) as client:
        sending = helpers.parallel_bulk(
            client, actions(documents, f"{PREFIX}rejecting"), thread_count=8, chunk_size=250, initial_backoff=0.1
        )
        assert outcomes(list(sending)) == (COUNT, [])
    assert held(own_node, f"{PREFIX}rejecting") == tally(documents)
    [pool] = own_node.ask("GET", "/_nodes/stats/thread_pool")["nodes"].values()
    assert pool["thread_pool"]["write"]["rejected"] > 0
    assert own_domain.refused == 0


def test_a_block_of_the_cluster(own_node, own_domain, transports):
    own_node.ask("PUT", "/_cluster/settings", {"transient": {"cluster.blocks.create_index": True}})
    with transports["urllib3"].client(own_domain) as client, pytest.raises(AuthorizationException) as raised:
        client.indices.create(index=f"{PREFIX}blocked")
    own_node.ask("PUT", "/_cluster/settings", {"transient": {"cluster.blocks.create_index": None}})
    assert raised.value.error == "index_create_block_exception"
    assert "blocked by OpenSearch" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("urllib3 parallel_bulk", "kill"),
        ("unsigned streaming_bulk", "kill"),
        pytest.param("urllib3 bulk", "stop", marks=pytest.mark.full),
        pytest.param("aiohttp async_bulk", "stop", marks=pytest.mark.full),
        pytest.param("aiohttp async_bulk", "kill", marks=pytest.mark.full),
        pytest.param("aiohttp async_streaming_bulk", "stop", marks=pytest.mark.full),
        pytest.param("requests parallel_bulk", "kill", marks=pytest.mark.full),
        pytest.param("httpx bulk", "kill", marks=pytest.mark.full),
        pytest.param("httpx async async_bulk", "kill", marks=pytest.mark.full),
    ],
)
def test_a_node_that_is_restarted_loses_nothing(own_node, own_domain, transports, documents, name, end):
    index = f"{PREFIX}{name}-{end}".replace(" ", "-")

    def restart():
        getattr(own_node, end)()
        own_node.start()

    restarting = threading.Thread(target=restart)

    def watched():
        for action in actions(documents, index):
            if action["_id"] == str(COUNT // 3):
                restarting.start()
            yield action

    transport, _, helper = name.rpartition(" ")
    if transport == "unsigned":  # with nothing between that answers 502 meanwhile
        connected = closing(OpenSearch(own_node.url, connection_class=SigV4HttpConnection, timeout=60))
    else:
        connected = transports[transport].client(own_domain, timeout=60)
    with connected as client:
        results = call(getattr(helpers, helper), client, watched(), chunk_size=500, max_backoff=1, max_retries=PATIENCE)
    restarting.join()
    assert outcomes(results) == (COUNT, [])
    assert held(own_node, index) == tally(documents)


def test_a_file_is_loaded_while_the_node_is_restarted(own_node, own_domain, documents, file, tmp_path):
    """With a checkpoint documents have ids, so that what had no answer is sent again."""
    index, verified = f"{PREFIX}file", own_domain.verified
    arguments = (file, "--index", index, "--chunk-mb", "0.2", "--checkpoint", tmp_path / "done")
    with command(own_domain, *arguments) as process:
        while own_domain.verified < verified + 5:
            assert process.poll() is None
        own_node.kill()
        own_node.start()
        output, error = process.communicate(timeout=120)
    assert (process.returncode, json.loads(output)["indexed"]) == (0, COUNT), error
    assert held(own_node, index) == tally(documents)
