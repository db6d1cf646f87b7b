"""`opensearch-sigv4 doctor`: whether requests can be signed here and arrive there, and what to do about it if not."""

from __future__ import annotations

import json
import math
import platform
import re
import socket
import ssl
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import click
from botocore.exceptions import NoCredentialsError
from opensearchpy import TransportError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from urllib3.exceptions import HTTPError

from .. import core
from .._advice import SEE_DOCTOR
from .._difference import printable, server_canonical_request
from ..core import spec
from ..credentials import source_of
from ..responses import Meaning, meaning_of, server_time
from ._signed import Redactor, Target, tls_context
from .request import as_signed

Status = Literal["ok", "warning", "failure", "skipped"]
_STYLES: Final = {"ok": "green", "warning": "yellow", "failure": "bold red", "skipped": "dim"}

#: botocore renews what it can before less than this is left.
_EXPIRY_WARNING_S: Final = 10 * 60
_CERTIFICATE_WARNING_S: Final = 14 * 24 * 3600
_CLOCK_WARNING_S: Final = 60
#: AWS refuses what was signed longer ago, or as much ahead.
_CLOCK_WINDOW_S: Final = 5 * 60
_NOT_TOLD_STATUSES: Final = frozenset({402, 403, 404, 429})
_MAX_DETAIL_CHARACTERS: Final = 400
_MAX_ADDRESSES: Final = 4

# How botocore names the providers of its chain.
_FOUND_BY: Final = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the configuration file",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a role assumed with a web identity",
    "sso": "IAM Identity Center (aws sso login)",
    "login": "aws login",
    "custom-process": "a credential_process",
    "container-role": "the container's role",
    "iam-role": "the instance's role",
}

# Of what the notes of the connections say nothing.
_STATUS_REMEDIES: Final = {404: "Nothing is at this address: for Serverless pass --service aoss."}


