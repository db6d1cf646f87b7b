"""Compatibility with opensearch-py: its Transport over the connections, with one host and with several."""

import json
import random
import uuid
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import opensearchpy
import pytest
from opensearchpy import AsyncTransport, JSONSerializer, Transport
from opensearchpy.connection_pool import ConnectionPool, ConnectionSelector, RandomSelector

from recorder import nowhere, recorder
from sides import ABSENT, ADVICE, Difference, Like, raw

# --- one host: what is sent again --------------------------------------------------------------------------------

RETRIES = {
    "default": ({}, 503, 4),
    "no status of the default": ({}, 500, 1),
    "429": ({}, 429, 1),
    "max_retries": ({"max_retries": 1}, 504, 2),
    "none": ({"max_retries": 0}, 502, 1),
    "retry_on_status": ({"retry_on_status": (500, 429), "max_retries": 2}, 500, 3),
    "retry_on_status, another": ({"retry_on_status": [500]}, 503, 1),
    "HEAD": ({"retry_on_status": (404,)}, 404, 1),
}


@pytest.mark.row("`max_retries`, `retry_on_status`")
@pytest.mark.parametrize("name", RETRIES)
def test_retries(any_pair, server, name):
    options, status, requests = RETRIES[name]
    server.answer = (status, {"content-type": "text/plain"}, b"text")
    call = (lambda c: c.exists(index="i", id="1")) if name == "HEAD" else (lambda c: c.index(index="i", body={"a": 1}))
    differs = ADVICE if status == 429 else ()
    theirs, _ = any_pair.same(call, server, differs=differs, **options)
    assert len(theirs.requests) == requests


def test_a_retry_that_succeeds(any_pair, server):
    answers = iter([503, 502, 200] * 2)
    server.answer = lambda handler: (next(answers), {}, b"{}")
    theirs, _ = any_pair.same(lambda client: client.bulk(body=[{"delete": {"_id": "1"}}]), server, http_compress=True)
    assert (theirs.value, len(theirs.requests)) == ({}, 3)


# --- several hosts -----------------------------------------------------------------------------------------------


@contextmanager
def cluster(*answers):
    """A server for each answer, where None is a host that is not there; it has the face of a recorder."""
    with ExitStack() as stack:
        received, servers = [], []
        for answer in answers:
            server = stack.enter_context(nowhere() if answer is None else recorder())
            server.received, server.answer = received, answer
            servers.append(server)
        urls = [server.url for server in servers]
        yield SimpleNamespace(url=urls[0], urls=urls, received=received, servers=servers)


OK = (200, {}, b"{}")


def five_times(client):
    return [client.info() for _ in range(5)]


def dead_and_alive(client):
    pool = raw(client).transport.connection_pool
    results = five_times(client)
    return results, repr(pool), [(repr(connection), count) for connection, count in pool.dead_count.items()]


class LastSelector(ConnectionSelector):
    def select(self, connections):
        return connections[-1]


class FirstSelector(ConnectionSelector):
    def select(self, connections):
        return connections[0]


class OwnPool(ConnectionPool):
    def get_connection(self):
        return self.connections[-1]


SEVERAL = {
    "round robin": ([OK, OK, OK], {}),
    "selector_class": ([OK, OK, OK], {"selector_class": LastSelector}),
    "random selector_class": ([OK, OK, OK], {"selector_class": RandomSelector}),
    "randomize_hosts": ([OK, OK, OK], {"randomize_hosts": True}),
    "connection_pool_class": ([OK, OK, OK], {"connection_pool_class": OwnPool}),
    "one is down": ([None, OK], {}),
    "one is overloaded": ([OK, (503, {}, b"{}"), OK], {}),
    "all are down": ([None, None], {"max_retries": 2}),
    "dead_timeout": ([None, OK], {"dead_timeout": 0}),
    "timeout_cutoff": ([None, OK], {"dead_timeout": -1, "timeout_cutoff": 1}),
}


@pytest.mark.row("several hosts: `selector_class`, `dead_timeout`, `connection_pool_class`")
@pytest.mark.parametrize("name", SEVERAL)
def test_several_hosts(signed_pair, name):
    answers, options = SEVERAL[name]
    with cluster(*answers) as servers:
        signed_pair.same(
            dead_and_alive,
            servers,
            before=lambda: random.seed(0),
            differs=ADVICE if name == "all are down" else (),
            **{"hosts": servers.urls, "randomize_hosts": False, **options},
        )


def hosts_that_come_later(client):
    transport = raw(client).transport
    before = transport.connection_pool.connections[0]
    transport.add_connection({"host": "later.internal"})
    transport.add_connection({"host": "latest.internal", "use_ssl": True, "port": 443})
    after = transport.connection_pool.connections
    return [*map(repr, after)], after[0] is before, [type(connection).__name__ for connection in after]


@pytest.mark.row("`Transport`: `add_connection`, `transport_class`")
def test_hosts_that_come_later(signed_pair):
    signed_pair.same(hosts_that_come_later, None, hosts=["first.internal"], randomize_hosts=False)


# --- sniffing ----------------------------------------------------------------------------------------------------


def nodes_of(urls):
    nodes = {
        str(n): {"http": {"publish_address": url.removeprefix("http://")}, "roles": ["data"]}
        for n, url in enumerate(urls)
    }
    nodes["manager"] = {"http": {"publish_address": "127.0.0.1:1"}, "roles": ["cluster_manager"]}
    nodes["no http"] = {}
    return json.dumps({"nodes": nodes}).encode()


def only_data(node, host):
    return {**host, "opaque_id": "sniffed"} if "data" in node.get("roles", ()) else None


