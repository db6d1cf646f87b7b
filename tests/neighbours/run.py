"""Test suites that we did not write, run over our connections and auth objects, against a real OpenSearch.

    python tests/neighbours/run.py [NEIGHBOUR...]

It needs the packages of `.ci/neighbours.txt`, which are no part of `dev`: `.ci/full neighbours` installs them in an
environment of their own. Nothing here is named test_*, so that pytest by itself collects none of it.

A neighbour is a module beside this one, its adapter. It says where the suite is to be had, how our classes get into it
(by what a user would change: an option, an import), and which tests fail, and why. Each suite runs in several modes,
each in a process of its own:

    theirs    the classes that ours replace, straight to the server
    others    ours in their place; in a mode of SIGNED through a LocalDomain, which refuses what is not signed right

What fails in all modes is listed as EXPECTED, with what is missing here; what fails in one alone in IN_MODE, with why
that is meant, or whose fault it is. Both are strict: whatever else fails, and whatever of them passes, is an error.

The node is one of its own, with the k-NN plugin, never that of OPENSEARCH_URL: the suites change the settings of the
cluster, and leave indices behind.

    module       suite of                 mode        what is tested
    haystack     opensearch-haystack      connections `SigV4HttpConnection`, `AsyncSigV4HttpConnection`, and `helpers`
                                          auth        our auth objects in opensearch-py's connections
                                          callable    our connections, which opensearch-py's auth objects sign for
    langchain    langchain-community      connections `SigV4HttpConnection` with our auth object, and `helpers`
                                          auth        our auth objects in opensearch-py's connection
    logger       opensearch-logger        connections `SigV4HttpConnection`, and `helpers`
    requests_    requests                 auth        `RequestsAWSV4SignerAuth` in every session
                                          verified    the same through a LocalDomain, which refuses redirects
    urllib3_     urllib3                  lean        the connections in `SigV4HttpConnection`'s pool
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from real_node import OwnNode  # noqa: E402

NEIGHBOURS = ("haystack", "langchain", "logger", "requests_", "urllib3_")
# The one k-NN plugin of 2.19 on Maven Central. It comes without the native libraries of faiss and nmslib.
OPENSEARCH, KNN = "2.19.1", "org.opensearch.plugin:opensearch-knn:2.19.1.0"
AT_A_TIME = 1  # they change the settings of the node that they share
TIMEOUT_S = 600
MEMORY = "/dev/shm"  # each test has an index of its own, made and deleted: on a disk that is most of the time


def unpack(distribution, directory):
    """The sdist of the version that is installed; returns its top directory."""
    wanted = f"{distribution}=={version(distribution)}"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-binary", distribution, "-d", directory, wanted], check=True)
    [archive] = directory.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    archive.unlink()
    [top] = directory.iterdir()
    return top


def run(node_url, tops, name, mode):
    """One suite in one mode: its exit status and all of its output."""
    adapter = import_module(f"neighbours.{name}")
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENSEARCH_URL": node_url,
        "NEIGHBOUR": name,
        "NEIGHBOUR_MODE": mode,
        **adapter.ENVIRONMENT,
    }
    started = time.monotonic()
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "neighbours.plugin", "-p", "no:cacheprovider"),
            *("--color=no", "--tb=short", "-rfE", *adapter.ARGUMENTS),
        ],
        cwd=tops[name],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=False,
    )
    return name, mode, ran.returncode, ran.stdout, time.monotonic() - started


def main(names):
    totals, failed, started = Counter(), [], time.monotonic()
    if os.access(MEMORY, os.W_OK):
        tempfile.tempdir = MEMORY
    with (
        tempfile.TemporaryDirectory() as directory,
        OwnNode(OPENSEARCH, [KNN]) as node,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        print(f"{node}, with k-NN")
        tops = {}
        for name in names:
            own = Path(directory, name)
            own.mkdir()
            tops[name] = unpack(import_module(f"neighbours.{name}").DISTRIBUTION, own)
        runs = [(name, mode) for name in names for mode in import_module(f"neighbours.{name}").MODES]
        for name, mode, status, output, took_s in pool.map(lambda a: run(node.url, tops, *a), runs):
            *before, summary = output.rstrip().splitlines()
            print(f"\n-- {tops[name].name}, {mode}: {took_s:.0f} s")
            if status:
                failed.append(f"{name} {mode}")
                print(*before, sep="\n")
            else:
                print(*[line for line in before if line.startswith("neighbours: ")], sep="\n")
            print(summary)
            totals.update({outcome: int(number) for number, outcome in re.findall(r"(\d+) ([a-z]+)", summary)})
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    totals.setdefault("failed", 0)
    outcomes = ", ".join(f"{totals[outcome]} {outcome}" for outcome in ("failed", "passed", "skipped", "xfailed"))
    print(f"{outcomes} in {time.monotonic() - started:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or NEIGHBOURS))
