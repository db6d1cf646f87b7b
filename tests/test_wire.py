"""Over real HTTP: what we sign is what a verifier that we did not write receives, and nothing else passes it."""

import gzip
import json

import opensearchpy
import pytest
from opensearchpy import AuthorizationException, OpenSearch, TransportError

from opensearch_sigv4 import SigV4HttpConnection, connect
from opensearch_sigv4.testing import LocalDomain
from oracles import TOKEN

ODD = ["a/b", "a%b", "a+b", "a*b", "a,b", "a:b", "a#b", "a?b", "a&b", "a=b", "a b", "ü", "日本", "🙂"]
ODD += ["%2F", "%2e%2e", "a/../b", "...", ".a", "~-._", "a//b", "!$'()@;[]{}|\\^`\"<>", "/ % + * , : # ? & = ü 日本"]


@pytest.fixture(params=["http", "https", "gzip", "token", "ipv6", "aoss"])
def domain_and_client(request):
    """A LocalDomain and a client of it, in each way in which the two can be set up."""
    kind = request.param
    options = {"http_compress": True} if kind == "gzip" else {}
    with LocalDomain(
        https=kind == "https", host="::1" if kind == "ipv6" else "127.0.0.1", service="aoss" if kind == "aoss" else "es"
    ) as domain:
        credentials = domain.credentials
        if kind == "token":
            credentials = domain.add_credentials("ASIAIOSFODNN7EXAMPLE", domain.credentials.secret_key, TOKEN)
        if domain.ca_certs:
            options["ca_certs"] = domain.ca_certs
        with connect(
            domain.url, region=domain.region, service=domain.service, credentials=credentials, **options
        ) as client:
            yield domain, client
        assert domain.refused == 0


def test_the_usual_calls(domain_and_client):
    domain, client = domain_and_client
    if domain.service == "es":
        assert client.ping()
        assert "number" in client.info()["version"]
        client.cluster.health()
    client.indices.create(index="logs", body={"settings": {"number_of_replicas": 0}})
    assert client.indices.exists(index="logs")
    assert not client.indices.exists(index="nothing")
    client.indices.put_index_template(name="t", body={"index_patterns": ["t-*"], "template": {}})
    lines = [line for i in range(20) for line in ({"index": {"_id": str(i)}}, {"n": i, "text": "ü 日本"})]
    assert not client.bulk(body=lines, index="logs")["errors"]
    if domain.service == "es":
        client.indices.refresh(index="logs")
        assert client.count(index="logs", body={"query": {"match_all": {}}})["count"] == 20
        page = client.search(index="logs", body={"size": 5}, params={"scroll": "1m"})
        assert len(page["hits"]["hits"]) == 5
        assert client.scroll(body={"scroll_id": page["_scroll_id"], "scroll": "1m"})["hits"]["hits"]
        client.clear_scroll(body={"scroll_id": page["_scroll_id"]})
    client.index(index="logs", id="one", body={"n": 1})
    assert client.get(index="logs", id="one")["_source"] == {"n": 1}
    client.update(index="logs", id="one", body={"doc": {"n": 2}})
    assert client.get_source(index="logs", id="one") == {"n": 2}
    client.delete(index="logs", id="one")
    assert not client.exists(index="logs", id="one")
    client.indices.delete(index="logs")
    assert domain.verified >= 12


@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_are_written_and_read_back(domain_and_client, odd):
    domain, client = domain_and_client
    client.index(index="odd", id=odd, body={"id": odd})
    answer = client.get(index="odd", id=odd)
    assert answer["_id"] == odd
    assert answer["_source"] == {"id": odd}
    client.delete(index="odd", id=odd)
    assert not client.exists(index="odd", id=odd)
    assert domain.verified == 4


@pytest.mark.parametrize("odd", ODD)
def test_odd_queries(domain_and_client, odd):
    domain, client = domain_and_client
    client.index(index="odd", id="1", body={"text": odd}, routing=odd)
    client.search(index="odd", q=f'"{odd}"', params={"ignore": 400}, preference="_local")
    assert domain.verified == 2
    target = domain.requests[-1].target
    assert b"+" not in target
    assert b"%20" in target or " " not in odd


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/odd/_doc/a b", b"/odd/_doc/a%20b"),
        ("/odd/_doc/%2e%2E", b"/odd/_doc/%2E%2E"),
        ("/odd/_doc/ü", b"/odd/_doc/%C3%BC"),
        ("/odd/_doc/100%", b"/odd/_doc/100%25"),
        ("/odd/_search?q=a+b&q=a%2Bb&x", b"/odd/_search?q=a%20b&q=a%2Bb&x"),
        ("//odd//_doc/1", b"//odd//_doc/1"),
        ("/odd/_doc/a:/b", b"/odd/_doc/a:/b"),
        ("/odd/_doc/[1]", b"/odd/_doc/%5B1%5D"),
    ],
)
def test_raw_urls_through_the_transport(local_domain, url, target):
    with client_of(local_domain) as client:
        client.transport.perform_request("GET", url, params={"ignore": (400, 404, 405)})
    assert local_domain.requests[-1].target == target
    assert (local_domain.verified, local_domain.refused) == (1, 0)


