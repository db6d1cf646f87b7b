"""pytest's plugin in a neighbour's own run: `-p neighbours.plugin`, with what run.py puts into the environment."""

import os
from importlib import import_module

import pytest

from opensearch_sigv4.testing import LocalDomain

ADAPTER = import_module(f"neighbours.{os.environ['NEIGHBOUR']}")
MODE = os.environ["NEIGHBOUR_MODE"]
DOMAIN = pytest.StashKey[LocalDomain]()


def reasons():
    """Each test that is expected to fail, and why."""
    lists = [ADAPTER.EXPECTED] if MODE == "theirs" else [ADAPTER.EXPECTED, ADAPTER.OF_OURS]
    return {test: reason for expected in lists for reason, tests in expected.items() for test in tests}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """Before the suite's own conftest, so that it imports what is installed here."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ[name] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    node_url = os.environ["OPENSEARCH_URL"]
    domain = None
    if MODE != "theirs":
        domain = early_config.stash[DOMAIN] = LocalDomain(upstream=node_url, keep=1000).start()
    ADAPTER.install(MODE, domain, node_url)


def pytest_collection_modifyitems(items):
    left = reasons()
    for item in items:
        reason = left.pop(item.nodeid, None)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if left:
        raise pytest.UsageError(f"expected to fail, but not there: {', '.join(left)}")


def pytest_sessionfinish(session):
    domain = session.config.stash.get(DOMAIN, None)
    if domain is not None and (domain.verified == 0 or domain.refused > 0) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    domain = config.stash.get(DOMAIN, None)
    if domain is not None:
        terminalreporter.write_line(f"neighbours: {domain.verified} requests verified, {domain.refused} refused")
        for request in domain.requests:
            if request.verdict != "verified":
                terminalreporter.write_line(f"neighbours: {request.verdict}: {request.reason}: {request!r:.300}")


def pytest_unconfigure(config):
    domain = config.stash.get(DOMAIN, None)
    if domain is not None:
        domain.close()
