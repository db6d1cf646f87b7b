"""pytest's plugin in a neighbour's own run: `-p neighbours.plugin`, with what run.py puts into the environment.

The run fails if nothing of what the adapter counts was seen, or if the domain refused anything.
"""

import os
from importlib import import_module

import pytest

from opensearch_sigv4.testing import LocalDomain

ADAPTER = import_module(f"neighbours.{os.environ['NEIGHBOUR']}")
MODE = os.environ["NEIGHBOUR_MODE"]
SIGNED = MODE != "theirs" and ADAPTER.IS_SIGNED
DOMAIN = LocalDomain(upstream=os.environ["OPENSEARCH_URL"], keep=10_000)
SEEN = {}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    """Before the suite's own conftest, so that it imports what is installed here."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ[name] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    if SIGNED:
        DOMAIN.start()
    ADAPTER.install(MODE, DOMAIN, SEEN)


def pytest_collection_modifyitems(items):
    lists = (ADAPTER.EXPECTED, ADAPTER.OF_OURS.get(MODE, {}))
    left = {test: reason for expected in lists for reason, tests in expected.items() for test in tests}
    for item in items:
        reason = left.pop(item.nodeid, None)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if left:
        raise pytest.UsageError(f"expected to fail, but not there: {', '.join(left)}")


def pytest_sessionfinish(session):
    if SIGNED:
        DOMAIN.close()
        SEEN["requests verified"] = DOMAIN.verified
    if (not all(SEEN.values()) or DOMAIN.refused) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for request in DOMAIN.requests:
        if request.verdict != "verified":
            terminalreporter.write_line(f"refused: {request.reason}: {request!r}")
    seen = [f"{number} {what}" for what, number in SEEN.items()]
    terminalreporter.write_line(f"neighbours: {', '.join(seen)}; {DOMAIN.refused} refused")
