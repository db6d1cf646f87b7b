"""AWS's published signing test suite, stage by stage, and canonical strings that live domains quoted."""

import json
from datetime import datetime

import pytest

from conftest import VECTORS

SUITE = VECTORS / "aws-signing-test-suite" / "v4"
if not SUITE.is_dir():
    pytest.skip(
        "AWS's signing test suite is not here; set OPENSEARCH_SIGV4_VECTORS to the folder that holds "
        "aws-signing-test-suite",
        allow_module_level=True,
    )

# A header signer that normalises. post-sts-header-after adds the token after signing: no OpenSearch service takes it.
CASES = sorted(
    case.name
    for case in SUITE.iterdir()
    if json.loads((case / "context.json").read_text())["normalize"] and case.name != "post-sts-header-after"
)


def parse_request(text):
    """Method, target, headers and body of a case, whose target is raw: unencoded spaces and UTF-8."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.rstrip("\n").split("\n")
    method, rest = first.split(" ", 1)
    headers = []
    for line in lines:
        if line.startswith(" "):  # obs-fold: RFC 9112, 5.2, has a parser replace it by a space
            name, value = headers.pop()
            headers.append((name, f"{value} {line.strip()}"))
        else:
            name, _, value = line.partition(":")
            headers.append((name.lower(), value))
    return method, rest.rpartition(" ")[0], headers, body


def test_all_applicable_cases_are_there():
    assert len(CASES) == 30


@pytest.mark.parametrize("name", CASES)
def test_signing_suite(core, name):
    case = SUITE / name
    context = json.loads((case / "context.json").read_text())
    credentials = context["credentials"]
    method, target, headers, body = parse_request((case / "request.txt").read_text())
    path, _, query = target.partition("?")
    amz_date = core.format_amz_date(int(datetime.fromisoformat(context["timestamp"]).timestamp()))
    headers.append(("x-amz-date", amz_date))
    if "token" in credentials:
        headers.append(("x-amz-security-token", credentials["token"]))
    payload_hash = core.payload_hash(body)
    if context["sign_body"]:
        headers.append(("x-amz-content-sha256", payload_hash))

    request = core.canonical_request(
        method, core.canonical_path(path), core.canonical_query(query), *core.canonical_headers(headers), payload_hash
    )
    assert request == (case / "header-canonical-request.txt").read_text()
    key = core.signing_key(credentials["secret_access_key"], amz_date[:8], context["region"], context["service"])
    string_to_sign = core.string_to_sign(amz_date, key.credential_scope, request)
    assert string_to_sign == (case / "header-string-to-sign.txt").read_text()
    assert key.signature(string_to_sign) == (case / "header-signature.txt").read_text()


QUOTED = VECTORS / "es-error-texts.json"


@pytest.mark.skipif(not QUOTED.exists(), reason="what live domains quoted is not here")
@pytest.mark.parametrize(
    "quoted", json.loads(QUOTED.read_text()) if QUOTED.exists() else [], ids=lambda quoted: quoted["source"][:60]
)
def test_what_live_domains_quoted(core, quoted):
    if "wire_path" in quoted:
        assert core.canonical_path(quoted["wire_path"]) == quoted["canonical_path"]
    else:
        assert core.canonical_query(quoted["wire_query"]) == quoted["canonical_query"]
