"""HttpxAWSV4SignerAuth: sign the requests of httpx, synchronous and asynchronous."""

from __future__ import annotations

import copy
import sys
from collections.abc import AsyncGenerator, Generator, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import suppress
from functools import cache, partial
from typing import Any

try:
    import httpx
except ImportError as error:
    raise ImportError(
        "HttpxAWSV4SignerAuth needs httpx: pip install 'opensearch-sigv4[httpx]'", name=error.name
    ) from None

from . import core
from ._signing import HASH_IN_THREAD_MIN_BYTES
from ._threads import in_worker
from .async_credentials import LoopSource, loop_source_of
from .auth import _SignerAuth, base_of, header_pairs, kind_of, stays_behind
from .core import spec
from .core._secrets import clear_frames
from .signer import SigV4Signer, sign_with_hash


class HttpxAWSV4SignerAuth(_SignerAuth, httpx.Auth):
    """Sign the requests of an `httpx.Client` or `httpx.AsyncClient`, bodies included: pass it as `auth`.

    The request's target is first brought into a form that nothing on its way has a reason to change. As with every auth
    object of httpx, an `Authorization` of the request's own is replaced; its `X-Amz-Content-SHA256` is signed as it is.

    The body is read into memory, whatever it is given as, and sent as it was hashed, with its length; unless the
    request says `X-Amz-Content-SHA256` itself. In an `AsyncClient`, which has to run on asyncio, nothing blocks the
    loop: credentials are fetched in a thread or awaited, once for all requests that wait for them, and large bodies are
    hashed in a thread.

    A request is signed before it waits for a connection of the client's pool; AWS takes it for five minutes.

    A redirect is followed as httpx does if asked to, but without the signature, the session token and every other
    `x-amz-*`, whatever host it leads to: it is not signed anew, so AWS refuses one that leads to itself. Copies and
    pickles of a signed request's headers, and `next_request`, are without them as well; a copy that a hook changes and
    assigns is completed with them. A transport of your own that makes a new `httpx.Request` of them sends it unsigned.
    Sent by a client with this auth, a `next_request` is signed if no other scheme, host or port came in between.

    :arg credentials: whatever `SigV4Signer` takes, except None; in an `AsyncClient` also what has to be awaited: an
        aiobotocore session or credentials object, a coroutine function, or a callable that returns an awaitable
    :arg region: for example `us-east-1`
    :arg service: `es` (default), `aoss` or `osis`

    Raises:
        ValueError: empty credentials, region or service. Of a request: a path segment that is exactly `.` or `..`; a
            value of a signed header that is not UTF-8. Nothing was sent.
        TypeError: of a request: credentials that have to be awaited, in a `Client`; a body of the other kind of client.
        RuntimeError: this version of httpx would send what is secret along a redirect.

    Thread-safety: any number of threads, event loops and clients of both kinds may share one; credentials that have to
    be awaited belong to one loop.

    >>> import httpx
    >>> from botocore.credentials import Credentials
    >>> credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    >>> auth = HttpxAWSV4SignerAuth(credentials, "us-east-1", "aoss")
    >>> echo = httpx.MockTransport(lambda request: httpx.Response(200, text=request.headers["authorization"]))
    >>> with httpx.Client(auth=auth, transport=echo) as client:
    ...     client.get("https://abc.us-east-1.aoss.amazonaws.com/logs/_search").text.split()[0]
    'AWS4-HMAC-SHA256'
    """

    def __init__(self, credentials: Any, region: str, service: str = "es") -> None:
        _refuse_httpx_that_tells()
        super().__init__(credentials, region, service)

    def _signer_of(self, credentials: Any, region: str, service: str) -> SigV4Signer:
        return SigV4Signer(loop_source_of(credentials), region, service)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _is_of_another_host(request):
            yield _unsigned(request)
            return
        if _needs_hash(request):
            if not isinstance(request.stream, httpx.SyncByteStream):
                raise TypeError("body: an asynchronous one needs an httpx.AsyncClient")
            request.read()
        signed = self._sign_request(request)
        with suppress(GeneratorExit):
            yield signed
            return
        _clear_frames_of_failure()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if _is_of_another_host(request):
            yield _unsigned(request)
            return
        payload_hash = None
        if _needs_hash(request):
            if not isinstance(request.stream, httpx.AsyncByteStream):
                raise TypeError("body: one that is read synchronously needs an httpx.Client; pass its bytes")
            content = await request.aread()
            if len(content) >= HASH_IN_THREAD_MIN_BYTES:
                payload_hash = await in_worker(partial(core.payload_hash, content))
        source: LoopSource = self.signer.source
        source.take(await source.fetch())
        try:
            signed = self._sign_request(request, payload_hash)
        finally:
            source.take(None)  # whatever a subclass's _sign_request did or did not do with it
        with suppress(GeneratorExit):
            yield signed
            return
        _clear_frames_of_failure()

    def _sign_request(self, request: httpx.Request, payload_hash: str | None = None) -> httpx.Request:
        if isinstance(request.stream, httpx.ByteStream):
            _state_length(request)
        request.method = request.method.upper()
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        target = core.request_target(path, query).encode("ascii")
        if target != request.url.raw_path:
            request.url = request.url.copy_with(raw_path=target)
        url = b"%b://%b%b" % (request.url.raw_scheme, request.url.netloc, request.url.raw_path)
        own = _own(request.headers)
        body = request.content if _needs_hash(request) else None
        pairs = header_pairs(self.signer, own)
        signed = sign_with_hash(self.signer, request.method, url.decode("ascii"), body, pairs, payload_hash)
        request.extensions = {**request.extensions, _SIGNED_FOR: _origin_of(request.url)}
        return _SignedRequest.of(request, _SignedHeaders.of(own, signed))


