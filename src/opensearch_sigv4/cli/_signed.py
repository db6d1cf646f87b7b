"""What `request`, `explain` and `doctor` share: where a request goes, who signs it, and what of it is never shown."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from botocore.exceptions import BotoCoreError
from urllib3 import HTTPConnectionPool, connection_from_url

from .. import connect, core
from .._difference import first_difference, printable, server_canonical_request, without_secrets
from ..connection import SigV4HttpConnection
from ..core import spec
from ..credentials import CredentialSource
from ..endpoint import Endpoint, parse_host
from ..signer import Explanation, SigV4Signer, region_from

REDACTED: Final = "REDACTED"
SAME_REQUEST: Final = (
    "The domain expects the very request that was signed. So the secret key is not the one of this access key, or the "
    "session token is another one's."
)
_AMZ_DATE: Final = re.compile(r"(?m)^x-amz-date:([0-9]{8}T[0-9]{6}Z)$")
_CREDENTIAL: Final = re.compile(r"(Credential=)[^/\s\\&,'\"]+")
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "x-amz-security-token"})


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
        url: absolute, as it is sent: what cannot stand raw in a URL is percent-encoded.
        headers: those given, under lower-case names.
        omitted: the names of those that are not to be sent (`Name:`).
        endpoint: what the name says that is signed, which is the URL's or that of a given Host.
        region: as given, else the endpoint's; None where neither tells.
        service: as given, else the endpoint's, else `es`.
        source: of the credentials.
    """

    url: str
    headers: dict[str, str]
    omitted: frozenset[str]
    endpoint: Endpoint | None
    region: str | None
    service: str
    source: CredentialSource

    @property
    def host(self) -> str:
        """The name that is signed."""
        return self.headers.get("host") or core.split_url(self.url).host

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """Path and query."""
        return self.url[len(self.base_url) :]

    @property
    def tls_name(self) -> str:
        """The name that a certificate has to be for."""
        parts = urlsplit(f"//{self.headers['host']}" if "host" in self.headers else self.url)
        return parts.hostname or ""

    def signer(self) -> SigV4Signer:
        """A signer for it.

        Raises:
            ValueError: there is no region.
        """
        return SigV4Signer(self.source, self.region or region_from(self.source, self.host), self.service)

    def pool(self, *, ca_certs: str | None, insecure: bool, timeout: float) -> HTTPConnectionPool:
        """A urllib3 pool to it, which the caller closes."""
        tls: dict[str, Any] = {}
        if urlsplit(self.url).scheme == "https":
            tls = {"ssl_context": tls_context(ca_certs, insecure=insecure), "server_hostname": self.tls_name}
            tls["assert_hostname"] = False if insecure else self.tls_name
        return connection_from_url(self.base_url, timeout=timeout, **tls)

    def connection(self, *, ca_certs: str | None, insecure: bool, timeout: float, **options: Any) -> Any:
        """A `SigV4HttpConnection` to it, which the caller closes."""
        if urlsplit(self.url).scheme == "https":
            options |= {"verify_certs": not insecure, "ssl_show_warn": False}
            if not insecure:
                options |= {"ca_certs": ca_certs}
                if "host" in self.headers:
                    options["ssl_assert_hostname"] = self.tls_name
        client = connect(
            self.base_url,
            region=self.region,
            service=self.service,
            credentials=self.source,
            timeout=timeout,
            **options,
        )
        return client.transport.get_connection()


def target_of(
    url: str, headers: Iterable[str], region: str | None, service: str | None, source: CredentialSource
) -> Target:
    """What the command line says.

    Raises:
        ValueError: a URL or header that cannot be sent.
    """
    if "://" not in url and parse_host(url.partition("/")[0]):
        url = f"https://{url}"
    parts = core.split_url(url)
    if "@" in urlsplit(url).netloc:
        raise ValueError("url: a user and password cannot go with signed requests")
    given = _headers_of(headers)
    endpoint = parse_host(given.get("host") or parts.host)
    return Target(
        url=f"{parts.scheme}://{parts.host}{core.request_target(parts.path, parts.query)}",
        headers={name: value for name, value in given.items() if value},
        omitted=frozenset(name for name, value in given.items() if not value),
        endpoint=endpoint,
        region=region or (endpoint.region if endpoint else _region_of(source)),
        service=service or (endpoint.service if endpoint else "es"),
        source=source,
    )


def tls_context(ca_certs: str | None, *, insecure: bool) -> ssl.SSLContext:
    """An SSLContext that trusts what opensearch-py's connections trust, or `ca_certs`: a file or a directory."""
    trusted = ca_certs or SigV4HttpConnection.default_ca_certs()
    if trusted is not None and Path(trusted).is_dir():
        context = ssl.create_default_context(capath=trusted)
    else:
        context = ssl.create_default_context(cafile=trusted)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _region_of(source: CredentialSource) -> str | None:
    try:
        return source.region
    except BotoCoreError:  # no such profile: whoever asks for the credentials is told
        return None


def _headers_of(lines: Iterable[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or spec.TOKEN.fullmatch(name) is None:
            raise ValueError("headers: -H takes 'Name: value'")
        if spec.CONTROL.search(value) is not None:
            raise ValueError(f"headers: a control character in {name}")
        # RFC 9110, 5.3: the values of a name that repeats are a list.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def body_of(data: str | None) -> bytes | None:
    """The bytes that `--data` names: `@FILE`, `-` or `@-` for standard input, or the text itself. All as they are."""
    if data is None:
        return None
    if data in ("-", "@-"):
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return Path(data[1:]).read_bytes()
    return data.encode("utf-8", "surrogateescape")  # as the shell gave it


def text_of(file: str) -> str:
    """What a file, or with `-` standard input, says."""
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return content.decode("utf-8", "replace")


class Redactor:
    """Hides secrets in text that others wrote, in whatever form they stand there.

    >>> hide = Redactor("EXAMPLE/TOKEN")
    >>> hide("?t=EXAMPLE%2FTOKEN, Signature=00ff")
    '?t=REDACTED, Signature=REDACTED'
    """

    def __init__(self, *secrets: str | None) -> None:
        given = {secret for secret in secrets if secret}
        forms = given | {quote(secret, safe="") for secret in given} | {s.replace("/", "\\/") for s in given}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return _CREDENTIAL.sub(rf"\1{REDACTED}", without_secrets(text))

    def in_bytes(self, data: bytes) -> bytes:
        """The same for bytes, of which all others stay as they are."""
        return self(data.decode("latin-1")).encode("latin-1")

    def header(self, name: str, value: str) -> str:
        """The line of a header, as it may be shown."""
        is_signed = value.startswith(spec.ALGORITHM)
        shown = self(value) if is_signed or name.lower() not in _SECRET_HEADERS else REDACTED
        return f"{name}: {printable(shown)}"


def signed_at(canonical_request: str) -> datetime | None:
    """The moment that a canonical request names."""
    found = _AMZ_DATE.search(canonical_request)
    try:
        return datetime.strptime(found[1], spec.AMZ_DATE_FORMAT).replace(tzinfo=UTC) if found else None
    except ValueError:  # the 99th of some month
        return None


def difference_from(explanation: Explanation, refusal: str) -> str | None:
    """How what a 403 says should have been signed differs from what was; None if it says nothing of that."""
    canonical_request = server_canonical_request(refusal)
    if canonical_request is None:
        return None
    return str(first_difference(explanation.canonical_request, canonical_request) or SAME_REQUEST)
