"""opensearch-py's auth objects under their own names: swap the import, keep the program.

`signer_behind` is what lets a program keep even those: the connections take over the signer objects of
opensearch-py and requests-aws4auth.
"""

from __future__ import annotations

import copy
import hashlib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests.auth
from requests import PreparedRequest
from requests.exceptions import InvalidSchema
from requests.structures import CaseInsensitiveDict
from requests.utils import super_len

from . import core
from .core import spec
from .core._secrets import RequestHeaders, cleared_frames
from .credentials import Snapshot, source_reading
from .signer import SigV4Signer, sign_with_hash


class _SignerAuth:
    """What the auth objects share: opensearch-py's arguments, checks, messages and attributes."""

    signer: SigV4Signer
    service: str

    def __init__(self, credentials: Any, region: str, service: str = "es") -> None:
        if not credentials:
            raise ValueError("Credentials cannot be empty")
        if not region:
            raise ValueError("Region cannot be empty")
        if not service:
            raise ValueError("Service name cannot be empty")
        self.signer = self._signer_of(credentials, region, service)
        self.service = service

    def _signer_of(self, credentials: Any, region: str, service: str) -> SigV4Signer:
        return SigV4Signer(credentials, region, service)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(region={self.signer.region!r}, service={self.service!r})"


class Urllib3AWSV4SignerAuth(_SignerAuth):
    """Sign for opensearch-py's `Urllib3HttpConnection`, or any caller of `(method, url, body, headers)`.

    Given to `SigV4HttpConnection` it is taken over: the connection then signs what it sends, headers included,
    which opensearch-py's own connection cannot (it calls without headers).

    :arg credentials: whatever `SigV4Signer` takes, except None
    :arg region: for example `us-east-1`
    :arg service: `es` (default), `aoss` or `osis`

    Raises:
        ValueError: empty credentials, region or service.

    Thread-safety: one object may sign from any number of threads.

    >>> from botocore.credentials import Credentials
    >>> credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    >>> auth = Urllib3AWSV4SignerAuth(credentials, "us-east-1", "aoss")
    >>> sorted(auth("GET", "https://abc.us-east-1.aoss.amazonaws.com/logs/_search", None))
    ['Authorization', 'X-Amz-Content-SHA256', 'X-Amz-Date']
    """

    def __call__(self, method: str, url: str, body: Any, headers: dict[str, str] | None = None) -> dict[str, str]:
        return self._sign_request(method, url, body, headers)

    def _sign_request(self, method: str, url: str, body: Any, headers: dict[str, str] | None) -> dict[str, str]:
        return self.signer.sign(method, url, body, headers)


class AWSV4SignerAsyncAuth(_SignerAuth):
    """Sign for opensearch-py's `AsyncHttpConnection`, which calls it inside the event loop and cannot await.

    Version 3 of opensearch-py names what it passes: method, url, body, headers. Version 2 passes method, url, query
    string and body by position, and no headers: of a call's own none is signed there, as in its own signer. By position
    this object takes what the installed version passes.

    Credentials are refreshed ahead of their expiry by another thread. Only when nothing valid is left does the call
    block the loop, as opensearch-py's own does, and it says so once.

    :arg credentials: whatever `SigV4Signer` takes, except None
    :arg region: for example `us-east-1`
    :arg service: `es` (default), `aoss` or `osis`

    Raises:
        ValueError: empty credentials, region or service.

    Thread-safety: one object may sign from any number of threads and event loops.

    >>> from botocore.credentials import Credentials
    >>> auth = AWSV4SignerAsyncAuth(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1")
    >>> auth("GET", "https://localhost/", body=None, headers={"Host": "search.internal"})["Authorization"].split()[0]
    'AWS4-HMAC-SHA256'
    """

    _warned = False

    def __call__(self, method: str, url: str, *args: Any, **kwargs: Any) -> dict[str, str]:
        kwargs.pop("query_string", None)  # version 2's name for what is in the URL as well
        if args and _calls_as_version_2():
            args = args[1:]
        return self._sign_request(**_named(method, url, *args, **kwargs))

    def _sign_request(self, method: str, url: str, body: Any, headers: dict[str, str] | None) -> dict[str, str]:
        source = self.signer.source
        with cleared_frames:
            blocks = not self._warned and source.keeps and source.ready() is None
        if blocks:
            self._warned = True
            warnings.warn(
                "no valid credentials are at hand: fetching them now, which blocks the event loop",
                RuntimeWarning,
                stacklevel=3,
            )
        return self.signer.sign(method, url, body, headers)