@dataclass(frozen=True)
class Check:
    """What one check found. `remedy` is empty where there is nothing to do."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Options:
    """How to connect. See `_commands.doctor`."""

    ca_certs: str | None
    insecure: bool
    timeout: float


def run(target: Target, session: Any, options: Options, *, as_json: bool) -> int:
    """Check, tell each result as it comes, and return the exit status; the credentials are those of the session."""
    console = Console(file=sys.stdout, highlight=False)
    checks = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is a check for each
        for check in Examination(target, session, options).checks():
            checks.append(check)
            if not as_json:
                _show(console, check)
    is_well = all(check.status != "failure" for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": is_well, "checks": [asdict(check) for check in checks]}))
    return 0 if is_well else 1


def _show(console: Console, check: Check) -> None:
    told = "\n".join(filter(None, (check.detail, check.remedy and f"-> {check.remedy}")))
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for width in (7, 14, None):
            table.add_column(width=width, overflow="fold")
        table.add_row(Text(check.status, style=_STYLES[check.status]), Text(check.check), Text(told))
        console.print(table)
    else:
        click.echo(f"{check.status:<7}  {check.check:<14}  " + told.replace("\n", "\n" + " " * 25))


class Examination:
    """The checks, in an order in which each may build on those before it."""

    def __init__(self, target: Target, session: Any, options: Options) -> None:
        self._target = target
        self._session = session
        self._options = options
        self._parts = urlsplit(target.url)
        self._hostname = self._parts.hostname or ""
        self._port = self._parts.port or spec.DEFAULT_PORTS[self._parts.scheme]
        self._prefix = self._parts.path.rstrip("/")
        self._is_https = self._parts.scheme == "https"
        self._hide = Redactor()
        self._failed: set[str] = set()

    def checks(self) -> Iterator[Check]:
        """Each check's result, secrets hidden."""
        steps: list[tuple[str, tuple[str, ...], Callable[[], Check]]] = [
            ("core", (), self._core),
            ("credentials", (), self._credentials),
            ("endpoint", (), self._endpoint),
            ("DNS", (), self._dns),
            ("connection", ("DNS",), self._connection),
            ("clock", ("connection",), self._clock),
            ("signed request", ("credentials", "endpoint", "connection"), self._signed_request),
            ("gzip", ("signed request",), self._gzip),
        ]
        for name, needed, step in steps:
            missing = [other for other in needed if other in self._failed]
            check = Check(name, "skipped", f"it needs: {', '.join(missing)}") if missing else step()
            if check.status in ("failure", "skipped"):
                self._failed.add(name)
            yield Check(name, check.status, self._hide(check.detail), self._hide(check.remedy))

    # --- here ----------------------------------------------------------------------------------------------

    def _core(self) -> Check:
        versions = ", ".join(f"{name} {version(name)}" for name in ("opensearch-py", "urllib3", "botocore"))
        detail = (
            f"{'compiled' if core.backend == 'cython' else 'Python'} core, SHA-256 by {core.hash_path()}; "
            f"opensearch-sigv4 {version('opensearch-sigv4')}, {versions}, "
            f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
        )
        if core.backend == "python" and sys.implementation.name == "cpython":
            remedy = (
                "It signs as well, but slower. Unset OPENSEARCH_SIGV4_NO_EXTENSIONS if it is set; else install a C "
                "compiler, and then pip install --force-reinstall --no-deps opensearch-sigv4."
            )
            return Check("core", "warning", detail, remedy)
        return Check("core", "ok", detail)

    def _credentials(self) -> Check:
        session = self._session
        try:
            snapshot = self._target.source.snapshot()
            found = session.get_credentials()
        except Exception as error:  # whatever a provider, a process or a file of the user's leads to
            return Check("credentials", "failure", _told(error), _remedy_of_credentials(error))
        self._hide = Redactor(snapshot.secret_key, snapshot.token)
        by = _FOUND_BY.get(found.method, found.method)
        of_profile = f", profile {session.profile}" if session.profile and found.method != "env" else ""
        detail = f"access key {snapshot.key_end} from {by}{of_profile}"
        if snapshot.access_key.startswith("ASIA") and snapshot.token is None:
            remedy = "Set AWS_SESSION_TOKEN, or aws_session_token in the profile: a temporary key is refused without."
            return Check("credentials", "failure", f"{detail}: a temporary key without its session token", remedy)
        if snapshot.access_key.startswith("AKIA") and snapshot.token is not None:
            remedy = "Remove the session token (AWS_SESSION_TOKEN): it is that of another key."
            return Check("credentials", "failure", f"{detail}: a long-term key with a session token", remedy)
        source = source_of(found)
        expires_at = source.kept.generation.expires_at if source.kept is not None else math.inf
        left_s = expires_at - time.time()
        if left_s < _EXPIRY_WARNING_S:
            remedy = "Renew them now: what should have renewed them did not."
            return Check("credentials", "warning", f"{detail}; they expire in {_duration(left_s)}", remedy)
        if left_s < math.inf:
            detail += f"; they expire in {_duration(left_s)}"
        elif snapshot.token is not None:
            detail += "; temporary, and nothing here says until when"
        return Check("credentials", "ok", detail)

    def _endpoint(self) -> Check:
        target, endpoint = self._target, self._target.endpoint
        if endpoint is None:
            if target.region is None:
                detail = f"{target.host} does not tell its region, and nothing else names one"
                return Check("endpoint", "failure", detail, "Pass --region, or set AWS_REGION.")
            detail = f"{target.host} is no name of AWS's; signing for region {target.region}, service {target.service}"
            return Check("endpoint", "ok", detail)
        detail = f"{endpoint.kind} in {endpoint.region}; signing for region {target.region}, service {target.service}"
        if (target.region, target.service) != (endpoint.region, endpoint.service):
            remedy = (
                f"Leave --region and --service out, or pass --region {endpoint.region} --service {endpoint.service}."
            )
            return Check("endpoint", "warning", f"the host is a {detail}, which it will refuse", remedy)
        if self._hostname == target.tls_name and self._port not in spec.DEFAULT_PORTS.values():
            return Check("endpoint", "warning", f"{detail}; port {self._port}", "AWS serves the ports 443 and 80 only.")
        return Check("endpoint", "ok", detail)

    # --- there ---------------------------------------------------------------------------------------------

    def _dns(self) -> Check:
        try:
            found = socket.getaddrinfo(self._hostname, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            remedy = (
                "Look for a typing error; if there is none, the domain is gone, or this network's DNS does not work."
            )
            return Check("DNS", "failure", f"{self._hostname}: {getattr(error, 'strerror', None) or error}", remedy)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        shown = ", ".join(addresses[:_MAX_ADDRESSES]) + (", ..." if len(addresses) > _MAX_ADDRESSES else "")
        detail = "an address" if addresses == [self._hostname] else shown
        return Check("DNS", "ok", f"{self._hostname} is {detail}")

    def _connection(self) -> Check:
        at = f"{self._hostname} port {self._port}"
        try:
            context = tls_context(self._options.ca_certs, insecure=self._options.insecure)
        except OSError as error:  # an ssl.SSLError is one
            told = getattr(error, "reason", None) or error.strerror or error
            remedy = "Pass a file of CAs in PEM as --ca-bundle, or set SSL_CERT_FILE to one."
            return Check("connection", "failure", f"the CAs to trust cannot be read: {told}", remedy)
        try:
            with socket.create_connection((self._hostname, self._port), self._options.timeout) as sock:
                if not self._is_https:
                    return self._plain(at)
                with context.wrap_socket(sock, server_hostname=self._target.tls_name) as tls:
                    protocol, certificate = tls.version(), tls.getpeercert()
        except ssl.SSLCertVerificationError as error:
            return Check("connection", "failure", f"{at}: {error.verify_message}", self._remedy_of_certificate(error))
        except ssl.SSLError as error:
            remedy = "What listens there does not speak TLS, or no version in common: look at the port and the scheme."
            return Check("connection", "failure", f"{at}: {error.reason or error}", remedy)
        except OSError as error:
            return Check("connection", "failure", f"{at}: {error.strerror or error}", self._remedy_of_tcp(error))
        if not certificate:
            remedy = "Leave --insecure out: whoever is in between reads the documents and the session token."
            return Check("connection", "warning", f"{at}, {protocol}, its certificate not looked at", remedy)
        expires_at = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        detail = f"{at}, {protocol}, certificate good until {time.strftime('%Y-%m-%d', time.gmtime(expires_at))}"
        if expires_at - time.time() < _CERTIFICATE_WARNING_S:
            return Check("connection", "warning", detail, "Renew the certificate.")
        return Check("connection", "ok", detail)

    def _plain(self, at: str) -> Check:
        detail = f"{at}, plain http"
        if self._target.endpoint is None and _is_loopback(self._hostname):
            return Check("connection", "ok", detail)
        return Check("connection", "warning", detail, "Use https: documents and the session token go in clear.")

    def _remedy_of_certificate(self, error: ssl.SSLCertVerificationError) -> str:
        if "mismatch" in error.verify_message:
            return (
                "The certificate is for another name. Through a tunnel, pass the domain's own name: "
                "-H 'Host: vpc-...', and in Python headers={'Host': ...} and ssl_assert_hostname=."
            )
        if "expired" in error.verify_message or "not yet valid" in error.verify_message:
            return "Look at this machine's clock first; if it is right, the certificate has to be renewed."
        return (
            "Nobody whom this machine trusts signed the certificate: a proxy that opens TLS, or a private CA. Pass "
            "its CA as --ca-bundle FILE, or set SSL_CERT_FILE; in Python ca_certs=."
        )

    def _remedy_of_tcp(self, error: OSError) -> str:
        remedy = "Nothing listens there: look at the port, or start the tunnel."
        if not isinstance(error, ConnectionRefusedError):
            remedy = "Something drops it: look at the security group (port 443), the routes and the firewall."
        if self._hostname.startswith("vpc-"):
            remedy += " A vpc-... domain is reached from its VPC only: by VPN, peering or a tunnel."
        if "https" in getproxies():
            remedy += " HTTPS_PROXY is set, which opensearch-py does not use."
        return remedy

    def _clock(self) -> Check:
        with self._target.pool(**asdict(self._options)) as pool:
            asked_at = time.time()
            try:  # unsigned, and refused: the refusal has a Date, too
                answer = pool.urlopen(
                    "GET",
                    f"{self._prefix}/",
                    headers={name: as_signed(value) for name, value in self._target.headers.items()},
                    retries=False,
                    redirect=False,
                )
            except HTTPError as error:
                return Check("clock", "failure", _told(error), "What listens there does not answer HTTP.")
            answered_at = time.time()
        date = server_time(answer.headers.get("date"))
        if date is None:
            remedy = "What answers does not say what time it is there: it may be no domain."
            return Check("clock", "warning", "the answer has no Date", remedy)
        ahead_s = round((asked_at + answered_at) / 2 - date)
        if abs(ahead_s) <= 1:  # a Date is of whole seconds
            return Check("clock", "ok", "within a second of the domain's")
        detail = f"{_duration(ahead_s)} {'ahead of' if ahead_s > 0 else 'behind'} the domain's"
        if abs(ahead_s) <= _CLOCK_WARNING_S:
            return Check("clock", "ok", detail)
        status: Status = "failure" if abs(ahead_s) > _CLOCK_WINDOW_S else "warning"
        remedy = "Set this machine's clock (timedatectl set-ntp true; a container has its host's)."
        return Check("clock", status, f"{detail}; 5 min are allowed", remedy)

    def _signed_request(self) -> Check:
        if self._target.service == "osis":
            return Check(
                "signed request", "skipped", "a pipeline takes documents, and there is nothing harmless to ask"
            )
        path = self._prefix + ("/_cat/indices" if self._target.service == "aoss" else "/")
        connection = self._connect()
        try:
            _, _, content = connection.perform_request("GET", path, headers=self._target.headers)
        except TransportError as error:
            return self._refused(error, path)
        finally:
            connection.close()
        found = re.search(r'"number"\s*:\s*"([0-9.]+)"', content)
        return Check("signed request", "ok", f"GET {path}: 200" + (f", version {found[1]}" if found else ""))

    def _refused(self, error: TransportError, path: str) -> Check:
        message = _message(error)
        detail = f"GET {path}: {message}"
        remedy = _notes(error) or _remedy_of_status(error.status_code)
        is_passing = meaning_of(error) is Meaning.THROTTLED
        return Check("signed request", "warning" if is_passing else "failure", detail, remedy)

    def _gzip(self) -> Check:
        connection = self._connect(http_compress=True)
        body = b'{"size":0,"query":{"match_none":{}}}'
        headers = {**self._target.headers, "content-type": "application/json"}
        try:
            connection.perform_request("POST", f"{self._prefix}/_search", body=body, headers=headers)
        except TransportError as error:
            detail = f"POST /_search, compressed: {_message(error)}"
            if error.status_code in _NOT_TOLD_STATUSES and server_canonical_request(str(error.error)) is None:
                remedy = "Of gzip that says nothing: this identity may not search everything, or not now."
                return Check("gzip", "warning", detail, _notes(error) or remedy)
            remedy = "Leave http_compress off, or go around what opens bodies on the way."
            return Check("gzip", "failure", detail, _notes(error) or remedy)
        finally:
            connection.close()
        return Check("gzip", "ok", "POST /_search, compressed: 200")

    def _connect(self, **options: Any) -> Any:
        return self._target.connection(**asdict(self._options), **options)


# --- words -------------------------------------------------------------------------------------------------


def _told(error: Exception) -> str:
    return _line(f"{type(error).__name__}: {error}".rstrip(": "))


def _line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _MAX_DETAIL_CHARACTERS else f"{line[:_MAX_DETAIL_CHARACTERS]}..."


def _notes(error: Exception) -> str:
    notes = [
        note.removeprefix("opensearch-sigv4: ").removesuffix(SEE_DOCTOR) for note in getattr(error, "__notes__", ())
    ]
    return "\n".join(printable(line) for note in notes for line in note.splitlines())


def _remedy_of_status(status: Any) -> str:
    if not isinstance(status, int):
        return "The connection is made, and then fails: look at what is between, and at --timeout."
    if status >= 500:
        return "The domain, or what is in front of it, fails: look at its health in the console."
    return _STATUS_REMEDIES.get(status, "The domain's own words are all that is known.")


def _message(error: TransportError) -> str:
    """What an answer says, without the requests that it quotes."""
    if not isinstance(error.status_code, int):
        return _told(error)
    info = error.info if isinstance(error.info, dict) else {}
    nested = info.get("error")
    reason = nested.get("reason") if isinstance(nested, dict) else nested
    message = str(info.get("message") or info.get("Message") or reason or error.error)
    return _line(f"{error.status_code} {message.partition('The Canonical String')[0]}")


def _remedy_of_credentials(error: Exception) -> str:
    if isinstance(error, NoCredentialsError):
        return (
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or configure a profile (aws configure, aws sso login), "
            "named by --profile or AWS_PROFILE; or give the instance, task or function a role."
        )
    if "SSO" in type(error).__name__ or "Token" in type(error).__name__:
        return "Log in again: aws sso login."
    return "See what the AWS CLI makes of it: aws sts get-caller-identity."


def _duration(seconds: float) -> str:
    seconds = abs(seconds)
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
