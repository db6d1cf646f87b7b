"""`opensearch-sigv4 doctor`: each thing that can be wrong is named where it is, with what to do about it."""

import gzip
import json
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from commands import ACCESS_KEY, KEYS, SECRET_KEY, SESSION_KEYS, TOKEN, Commands
from opensearch_sigv4 import backend
from opensearch_sigv4.testing import Fault, LocalDomain

CHECKS = ["core", "credentials", "endpoint", "DNS", "connection", "clock", "signed request", "gzip"]
AWS_HOST = "Host: vpc-logs-abc.us-east-1.es.amazonaws.com"


@pytest.fixture
def run(capfdbinary, monkeypatch):
    return Commands(capfdbinary, monkeypatch)


@pytest.fixture
def examine(run):
    """The checks that are not ok, by name; `options` go to the command."""

    def examine(url, *options, region="us-east-1", **keywords):
        if region is not None:
            options += ("--region", region)
        result = run("doctor", url, *options, "--json", **keywords)
        told = json.loads(result.stdout)
        assert [check["check"] for check in told["checks"]] == CHECKS
        assert all(set(check) == {"check", "status", "detail", "remedy"} for check in told["checks"])
        has_failed = any(check["status"] == "failure" for check in told["checks"])
        assert (told["ok"], result.status) == (not has_failed, int(has_failed))
        assert all(check["remedy"] for check in told["checks"] if check["status"] in ("warning", "failure"))
        assert result.stderr == ""
        found = {check["check"]: check for check in told["checks"] if check["status"] != "ok"}
        if backend == "python":
            assert found.pop("core")["status"] == "warning"
        return found

    return examine


@pytest.fixture
def domain(run, server):
    """A domain in front of the recorder."""
    with LocalDomain(upstream=server.url) as domain:
        domain.add_credentials("AKIDEXAMPLE2", SECRET_KEY, TOKEN)
        run.domain = domain
        yield domain


def statuses(checks):
    return {name: check["status"] for name, check in checks.items()}


def test_all_is_well_over_tls(run, examine, server):
    server.answer = (200, {}, b'{"version": {"distribution": "opensearch", "number": "2.19.1"}}')
    with LocalDomain(https=True, upstream=server.url) as domain:
        assert examine(domain.url, "--ca-bundle", domain.ca_certs) == {}
        assert domain.verified == 2
        assert [(request.method, request.target) for request in domain.requests] == [
            ("GET", b"/"),
            ("GET", b"/"),
            ("POST", b"/_search"),
        ]
        assert gzip.decompress(domain.requests[-1].body) == b'{"size":0,"query":{"match_none":{}}}'
        result = run("doctor", domain.url, "--ca-certs", domain.ca_certs, "--region", domain.region)
    lines = result.stdout.decode().splitlines()
    if backend == "python":
        assert lines.pop(1).strip().startswith("-> It signs as well, but slower.")
    assert [line[9:23].strip() for line in lines] == CHECKS
    assert [line.startswith("ok ") for line in lines] == [backend == "cython", *[True] * 7]
    assert "...MPLE from the environment" in lines[1]
    assert "TLSv1.3, certificate good until " in lines[4]
    assert lines[6].endswith("GET /: 200, version 2.19.1")


