"""`opensearch-sigv4 explain`: every stage of a signature, and where it parts from what a 403 says."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Final

import click

from .._difference import Difference, first_difference, printable, server_canonical_request, server_string_to_sign
from ..core import spec
from ..signer import Explanation
from ._signed import SAME_REQUEST, Redactor, Target, signed_at

NOTHING_QUOTED: Final = 2
_SCOPE_CAUSE: Final = (
    "The request that was refused was signed for another day, region or service: --at, --region and --service set them."
)


def run(
    target: Target, method: str, body: bytes | None, at: datetime | None, refusal: str | None, *, as_json: bool
) -> int:
    """Show it, and return the exit status."""
    theirs = None if refusal is None else server_canonical_request(refusal)
    if refusal is not None and theirs is None:
        click.echo("Error: the text of --against quotes no canonical request (Serverless never does)", err=True)
        return NOTHING_QUOTED
    if theirs is not None and at is None:
        at = signed_at(theirs)
    explanation = target.signer().explain(method, target.url, body, target.headers, at=at)
    hide = Redactor(explanation.headers.get(spec.SECURITY_TOKEN), target.headers.get("x-amz-security-token"))
    difference = None if refusal is None or theirs is None else _difference(explanation, theirs, refusal)
    if as_json:
        told = asdict(explanation.redacted())
        if refusal is not None:
            told |= {"equal": difference is None, "difference": difference and asdict(difference)}
        click.echo(hide(json.dumps(told)))
    else:
        click.echo(hide(str(explanation)))
        if refusal is not None:
            click.echo(f"\nagainst the refusal:\n{difference or SAME_REQUEST}")
    return 0 if difference is None else 1


def _difference(explanation: Explanation, theirs: str, refusal: str) -> Difference | None:
    difference = first_difference(explanation.canonical_request, theirs)
    if difference is not None:
        return difference
    _, _, scope, *_ = (*(server_string_to_sign(refusal) or "").split("\n"), "", "", "")
    if scope in ("", explanation.credential_scope):
        return None
    return Difference("credential scope", explanation.credential_scope, printable(scope)[:100], _SCOPE_CAUSE)
