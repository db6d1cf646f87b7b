"""SigV4Signer as its callers meet it: what it returns, what it refuses, and what it never shows."""

import copy
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from botocore.credentials import Credentials

import opensearch_sigv4 as osv4
from opensearch_sigv4 import SigV4Signer
from opensearch_sigv4.core import spec
from opensearch_sigv4.signer import sign_with_hash
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN, awscrt_authorization

URL = "https://search-logs-abc.us-east-1.es.amazonaws.com/logs/_search"
HOST = "search-logs-abc.us-east-1.es.amazonaws.com"


@pytest.fixture
def signer():
    return SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY), REGION)


@pytest.fixture
def token_signer():
    return SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY, TOKEN), REGION)


def signed_names(headers):
    return headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")


def test_only_the_headers_to_set_are_returned(signer, token_signer):
    given = {"Content-Type": "application/json", "x-amz-meta": "1"}
    assert set(signer.sign("GET", URL, None, given)) == {"Authorization", "X-Amz-Date", "X-Amz-Content-SHA256"}
    signed = token_signer.sign("GET", URL, None, given)
    assert set(signed) == {"Authorization", "X-Amz-Date", "X-Amz-Content-SHA256", "X-Amz-Security-Token"}
    assert signed["X-Amz-Security-Token"] == TOKEN
    assert given == {"Content-Type": "application/json", "x-amz-meta": "1"}


@pytest.mark.parametrize("service", ["es", "aoss", "osis", "anything"])
def test_awscrt_signs_the_same(service):
    signer = SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY, TOKEN), REGION, service)
    signed = signer.sign("POST", URL, b"{}", {"X-Amz-Meta": "a  b"}, at=AT)
    expected = awscrt_authorization(
        "POST",
        "/logs/_search",
        [("host", HOST), ("x-amz-meta", "a  b")],
        signed["X-Amz-Content-SHA256"],
        service=service,
        token=TOKEN,
    )
    assert signed["Authorization"] == expected


def test_the_callers_own_content_hash_is_kept(signer):
    for name in ("X-Amz-Content-SHA256", "x-amz-content-sha256", "X-AMZ-CONTENT-SHA256"):
        explained = signer.explain("PUT", URL, b"body", {name: "UNSIGNED-PAYLOAD"})
        assert "X-Amz-Content-SHA256" not in explained.headers
        assert explained.canonical_request.endswith("\nUNSIGNED-PAYLOAD")
        assert "x-amz-content-sha256:UNSIGNED-PAYLOAD\n" in explained.canonical_request


def test_unsigned_payload():
    signer = SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY), REGION, "aoss", unsigned_payload=True)
    assert signer.sign("PUT", URL, b"body")["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"


def test_the_callers_date_and_token_are_replaced(token_signer):
    explained = token_signer.explain("GET", URL, None, {"x-amz-date": "old", "x-amz-security-token": "old"}, at=AT)
    assert "old" not in explained.canonical_request
    assert explained.headers["X-Amz-Date"] == "20150830T123600Z"


def test_without_a_token_the_callers_is_signed_as_any_x_amz_header(signer):
    explained = signer.explain("GET", URL, None, {"X-Amz-Security-Token": "theirs"})
    assert "x-amz-security-token:theirs\n" in explained.canonical_request
    assert signer.sign("GET", URL, None, {"X-Amz-Security-Token": "theirs"}).keys() == {
        "Authorization",
        "X-Amz-Date",
        "X-Amz-Content-SHA256",
    }


def test_host_normal_forms(signer):
    def host(url, headers=None):
        return signer.explain("GET", url, None, headers).canonical_request.split("host:")[1].split("\n")[0]

    assert host("https://Example.COM:443/") == "example.com"
    assert host("https://user:pw@example.com:9200/") == "example.com:9200"
    assert host("http://[2001:DB8::1]:80/") == "[2001:db8::1]"
    assert host("https://localhost:9200/", {"Host": " Search.Internal "}) == "Search.Internal"
    assert host("https://localhost:9200/", [("hOST", "b")]) == "b"


def test_signed_headers_are_signed_where_present():
    signer = SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY), REGION, signed_headers=["Content-Type", "X-Opaque-Id"])
    assert signed_names(signer.sign("GET", URL, None, {"CONTENT-TYPE": "a/b"})) == [
        "content-type",
        "host",
        "x-amz-content-sha256",
        "x-amz-date",
    ]
    assert "content-type" not in signed_names(signer.sign("GET", URL))


