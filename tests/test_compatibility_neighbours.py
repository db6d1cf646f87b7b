"""Compatibility with opensearch-py: what programs around it do with clients, connections, auth objects and settings."""

import copy
import json
import multiprocessing
import pickle
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import opensearchpy
import pytest
from opensearchpy.connection.connections import connections

import opensearch_sigv4
from opensearch_sigv4 import SigV4HttpConnection, connect, connect_async
from oracles import REGION
from sides import Apart, credentials, raw
from test_compatibility_dsl import accepted
from transports import Driven

AUTHS = ["Urllib3AWSV4SignerAuth", "RequestsAWSV4SignerAuth", "AWSV4SignerAuth", "AWSV4SignerAsyncAuth"]
SIDES = [opensearchpy, opensearch_sigv4]


@pytest.fixture
def pair(signed_pair):
    return accepted(signed_pair)


# --- LangChain ---------------------------------------------------------------------------------------------------


def is_serverless(http_auth):
    """As LangChain, mem0 and Langflow find out."""
    return http_auth is not None and hasattr(http_auth, "service") and http_auth.service == "aoss"


@pytest.mark.row("`http_auth.service` (LangChain)")
@pytest.mark.parametrize("name", AUTHS)
@pytest.mark.parametrize("service", ["es", "aoss"])
def test_the_service_of_an_auth_object(name, service):
    for side in SIDES:
        assert is_serverless(getattr(side, name)(credentials(), REGION, service)) is (service == "aoss")
        assert not is_serverless(getattr(side, name)(credentials(), REGION))


@pytest.mark.row("`http_auth.service` (LangChain)")
@pytest.mark.parametrize("name", AUTHS)
def test_an_auth_object_for_two_clients(local_domain, name):
    """LangChain makes a synchronous and an asynchronous client of the same arguments."""
    http_auth = getattr(opensearch_sigv4, name)(local_domain.credentials, REGION)
    with opensearchpy.OpenSearch(
        local_domain.url, http_auth=http_auth, connection_class=SigV4HttpConnection
    ) as client:
        client.info()
    opensearchpy.AsyncOpenSearch(
        local_domain.url, http_auth=http_auth, connection_class=opensearch_sigv4.AsyncSigV4HttpConnection
    )
    assert (local_domain.verified, local_domain.refused) == (1, 0)


# --- copies ------------------------------------------------------------------------------------------------------


@contextmanager
def closing(pair, client):
    try:
        yield client
    finally:
        closed = raw(client).close()
        if isinstance(client, Driven):
            pair._run(closed)


def copied_client(pair, client, how):
    twin = how(raw(client))
    driven = Driven(twin, pair._run) if isinstance(client, Driven) else twin
    with closing(pair, driven):
        return driven.info()["version"]["number"], client.info()["version"]["number"]


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing))}
# urllib3's pools hold locks, and so do aiohttp's loops: opensearch-py's clients have never been for that.
