"""`opensearch-sigv4 request`: what is sent, byte for byte, and what is made of the answer."""

import gzip
import json

import pytest

from commands import SECRET_KEY, SESSION_KEYS, TOKEN, Commands
from opensearch_sigv4.testing import Fault, LocalDomain
from recorder import sent

BINARY = bytes(range(256))


@pytest.fixture
def run(capfdbinary, monkeypatch):
    return Commands(capfdbinary, monkeypatch)


@pytest.fixture
def domain(run, server):
    """A domain in front of the recorder."""
    with LocalDomain(upstream=server.url) as domain:
        domain.add_credentials("AKIDEXAMPLE2", SECRET_KEY, TOKEN)
        run.domain = domain
        yield domain


@pytest.fixture
def request_to(run, domain):
    def send(method, path, *options, **keywords):
        return run("request", method, domain.url + path, "--region", domain.region, *options, **keywords)

    return send


@pytest.mark.parametrize("keys", [None, SESSION_KEYS])
def test_the_answer_is_written_byte_for_byte(request_to, domain, server, keys):
    server.answer = (200, {"content-type": "application/octet-stream"}, BINARY)
    result = request_to("get", "/a%2Fb/_doc/%C3%BC?q=a%20b&q=*", **({} if keys is None else {"keys": keys}))
    assert (result.stdout, result.stderr, result.status) == (BINARY, "", 0)
    assert server.received[0][:2] == ("GET", "/a%2Fb/_doc/%C3%BC?q=a%20b&q=*")
    assert (domain.verified, domain.refused) == (1, 0)


def test_a_target_that_cannot_stand_raw_is_encoded_before_it_is_signed(request_to, domain):
    assert request_to("GET", "/ü b/_search?q=a+b|[c]").status == 0
    assert domain.requests[0].target == b"/%C3%BC%20b/_search?q=a%20b%7C%5Bc%5D"
    assert domain.verified == 1


@pytest.mark.parametrize("how", ["text", "@file", "-", "@-"])
def test_the_body_is_sent_byte_for_byte(request_to, domain, tmp_path, how):
    body = b'{"a":1}\n\n' if how == "text" else b"{}\r\n\n" + BINARY
    file = tmp_path / "body"
    file.write_bytes(body)
    data = '{"a":1}\n\n' if how == "text" else how.replace("file", str(file))
    assert request_to("POST", "/a/_doc", "--data", data, stdin=body).status == 0
    assert domain.requests[0].body == body
    assert domain.verified == 1


@pytest.mark.parametrize(
    ("path", "body", "options", "content_type"),
    [
        ("/a/_search", '{"a":1}', (), "application/json"),
        ("/a/_search", " [1]", (), "application/json"),
        ("/_bulk?refresh", '{"index":{}}\n{}\n', (), "application/x-ndjson"),
        ("/a/_msearch/template", "{}\n{}\n", (), "application/x-ndjson"),
        ("/a/_doc/_bulk_", "{}", (), "application/json"),
        ("/a", "text", (), None),
        ("/a", None, (), None),
        ("/a", "{}", ("-H", "content-type: text/plain"), "text/plain"),
        ("/a", "{}", ("-H", "Content-Type:"), None),
    ],
)
def test_the_content_type(request_to, server, path, body, options, content_type):
    assert request_to("POST", path, *(() if body is None else ("-d", body)), *options).status == 0
    assert sent(server).get("content-type") == content_type


def test_headers_are_sent_and_signed(request_to, domain):
    headers = ("X-Amz-Meta: ü", "X-Amz-Twice: a", "x-amz-twice: b", "Accept:", "User-Agent: mine", "X-Other:  c ")
    options = [option for header in headers for option in ("-H", header)]
    assert request_to("PUT", "/a", *options, keys=SESSION_KEYS).status == 0
    assert domain.verified == 1
    received = dict(domain.requests[0].headers)
    assert (received[b"x-amz-meta"], received[b"x-amz-twice"]) == ("ü".encode(), b"a, b")
    assert (received[b"user-agent"], received[b"x-other"]) == (b"mine", b"c")
    assert b"accept" not in received


