"""The command line as a user meets it: a process, its output, and its exit status."""

import gzip
import json
import os
import re
import subprocess
import sys
import sysconfig
import threading
from itertools import islice
from pathlib import Path

import pytest

from conftest import DATA


def run(*arguments, stdin=b"", **environment):
    return subprocess.run(
        [sys.executable, "-m", "opensearch_sigv4.cli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def told(result):
    """What --json told."""
    return json.loads(result.stdout.splitlines()[-1])


def counts(result):
    return {name: told(result)[name] for name in ("indexed", "refused", "malformed", "unknown")}


def outcomes(indexed=0, refused=0, malformed=0, unknown=0):
    return {"indexed": indexed, "refused": refused, "malformed": malformed, "unknown": unknown}


def write(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


def test_the_command_is_installed():
    command = Path(sysconfig.get_path("scripts"), "opensearch-sigv4")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert re.search(r"\d+\.\d+\.\d+", result.stdout)


@pytest.mark.skipif(not DATA.exists(), reason="shared/data/debian-packages.ndjson.gz is not here")
@pytest.mark.parametrize("count", [3_000, pytest.param(20_000, marks=pytest.mark.full)])
def test_real_documents(tmp_path, count):
    with gzip.open(DATA) as lines:
        packed = tmp_path / "packages.ndjson.gz"
        packed.write_bytes(gzip.compress(b"".join(islice(lines, count))))
    result = run("bulk", packed, "--index", "packages", "--json")
    assert counts(result) == outcomes(count)
    assert told(result)["verified"] == -(-count // 9_000)
    assert result.returncode == 0


def test_plain_gzip_and_stdin(tmp_path):
    plain = write(tmp_path / "a.ndjson", {"n": 1}, b"", b"  ", {"n": 2})
    packed = tmp_path / "b.ndjson.gz"
    packed.write_bytes(gzip.compress(b'\xef\xbb\xbf{"n": 3}\r\n{"t": "\xc3\xbc"}') + gzip.compress(b'\n{"n": 4}\n'))
    result = run("bulk", plain, packed, "-", "--index", "n", "--json", stdin=gzip.compress(b'{"n": 5}\n'))
    assert counts(result) == outcomes(6)
    assert told(result)["verified"] == 1
    assert told(result)["complete"] is True
    assert result.returncode == 0
    assert b"6 indexed, 0 refused" in result.stderr


def test_an_empty_file_is_complete(tmp_path):
    result = run("bulk", write(tmp_path / "empty.ndjson"), "--index", "n", "--json")
    assert counts(result) == outcomes()
    assert told(result)["verified"] == 0
    assert result.returncode == 0


def test_malformed_lines_are_named_and_the_others_indexed(tmp_path):
    file = write(
        tmp_path / "bad.ndjson", {"n": 1}, b"{", b"[]", b"5", b'{"n": NaN}', b'{"n": "\xff"}', b'{"n": 1} {}', {"n": 2}
    )
    result = run("bulk", file, "--index", "n", "--json")
    assert counts(result) == outcomes(2, malformed=6)
    assert result.returncode == 1
    for number in range(2, 8):
        assert f"{file}:{number}: not a JSON object".encode() in result.stderr


def test_a_line_nested_too_deeply_is_named(tmp_path):
    file = write(tmp_path / "deep.ndjson", b'{"a":' * 100_000, {"n": 1})
    result = run("bulk", file, "--index", "n", "--json")
    assert counts(result) == outcomes(1, malformed=1)
    assert f"{file}:1: not a JSON object".encode() in result.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_is_read_to_its_end(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b'{"n": 1}\n' * 2500))
    writer.start()
    result = run("bulk", pipe, "--index", "n", "--json")
    writer.join(10)
    assert counts(result) == outcomes(2500)


def test_refused_documents_are_named(tmp_path):
    file = write(tmp_path / "a.ndjson", {"n": 1}, b"{", {"n": "no number"}, {"n": 3})
    result = run("bulk", file, "--index", "n", "--json")
    assert counts(result) == outcomes(2, refused=1, malformed=1)
    assert result.returncode == 1
    assert f"{file}:3: mapper_parsing_exception".encode() in result.stderr


def test_a_flood_of_problems_is_counted(tmp_path):
    file = write(tmp_path / "flood.ndjson", *[b"x"] * 250)
    result = run("bulk", file, "--index", "n", "--json")
    assert counts(result)["malformed"] == 250
    assert result.stderr.count(b"not a JSON object") == 100
    assert b"further ones are counted" in result.stderr


def test_a_broken_archive_is_named(tmp_path):
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b'{"n": 1}\n' * 10_000)[:-20])
    result = run("bulk", broken, write(tmp_path / "good.ndjson", {"n": 1}), "--index", "n", "--json")
    assert f"{broken}: ".encode() in result.stderr
    assert result.returncode == 1
    assert counts(result)["indexed"] >= 1


def test_to_a_url(tmp_path, local_domain):
    environment = {
        "AWS_ACCESS_KEY_ID": local_domain.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": local_domain.credentials.secret_key,
    }
    file = write(tmp_path / "a.ndjson", {"n": 1})
    result = run(
        "bulk", file, "--index", "n", "--url", local_domain.url, "--region", "us-east-1", "--json", **environment
    )
    assert counts(result) == outcomes(1)
    assert result.returncode == 0
    assert (local_domain.verified, local_domain.refused) == (1, 0)

    wrong = {**environment, "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    result = run("bulk", file, "--index", "n", "--url", local_domain.url, "--region", "us-east-1", "--json", **wrong)
    assert counts(result) == outcomes()
    assert result.returncode == 1
    assert b"stopped: AuthorizationException" in result.stderr
    assert (environment["AWS_SECRET_ACCESS_KEY"].encode() in result.stderr) is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--url", "http://127.0.0.1:1", "--region", "us-east-1"),
            b"stopped: NoCredentialsError: .* pass credentials=",
        ),
        (("--url", "http://127.0.0.1:1"), b"Error: region: .*pass region="),
        (("--url", "nonsense"), b"Error: url: "),
        (("--url", "https://localhost", "--profile", "nobody"), b"Error: ProfileNotFound"),
        (("--profile", "nobody"), b"--profile needs --url"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(tmp_path, arguments, message):
    result = run("bulk", write(tmp_path / "a.ndjson", {"n": 1}), "--index", "n", *arguments)
    assert re.search(message, result.stderr)
    assert b"Traceback" not in result.stderr
    assert result.returncode != 0


def test_an_unreachable_domain_and_a_missing_file(tmp_path):
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
    file = write(tmp_path / "a.ndjson", {"n": 1})
    result = run("bulk", file, "--index", "n", "--url", "http://127.0.0.1:1", "--region", "us-east-1", **keys)
    assert re.search(rb"stopped: Conn.*; nothing of the request that begins at .*a\.ndjson:1 is in", result.stderr)
    assert b"Traceback" not in result.stderr
    assert result.returncode == 1
    assert run("bulk", tmp_path / "nothing", "--index", "n").returncode == 2
    result = run("bulk", file)
    assert result.returncode == 2
    assert b"--index is missing" in result.stderr


def test_demo():
    result = run("demo")
    assert result.returncode == 0, result.stderr
    assert re.match(rb"opensearch: \d+\.\d+\.\d+\n", result.stdout)
    assert re.search(rb"\d+ documents indexed into python-distributions, 0 refused", result.stdout)
    assert re.search(rb"[1-9]\d* signatures verified, 0 refused by the local domain\n$", result.stdout)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_one_line(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from opensearch_sigv4.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == f"opensearch-sigv4: {missing} is missing: pip install 'opensearch-sigv4[cli]'\n"
    assert result.returncode == 1


@pytest.mark.parametrize("missing", ["aiohttp", "awscrt"])
def test_a_missing_testing_extra_is_one_line(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['demo']\n"
        "from opensearch_sigv4.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'opensearch-sigv4[testing]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.returncode == 1