@pytest.mark.parametrize("name", sorted([*spec.NEVER_SIGNED, "X-Forwarded-For", "User-Agent", "x-forwarded-proto"]))
def test_headers_that_change_on_the_way_are_never_signed(signer, name):
    assert name.lower() not in signed_names(signer.sign("GET", URL, None, {name: "value"}))
    with pytest.raises(ValueError, match=r"^signed_headers: .* must not be signed"):
        SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY), REGION, signed_headers=[name])


def test_pairs_and_mappings(signer):
    pairs = [("X-Amz-Meta", "1"), ("x-amz-meta", "2")]
    assert "x-amz-meta:1,2\n" in signer.explain("GET", URL, None, pairs).canonical_request
    assert "x-amz-meta:1,2\n" in signer.explain("GET", URL, None, iter(pairs)).canonical_request


def test_at(signer):
    assert signer.sign("GET", URL, at=AT)["X-Amz-Date"] == "20150830T123600Z"
    elsewhere = AT.astimezone(timezone(timedelta(hours=14))) + timedelta(microseconds=999_999)
    assert signer.sign("GET", URL, at=elsewhere) == signer.sign("GET", URL, at=AT)
    before = datetime.now(UTC).replace(microsecond=0)
    now = datetime.strptime(signer.sign("GET", URL)["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert before <= now <= datetime.now(UTC)


def test_the_day_turns_at_midnight_utc(signer):
    late = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    scopes = [signer.explain("GET", URL, at=late + timedelta(seconds=s)).credential_scope for s in (0, 1)]
    assert scopes == ["20261231/us-east-1/es/aws4_request", "20270101/us-east-1/es/aws4_request"]


# --- region ------------------------------------------------------------------------------------------------


def scope_of(signer, url):
    return signer.explain("GET", url).credential_scope.split("/")[1]


def test_region_argument_then_host_then_environment(monkeypatch):
    credentials = Credentials(ACCESS_KEY, SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert scope_of(SigV4Signer(credentials, "eu-west-1"), URL) == "eu-west-1"
    signer = SigV4Signer(credentials)
    assert signer.region is None
    assert scope_of(signer, URL) == "us-east-1"
    assert scope_of(signer, "https://search.example.com/") == "eu-west-3"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert scope_of(signer, "https://search.example.com/") == "eu-west-2"
    assert scope_of(signer, URL) == "us-east-1"


def test_no_region_is_an_error_that_says_what_to_pass():
    with pytest.raises(ValueError, match=r"^region: .*'search\.example\.com'.*pass region="):
        SigV4Signer(Credentials(ACCESS_KEY, SECRET_KEY)).sign("GET", "https://search.example.com/")


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "method", (None, URL)),
        (TypeError, "method", (b"GET", URL)),
        (ValueError, "method", ("", URL)),
        (ValueError, "method", ("GET /", URL)),
        (ValueError, "method", ("GET\r\n", URL)),
        (ValueError, "method", ("GÉT", URL)),
        (TypeError, "url", ("GET", None)),
        (TypeError, "url", ("GET", URL.encode())),
        (ValueError, "url", ("GET", URL + "\n")),
        (ValueError, "url", ("GET", URL + "\t")),
        (ValueError, "url", ("GET", URL + "\x7f")),
        (ValueError, "url", ("GET", URL + "\udc80")),
        (ValueError, "url", ("GET", "/logs/_search")),
        (TypeError, "body", ("GET", URL, 5)),
        (TypeError, "body", ("GET", URL, {"a": 1})),
        (TypeError, "body", ("GET", URL, ["a"])),
        (TypeError, "body", ("GET", URL, iter([b"a"]))),
        (ValueError, "body", ("GET", URL, "a\ud800")),
        (TypeError, "headers", ("GET", URL, None, 5)),
        (TypeError, "headers", ("GET", URL, None, ["Host"])),
        (TypeError, "headers", ("GET", URL, None, "Host: a")),
        (TypeError, "header name", ("GET", URL, None, {5: "a"})),
        (TypeError, "header name", ("GET", URL, None, {b"Host": "a"})),
        (TypeError, "header X-Amz-A", ("GET", URL, None, {"X-Amz-A": 5})),
        (TypeError, "header Accept", ("GET", URL, None, {"Accept": None})),
        (ValueError, "header X-Amz-A", ("GET", URL, None, {"X-Amz-A": "a\r\nb"})),
        (ValueError, "header Accept", ("GET", URL, None, {"Accept": "a\x00"})),
        (ValueError, "header Accept", ("GET", URL, None, {"Accept": "a\tb"})),
        (ValueError, "header Accept", ("GET", URL, None, {"Accept": "a\x7f"})),
        (ValueError, "header Accept", ("GET", URL, None, {"Accept": "\ud800"})),
        (ValueError, "header name", ("GET", URL, None, {"X-Amz-A\n": "a"})),
        (ValueError, "headers", ("GET", URL, None, {"X-Amz A": "a"})),
        (ValueError, "headers", ("GET", URL, None, {"": "a"})),
        (ValueError, "headers", ("GET", URL, None, {"Host": " "})),
        (ValueError, "headers", ("GET", URL, None, [("Host", "a"), ("host", "b")])),
        (ValueError, "headers", ("GET", URL, None, [("X-Amz-Content-SHA256", "a"), ("x-amz-content-sha256", "a")])),
    ],
)
def test_bad_input_is_named(signer, error, message, arguments):
    for method in (signer.sign, signer.explain):
        with pytest.raises(error, match=f"^{message}: "):
            method(*arguments)