def _clear_frames_of_failure() -> None:
    """To be called by a flow that was ended before its answer came: httpx does so while it raises what happened."""
    clear_frames(sys.exception())


def _needs_hash(request: httpx.Request) -> bool:
    return not any(name.lower() == b"x-amz-content-sha256" for name, _ in _own(request.headers))


def _state_length(request: httpx.Request) -> None:
    """Announce a body in memory for what it is, and once.

    httpx takes a file's length for that of what was left of it, and leaves a caller's Transfer-Encoding beside its own
    Content-Length, where the next hop may believe either.
    """
    size = str(len(request.read()))
    if "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != size:
        request.headers.pop("transfer-encoding", None)
        request.headers["Content-Length"] = size


# An extension of a request, which the next one of a redirect has from it.
_SIGNED_FOR = "opensearch_sigv4.signed_for"


def _origin_of(url: httpx.URL) -> tuple[bytes, bytes, int | None]:
    """Scheme, host and port, which httpx has in lower case, in punycode, and as None if the scheme's own."""
    return url.raw_scheme, url.raw_host, url.port


def _is_of_another_host(request: httpx.Request) -> bool:
    """Whether it was signed for another one, or comes of a redirect from there: `next_request`, sent by the caller."""
    origin = _origin_of(request.url)
    return bool(request.extensions.get(_SIGNED_FOR, origin) != origin)


def _unsigned(request: httpx.Request) -> httpx.Request:
    if isinstance(request, _SignedRequest):
        request.__class__ = base_of(type(request))
    request.headers = httpx.Headers([pair for pair in request.headers.raw if not stays_behind(_lower(pair[0]))])
    # From here on it is nobody's: the other host may redirect to the first one, and have chosen what for.
    request.extensions = {**request.extensions, _SIGNED_FOR: None}
    return request


# --- headers that httpx may copy ---------------------------------------------------------------------------


class _SignedRequest(httpx.Request):
    """A signed request: whatever is assigned as its `headers`, what stays behind is kept apart and not lost.

    OpenTelemetry's instrumentation assigns a changed copy of them, and so do event hooks.
    """

    @classmethod
    def of(cls, request: httpx.Request, headers: _SignedHeaders) -> httpx.Request:
        request.__class__ = kind_of(cls, type(request))  # type: ignore[arg-type] # a class is hashable
        vars(request)["headers"] = headers
        return request

    @property
    def headers(self) -> httpx.Headers:
        return vars(self)["headers"]  # type: ignore[no-any-return]

    @headers.setter
    def headers(self, headers: Any) -> None:
        vars(self)["headers"] = vars(self)["headers"].replaced_by(headers)

    def __reduce_ex__(self, protocol: Any) -> Any:
        twin = object.__new__(base_of(type(self)))
        twin.__setstate__({**self.__getstate__(), "headers": httpx.Headers(self.headers)})
        return copy.copy, (twin,)


