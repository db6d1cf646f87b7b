"""The compiled twin against the Python one: the same values, the same exceptions, whatever comes in."""

import array
import copy
import ctypes
import gc
import hashlib
import mmap
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import EXAMPLES, twin
from opensearch_sigv4.core import _python, spec
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN

# Properties with little in them that could differ get a quarter of the usual number.
few = settings(max_examples=max(100, EXAMPLES // 4))

URL = "https://search-logs.us-east-1.es.amazonaws.com/logs/_search"


class Text(str):
    """A str whose methods lie: nothing may depend on them."""

    __slots__ = ()


class Pairs:
    """A mapping to `sign`, as anything with `items` is."""

    def __init__(self, pairs):
        self.pairs = pairs

    def items(self):
        return iter(self.pairs)


@pytest.fixture(scope="module")
def cython():
    return twin("cython")


def outcome(function, *arguments, **keywords):
    """What a call returns or raises, in a form that can be compared."""
    try:
        return "returned", function(*arguments, **keywords)
    except Exception as error:
        return type(error), str(error)


# Every character matters somewhere: what is refused, escaped, folded, normalised or compared by rank.
characters = st.one_of(
    st.sampled_from("aZ09-._~/:?#%&=+@[]!$'()*,;\" <>\\^`{|}"),
    st.sampled_from("\x00\t\n\r\x1f\x7f\x80\xa0\xffü日🙂\ud800\udfff\ufeff"),
    st.characters(),
)
fragments = st.one_of(
    characters,
    st.sampled_from(["%2F", "%2f", "%zz", "%", "//", "/.", "/..", "..", "  ", "a=1", "a=2&a", "&&", "x-amz-"]),
)
hostile = st.lists(fragments, max_size=10).map("".join)
texts = st.one_of(hostile, hostile.map(Text))
anything = st.one_of(texts, st.none(), st.integers(), st.binary(max_size=4), st.floats())

hosts = st.one_of(
    st.sampled_from(
        [
            *(
                "localhost",
                "a.b-c_d~e",
                "HOST",
                "h.",
                ".",
                "",
                "h:80",
                "h:443",
                "h:0443",
                "h:",
                "h:0",
                "h:65535",
                "h:65536",
            ),
            *(
                "h:123456",
                "h:9200",
                "u:p@h",
                "[::1]",
                "[::1]:9200",
                "[FE80::1%25eth0]",
                "h\\",
                "ü",
                "h%41",
                "a b",
                "h:9x",
            ),
        ]
    ),
    texts,
)
schemes = st.sampled_from(["https://", "http://", "HTTPS://", "https:/", "ftp://", "", "https://https://"])
targets = st.one_of(
    st.sampled_from(["", "/", "/logs/_doc/1?refresh=true", "?q", "#f", "/a#b?c", "/a?b#c", "//", "/a/./b", "/%2e%2e/"]),
    st.builds(lambda path, query: f"/{path}?{query}", hostile, hostile),
    texts,
)
urls = st.one_of(st.builds(lambda *parts: "".join(parts), schemes, hosts, targets), anything)
methods = st.one_of(
    st.sampled_from(["GET", "post", "PoSt", "", "G T", "GÉT", Text("GET"), "a!#$%&'*+.^_`|~9"]), anything
)
names = st.one_of(
    st.sampled_from(
        [
            *("host", "HOST", "Host", "x-amz-date", "X-Amz-Date", "x-amz-content-sha256", "X-AMZ-Content-Sha256"),
            *("x-amz-security-token", "X-Amz-Security-Token", "x-amz-", "x-amz", "X-Amz-Meta", "x-amz-a", "x-amz-z"),
            *("content-type", "Content-Type", "accept", "user-agent", "", "a b", "é", Text("x-amz-b")),
        ]
    ),
    anything,
)
values = st.one_of(st.sampled_from(["", " ", "  a   b  ", "a,b", "\x7f", "é", TOKEN, Text("v")]), anything)
pairs = st.lists(st.tuples(names, values), max_size=6)
headers = st.one_of(
    st.none(),
    st.dictionaries(names, values, max_size=6),
    pairs,
    pairs.map(tuple),
    pairs.map(Pairs),
    st.lists(st.one_of(st.tuples(names, values), st.lists(values, max_size=3), anything), max_size=4),
    anything,
)


def strided(body):
    return memoryview(body * 2)[::2]


bodies = st.one_of(
    st.none(),
    st.binary(max_size=300),
    texts,
    st.binary(max_size=100).map(bytearray),
    st.binary(max_size=100).map(memoryview),
    st.binary(min_size=2, max_size=100).map(strided),
    st.binary(max_size=100).map(lambda body: array.array("b", body)),
    st.lists(st.integers(0, 2**32 - 1), max_size=9).map(lambda numbers: array.array("I", numbers)),
    st.integers(),
    st.lists(st.integers(), max_size=2),
)
tokens = st.one_of(st.none(), st.sampled_from([TOKEN, "", " a  b ", "ü", Text("t")]))
times = st.one_of(
    st.just(AT.timestamp()),
    st.integers(-(10**5), 2**40),
    st.floats(-(10.0**5), 2.0**40, allow_nan=False),
    st.booleans(),
)
furthers = st.sampled_from([frozenset(), frozenset({"content-type", "accept"}), frozenset({"host", "x-amz-a", "é"})])


@given(methods, urls, bodies, headers, tokens, times, furthers, st.booleans())
@example("GET", URL, None, None, None, AT.timestamp(), frozenset(), False)
@example("GET", URL, None, {"X-Amz-Content-SHA256": " a  b "}, None, 0, frozenset(), True)
@example("GET", URL, None, {f"x-amz-{number}": "1" for number in range(40)}, TOKEN, 0, frozenset(), False)
@example(
    "GET", URL + "?" + "&".join(f"{number}" for number in range(99, 0, -1)), None, None, None, 0, frozenset(), False
)
@example("GET", URL, b"", {}, None, 253402300799.5, frozenset(), False)
@example("GET", URL, b"", {}, None, 253402300800, frozenset(), False)
@example("GET", URL, b"", {}, None, -0.5, frozenset(), False)
@example("GET", URL, b"", {}, None, 10**400, frozenset(), False)
@example("GET", URL, b"", {}, None, float("nan"), frozenset(), False)
def test_sign(cython, method, url, body, headers, token, timestamp, further, unsigned):
    def signed(core):
        # Iterators are used up, so each twin gets its own.
        own = Pairs(list(headers.pairs)) if isinstance(headers, Pairs) else headers
        arguments = (method, url, body, own, ACCESS_KEY, SECRET_KEY, token, REGION, "es", timestamp, further, unsigned)
        return outcome(core.sign, *arguments)

    result, expected = signed(cython), signed(_python)
    assert result == expected
    if expected[0] == "returned":
        assert list(result[1].headers) == list(expected[1].headers)


@pytest.mark.parametrize("size", [0, 1, 500, 4095, 4096, 4097, 100_000])
@pytest.mark.parametrize("part", ["path", "query", "token", "value", "names", "region"])
def test_sizes_around_the_buffer_on_the_stack(cython, part, size):
    """Each part of a request may be what makes it larger than the stack's buffer, in its longest escaped form."""
    text = "*" * size
    url, token, headers, region = URL, None, {}, REGION
    if part == "path":
        url += text
    elif part == "query":
        url += f"?b&{text}&a"
    elif part == "token":
        token = text
    elif part == "value":
        headers = {"x-amz-meta": text}
    elif part == "names":
        headers = {f"x-amz-{number}{'n' * (size // 10)}": "" for number in range(10)}
    else:
        region = "r" * (size + 1)
    arguments = ("GET", url, b"body", headers, ACCESS_KEY, SECRET_KEY, token, region, "es", 0)
    assert cython.sign(*arguments) == _python.sign(*arguments)


@given(urls)
@example("http://h:443#f?g")
@example("https://h/a?b?c#d")
def test_split_url(cython, url):
    assert outcome(cython.split_url, url) == outcome(_python.split_url, url)


@few
@given(st.sampled_from(["GET", "", None]), anything, anything, anything, anything)
@example("", ACCESS_KEY, SECRET_KEY, "\n", "es")
@example("", ACCESS_KEY, "\ud800", REGION, "es")
def test_odd_credentials(cython, method, access_key, secret_key, region, service):
    def signed(core):
        return outcome(core.sign, method, URL, None, None, access_key, secret_key, None, region, service, 0)

    assert signed(cython) == signed(_python)


@given(texts)
@example("")
@example("a")
@example("/\ud800")
@example("/%")
def test_paths_and_queries(cython, text):
    for name in ("canonical_path", "canonical_query", "request_target"):
        assert outcome(getattr(cython, name), text) == outcome(getattr(_python, name), text)
    for path, query in ((f"/{text}", text), ("/", text), (text, "")):
        assert outcome(cython.request_target, path, query) == outcome(_python.request_target, path, query)


@few
@given(
    st.lists(
        st.sampled_from(["a", "b", "a=1", "a=%31", "A", "a-b", "a.b", "a~", "%2B", "+", "", "=", "a=b=c"]), max_size=40
    )
)
def test_queries_in_any_order(cython, parameters):
    query = "&".join(parameters)
    assert cython.canonical_query(query) == _python.canonical_query(query)


def test_what_needs_no_encoding_comes_back_itself(cython):
    for text in ("/logs/_search", "/", "/a-b_c.d~e/"):
        assert cython.canonical_path(text) is text
        assert cython.request_target(text) is text


@few
@given(bodies)
def test_payload_hash(cython, body):
    assert outcome(cython.payload_hash, body) == outcome(_python.payload_hash, body)


def test_buffers_of_every_kind(cython):
    square = memoryview(bytes(range(36))).cast("B", (6, 6))
    point = memoryview(b"b").cast("B", ())
    buffers = [square, point, (ctypes.c_int * 5)(1, 2, 3), memoryview(b"abcdef")[::-1], memoryview(b"abcd").cast("H")]
    with mmap.mmap(-1, 100) as anonymous:
        for buffer in (*buffers, anonymous):
            assert cython.payload_hash(buffer) == _python.payload_hash(buffer)
    released = memoryview(b"gone")
    released.release()
    assert outcome(cython.payload_hash, released) == outcome(_python.payload_hash, released)


def test_a_body_is_unlocked_again(cython):
    body = bytearray(b"x" * 100_000)
    for _ in range(2):
        cython.payload_hash(body)
        body.append(0)  # BufferError while somebody holds it


@few
@given(anything, anything, anything, anything)
def test_signing_keys(cython, secret_key, day, region, service):
    def signature(core):
        key = core.SigningKey(secret_key, day, region, service)
        return key.credential_scope, repr(key), key.signature("to sign"), key.signature("ü")

    assert outcome(signature, cython) == outcome(signature, _python)


def test_a_signing_key_is_secret_in_both(cython):
    for core in (cython, _python):
        key = core.SigningKey(SECRET_KEY, "20150830", REGION, "es")
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled"):
                leak(key)


class Source:
    """Credentials that are counted, without anything of botocore's."""

    kept = None

    def __init__(self, snapshot=(ACCESS_KEY, SECRET_KEY, TOKEN)):
        self.values = snapshot
        self.asked = 0

    def snapshot(self):
        self.asked += 1
        return self.values


def test_request_signers(cython):
    for region, service, further, unsigned in [
        (REGION, "es", frozenset(), False),
        (REGION, "aoss", frozenset({"accept"}), True),
    ]:
        signers = [
            core.RequestSigner(Source(), lambda: 1_700_000_000.9, region, service, further, unsigned)
            for core in (cython, _python)
        ]
        for arguments, keywords in [
            (("GET", URL), {}),
            (("GET", URL, b"body", {"accept": "a/b"}), {"at": AT}),
            (("GET", URL, "ü"), {"headers": [("x-amz-a", "1"), ("x-amz-a", "2")]}),
            (("GET", URL), {"at": datetime(2026, 1, 1)}),
            (("GET", URL), {"at": 5}),
            ((None, URL), {}),
        ]:
            assert outcome(signers[0].sign, *arguments, **keywords) == outcome(signers[1].sign, *arguments, **keywords)
        for arguments in (("GET",), ("GET", URL, None, None, AT)):
            # A call that does not fit: Python's words for it differ between functions in C and in Python.
            assert {outcome(signer.sign, *arguments)[0] for signer in signers} == {TypeError}
        assert signers[0]._signature("GET", URL, None, None, AT) == signers[1]._signature("GET", URL, None, None, AT)
        assert signers[0].source.asked == signers[1].source.asked
        for name in ("region", "service", "further_headers", "unsigned_payload"):
            assert getattr(signers[0], name) == getattr(signers[1], name)
            for signer in signers:
                with pytest.raises(AttributeError):
                    setattr(signer, name, None)
        for signer in signers:
            assert signer.sign.__doc__ == _python.RequestSigner.sign.__doc__


@pytest.mark.parametrize(
    "snapshot", [(ACCESS_KEY, SECRET_KEY), [ACCESS_KEY, SECRET_KEY, TOKEN], (), None, 5, "abc", "ab"]
)
def test_a_source_of_something_else(cython, snapshot):
    def signed(core):
        signer = core.RequestSigner(Source(snapshot), lambda: 0, REGION, "es", frozenset(), False)
        return outcome(signer.sign, "GET", URL)

    assert signed(cython)[0] == signed(_python)[0]


@pytest.mark.parametrize("generation", [(), (None, None), None, [None, None, 0, "snapshot"], (None, None, "later", 0)])
def test_a_generation_of_something_else(cython, generation):
    class Credentials:
        _expiry_time = None
        _frozen_credentials = None

    for core in (cython, _python):
        kept = core.Kept(Credentials(), lambda: 0, (None, None, 1, "snapshot"))
        assert kept.current() == "snapshot"
        kept.generation = generation
        if generation == [None, None, 0, "snapshot"]:
            continue  # the Python twin takes any sequence
        with pytest.raises((TypeError, ValueError, IndexError)):
            kept.current()


def test_methods_called_on_the_class(cython):
    """An ordinary slip, which a compiled method that does not look at its self answers with a crash."""
    for core in (cython, _python):
        for call in (
            lambda core=core: core.RequestSigner.sign("GET", URL, b""),
            lambda core=core: core.RequestSigner.sign(None, "GET", URL),
            lambda core=core: core.RequestSigner._signature(object(), "GET", URL, None, None, None),
            lambda core=core: core.Kept.current(5),
            lambda core=core: core.SigningKey.signature(5, "to sign"),
        ):
            with pytest.raises((TypeError, AttributeError)):
                call()


def test_what_was_not_initialised(cython):
    for core in (cython, _python):
        with pytest.raises((ValueError, AttributeError)):
            core.SigningKey.__new__(core.SigningKey).signature("to sign")
        with pytest.raises((NotImplementedError, AttributeError)):
            core.RequestSigner.__new__(core.RequestSigner).sign("GET", URL)
        with pytest.raises((TypeError, AttributeError)):
            core.Kept.__new__(core.Kept).current()


def test_a_signing_key_initialised_again(cython):
    for core in (cython, _python):
        key = core.SigningKey(SECRET_KEY, "20150830", REGION, "es")
        key.__init__("other", "20150830", REGION, "es")
        assert key.signature("") == core.SigningKey("other", "20150830", REGION, "es").signature("")


class Refreshable:
    """botocore's refreshable credentials, as far as `Kept` looks, with code that runs where it looks."""

    _expiry_time = None

    def __init__(self, meanwhile):
        self._meanwhile = meanwhile

    @property
    def _frozen_credentials(self):
        self._meanwhile()


class KeptSource(Source):
    def __init__(self, kept):
        super().__init__()
        self.kept = kept


@pytest.mark.parametrize("by", ["clock", "credentials"])
@pytest.mark.parametrize("name", ["cython", "python"])
def test_a_signer_initialised_anew_while_it_signs(name, by):
    core = twin(name)

    def start_again():
        signer.__init__(Source(), lambda: 0, REGION, "es", frozenset(), False)
        return 0

    clock, meanwhile = (start_again, int) if by == "clock" else (int, start_again)
    kept = core.Kept(Refreshable(meanwhile), clock, (None, None, 10.0, (ACCESS_KEY, SECRET_KEY, None)))
    signer = core.RequestSigner(KeptSource(kept), lambda: 0, REGION, "es", frozenset(), False)
    del kept
    assert signer.sign("GET", URL)[spec.AUTHORIZATION].startswith(spec.ALGORITHM)


def test_credentials_replaced_while_they_are_read(cython):
    class Vanishing:
        def __getattribute__(self, name):
            kept.__init__(object(), lambda: 0, generation)
            raise AttributeError(name)

        def __getattr__(self, name):
            return None

    generation = (None, None, 10, "snapshot")
    kept = cython.Kept(Vanishing(), lambda: 0, generation)
    assert kept.current() == "snapshot"


def test_nothing_internal_can_be_pickled(cython):
    signer = cython.RequestSigner(Source(), lambda: 0, REGION, "es", frozenset(), False)
    signer.sign("GET", URL)
    internals = [thing for thing in gc.get_objects() if str(type(thing).__module__).endswith("._cython")]
    assert internals
    for thing in (signer, *internals):
        with pytest.raises((TypeError, AttributeError)):
            pickle.dumps(thing)


def test_a_hashlib_that_was_patched_discloses_nothing(cython, monkeypatch):
    class Hash:
        def digest(self):
            return b""

    before = cython.hash_path()
    try:
        cython.select_hash_path("openssl")
        monkeypatch.setattr(hashlib, "sha256", lambda *_: Hash())
        with pytest.raises(ValueError, match="hashlib"):
            cython.payload_hash(b"body")
    finally:
        monkeypatch.undo()
        cython.select_hash_path(before)


@pytest.mark.parametrize("path", [None, 5, b"openssl", "", "nothing", "portable\0", "\ud800"])
def test_hash_paths_that_there_are_not(cython, path):
    before = cython.hash_path()
    for core in (cython, _python):
        with pytest.raises(ValueError, match="no way to compute SHA-256 is called"):
            core.select_hash_path(path)
    assert cython.hash_path() == before


@pytest.mark.parametrize(
    "path", ["/.kibana/_search", "/.ds-a", "/a/.b/..c/...", "/...", "/a/.", "/a/..", "/./a", "/../", "/.", "/.."]
)
def test_segments_that_begin_with_a_dot(cython, path):
    assert cython.canonical_path(path) == _python.canonical_path(path)
    url = f"https://h{path}?q"
    arguments = ("GET", url, None, None, ACCESS_KEY, SECRET_KEY, None, REGION, "es", 0)
    assert cython.sign(*arguments) == _python.sign(*arguments)


def test_the_dates_of_other_centuries(cython):
    for day in ((1970, 1, 1), (2000, 2, 29), (2100, 3, 1), (9999, 12, 31)):
        timestamp = datetime(*day, 23, 59, 59, tzinfo=UTC).timestamp()
        arguments = ("GET", URL, None, None, ACCESS_KEY, SECRET_KEY, None, REGION, "es", timestamp)
        assert cython.sign(*arguments) == _python.sign(*arguments)
        assert cython.sign(*arguments).headers[spec.AMZ_DATE] == f"{day[0]:04}{day[1]:02}{day[2]:02}T235959Z"
