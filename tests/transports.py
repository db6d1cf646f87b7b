"""opensearch-py over five HTTP clients, each signed by this library, behind one synchronous face.

A transport makes clients of a `LocalDomain`, and changes their requests between the signature and the socket. Its HTTP
client is imported when the first of these is made.
"""

import asyncio
import inspect
import ssl
from contextlib import closing, contextmanager
from functools import cache
from urllib.parse import urlencode, urlsplit

from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy import ConnectionError as OpenSearchConnectionError
from opensearchpy.connection import Connection


class Driven:
    """An asynchronous object with a synchronous face: what a call of it, or of what it holds, returns is awaited."""

    def __init__(self, target, run):
        self._target, self._run = target, run

    def __getattr__(self, name):
        value = getattr(self._target, name)
        if not callable(value):
            return Driven(value, self._run)

        def call(*args, **kwargs):
            result = value(*args, **kwargs)
            return self._run(result) if inspect.iscoroutine(result) else result

        return call


def call(function, client, *arguments, **options):
    """`function` with the bare client: what it returns, awaited if it can be, in a list if it can only be iterated."""
    is_driven = isinstance(client, Driven)
    result = function(client._target if is_driven else client, *arguments, **options)
    if inspect.isasyncgen(result):
        result = _collected(result)
    if inspect.iscoroutine(result):
        result = client._run(result)
    return list(result) if inspect.isgenerator(result) else result


async def _collected(results):
    return [result async for result in results]


# --- opensearch-py over httpx, which it does not have --------------------------------------------------------


@cache
def httpx_connections():
    """The synchronous and the asynchronous one, whose URLs and bodies are made as in `RequestsHttpConnection`."""
    import httpx

    class HttpxConnection(Connection):
        client_class, transport_class = httpx.Client, httpx.HTTPTransport

        def __init__(self, *, http_auth, ca_certs=None, **kwargs):
            self.headers = {}
            super().__init__(**kwargs)
            verify = ssl.create_default_context(cafile=ca_certs) if self.use_ssl else False
            transport = self.transport_class(verify=verify)
            self.client = self.client_class(auth=http_auth, headers=self.headers, transport=transport, trust_env=False)

        def _request(self, method, url, params, body, timeout, headers):
            url = f"{self.host}{self.url_prefix}{url}" + (f"?{urlencode(params)}" if params else "")
            headers = dict(headers or ())
            if self.http_compress and body:
                body = self._gzip_compress(body)
                headers["content-encoding"] = "gzip"
            return self.client.build_request(
                method, url, content=body, headers=headers, timeout=timeout or self.timeout
            )

        def _result(self, response, ignore):
            if not response.is_success and response.status_code not in ignore:
                self._raise_error(response.status_code, response.text, response.headers.get("content-type"))
            return response.status_code, response.headers, response.text

        def perform_request(self, method, url, params=None, body=None, timeout=None, ignore=(), headers=None):
            request = self._request(method, url, params, body, timeout, headers)
            try:
                response = self.client.send(request)
            except httpx.TransportError as error:
                raise OpenSearchConnectionError("N/A", str(error), error) from error
            return self._result(response, ignore)

        def close(self):
            self.client.close()

    class AsyncHttpxConnection(HttpxConnection):
        client_class, transport_class = httpx.AsyncClient, httpx.AsyncHTTPTransport

        async def perform_request(self, method, url, params=None, body=None, timeout=None, ignore=(), headers=None):
            request = self._request(method, url, params, body, timeout, headers)
            try:
                response = await self.client.send(request)
            except httpx.TransportError as error:
                raise OpenSearchConnectionError("N/A", str(error), error) from error
            return self._result(response, ignore)

        async def close(self):
            await self.client.aclose()

    return HttpxConnection, AsyncHttpxConnection


# --- the five ------------------------------------------------------------------------------------------------


class Transport:
    """How one HTTP client sends what opensearch-py asks for. `run` runs a coroutine, always in the same loop."""

    name: str
    is_asynchronous = False

    def __init__(self, run):
        self._run = run

    def client(self, domain, *, credentials=None, **options):
        """A client of the domain, in a context that closes it; `options` are those of opensearch-py's clients."""
        if domain.ca_certs:
            options["ca_certs"] = domain.ca_certs
        return closing(self._driven(self._client(domain, credentials or domain.credentials, options)))

    def client_with(self, domain, connection_class, http_auth, **options):
        """The same, of opensearch-py's parts."""
        return closing(self._driven(self._of(domain, connection_class, http_auth, options)))

    def _of(self, domain, connection_class, http_auth, options):
        client_class = AsyncOpenSearch if self.is_asynchronous else OpenSearch
        return client_class(domain.url, connection_class=connection_class, http_auth=http_auth, **options)

    def _driven(self, client):
        return Driven(self._run(client.__aenter__()), self._run) if self.is_asynchronous else client

    @contextmanager
    def changing(self, client, change):
        """Let `change(request)` alter what was signed: a dict of method, url (the target), body, headers (lower case).

        It yields a list, which gets each request as it was before and as it was after.
        """
        changed = []

        def alter(method, url, body, headers):
            headers = {name.lower(): value for name, value in headers.items() if name.lower() != "content-length"}
            before = {"method": method, "url": url, "body": body, "headers": headers}
            after = {**before, "headers": {**headers}}
            change(after)
            changed.append((before, after))
            return after

        with self._altering(client.transport.get_connection(), alter):
            yield changed

    def _client(self, domain, credentials, options):
        raise NotImplementedError

    def _altering(self, connection, alter):
        """Within it the connection's requests go through `alter`, on their way from the signature to the socket."""
        raise NotImplementedError


