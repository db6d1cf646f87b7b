"""Host names and URLs: what is recognised is what the name says, both twins agree, and what is signed is connected to.

An input is a URL, or a host, and after 0xFF a path and a query.
"""

import re
import warnings
from urllib.parse import urlsplit

import urllib3
from botocore.credentials import Credentials

from fuzzing import END, fields_of, instrumented, main, outcome, text_of

with instrumented():
    from opensearch_sigv4 import connect
    from opensearch_sigv4.core import _cython, _python
    from opensearch_sigv4.endpoint import parse_host

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
OPTIONS = {"credentials": CREDENTIALS, "verify_certs": False, "ssl_show_warn": False}
SERVICES = {
    "es": ("es", "domain"),
    "aos": ("es", "domain"),
    "aoss": ("aoss", "serverless"),
    "osis": ("osis", "pipeline"),
}
CLASSIC = ("amazonaws.com", "amazonaws.com.cn", "c2s.ic.gov", "sc2s.sgov.gov", "cloud.adc-e.uk", "csp.hci.ic.gov")
CLASSIC += ("amazonaws.eu",)
DUAL_STACK = ("on.aws", "on.amazonwebservices.com.cn", "on.amazonwebservices.eu")


def endpoint_of(host):
    """What a name says, read label by label: (service, region, kind, whether FIPS), or None."""
    name = host.split(":")[0].rstrip(".").lower()
    for suffixes, is_dual_stack in ((CLASSIC, False), (DUAL_STACK, True)):
        for suffix in suffixes:
            *labels, one, other = ["", "", *name.removesuffix(f".{suffix}").split(".")]
            label, region = (one, other) if is_dual_stack else (other, one)
            labels = labels[2:]
            if (
                name.endswith(f".{suffix}")
                and label.removesuffix("-fips") in SERVICES
                and is_region(region)
                and labels
                and all(re.fullmatch("[a-z0-9_-]+", label) for label in labels)
            ):
                return *SERVICES[label.removesuffix("-fips")], region, label.endswith("-fips")
    return None


def is_region(label):
    first, *words, number = ["", *label.split("-")]
    first, *words = words or [""]
    letters = "abcdefghijklmnopqrstuvwxyz"
    is_word = [word and not word.strip(letters) for word in (first, *words)]
    return 2 <= len(first) <= 4 and bool(words) and all(is_word) and number.isascii() and number.isdigit()


def check(data):
    url, path, query = map(text_of, fields_of(data, 3))
    check_host(url)
    for form in (url, f"https://{url}", f"HTTP://{url}/"):
        check_url(form)
    check_target(path, query)
    check_client(url)


def check_host(host):
    found = parse_host.__wrapped__(host)
    read = None if found is None else (found.service, found.kind, found.region, found.fips)
    assert read == endpoint_of(host), (host, found)


def check_url(url):
    result = outcome(_cython.split_url, url)
    assert result == outcome(_python.split_url, url), (url, result)
    kind, parts = result
    if kind == "returned":
        assert "".join(parts).isascii(), parts
        assert "".join(parts).isprintable(), parts
        again = f"{parts.scheme}://{parts.host}{parts.path}{'?' if parts.query else ''}{parts.query}"
        assert _python.split_url(again) == parts, (url, parts)
    else:
        assert kind is ValueError, (url, result)


def check_target(path, query):
    result = outcome(_cython.request_target, path, query)
    assert result == outcome(_python.request_target, path, query), (path, query, result)
    kind, target = result
    if kind == "returned":
        path, _, query = target.partition("?")
        assert _python.request_target(path, query) == target, target
        assert urllib3.util.url._encode_target(target) == target, target
    else:
        assert kind is ValueError, (path, query, result)


def check_client(url):
    """What `connect` makes of a URL: the host that is signed is the one that is connected to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of plain http
        kind, client = outcome(lambda: connect(url, region="us-east-1", **OPTIONS))
        if kind != "returned":
            assert issubclass(kind, (ValueError, TypeError)), (url, kind, client)
            return
        connection = client.transport.get_connection()
        full_url = url if "://" in url else f"https://{url}"
        signed = _python.split_url(full_url)
        named = parse_host(signed.host)
        if signed.scheme == "http" and named is None and urlsplit(full_url).port is None:
            signed = signed._replace(host=f"{signed.host}:9200")  # opensearch-py's port, where none is given
        assert _python.split_url(connection.host).host == signed.host == connection.headers["host"], url
        pool = connection.pool
        host = f"[{pool.host}]" if ":" in pool.host else pool.host
        assert _python.split_url(f"{pool.scheme}://{host}:{pool.port}").host == signed.host, (url, pool)
        assert (pool.scheme == "https") is connection.use_ssl is (signed.scheme == "https"), url
        if named is not None:
            signer = connect(url, **OPTIONS).transport.get_connection().signer
            assert (signer.service, signer.region) == (named.service, named.region), url


HOSTS = (
    *("search-logs-abc123.eu-central-1.es.amazonaws.com", "vpc-logs-abc.cn-north-1.es.amazonaws.com.cn."),
    *("abc123.us-gov-west-1.aoss-fips.amazonaws.com", "LOGS-abc.us-east-1.osis.amazonaws.com:443"),
    *(
        "logs-abc.aos.us-east-1.on.aws",
        "012345678901.aoss-fips.us-east-1.on.aws",
        "a.b.aos.cn-north-1.on.amazonwebservices",
    ),
    *(
        "x.aos.eusc-de-east-1.on.amazonwebservices.eu",
        "s.us-iso-east-1.es.c2s.ic.gov",
        "s.us-isob-east-1.es.sc2s.sgov.gov",
    ),
    *("s.eu-isoe-west-1.es.cloud.adc-e.uk", "s.us-isof-south-1.es.csp.hci.ic.gov", "s.eusc-de-east-1.es.amazonaws.eu"),
    *("s.us-east-1.es.amazonawsXcom", "s.us-east-1.es-amazonaws.com", "s.us-east-1.es.amazonaws.com.example.com"),
    *("localhost:9200", "[::1]:9200", "[fe80::1%25eth0]", "user:password@search.example.com", "127.0.0.1:", "a:65536"),
    *(
        "http://localhost",
        "https://search.example.com:443/prefix/x",
        "https://h/%2e/ü?q=a b#f",
        "http://[::ffff:1.2.3.4]:80",
        "http://[::1%2.3]",
    ),
)
TARGETS = (
    (b"/logs/_search", b"q=a+b&size=1"),
    (b"/a/../b", b""),
    (b"/%2e%zz/\xc3\xbc '", b"a=%e2%82%ac&&?"),
    (b"//a/.", b"#"),
)


def seeds():
    for number, host in enumerate(HOSTS):
        path, query = TARGETS[number % len(TARGETS)]
        yield END.join((host.encode(), path, query))


if __name__ == "__main__":
    main(check, seeds)
