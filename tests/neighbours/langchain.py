"""langchain-community: its vector store, which asks an auth object for its service."""

from neighbours.node import node_url as upstream

DISTRIBUTION = "langchain-community"
SIGNED = ("connections", "auth")
MODES = ("theirs", *SIGNED)
SENDS_UNSIGNED = ()
ARGUMENTS = (
    "tests/integration_tests/vectorstores/test_opensearch.py",
    # Its conftest records HTTP in other tests, and its options are of a plugin that these do not need.
    *("--noconftest", "-o", "addopts=", "-W", "ignore"),
)
ENVIRONMENT = {}

TESTS = "tests/integration_tests/vectorstores/test_opensearch.py::test"
EXPECTED = {
    "the node has no plugin for search pipelines": [
        f"{TESTS}_configure_search_pipeline",
        f"{TESTS}_get_search_pipeline_info",
        f"{TESTS}_hybrid_search",
        f"{TESTS}_hybrid_search_with_score",
        f"{TESTS}_hybrid_search_with_post_filter",
    ],
    "the k-NN plugin does not reach Painless in a node of one class path": [
        f"{TESTS}_opensearch_painless_scripting",
        f"{TESTS}_add_text_painless_scripting",
    ],
    "the k-NN plugin comes without faiss": [f"{TESTS}_appx_search_with_faiss_efficient_filter"],
}
IN_MODE = {}


def install(mode, domain, seen):
    import os

    import opensearchpy
    from langchain_community.vectorstores import opensearch_vector_search as store

    options = {}
    # The suite signs with the keys of the environment, where it signs at all.
    os.environ.update(
        AWS_ACCESS_KEY_ID=domain.credentials.access_key, AWS_SECRET_ACCESS_KEY=domain.credentials.secret_key
    )
    if mode != "theirs":
        import opensearch_sigv4

        options["http_auth"] = opensearch_sigv4.Urllib3AWSV4SignerAuth(domain.credentials, domain.region)
        opensearchpy.AWSV4SignerAuth = opensearch_sigv4.AWSV4SignerAuth
    if mode == "connections":
        from opensearch_sigv4.helpers import bulk

        options["connection_class"] = opensearch_sigv4.SigV4HttpConnection
        opensearchpy.helpers.bulk = bulk
    url = upstream() if mode == "theirs" else domain.url
    make_client, is_aoss, from_embeddings = (
        store._get_opensearch_client,
        store._is_aoss_enabled,
        store.OpenSearchVectorSearch.from_embeddings.__func__,
    )

    def count_serverless(http_auth):
        enabled = is_aoss(http_auth)
        seen["times known as Serverless by .service"] += enabled
        return enabled

    seen["times known as Serverless by .service"] = 0
    store._is_aoss_enabled = count_serverless
    store._get_opensearch_client = lambda _, **kwargs: make_client(url, **{**options, **kwargs})
    # Its default, nmslib, is native.
    store.OpenSearchVectorSearch.from_embeddings = classmethod(
        lambda *args, **kwargs: from_embeddings(*args, **{"engine": "lucene", **kwargs})
    )
