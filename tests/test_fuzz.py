"""The fuzz targets, for a moment: .ci/full runs them with a fuzzer behind, and they are not to rot meanwhile."""

import random
from importlib import import_module
from itertools import islice
from pathlib import Path

import pytest

from conftest import twin

FUZZ = Path(__file__).with_name("fuzz")
MUTATIONS = 60


@pytest.fixture(params=sorted(path.stem for path in FUZZ.glob("fuzz_*.py")))
def target(request, monkeypatch):
    twin("cython")  # to which most compare the other one
    monkeypatch.syspath_prepend(FUZZ)
    return import_module(request.param)


def mutations(seeds):
    """Seeds with bytes changed, taken out, and put in from other seeds: the same ones in every run."""
    chance = random.Random(1)
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(data) + 1)
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            piece = chance.choice((b"", chance.randbytes(1), other[start : start + chance.randrange(20)]))
            data[at : at + chance.randrange(9)] = piece
        yield bytes(data)


def test_a_target_holds(target):
    seeds = list(target.seeds())
    for data in (b"", *seeds, *islice(mutations(seeds), MUTATIONS)):
        target.check(data)


def test_every_target_is_run_in_full():
    full = (FUZZ.parents[1] / ".ci" / "full").read_text()
    assert all(f" {path.stem.removeprefix('fuzz_')}" in full for path in FUZZ.glob("fuzz_*.py"))
