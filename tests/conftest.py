"""Fixtures and settings for all tests. Nothing here reaches beyond loopback or reads the machine's AWS settings."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=500)
settings.register_profile("ci", deadline=None, max_examples=20_000)
settings.load_profile("ci" if os.environ.get("CI") else "default")

VECTORS = Path(os.environ.get("OPENSEARCH_SIGV4_VECTORS") or Path(__file__).resolve().parents[2] / "shared" / "vectors")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "debian-packages.ndjson.gz"


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
