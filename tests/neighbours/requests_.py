"""requests: its suite, with our auth object in every session, against httpbin."""

DISTRIBUTION = "requests"
MODES = ("theirs", "auth", "verified")
SIGNED = SENDS_UNSIGNED = ("verified",)
ARGUMENTS = (
    *("tests/test_requests.py", "tests/test_lowlevel.py", "tests/test_hooks.py"),
    *("-p", "no:asyncio", "-W", "ignore", "--allow-hosts=127.0.0.1,localhost,::1"),
)
ENVIRONMENT = {}

REQUESTS = "tests/test_requests.py::TestRequests::test"
EXPECTED = {
    "it connects to an address that is not this machine's, which is blocked": [
        f"tests/test_requests.py::TestTimeout::test_{test}[timeout{number}]"
        for test in ("connect_timeout", "total_timeout_connect")
        for number in (0, 1)
    ],
    "a generator has to be used up to be hashed": [
        f"{REQUESTS}_transfer_enc_removal_on_redirect",
        "tests/test_lowlevel.py::test_chunked_upload",
        "tests/test_lowlevel.py::test_chunked_upload_uses_only_specified_host_header",
        "tests/test_lowlevel.py::test_chunked_upload_doesnt_skip_host_header",
    ],
    "the session's auth comes before .netrc": [
        f"{REQUESTS}_basicauth_with_netrc",
        f"{REQUESTS}_basicauth_with_netrc_leak",
    ],
}
_OF_OURS = {
    "a pickle holds no signature": [f"{REQUESTS}_request_and_response_are_pickleable"],
}
IN_MODE = {
    "theirs": {
        "opensearch-py cannot sign a URL without a host": [
            f"{REQUESTS}_invalid_url[InvalidSchema-10.122.1.1:3128/]",
        ],
        "opensearch-py cannot sign headers of bytes": [
            f"{REQUESTS}_request_with_bytestring_host",
            f"{REQUESTS}_header_validation",
            f"{REQUESTS}_header_with_subclass_types",
        ],
    },
    "auth": _OF_OURS,
    "verified": {
        **_OF_OURS,
        "a redirect is not signed anew": [
            f"{REQUESTS}_{test}"
            for test in (
                "HTTP_302_ALLOW_REDIRECT_GET",
                "redirect_history_no_self_reference",
                "HTTP_307_ALLOW_REDIRECT_POST",
                "HTTP_307_ALLOW_REDIRECT_POST_WITH_SEEKABLE",
                "HTTP_302_TOO_MANY_REDIRECTS",
                "HTTP_302_TOO_MANY_REDIRECTS_WITH_PARAMS",
                "http_301_changes_post_to_get",
                "http_301_doesnt_change_head_to_get",
                "http_302_changes_post_to_get",
                "http_302_doesnt_change_head_to_get",
                "http_303_changes_post_to_get",
                "http_303_doesnt_change_head_to_get",
                "cookie_sent_on_redirect",
                "uppercase_scheme_redirect",
                "manual_redirect_with_partial_body_read",
                "getattr_proxy_stream_follows_redirect",
                "custom_redirect_mixin",
            )
        ],
        "it sends what was prepared without the session's auth": [
            *(f"{REQUESTS}_mixed_case_scheme_acceptable[{http}://]" for http in ("http", "HTTP", "hTTp", "HttP")),
            f"{REQUESTS}_HTTP_200_OK_GET_ALTERNATIVE",
            f"{REQUESTS}_prepared_request_is_pickleable",
            f"{REQUESTS}_prepared_request_with_file_is_pickleable",
            f"{REQUESTS}_prepared_request_with_hook_is_pickleable",
            f"{REQUESTS}_session_pickling",
        ],
        "it has an auth of its own": [
            f"{REQUESTS}_BASICAUTH_TUPLE_HTTP_200_OK_GET",
            f"{REQUESTS}_DIGEST_HTTP_200_OK_GET",
            f"{REQUESTS}_DIGEST_AUTH_RETURNS_COOKIE",
            f"{REQUESTS}_DIGEST_AUTH_SETS_SESSION_COOKIES",
            f"{REQUESTS}_DIGESTAUTH_WRONG_HTTP_401_GET",
            f"{REQUESTS}_DIGESTAUTH_QUOTES_QOP_VALUE",
            f"{REQUESTS}_prepared_from_session",
            f"{REQUESTS}_auth_is_retained_for_redirect_on_host",
        ],
        "LocalDomain keeps what is meant for a proxy": [f"{REQUESTS}_proxy_authorization_preserved_on_request"],
    },
}
_servers = []  # one ends when nobody holds it


def upstream():
    import httpbin
    from pytest_httpbin.serve import Server

    _servers.append(Server(application=httpbin.app))
    _servers[0].start()
    return _servers[0].url


def install(mode, domain, seen):
    import opensearchpy
    import requests
    from botocore.credentials import Credentials
    from pytest_httpbin.serve import Server

    import opensearch_sigv4

    package = opensearchpy if mode == "theirs" else opensearch_sigv4
    credentials = Credentials(domain.credentials.access_key, domain.credentials.secret_key)
    make_session = requests.Session.__init__

    def make_signed_session(session):
        make_session(session)
        session.auth = package.RequestsAWSV4SignerAuth(credentials, domain.region)

    requests.Session.__init__ = make_signed_session
    if mode == "verified":
        own_url = Server.url.fget
        Server.url = property(lambda server: domain.url if server.protocol == "http" else own_url(server))