def test_a_terminal_has_colours_and_wraps(run, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    result = run("doctor", "http://127.0.0.1:1", "--region", "us-east-1")
    assert b"\x1b[1;31mfailure" in result.stdout
    assert max(len(line) for line in result.stdout.decode().splitlines() if "\x1b" not in line) <= 60


def test_serverless(run, examine, server):
    with LocalDomain(service="aoss", upstream=server.url) as domain:
        assert examine(domain.url, "--service", "aoss") == {}
        assert domain.requests[1].target == b"/_cat/indices"
        checks = examine(domain.url, "--service", "aoss", region="eu-west-1")
    assert "Serverless tells no reason" in checks["signed request"]["remedy"]


# --- credentials -------------------------------------------------------------------------------------------


def test_no_credentials(examine, domain):
    checks = examine(domain.url, keys={})
    assert statuses(checks) == {"credentials": "failure", "signed request": "skipped", "gzip": "skipped"}
    assert "aws sso login" in checks["credentials"]["remedy"]
    assert checks["signed request"]["detail"] == "it needs: credentials"


@pytest.mark.parametrize(
    ("keys", "status", "text"),
    [
        ({"AWS_ACCESS_KEY_ID": "ASIAEXAMPLE"}, "failure", "temporary key without its session token"),
        ({"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SESSION_TOKEN": TOKEN}, "failure", "long-term key with a session"),
        ({"AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": ""}, "failure", "ProfileNotFound"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "failure", "PartialCredentialsError"),
    ],
)
def test_credentials_that_cannot_be_right(examine, domain, keys, status, text):
    checks = examine(domain.url, keys=KEYS | keys)
    assert checks["credentials"]["status"] == status
    assert text in checks["credentials"]["detail"]
    assert domain.verified == 0


@pytest.mark.parametrize(
    ("left", "expected"), [(timedelta(minutes=5), {"credentials": "warning"}), (timedelta(days=3), {})]
)
def test_when_they_expire(examine, domain, left, expected):
    at = (datetime.now(UTC) + left).isoformat()
    assert statuses(examine(domain.url, keys={**SESSION_KEYS, "AWS_CREDENTIAL_EXPIRATION": at})) == expected


def test_a_profile(run, domain, tmp_path, monkeypatch):
    file = tmp_path / "credentials"
    file.write_text(f"[writer]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    result = run("doctor", domain.url, "--region", domain.region, "--profile", "writer", keys={})
    assert b"access key ...MPLE from the shared credentials file, profile writer\n" in result.stdout
    assert result.status == 0


# --- the endpoint, and the way there -----------------------------------------------------------------------


def test_no_region(examine, domain):
    checks = examine(domain.url, region=None)
    assert statuses(checks) == {"endpoint": "failure", "signed request": "skipped", "gzip": "skipped"}
    assert "--region" in checks["endpoint"]["remedy"]
    assert examine(domain.url, region=None, keys={**KEYS, "AWS_REGION": "us-east-1"}) == {}


def test_a_host_that_says_otherwise(examine, domain):
    checks = examine(domain.url, "-H", AWS_HOST, region="eu-west-1")
    assert checks["endpoint"]["status"] == "warning"
    assert "--region us-east-1 --service es" in checks["endpoint"]["remedy"]
    assert "region" in checks["signed request"]["detail"]


def test_plain_http_to_what_aws_names(examine, domain):
    assert statuses(examine(domain.url, "-H", AWS_HOST, region=None)) == {"connection": "warning"}


@pytest.mark.parametrize(
    ("url", "failed", "text"),
    [
        ("https://nothing.invalid", "DNS", "nothing.invalid: "),
        ("http://127.0.0.1:1", "connection", "127.0.0.1 port 1: "),
    ],
)
def test_an_address_where_nothing_is(examine, url, failed, text):
    checks = examine(url)
    assert checks[failed]["status"] == "failure"
    assert text in checks[failed]["detail"]
    after = CHECKS[CHECKS.index(failed) + 1 :]
    assert [name for name, check in checks.items() if check["status"] == "skipped"] == after


def test_a_url_that_is_none(run):
    result = run("doctor", "search-logs-abc.us-east-1.es.amazonaws.com.invalid:443", "--json")
    assert (result.status, result.stdout, result.stderr[:12]) == (1, b"", "Error: url: ")


def test_tls(examine, server):
    with LocalDomain(https=True, upstream=server.url) as domain:
        checks = examine(domain.url)
        assert "--ca-bundle" in checks["connection"]["remedy"]
        assert statuses(checks)["signed request"] == "skipped"
        checks = examine(domain.url, "--ca-bundle", domain.ca_certs, "-H", AWS_HOST)
        assert "not valid for 'vpc-logs-abc.us-east-1.es.amazonaws.com'" in checks["connection"]["detail"]
        assert "ssl_assert_hostname=" in checks["connection"]["remedy"]
        assert examine(domain.url, "--ca-bundle", domain.ca_certs, "-H", "Host: localhost") == {}
        assert statuses(examine(domain.url, "--insecure")) == {"connection": "warning"}
        # What the environment trusts is trusted here, too.
        assert examine(domain.url, keys={**KEYS, "SSL_CERT_FILE": domain.ca_certs}) == {}
    checks = examine(server.url.replace("http:", "https:"))
    assert "does not speak TLS" in checks["connection"]["remedy"]


def test_something_that_speaks_no_http(examine):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        checks = examine(f"http://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "0.1")
    assert statuses(checks) == {"clock": "failure", "signed request": "failure", "gzip": "skipped"}
    assert "TIMEOUT" in checks["signed request"]["detail"] or "Timeout" in checks["signed request"]["detail"]


# --- the clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_s", "expected"),
    [
        (-1000, {"clock": "failure"}),  # and requests are signed by the domain's
        (1000, {"clock": "failure"}),
        (150, {"clock": "warning"}),
        (20, {}),
    ],
)
def test_the_clock(examine, server, ahead_s, expected):
    with LocalDomain(upstream=server.url, clock=lambda: time.time() + ahead_s) as domain:
        checks = examine(domain.url)
    assert statuses(checks) == expected
    if "clock" in expected:
        assert ("behind" if ahead_s > 0 else "ahead of") in checks["clock"]["detail"]
        assert "clock" in checks["clock"]["remedy"]


@pytest.mark.parametrize("date", ["yesterday", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
def test_a_date_that_is_none(examine, server, date):
    server.answer = (200, {}, b"{}")
    server.RequestHandlerClass = type("Dated", (server.RequestHandlerClass,), {"date_time_string": lambda *_: date})
    assert statuses(examine(server.url)) == {"clock": "warning"}


def test_a_header_that_is_no_latin_1(examine, domain):
    assert statuses(examine(domain.url, "-H", "x-amz-meta: \u20ac")) == {}
    assert domain.verified == 2


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_of_cas_that_is_none(examine, domain, tmp_path, is_there):
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    url = domain.url.replace("http:", "https:")
    if is_there:
        check = examine(url, "--ca-bundle", str(file))["connection"]
    else:
        check = examine(url, keys={**KEYS, "SSL_CERT_FILE": str(tmp_path / "missing.pem")})["connection"]
    assert "CAs" in check["detail"]
    assert "--ca-bundle" in check["remedy"]


# --- the signed request ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "options", "region", "remedy"),
    [
        (KEYS, (), "eu-west-1", "Pass the region="),
        (KEYS, ("--service", "aoss"), "us-east-1", "service= (es for domains"),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong-EXAMPLEKEY"}, (), "us-east-1", "secret key does not belong"),
        (
            {**SESSION_KEYS, "AWS_SECRET_ACCESS_KEY": "wrong-EXAMPLEKEY"},
            (),
            "us-east-1",
            "secret key does not belong",
        ),
        ({**SESSION_KEYS, "AWS_SESSION_TOKEN": "another-EXAMPLE"}, (), "us-east-1", "of one set"),
        ({**KEYS, "AWS_ACCESS_KEY_ID": "AKIDUNKNOWN"}, (), "us-east-1", "does not know this access key"),
        ({**SESSION_KEYS, "AWS_ACCESS_KEY_ID": "AKIDEXPIRED"}, (), "us-east-1", "Log in again"),
    ],
)
def test_a_refusal_says_what_to_do(examine, domain, keys, options, region, remedy):
    domain.add_credentials("AKIDEXPIRED", SECRET_KEY, TOKEN, expires_at=time.time() - 1)
    checks = examine(domain.url, *options, region=region, keys=keys)
    assert statuses(checks) == {"signed request": "failure", "gzip": "skipped"}
    assert remedy in checks["signed request"]["remedy"]
    assert "403 " in checks["signed request"]["detail"]
    assert "Canonical String" not in checks["signed request"]["detail"]


def test_a_header_that_was_changed_on_the_way_is_named(examine, server):
    def refuse(handler):
        lines = [
            *("GET", "/", "", "host:elsewhere", f"x-amz-content-sha256:{handler.headers['x-amz-content-sha256']}"),
            *(f"x-amz-date:{handler.headers['x-amz-date']}", "", "host;x-amz-content-sha256;x-amz-date", "e3b0"),
        ]
        message = (
            "The request signature we calculated does not match the signature you provided.\n\n"
            "The Canonical String for this request should have been\n'" + "\n".join(lines) + "'"
        )
        return 403, {}, json.dumps({"message": message, "got": handler.headers["authorization"]}).encode()

    server.answer = refuse
    remedy = examine(server.url)["signed request"]["remedy"]
    assert "\nheader host differs:\n  signed:   127.0.0.1" in remedy
    assert "proxy, tunnel or custom domain" in remedy


@pytest.mark.parametrize(
    ("answer", "status", "remedy"),
    [
        (
            (403, {}, b'{"Message": "User: x is not authorized to perform: es:a"}'),
            "failure",
            "in its own policy",
        ),
        ((403, {}, b'{"error": {"type": "a", "reason": "no permissions for [b]"}}'), "failure", "Fine-grained"),
        ((403, {}, b'{"message": "Missing Authentication Token"}'), "failure", "removes or changes"),
        ((403, {}, b"\x1b[2J<html>"), "failure", "something between"),
        ((401, {}, b"Unauthorized"), "failure", "user and password"),
        ((404, {}, b""), "failure", "--service aoss"),
        ((429, {}, b""), "warning", "send it again later"),
        ((503, {}, b""), "failure", "health"),
    ],
)
def test_what_a_status_means(examine, server, answer, status, remedy):
    server.answer = answer
    check = examine(server.url)["signed request"]
    assert check["status"] == status
    assert remedy in check["remedy"]
    assert f" {answer[0]}" in check["detail"]
    assert check["detail"].isprintable()


def test_a_lost_answer(examine, domain):
    domain.faults = lambda _: Fault.reset()
    check = examine(domain.url)["signed request"]
    assert (check["status"], check["detail"][:24]) == ("failure", "GET /: ConnectionError: ")


def test_a_prefix_is_kept(examine, domain):
    assert examine(f"{domain.url}/some/prefix/") == {}
    assert [request.target for request in domain.requests][1:] == [b"/some/prefix/", b"/some/prefix/_search"]


@pytest.mark.parametrize(("answer", "status"), [(415, "failure"), (400, "failure"), (403, "warning"), (404, "warning")])
def test_gzip_that_is_refused(examine, domain, answer, status):
    domain.faults = lambda request: Fault.answer(answer) if request.method == "POST" else None
    assert statuses(examine(domain.url)) == {"gzip": status}


def test_a_pipeline_is_not_asked(examine, domain):
    assert statuses(examine(domain.url, "--service", "osis")) == {"signed request": "skipped", "gzip": "skipped"}
    assert len(domain.requests) == 1


def test_the_python_core_is_named(run, domain, monkeypatch):
    monkeypatch.setattr("opensearch_sigv4.core.backend", "python")
    result = run("doctor", domain.url, "--region", domain.region)
    assert result.stdout.startswith(b"warning  core            Python core, ")
    assert result.status == 0
