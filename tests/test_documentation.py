"""The examples of every docstring, run as they stand; tests/test_readme.py has README's."""

import doctest
import importlib
import pkgutil

import pytest

import opensearch_sigv4

MODULES = [
    module.name
    for module in pkgutil.walk_packages(opensearch_sigv4.__path__, "opensearch_sigv4.")
    if not module.name.endswith("__main__")
]


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
    if name.startswith("opensearch_sigv4.integrations."):
        module = pytest.importorskip(name, reason="needs the extras spark and dask", exc_type=ImportError)
    else:
        module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_the_public_names_have_examples():
    for name in set(opensearch_sigv4.__all__) - {"AWSV4SignerAuth", "Explanation", "backend"}:
        assert ">>>" in getattr(opensearch_sigv4, name).__doc__