@contextmanager
def _replaced(owner, name, value):
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


class Urllib3(Transport):
    """`SigV4HttpConnection`."""

    name = "urllib3"

    def _client(self, domain, credentials, options):
        from opensearch_sigv4 import connect

        return connect(domain.url, region=domain.region, service=domain.service, credentials=credentials, **options)

    def _altering(self, connection, alter):
        urlopen = connection.pool.urlopen

        def altered(method, url, body=None, headers=None, **kwargs):
            request = alter(method, url, body, headers)
            return urlopen(request["method"], request["url"], request["body"], headers=request["headers"], **kwargs)

        return _replaced(connection.pool, "urlopen", altered)


class Aiohttp(Transport):
    """`AsyncSigV4HttpConnection`."""

    name = "aiohttp"
    is_asynchronous = True

    def _client(self, domain, credentials, options):
        from opensearch_sigv4 import connect_async

        return connect_async(
            domain.url, region=domain.region, service=domain.service, credentials=credentials, **options
        )

    def _altering(self, connection, alter):
        import aiohttp

        request = aiohttp.ClientSession.request

        def altered(session, method, url, *, data, headers, **kwargs):
            if session is not connection.session:  # the LocalDomain's, to its node
                return request(session, method, url, data=data, headers=headers, **kwargs)
            new = alter(method, url.raw_path_qs, data, headers)
            url = type(url)(f"{url.scheme}://{url.raw_authority}{new['url']}", encoded=True)
            return request(session, new["method"], url, data=new["body"], headers=new["headers"], **kwargs)

        return _replaced(aiohttp.ClientSession, "request", altered)


class Requests(Transport):
    """opensearch-py's `RequestsHttpConnection` with `RequestsAWSV4SignerAuth`."""

    name = "requests"

    def _client(self, domain, credentials, options):
        from opensearchpy import RequestsHttpConnection

        from opensearch_sigv4 import RequestsAWSV4SignerAuth

        auth = RequestsAWSV4SignerAuth(credentials, domain.region, domain.service)
        client = self._of(domain, RequestsHttpConnection, auth, options)
        client.transport.get_connection().session.trust_env = False  # no proxy and no CAs of the machine's
        return client

    def _altering(self, connection, alter):
        send = connection.session.send

        def altered(prepared, **kwargs):
            new = alter(prepared.method, prepared.path_url, prepared.body, prepared.headers)
            parts = urlsplit(prepared.url)
            prepared.method, prepared.url = new["method"], f"{parts.scheme}://{parts.netloc}{new['url']}"
            prepared.body, prepared.headers = new["body"], type(prepared.headers)(new["headers"])
            prepared.prepare_content_length(prepared.body)
            return send(prepared, **kwargs)

        return _replaced(connection.session, "send", altered)


class Httpx(Transport):
    """An opensearch-py connection over `httpx.Client` with `HttpxAWSV4SignerAuth`."""

    name = "httpx"
    _handle = "handle_request"

    def _client(self, domain, credentials, options):
        from opensearch_sigv4 import HttpxAWSV4SignerAuth

        auth = HttpxAWSV4SignerAuth(credentials, domain.region, domain.service)
        return self._of(domain, httpx_connections()[self.is_asynchronous], auth, options)

    def _altering(self, connection, alter):
        import httpx

        transport = connection.client._transport  # not what `mounts` gives a request: there are none
        handle = getattr(transport, self._handle)

        def altered(request):
            new = alter(request.method, request.url.raw_path.decode(), request.content, request.headers)
            return handle(
                httpx.Request(
                    new["method"],
                    request.url.copy_with(raw_path=new["url"].encode()),
                    headers=new["headers"],
                    content=new["body"],
                    extensions=request.extensions,
                )
            )

        return _replaced(transport, self._handle, altered)


class HttpxAsync(Httpx):
    """An asynchronous opensearch-py connection over `httpx.AsyncClient` with `HttpxAWSV4SignerAuth`."""

    name = "httpx async"
    is_asynchronous = True
    _handle = "handle_async_request"


TRANSPORTS = (Urllib3, Aiohttp, Requests, Httpx, HttpxAsync)


@contextmanager
def all_transports():
    """One of each, by name, with one event loop for the asynchronous ones."""
    with asyncio.Runner() as runner:
        yield {kind.name: kind(runner.run) for kind in TRANSPORTS}
