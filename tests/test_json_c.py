"""The C core's JSON reader, built with the C driver that checks it; `c/build_and_run.sh` does it with sanitizers."""

import subprocess

from test_sha256_c import CSRC, TESTS, _compiler


def test_the_reader(tmp_path):
    program = tmp_path / "test_json"
    sources = [CSRC / "json.c", TESTS / "c" / "test_json.c"]
    command = [*_compiler(), "-O2", "-I", str(CSRC), *map(str, sources), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    ran = subprocess.run([str(program)], capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("json: 12 known answers")
