"""SigV4Signer: credentials, a clock and the signing core put together."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import core
from .core import spec
from .credentials import CredentialSource, source_of
from .endpoint import parse_host

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class SigV4Signer:
    """Sign requests for Amazon OpenSearch Service or Serverless with AWS Signature Version 4.

    Args:
        credentials: None for botocore's default chain; a botocore or boto3 session; a botocore credentials
            object of any kind; anything with `access_key`, `secret_key` and `token`; or a callable that
            returns one of these. Read once per request, as one generation.
        region: for example `"eu-central-1"`. None: the region in each URL's host name, else AWS_REGION,
            AWS_DEFAULT_REGION or the profile's.
        service: `"es"` for domains, `"aoss"` for Serverless, `"osis"` for ingestion pipelines.
        signed_headers: names of further headers to sign where a request has them, for example
            `["content-type"]`. `host` and every `x-amz-*` are always signed.
        unsigned_payload: sign `UNSIGNED-PAYLOAD` in place of the body's hash. AWS documents it for `aoss`;
            users saw it refused.

    Raises:
        TypeError: an argument of the wrong type, or credentials that only an event loop could await.
        ValueError: an empty region or service, one that no scope can hold, or a name in `signed_headers` that
            something on the way to the service may change.

    Thread-safety: one signer may sign from any number of threads. Copies share its credentials.

    Source: AWS IAM User Guide, "Create a signed AWS API request".

    >>> from datetime import datetime, timezone
    >>> from botocore.credentials import Credentials
    >>> signer = SigV4Signer(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1")
    >>> at = datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc)
    >>> signer.sign("GET", "https://search-logs-abc.us-east-1.es.amazonaws.com/_search", at=at)["X-Amz-Date"]
    '20150830T123600Z'
    """

    def __init__(
        self,
        credentials: Any = None,
        region: str | None = None,
        service: str = "es",
        *,
        signed_headers: Iterable[str] = (),
        unsigned_payload: bool = False,
    ) -> None:
        if region is not None:
            _check_scope_part("region", region)
        _check_scope_part("service", service)
        self._source = source_of(credentials)
        self._region = region
        self._service = service
        self._further_headers = _further_headers(signed_headers)
        self._unsigned_payload = bool(unsigned_payload)

    @property
    def region(self) -> str | None:
        """The region given; None where each URL's host name, the environment or the profile decides."""
        return self._region

    @property
    def service(self) -> str:
        """The service given."""
        return self._service

    @property
    def credentials(self) -> Any:
        """The credentials as given; None is botocore's default chain."""
        return self._source.original

    @property
    def source(self) -> CredentialSource:
        """Where each request's credentials come from."""
        return self._source

    def signs(self, name: str) -> bool:
        """Whether a header of this lower-case name is signed where a request has it."""
        return name == "host" or name.startswith(spec.SIGNED_PREFIX) or name in self._further_headers

    def sign(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Headers | None = None,
        *,
        at: datetime | None = None,
    ) -> dict[str, str]:
        """Sign one request and return the headers to set on it, and only those.

        Args:
            method: signed in upper case; send it so.
            url: absolute, as it is sent. Spaces and non-ASCII characters, which nobody can send raw, are
                signed percent-encoded as UTF-8; a fragment is never sent, so never signed.
            body: None, str (UTF-8) or any bytes-like object: the bytes as they are sent, compressed if so.
            headers: the request's own, a mapping or pairs. A `Host` there is the host signed; every `x-amz-*`
                there is signed, an `X-Amz-Content-SHA256` is taken for the payload's hash.
            at: an aware datetime, for tests and replays; None is now.

        Returns:
            `Authorization`, `X-Amz-Date`, `X-Amz-Security-Token` where the credentials have a token, and
            `X-Amz-Content-SHA256` unless `headers` has one.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: a control character or a lone surrogate, a naive `at`, a URL that is not absolute, or
                no region to be found. No message holds a value.
            botocore.exceptions.BotoCoreError: what the credentials raise when there are none, as it is.

        Thread-safety: any number of threads at once.
        """
        return self._sign(method, url, body, headers, at).headers

    def explain(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Headers | None = None,
        *,
        at: datetime | None = None,
    ) -> Explanation:
        """Sign like `sign`, and return every stage of it; arguments and errors are the same.

        >>> from botocore.credentials import Credentials
        >>> signer = SigV4Signer(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1")
        >>> signer.explain("GET", "https://localhost/a b").canonical_request.splitlines()[1]
        '/a%2520b'
        """
        signature = self._sign(method, url, body, headers, at)
        return Explanation(
            canonical_request=signature.canonical_request,
            string_to_sign=signature.string_to_sign,
            credential_scope=signature.credential_scope,
            signed_headers=signature.signed_headers,
            headers=signature.headers,
        )

    def _sign(
        self, method: str, url: str, body: object, headers: Headers | None, at: datetime | None
    ) -> core.Signature:
        region = self._region or self._region_of(url)
        timestamp = int(time.time()) if at is None else _timestamp(at)
        snapshot = self._source.snapshot()
        return core.sign(
            method,
            url,
            body,
            headers,
            snapshot.access_key,
            snapshot.secret_key,
            snapshot.token,
            region,
            self._service,
            timestamp,
            self._further_headers,
            self._unsigned_payload,
        )

    def _region_of(self, url: str) -> str:
        host = core.split_url(url).host
        endpoint = parse_host(host)
        return endpoint.region if endpoint else region_from(self._source, host)

    def with_region(self, region: str) -> SigV4Signer:
        """A signer for one region that shares everything else with this one."""
        _check_scope_part("region", region)
        signer = self.__copy__()
        signer._region = region
        return signer

    def __repr__(self) -> str:
        return f"SigV4Signer(region={self._region!r}, service={self._service!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> SigV4Signer:
        return self.__copy__()

    def __copy__(self) -> SigV4Signer:
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy


