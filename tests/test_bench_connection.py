"""bench/connection.py runs, all its rows are correct, and it would tell if one were not. No time is asserted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.credentials import Credentials

from opensearch_sigv4 import SigV4Signer

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def connection(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("connection")
    for name in ("connection", "sign", "harness"):
        sys.modules.pop(name, None)


def test_every_row_is_correct(tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, BENCH / "connection.py", "--quick", "--rounds", "1", "--json", output]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    results = json.loads(output.read_text(encoding="utf-8"))
    assert results["problems"] == []
    assert list(results["schemes"]) == ["http", "https"]
    for rows in results["schemes"].values():
        assert len(rows) >= 12
        assert {result["correct"] for result in rows.values()} == {"yes"}


def received(connection, row, body, *, signed):
    target = connection.target_of(row, "http")
    headers = {"Host": "127.0.0.1:1"}
    if signed:
        signer = SigV4Signer(Credentials(connection.ACCESS_KEY, connection.SECRET_KEY, connection.TOKEN), "us-east-1")
        headers |= signer.sign("POST", f"http://127.0.0.1:1{target}", body)
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def test_a_wrong_request_is_seen(connection):
    signed, unsigned = connection.PYTHON, connection.URLOPEN
    good = received(connection, signed, b"{}", signed=True)
    assert connection.correct(signed, "http", good, b"{}")
    assert not connection.correct(signed, "http", good, b"[]")
    assert not connection.correct(signed, "https", good, b"{}")
    assert not connection.correct(signed, "http", good.replace(b"x-amz-date", b"x-amz-dat3"), b"{}")
    assert not connection.correct(signed, "http", received(connection, signed, b"{}", signed=False), b"{}")
    assert connection.correct(unsigned, "http", received(connection, unsigned, b"{}", signed=False), b"{}")
    assert not connection.correct(unsigned, "http", received(connection, unsigned, b"{}", signed=True), b"{}")


def test_the_sizes_are_as_said(connection):
    assert len(connection.BODY % 5) == 1024
    assert len(connection.ANSWER) == 300
    json.loads(connection.ANSWER)
