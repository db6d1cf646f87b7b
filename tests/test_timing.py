"""The stages of a request, as a hook is told of them."""

import asyncio
import contextvars
import re
import time
from contextlib import contextmanager

import pytest
from opensearchpy import ConnectionError as OpenSearchConnectionError
from opensearchpy import OpenSearch
from opensearchpy.serializer import JSONSerializer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opensearch_sigv4 import SigV4HttpConnection, connect, connect_async, helpers, timing
from opensearch_sigv4.testing import Fault
from test_readme import PYTHON
from transports import Driven

BODY = {"text": "x" * 2000}


@contextmanager
def told():
    """The stages that were told of meanwhile: (stage, start, end)."""
    stages = []

    def hook(stage, start_ns, end_ns):
        stages.append((stage, start_ns, end_ns))

    timing.add_hook(hook)
    try:
        yield stages
    finally:
        timing.remove_hook(hook)


@pytest.fixture(params=["urllib3", "aiohttp"])
def client_of(request):
    with asyncio.Runner() as runner:
        clients = []

        def run(coroutine):
            return runner.run(coroutine, context=contextvars.copy_context())

        def client_of(domain, **options):
            options = {"credentials": domain.credentials, "region": domain.region, "max_retries": 0} | options
            if request.param == "urllib3":
                client = connect(domain.url, **options)
            else:
                client = connect_async(domain.url, **options)
                client = Driven(run(client.__aenter__()), run)
            clients.append(client)
            return client

        yield client_of
        for client in clients:
            client.close()


def names(stages):
    return [stage for stage, _, _ in stages]


@pytest.mark.parametrize(("compress", "size"), [(False, 1), (True, 1), (False, 300_000), (True, 300_000)])
def test_the_stages_of_a_request(client_of, local_domain, compress, size):
    client = client_of(local_domain, http_compress=compress)
    before = time.time_ns()
    with told() as stages:
        client.index(index="logs", id="1", body={"text": "x" * size})
    expected = [stage for stage in timing.STAGES if compress or stage != "gzip"]
    assert names(stages) == expected
    times = [before, *(moment for _, *moments in stages for moment in moments), time.time_ns()]
    assert times == sorted(times)
    client.index(index="logs", id="1", body=BODY)
    assert names(stages) == expected  # and nothing any more
    assert local_domain.refused == 0


def test_a_request_without_a_body_has_no_stages_of_it(client_of, local_domain):
    client = client_of(local_domain)
    with told() as stages:
        client.cat.indices()
    assert names(stages) == ["hash", "sign", "wait", "read"]
    assert local_domain.refused == 0


def test_a_body_whose_hash_the_caller_gives_is_not_hashed(client_of, local_domain):
    client = client_of(local_domain)
    with told() as stages:
        headers = {"x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
        client.transport.perform_request("GET", "/_cat/indices", headers=headers)
    assert names(stages) == ["sign", "wait", "read"]
    assert local_domain.refused == 0


def test_a_request_that_is_repeated(client_of, local_domain):
    left = [Fault.answer(503)]
    local_domain.faults = lambda request: left.pop() if left else None
    client = client_of(local_domain, max_retries=1, http_compress=True)
    with told() as stages:
        client.index(index="logs", id="1", body=BODY)
    assert names(stages) == ["serialise", "gzip", "hash", "sign", "wait", "read", "sign", "wait", "read"]


def test_an_answer_that_breaks_off_is_the_error_that_it_is_without_a_hook(client_of, local_domain):
    local_domain.faults = lambda request: Fault.truncated()
    client = client_of(local_domain)
    with pytest.raises(OpenSearchConnectionError) as without:
        client.cat.indices(format="json")
    with told(), pytest.raises(OpenSearchConnectionError) as caught:
        client.cat.indices(format="json")
    assert type(caught.value.info) is type(without.value.info)
    local_domain.faults = None
    with told():
        client.cat.indices()


def test_the_helpers_tell_of_their_serialisation_without_the_documents_time(client_of, local_domain):
    def documents():
        for number in range(2000):
            if number % 500 == 0:
                time.sleep(0.05)  # of which none is the helper's
            yield {"_index": "logs", "_id": number, "n": number}

    client = client_of(local_domain)
    with told() as stages:
        if isinstance(client, OpenSearch):
            helpers.bulk(client, documents())
        else:
            client._run(helpers.async_bulk(client._target, documents()))
    assert names(stages).count("serialise") >= 2
    spent_ns = sum(end - start for stage, start, end in stages if stage == "serialise")
    assert 0 < spent_ns < 0.2e9  # the documents slept for as long


@pytest.mark.parametrize("at", ["sign", "wait", "read"])
def test_what_a_hook_raises_reaches_the_caller_once(client_of, local_domain, at):
    def hook(stage, *_):
        if stage == at:
            raise ZeroDivisionError

    client = client_of(local_domain, max_retries=3)
    timing.add_hook(hook)
    try:
        with pytest.raises(ZeroDivisionError):
            client.cat.indices()
    finally:
        timing.remove_hook(hook)
    assert local_domain.verified == (at != "sign")
    client.cat.indices()


def test_hooks():
    with pytest.raises(TypeError):
        timing.add_hook(None)
    with pytest.raises(ValueError, match="not in"):
        timing.remove_hook(print)
    with told() as first, told() as second:
        timing.TimedSerializer().dumps({"a": 1})
        timing.TimedSerializer().dumps("text")
    assert names(first) == names(second) == ["serialise"]
    assert timing.watch() is None


def test_a_client_with_opensearch_pys_serializer_is_timed_too(local_domain):
    with OpenSearch(
        local_domain.url,
        connection_class=SigV4HttpConnection,
        region=local_domain.region,
        credentials=local_domain.credentials,
    ) as client:
        assert type(client.transport.serializer) is JSONSerializer
        with told() as stages:
            client.index(index="logs", id="1", body=BODY)
    assert names(stages) == ["hash", "sign", "wait", "read"]


def test_readmes_example_makes_spans_under_the_one_that_is_current(client_of, local_domain):
    [block] = [block for block in PYTHON if "trace_stages" in block]
    namespace = {}
    exec(compile(block, "README.md", "exec"), namespace)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = client_of(local_domain)
    hook = namespace["trace_stages"](provider)
    try:
        with provider.get_tracer("test").start_as_current_span("index") as parent:
            client.index(index="logs", id="1", body=BODY)
    finally:
        timing.remove_hook(hook)
    *stages, outer = exporter.get_finished_spans()
    assert outer.name == "index"
    assert [re.sub("^opensearch ", "", span.name) for span in stages] == ["serialise", "hash", "sign", "wait", "read"]
    assert {span.parent.span_id for span in stages} == {parent.get_span_context().span_id}
    provider.shutdown()
