"""urllib3: its pools, with the lean connections that `SigV4HttpConnection` gives to its own."""

DISTRIBUTION = "urllib3"
MODES = ("theirs", "lean")
SIGNED = SENDS_UNSIGNED = ()
ENVIRONMENT = {}
SERVED = "test/with_dummyserver"
ARGUMENTS = (
    "test/test_connection.py",  # first: test_connectionpool.py adds to a list of defaults, which it looks at
    "test/test_connectionpool.py",
    *(f"{SERVED}/test_{name}.py" for name in ("connectionpool", "chunked_transfer", "connection", "https")),
    *(f"{SERVED}/test_{name}.py" for name in ("socketlevel", "poolmanager", "no_ssl")),
    *("-p", "no:asyncio", "-m", "not requires_network", "--allow-hosts=127.0.0.1,localhost,::1"),
    # Whether an address that is not the machine's can be bound is up to the machine.
    "--deselect",
    f"{SERVED}/test_connectionpool.py::TestConnectionPool::test_source_address_error",
)

POOLS = f"{SERVED}/test_connectionpool.py"
HTTPS = [f"{SERVED}/test_https.py::TestHTTPS_TLSv1_{minor}" for minor in (2, 3)]
EXPECTED = {
    "it connects to an address that is not this machine's, which is blocked": [
        *(
            f"{POOLS}::TestConnectionPoolTimeouts::test_{test}"
            for test in ("connect_timeout", "total_applies_connect", "create_connection_timeout")
        ),
        *(f"{https}::test_http2_probe_no_result_in_connect_error" for https in HTTPS),
        *(f"{https}::test_http2_probe_blocked_per_thread" for https in HTTPS),
    ],
    "its server needs a Hypercorn that PyPI has not, which tells of TLS": [
        *(f"{https}::test_client_intermediate" for https in HTTPS),
        *(f"{https}::test_client_key_password" for https in HTTPS),
        *(f"{https}::test_alpn_default[{http}]" for https in HTTPS for http in ("h11", "h2")),
        *(f"{https}::test_http2_probe_result_is_cached[{http}]" for https in HTTPS for http in ("h11", "h2")),
    ],
}
IN_MODE = {
    "lean": {
        "it wants urllib3's own class, and no subclass": [
            "test/test_connectionpool.py::TestConnectionPool::test_pool_timeouts",
            *(f"{https}::test_verified" for https in HTTPS),
            *(f"{https}::test_verified_with_context" for https in HTTPS),
            *(f"{https}::test_context_combines_with_ca_certs" for https in HTTPS),
            *(f"{https}::test_ca_dir_verified" for https in HTTPS),
        ],
    }
}


def install(mode, domain, seen):
    """Every pool of urllib3's is made lean, and what takes the short way is counted."""
    if mode == "theirs":
        return
    from urllib3.connectionpool import HTTPConnectionPool

    from opensearch_sigv4 import _transport

    seen.update({"requests sent lean": 0, "answers read lean": 0})
    make_pool = HTTPConnectionPool.__init__
    plain_head = _transport._Lean._plain_head
    plain_response = _transport._PlainResponse.__init__

    def make_lean_pool(pool, *args, **kwargs):
        make_pool(pool, *args, **kwargs)
        _transport.make_lean(pool)

    def count_heads(connection, *args):
        head = plain_head(connection, *args)
        seen["requests sent lean"] += head is not None
        return head

    def count_responses(response, *args):
        seen["answers read lean"] += 1
        plain_response(response, *args)

    HTTPConnectionPool.__init__ = make_lean_pool
    _transport._Lean._plain_head = count_heads
    _transport._PlainResponse.__init__ = count_responses
