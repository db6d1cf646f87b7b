"""Compatibility with opensearch-py: every API method of its clients, and a real node's answers to the common ones."""

import inspect
import json
import logging
from functools import partial

import pytest
from opensearchpy import TransportError
from opensearchpy.client.utils import NamespacedClient

from real_node import RUN
from sides import raw, remove_indices, steady

# --- every method, as it is sent -----------------------------------------------------------------------------------


def methods(owner):
    """The public methods of a client or namespace that make a request, by name."""
    for name, _ in inspect.getmembers(type(owner), inspect.isfunction):
        if not name.startswith("_") and name not in ("close", "perform_request"):
            yield name, getattr(owner, name)


def namespaces(client):
    """The client itself, its namespaces, and those of its plugins, by name."""
    yield "client", client
    for name, namespace in vars(client).items():
        if isinstance(namespace, NamespacedClient):
            yield name, namespace
    for name, plugin in vars(client.plugins).items():
        if isinstance(plugin, NamespacedClient):
            yield f"plugins.{name}", plugin


def arguments(method):
    """Something for each argument that is needed."""
    return {
        name: {"size": 1} if name == "body" else "/x" if name == "url" else f"a {name}"
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }


def outcome_of(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return type(error), *error.args


@pytest.mark.row("API methods of all namespaces and plugins")
def test_every_method(signed_pair, server):
    calls = []

    def walk(client):
        results = {}
        for namespace, owner in namespaces(raw(client)):
            for name, method in methods(owner):
                results[f"{namespace}.{name}"] = outcome_of(signed_pair.returned, method, **arguments(method))
        calls.append(len(results))
        return results

    theirs, _ = signed_pair.same(walk, server, level=logging.INFO)
    assert calls[0] > 400
    assert len(theirs.requests) > 0.9 * calls[0]


# --- a real node ------------------------------------------------------------------------------------------------------

INDEX = f"{RUN}clients"
DOCUMENTS = [{"title": f"title {n}", "n": n, "at": f"2024-02-{n + 1:02}"} for n in range(12)]


@pytest.fixture
def empty(real_domain):
    """What leaves the node without our indices; it is called at the end, too."""
    yield partial(remove_indices, real_domain, INDEX)
    remove_indices(real_domain, INDEX)


def filled(client):
    client.indices.create(index=INDEX, body={"mappings": {"properties": {"title": {"type": "text"}}}})
    lines = [line for n, document in enumerate(DOCUMENTS) for line in ({"index": {"_id": str(n)}}, document)]
    return client.bulk(body=lines, index=INDEX, refresh=True)


def refused(call, *args, **kwargs):
    """What an error says; over aiohttp opensearch-py leaves an answer's JSON as text (test_compatibility_requests)."""
    with pytest.raises(TransportError) as caught:
        call(*args, **kwargs)
    error = caught.value
    return type(error).__name__, error.status_code, error.info or json.loads(error.error)


def documents(client):
    return [
        filled(client),
        client.create(index=INDEX, id="new", body={"n": 100}),
        refused(client.create, index=INDEX, id="new", body={"n": 100}),
        client.index(index=INDEX, id="new", body={"n": 101}, refresh="true"),
        refused(client.index, index=INDEX, id="new", body={"n": 1}, if_seq_no=0, if_primary_term=9),
        client.get(index=INDEX, id="new", _source_includes=["n"]),
        client.get_source(index=INDEX, id="new"),
        client.exists(index=INDEX, id="new"),
        client.exists(index=INDEX, id="none"),
        refused(client.get, index=INDEX, id="none"),
        client.get(index=INDEX, id="none", ignore=404),
        client.mget(index=INDEX, body={"ids": ["1", "none"]}),
        client.update(index=INDEX, id="new", body={"doc": {"m": 1}}, _source=True),
        refused(client.update, index=INDEX, id="none", body={"doc": {"m": 1}}),
        client.delete(index=INDEX, id="new", refresh=True),
        refused(client.delete, index=INDEX, id="new"),
        refused(client.index, index=INDEX, body={"at": "no date"}),
        client.bulk(
            body=[{"create": {"_index": INDEX, "_id": "1"}}, {"n": 1}, {"delete": {"_index": INDEX, "_id": "x"}}]
        ),
    ]


def searches(client):
    filled(client)
    query = {"query": {"match": {"title": "title"}}, "sort": ["n"], "size": 2}
    scrolled = client.search(index=INDEX, body=query, scroll="1m")
    pit = client.create_pit(index=INDEX, params={"keep_alive": "1m"})
    return [
        client.search(index=INDEX, body=query, filter_path=["hits.hits._id", "hits.total"]),
        client.search(index=INDEX, q="n:3"),
        client.search(body={"size": 1, "sort": ["n"], "pit": {"id": pit["pit_id"]}}),
        client.delete_pit(body={"pit_id": [pit["pit_id"]]}),
        scrolled["hits"],
        client.scroll(body={"scroll_id": scrolled["_scroll_id"], "scroll": "1m"})["hits"],
        client.clear_scroll(scroll_id=scrolled["_scroll_id"]),
        refused(client.search, index=INDEX, body={"query": {"no_such_query": {}}}),
        refused(client.search, index=f"{INDEX}-none"),
        client.search(index=f"{INDEX}-none", ignore_unavailable=True)["hits"],
        client.msearch(body=[{"index": INDEX}, {"size": 0}, {"index": f"{INDEX}-none"}, {}]),
        client.count(index=INDEX, body={"query": {"range": {"n": {"gte": 5}}}}),
        client.explain(index=INDEX, id="1", body={"query": {"match_all": {}}}),
        client.field_caps(index=INDEX, fields=["n", "title"]),
        client.termvectors(index=INDEX, id="1", fields="title"),
        client.update_by_query(index=INDEX, body={"query": {"term": {"n": 1}}}, refresh=True),
        client.delete_by_query(index=INDEX, body={"query": {"term": {"n": 2}}}, refresh=True),
        client.reindex(body={"source": {"index": INDEX}, "dest": {"index": f"{INDEX}-2"}}, refresh=True),
        client.count(index=f"{INDEX}-2"),
    ]


def indices(client):
    filled(client)
    return [
        client.indices.exists(index=INDEX),
        client.indices.exists(index=f"{INDEX}-none"),
        refused(client.indices.create, index=INDEX),
        client.indices.get_mapping(index=INDEX),
        client.indices.put_mapping(index=INDEX, body={"properties": {"more": {"type": "keyword"}}}),
        refused(client.indices.put_mapping, index=INDEX, body={"properties": {"n": {"type": "text"}}}),
        client.indices.put_settings(index=INDEX, body={"index": {"number_of_replicas": 0}}),
        client.indices.get_settings(index=INDEX, name="index.number_of_*"),
        client.indices.put_alias(index=INDEX, name=f"{INDEX}-alias"),
        client.indices.get_alias(index=INDEX),
        client.indices.analyze(index=INDEX, body={"field": "title", "text": "A Title"}),
        client.indices.validate_query(index=INDEX, q="n:1"),
        client.indices.refresh(index=INDEX),
        client.indices.flush(index=INDEX),
        client.indices.close(index=INDEX),
        refused(client.search, index=INDEX),
        client.indices.delete(index=INDEX),
        refused(client.indices.get, index=INDEX),
    ]


def the_cluster(client):
    filled(client)
    return [
        client.ping(),
        client.info()["version"],
        client.cat.count(index=INDEX, format="json", h="count"),
        client.cat.indices(index=INDEX, h="index,docs.count"),
        client.cluster.health(index=INDEX, filter_path="cluster_name,number_of_nodes"),
        client.cluster.get_settings(flat_settings=True),
        client.nodes.info(filter_path="nodes.*.roles", metric="http")["nodes"].values(),
        client.ingest.put_pipeline(id=INDEX, body={"processors": []}),
        client.ingest.get_pipeline(id=INDEX),
        client.ingest.simulate(id=INDEX, body={"docs": [{"_source": {"a": 1}}]})["docs"][0]["doc"]["_source"],
        client.index(index=INDEX, id="set", body={"a": 1}, pipeline=INDEX),
        client.get(index=INDEX, id="set"),
        client.ingest.delete_pipeline(id=INDEX),
        refused(client.ingest.delete_pipeline, id=INDEX),
        refused(client.snapshot.get, repository="none", snapshot="none"),
        client.snapshot.get_repository(),
        refused(client.tasks.get, task_id="none:1"),
        client.cat.repositories(),
        refused(client.security.get_roles),
        refused(client.plugins.knn.stats),
        refused(client.http.get, "/_plugins/_none"),
        client.http.get("/_cat/aliases", params={"h": "alias"}, headers={"accept": "text/plain"}),
        refused(client.http.put, f"/{INDEX}", body={}),
    ]


@pytest.mark.row("a real node's answers")
@pytest.mark.parametrize("call", [documents, searches, indices, the_cluster])
def test_a_real_node(signed_pair, real_domain, empty, call):
    theirs, _ = signed_pair.same(lambda client: steady(call(client)), real_domain, before=empty, level=logging.INFO)
    assert theirs.error is None
