"""Compatibility with opensearch-py: what programs around it do with clients, connections, auth objects and settings."""

import asyncio
import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from urllib.parse import urlsplit

import opensearchpy
import pytest
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.connection.async_connections import AsyncConnections
from opensearchpy.connection.connections import Connections

import opensearch_sigv4
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4HttpConnection, connect, connect_async
from oracles import REGION, SESSION_KEY, TOKEN
from sides import credentials, raw
from sides import pair as side_by_side
from test_compatibility_dsl import accepted

AUTHS = ["Urllib3AWSV4SignerAuth", "RequestsAWSV4SignerAuth", "AWSV4SignerAuth", "AWSV4SignerAsyncAuth"]
SIDES = [opensearchpy, opensearch_sigv4]


@pytest.fixture
def pair(signed_pair):
    return accepted(signed_pair)


def do(pair, result):
    return pair._run(result) if asyncio.iscoroutine(result) else result


# --- LangChain ---------------------------------------------------------------------------------------------------


def is_serverless(http_auth):
    """As LangChain, mem0 and Langflow find out."""
    return http_auth is not None and hasattr(http_auth, "service") and http_auth.service == "aoss"


@pytest.mark.row("`http_auth.service` (LangChain)")
@pytest.mark.parametrize("name", AUTHS)
def test_the_service_of_an_auth_object(name):
    theirs, ours = (getattr(side, name)(credentials(), REGION, "aoss") for side in SIDES)
    assert is_serverless(ours)
    assert is_serverless(theirs) is hasattr(theirs, "service")  # opensearch-py 3's asynchronous one has none
    assert hasattr(theirs, "service") or name == "AWSV4SignerAsyncAuth"
    assert not any(is_serverless(getattr(side, name)(credentials(), REGION)) for side in SIDES)


@pytest.fixture
def domain(local_domain):
    """One that knows the session of `sides.credentials`."""
    local_domain.add_credentials(SESSION_KEY, local_domain.credentials.secret_key, TOKEN)
    return local_domain


@pytest.mark.row("`http_auth.service` (LangChain)")
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.__name__)
@pytest.mark.parametrize("name", AUTHS)
def test_an_auth_object_for_two_clients(domain, side, name):
    """LangChain makes a synchronous and an asynchronous client of the same arguments."""
    http_auth = getattr(side, name)(credentials(), REGION)
    with OpenSearch(domain.url, http_auth=http_auth, connection_class=SigV4HttpConnection) as client:
        client.info()

    async def info():
        options = {"http_auth": http_auth, "connection_class": AsyncSigV4HttpConnection}
        async with AsyncOpenSearch(domain.url, **options) as client:
            await client.info()

    asyncio.run(info())
    assert (domain.verified, domain.refused) == (2, 0)


# --- copies ------------------------------------------------------------------------------------------------------

COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing))}
FAILS = "TypeError", "AttributeError", "PicklingError"  # of what holds a lock, a lambda or a loop, by Python's version


def of_each(pair, thing, how, use):
    """What `use` has of a copy that is then closed."""
    twin = COPIES[how](raw(thing))
    try:
        return type(raw(thing)) is type(twin), do(pair, use(twin))
    finally:
        do(pair, twin.close())


@pytest.mark.row("`copy`, `deepcopy`, `pickle` of clients and connections")
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
# What deepcopy leaves of an event loop, on both sides, when it fails.
@pytest.mark.filterwarnings("ignore:Exception ignored in. .function BaseEventLoop.__del__")
def test_copies_of_clients(pair, domain, how, used):
    def call(client):
        if used:
            client.info()
        return of_each(pair, client, how, lambda twin: twin.info())

    theirs, _ = pair.same(call, domain)
    assert theirs.error["type"] in FAILS if theirs.error else theirs.value[0]


@pytest.mark.row("`copy`, `deepcopy`, `pickle` of clients and connections")
@pytest.mark.parametrize("how", COPIES)
def test_copies_of_connections(pair, domain, how):
    address = urlsplit(domain.url)

    def call(connection):
        return of_each(pair, connection, how, lambda twin: twin.perform_request("GET", "/_cluster/health"))[0]

    theirs, _ = pair.same(call, domain, make=pair.connection, host=address.hostname, port=address.port)
    assert theirs.error["type"] in FAILS if theirs.error else theirs.value


@pytest.mark.row("`copy`, `deepcopy`, `pickle` of auth objects")
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", AUTHS)
def test_copies_of_auth_objects(domain, name, how):
    for side in SIDES:
        auth = COPIES[how](getattr(side, name)(credentials(), REGION, "es"))
        assert type(auth) is getattr(side, name)
        with OpenSearch(domain.url, http_auth=auth, connection_class=SigV4HttpConnection) as client:
            client.info()
    assert (domain.verified, domain.refused) == (2, 0)


# --- settings ----------------------------------------------------------------------------------------------------


def settings_of(pair, connection_class, domain):
    """As django-opensearch-dsl passes them to `connections.configure`."""
    return {"default": {"hosts": domain.url, "connection_class": connection_class, **pair.signing(connection_class)}}


def count_by(settings):
    """In this process or another: what a program does with its settings."""
    if issubclass(settings["default"]["connection_class"], opensearchpy.AsyncHttpConnection):
        return asyncio.run(_count_by(settings))
    configured = Connections()
    configured.configure(**settings)
    with configured.get_connection() as client:
        return client.count(index="_all")["count"]


async def _count_by(settings):
    configured = AsyncConnections()
    await configured.configure(**settings)
    async with await configured.get_connection() as client:
        return (await client.count(index="_all"))["count"]


@contextmanager
def nothing(connection_class):
    yield connection_class


