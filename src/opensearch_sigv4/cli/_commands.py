"""The commands and their options; what they do is in `bulk` and `demo`."""

import json
import logging
import math
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
from ._reading import FORMATS, OPS, InputError, Shape
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
    url: str | None, region: str | None, service: str | None, profile: str | None, **options: Any
) -> Iterator[tuple[OpenSearch, "LocalDomain | None"]]:
    # A lost answer is not asked for again by the client: documents without an id would be indexed twice.
    options = {"max_retries": 0, "timeout": 60, **options}
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


class _NothingTried(click.ClickException):
    exit_code = 2


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise _NothingTried(str(error)) from error
    except (ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except (OpenSearchException, BotoCoreError, OSError) as error:
        raise click.ClickException(described(error)) from error


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--index", help="The index that receives the documents; of action lines those that name none.")
@click.option("--id-field", metavar="NAME", help="The field whose value becomes the document's id; a.b is b within a.")
@click.option("--routing-field", metavar="NAME", help="The field whose value becomes its routing.")
@click.option(
    "--op",
    type=click.Choice(OPS),
    help="index (the default) replaces a document with the same id; create refuses it; update, which needs --id-field, "
    "merges the fields that are given, and creates what is not there.",
)
@click.option("--pipeline", metavar="NAME", help="The ingest pipeline that documents go through.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("auto", *FORMATS)),
    default="auto",
    help="What the files hold, where the beginning and the name do not tell.",
)
@click.option("--threads", type=click.IntRange(1), default=4, show_default=True, help="Requests in flight.")
@click.option(
    "--chunk-mb",
    type=click.FloatRange(0, 100, min_open=True),
    default=5.0,
    show_default=True,
    help="Mebibytes in a request, at most, before compression; never more than 10,000 documents.",
)
@click.option("--compress", is_flag=True, help="Send gzip.")
@click.option("--failed", metavar="FILE", help="Write what was refused, or is unknown, to this file, with the reasons.")
@click.option("--checkpoint", metavar="FILE", help="Note there what is done; the same command then goes on from there.")
@click.option(
    "--no-ids",
    is_flag=True,
    help="With --checkpoint, give no ids to documents that have none: Serverless time-series and vector collections "
    "refuse them. What was in flight when the command was killed is then indexed twice.",
)
@_target_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="End with one line of JSON: indexed, refused, malformed, unknown, statuses, bytes, seconds, complete, "
    "stopped, unreadable, verified. No progress is shown.",
)
def bulk(
    files: tuple[str, ...],
    index: str | None,
    id_field: str | None,
    routing_field: str | None,
    op: str | None,
    pipeline: str | None,
    file_format: str,
    threads: int,
    chunk_mb: float,
    compress: bool,
    failed: str | None,
    checkpoint: str | None,
    no_ids: bool,
    url: str | None,
    region: str | None,
    service: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Index the documents of files; `-` is standard input, and patterns are expanded.

    A file is plain, gzip or zstd. It holds one JSON object a line; or _bulk action lines and their documents, if the
    first line is an object whose only key is index, create, update or delete; or a JSON array of objects; or CSV, if
    its name says so: the header names the fields, all values are text, and empty ones are left out.

    What is no JSON object is named by file and line, and not sent. So is what the domain refuses; what it refuses
    only for now is sent again. Where an answer was lost, documents with an id are sent again, and others may or may
    not be in. What makes every request fail ends the run. With one thread documents go in their order.

    --failed: each document that was refused or is unknown stands there as an action line and the document, after a
    line {"failed": {...}} that tells why. This command skips those lines, so the file can be fed as it is; without
    them, grep -v '^{"failed"', it is the body of a _bulk request. Malformed lines are within their "failed" line.

    --checkpoint: after whatever ended the run, the same command goes on where it was, and no document is lost or in
    twice: those without an id get one from their file (path, size, time, beginning) and place. Files that were
    changed are refused. Scripted updates alone may be executed twice.

    Ctrl-C waits for the requests in flight, and counts them; a second one does not.

    The exit status is 0 when every document is in, 1 when not, 2 when nothing was tried, 130 after Ctrl-C.
    """
    for name, value in (("--index", index), ("--id-field", id_field), ("--routing-field", routing_field)):
        if value == "":
            raise click.UsageError(f"{name} is empty")
    if math.isnan(chunk_mb):
        raise click.UsageError("--chunk-mb is no number")
    if url is None and checkpoint is not None:
        raise click.UsageError("--checkpoint needs --url: a LocalDomain forgets what it had")
    options = bulk_command.Options(
        arguments=files,
        shape=Shape(index, op, id_field, routing_field, add_ids=checkpoint is not None and not no_ids),
        format=None if file_format == "auto" else file_format,
        pipeline=pipeline,
        threads=threads,
        chunk_bytes=max(1, int(chunk_mb * (1 << 20))),
        failed=failed,
        checkpoint=checkpoint,
        url=url,
        is_quiet=as_json,
    )
    bulk_command.return_large_blocks()
    # Requests of 5 MiB, four at a time, keep the local node busy for half a minute; a timeout leaves documents unknown.
    client_options = {"pool_maxsize": threads, "http_compress": compress, "timeout": 120}
    with _errors_in_one_line(), _target(url, region, service, profile, **client_options) as (client, domain):
        plan = bulk_command.Plan(options)
        outcome = bulk_command.run(client, plan, (lambda: None) if domain is None else domain.close)
        verified = None if domain is None else domain.verified
    tally = outcome.tally
    click.echo(
        f"{tally.indexed:,} indexed, {tally.refused:,} refused, {tally.malformed:,} malformed, "
        f"{tally.unknown:,} unknown"
        + ("" if verified is None else f"; {verified:,} signatures verified by the local domain"),
        err=as_json,
    )
    if as_json:
        told = {
            "indexed": tally.indexed,
            "refused": tally.refused,
            "malformed": tally.malformed,
            "unknown": tally.unknown,
            "statuses": tally.statuses,
            "bytes": tally.bytes,
            "seconds": round(outcome.seconds, 3),
            "complete": outcome.complete,
            "stopped": outcome.stopped,
            "unreadable": outcome.unreadable,
            "verified": verified,
        }
        click.echo(json.dumps(told))
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)
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
