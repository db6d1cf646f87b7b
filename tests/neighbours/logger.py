"""opensearch-logger: a logging handler, which sends from a timer's thread, compressed, by a serializer of its own."""

from neighbours.node import node_url as upstream

DISTRIBUTION = "opensearch-logger"
SIGNED = ("connections",)
MODES = ("theirs", *SIGNED)
SENDS_UNSIGNED = ()
ARGUMENTS = ("tests/test_integration.py", "-W", "ignore")
ENVIRONMENT = {}
EXPECTED = {}
IN_MODE = {}


def install(mode, domain, seen):
    import os

    from opensearch_logger import handlers

    if mode == "theirs":
        os.environ["TEST_OPENSEARCH_HOST"] = upstream()
        return
    import opensearch_sigv4
    from opensearch_sigv4 import helpers

    os.environ["TEST_OPENSEARCH_HOST"] = domain.url
    client_class = handlers.OpenSearch

    def make_client(**kwargs):
        return client_class(
            connection_class=opensearch_sigv4.SigV4HttpConnection,
            region=domain.region,
            credentials=domain.credentials,
            **kwargs,
        )

    handlers.OpenSearch, handlers.helpers = make_client, helpers
