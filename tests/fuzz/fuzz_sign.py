"""A coverage-guided fuzzer of the compiled twin: every input is an assertion that it equals the Python one.

It needs atheris, and the extension built by clang with `-fsanitize=fuzzer-no-link,address,undefined`, so that coverage
is that of the C code, and a wrong access ends it. .ci/full does all of that. An input is text, in fields between 0xFF:
what it means is in `Request`. A field of any bytes is text of some kind: bytes that are not UTF-8 are lone surrogates.
"""

from fuzzing import END, main, outcome, text_of
from opensearch_sigv4.core import _cython, _python

URL = b"https://search-logs.us-east-1.es.amazonaws.com"
TOKEN = b"EXAMPLETOKEN//////////wEXAMPLE=="
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Text(str):
    __slots__ = ()


class Pairs:
    def __init__(self, pairs):
        self.pairs = pairs

    def items(self):
        return iter(self.pairs)


# What a character of the first field chooses; any other chooses the first.
HEADERS = {"d": dict, "l": list, "t": tuple, "p": Pairs, "n": lambda pairs: None, "e": lambda pairs: [*pairs, ("x",)]}
BODIES = {
    "b": bytes,
    "a": bytearray,
    "v": memoryview,
    "s": lambda data: memoryview(data + data)[::2],
    "u": text_of,
    "0": lambda data: None,
    "i": len,
}
TIMES = {"f": 1440938160.0, "1": 1440938160, "h": -0.5, "y": 253402300800, "m": 10**400, "o": True, "x": "now"}


class Request:
    """The arguments of `sign` in an input: choices, method, URL, body, token, region, and then headers' names and
    values in turn; a name that ends with `!` is one of the further headers that are to be signed.
    """

    def __init__(self, data):
        fields = data.split(END)
        fields += [b""] * (6 - len(fields))
        self.choices = fields[0].decode("latin-1")
        self.method, self.url = self.text(fields[1]), self.text(fields[2])
        self.token = None if b"T" in fields[0] else self.text(fields[4])
        self.region = self.text(fields[5])
        self.body = self.choice(BODIES)(fields[3])
        self.timestamp = self.choice(TIMES)
        self.unsigned = "U" in self.choices
        self.pairs, further = [], set()
        for name, value in zip(fields[6::2], fields[7::2], strict=False):
            text = self.text(name)
            if text.endswith("!"):
                text = type(text)(text[:-1])
                further.add(str(text).lower())
            self.pairs.append((text, self.text(value)))
        self.further = frozenset(further)

    def text(self, field):
        text = text_of(field)
        return Text(text) if "S" in self.choices else text

    def choice(self, kinds):
        first = next(iter(kinds))
        return kinds[next((choice for choice in self.choices if choice in kinds), first)]

    def sign(self, core):
        headers = self.choice(HEADERS)(self.pairs)
        credentials = "AKIDEXAMPLE", SECRET_KEY, self.token, self.region, "es"
        signature = core.sign(
            self.method, self.url, self.body, headers, *credentials, self.timestamp, self.further, self.unsigned
        )
        return signature, list(signature.headers)

    def parts(self, core):
        path, _, query = self.url.partition("?")
        for function, *arguments in (
            (core.canonical_path, path),
            (core.canonical_query, query),
            (core.request_target, path, query),
            (core.payload_hash, self.body),
            (lambda *key: core.SigningKey(*key).signature(self.method), self.url, self.region, self.method, "es"),
        ):
            yield outcome(function, *arguments)


def check(data):
    request = Request(data)
    result, expected = outcome(request.sign, _cython), outcome(request.sign, _python)
    assert result == expected, (vars(request), result, expected)
    results, expected = list(request.parts(_cython)), list(request.parts(_python))
    assert results == expected, (vars(request), results, expected)


def requests():
    region = b"us-east-1"
    target = b"/logs/_search"
    yield [b"", b"GET", URL + target, b"", TOKEN, region]
    yield [b"fdT", b"POST", URL + b"/_bulk", b'{"index":{}}\n{}\n', b"", region, b"Content-Type!", b"application/json"]
    yield [
        b"la",
        b"PUT",
        URL + b":443/a%20b/%E2%82%AC?b=2&a=1&a=%7E&&c+d",
        b"body",
        TOKEN,
        region,
        b"X-Amz-A",
        b" a  b ",
    ]
    yield [b"tvU", b"delete", b"http://localhost:9200/x?q#f", b"", TOKEN, region, b"host", b"h", b"X-Amz-Date", b"d"]
    yield [b"ps", b"GET", URL + b"/a/../b//c/./d", b"xyz", TOKEN, region, b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"]
    yield [
        b"uS",
        "GÉT".encode(),
        URL + "/ü?日=1".encode(),
        "ü".encode(),
        b"",
        region,
        b"x-amz-a",
        b"1",
        b"X-Amz-A",
        b"2",
    ]
    yield [b"h0", b"GET", b"https://[::1]:9200/", b"", TOKEN, region]
    yield [b"l", b"GET", URL + b"?" + b"&".join(b"%d" % number for number in range(40, 0, -1)), b"x" * 300, b"", region]
    yield [b"d", b"GET", URL, b"", b"", region, *[b"x-amz-%d" % (number // 2) for number in range(60)]]
    yield [b"d", b"GET", URL + b"/" + b"l" * 1200, b"x" * 3000, TOKEN * 20, b"r" * 70, b"x-amz-meta", b"v  " * 900]


def seeds():
    return map(END.join, requests())


if __name__ == "__main__":
    main(check, seeds)
