"""`opensearch-sigv4 request`: one signed request from the shell, its answer byte for byte."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util import SKIP_HEADER

from ..core import spec
from ._signed import Redactor, Target, difference_from

#: As curl's `--fail`.
FAILED: Final = 22
_NDJSON_PATH: Final = re.compile(r"/_(?:bulk|msearch)(?:/|$)")
_FRAMING: Final = ("content-length", "transfer-encoding")
_LEFT_OUT: Final = {"accept-encoding": SKIP_HEADER, "user-agent": SKIP_HEADER}  # which urllib3 would add
_FRAMED_METHODS: Final = frozenset({"PATCH", "POST", "PUT"})


@dataclass(frozen=True)
class Options:
    """How to send, and what to show. See `_commands.request`."""

    include: bool
    output: str | None
    insecure: bool
    ca_certs: str | None
    compressed: bool
    timeout: float
    fail: bool
    fail_with_body: bool
    verbose: bool


def run(target: Target, method: str, body: bytes | None, options: Options) -> int:
    """Send it, write the answer, and return the exit status."""
    method = method.upper()
    if options.output not in (None, "-"):
        open(options.output, "ab").close()  # before the request is sent, whose answer would be lost
    headers = _headers(target, method, body, options.compressed)
    explanation = None
    if "authorization" not in headers:
        explanation = target.signer().explain(method, target.url, body, headers)
        headers = {name: value for name, value in headers.items() if name not in map(str.lower, explanation.headers)}
        headers |= explanation.headers
    signature = headers.get(spec.AUTHORIZATION, "").rpartition("Signature=")[2]
    hide = Redactor(headers.get(spec.SECURITY_TOKEN), target.headers.get("x-amz-security-token"), signature)
    if options.verbose:
        click.echo(f"> {method} {hide(target.path)} HTTP/1.1", err=True)
        for name, value in headers.items():
            click.echo(f"> {hide.header(name, value)}", err=True)
        click.echo(">", err=True)

    if target.endpoint is not None and target.url.startswith("http:"):
        click.echo("Warning: by plain http the body and the session token go in clear", err=True)
    with (
        target.pool(ca_certs=options.ca_certs, insecure=options.insecure, timeout=options.timeout) as pool,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", InsecureRequestWarning)  # --insecure asked for it
        answer = pool.urlopen(
            method,
            target.path,
            body,
            headers=_LEFT_OUT | {name: as_signed(value) for name, value in headers.items()},
            retries=False,
            redirect=False,
            decode_content=options.compressed,
        )

    lines = [f"HTTP/1.1 {answer.status} {answer.reason or ''}".rstrip()]
    lines += [f"{name}: {hide(value)}" for name, value in answer.headers.iteritems()]
    if options.verbose:
        for line in (*lines, ""):
            click.echo(f"< {line}".rstrip(), err=True)
    failed = answer.status >= 400
    # A refusal quotes the session token that it received.
    content = hide.in_bytes(answer.data) if failed else answer.data
    if not (failed and options.fail):
        head = "\r\n".join((*lines, "", "")).encode("latin-1", "replace") if options.include else b""
        _write(options.output, head + content)
    if failed and explanation is not None:
        difference = difference_from(explanation, content.decode("utf-8", "replace"))
        if difference is not None:
            click.echo(difference, err=True)
    if failed and (options.fail or options.fail_with_body):
        click.echo(f"Error: the domain answered {answer.status} {answer.reason or ''}".rstrip(), err=True)
        return FAILED
    return 0


def _headers(target: Target, method: str, body: bytes | None, compressed: bool) -> dict[str, str]:
    """Those that are sent beside the signature's: all of them, so that nothing is added to what `-v` shows."""
    headers = {
        "host": target.host,
        "user-agent": f"opensearch-sigv4/{version('opensearch-sigv4')}",
        "accept": "*/*",
        "accept-encoding": "gzip" if compressed else "identity",
    }
    if body is not None or method in _FRAMED_METHODS:
        headers["content-length"] = str(len(body or b""))
    if body and (content_type := _content_type(target.path, body)):
        headers["content-type"] = content_type
    headers |= {name: value for name, value in target.headers.items() if name not in _FRAMING}
    return {name: value for name, value in headers.items() if name == "host" or name not in target.omitted}


def as_signed(value: str) -> Any:
    """A header's value in UTF-8, as it is signed; http.client would send latin-1."""
    return value if value.isascii() else value.encode()


def _content_type(path: str, body: bytes) -> str | None:
    if _NDJSON_PATH.search(path.partition("?")[0]):
        return "application/x-ndjson"
    return "application/json" if body.lstrip()[:1] in (b"{", b"[") else None


def _write(file: str | None, content: bytes) -> None:
    if file is None or file == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        Path(file).write_bytes(content)
