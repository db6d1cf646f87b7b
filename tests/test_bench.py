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
        assert {"awscrt", "requests-aws4auth", "ours (python)"} <= set(signers)


@pytest.mark.parametrize("row", ["ours (python)", "awscrt"])
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
    assert sign.problems({}, {case: {row: results}}, judged=True) == [f"WRONG: {row}, {case}"]


def test_a_signature_faster_than_its_hashing_is_seen(sign):
    def result(us):
        return {"cpu_us": {"min": us, "median": us}, "correct": "yes"}

    cases = {sign.MAIN: {"ours (python)": result(0.79), "ours (cython)": result(0.81), "sha floor": result(1.0)}}
    (problem,) = sign.problems(cases, {}, judged=True)
    assert problem.startswith("ERROR: ours (python)")
    assert sign.problems(cases, {}, judged=False) == []
    large = {sign.LARGE: {"ours (python)": result(0.28), "hashlib alone": result(1.0), "sha floor": result(0.3)}}
    assert "hashlib alone" in sign.problems(large, {}, judged=True)[0]


def test_what_cannot_be_is_not_reached(sign):
    assert [sign.reached(ratio, 1.03, 1.0) for ratio in (0.28, 1.004, 1.02, 1.035)] == [
        "IMPOSSIBLE",
        "aim",
        "target",
        "missed",
    ]
    assert [sign.reached(ratio, 35, 50) for ratio in (None, 34.9, 35, 50)] == [
        "not measured",
        "missed",
        "target",
        "aim",
    ]


def test_wall_time_of_a_busy_machine_is_named(sign):
    def result(wall_us):
        return {"wall_us": {"min": wall_us}, "cpu_us": {"min": 3.0}}

    assert sign.harness.busy({"a": result(3.1), "b": result(11.0)}) == ["b"]


def test_the_blocks_of_a_message(sign):
    assert [sign.sha256_blocks(length) for length in (0, 55, 56, 64, 119, 120)] == [1, 1, 2, 2, 2, 3]
