"""README's table of compatibility: each row has a test, and each feature that has one has a row."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"


def rows():
    section = README.read_text(encoding="utf-8").split("\n## Compatibility with opensearch-py\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def marks():
    """What the tests are marked with, of `pytest.mark.row(...)`."""
    for file in TESTS.glob("test_compatibility_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "row":
                yield from (argument.value for argument in node.args)


def test_each_row_has_a_test_and_each_feature_a_row():
    features = [row[0] for row in rows()]
    assert len(features) == len(set(features))
    assert set(features) == set(marks())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_says_what_each_side_does(row):
    assert len(row) == 4
    assert all(row[:3])