def test_the_host_that_is_given_is_signed(run, domain):
    host = "Host: vpc-logs-abc.us-east-1.es.amazonaws.com"
    result = run("request", "GET", domain.url, "-H", host)  # which tells the region, too
    assert result.status == 0
    assert domain.verified == 1
    assert dict(domain.requests[0].headers)[b"host"] == host.partition(": ")[2].encode()


def test_an_authorization_is_sent_in_place_of_a_signature(run, server):
    result = run("request", "GET", server.url, "-H", "Authorization: Basic RVhBTVBMRQ==", "-v", keys={})
    assert result.status == 0
    assert sent(server)["authorization"] == "Basic RVhBTVBMRQ=="
    assert not [name for name in sent(server) if name.startswith("x-amz-")]
    assert "> authorization: REDACTED\n" in result.stderr


def test_what_is_sent_is_shown_without_secrets(request_to, domain):
    result = request_to("POST", "/a", "-v", "-d", "{}", "-H", "Accept-Encoding:", keys=SESSION_KEYS)
    lines = result.stderr.splitlines()
    assert lines[0] == "> POST /a HTTP/1.1"
    shown = {line[2:].partition(":")[0].lower() for line in lines[1 : lines.index(">")]}
    assert shown == {name.decode().lower() for name, _ in domain.requests[0].headers}
    assert "> X-Amz-Security-Token: REDACTED" in lines
    assert "< HTTP/1.1 200 OK" in lines


def test_status_and_headers_are_included(request_to, server):
    server.answer = (404, {"X-Some": "thing"}, b"gone")
    result = request_to("GET", "/a", "-i")
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"\r\nX-Some: thing\r\n" in head
    assert (body, result.status) == (b"gone", 0)
    result = request_to("HEAD", "/a", "--include")
    assert result.stdout.startswith(b"HTTP/1.1 404")
    assert result.stdout.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("options", "answer", "status", "written"),
    [
        (("--fail",), 404, 22, b""),
        (("-f", "-i"), 500, 22, b""),
        (("--fail-with-body",), 404, 22, b"{}"),
        (("-f",), 201, 0, b"{}"),
        (("-f",), 302, 0, b"{}"),
        ((), 500, 0, b"{}"),
    ],
)
def test_fail(request_to, server, options, answer, status, written):
    server.answer = (answer, {"Location": "/elsewhere"}, b"{}")
    result = request_to("GET", "/a", *options)
    assert (result.status, result.stdout) == (status, written)
    assert (f"Error: the domain answered {answer}" in result.stderr) is (status == 22)
    assert len(server.received) == 1


def test_a_file_that_cannot_be_written_is_found_before_anything_is_sent(request_to, domain, tmp_path):
    result = request_to("POST", "/a/_doc", "--data", "{}", "--output", str(tmp_path / "missing" / "answer"))
    assert result.status == 1
    assert domain.requests == ()


def test_output_to_a_file(request_to, server, tmp_path):
    server.answer = (200, {}, BINARY)
    file = tmp_path / "answer"
    assert request_to("GET", "/a", "-o", file).stdout == b""
    assert file.read_bytes() == BINARY
    assert "Error: " in request_to("GET", "/a", "-o", tmp_path).stderr


def test_compressed(request_to, server):
    server.answer = (200, {"content-encoding": "gzip"}, gzip.compress(BINARY))
    assert request_to("GET", "/a", "--compressed").stdout == BINARY
    assert sent(server)["accept-encoding"] == "gzip"
    assert gzip.decompress(request_to("GET", "/a").stdout) == BINARY
    assert sent(server)["accept-encoding"] == "identity"


def test_tls(run, server):
    with LocalDomain(https=True, upstream=server.url) as domain:
        arguments = ("request", "GET", domain.url, "--region", domain.region)
        result = run(*arguments)
        assert result.status == 1
        assert "CERTIFICATE_VERIFY_FAILED" in result.stderr
        assert result.stderr.count("\n") == 1
        for options in (("-k",), ("--insecure",), ("--ca-bundle", domain.ca_certs), ("--ca-certs", domain.ca_certs)):
            assert run(*arguments, *options).stdout == b"{}"
        assert domain.verified == 4
        other = ("-H", "Host: vpc-logs-abc.us-east-1.es.amazonaws.com")
        assert run(*arguments, "--ca-bundle", domain.ca_certs, *other).status == 1
        assert run(*arguments, "--ca-bundle", domain.ca_certs, "-H", "Host: localhost:1").status == 0


