"""Requests to Amazon OpenSearch Service and Serverless, signed with AWS Signature Version 4.

The public names are imported when they are first used, so that `from opensearch_sigv4 import SigV4Signer` loads
neither opensearch-py nor botocore.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_connection import AsyncSigV4HttpConnection
    from .auth import (
        AWSV4SignerAsyncAuth,
        AWSV4SignerAuth,
        RequestsAWSV4SignerAuth,
        Urllib3AWSV4SignerAuth,
    )
    from .client import connect, connect_async
    from .connection import SigV4HttpConnection
    from .core import backend
    from .httpx_auth import HttpxAWSV4SignerAuth
    from .signer import Explanation, SigV4Signer

    __version__: str

    __all__ = [
        "AWSV4SignerAsyncAuth",
        "AWSV4SignerAuth",
        "AsyncSigV4HttpConnection",
        "Explanation",
        "HttpxAWSV4SignerAuth",
        "RequestsAWSV4SignerAuth",
        "SigV4HttpConnection",
        "SigV4Signer",
        "Urllib3AWSV4SignerAuth",
        "backend",
        "connect",
        "connect_async",
    ]

_MODULES = {
    "AWSV4SignerAsyncAuth": ".auth",
    "AWSV4SignerAuth": ".auth",
    "AsyncSigV4HttpConnection": ".async_connection",
    "Explanation": ".signer",
    "HttpxAWSV4SignerAuth": ".httpx_auth",
    "RequestsAWSV4SignerAuth": ".auth",
    "SigV4HttpConnection": ".connection",
    "SigV4Signer": ".signer",
    "Urllib3AWSV4SignerAuth": ".auth",
    "backend": ".core",
    "connect": ".client",
    "connect_async": ".client",
}

#: What has to be installed for the names that an extra brings.
_NEEDS = {"AsyncSigV4HttpConnection": "aiohttp", "HttpxAWSV4SignerAuth": "httpx"}

if not TYPE_CHECKING:  # or every name would be known to a type checker

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("opensearch-sigv4")
        elif name == "__all__":
            return _usable()
        elif name in _MODULES:
            value = getattr(import_module(_MODULES[name], __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_usable(), "__all__", "__version__"})


def _usable() -> list[str]:
    """The public names that can be imported: what looks at all of them is not to fail for an extra that is missing."""
    from importlib.util import find_spec

    return [name for name in _MODULES if name not in _NEEDS or find_spec(_NEEDS[name]) is not None]
