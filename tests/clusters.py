"""What the tests of Spark and of Dask share: the documents that they load."""

import gzip
import json
import os
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
