"""bench/cluster.py runs, and all its rows are correct. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.mark.full
def test_every_row_is_correct(tmp_path):
    pytest.importorskip("pyspark", reason="needs the extra spark")
    pytest.importorskip("distributed", reason="needs the extra dask")
    output = tmp_path / "results.json"
    command = [sys.executable, BENCH / "cluster.py", "--quick", "--json", output]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    results = json.loads(output.read_text(encoding="utf-8"))
    assert results["problems"] == []
    rows = [row for engines in results["encodings"].values() for engine in engines.values() for row in engine.values()]
    assert [row["correct"] for row in rows] == ["yes"] * 12
