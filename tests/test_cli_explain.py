"""`opensearch-sigv4 explain`: a signature's stages, and what a 403 is compared with."""

import json
import re

import pytest

from commands import KEYS, SESSION_KEYS, TOKEN, Commands
from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.testing import LocalDomain
from opensearch_sigv4.testing.verify import Credentials

URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/logs/_search?q=a+b"
AT = ("--at", "2015-08-30T12:36:00Z")


@pytest.fixture
def run(capfdbinary, monkeypatch):
    return Commands(capfdbinary, monkeypatch)


@pytest.fixture
def refusal(run):
    """What a domain says that knows another secret key, of a search with the body `{}`."""
    with LocalDomain(upstream="http://127.0.0.1:1") as domain:
        domain.add_credentials("AKIDEXAMPLE2", "another-EXAMPLEKEY", TOKEN)
        run.domain = domain
        result = run(
            "request", "POST", f"{domain.url}/a/_search", "-d", "{}", "--region", "us-east-1", keys=SESSION_KEYS
        )
        assert b"x-amz-security-token:REDACTED" in result.stdout
        yield f"{domain.url}/a/_search", result.stdout


def test_every_stage_is_shown(run):
    result = run("explain", "post", URL, *AT, "-d", "{}", "-H", "X-Amz-Meta: a  b", keys=SESSION_KEYS)
    assert result.status == 0
    signer = SigV4Signer(Credentials("AKIDEXAMPLE2", KEYS["AWS_SECRET_ACCESS_KEY"], TOKEN), "us-east-1")
    assert b"POST\n/logs/_search\nq=a%20b\nhost:search-logs-abc.us-east-1.es.amazonaws.com\n" in result.stdout
    assert b"\nx-amz-meta:a b\nx-amz-security-token:REDACTED\n" in result.stdout
    assert b"20150830/us-east-1/es/aws4_request" in result.stdout
    assert signer.explain("POST", "https://x/").signed_headers.encode() in result.stdout.replace(b"x-amz-meta;", b"")


def test_json_holds_the_same(run):
    told = json.loads(run("explain", "GET", URL, *AT, "--json", keys=SESSION_KEYS).stdout)
    assert set(told) == {"canonical_request", "string_to_sign", "credential_scope", "signed_headers", "headers"}
    assert told["headers"]["X-Amz-Security-Token"] == "REDACTED"
    assert told["string_to_sign"].startswith("AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/es/aws4_request\n")


def test_json_stays_json_where_a_query_looks_like_a_signature(run):
    url = URL + "&Credential=a&Signature=b&X-Amz-Security-Token=" + TOKEN.replace("/", "%2F")
    told = json.loads(run("explain", "GET", url, "--json", keys=SESSION_KEYS).stdout)
    assert "Credential=REDACTED&Signature=REDACTED&X-Amz-Security-Token=REDACTED&q=" in told["canonical_request"]


def test_the_host_that_is_signed_tells_region_and_service(run):
    host = ("-H", "Host: abc.eu-west-1.aoss.amazonaws.com")
    assert b"/eu-west-1/aoss/aws4_request" in run("explain", "GET", "https://localhost:9443", *host).stdout
    told = run("explain", "GET", "https://localhost:9443", *host, "--region", "us-east-2", "--service", "es").stdout
    assert b"/us-east-2/es/aws4_request" in told


def test_an_equal_request_blames_the_key(run, refusal, tmp_path):
    url, text = refusal
    result = run(
        "explain", "POST", url, "-d", "{}", "--region", "us-east-1", "--against", "-", stdin=text, keys=SESSION_KEYS
    )
    assert result.status == 0
    assert b"the secret key is not the one of this access key" in result.stdout
    log = tmp_path / "log"
    log.write_bytes(b"\xff\n" + repr(RuntimeError(403, text.decode())).encode())
    arguments = ("explain", "POST", url, "-d", "{}", "--region", "us-east-1", "--against", log)
    assert run(*arguments, keys=SESSION_KEYS).status == 0
    told = json.loads(run(*arguments, "--json", keys=SESSION_KEYS).stdout)
    assert (told["equal"], told["difference"]) == (True, None)


@pytest.mark.parametrize(
    ("method", "path", "options", "element"),
    [
        ("GET", "", ("-d", "{}"), "HTTP method"),
        ("POST", "/b", ("-d", "{}"), "canonical URI"),
        ("POST", "?a=b", ("-d", "{}"), "canonical query string"),
        ("POST", "", ("-d", "{}", "-H", "Host: a"), "header host"),
        ("POST", "", (), "header x-amz-content-sha256"),
        ("POST", "", ("-d", "{}", "-H", "X-Amz-Meta: a"), "header x-amz-meta"),
        ("POST", "", ("-d", "{}", *AT), "header x-amz-date"),
        ("POST", "", ("-d", "{}", "--region", "eu-west-1"), "credential scope"),
        ("POST", "", ("-d", "{}", "--service", "aoss"), "credential scope"),
    ],
)
def test_the_first_difference_is_named(run, refusal, method, path, options, element):
    url, text = refusal
    arguments = ("explain", method, url + path, "--region", "us-east-1", *options, "--against", "-")
    result = run(*arguments, stdin=text, keys=SESSION_KEYS)
    assert result.status == 1
    assert f"\n{element} differs:\n".encode() in result.stdout
    told = json.loads(run(*arguments, "--json", stdin=text, keys=SESSION_KEYS).stdout)
    assert told["equal"] is False
    assert told["difference"]["element"] == element


def test_a_text_that_quotes_nothing(run):
    result = run("explain", "GET", URL, "--against", "-", stdin=b'{"message": "403 Forbidden"}')
    assert result.status == 2
    assert "no canonical request" in result.stderr
    assert result.stdout == b""


def test_a_date_that_is_none(run, refusal):
    url, text = refusal
    text = re.sub(rb"x-amz-date:[0-9]{8}T", b"x-amz-date:20159999T", text)
    arguments = ("--region", "us-east-1", "--against", "-")
    assert run("explain", "POST", url, "-d", "{}", *arguments, stdin=text, keys=SESSION_KEYS).status == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("GET", "nonsense"), "url: "),
        (("GET", "https://user:EXAMPLE@localhost"), "url: a user and password"),
        (("GET", "https://localhost/a/../b", "--region", "us-east-1"), "url: a path segment"),
        (("GET", "https://localhost"), "region: "),
        (("GET", URL, "-H", "nothing"), "-H takes 'Name: value'"),
        (("GET", URL, "-H", "a b: c"), "-H takes 'Name: value'"),
        (("GET", URL, "-H", "a: b\nc"), "a control character in a"),
        (("GET", URL, "--at", "yesterday"), "ISO 8601"),
        (("GET", URL, "--at", "2015-08-30T12:36:00"), "no zone"),
        (("GET", URL, "--profile", "nobody"), "ProfileNotFound"),
        (("GET", URL, "--against", "/no/such/file"), "FileNotFoundError"),
        (("GET", URL, "-d", "@/no/such/file"), "FileNotFoundError"),
        (("GET", URL, "-d", "-", "--against", "-"), "cannot both be standard input"),
    ],
)
def test_what_cannot_be_explained(run, arguments, message):
    result = run("explain", *arguments)
    assert result.status == 2
    assert message in result.stderr


def test_no_credentials(run):
    result = run("explain", "GET", URL, keys={})
    assert result.status == 2
    assert "NoCredentialsError" in result.stderr