@pytest.mark.row("settings as dicts, copied and pickled (Django)")
@pytest.mark.parametrize("how", COPIES)
def test_copies_of_settings(pair, domain, how):
    def call(connection_class):
        return count_by(COPIES[how](settings_of(pair, connection_class, domain)))

    theirs, _ = pair.same(call, domain, make=nothing)
    assert theirs.value == 0


@pytest.mark.row("settings as dicts, copied and pickled (Django)")
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.__name__)
@pytest.mark.parametrize("how", COPIES)
def test_settings_with_an_auth_object(domain, side, how):
    """Only the connection class was changed, or the import of the auth object, too."""
    for connection_class, name in (
        (SigV4HttpConnection, "Urllib3AWSV4SignerAuth"),
        (AsyncSigV4HttpConnection, "AWSV4SignerAsyncAuth"),
    ):
        http_auth = getattr(side, name)(credentials(), REGION)
        default = {"hosts": domain.url, "connection_class": connection_class, "http_auth": http_auth}
        assert count_by(COPIES[how]({"default": default})) == 0
    assert (domain.verified, domain.refused) == (2, 0)


@pytest.mark.row("`multiprocessing`, spawned")
def test_spawned(domain):
    settings = []
    for over in ("urllib3", "aiohttp"):
        with side_by_side(over, signed=True) as found:
            accepted(found)
            settings += [settings_of(found, side, domain) for side in (found.theirs, found.ours)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(count_by, settings)) == [0] * 4
    assert (domain.verified, domain.refused) == (4, 0)


def imported(path):
    """As Django's `import_string`, and whatever else takes a class by its dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.row("classes by their dotted path (Django's `import_string`)")
@pytest.mark.parametrize(
    "path",
    [
        *("opensearchpy.Urllib3HttpConnection", "opensearchpy.AsyncHttpConnection"),
        *("opensearch_sigv4.SigV4HttpConnection", "opensearch_sigv4.AsyncSigV4HttpConnection"),
        *(f"{side.__name__}.{name}" for side in SIDES for name in AUTHS),
    ],
)
def test_dotted_paths(path):
    found = imported(path)
    assert found.__name__ == path.rpartition(".")[2]
    assert imported(f"{found.__module__}.{found.__qualname__}") is found
    assert pickle.loads(pickle.dumps(found)) is found


@pytest.mark.row("`functools.partial(OpenSearch, ...)`")
@pytest.mark.parametrize("how", COPIES)
def test_partial(pair, domain, how):
    def call(connection_class):
        kind = OpenSearch if pair.over == "urllib3" else AsyncOpenSearch
        make = partial(kind, connection_class=connection_class, **pair.signing(connection_class))
        client = COPIES[how](make)(domain.url)
        try:
            return do(pair, client.cluster.health())["status"]
        finally:
            do(pair, client.close())

    theirs, _ = pair.same(call, domain, make=nothing)
    assert theirs.value == "green"


@pytest.mark.row("`functools.partial(OpenSearch, ...)`")
@pytest.mark.parametrize("how", COPIES)
def test_partial_of_connect(pair, domain, how):
    make = partial(connect if pair.over == "urllib3" else connect_async, region=REGION, credentials=credentials())
    client = COPIES[how](make)(domain.url)
    assert do(pair, client.cluster.health())["status"] == "green"
    do(pair, client.close())
    assert (domain.verified, domain.refused) == (1, 0)


# --- subclasses --------------------------------------------------------------------------------------------------


def subclass(parent):
    """What programs change: arguments, headers, a hook of the log, and the request with its answer."""

    class Own(parent):
        def __init__(self, *args, tenant="none", **kwargs):
            super().__init__(*args, **kwargs)
            self.headers["x-tenant"] = tenant
            self.seen = []

        def log_request_success(self, method, full_url, path, body, status_code, response, duration):
            self.seen.append((method, path, body, status_code))
            super().log_request_success(method, full_url, path, body, status_code, response, duration)

        def log_request_fail(self, method, full_url, path, body, duration, status_code=None, *args, **kwargs):
            self.seen.append((method, path, body, status_code))
            super().log_request_fail(method, full_url, path, body, duration, status_code, *args, **kwargs)

    class OwnSync(Own):
        def perform_request(self, method, url, *args, **kwargs):
            return self._marked(super().perform_request(method, f"/_cluster{url}", *args, **kwargs))

        def _marked(self, answer):
            status, headers, data = answer
            return status, headers, f'{{"tenant": "ours", "of": {data}}}'

    class OwnAsync(OwnSync):
        async def perform_request(self, method, url, *args, **kwargs):
            return self._marked(await Own.perform_request(self, method, f"/_cluster{url}", *args, **kwargs))

    return OwnAsync if issubclass(parent, opensearchpy.AsyncHttpConnection) else OwnSync


@pytest.mark.row("subclasses of the connection")
def test_subclass(pair, domain):
    @contextmanager
    def make(connection_class):
        with pair.client(
            subclass(connection_class), domain.url, tenant="mine", **pair.signing(connection_class)
        ) as client:
            yield client

    def call(client):
        answer = client.transport.perform_request("GET", "/health")
        with pytest.raises(opensearchpy.TransportError) as raised:
            client.transport.perform_request("PUT", "/health", body={"a": 1})
        connection = raw(client).transport.connection_pool.connections[0]
        return answer["tenant"], answer["of"]["status"], raised.value.status_code, connection.seen

    theirs, _ = pair.same(call, domain, make=make)
    assert theirs.requests[0]["headers"]["x-tenant"] == "mine"
    assert [seen[3] for seen in theirs.value[3]] == [200, theirs.value[2]]
