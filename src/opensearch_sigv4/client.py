"""`connect`: an opensearch-py client that signs, from one URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from opensearchpy import OpenSearch

from .connection import SigV4HttpConnection
from .core import split_url
from .credentials import source_of
from .endpoint import parse_host


def connect(
    url: str,
    *,
    region: str | None = None,
    service: str | None = None,
    credentials: Any = None,
    profile: str | None = None,
    **client_options: Any,
) -> OpenSearch:
    """Return an `opensearchpy.OpenSearch` whose every request is signed.

    Args:
        url: of the domain or collection, for example `https://search-logs-abc.eu-central-1.es.amazonaws.com`.
            For a host that AWS names the scheme may be left out (https); for any other it is needed.
        region: by default what the host, AWS_REGION, AWS_DEFAULT_REGION or the profile says.
        service: `es`, `aoss` or `osis`; by default what the host says, else `es`.
        credentials: whatever `SigV4Signer` takes; by default botocore's chain.
        profile: the name of a profile of AWS's shared files, instead of `credentials`.
        client_options: passed on to `OpenSearch`: `timeout`, `http_compress`, `max_retries`, `ca_certs` and so on.

    Raises:
        ValueError: a URL that is not one, that holds a user and password, or whose region cannot be found;
            `credentials` and `profile` together; or `http_auth` among the options.
        TypeError: credentials of an unknown kind, or a `connection_class` that does not sign.

    Thread-safety: as opensearch-py's client, which threads may share.

    >>> client = connect("search-logs-abc123.eu-central-1.es.amazonaws.com")
    >>> client.transport.get_connection()
    <SigV4HttpConnection: https://search-logs-abc123.eu-central-1.es.amazonaws.com:443>
    """
    if client_options.get("http_auth") is not None:
        raise ValueError("http_auth: connect() signs every request; pass credentials= or profile= instead")
    connection_class = client_options.setdefault("connection_class", SigV4HttpConnection)
    if not (isinstance(connection_class, type) and issubclass(connection_class, SigV4HttpConnection)):
        raise TypeError("connection_class: connect() signs every request, which needs a SigV4HttpConnection")
    return OpenSearch(
        [_host_of(url)],
        region=region,
        service=service,
        credentials=source_of(credentials, profile=profile),
        **client_options,
    )


def _host_of(url: str) -> dict[str, Any]:
    """opensearch-py's dict for one host, with nothing left for it to guess."""
    if isinstance(url, str) and "://" not in url and parse_host(url.partition("/")[0]):
        url = f"https://{url}"
    wire = split_url(url)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("url: a user and password cannot go with signed requests")
    if wire.query:
        raise ValueError("url: a query cannot be part of a client's URL")
    is_https = wire.scheme == "https"
    host: dict[str, Any] = {"host": parts.hostname, "scheme": wire.scheme, "use_ssl": is_https}
    if parts.port or is_https:
        host["port"] = parts.port or 443
    if wire.path != "/":
        host["url_prefix"] = wire.path
    return host
