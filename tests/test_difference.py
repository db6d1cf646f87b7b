"""What is read out of a 403, and how two canonical requests are compared: nothing raises, no secret is told."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opensearchpy import AuthorizationException

from opensearch_sigv4 import SigV4Signer, connect
from opensearch_sigv4._difference import (
    first_difference,
    server_canonical_request,
    server_string_to_sign,
    without_secrets,
)
from opensearch_sigv4.testing import LocalDomain
from opensearch_sigv4.testing.verify import Credentials, verify

NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
TOKEN = "EXAMPLE-TOKEN/with+signs=="
OURS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", TOKEN)
THEIRS = Credentials("AKIDEXAMPLE", "another-EXAMPLEKEY", TOKEN)
SIGNER = SigV4Signer(OURS, "us-east-1")
CANONICAL = SIGNER.explain("GET", "https://example.com/a?b=c", at=NOW).canonical_request

texts = st.text() | st.text("\\'\n:/&=%nrux0 aAGET;-")
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FFFF, exclude_categories=["Cs", "Cc"]))


def refusal(target="/a", headers=(), body=b""):
    """What a domain that knows another secret key says of our request, and what we signed."""
    explained = SIGNER.explain("POST", f"https://example.com{target}", body, headers, at=NOW)
    sent = {"host": "example.com", **dict(headers), **explained.headers}
    verdict = verify(
        "POST",
        target.encode(),
        [(name.encode(), value.encode()) for name, value in sent.items()],
        body,
        region="us-east-1",
        service="es",
        find_credentials=lambda _: THEIRS,
        now=NOW.timestamp(),
    )
    assert verdict.code == "InvalidSignatureException"
    return verdict.message, explained


# How a message may come: as it is, as the domain sends it, in an exception's text, and that in a log of JSON lines.
FORMS = {
    "message": lambda message: message,
    "lines of Windows": lambda message: message.replace("\n", "\r\n"),
    "body": lambda message: json.dumps({"message": message}),
    "body in UTF-8": lambda message: json.dumps({"message": message}, ensure_ascii=False, indent=1),
    "repr": lambda message: repr(RuntimeError(message)),
    "exception": lambda message: str(AuthorizationException(403, json.dumps({"message": message}), {})),
    "repr of bytes": lambda message: repr(json.dumps({"message": message}).encode()),
    "log of JSON": lambda message: json.dumps(
        {"level": "error", "error": repr(AuthorizationException(403, json.dumps({"message": message}), {}))}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_refusal_is_read_in_every_form(form):
    message, explained = refusal("/a%20b?q='x'", {"x-amz-meta": "it's \\n 'ü' \"\U0001f600\""})
    text = f"before 'this'\n{FORMS[form](message)}\nafter 'it'"
    assert server_canonical_request(text) == explained.canonical_request
    assert server_string_to_sign(text) == explained.string_to_sign


@given(value=values, form=st.sampled_from([*FORMS]))
def test_any_header_comes_back(value, form):
    value = " ".join(value.split()) or "x"  # botocore, which writes the text, folds every Unicode space
    message, explained = refusal(headers={"x-amz-meta": value})
    assert server_canonical_request(FORMS[form](message)) == explained.canonical_request


def test_what_a_domain_sends():
    with LocalDomain(credentials=THEIRS, upstream="http://127.0.0.1:1") as domain:
        client = connect(domain.url, region="us-east-1", credentials=OURS)
        with client, pytest.raises(AuthorizationException) as raised:
            client.search(index="a,b*", q="x y", body={})
        signed = dict(domain.requests[0].headers)
    at = datetime.strptime(signed[b"X-Amz-Date"].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    target = domain.requests[0].target.decode()
    ours = SIGNER.explain("POST", domain.url + target, domain.requests[0].body, at=at)
    for text in (raised.value.error, str(raised.value), repr(raised.value)):
        # The connection hides the token that the domain quotes.
        assert server_canonical_request(text) == ours.canonical_request.replace(OURS.token, "REDACTED")
        assert server_string_to_sign(text) == ours.string_to_sign


def test_of_several_the_last_whole_one_counts():
    first, second = refusal("/1")[0], refusal("/2")[0]
    assert server_canonical_request(first + second).split("\n")[1] == "/2"
    assert server_canonical_request(first + second[:-450]).split("\n")[1] == "/1"
    cut_off = first + second[: second.index("The String-to-Sign")]
    assert server_canonical_request(cut_off).split("\n")[1] == "/2"
    assert server_string_to_sign(cut_off) is None


@given(texts)
@example("The Canonical String for this request should have been")
@example("The Canonical String for this request should have been\\n'\\ud800\n\na'")
def test_any_text_is_read(text):
    for around in (text, f"The Canonical String for this request should have been{text}"):
        assert server_canonical_request(around) is None or isinstance(server_canonical_request(around), str)
        assert server_string_to_sign(around) is None or isinstance(server_string_to_sign(around), str)


@pytest.mark.parametrize(
    "text",
    [
        "The Canonical String for this request should have been\n'" * 200_000,
        "The Canonical String for this request should have been\\\\\\\\n'" + "\\" * 10_000_000,
        "The Canonical String for this request should have been\n'G\n" + "\na" * 5_000_000,
        "x" * 20_000_000,
    ],
)
def test_a_huge_text_is_read(text):  # quadratic work would take hours
    assert server_canonical_request(text) is None
    assert server_string_to_sign(text) is None


@given(texts, texts)
@example(CANONICAL, CANONICAL)
def test_any_two_texts_are_compared(ours, theirs):
    assert first_difference(ours, ours) is None
    for one, other in pairwise([ours, theirs, CANONICAL, ours]):
        difference = first_difference(one, other)
        if difference is not None:
            shown = f"{difference}{difference!r}"
            assert difference.cause in shown
            assert len(shown) < 4_000
            assert str(difference).isprintable() or "\n" in str(difference)
            str(difference).encode()


@pytest.mark.parametrize(
    ("old", "new", "element", "cause"),
    [
        ("GET\n", "POST\n", "HTTP method", "redirect"),
        ("\n/a\n", "\n/b/a\n", "canonical URI", "rewrote the path"),
        ("\n/a\n", "\n/%2561\n", "canonical URI", "encoded otherwise"),
        ("b=c\n", "b=d\n", "canonical query string", "changed the parameters"),
        ("b=c\n", "b=%63\n", "canonical query string", "encoded or ordered otherwise"),
        ("b=c\n", "b=c&d=\n", "canonical query string", "added"),
        ("host:example.com", "host:localhost:9443", "header host", "proxy, tunnel or custom domain"),
        ("host:example.com\n", "", "header host", "removed on the way"),
        ("host:", "etag:a\nhost:", "header etag", "signed it, too"),
        ("x-amz-date:2", "x-amz-date:3", "header x-amz-date", "different times"),
        ("sha256:e", "sha256:f", "header x-amz-content-sha256", "The body was changed"),
        (";x-amz-security-token\n", "\n", "signed headers", "other headers"),
        ("\ne3b0", "\nffff", "payload hash", "The body was changed"),
    ],
)
def test_each_element_is_named_with_its_cause(old, new, element, cause):
    theirs = CANONICAL.replace(old, new)
    difference = first_difference(CANONICAL, theirs)
    assert difference.element == element
    assert cause in difference.cause
    assert difference.ours != difference.theirs


def test_a_header_of_one_side_shifts_nothing():
    theirs = CANONICAL.replace("host:", "accept:x\nhost:")
    difference = first_difference(CANONICAL, theirs)
    assert (difference.element, difference.ours, difference.theirs) == ("header accept", None, "x")
    assert "signed:   (not there)" in str(difference)
    difference = first_difference(theirs, CANONICAL)
    assert (difference.element, difference.ours, difference.theirs) == ("header accept", "x", None)


def test_long_lines_are_cut_to_where_they_differ():
    ours = CANONICAL.replace("/a\n", f"/{'a' * 5_000}b{'c' * 5_000}\n")
    theirs = ours.replace("ab", "aab")
    difference = first_difference(ours, theirs)
    assert difference.ours == "..." + "a" * 40 + "b" + "c" * 79 + "..."
    assert difference.theirs == "..." + "a" * 41 + "b" + "c" * 78 + "..."
    assert first_difference(ours, CANONICAL).theirs == "/a"


def test_a_token_that_a_log_hid_is_no_difference():
    for hidden in ("REDACTED", "***"):
        assert first_difference(CANONICAL, CANONICAL.replace(TOKEN, hidden)) is None
    difference = first_difference(CANONICAL, CANONICAL.replace(TOKEN, "another-EXAMPLE"))
    assert (difference.element, difference.ours, difference.theirs) == (
        "header x-amz-security-token",
        "REDACTED",
        "REDACTED",
    )
    assert "different sessions" in difference.cause


@given(
    token=st.text("ABCdef0189+/=%", min_size=12),
    old=st.sampled_from(["GET", "/a", "b=c", "host:", "example.com", "x-amz-date:2", TOKEN, ";host", "\ne3b0"]),
    template=st.sampled_from(
        ["{}", "{}:x\nhost:", "x{}y", "X-Amz-Security-Token={}", "/{}", "b={}&c=d", "etag:{}\nhost:"]
    ),
)
def test_a_token_is_never_shown(token, old, template):
    ours = CANONICAL.replace(TOKEN, token)
    for one, other in ((ours, ours.replace(old, template.format(token))), (CANONICAL, ours)):
        for difference in (first_difference(one, other), first_difference(other, one)):
            assert (token in f"{difference}{difference!r}") is False


def test_a_signature_is_never_shown():
    signature = "ab" * 32
    for old, new in (
        ("b=c", f"X-Amz-Signature={signature}"),
        ("host:", f"authorization:AWS4-HMAC-SHA256 Credential=A/b, Signature={signature}\nhost:"),
        ("host:", f"etag:Signature={signature}\nhost:"),
    ):
        difference = first_difference(CANONICAL, CANONICAL.replace(old, new))
        assert (signature in f"{difference}{difference!r}") is False
        assert "REDACTED" in str(difference)


@pytest.mark.parametrize("form", FORMS)
def test_what_quotes_a_refusal_is_shown_without_its_secrets(form):
    message, explained = refusal(headers={"x-amz-meta": "it's"})
    shown = without_secrets(FORMS[form](f"{message}\n{explained.headers}"))
    assert (TOKEN in shown) is False
    assert "Signature=REDACTED" in shown
    assert shown.count("REDACTED") == 3
    assert explained.headers["X-Amz-Content-SHA256"] in shown


def test_a_huge_text_is_shown():  # quadratic work would take hours
    for text in (
        "x-amz-security-token:" + "\\" * 3_000_000 + " ",
        "Signature=" + "\\" * 3_000_000,
        "x-amz-security-token" + '"' * 3_000_000,
    ):
        assert without_secrets(text) == text


@given(texts)
def test_any_text_is_shown_without_secrets(text):
    for around in (text, f"x-amz-security-token:{text}", f"Signature={text}"):
        assert without_secrets(without_secrets(around)) == without_secrets(around)
