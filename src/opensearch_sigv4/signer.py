"""SigV4Signer: credentials, a clock and the signing core put together."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from . import core
from .core import spec
from .core._secrets import cleared_frames
from .credentials import CredentialSource, source_of
from .endpoint import parse_host

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class SigV4Signer(core.RequestSigner):
    """Sign requests for Amazon OpenSearch Service or Serverless with AWS Signature Version 4.

    Args:
        credentials: None for botocore's default chain; a botocore or boto3 session; a botocore credentials
            object of any kind; anything with `access_key`, `secret_key` and `token`; or a callable that
            returns a credentials object. Read once per request, as one generation.
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
        region = None if region is None else _scope_part("region", region)
        service = _scope_part("service", service)
        super().__init__(
            source_of(credentials),
            time.time,
            region,
            service,
            _further_headers(signed_headers),
            bool(unsigned_payload),
        )

    @property
    def credentials(self) -> Any:
        """The credentials as given; None is botocore's default chain."""
        return self.source.original

    def signs(self, name: str) -> bool:
        """Whether a header of this lower-case name is signed where a request has it."""
        return name == "host" or name.startswith(spec.SIGNED_PREFIX) or name in self.further_headers

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
        signature = self._signature(method, url, body, headers, at)
        return Explanation(
            canonical_request=signature.canonical_request,
            string_to_sign=signature.string_to_sign,
            credential_scope=signature.credential_scope,
            signed_headers=signature.signed_headers,
            headers=signature.headers,
        )

    def region_of(self, url: str) -> str:
        """The region to sign for where none was given: the host name's, else that of the environment or profile."""
        host = core.split_url(url).host
        endpoint = parse_host(host)
        return endpoint.region if endpoint else region_from(self.source, host)

    def with_region(self, region: str) -> SigV4Signer:
        """A signer for one region that shares everything else with this one."""
        return self._copy(self.source, _scope_part("region", region))

    def with_source(self, source: CredentialSource) -> SigV4Signer:
        """A signer with the credentials of this source that shares everything else with this one."""
        return self._copy(source, self.region)

    def with_clock(self, clock: Callable[[], float]) -> SigV4Signer:
        """A signer that reads the Unix time from `clock` and shares everything else with this one.

        Copies of it, and what is pickled, read the machine's clock again.
        """
        return self._copy(self.source, self.region, clock)

    def _copy(
        self, source: CredentialSource, region: str | None, clock: Callable[[], float] = time.time
    ) -> SigV4Signer:
        fields = region, self.service, self.further_headers, self.unsigned_payload
        return _remade(type(self), _attributes(self), source, clock, *fields)

    def __repr__(self) -> str:
        return f"SigV4Signer(region={self.region!r}, service={self.service!r})"

    def __copy__(self) -> SigV4Signer:
        return self._copy(self.source, self.region)

    def __deepcopy__(self, memo: dict[int, Any]) -> SigV4Signer:
        return self._copy(self.source, self.region)

    def __reduce__(self) -> Any:
        fields = self.source, self.region, self.service, self.further_headers, self.unsigned_payload
        return _restored, (type(self), _attributes(self), *fields)


def _attributes(signer: SigV4Signer) -> dict[str, Any]:
    """What a subclass keeps, in slots, too."""
    kind = type(signer)
    slots = {name for base in kind.__mro__[: kind.__mro__.index(SigV4Signer)] for name in _slots_of(base)}
    return {**vars(signer), **{name: getattr(signer, name) for name in slots if hasattr(signer, name)}}


def _slots_of(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    private = f"_{kind.__name__.lstrip('_')}"
    return [private + name if name.startswith("__") and not name.endswith("__") else name for name in names]


def _restored(
    kind: type[SigV4Signer], attributes: dict[str, Any], source: CredentialSource, *fields: Any
) -> SigV4Signer:
    return _remade(kind, attributes, source, time.time, *fields)


def _remade(
    kind: type[SigV4Signer],
    attributes: dict[str, Any],
    source: CredentialSource,
    clock: Callable[[], float],
    *fields: Any,
) -> SigV4Signer:
    signer = kind.__new__(kind)
    core.RequestSigner.__init__(signer, source, clock, *fields)
    for name, value in attributes.items():
        object.__setattr__(signer, name, value)
    return signer


def signs_hashes(signer: SigV4Signer) -> bool:
    """Whether it signs a body's hash, and takes one that it is told; what another's `sign` does nobody knows."""
    return not signer.unsigned_payload and type(signer).sign is SigV4Signer.sign


def sign_with_hash(
    signer: SigV4Signer, method: str, url: str, body: object, headers: Headers, known_hash: str | None
) -> dict[str, str]:
    """What `signer.sign` returns, without hashing the body where its hash is known and would be signed."""
    if known_hash is None or not signs_hashes(signer):
        return signer.sign(method, url, body, headers)
    pairs = [*(headers.items() if isinstance(headers, Mapping) else headers)]
    if any(name.lower() == "x-amz-content-sha256" for name, _ in pairs):
        return signer.sign(method, url, body, pairs)
    # Told as if it were the caller's; sent under the name and in the place that it has where the signer sets it.
    told = {spec.CONTENT_SHA256: known_hash}
    return signer.sign(method, url, body, [*pairs, *told.items()]) | told


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

    def redacted(self) -> Explanation:
        """The same, with the session token, the access key and the signature hidden."""
        request = re.sub(r"(?m)^(x-amz-security-token:).+$", r"\1REDACTED", self.canonical_request)
        authorization = re.sub(r"Signature=[0-9a-f]+", "Signature=REDACTED", self.headers[spec.AUTHORIZATION])
        headers = {
            **self.headers,
            spec.AUTHORIZATION: re.sub(r"Credential=[^/]*", "Credential=REDACTED", authorization),
        }
        if spec.SECURITY_TOKEN in headers:
            headers[spec.SECURITY_TOKEN] = "REDACTED"
        return replace(self, canonical_request=request, headers=headers)

    def __str__(self) -> str:
        shown = self.redacted()
        lines = "\n".join(f"{name}: {value}" for name, value in shown.headers.items())
        return (
            f"canonical request:\n{shown.canonical_request}\n\nstring to sign:\n{self.string_to_sign}\n\n"
            f"credential scope: {self.credential_scope}\n"
            f"signed headers: {self.signed_headers}\n\nheaders:\n{lines}"
        )

    __repr__ = __str__


def region_from(source: CredentialSource, host: str) -> str:
    """The region of the environment or profile behind `source`, for a `host` that names none."""
    with cleared_frames:  # of botocore's functions, which hold all profiles with their keys
        region = source.region
    if not region:
        raise ValueError(
            f"region: the host {host!r} does not tell its region, and neither AWS_REGION, AWS_DEFAULT_REGION nor "
            "the profile names one; pass region="
        )
    return _scope_part("region", region)


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


def _scope_part(argument: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{argument}: str is needed, not {type(text).__name__}")
    if not text:
        raise ValueError(f"{argument}: it cannot be empty")
    if spec.SCOPE_PART.fullmatch(text) is None:
        raise ValueError(f"{argument}: only letters, digits, '-', '_' and '.' are allowed")
    return str.__str__(text)  # the text itself also of an enum's member, which would be formatted as something else