@dataclass(frozen=True, repr=False)
class Explanation:
    """Every stage of one signature. The attributes are exact; `str()` and `repr()` hide what is secret.

    Attributes:
        canonical_request: step 1; holds the session token where there is one.
        string_to_sign: step 3.
        credential_scope: `day/region/service/aws4_request`.
        signed_headers: lower-case names, joined by `;`.
        headers: what `SigV4Signer.sign` returns.
    """

    canonical_request: str
    string_to_sign: str
    credential_scope: str
    signed_headers: str
    headers: dict[str, str]

    def __str__(self) -> str:
        request = re.sub(r"(?m)^(x-amz-security-token:).+$", r"\1REDACTED", self.canonical_request)
        authorization = re.sub(r"Signature=[0-9a-f]+", "Signature=REDACTED", self.headers[spec.AUTHORIZATION])
        headers = {
            **self.headers,
            spec.AUTHORIZATION: re.sub(r"Credential=[^/]*", "Credential=REDACTED", authorization),
        }
        if spec.SECURITY_TOKEN in headers:
            headers[spec.SECURITY_TOKEN] = "REDACTED"
        lines = "\n".join(f"{name}: {value}" for name, value in headers.items())
        return (
            f"canonical request:\n{request}\n\nstring to sign:\n{self.string_to_sign}\n\n"
            f"credential scope: {self.credential_scope}\n"
            f"signed headers: {self.signed_headers}\n\nheaders:\n{lines}"
        )

    __repr__ = __str__


def region_from(source: CredentialSource, host: str) -> str:
    """The region of the environment or profile behind `source`, for a `host` that names none."""
    region = source.region
    if not region:
        raise ValueError(
            f"region: the host {host!r} does not tell its region, and neither AWS_REGION, AWS_DEFAULT_REGION nor "
            "the profile names one; pass region="
        )
    _check_scope_part("region", region)
    return region


def _further_headers(names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):
        raise TypeError("signed_headers: several names are needed, not one str")
    further = set()
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"signed_headers: str is needed, not {type(name).__name__}")
        lower = name.lower()
        if spec.TOKEN.fullmatch(lower) is None:
            raise ValueError("signed_headers: a name that is not an HTTP token")
        if lower in spec.NEVER_SIGNED or lower.startswith(spec.NEVER_SIGNED_PREFIX):
            raise ValueError(
                f"signed_headers: {lower} must not be signed: a client, proxy or load balancer may change it on its way"
            )
        further.add(lower)
    return frozenset(further)


def _check_scope_part(argument: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{argument}: str is needed, not {type(text).__name__}")
    if not text:
        raise ValueError(f"{argument}: it cannot be empty")
    if spec.SCOPE_PART.fullmatch(text) is None:
        raise ValueError(f"{argument}: only letters, digits, '-', '_' and '.' are allowed")


def _timestamp(at: datetime) -> int:
    if not isinstance(at, datetime):
        raise TypeError(f"at: an aware datetime is needed, not {type(at).__name__}")
    if at.utcoffset() is None:
        raise ValueError("at: a naive datetime is ambiguous; give it a time zone")
    return math.floor(at.timestamp())
