"""`connect` and `connect_async`: an opensearch-py client that signs, from one URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opensearchpy import OpenSearch

from ._signing import endpoint_of_header
from .connection import SigV4HttpConnection
from .core import split_url
from .credentials import source_of
from .endpoint import parse_host
from .signer import SigV4Signer, region_from
from .timing import TimedSerializer

if TYPE_CHECKING:
    from opensearchpy import AsyncOpenSearch


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
        region: by default what the host (of the URL, or in `headers`), AWS_REGION, AWS_DEFAULT_REGION or the profile
            says.
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
    return OpenSearch(
        [host_of(url)],
        region=region,
        service=service,
        credentials=source_of(credentials, profile=profile),
        **_signing(client_options, SigV4HttpConnection),
    )


def connect_async(
    url: str,
    *,
    region: str | None = None,
    service: str | None = None,
    credentials: Any = None,
    profile: str | None = None,
    **client_options: Any,
) -> AsyncOpenSearch:
    """Return an `opensearchpy.AsyncOpenSearch` whose every request is signed: `connect` for asyncio.

    Args:
        url: as in `connect`, and so are `region`, `service`, `profile` and `client_options`.
        credentials: whatever `SigV4Signer` takes, and what has to be awaited: an aiobotocore session or credentials
            object, a coroutine function, or a callable that returns an awaitable. By default botocore's chain.

    Raises:
        ValueError, TypeError: as `connect`.
        ImportError: aiohttp is not installed; the message names the pip command.

    Thread-safety: the client belongs to one event loop at a time; this function may be called outside of any.

    >>> import asyncio
    >>> async def main():
    ...     async with connect_async("search-logs-abc123.eu-central-1.es.amazonaws.com") as client:
    ...         return client.transport.get_connection()
    >>> asyncio.run(main())
    <AsyncSigV4HttpConnection: https://search-logs-abc123.eu-central-1.es.amazonaws.com:443>
    """
    from .async_connection import AsyncSigV4HttpConnection
    from .async_credentials import loop_source_of

    # A client of asyncio's makes its connections in its first request: what is wrong is said here, and not there.
    options = _signing(client_options, AsyncSigV4HttpConnection)
    from opensearchpy import AsyncOpenSearch

    host = host_of(url)
    source = loop_source_of(credentials, profile=profile)
    endpoint = endpoint_of_header(options.get("headers")) or parse_host(host["host"])
    if region is None:
        region = endpoint.region if endpoint else region_from(source, host["host"])
    if service is None:
        service = endpoint.service if endpoint else "es"
    signer = SigV4Signer(source, region, service)
    return AsyncOpenSearch([host], region=signer.region, service=signer.service, credentials=source, **options)


def _signing(client_options: dict[str, Any], connection_class: type) -> dict[str, Any]:
    """The options, with a connection class that signs."""
    if client_options.get("http_auth") is not None:
        raise ValueError("http_auth: a client that signs every request takes none; pass credentials= or profile=")
    client_options.setdefault("serializer", TimedSerializer())
    given = client_options.setdefault("connection_class", connection_class)
    if not (isinstance(given, type) and issubclass(given, connection_class)):
        raise TypeError(f"connection_class: a client that signs every request needs a {connection_class.__name__}")
    return client_options


def host_of(url: str) -> dict[str, Any]:
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