def client_of(domain, **options):
    return connect(domain.url, region=domain.region, service=domain.service, credentials=domain.credentials, **options)


def headers_of(request):
    headers = {}
    for name, value in request.headers:
        assert name.lower() not in headers, f"{name} was sent twice"
        headers[name.lower()] = value
    return headers


def test_gzip_is_really_gzip(local_domain):
    with client_of(local_domain, http_compress=True) as client:
        client.index(index="logs", id="1", body={"text": "a" * 1000})
        assert client.get(index="logs", id="1")["_source"] == {"text": "a" * 1000}
    request = local_domain.requests[0]
    headers = headers_of(request)
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"content-type"] == b"application/json"
    assert len(request.body) < 200
    assert json.loads(gzip.decompress(request.body)) == {"text": "a" * 1000}


def test_url_prefix_is_signed_and_sent(local_domain):
    with client_of(local_domain, url_prefix="a prefix/ü") as client:
        client.transport.perform_request("GET", "/logs", params={"ignore": (400, 404)})
    assert local_domain.requests[-1].target == b"/a%20prefix/%C3%BC/logs"
    assert local_domain.verified == 1


@pytest.mark.parametrize("where", ["call", "client"])
def test_a_tunnels_host_is_signed_and_sent(local_domain, where):
    name = "search-logs-abc.us-east-1.es.amazonaws.com"
    options = {"headers": {"Host": name}} if where == "client" else {}
    with client_of(local_domain, **options) as client:
        client.transport.perform_request("GET", "/", headers={"HOST": name} if where == "call" else None)
    assert headers_of(local_domain.requests[-1])[b"host"] == name.encode()
    assert local_domain.verified == 1


def test_every_x_amz_header_of_a_call_is_signed(local_domain):
    headers = {"X-Amz-Aoss-Collection-Id": "abc", "x-amz-meta": "  ü  two   spaces ", "X-Opaque-Id": "5"}
    with client_of(local_domain) as client:
        client.transport.perform_request("GET", "/", headers=headers)
    received = headers_of(local_domain.requests[-1])
    assert b";x-amz-aoss-collection-id;" in received[b"authorization"]
    assert b";x-amz-meta," in received[b"authorization"]
    assert b"x-opaque-id" not in received[b"authorization"]
    assert local_domain.verified == 1


def test_an_opaque_id_that_is_a_number(local_domain):
    with client_of(local_domain, opaque_id=17) as client:
        client.info()
    assert headers_of(local_domain.requests[-1])[b"x-opaque-id"] == b"17"


def test_the_callers_own_hash_is_sent_once(local_domain):
    import hashlib

    digest = hashlib.sha256(b'{"a":1}').hexdigest()
    with client_of(local_domain) as client:
        client.transport.perform_request(
            "PUT", "/logs/_doc/1", body='{"a":1}', headers={"X-AMZ-Content-sha256": digest}
        )
    assert headers_of(local_domain.requests[-1])[b"x-amz-content-sha256"] == digest.encode()
    assert local_domain.verified == 1


# --- tampering ---------------------------------------------------------------------------------------------


def tamper(client, change):
    """Let `change(request)` alter what `pool.urlopen` was given: dict of method, url, body, headers."""
    pool = client.transport.get_connection().pool
    urlopen = pool.urlopen

    def altered(method, url, body=None, headers=None, **kwargs):
        request = {"method": method, "url": url, "body": body, "headers": dict(headers)}
        change(request)
        return urlopen(request["method"], request["url"], request["body"], headers=request["headers"], **kwargs)

    pool.urlopen = altered


def set_header(name, value):
    def change(request):
        for given in [given for given in request["headers"] if given.lower() == name.lower()]:
            del request["headers"][given]
        if value is not None:
            request["headers"][name] = value

    return change


def set_item(key, value):
    return lambda request: request.update({key: value})


def in_authorization(old, new):
    def change(request):
        authorization = request["headers"]["Authorization"]
        assert old in authorization
        request["headers"]["Authorization"] = authorization.replace(old, new)

    return change


