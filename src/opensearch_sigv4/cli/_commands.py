"""The commands and their options; what they do is in `bulk` and `demo`."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError
from opensearchpy import OpenSearch, OpenSearchException

from .. import connect
from . import bulk as bulk_command
from . import demo as demo_command
from .bulk import described

if TYPE_CHECKING:
    from ..testing import LocalDomain


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="opensearch-sigv4")
def cli() -> None:
    """Talk to Amazon OpenSearch Service and Serverless, each request signed with AWS Signature Version 4."""
    # opensearch-py logs each failed request with its traceback; a command says it once, in its own words.
    logging.getLogger("opensearch").addHandler(logging.NullHandler())
    logging.getLogger("opensearch").propagate = False


def _target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--profile", help="A profile of AWS's shared files; by default AWS's credential chain."),
        click.option("--service", help="es, aoss or osis; by default what the host says, else es."),
        click.option("--region", help="By default what the host, AWS_REGION or the profile says."),
        click.option("--url", help="The domain or collection; without it a LocalDomain runs for this command."),
    ):
        command = option(command)
    return command


@contextmanager
def _target(
    url: str | None, region: str | None, service: str | None, profile: str | None
) -> Iterator[tuple[OpenSearch, "LocalDomain | None"]]:
    # A lost answer is not asked for again: documents without an id would be indexed twice.
    options: dict[str, Any] = {"max_retries": 0, "timeout": 60}
    if url is not None:
        client = connect(url, region=region, service=service, profile=profile, **options)
        with client:
            yield client, None
        return
    if profile is not None:
        raise click.UsageError("--profile needs --url: a LocalDomain has its own credentials")
    from ..testing import LocalDomain

    with LocalDomain(region=region or "us-east-1", service=service or "es", keep=0) as domain:
        client = connect(
            domain.url, region=domain.region, service=domain.service, credentials=domain.credentials, **options
        )
        with client:
            yield client, domain


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except (OpenSearchException, BotoCoreError, ImportError, ValueError) as error:
        raise click.ClickException(described(error)) from error


@cli.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--index", required=True, help="The index that receives the documents.")
@_target_options
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON: indexed, refused, verified.")
def bulk(
    files: tuple[str, ...],
    index: str,
    url: str | None,
    region: str | None,
    service: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Index the documents of NDJSON files, plain or gzip; `-` is standard input.

    Each line holds one JSON object. A line that does not is named and left out, and so is a document that the
    domain refuses. The exit status is 0 only when every document is in.
    """
    with _errors_in_one_line(), _target(url, region, service, profile) as (client, domain):
        outcome = bulk_command.run(client, files, index)
        verified = None if domain is None else domain.verified
    click.echo(
        f"{outcome.indexed:,} indexed, {outcome.refused:,} refused"
        + ("" if verified is None else f"; {verified:,} signatures verified by the local domain"),
        err=as_json,
    )
    if as_json:
        click.echo(json.dumps({"indexed": outcome.indexed, "refused": outcome.refused, "verified": verified}))
    sys.exit(0 if outcome.complete else 1)


@cli.command()
@_target_options
@click.option("--index", default="python-distributions", show_default=True, help="The index to write to.")
def demo(index: str, url: str | None, region: str | None, service: str | None, profile: str | None) -> None:
    """Index what this Python has installed, search it, and show that every request was signed."""
    with _errors_in_one_line(), _target(url, region, service, profile) as (client, domain):
        complete = demo_command.run(client, index)
        if domain is not None:
            click.echo(f"{domain.verified} signatures verified, {domain.refused} refused by the local domain")
            complete = complete and domain.refused == 0
    sys.exit(0 if complete else 1)
