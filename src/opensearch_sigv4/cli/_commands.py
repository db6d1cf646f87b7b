"""The commands and their options; what they do is in the modules of their names."""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from opensearchpy import OpenSearch, OpenSearchException
from urllib3.exceptions import HTTPError

from .. import connect
from ..credentials import source_of
from ..helpers._failed import described
from . import bulk as bulk_command
from . import demo as demo_command
from . import doctor as doctor_command
from . import explain as explain_command
from . import request as request_command
from ._reading import FORMATS, OPS, InputError, Shape
from ._signed import body_of, target_of, text_of

if TYPE_CHECKING:
    from ..testing import LocalDomain


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="opensearch-sigv4")
def cli() -> None:
    """Talk to Amazon OpenSearch Service and Serverless, each request signed with AWS Signature Version 4."""
    # opensearch-py logs each failed request with its traceback; a command says it once, in its own words.
    logging.getLogger("opensearch").addHandler(logging.NullHandler())
    logging.getLogger("opensearch").propagate = False


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_signing_options = _options(
    click.option("--region", help="By default what the host, AWS_REGION or the profile says."),
    click.option("--service", help="es, aoss or osis; by default what the host says, else es."),
    click.option("--profile", help="A profile of AWS's shared files; by default AWS's credential chain."),
)
_target_options = _options(
    click.option("--url", help="The domain or collection; without it a LocalDomain runs for this command."),
    _signing_options,
)
_headers_option = click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; Host is the host signed."
)
_data_option = click.option(
    "-d", "--data", metavar="TEXT|@FILE|-", help="The body, sent as it is; - and @- are standard input."
)
_connection_options = _options(
    click.option("-k", "--insecure", is_flag=True, help="Do not look at the server's certificate."),
    click.option(
        "--ca-bundle",
        "--ca-certs",
        "ca_certs",
        type=click.Path(exists=True),
        help="The CAs to trust: a file, or a directory, in place of SSL_CERT_FILE or certifi's.",
    ),
)


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
def _errors_in_one_line(raised: type[click.ClickException] = click.ClickException) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read the output has seen enough: click ends quietly
    except InputError as error:
        raise _NothingTried(str(error)) from error
    except (ImportError, ValueError) as error:
        raise raised(str(error)) from error
    except (OpenSearchException, BotoCoreError, ClientError, HTTPError, OSError) as error:
        raise raised(described(error)) from error


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


@cli.command()
@click.argument("method")
@click.argument("url")
@_headers_option
@_data_option
@click.option("-i", "--include", is_flag=True, help="Write status and headers before the answer.")
@click.option("-o", "--output", metavar="FILE", help="Write the answer there.")
@click.option("--compressed", is_flag=True, help="Ask for a gzip answer, and write it decompressed.")
@click.option("-f", "--fail", is_flag=True, help="Exit with 22, and write no answer, if the status is 400 or more.")
@click.option("--fail-with-body", is_flag=True, help="The same, but write the answer.")
@click.option("-v", "--verbose", is_flag=True, help="Show on standard error what is sent, secrets hidden.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Seconds.")
@_connection_options
@_signing_options
def request(
    method: str,
    url: str,
    headers: tuple[str, ...],
    data: str | None,
    include: bool,
    output: str | None,
    compressed: bool,
    fail: bool,
    fail_with_body: bool,
    verbose: bool,
    timeout: float,
    insecure: bool,
    ca_certs: str | None,
    region: str | None,
    service: str | None,
    profile: str | None,
) -> None:
    """Send one signed request, and write the answer as it came.

    \b
    opensearch-sigv4 request GET https://.../_cat/indices
    opensearch-sigv4 request POST https://.../_bulk -d @documents.ndjson

    A body that begins as JSON is sent as application/json, one for _bulk and _msearch as application/x-ndjson; -H
    says otherwise, and -H 'Name:' leaves a header out. An Authorization of -H is sent in place of a signature. With a
    Host, the certificate has to be for that name: that is what a tunnel needs. Redirects are not followed. In the
    answer to a failed request signatures and session tokens are hidden.

    The exit status is 0 when there was an answer, of whatever status, 22 with --fail if that is 400 or more, 1 when
    there was none.
    """
    options = request_command.Options(
        include=include,
        output=output,
        insecure=insecure,
        ca_certs=ca_certs,
        compressed=compressed,
        timeout=timeout,
        fail=fail,
        fail_with_body=fail_with_body,
        verbose=verbose,
    )
    with _errors_in_one_line():
        target = target_of(url, headers, region, service, source_of(profile=profile))
        status = request_command.run(target, method, body_of(data), options)
    sys.exit(status)


def _instant(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("a time as ISO 8601 is needed, such as 2015-08-30T12:36:00Z") from None
    if instant.tzinfo is None:
        raise click.BadParameter("it has no zone; Z is UTC")
    return instant


@cli.command()
@click.argument("method")
@click.argument("url")
@_headers_option
@_data_option
@click.option("--at", metavar="ISO8601", callback=_instant, help="When it is signed; by default now.")
@click.option("--against", metavar="FILE|-", help="A 403's text, as it was answered or logged.")
@_signing_options
@click.option("--json", "as_json", is_flag=True, help="Write one line of JSON.")
def explain(
    method: str,
    url: str,
    headers: tuple[str, ...],
    data: str | None,
    at: datetime | None,
    against: str | None,
    region: str | None,
    service: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Show every stage of a request's signature, secrets hidden. Nothing is sent.

    With --against, the canonical request is compared with the one that a domain's 403 says it should have been, signed
    at the time that this one names, and the first difference is named with its likeliest cause.

    The exit status of --against is 0 when the two are equal, 1 when they differ, 2 when the text quotes no canonical
    request, or when nothing can be signed.
    """
    if against == "-" and data in ("-", "@-"):
        raise click.UsageError("--data and --against cannot both be standard input")
    with _errors_in_one_line(_NothingTried):
        target = target_of(url, headers, region, service, source_of(profile=profile))
        refusal = None if against is None else text_of(against)
        status = explain_command.run(target, method, body_of(data), at, refusal, as_json=as_json)
    sys.exit(status)


@cli.command()
@click.argument("url")
@_headers_option
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Seconds.")
@_connection_options
@_signing_options
@click.option(
    "--json", "as_json", is_flag=True, help="Write one line of JSON: ok, and check, status, detail, remedy of each."
)
def doctor(
    url: str,
    headers: tuple[str, ...],
    timeout: float,
    insecure: bool,
    ca_certs: str | None,
    region: str | None,
    service: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Check all that a signed request needs, and say what to do about what is missing. Nothing is written there.

    Each line is ok, a warning, a failure or skipped: the core in use; the credentials, where they were found, and until
    when they are good; what the host's name says of region and service; DNS; the connection and its certificate; the
    clock; one signed request; and a compressed one.

    The exit status is 0 when nothing failed, else 1.
    """
    options = doctor_command.Options(ca_certs=ca_certs, insecure=insecure, timeout=timeout)
    with _errors_in_one_line():
        session = Session(profile=profile)
        target = target_of(url, headers, region, service, source_of(session))
        status = doctor_command.run(target, session, options, as_json=as_json)
    sys.exit(status)