def flip_signature(request):
    authorization = request["headers"]["Authorization"]
    request["headers"]["Authorization"] = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")


def unsign_the_hash(request):
    in_authorization("x-amz-content-sha256;", "")(request)


TAMPERINGS = {
    "body": set_item("body", b'{"a": 2}'),
    "no body": set_item("body", None),
    "method": set_item("method", "POST"),
    "path": set_item("url", "/logs/_doc/2?routing=a"),
    "path case": set_item("url", "/LOGS/_doc/1?routing=a"),
    "query": set_item("url", "/logs/_doc/1?routing=b"),
    "no query": set_item("url", "/logs/_doc/1"),
    "more query": set_item("url", "/logs/_doc/1?routing=a&refresh=true"),
    "date": set_header("X-Amz-Date", "20150830T123600Z"),
    "no date": set_header("X-Amz-Date", None),
    "host": set_header("host", "elsewhere.example.com"),
    "token": set_header("X-Amz-Security-Token", TOKEN[:-4] + "AAA="),
    "no token": set_header("X-Amz-Security-Token", None),
    "x-amz changed": set_header("x-amz-meta", "other"),
    "x-amz dropped": set_header("x-amz-meta", None),
    "x-amz added": set_header("x-amz-other", "1"),
    "hash": set_header("X-Amz-Content-SHA256", "0" * 64),
    "hash unsigned": set_header("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"),
    "hash not in the signature": unsign_the_hash,
    "scope region": in_authorization("/us-east-1/", "/us-west-2/"),
    "scope service": in_authorization("/es/", "/aoss/"),
    "scope day": lambda request: in_authorization(request["headers"]["X-Amz-Date"][:8], "20150830")(request),
    "access key": in_authorization("ASIAIOSFODNN7EXAMPLE", "AKIDEXAMPLE"),
    "signature": flip_signature,
    "no authorization": set_header("Authorization", None),
}


@pytest.mark.parametrize("name", [*TAMPERINGS, "nothing"])
def test_tampering_is_refused(local_domain, name):
    credentials = local_domain.add_credentials("ASIAIOSFODNN7EXAMPLE", local_domain.credentials.secret_key, TOKEN)
    with connect(local_domain.url, region="us-east-1", credentials=credentials, headers={"x-amz-meta": "1"}) as client:
        if name != "nothing":
            tamper(client, TAMPERINGS[name])
        if name == "nothing":
            client.index(index="logs", id="1", body={"a": 1}, routing="a")
        else:
            with pytest.raises(TransportError) as caught:
                client.index(index="logs", id="1", body={"a": 1}, routing="a")
            assert caught.value.status_code in (400, 403)
    assert (local_domain.verified, local_domain.refused) == ((1, 0) if name == "nothing" else (0, 1))


def test_a_wrong_secret_is_refused(local_domain):
    from botocore.credentials import Credentials

    wrong = Credentials(local_domain.credentials.access_key, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    refused = pytest.raises(AuthorizationException, match="does not match the signature")
    with connect(local_domain.url, region="us-east-1", credentials=wrong) as client, refused:
        client.info()
    assert (local_domain.verified, local_domain.refused) == (0, 1)


@pytest.mark.skipif(opensearchpy.VERSION < (3, 2, 0), reason="older signers of opensearch-py have further faults")
def test_the_peers_faults_are_seen(local_domain):
    """What this verifier is worth: opensearch-py's own signer, on the requests that it is known to sign wrongly."""
    from botocore.credentials import Credentials
    from opensearchpy import Urllib3AWSV4SignerAuth

    credentials = Credentials(local_domain.credentials.access_key, local_domain.credentials.secret_key)
    with OpenSearch(local_domain.url, http_auth=Urllib3AWSV4SignerAuth(credentials, "us-east-1")) as client:
        client.info()
        with pytest.raises(AuthorizationException):
            client.transport.perform_request("GET", "/", headers={"x-amz-meta": "1"})
        with pytest.raises(AuthorizationException):
            client.transport.perform_request("GET", "/", headers={"Host": "elsewhere.example.com"})
    assert (local_domain.verified, local_domain.refused) == (1, 2)
    with OpenSearch(
        local_domain.url,
        http_auth=Urllib3AWSV4SignerAuth(credentials, "us-east-1"),
        connection_class=SigV4HttpConnection,
    ) as client:
        client.transport.perform_request("GET", "/", headers={"x-amz-meta": "1", "Host": "elsewhere.example.com"})
    assert (local_domain.verified, local_domain.refused) == (2, 2)
