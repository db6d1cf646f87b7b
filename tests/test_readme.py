"""README, executed: each of its Python blocks and commands, as it stands, under the host names that it has there.

Those names lead to LocalDomains here, by TLS with certificates for them. So each example's requests are signed for, and
verified by, the service and region that it names.
"""

import asyncio
import json
import re
import shlex
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
import zstandard
from opentelemetry.sdk.trace import TracerProvider

import opensearch_sigv4
from commands import KEYS, SECRET_KEY, TOKEN, Commands
from opensearch_sigv4 import connect, timing
from opensearch_sigv4.responses import Cause, cause_of
from opensearch_sigv4.testing import LocalDomain
from raw_server import RawServer

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line.strip()
]

REGION = "eu-central-1"
ES = f"search-logs-abc123.{REGION}.es.amazonaws.com"
AOSS = f"abc123.{REGION}.aoss.amazonaws.com"
BEHIND_THE_TUNNEL = f"vpc-logs-abc123.{REGION}.es.amazonaws.com"
NAMES = {(ES, 443): "es", (AOSS, 443): "aoss", ("localhost", 9443): "es"}
ROLE_KEYS = ("AKIDEXAMPLE2", SECRET_KEY, TOKEN)
ROLE = "arn:aws:iam::123456789012:role/writer"
DOCUMENT = {"message": "hello"}


@pytest.fixture(scope="module")
def certified():
    """{service: a running LocalDomain whose certificate is for README's names, too}."""
    with pytest.MonkeyPatch.context() as patch:
        trustme = pytest.importorskip("trustme")
        issue = trustme.CA.issue_cert
        patch.setattr(trustme.CA, "issue_cert", lambda ca, *names: issue(ca, *names, ES, AOSS, BEHIND_THE_TUNNEL))
        with (
            LocalDomain(region=REGION, https=True) as es,
            LocalDomain(service="aoss", region=REGION, https=True) as aoss,
        ):
            for domain in (es, aoss):
                domain.add_credentials(*ROLE_KEYS)
                with connect(
                    domain.url,
                    service=domain.service,
                    region=REGION,
                    credentials=domain.credentials,
                    ca_certs=domain.ca_certs,
                ) as client:
                    client.index(index="logs", body=DOCUMENT)
            yield {"es": es, "aoss": aoss}


@pytest.fixture
def sts():
    """AWS's STS, as far as AssumeRole; always the same keys."""
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
        f"<AssumedRoleUser><AssumedRoleId>AROA:search</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser><Credentials>"
        "<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken>"
        f"<Expiration>{until}</Expiration>"
        "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
    ) % ROLE_KEYS
    with RawServer(lambda line: (200, {"Content-Type": "text/xml"}, answer)) as server:
        yield server