def known(client):
    client.info()
    return sorted(repr(connection) for connection in raw(client).transport.connection_pool.connections)


SNIFFING = "the service does not publish the addresses of its nodes"


def warned(count):
    return [
        Difference(f"warnings.{n}.{name}", ABSENT, value, SNIFFING, signed=True)
        for n in range(count)
        for name, value in {"category": "UserWarning", "text": Like("sniffing a signed client: .*")}.items()
    ]


SNIFFS = {
    "sniff_on_start": ({"sniff_on_start": True}, 1),
    "host_info_callback": ({"sniff_on_start": True, "host_info_callback": only_data}, 1),
    "sniff_timeout": ({"sniff_on_start": True, "sniff_timeout": 5}, 1),
    "nothing viable": ({"sniff_on_start": True, "host_info_callback": lambda node, host: None}, 1),
}


@pytest.mark.row("sniffing")
@pytest.mark.parametrize("name", SNIFFS)
def test_sniffing(any_pair, name):
    options, sniffs = SNIFFS[name]
    with cluster(OK, OK) as servers:
        for server in servers.servers:
            server.answer = (200, {}, nodes_of(servers.urls))
        any_pair.same(known, servers, differs=warned(sniffs), hosts=servers.url, randomize_hosts=False, **options)


# Over aiohttp the following are done by a task of its own, while the requests go on.
over_urllib3 = pytest.mark.parametrize("any_pair", ["urllib3", "urllib3 unsigned"], indirect=True)


@over_urllib3
def test_sniffing_every_time(any_pair):
    with cluster(OK, OK) as servers:
        for server in servers.servers:
            server.answer = (200, {}, nodes_of(servers.urls))
        any_pair.same(known, servers, differs=warned(1), hosts=servers.url, randomize_hosts=False, sniffer_timeout=1e-9)


@over_urllib3
def test_sniffing_after_a_failure(any_pair):
    with cluster(None, OK) as servers:
        servers.servers[1].answer = (200, {}, nodes_of(servers.urls[1:]))
        any_pair.same(
            known,
            servers,
            differs=warned(1),
            hosts=servers.urls,
            randomize_hosts=False,
            sniff_on_connection_fail=True,
            selector_class=FirstSelector,
        )


# --- serializers -------------------------------------------------------------------------------------------------


class Shouting(JSONSerializer):
    def dumps(self, data):
        return super().dumps(data).upper()

    def loads(self, text):
        return {"loaded": text}


class Yaml(JSONSerializer):
    mimetype = "application/yaml"

    def loads(self, text):
        return {"yaml": text}


SERIALIZERS = {
    "serializer": ({"serializer": Shouting()}, {}),
    "serializers": ({"serializers": {"application/yaml": Yaml()}}, {"content-type": "application/yaml"}),
    "default_mimetype": ({"default_mimetype": "text/plain"}, {"content-type": ""}),
    "unknown type": ({}, {"content-type": "application/cbor"}),
}


@pytest.mark.row("serializers")
@pytest.mark.parametrize("name", SERIALIZERS)
def test_serializers(any_pair, server, name):
    options, headers = SERIALIZERS[name]
    server.answer = (200, headers, b"{}")
    any_pair.same(lambda client: client.index(index="i", body={"a": "b"}), server, **options)


@pytest.mark.row("serializers")
@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 2, 29, tzinfo=UTC),
        uuid.UUID(int=1),
        Decimal("1.5"),
        np.int64(3),
        np.array([1.5, 2.5]),
        (1, "ü"),
        float("nan"),
        object(),
        b"bytes",
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(any_pair, server, value):
    any_pair.same(lambda client: client.index(index="i", body={"a": value}), server)


@pytest.mark.row("`send_get_body_as`")
@pytest.mark.parametrize("as_what", ["GET", "POST", "source"])
def test_get_bodies(any_pair, server, as_what):
    def call(client):
        return client.transport.perform_request("GET", "/_search", params={"a": "b"}, body={"size": 0})

    any_pair.same(call, server, send_get_body_as=as_what)


# --- classes of one's own ----------------------------------------------------------------------------------------


def noting(base, notes):
    """A Transport that notes what goes through it."""

    class Noting(base):
        def perform_request(self, method, url, **kwargs):
            notes.append((method, url, sorted(kwargs)))
            return super().perform_request(method, url, **kwargs)

    return Noting


@pytest.mark.row("`Transport`: `add_connection`, `transport_class`")
def test_transport_class(any_pair, server):
    notes = []
    transport_class = noting(Transport if any_pair.over == "urllib3" else AsyncTransport, notes)

    def call(client):
        client.search(index="i", body={"size": 0})
        return notes[:], type(raw(client).transport).__name__

    any_pair.same(call, server, before=notes.clear, transport_class=transport_class)


@pytest.mark.row("subclasses of the connection")
def test_subclasses_of_the_connection(any_pair, server):
    server.answer = (404, {"content-type": "text/plain"}, b"no")

    @contextmanager
    def make(base, **options):
        class Own(base):
            told = ()

            def log_request_fail(self, method, full_url, path, body, duration, status_code=None, *rest, **more):
                self.told += ((method, path, body, status_code),)

            def _raise_error(self, status_code, raw_data, content_type=None):
                raise opensearchpy.ConflictError(409, f"{status_code} {raw_data} {self.told}", {})

        Own.__name__ = base.__name__
        with any_pair.client(Own, **options, **any_pair.signing(base)) as client:
            yield client

    theirs, _ = any_pair.same(lambda client: client.get(index="i", id="1"), server, make=make, hosts=server.url)
    assert theirs.error["type"] == "ConflictError"
