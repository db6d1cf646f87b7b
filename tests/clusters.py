"""What the tests of Spark and of Dask share: the documents that they load."""

import gzip
import json
import os
import re
from pathlib import Path

SHARED = Path(__file__).parent.parent.parent / "shared/data/debian-packages.ndjson.gz"


def documents():
    """20,000 documents: Debian's packages, where shared/ is; else some that are made up."""
    if SHARED.exists():
        with gzip.open(SHARED) as lines:
            return [json.loads(line) for line in lines]
    return [
        {
            "package": f"package-{n}",
            "version": f"1.{n}-1",
            "size_bytes": n,
            "tags": [f"tag-{n % 7}"],
            "summary": "x" * 300,
        }
        for n in range(20_000)
    ]


def set_environment(variables):
    """For another process to run."""
    os.environ.update(variables)


def from_readme(name, **replacements):
    """A function of README's, with other words in place of some that stand there."""
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if f"def {name}(" in block]
    for word, replacement in replacements.items():
        assert word in block
        block = block.replace(word, replacement)
    namespace = {}
    exec(compile(block, "README.md", "exec"), namespace)
    return namespace[name]