def _named(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    return {"method": method, "url": url, "body": body, "headers": headers}


def _calls_as_version_2() -> bool:
    from opensearchpy import VERSION

    return VERSION < (3,)


class RequestsAWSV4SignerAuth(_SignerAuth, requests.auth.AuthBase):
    """Sign `requests` requests, and those of opensearch-py's `RequestsHttpConnection`.

    The request's target is first brought into the form in which urllib3 sends it unchanged. As with every auth object
    of requests, an `Authorization` of the request's own is replaced; its `X-Amz-Content-SHA256` is signed as it is.

    A body is bytes, str, or a binary file, which is hashed from where it stands to its end, block by block, and set
    back there. What cannot be set back, such as a generator or a pipe, is refused, unless the request says
    `X-Amz-Content-SHA256` itself.

    A redirect is followed as requests does, but without the signature, the session token and every other `x-amz-*`,
    whatever host it leads to: it is not signed anew, so AWS refuses one that leads to itself. A copy of a signed
    request loses them when its `url` is set, and a pickle has none of them.

    :arg credentials: whatever `SigV4Signer` takes, except None
    :arg region: for example `us-east-1`
    :arg service: `es` (default), `aoss` or `osis`

    Raises:
        ValueError: empty credentials, region or service. When called: a path segment that is exactly `.` or `..`; a
            value of a signed header that is not UTF-8; a body of which requests would announce a wrong length.
        TypeError: when called with a body that can be hashed only by using it up, or with a file of text.

    Thread-safety: one object may sign from any number of threads.

    >>> import requests
    >>> from botocore.credentials import Credentials
    >>> credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    >>> auth = RequestsAWSV4SignerAuth(credentials, "us-east-1")
    >>> request = requests.Request("GET", "https://localhost/a b?q=x+y", auth=auth).prepare()
    >>> request.url
    'https://localhost/a%20b?q=x%20y'
    """

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return self._sign_request(request)

    def _sign_request(self, prepared_request: PreparedRequest) -> PreparedRequest:
        request, headers = prepared_request, prepared_request.headers
        if isinstance(request, _Signed):
            request.forget_signature()
        if request.body is None or isinstance(request.body, (str, bytes)):
            headers.pop("Transfer-Encoding", None)  # beside a Content-Length, where the next hop may believe either
        request.method = (request.method or "").upper()
        request.url = _as_sent(request.url or "")
        known_hash = None if spec.CONTENT_SHA256 in headers else _prepare_body(request)
        pairs = header_pairs(self.signer, headers.items())
        signed = sign_with_hash(self.signer, request.method, request.url, request.body, pairs, known_hash)
        headers.update(signed)
        for name, value in list(headers.items()):
            if isinstance(value, str) and not value.isascii() and self.signer.signs(_text(name).lower()):
                # Signed as UTF-8, so sent as UTF-8: http.client would take latin-1.
                headers[name] = value.encode()  # type: ignore[assignment]
        return _Signed.of(request, signed)


class _Signed(PreparedRequest):
    """A signed request: a copy of it leaves behind what is meant for one host, as soon as its `url` is set.

    So requests follows a redirect: with a copy of what `Session.send` was given, whose `url` it sets. Of the headers it
    drops Authorization alone, and for another host alone. What the next host is, is not asked here: there is no telling
    it wrong from what requests will make of a Location. Nor is anything signed for it, be it the first host again: who
    redirects would choose what is signed.

    The request itself stays whole. Threads may be sending it, and hooks read it.
    """

    _set: Mapping[str, str]  # what the signature set, which the next one replaces, and takes for nobody's own
    _is_copy: bool

    @classmethod
    def of(cls, request: PreparedRequest, signed: Mapping[str, str], *, is_copy: bool = False) -> PreparedRequest:
        request.__class__ = kind_of(cls, type(request))  # type: ignore[arg-type] # a class is hashable
        vars(request).update(_set=signed, _is_copy=is_copy)
        if type(request.headers) is CaseInsensitiveDict:
            request.headers.__class__ = _SignedHeaders
        return request

    def forget_signature(self) -> None:
        for name, value in self._set.items():
            if self.headers.get(name) == value:
                del self.headers[name]
        self._forget()

    def _forget(self) -> None:
        self.__class__ = base_of(type(self))
        del self._set, self._is_copy

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "url" and self._is_copy:
            self.headers = self.headers.copy()  # which a shallow copy shares
            for header in [header for header in self.headers if stays_behind(_text(header).lower())]:
                del self.headers[header]
            self._forget()
            setattr(self, name, value)
        else:
            super().__setattr__(name, value)

    def copy(self) -> PreparedRequest:
        return _Signed.of(super().copy(), self._set, is_copy=True)

    def __copy__(self) -> PreparedRequest:
        return self._twin(vars(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedRequest:
        return self._twin(copy.deepcopy(vars(self), memo))

    def _twin(self, state: dict[str, Any]) -> PreparedRequest:
        twin = object.__new__(base_of(type(self)))
        vars(twin).update(state)
        return _Signed.of(twin, self._set, is_copy=True)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A pickle of a request or of its answer holds no secret, and needs nothing of ours to be read.
        twin = self.__copy__()
        twin.url = self.url
        return copy.copy, (twin,)


class _SignedHeaders(CaseInsensitiveDict[str]):
    """A signed request's headers, whose `repr` hides what is secret; their copies, which requests makes, are plain."""

    def __repr__(self) -> str:
        return repr(RequestHeaders(self.items()))


class AWSV4SignerAuth(RequestsAWSV4SignerAuth):
    """opensearch-py's older name of `RequestsAWSV4SignerAuth`; the same in everything."""


# --- one request -------------------------------------------------------------------------------------------

_BLOCK_BYTES = 1 << 20


def stays_behind(name: str) -> bool:
    """Whether a header of this lower-case name is meant for the host that it was signed for, and for no other."""
    return name == "authorization" or name.startswith(spec.SIGNED_PREFIX)


@cache
def kind_of(mixin: type[Any], base: type[Any]) -> type[Any]:
    """The class that makes an object of `base` one of `mixin` as well; the same one for one that is."""
    return base if issubclass(base, mixin) else type(base.__name__, (mixin, base), {})


def base_of(kind: type[Any]) -> type[Any]:
    """The class of an object before `kind_of` the mixin was given to it."""
    return kind.__bases__[1]


def header_pairs(signer: SigV4Signer, headers: Iterable[tuple[str | bytes, str | bytes]]) -> list[tuple[str, str]]:
    """A request's headers as text for the signer.

    Raises:
        ValueError: a signed header's value that is no text in UTF-8. The message does not hold it.
    """
    pairs = []
    for given, value in headers:
        name = _text(given)
        is_utf8 = isinstance(value, bytes) and signer.signs(name.lower())
        pairs.append((name, _utf8_text(name, value) if is_utf8 else _text(value)))
    return pairs


def _utf8_text(name: str, value: Any) -> str:
    with suppress(UnicodeDecodeError):
        return value.decode()  # type: ignore[no-any-return]
    raise ValueError(f"header {name}: a value that is signed has to be UTF-8")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _as_sent(url: str) -> str:
    """The URL in the form in which requests and urllib3 change nothing.

    Raises:
        ValueError: it cannot be signed; where that is for its scheme, of the class that requests would raise.
    """
    try:
        parts = core.split_url(url)  # which refuses what urlsplit would drop
    except ValueError as error:
        if url.partition(":")[0].lower() in spec.DEFAULT_PORTS:
            raise
        raise InvalidSchema(str(error)) from None
    scheme, netloc, _, _, fragment = urlsplit(url)
    if scheme == "http":
        netloc = netloc.removesuffix(":80")  # http.client would send it to a proxy, and nobody else, in the Host
    target = core.request_target(parts.path, parts.query)
    return f"{scheme}://{netloc}{target}" + (f"#{fragment}" if fragment else "")


def _prepare_body(request: PreparedRequest) -> str | None:
    """Make the body one that is sent as it was hashed; return its hash where the signer could not make it."""
    body: Any = request.body
    if body is None or isinstance(body, (str, bytes)):
        return None
    if not hasattr(body, "read"):  # which urllib3 asks first, too
        try:
            request.body = bytes(core.body_buffer(body) or b"")
        except TypeError:
            raise _used_up(body) from None
        size = len(request.body)
        known_hash = None
    else:
        known_hash, size = _hash_from_here(body)
        try:
            announced = super_len(body)  # type: ignore[no-untyped-call]
        except (AttributeError, TypeError, OSError):
            raise TypeError(
                f"body: requests cannot tell the length of an object of type {type(body).__name__}; pass its bytes"
            ) from None
        if announced not in (0, size):  # of 0, nothing is announced
            raise ValueError(
                f"body: requests would announce {announced} bytes of it, and reading it gives {size}; pass its bytes"
            )
    request.headers["Content-Length"] = str(size)
    request.headers.pop("Transfer-Encoding", None)
    return known_hash


def _hash_from_here(stream: Any) -> tuple[str, int]:
    """SHA-256 and number of the bytes that a file holds from its position on, where it then stands again."""
    try:
        start = stream.tell()
        stream.seek(start)
    except (AttributeError, OSError):
        raise _used_up(stream) from None
    digest, size = hashlib.sha256(), 0
    try:
        while block := stream.read(_BLOCK_BYTES):
            if isinstance(block, str):
                raise TypeError("body: a file of text cannot be signed; open it in binary mode, 'rb'")
            digest.update(block)
            size += len(block)
    finally:
        stream.seek(start)
    return digest.hexdigest(), size


def _used_up(body: object) -> TypeError:
    return TypeError(
        f"body: an object of type {type(body).__name__} can be hashed only by using it up before it is sent; pass "
        "bytes, or a binary file that can be read twice"
    )


# --- taking over signer objects ----------------------------------------------------------------------------


def signer_behind(http_auth: object) -> SigV4Signer | None:
    """The signer that stands for `http_auth`, so that a connection can sign what it really sends.

    Known by exact type, for a subclass may override how it signs: a `SigV4Signer`, our auth objects,
    opensearch-py's, and `requests_aws4auth.AWS4Auth`. Credentials that those hold are read on every request.

    Raises:
        TypeError: an `AWS4Auth` that keeps no secret key.
    """
    if isinstance(http_auth, SigV4Signer):
        return http_auth
    kind = type(http_auth)
    if kind in _OUR_KINDS:
        return http_auth.signer  # type: ignore[attr-defined, no-any-return]
    for module, name, adopt in _FOREIGN_KINDS:
        if kind is getattr(sys.modules.get(module), name, None):
            return adopt(http_auth)
    return None


def _adopt_opensearchpy(auth: Any) -> SigV4Signer:
    signer = getattr(auth, "signer", auth)
    return SigV4Signer(source_reading(lambda: signer.credentials), signer.region, signer.service)


def _adopt_aws4auth(auth: Any) -> SigV4Signer:
    if auth.refreshable_credentials is not None:
        return SigV4Signer(source_reading(lambda: auth.refreshable_credentials), auth.region, auth.service)
    if auth.signing_key.secret_key is None:
        raise TypeError(
            "http_auth: this AWS4Auth keeps no secret key (store_secret_key=False), so nothing can be signed with it; "
            "pass credentials= and region=, or a SigV4Signer"
        )
    return SigV4Signer(
        source_reading(lambda: Snapshot(auth.access_id, auth.signing_key.secret_key, auth.session_token)),
        auth.region,
        auth.service,
    )


_OUR_KINDS = (Urllib3AWSV4SignerAuth, RequestsAWSV4SignerAuth, AWSV4SignerAuth, AWSV4SignerAsyncAuth)
_FOREIGN_KINDS: tuple[tuple[str, str, Callable[[Any], SigV4Signer]], ...] = (
    ("opensearch_sigv4.httpx_auth", "HttpxAWSV4SignerAuth", lambda auth: auth.signer),  # ours, where httpx is there
    ("opensearchpy.helpers.signer", "AWSV4Signer", _adopt_opensearchpy),
    ("opensearchpy.helpers.signer", "Urllib3AWSV4SignerAuth", _adopt_opensearchpy),
    ("opensearchpy.helpers.signer", "RequestsAWSV4SignerAuth", _adopt_opensearchpy),
    ("opensearchpy.helpers.signer", "AWSV4SignerAuth", _adopt_opensearchpy),
    ("opensearchpy.helpers.asyncsigner", "AWSV4SignerAsyncAuth", _adopt_opensearchpy),
    ("requests_aws4auth.aws4auth", "AWS4Auth", _adopt_aws4auth),
)
