import pytest

from opensearch_sigv4.endpoint import Endpoint, parse_host


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("search-logs-abc123.us-east-1.es.amazonaws.com", Endpoint("es", "us-east-1", "domain")),
        ("vpc-logs-abc123.ap-southeast-2.es.amazonaws.com", Endpoint("es", "ap-southeast-2", "domain")),
        ("search-logs-abc123.cn-north-1.es.amazonaws.com.cn", Endpoint("es", "cn-north-1", "domain")),
        ("search-logs-abc123.us-gov-west-1.es.amazonaws.com", Endpoint("es", "us-gov-west-1", "domain")),
        ("search-logs-abc123.us-iso-east-1.es.c2s.ic.gov", Endpoint("es", "us-iso-east-1", "domain")),
        ("search-logs-abc123.us-isob-east-1.es.sc2s.sgov.gov", Endpoint("es", "us-isob-east-1", "domain")),
        ("search-logs-abc123.aos.us-east-1.on.aws", Endpoint("es", "us-east-1", "domain")),
        ("vpc-logs-abc123.us-west-2.es-fips.amazonaws.com", Endpoint("es", "us-west-2", "domain", fips=True)),
        ("logs-abc123.aos-fips.us-west-2.on.aws", Endpoint("es", "us-west-2", "domain", fips=True)),
        ("07tjusf2h91cunochc.us-east-1.aoss.amazonaws.com", Endpoint("aoss", "us-east-1", "serverless")),
        ("07tj.us-east-1.aoss-fips.amazonaws.com", Endpoint("aoss", "us-east-1", "serverless", fips=True)),
        ("07tj.aoss.eu-central-1.on.aws", Endpoint("aoss", "eu-central-1", "serverless")),
        ("123456789012.aoss.eu-central-1.on.aws", Endpoint("aoss", "eu-central-1", "serverless")),
        ("logs-abc123.us-east-1.osis.amazonaws.com", Endpoint("osis", "us-east-1", "pipeline")),
        ("logs-abc123-vpce1.us-east-1.es.amazonaws.com", Endpoint("es", "us-east-1", "domain")),
        ("SEARCH-Logs.US-East-1.ES.amazonaws.com.", Endpoint("es", "us-east-1", "domain")),
        ("search-logs.us-east-1.es.amazonaws.com:443", Endpoint("es", "us-east-1", "domain")),
    ],
)
def test_what_aws_names(host, endpoint):
    assert parse_host(host) == endpoint


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "127.0.0.1",
        "::1",
        "[::1]:9200",
        "search.example.com",
        "us-east-1.es.amazonaws.com.example.com",
        "search-logs.us-east-1.es.amazonaws.com.evil.example",
        "search-logs-us-east-1.es.amazonaws.com",
        "search-logs.us-east-1.s3.amazonaws.com",
        "search-logs.us-east-1.es.amazonaws.org",
        "vpce-0123-abc.es.us-east-1.vpce.amazonaws.com",
        "logs.es.us-east-1.on.aws.example",
        "logs.useast1.es.amazonaws.com",
    ],
)
def test_what_tells_nothing(host):
    assert parse_host(host) is None
