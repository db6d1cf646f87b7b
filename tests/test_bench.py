"""bench/sign.py runs, all its rows sign correctly, and it would tell if one did not. No time is asserted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.credentials import Snapshot

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def sign(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("sign")
    for name in ("sign", "harness"):
        sys.modules.pop(name, None)


def test_every_row_is_correct(tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, BENCH / "sign.py", "--quick", "--rounds", "1", "--json", output]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    results = json.loads(output.read_text(encoding="utf-8"))
    assert results["problems"] == []
    tables = [case["rows"] for case in results["cases"].values()] + list(results["threads"].values())
    assert len(tables) == 11
    for rows in tables:
        signers = {row: result["correct"] for row, result in rows.items() if row not in ("hashlib alone", "sha floor")}
        assert set(signers.values()) == {"yes"}
        assert {"awscrt, static credentials", "requests-aws4auth", "ours (python)"} <= set(signers)


@pytest.mark.parametrize("row", ["ours (python)", "awscrt, static credentials"])
def test_a_wrong_signature_is_seen(sign, row):
    case, number = sign.Case(100), 7
    signer = SigV4Signer(Snapshot(sign.ACCESS_KEY, sign.SECRET_KEY, sign.TOKEN), sign.REGION)
    signed = signer.sign(*sign.request(case, number)[:3], sign.HEADERS)
    assert sign.correct(row, case, number, signed)
    assert not sign.correct(row, case, number + 1, signed)
    assert not sign.correct(row, sign.Case(100, token=False), number, signed)
    for name, value in signed.items():
        assert not sign.correct(row, case, number, {**signed, name: value[:-2] + ("0Z" if value[-2] != "0" else "1Z")})
    results = {"correct": sign.verdict(row, case, [(number, signed), (number + 1, signed)])}
    assert sign.problems({}, {case: {row: results}}, timed=True) == [f"WRONG: {row}, {case}"]


def test_a_signature_faster_than_its_hashing_is_seen(sign):
    def result(us):
        return {"wall_us": {"min": us, "median": us}, "correct": "yes"}

    cases = {sign.MAIN: {"ours (python)": result(0.89), "ours (cython)": result(0.91), "sha floor": result(1.0)}}
    (problem,) = sign.problems(cases, {}, timed=True)
    assert problem.startswith("ERROR: ours (python)")
    assert sign.problems(cases, {}, timed=False) == []


def test_the_blocks_of_a_message(sign):
    assert [sign.sha256_blocks(length) for length in (0, 55, 56, 64, 119, 120)] == [1, 1, 2, 2, 2, 3]