class _SignedHeaders(httpx.Headers):
    """A signed request's headers: whole for who reads or sends them, without what is secret for who copies them.

    httpx follows a redirect without asking an auth object, with a copy of the request's headers, out of which it takes
    Authorization alone, and not always. What a copy takes, in `httpx.Headers.__init__`, is `_list`;
    `_refuse_httpx_that_tells` makes sure of it.
    """

    def __init__(self, pairs: list[tuple[bytes, bytes]], signed: frozenset[str]) -> None:
        self._whole = httpx.Headers(pairs)
        self._signed = signed

    @classmethod
    def of(cls, own: list[tuple[bytes, bytes]], signed: Mapping[str, str]) -> _SignedHeaders:
        names = frozenset(_lower(name.encode()) for name in signed)
        added = [(name.encode(), value.encode()) for name, value in signed.items()]
        return cls([pair for pair in own if _lower(pair[0]) not in names] + added, names)

    def replaced_by(self, headers: Any) -> _SignedHeaders:
        """These headers instead, and what stays behind of the old ones where these have nothing else for it."""
        new = headers._whole if isinstance(headers, _SignedHeaders) else httpx.Headers(headers)
        # As they were: those of one name may have been put together, which their signature does not stand for.
        kept = {name for name in self._whole if stays_behind(name) and new.get(name) in (None, self._whole[name])}
        pairs = [pair for pair in new.raw if _lower(pair[0]) not in kept]
        return type(self)(pairs + [pair for pair in self.raw if _lower(pair[0]) in kept], self._signed)

    @property
    def own(self) -> list[tuple[bytes, bytes]]:
        """What was not set here, but by the caller or an event hook."""
        return [pair for pair in self._whole.raw if _lower(pair[0]) not in self._signed]

    @property
    def _told(self) -> list[tuple[bytes, bytes]]:
        return [pair for pair in self._whole.raw if not stays_behind(_lower(pair[0]))]

    @property
    def _list(self) -> Any:  # type: ignore[override]
        return httpx.Headers(self._told)._list

    @property
    def encoding(self) -> str:
        return self._whole.encoding

    @encoding.setter
    def encoding(self, value: str) -> None:
        self._whole.encoding = value

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        return self._whole.raw

    def keys(self) -> KeysView[str]:
        return self._whole.keys()

    def values(self) -> ValuesView[str]:
        return self._whole.values()

    def items(self) -> ItemsView[str, str]:
        return self._whole.items()

    def multi_items(self) -> list[tuple[str, str]]:
        return self._whole.multi_items()

    def get_list(self, key: str, split_commas: bool = False) -> list[str]:
        return self._whole.get_list(key, split_commas)

    def update(self, headers: Any = None) -> None:  # type: ignore[override]
        self._whole.update(headers)

    def __getitem__(self, key: str) -> str:
        return self._whole[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._whole[key] = value

    def __delitem__(self, key: str) -> None:
        del self._whole[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._whole

    def __iter__(self) -> Iterator[Any]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    def __eq__(self, other: object) -> bool:
        return self._whole == (other._whole if isinstance(other, _SignedHeaders) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        secret = spec.SECURITY_TOKEN.lower()
        return repr(httpx.Headers([(n, "[secure]" if n == secret else value) for n, value in self.multi_items()]))

    def __reduce__(self) -> Any:
        return httpx.Headers, (self._told,)


def _own(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    return headers.own if isinstance(headers, _SignedHeaders) else headers.raw


def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()


@cache
def _refuse_httpx_that_tells() -> None:
    """Raise RuntimeError if a copy of signed headers, such as goes along a redirect, would hold what is secret."""
    if httpx.Headers(_SignedHeaders.of([], {spec.AUTHORIZATION: "a", spec.SECURITY_TOKEN: "b"})).raw:
        raise RuntimeError(
            f"HttpxAWSV4SignerAuth cannot keep signature and session token from going along with a redirect in httpx "
            f"{httpx.__version__}; please report it, and use an older one"
        )