@pytest.fixture
def aws(certified, sts, monkeypatch, tmp_path):
    """The domains, under README's names; credentials and a profile with a role in the environment."""
    for domain in certified.values():
        domain.reset()
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("".join(Path(domain.ca_certs).read_text() for domain in certified.values()))
    config = tmp_path / "config"
    config.write_text(
        f"[profile base]\naws_access_key_id = {KEYS['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {KEYS['AWS_SECRET_ACCESS_KEY']}\n"
        f"[profile search-writer]\nrole_arn = {ROLE}\nsource_profile = base\nregion = {REGION}\n"
    )
    for name, value in {
        **KEYS,
        "SSL_CERT_FILE": str(trusted),
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL_STS": sts.url,
    }.items():
        monkeypatch.setenv(name, value)
    look_up = socket.getaddrinfo

    def look_up_here(host, port, *arguments, **options):
        host = host.decode() if isinstance(host, bytes) else host
        if service := NAMES.get((host, port)):
            return look_up("127.0.0.1", urlsplit(certified[service].url).port, type=socket.SOCK_STREAM)
        assert host in ("127.0.0.1", "localhost"), f"{host} is none of README's names"
        return look_up(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    return certified


# What is done with what a block defines.


def use_client(client):
    client.index(index="logs", body=DOCUMENT)
    client.close()


def use_headers(headers):
    request = Request(f"https://{AOSS}/logs/_search", headers=headers)
    with urlopen(request, context=ssl.create_default_context()) as answer:
        assert answer.status == 200


def use_connect_as(connect_as):
    use_client(connect_as(ROLE, f"https://{AOSS}"))


def use_handler(handler):
    assert handler({"text": "hello"}, None)["hits"][0]["_source"] == DOCUMENT


def use_index(index):
    documents = [{"_index": "logs", **DOCUMENT}] * 10
    assert (asyncio.run(index(documents)) if asyncio.iscoroutinefunction(index) else index(documents)) == (10, [])


def use_index_squares(index_squares):
    with connect(f"https://{ES}") as client:
        assert index_squares(client) == 100_000


def use_count(count):
    assert count("logs") >= 1


def use_trace_stages(trace_stages):  # tests/test_timing.py looks at the spans
    provider = TracerProvider()
    hook = trace_stages(provider)
    use_client(connect(f"https://{ES}"))
    timing.remove_hook(hook)
    provider.shutdown()


def use_save_bag(save_bag):
    import dask.bag

    with dask.config.set(scheduler="threads"):
        assert save_bag(dask.bag.from_sequence([{"package": "a"}, {"package": "b"}])).indexed == 2


def _last_words(block):
    return block.strip().splitlines()[-1][:40]


# What tests/test_spark.py and tests/test_ray.py run, and `test_tests` below.
ELSEWHERE = ("save", "save_dataset", "test_bulk_waits_when_it_is_throttled", "test_search")
USES = {name.removeprefix("use_"): use for name, use in list(globals().items()) if name.startswith("use_")}


@pytest.mark.parametrize(
    "block", [block for block in PYTHON if not set(ELSEWHERE) & set(re.findall(r"def (\w+)\(", block))], ids=_last_words
)
def test_python(block, aws):
    if "integrations.dask" in block:
        pytest.importorskip("dask", reason="needs the extra dask")
    namespace = {}
    exec(compile(block, "README.md", "exec"), namespace)
    names = [name for name in USES if name in namespace]
    assert names, "what does this block define?"
    for name in sorted(names, key="client".__eq__):  # functions may use the client, which is closed
        USES[name](namespace[name])
    assert sum(domain.verified for domain in aws.values()) >= 1
    assert sum(domain.refused for domain in aws.values()) == 0


@pytest.mark.parametrize("block", [block for block in PYTHON if "def test_" in block], ids=_last_words)
def test_tests(block, local_domain):
    namespace = {}
    exec(compile(block, "README.md", "exec"), namespace)
    [test] = [value for name, value in namespace.items() if name.startswith("test_")]
    test(local_domain)


# The commands that install are run by .ci/run and `.ci/full wheels`.
@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith(("opensearch-sigv4", "python "))])
def test_commands(line, aws, capfdbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    document = json.dumps(DOCUMENT).encode() + b"\n"
    Path("documents.ndjson").write_bytes(document)
    Path("more").mkdir()
    Path("more", "a.json.zst").write_bytes(zstandard.compress(document))
    Path("body.json").write_bytes(document)
    Path("403.txt").write_text("The request signature we calculated does not match the signature you provided.")
    program, *arguments = shlex.split(line.replace("https://...", f"https://{ES}"))
    if program == "python":
        shown = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
        assert shown == f"{opensearch_sigv4.backend}\n"
        return
    done = Commands(capfdbinary, monkeypatch)(*arguments)
    assert done.status == (2 if "--against" in arguments else 0), done.stderr  # such a text quotes nothing
    # doctor asks for the time by a request that is not signed.
    assert sum(domain.refused for domain in aws.values()) == (arguments[0] == "doctor")
    if arguments[0] == "bulk":
        assert aws["es"].verified >= 1


REFUSALS = re.findall(
    r"^\\| (`.*) \\| (.*) \\| .* \\|$", README.split("\n| a refusal says ")[1].split("\n\n")[0], re.MULTILINE
)


assert REFUSALS


@pytest.mark.parametrize(("says", "cause"), REFUSALS)
def test_refusals(says, cause):
    for text in re.findall(r"`(.*?)`", says):
        assert cause_of(403, json.dumps({"message": text})) == Cause(cause)


def test_figures_of_clusters():
    """The second table of "How fast" is that of the run in bench/report."""
    results = json.loads((Path(__file__).resolve().parents[1] / "bench/report/cluster.json").read_text())
    assert not results["quick"]
    assert results["problems"] == []
    for encoding, engines in results["encodings"].items():
        for engine, rows in engines.items():
            assert {row["correct"] for row in rows.values()} == {"yes"}
            shown = [f"{row['min_s'] / results['documents'] * 1e6:.1f}" for row in rows.values()]
            name = engine if encoding == "plain" else f"{engine} with gzip"
            assert f"| {name} | {' | '.join(shown)} |" in README


def test_figures():
    """The table of "How fast" is that of the runs in bench/report, and so are the figures of its image."""
    report = Path(__file__).resolve().parents[1] / "bench" / "report"
    sign, connection, bulk = (
        json.loads((report / f"{bench}.json").read_text()) for bench in ("sign", "connection", "bulk")
    )
    assert not any(results["quick"] or results["problems"] for results in (sign, connection, bulk))
    rows = {
        "sign ": sign["cases"]["1 KB body, 300-character session token, warm key"]["rows"],
        "send ": connection["schemes"]["http"],
        "plain ": bulk["encodings"]["plain"],
        "gzip ": bulk["encodings"]["gzip"],
    }
    us = {kind + row: found["cpu_us"]["min"] for kind, results in rows.items() for row, found in results.items()}
    expected = {
        "sign a request": ["sign opensearch-py", "sign awscrt", "sign ours (python)", "sign ours (cython)"],
        "send it and read the answer, signed": [
            "send opensearch-py, signed",
            "",
            "send ours, signed (python)",
            "send ours, signed (cython)",
        ],
        "the same, unsigned": ["send opensearch-py, unsigned", "", "", "send ours, unsigned"],
        "on asyncio, signed": [
            "send opensearch-py async, signed",
            "",
            "send ours async, signed (python)",
            "send ours async, signed (cython)",
        ],
        "on asyncio, unsigned": ["send opensearch-py async, unsigned", "", "", ""],
        "`helpers.bulk`, for each document": [
            "plain opensearch-py, signed",
            "",
            "plain ours (python)",
            "plain ours (cython)",
        ],
        "the same with gzip": ["gzip opensearch-py, signed", "", "gzip ours (python)", "gzip ours (cython)"],
        "opensearch-py's `helpers.bulk` on our connection": [
            "plain opensearch-py, signed",
            "",
            "",
            "plain opensearch-py, our connection",
        ],
        "`opensearch-sigv4 bulk`, from its start to its end": [
            "plain opensearch-py, signed",
            "",
            "",
            "plain our command",
        ],
        "the same with gzip, from its start to its end": ["gzip opensearch-py, signed", "", "", "gzip our command"],
        "the same with gzip, on our connection": [
            "gzip opensearch-py, signed",
            "",
            "",
            "gzip opensearch-py, our connection",
        ],
    }
    [table] = re.findall(r"^\| microseconds of CPU .*\n\|[-:|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    told = {
        cells[1]: cells[2:-1] for line in table.splitlines() if (cells := [cell.strip() for cell in line.split("|")])
    }
    assert told == {
        what: [name and f"{us[name]:.{1 if us[name] < 20 else 0}f}" for name in names]
        for what, names in expected.items()
    }
    [alternative] = re.findall(r"!\[(.*?)\]\(bench/report/bulk_rates.svg\)", README)
    drawn = [f"{kind} {row}" for row in ("opensearch-py, signed", "ours (cython)") for kind in ("plain", "gzip")]
    assert re.findall(r"[\d,]{6,}", alternative) == [f"{1e6 / us[name]:,.0f}" for name in drawn]
