"""The core against signers that we did not write: awscrt everywhere, botocore where its rules are AWS's."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opensearch_sigv4.core import spec
from oracles import (
    ACCESS_KEY,
    AT,
    REGION,
    SECRET_KEY,
    TOKEN,
    awscrt_authorization,
    botocore_canonical_request,
    recoded_query,
)

HOST = "search-logs.us-east-1.es.amazonaws.com"


def sign(
    core, method, target, headers=None, body=None, *, service="es", token=None, further=frozenset(), unsigned=False
):
    return core.sign(
        method,
        f"https://{HOST}{target}",
        body,
        headers,
        ACCESS_KEY,
        SECRET_KEY,
        token,
        REGION,
        service,
        int(AT.timestamp()),
        further,
        unsigned,
    )


# Any text that a URL can hold once spaces and non-ASCII are escaped, weighted towards what goes wrong.
hostile = st.sampled_from(
    [*"/.?%+*,:#&= ~!'()$@;[]{}<>|\\^`\"", "..", "//", "%2F", "%2f", "%25", "%20", "ü", "日本", "🙂"]
)
text = st.lists(st.one_of(hostile, st.characters(exclude_categories=["Cs", "Cc"])), max_size=12).map("".join)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"])
# awscrt folds what AWS calls white space; only the space can stand in a header that `sign` accepts.
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
amz_names = st.from_regex(r"x-amz-[a-z]{1,8}", fullmatch=True).filter(
    lambda name: name not in ("x-amz-date", "x-amz-region")
)


def is_read_as_path(target):
    """awscrt takes a target with `//` in front or `:/` in it for a URL with a scheme."""
    return not target.startswith("//") and ":/" not in target


@given(methods, text, text, st.dictionaries(amz_names, values, max_size=3), st.binary(max_size=80), st.booleans())
@example("GET", "a%20b", "q=item+one", {}, b"", False)
@example("POST", "*/_search", "a=2&a=1&a&b=&=c&&", {"x-amz-meta": "  a   b  "}, b"\x00\xff", True)
def test_equal_to_awscrt(core, method, path, query, headers, body, with_token):
    parts = core.split_url(f"https://{HOST}/{path.replace('?', '').replace('#', '')}?{query.replace('#', '')}")
    # awscrt refuses a query whose % starts no escape; what is signed for one is said in test_percent_alone.
    wire_query = core.request_target("/", parts.query)[2:]
    target = f"{parts.path}?{wire_query}" if wire_query else parts.path
    if not is_read_as_path(target):
        return
    token = TOKEN if with_token else None
    signed = sign(core, method, target, headers, body, token=token).headers
    expected = awscrt_authorization(
        method, target, [("host", HOST), *headers.items()], signed[spec.CONTENT_SHA256], token=token
    )
    assert signed[spec.AUTHORIZATION] == expected


@given(methods, text, text, st.dictionaries(amz_names, values, max_size=3), st.binary(max_size=80), st.booleans())
@example("GET", "a/./b/../c//d/.", "b=1&a-b=2&a=3", {}, b"", False)
@example("GET", "a/..", "", {}, b"", False)
def test_equal_to_botocore_where_the_rules_agree(core, method, path, query, headers, body, with_token):
    parts = core.split_url(f"https://{HOST}/{path.replace('?', '').replace('#', '')}")
    query = recoded_query(core.request_target("/", query.replace("#", ""))[2:])
    url = f"https://{HOST}{parts.path}" + (f"?{query}" if query else "")
    token = TOKEN if with_token else None
    signed = sign(core, method, url.removeprefix(f"https://{HOST}"), headers, body, token=token)
    expected = botocore_canonical_request(method, url, headers, signed.headers[spec.CONTENT_SHA256], token=token)
    if query:
        # botocore sorts by the text before encoding; both are sorted here, so only equal names can differ.
        ours, theirs = signed.canonical_request.split("\n"), expected.split("\n")
        assert sorted(ours.pop(2).split("&")) == sorted(theirs.pop(2).split("&"))
        assert ours == theirs
    else:
        assert signed.canonical_request == expected


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/", "/"),
        ("/a%20b", "/a%2520b"),
        ("/a%2Fb", "/a%252Fb"),
        ("/a%2fb", "/a%252fb"),
        ("/*,:@!", "/%2A%2C%3A%40%21"),
        ("/a~b-c_d.e", "/a~b-c_d.e"),
        ("/a//b", "/a/b"),
        ("//", "/"),
        ("/a/", "/a/"),
        ("/a/.", "/a"),
        ("/a/b/..", "/a"),
        ("/a/../", "/"),
        ("/../a", "/a"),
        ("/.a/..b/...", "/.a/..b/..."),
        ("/%2e%2e/a", "/%252e%252e/a"),
    ],
)
def test_canonical_path(core, path, canonical):
    assert core.canonical_path(path) == canonical


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("q=a+b", "q=a%20b"),
        ("q=a%20b", "q=a%20b"),
        ("q=a%2Bb", "q=a%2Bb"),
        ("q=a%2bb", "q=a%2Bb"),
        ("b=1&a=2&a=1&a", "a=&a=1&a=2&b=1"),
        ("a=b=c", "a=b%3Dc"),
        ("a-b=1&a=2", "a=2&a-b=1"),
        ("B=1&a=2", "B=1&a=2"),
        ("q=*:/?", "q=%2A%3A%2F%3F"),
        ("q=%FF", "q=%FF"),
        ("q=ü", "q=%C3%BC"),
        ("&a&&", "a="),
    ],
)
def test_canonical_query(core, query, canonical):
    assert core.canonical_query(query) == canonical


def test_percent_alone(core):
    """A `%` that starts no escape is a `%`: awscrt refuses it, botocore leaves it, and no two servers agree."""
    assert core.canonical_query("q=100%&r=%zz&s=%4") == "q=100%25&r=%25zz&s=%254"
    assert core.canonical_path("/100%") == "/100%25"


def test_canonical_headers(core):
    lines, names = core.canonical_headers([("x-amz-b", " 1   2 "), ("host", "h"), ("x-amz-a", ""), ("x-amz-b", "3")])
    assert lines == "host:h\nx-amz-a:\nx-amz-b:1 2,3\n"
    assert names == "host;x-amz-a;x-amz-b"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda body: memoryview(body)[::1]])
def test_bytes_like_bodies(core, make):
    assert core.payload_hash(make(b"body")) == core.payload_hash("body") == core.payload_hash(b"body")


def test_bodies_that_are_not_contiguous_or_not_flat(core):
    assert core.payload_hash(memoryview(b"b-o-d-y")[::2]) == core.payload_hash(b"body")
    square = memoryview(b"body").cast("B", (2, 2))
    assert core.payload_hash(square) == core.payload_hash(b"body")
    point = memoryview(b"b").cast("B", ())
    assert core.payload_hash(point) == core.payload_hash(b"b")


def test_a_large_body_is_not_copied(core):
    import tracemalloc

    body = bytearray(8 << 20)
    tracemalloc.start()
    core.payload_hash(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_an_empty_body_is_hashed_too(core):
    for body in (None, b"", "", bytearray()):
        assert core.payload_hash(body) == spec.EMPTY_PAYLOAD_HASH


# --- the request target ------------------------------------------------------------------------------------


@given(text, text)
def test_a_target_is_sent_by_urllib3_as_it_is(core, path, query):
    from urllib3.util.url import _encode_target

    try:
        target = core.request_target(f"/{path}", query)
    except ValueError:
        assert "#" in path + query or "?" in path or {".", ".."} & set(f"/{path}".split("/"))
        return
    assert _encode_target(target) == target
    assert core.request_target(*target.partition("?")[::2]) == target


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/a b", "", "/a%20b"),
        ("/%c3%bc", "", "/%C3%BC"),
        ("/ü", "q=ü", "/%C3%BC?q=%C3%BC"),
        ("/100%", "", "/100%25"),
        ("/a%2", "", "/a%252"),
        ("/a%2g%20", "", "/a%252g%20"),
        ('/"<>[]\\^`{|}', "", "/%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D"),
        ("/a", "q=a+b", "/a?q=a%20b"),
        ("/a", "q=a%2Bb", "/a?q=a%2Bb"),
        ("/a", "x?y", "/a?x?y"),
        ("/%2E%2E/a", "", "/%2E%2E/a"),
        ("/...", "", "/..."),
    ],
)
def test_request_target(core, path, query, target):
    assert core.request_target(path, query) == target


@pytest.mark.parametrize("path", ["/.", "/..", "/a/../b", "/a/./b", "/a/.."])
def test_dot_segments_cannot_be_sent(core, path):
    with pytest.raises(ValueError, match=r"url: a path segment"):
        core.request_target(path)


@pytest.mark.parametrize("path", ["a", "", "/a#b", "/a?b", "/a\nb", "/a\x7f", "/\ud800"])
def test_paths_that_cannot_be_sent(core, path):
    with pytest.raises(ValueError, match=r"^url: "):
        core.request_target(path)


# --- the URL -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://Host.Example", ("https", "host.example", "/", "")),
        ("HTTPS://h:443/a?b#c", ("https", "h", "/a", "b")),
        ("http://h:80", ("http", "h", "/", "")),
        ("http://h:443?x=/y", ("http", "h:443", "/", "x=/y")),
        ("https://h:", ("https", "h", "/", "")),
        ("https://h:0443/", ("https", "h", "/", "")),
        ("https://user:p@ss@h:9200/", ("https", "h:9200", "/", "")),
        ("https://[2001:DB8::1]:9200/", ("https", "[2001:db8::1]:9200", "/", "")),
        ("https://[fe80::1%25eth0]/", ("https", "[fe80::1]", "/", "")),
        ("https://h.example./", ("https", "h.example", "/", "")),
        ("https://h/a b/ü?c d", ("https", "h", "/a%20b/%C3%BC", "c%20d")),
        ("https://h/a%2fb[c]", ("https", "h", "/a%2fb[c]", "")),
        ("https://h#f?g", ("https", "h", "/", "")),
    ],
)
def test_split_url(core, url, parts):
    assert core.split_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/a",
        "/a",
        "ftp://h/",
        "https://",
        "https:///a",
        "https://h:x/",
        "https://h:0/",
        "https://h:65536/",
        "https://h:99999999999/",
        "https://a b/",
        "https://ü/",
        "https://h\\@evil/",
        "https://[::1/",
        "https://h/\ta",
        "https://h/a\r\nX: y",
        "https://h/\x7f",
        "https://h/\ud800",
        "https://./",
    ],
)
def test_urls_that_cannot_be_signed(core, url):
    with pytest.raises(ValueError, match=r"^url: "):
        core.split_url(url)
    with pytest.raises(ValueError, match=r"^url: "):
        core.sign("GET", url, None, None, ACCESS_KEY, SECRET_KEY, None, REGION, "es", 0)


def test_no_message_shows_a_url_or_a_secret(core):
    for url in ("https://user:wJalrXUtnFEMI@h:x/", "https://user:wJalrXUtnFEMI@h/\n"):
        with pytest.raises(ValueError, match=r"^url: ") as caught:
            core.split_url(url)
        assert "wJalr" not in str(caught.value)


# --- signing keys ------------------------------------------------------------------------------------------


def test_signing_keys_are_derived_once_and_kept_apart(core):
    key = core.signing_key(SECRET_KEY, "20150830", REGION, "es")
    assert core.signing_key(SECRET_KEY, "20150830", REGION, "es") is key
    others = [
        core.signing_key(SECRET_KEY + "x", "20150830", REGION, "es"),
        core.signing_key(SECRET_KEY, "20150831", REGION, "es"),
        core.signing_key(SECRET_KEY, "20150830", "eu-west-1", "es"),
        core.signing_key(SECRET_KEY, "20150830", REGION, "aoss"),
    ]
    signatures = {other.signature("to sign") for other in others}
    assert len(signatures) == 4
    assert key.signature("to sign") not in signatures


def test_the_cache_of_signing_keys_is_bounded(core):
    for number in range(spec.SIGNING_KEY_CACHE_SIZE * 2):
        core.signing_key(f"EXAMPLEKEY{number}", "20150830", REGION, "es")
    assert core.signing_key.cache_info().currsize <= spec.SIGNING_KEY_CACHE_SIZE


def test_a_signing_key_shows_itself_to_nobody(core):
    import copy
    import pickle

    key = core.signing_key(SECRET_KEY, "20150830", REGION, "es")
    assert repr(key) == "<SigningKey 20150830/us-east-1/es/aws4_request>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            leak(key)
