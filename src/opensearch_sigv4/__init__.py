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


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("opensearch-sigv4")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name], __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
