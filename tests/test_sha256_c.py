"""The C core's SHA-256, built with the C driver that checks it; here hashlib and hmac check its answers.

`c/build_and_run.sh` runs the same driver with sanitizers, and on ARMv8 and old x86-64 under QEMU.
"""

import hashlib
import hmac
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CSRC = TESTS.parent / "src" / "opensearch_sigv4" / "core" / "csrc"
FIXED = b"AWS4-HMAC-SHA256"


def _compiler():
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    reason = "no C compiler: neither CC nor cc, gcc or clang"
    if os.environ.get("OPENSEARCH_SIGV4_EXTENSIONS") == "require":
        pytest.fail(reason)
    pytest.skip(reason)


def _all_answers():
    source = bytes((i * i // 7 + i) & 0xFF for i in range(300))
    total = hashlib.sha256()
    for size in range(301):
        data = source[:size]
        total.update(hashlib.sha256(data).digest())
        total.update(hmac.digest(FIXED, data, "sha256"))
        total.update(hmac.digest(data, FIXED, "sha256"))
    return total.hexdigest()


def test_every_path_that_runs_here(tmp_path):
    program = tmp_path / "test_sha256"
    sources = [CSRC / "cpu.c", *sorted(CSRC.glob("sha256*.c")), TESTS / "c" / "test_sha256.c"]
    command = [*_compiler(), "-O2", "-I", str(CSRC), *map(str, sources), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    ran = subprocess.run([str(program)], capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    header, *lines = ran.stdout.splitlines()
    paths = header.removeprefix("paths: ").split()
    assert paths[-1] == "portable"
    assert [line.partition(":")[0] for line in lines] == paths
    assert {line.split()[-1] for line in lines} == {_all_answers()}
