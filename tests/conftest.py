"""Fixtures and settings for all tests. Nothing here reaches beyond loopback or reads the machine's AWS settings."""

import os
import platform
from collections import Counter
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path

import pytest
from hypothesis import settings

from judge import Judge
from opensearch_sigv4 import _signing, backend, credentials
from oracles import SESSION_KEY, TOKEN
from real_node import NoNode, OwnNode, find_node
from recorder import recorder

# How many examples a property gets. CI sets it; the properties of both twins get it twice.
EXAMPLES = int(os.environ.get("OPENSEARCH_SIGV4_EXAMPLES") or 500)
settings.register_profile("this", deadline=None, max_examples=EXAMPLES)
settings.load_profile("this")

VECTORS = Path(os.environ.get("OPENSEARCH_SIGV4_VECTORS") or Path(__file__).resolve().parents[2] / "shared" / "vectors")
# CI asks for the extension where it must have been built: its absence is a failure then, and not a skip.
EXTENSION_REQUIRED = os.environ.get("OPENSEARCH_SIGV4_EXTENSIONS") == "require"
NODE_REQUIRED = os.environ.get("OPENSEARCH_SIGV4_NODE") == "require"  # the same, for a real OpenSearch
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "debian-packages.ndjson.gz"


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also run what takes long (.ci/full does)")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes long: pytest --full runs it"))


RAN_ON_NODE = pytest.StashKey[Counter[str]]()


def pytest_runtest_makereport(item, call):
    if call.when == "call" and call.excinfo is None:
        for node in {item.funcargs[name] for name in ("real_node", "own_node") if name in item.funcargs}:
            item.config.stash.setdefault(RAN_ON_NODE, Counter())[str(node)] += 1


def pytest_terminal_summary(terminalreporter, config):
    versions = [f"{name} {metadata.version(name)}" for name in ("opensearch-py", "urllib3", "botocore")]
    terminalreporter.write_line(f"Python {platform.python_version()}, {', '.join(versions)}, the {backend} core")
    for node, count in config.stash.get(RAN_ON_NODE, {}).items():
        terminalreporter.write_line(f"{node}: {count} tests passed on it")


class Twin:
    """`core` as it would be on one of the twins: what that one does not define is the Python twin's."""

    def __init__(self, name):
        self.name = name
        self._modules = [
            import_module(f"opensearch_sigv4.core._{module}") for module in dict.fromkeys([name, "python"])
        ]

    def __getattr__(self, name):
        for module in self._modules:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)


def twin(name):
    try:
        return Twin(name)
    except ModuleNotFoundError:
        if EXTENSION_REQUIRED:
            raise
        pytest.skip("the extension is not built here (no compiler, or OPENSEARCH_SIGV4_EXTENSIONS=no)")


@pytest.fixture(scope="session", params=["cython", "python"])
def core(request):
    """The signing core, one twin after the other, whichever `opensearch_sigv4` itself uses."""
    return twin(request.param)


@pytest.fixture(scope="module")
def running_judge():
    with Judge() as judge:
        yield judge


@pytest.fixture
def judge(running_judge):
    """A `_bulk` server that imports nothing of the library, empty."""
    running_judge.reset()
    return running_judge


@pytest.fixture(scope="module")
def running_domain(running_judge):
    from opensearch_sigv4.testing import LocalDomain

    with LocalDomain(upstream=running_judge.url) as domain:
        yield domain


@pytest.fixture
def domain(running_domain, judge):
    """A LocalDomain in front of the judge, with nothing received so far; at the end nothing was refused."""
    running_domain.reset()
    yield running_domain
    running_domain.faults = None
    assert running_domain.refused == 0


@pytest.fixture
def server():
    """A `recorder.Recorder` on loopback."""
    with recorder() as server:
        yield server


@contextmanager
def _running(make, *arguments, **settings):
    try:
        node = make(*arguments, **settings)
    except NoNode as why:
        if NODE_REQUIRED:
            raise
        pytest.skip(f"no real OpenSearch here: {why}")
    with node:
        yield node


@pytest.fixture(scope="session")
def real_node():
    """A real OpenSearch. It may hold what is not ours: tests keep to indices of their own, and delete these."""
    with _running(find_node) as node:
        yield node


@pytest.fixture(scope="module")
def own_node():
    """A real OpenSearch that a test may end and start again; it writes with one thread, and lets one request wait."""
    with _running(OwnNode, thread_pool__write__size=1, thread_pool__write__queue_size=1) as node:
        yield node


@pytest.fixture(scope="session")
def real_domain_of_session(real_node):
    from opensearch_sigv4.testing import LocalDomain

    with LocalDomain(upstream=real_node.url) as domain:
        domain.add_credentials(SESSION_KEY, domain.credentials.secret_key, TOKEN)
        yield domain


@pytest.fixture
def real_domain(real_domain_of_session):
    """A LocalDomain in front of a real OpenSearch, with nothing received so far; at the end nothing was refused."""
    real_domain_of_session.reset()
    yield real_domain_of_session
    assert real_domain_of_session.refused == 0


@pytest.fixture(autouse=True)
def _no_aws_settings(monkeypatch, tmp_path_factory):
    """No credentials, region or profile from the environment, AWS's files, or the instance's metadata."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    nowhere = tmp_path_factory.getbasetemp() / "no-such-file"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The default chain's source lives as long as the process: each test gets its own.
    monkeypatch.setattr(credentials, "_defaults", {})


@pytest.fixture(autouse=True)
def _no_clock_is_known():
    """A server's time is remembered for its host and port, which the next server may be given."""
    _signing._clock_offsets.clear()


@contextmanager
def _pair(request):
    from sides import pair

    over, *unsigned = request.param.split()
    with pair(over, signed=not unsigned) as found:
        yield found


@pytest.fixture(params=["urllib3", "aiohttp"])
def signed_pair(request):
    """A `sides.Pair` of clients that sign."""
    with _pair(request) as found:
        yield found


@pytest.fixture(params=["urllib3 unsigned", "aiohttp unsigned"])
def unsigned_pair(request):
    """A `sides.Pair` of clients that do not."""
    with _pair(request) as found:
        yield found


@pytest.fixture(params=["urllib3", "urllib3 unsigned", "aiohttp", "aiohttp unsigned"])
def any_pair(request):
    """A `sides.Pair` of either."""
    with _pair(request) as found:
        yield found
