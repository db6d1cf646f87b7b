"""opensearch-py's auth objects under their own names: swap the import, keep the program.

`signer_behind` is what lets a program keep even those: the connections take over the signer objects of
opensearch-py and requests-aws4auth.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests.auth
from requests import PreparedRequest, Response

from . import core
from .core import spec
from .credentials import Snapshot, source_reading
from .signer import SigV4Signer


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
        if not self._warned and source.keeps and source.ready() is None:
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

    The request's target is first brought into the form in which urllib3 sends it unchanged. On a redirect to
    another host the signature, the session token and every other `x-amz-*` stay behind.

    :arg credentials: whatever `SigV4Signer` takes, except None
    :arg region: for example `us-east-1`
    :arg service: `es` (default), `aoss` or `osis`

    Raises:
        ValueError: empty credentials, region or service.
        TypeError: when called with a streamed body, which can be hashed only by reading it before it is sent.

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
        parts = urlsplit(prepared_request.url or "")
        target = core.request_target(parts.path or "/", parts.query)
        prepared_request.url = f"{parts.scheme}://{parts.netloc}{target}"
        prepared_request.headers.update(
            self.signer.sign(
                prepared_request.method or "",
                prepared_request.url,
                prepared_request.body,
                [(_text(name), _text(value)) for name, value in prepared_request.headers.items()],
            )
        )
        prepared_request.register_hook("response", self._leave_behind)  # type: ignore[no-untyped-call]
        return prepared_request

    @staticmethod
    def _leave_behind(response: Response, **_: Any) -> None:
        # requests copies the request's headers to the next hop and drops Authorization alone, even for another host.
        request = response.request
        if response.is_redirect and request.url is not None:
            here, there = (urlsplit(url) for url in (request.url, urljoin(request.url, response.headers["location"])))
            if (here.scheme, here.netloc) != (there.scheme, there.netloc):
                for name in list(request.headers):
                    if name.lower() == "authorization" or name.lower().startswith(spec.SIGNED_PREFIX):
                        del request.headers[name]


class AWSV4SignerAuth(RequestsAWSV4SignerAuth):
    """opensearch-py's older name of `RequestsAWSV4SignerAuth`; the same in everything."""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


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
    ("opensearchpy.helpers.signer", "AWSV4Signer", _adopt_opensearchpy),
    ("opensearchpy.helpers.signer", "Urllib3AWSV4SignerAuth", _adopt_opensearchpy),
    ("opensearchpy.helpers.signer", "RequestsAWSV4SignerAuth", _adopt_opensearchpy),
    ("opensearchpy.helpers.signer", "AWSV4SignerAuth", _adopt_opensearchpy),
    ("opensearchpy.helpers.asyncsigner", "AWSV4SignerAsyncAuth", _adopt_opensearchpy),
    ("requests_aws4auth.aws4auth", "AWS4Auth", _adopt_aws4auth),
)
