"""`opensearch-sigv4 bulk`: lines of JSON in, an outcome for each of them out."""

import gzip
import json
import os
import sys
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, NoReturn

import click
from botocore.exceptions import BotoCoreError
from opensearchpy import OpenSearch, TransportError, helpers
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

CHUNK_DOCUMENTS = 1000
CHUNK_BYTES = 5 << 20
MAX_NAMED = 100  # problems that are named one by one; more are counted

GZIP_MAGIC = b"\x1f\x8b"
UTF8_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line of input: where it stands, and its text as it is sent."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass
class Outcome:
    """What became of the lines. Every line that is not blank is either indexed or refused, unless `stopped`."""

    indexed: int = 0
    refused: int = 0
    stopped: bool = False
    _named: int = 0

    @property
    def complete(self) -> bool:
        return not (self.refused or self.stopped)

    def problem(self, text: str) -> None:
        self._named += 1
        if self._named <= MAX_NAMED:
            click.echo(text, err=True)
        elif self._named == MAX_NAMED + 1:
            click.echo("further ones are counted, not named", err=True)

    def refuse(self, line: str, reason: str) -> None:
        self.refused += 1
        self.problem(f"{line}: {reason}")


def run(client: OpenSearch, files: Sequence[str], index: str) -> Outcome:
    """Index every line of `files`; name each line that is malformed or refused on standard error."""
    outcome = Outcome()
    # opensearchpy.helpers answers in the order in which it was given, as long as it retries nothing by itself.
    in_flight: deque[Line] = deque()
    sizes = [os.path.getsize(file) for file in files if file != "-"]
    with _progress() as progress:
        task = progress.add_task("", total=sum(sizes) if len(sizes) == len(files) else None, documents=0)

        def lines() -> Iterator[Line]:
            for line in _read(files, outcome, lambda position: progress.update(task, completed=position)):
                in_flight.append(line)
                yield line

        results = helpers.streaming_bulk(
            client,
            lines(),
            chunk_size=CHUNK_DOCUMENTS,
            max_chunk_bytes=CHUNK_BYTES,
            raise_on_error=False,
            max_retries=0,
            expand_action_callback=lambda line: ({"index": {"_index": index}}, line.text),
        )
        try:
            for ok, item in results:
                line = in_flight.popleft()
                if ok:
                    outcome.indexed += 1
                else:
                    outcome.refuse(str(line), _reason(item))
                progress.update(task, documents=outcome.indexed)
        except (TransportError, BotoCoreError, ValueError, KeyboardInterrupt) as error:
            outcome.stopped = True
            unanswered = f"; no answer from {in_flight[0]} on" if in_flight else ""
            click.echo(f"stopped: {described(error)}{unanswered}", err=True)
    return outcome


def described(error: BaseException) -> str:
    """An error with its notes, in one line."""
    return ". ".join([f"{type(error).__name__}: {error}".rstrip(": "), *getattr(error, "__notes__", ())])


def _progress() -> Progress:
    console = Console(file=sys.stderr)
    return Progress(
        TextColumn("{task.fields[documents]:,} documents"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _read(files: Sequence[str], outcome: Outcome, advance: Any) -> Iterator[Line]:
    done = 0
    for file in files:
        name = "<stdin>" if file == "-" else file
        try:
            with sys.stdin.buffer if file == "-" else open(file, "rb") as raw:
                is_seekable = raw.seekable()
                for number, content in enumerate(_lines(raw), 1):
                    if is_seekable and number % 1000 == 0:
                        advance(done + raw.tell())
                    if content.strip():
                        try:
                            yield Line(name, number, _checked(content))
                        except (ValueError, RecursionError) as error:
                            outcome.refuse(f"{name}:{number}", f"not a JSON object: {error}")
                if is_seekable:
                    done += raw.tell()
        except (OSError, EOFError, zlib.error) as error:
            outcome.stopped = True
            outcome.problem(
                f"{name}: {getattr(error, 'strerror', None) or error}; nothing was read from it any further"
            )


def _lines(raw: IO[bytes]) -> Iterator[bytes]:
    is_gzip = getattr(raw, "peek", lambda _: b"")(2)[:2] == GZIP_MAGIC
    lines = iter(gzip.GzipFile(fileobj=raw) if is_gzip else raw)
    yield next(lines, b"").removeprefix(UTF8_BOM)
    yield from lines


def _checked(content: bytes) -> str:
    """The line's text, once it is known to hold one JSON object and nothing that would spoil its chunk."""
    text = content.strip(b" \t\r\n").decode()
    if not isinstance(json.loads(text, parse_constant=_no_json), dict):
        raise ValueError("an object is needed")
    return text


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _reason(item: dict[str, Any]) -> str:
    result = next(iter(item.values()))
    error = result.get("error") or f"status {result.get('status')}"
    return f"{error.get('type')}: {error.get('reason')}" if isinstance(error, dict) else str(error)