def test_naive_and_wrong_times(signer):
    with pytest.raises(ValueError, match=r"^at: a naive datetime"):
        signer.sign("GET", URL, at=datetime(2026, 1, 1))
    with pytest.raises(TypeError, match=r"^at: "):
        signer.sign("GET", URL, at=1_700_000_000)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "region: it cannot be empty", {"region": ""}),
        (TypeError, "region", {"region": 5}),
        (ValueError, "region", {"region": "us-east-1\n"}),
        (ValueError, "region", {"region": "us/east"}),
        (ValueError, "service: it cannot be empty", {"service": ""}),
        (TypeError, "service", {"service": None}),
        (ValueError, "service", {"service": "e s"}),
        (TypeError, "signed_headers", {"signed_headers": "content-type"}),
        (TypeError, "signed_headers", {"signed_headers": [5]}),
        (ValueError, "signed_headers", {"signed_headers": ["a b"]}),
        (TypeError, "credentials", {"credentials": 5}),
        (TypeError, "credentials", {"credentials": "default"}),
    ],
)
def test_bad_arguments_of_the_constructor(error, message, arguments):
    with pytest.raises(error, match=f"^{message}"):
        SigV4Signer(**{"credentials": Credentials(ACCESS_KEY, SECRET_KEY), "region": REGION, **arguments})


# --- what it shows, copies and loads -----------------------------------------------------------------------


def test_attributes_are_read_only(signer):
    credentials = Credentials(ACCESS_KEY, SECRET_KEY)
    signer = SigV4Signer(credentials, REGION, "aoss")
    assert (signer.region, signer.service) == (REGION, "aoss")
    assert signer.credentials is credentials
    for name in ("region", "service", "credentials"):
        with pytest.raises(AttributeError):
            setattr(signer, name, "other")


