"""The pytest plugin: a fixture that costs nothing until it is used."""

import subprocess
import sys
import threading
from importlib.metadata import entry_points

from opensearch_sigv4.testing import LocalDomain

TESTS = """
import threading
import urllib.error
import urllib.request

seen = []

def test_one(local_domain):
    try:
        urllib.request.urlopen(local_domain.url)
    except urllib.error.HTTPError as error:
        assert error.code == 403
        error.close()
    assert local_domain.refused == 1
    seen.append(local_domain)

def test_another_is_fresh_and_the_first_is_closed(local_domain):
    assert local_domain not in seen
    assert local_domain.refused == 0
    assert [thread.name for thread in threading.enumerate()].count("LocalDomain") == 1

def test_closed():
    assert [thread.name for thread in threading.enumerate()].count("LocalDomain") == 0
"""


def test_the_fixture(local_domain):
    assert isinstance(local_domain, LocalDomain)
    assert local_domain.url.startswith("http://127.0.0.1:")
    assert (local_domain.verified, local_domain.refused, local_domain.requests) == (0, 0, ())
    assert any(thread.name == "LocalDomain" for thread in threading.enumerate())


def test_the_entry_point():
    (plugin,) = entry_points(group="pytest11", name="opensearch_sigv4")
    assert plugin.value == "opensearch_sigv4.testing.plugin"


def test_importing_the_plugin_imports_only_pytest():
    code = (
        "import sys, pytest; before = set(sys.modules); import opensearch_sigv4.testing.plugin\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('opensearch_sigv4')))\n"
        "print(sorted(name for name in sys.modules if name.startswith('opensearch_sigv4')))\n"
        "print([m for m in ('aiohttp', 'awscrt', 'botocore', 'opensearchpy', 'trustme') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "[]",
        "['opensearch_sigv4', 'opensearch_sigv4.testing', 'opensearch_sigv4.testing.plugin']",
        "[]",
    ]


def test_in_a_suite_of_its_own(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_missing_extra_is_one_line(tmp_path):
    (tmp_path / "conftest.py").write_text("import sys\n\nsys.modules['aiohttp'] = None\n")
    (tmp_path / "test_it.py").write_text("def test_one(local_domain):\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "LocalDomain needs aiohttp: pip install 'opensearch-sigv4[testing]'" in done.stdout.splitlines()
    assert "domain.py" not in done.stdout
