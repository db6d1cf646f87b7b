"""pytest's plugin in a neighbour's own run: `-p neighbours.plugin`, with what run.py puts into the environment.

Beyond its tests a run fails if nothing of what is counted was seen, or if the domain refused a request; but for one
without a signature, in a mode in which the suite is known to send such.
"""

import os
from importlib import import_module

import pytest

from opensearch_sigv4.testing import LocalDomain

ADAPTER = import_module(f"neighbours.{os.environ['NEIGHBOUR']}")
MODE = os.environ["NEIGHBOUR_MODE"]
IS_SIGNED = MODE in ADAPTER.SIGNED
DOMAIN = LocalDomain(upstream=ADAPTER.upstream() if IS_SIGNED else None, keep=100_000)
SEEN = {}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    """Before the suite's own conftest, so that it imports what is installed here."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ[name] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    if IS_SIGNED:
        DOMAIN.start()
    ADAPTER.install(MODE, DOMAIN, SEEN)


def pytest_collection_modifyitems(items):
    lists = (ADAPTER.EXPECTED, ADAPTER.IN_MODE.get(MODE, {}))
    left = {test: reason for expected in lists for reason, tests in expected.items() for test in tests}
    for item in items:
        reason = left.pop(item.nodeid, None)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if left:
        raise pytest.UsageError(f"expected to fail, but not there: {', '.join(left)}")


def refused():
    """What the domain should not have refused."""
    requests = [request for request in DOMAIN.requests if request.verdict != "verified"]
    if MODE not in ADAPTER.SENDS_UNSIGNED:
        return requests
    return [
        request
        for request in requests
        if any(name.lower() == b"authorization" and value.startswith(b"AWS4-") for name, value in request.headers)
    ]


def pytest_sessionfinish(session):
    if IS_SIGNED:
        DOMAIN.close()
        SEEN["requests verified"] = DOMAIN.verified
    if (not all(SEEN.values()) or refused()) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for request in refused():
        terminalreporter.write_line(f"refused: {request.reason}: {request!r}")
    seen = [f"{number} {what}" for what, number in SEEN.items()]
    terminalreporter.write_line(f"neighbours: {', '.join(seen) or 'nothing of ours'}; {DOMAIN.refused} refused")