def test_a_refusal_is_explained_without_the_token(request_to, domain, tmp_path):
    wrong = {**SESSION_KEYS, "AWS_SECRET_ACCESS_KEY": "wrong-EXAMPLEKEY"}
    result = request_to("GET", "/a", "-v", "-i", keys=wrong)
    assert result.status == 0
    assert "x-amz-security-token:REDACTED" in json.loads(result.stdout.partition(b"\r\n\r\n")[2])["message"]
    assert result.stderr.count("the secret key is not the one of this access key") == 1
    file = tmp_path / "answer"
    request_to("GET", "/a", "-o", file, keys=wrong)
    assert (TOKEN.encode() in file.read_bytes()) is False


def test_other_commands_show_no_token_either(run, domain):
    wrong = {**SESSION_KEYS, "AWS_SECRET_ACCESS_KEY": "wrong-EXAMPLEKEY"}
    result = run("demo", "--url", domain.url, "--region", domain.region, keys=wrong)
    assert result.status == 1
    assert "x-amz-security-token:REDACTED" in result.stderr


def test_a_refusal_of_what_arrived_is_explained(run, server):
    def refuse(handler):
        lines = [
            *("GET", "/a", "", "host:elsewhere", f"x-amz-content-sha256:{handler.headers['x-amz-content-sha256']}"),
            *(f"x-amz-date:{handler.headers['x-amz-date']}", "", "host;x-amz-content-sha256;x-amz-date", "e3b0"),
        ]
        message = "The Canonical String for this request should have been\n'" + "\n".join(lines) + "'"
        return 403, {}, json.dumps({"message": message, "got": handler.headers["authorization"]}).encode()

    server.answer = refuse
    result = run("request", "GET", f"{server.url}/a", "--region", "us-east-1")
    assert "header host differs:\n  signed:   127.0.0.1" in result.stderr
    assert "received: elsewhere\n" in result.stderr
    assert b"Credential=REDACTED/" in result.stdout
    assert b"Signature=REDACTED" in result.stdout


def test_a_lost_answer_is_one_line(request_to, domain):
    domain.faults = lambda _: Fault.reset()
    result = request_to("POST", "/a", "-d", "{}")
    assert result.status == 1
    assert result.stderr.startswith("Error: ProtocolError: ")
    assert result.stderr.count("\n") == 1
    assert domain.verified == 1


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://127.0.0.1:1", ("--region", "us-east-1"), "Error: NewConnectionError: "),
        ("https://nothing.invalid", ("--region", "us-east-1", "--timeout", "9"), "Error: NameResolutionError: "),
        ("http://127.0.0.1:1", (), "Error: region: "),
        ("http://127.0.0.1:1/a/./b", ("--region", "us-east-1"), "Error: url: a path segment"),
        ("http://127.0.0.1:1", ("--region", "us-east-1", "-d", "@/no/such/file"), "Error: FileNotFoundError: "),
        ("http://127.0.0.1:1", ("--region", "us-east-1", "-H", "Host: a", "-H", "Host: b c"), "Error: "),
        ("http://127.0.0.1:1", ("--profile", "nobody", "--region", "us-east-1"), "Error: ProfileNotFound: "),
    ],
)
def test_what_cannot_be_sent_is_one_line(run, url, options, message):
    result = run("request", "GET", url, *options)
    assert result.status == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_no_credentials(run):
    result = run("request", "GET", "http://127.0.0.1:1", "--region", "us-east-1", keys={})
    assert result.status == 1
    assert result.stderr.startswith("Error: NoCredentialsError: ")


def test_plain_http_to_what_aws_names_is_warned_of(run, domain):
    result = run("request", "GET", domain.url, "-H", "Host: vpc-logs-abc.us-east-1.es.amazonaws.com")
    assert (result.status, result.stderr.count("\n")) == (0, 1)
    assert result.stderr.startswith("Warning: ")
