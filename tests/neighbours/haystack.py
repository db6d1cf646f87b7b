"""opensearch-haystack: Haystack's document store, synchronous and asynchronous, and its retrievers."""

from neighbours.node import node_url as upstream
from neighbours.node import refresh_soon

DISTRIBUTION = "opensearch-haystack"
SIGNED = ("connections", "auth", "callable")
MODES = ("theirs", *SIGNED)
SENDS_UNSIGNED = ()
ARGUMENTS = ("tests", "-W", "ignore")
ENVIRONMENT = {"HAYSTACK_TELEMETRY_ENABLED": "False"}

STORE = "tests/test_document_store.py::TestDocumentStore"
ASYNC_STORE = "tests/test_document_store_async.py::TestDocumentStoreAsync"
SQL_RETRIEVER = "tests/test_sql_retriever.py::test_sql_retriever"
EXPECTED = {
    "the k-NN plugin comes without faiss": [f"{STORE}::test_embedding_retrieval_with_filters_efficient_filtering"],
    "the node has no SQL plugin": [
        f"{STORE}::test_query_sql",
        f"{ASYNC_STORE}::test_query_sql",
        f"{ASYNC_STORE}::test_query_sql_async_with_fetch_size",
        f"{ASYNC_STORE}::test_query_sql_async_pagination_flow",
        f"{SQL_RETRIEVER}_basic_query_hits_format",
        f"{SQL_RETRIEVER}_count_query_aggregations_format",
        f"{SQL_RETRIEVER}_metadata_extraction",
        f"{SQL_RETRIEVER}_runtime_document_store_switching",
        f"{SQL_RETRIEVER}_with_fetch_size",
        f"{SQL_RETRIEVER}_async_basic_query",
        f"{SQL_RETRIEVER}_async_runtime_document_store_switching",
        f"{SQL_RETRIEVER}_async_with_fetch_size",
    ],
}
IN_MODE = {
    "auth": {
        "it wants opensearch-py's own class": [
            f"tests/test_auth.py::TestAWSAuth::test_{test}"
            for test in (
                "init",
                "from_dict",
                "from_dict_no_init_parameters",
                "from_dict_disable_env_variables",
                "async_aws_auth_init",
            )
        ],
    }
}


def install(mode, domain, seen):
    from haystack_integrations.document_stores.opensearch import auth, document_store

    refresh_soon("test_*")
    options, options_async = {}, {}
    if mode in ("connections", "callable"):
        from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4HttpConnection

        options["connection_class"], options_async["connection_class"] = SigV4HttpConnection, AsyncSigV4HttpConnection
    if mode == "connections":
        from opensearch_sigv4.helpers import async_bulk, bulk

        document_store.bulk, document_store.async_bulk = bulk, async_bulk
        signing = {"region": domain.region, "credentials": domain.credentials, "http_compress": True}
        options.update(signing, http_auth=None)
        options_async.update(signing, http_auth=None)
    if mode == "auth":
        from opensearch_sigv4 import AWSV4SignerAsyncAuth, Urllib3AWSV4SignerAuth

        auth.Urllib3AWSV4SignerAuth, auth.AWSV4SignerAsyncAuth = Urllib3AWSV4SignerAuth, AWSV4SignerAsyncAuth
    if mode in ("auth", "callable"):
        haystacks = _haystacks_auth(auth, domain)
        options["http_auth"], options_async["http_auth"] = haystacks, auth.AsyncAWSAuth(haystacks)
    if mode == "theirs":
        options["http_auth"] = options_async["http_auth"] = None
    url = upstream() if mode == "theirs" else domain.url
    document_store.OpenSearch = _connecting_to(url, document_store.OpenSearch, options)
    document_store.AsyncOpenSearch = _connecting_to(url, document_store.AsyncOpenSearch, options_async)


def _connecting_to(url, client_class, options):
    """The suite's addresses and passwords stand in its tests, so its clients are told others here."""

    class Client(client_class):
        def __init__(self, hosts=None, **kwargs):
            super().__init__(url, **{**kwargs, **options})

    return Client


def _haystacks_auth(auth, domain):
    from haystack.utils.auth import Secret

    return auth.AWSAuth(
        aws_access_key_id=Secret.from_token(domain.credentials.access_key),
        aws_secret_access_key=Secret.from_token(domain.credentials.secret_key),
        aws_region_name=Secret.from_token(domain.region),
    )