def test_nothing_secret_is_shown(token_signer):
    explained = token_signer.explain("GET", URL, at=AT)
    signature = explained.headers["Authorization"].rpartition("=")[2]
    for shown in (repr(token_signer), str(token_signer), str(explained), repr(explained), f"{explained}"):
        for secret in (SECRET_KEY, TOKEN, signature):
            assert (secret in shown) is False
    assert TOKEN in explained.canonical_request
    assert "20150830/us-east-1/es/aws4_request" in str(explained)


def test_copies_share_the_credentials(token_signer):
    for twin in (
        copy.copy(token_signer),
        copy.deepcopy(token_signer),
        copy.deepcopy({"auth": [token_signer]})["auth"][0],
    ):
        assert twin.source is token_signer.source
        assert twin.sign("GET", URL, at=AT) == token_signer.sign("GET", URL, at=AT)


def test_pickles_of_static_credentials_sign_the_same(token_signer):
    twin = pickle.loads(pickle.dumps(token_signer))
    assert twin.sign("GET", URL, at=AT) == token_signer.sign("GET", URL, at=AT)
    assert (twin.region, twin.service) == (token_signer.region, token_signer.service)


@pytest.mark.parametrize("name", ["x-amz-content-sha256", "X-Amz-Content-SHA256"])
def test_a_hash_that_is_known_does_not_replace_the_callers_own(signer, name):
    headers = {name: "UNSIGNED-PAYLOAD"}
    signed = sign_with_hash(signer, "POST", URL, b"{}", headers, sha256(b"{}").hexdigest())
    assert name.lower() not in {name.lower() for name in signed}
    assert ";x-amz-content-sha256;" in signed["Authorization"]


def test_a_session_cannot_be_pickled():
    import botocore.session

    with pytest.raises(TypeError, match="credentials"):
        pickle.dumps(SigV4Signer(botocore.session.Session(), REGION))


def test_the_signer_loads_neither_opensearchpy_nor_botocore():
    code = (
        "import sys; from opensearch_sigv4 import SigV4Signer, backend, Explanation\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'opensearchpy', 'botocore', 'boto3', 'aiohttp', 'urllib3', 'requests'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_public_names():
    assert set(osv4.__all__) <= set(dir(osv4))
    for name in osv4.__all__:
        assert getattr(osv4, name) is not None
    assert osv4.backend in ("cython", "python")
    assert osv4.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        osv4.nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("aiohttp", "AsyncSigV4HttpConnection", "async"), ("httpx", "HttpxAWSV4SignerAuth", "httpx")],
)
@pytest.mark.parametrize(
    "looks",
    [
        "from opensearch_sigv4 import *",
        "import inspect; inspect.getmembers(opensearch_sigv4)",
        "from unittest import mock; mock.create_autospec(opensearch_sigv4)",
        "help(opensearch_sigv4)",
        "[getattr(opensearch_sigv4, name) for name in opensearch_sigv4.__all__]",
    ],
)
def test_what_looks_at_all_names_does_not_fail_for_a_missing_extra(missing, name, extra, looks):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import opensearch_sigv4
{looks}
assert {{*opensearch_sigv4.__all__}} == {{*opensearch_sigv4._MODULES}} - {{{name!r}}}
assert {name!r} not in dir(opensearch_sigv4)
try:
    from opensearch_sigv4 import {name}
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{name} needs {missing}: pip install 'opensearch-sigv4[{extra}]'"


def test_all_names_are_there_where_all_extras_are():
    assert sorted(osv4.__all__) == sorted(osv4._MODULES)


def test_a_type_checker_knows_these_names_and_no_others(tmp_path):
    names = ", ".join(sorted(osv4._MODULES))
    program = tmp_path / "program.py"
    program.write_text(f"import opensearch_sigv4\nfrom opensearch_sigv4 import *\n{names}\nopensearch_sigv4.Nothing\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", program.name]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert 'Module has no attribute "Nothing"' in result.stdout
    assert result.stdout.count("error:") == 1, result.stdout
