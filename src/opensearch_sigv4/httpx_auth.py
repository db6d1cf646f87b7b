"""HttpxAWSV4SignerAuth: sign the requests of httpx, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

try:
    import httpx
except ImportError as error:
    raise ImportError(
        "HttpxAWSV4SignerAuth needs httpx: pip install 'opensearch-sigv4[httpx]'", name=error.name
    ) from None

from .async_credentials import loop_source_of
from .auth import _SignerAuth
from .signer import SigV4Signer


class HttpxAWSV4SignerAuth(_SignerAuth, httpx.Auth):
    """Sign the requests of an `httpx.Client` or `AsyncClient`, bodies included: pass it as `auth`."""

    def __init__(self, credentials: Any, region: str, service: str = "es") -> None:
        super().__init__(credentials, region, service)

    def _signer_of(self, credentials: Any, region: str, service: str) -> SigV4Signer:
        self._source = loop_source_of(credentials)
        return SigV4Signer(self._source, region, service)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.read()
        yield self._sign_request(request)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        await request.aread()
        self._source.take(await self._source.fetch())
        yield self._sign_request(request)

    def _sign_request(self, request: httpx.Request) -> httpx.Request:
        url = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{request.url.raw_path.decode('ascii')}"
        signed = self.signer.sign(request.method, url, request.content, request.headers.multi_items())
        for name, value in signed.items():
            request.headers[name] = value
        return request
