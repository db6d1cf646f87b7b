"""The examples: every docstring's, and every Python block of README, run as they stand."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import opensearch_sigv4

README = Path(__file__).resolve().parents[1] / "README.md"
MODULES = [
    module.name
    for module in pkgutil.walk_packages(opensearch_sigv4.__path__, "opensearch_sigv4.")
    if not module.name.endswith("__main__")
]
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def credentials_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    config = tmp_path / "config"
    config.write_text(
        "[profile base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = EXAMPLEKEY\n"
        "[profile search-writer]\nrole_arn = arn:aws:iam::123456789012:role/writer\nsource_profile = base\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_the_public_names_have_examples():
    for name in set(opensearch_sigv4.__all__) - {"AWSV4SignerAuth", "Explanation", "backend"}:
        assert ">>>" in getattr(opensearch_sigv4, name).__doc__


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[-1][:40])
def test_readme(block, request):
    namespace = {}
    exec(compile(block, "README.md", "exec"), namespace)
    for name, value in namespace.items():
        if name.startswith("test_"):
            value(request.getfixturevalue("local_domain"))
    if "client" in namespace:
        namespace["client"].close()
