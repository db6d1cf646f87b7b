"""`opensearch-sigv4 bulk`: documents in, an outcome for each of them out.

The main thread reads, and settles accounts in the order of the input; threads send. What was settled is in the
checkpoint, so all that a killed run leaves in doubt lies between that and what was sent; it is sent again, with the
ids that it had.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from types import FrameType
from typing import IO, Any, Final

import click
from opensearchpy import OpenSearch

from ..helpers._call import (
    DEFAULT_INITIAL_BACKOFF_S,
    DEFAULT_MAX_BACKOFF_S,
    DEFAULT_MAX_RETRIES,
    Call,
    call_of,
)
from ..helpers._delivery import Failure, Reply, Settled
from ..helpers._documents import Chunk
from ..helpers._failed import described, document_lines, malformed_line, told_of
from ..helpers._sync import Sender
from ..responses import RETRIABLE_ITEM_STATUSES, Meaning, meaning_of
from ._checkpoint import Checkpoint, State, Tally
from ._progress import Meter
from ._reading import (
    File,
    InputError,
    Malformed,
    Place,
    Portion,
    Reader,
    Shape,
    Stream,
    check_format,
    files_of,
    format_of,
    unreadable_errors,
)

#: Documents in a request: a limit for what the answer takes in memory.
MAX_CHUNK_DOCUMENTS: Final = 10_000
MAX_NAMED: Final = 100  # problems that are named one by one; more are counted
# Requests that are ready when one of several threads has ended one. All are in memory.
_READY: Final = 1
_CHECKPOINT_INTERVAL_S: Final = 1.0
# As long as nothing was ever heard of the domain, its name is more likely to be wrong than its node to be away.
_RETRIES_BEFORE_FIRST_ANSWER: Final = 2
# With so many requests of each thread in a row that had no answer at all, there is no point in going on.
_MAX_UNANSWERED_ROUNDS: Final = 3
# Of a document that an earlier run may have sent, these say that it did. A conflict of an update says nothing.
_DONE_BEFORE: Final = {("create", 409), ("index", 409), ("delete", 404), ("delete", 409)}
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK_BYTES: Final = 256 << 10


@dataclass(frozen=True)
class Options:
    """What the command was asked to do."""

    arguments: Sequence[str]
    shape: Shape
    format: str | None = None
    pipeline: str | None = None
    threads: int = 4
    chunk_bytes: int = 5 << 20
    failed: str | None = None
    checkpoint: str | None = None
    url: str | None = None
    is_quiet: bool = False


@dataclass
class Outcome:
    """What became of the documents, by this run and those that it resumed.

    Attributes:
        tally: of them.
        complete: whether all of them are in.
        stopped: why the input was not read to its end; None if it was.
        signal: the one that ended it.
        seconds: that this run took.
        unreadable: the files that could not be read to their end, with the reason.
    """

    tally: Tally
    complete: bool = False
    stopped: str | None = None
    signal: int | None = None
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)


class Plan:
    """What is to be done, once it is known that it can be: nothing was sent yet.

    Raises:
        InputError: the files, the options, the checkpoint or the file of `--failed` do not go together.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        shape = options.shape
        has_checkpoint = options.checkpoint is not None
        files = files_of(options.arguments, has_checkpoint)
        self.checkpoint: Checkpoint | None = None
        if options.checkpoint is not None:
            self.checkpoint = Checkpoint(
                options.checkpoint,
                files,
                {
                    "--url": options.url,
                    "--index": shape.index,
                    "--op": shape.op,
                    "--id-field": shape.id_field,
                    "--routing-field": shape.routing_field,
                    "--no-ids": not shape.add_ids,
                    "--pipeline": options.pipeline,
                    "--format": options.format,
                    "--failed": options.failed and os.path.abspath(options.failed),
                },
            )
            prefixes = self.checkpoint.id_prefixes
            files = [replace(file, id_prefix=prefix) for file, prefix in zip(files, prefixes, strict=True)]
        self.files = [self._with_format(file) for file in files]
        self.failed = self._failed_file()

    @property
    def state(self) -> State:
        return State() if self.checkpoint is None else self.checkpoint.state

    def _with_format(self, file: File) -> File:
        file_format = self.options.format
        if file_format is None:
            if file.size is None:  # it can be read once only
                return file
            try:
                with Stream(file) as stream:
                    file_format = format_of(file, stream)
            except InputError:
                raise
            except unreadable_errors():
                return file  # in its turn
        check_format(file, file_format, self.options.shape)
        return replace(file, format=file_format)

    def _failed_file(self) -> IO[bytes] | None:
        path = self.options.failed
        if path is None or self.state.finished:
            return None
        if self.options.checkpoint and os.path.realpath(path) == os.path.realpath(self.options.checkpoint):
            raise InputError(f"{path} is both --failed and --checkpoint")
        for file in self.files:
            if file.path is not None and os.path.realpath(file.path) == os.path.realpath(path):
                raise InputError(f"{path} is both --failed and input")
        try:
            size = os.path.getsize(path) if os.path.exists(path) else 0
            if self.checkpoint is not None and self.checkpoint.is_resumed:
                if size < self.state.failed_bytes:
                    raise InputError(f"{path} is shorter than when the checkpoint was written")
                output = open(path, "ab")  # noqa: SIM115 - closed at the run's end
                output.truncate(self.state.failed_bytes)
                output.seek(0, os.SEEK_END)  # it was opened at the end that it had
                return output
            if size:
                raise InputError(f"{path} is not empty: feed it again and remove it, or name another one")
            return open(path, "wb")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error


def run(client: OpenSearch, plan: Plan, end_at_once: Callable[[], None] = lambda: None) -> Outcome:
    """Send every document of the plan's files, and name each one on standard error that is not in.

    SIGINT and SIGTERM end it with the requests in flight; the second one by `end_at_once` and without more ado.
    """
    return _Run(client, plan, end_at_once).run()


def return_large_blocks() -> None:
    """Have glibc give requests and answers back to the system once they are freed.

    It would keep them after the first ones, in as many heaps as there are threads: 127 MB at the peak instead of 111.
    """
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):  # another libc
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


class _Patient(Sender):
    """A sender that waits for every outcome, but not for long once it is to hurry."""

    def __init__(self, call: Call, thread_count: int) -> None:
        super().__init__(call, thread_count)
        self._policy = call.policy
        self._policy.max_retries = _RETRIES_BEFORE_FIRST_ANSWER
        self._is_reached = False
        self.is_hurrying = False
        self._hurry = threading.Event()

    def hurry(self) -> None:
        """Send nothing again but what waits for that now. A signal's handler may call it, also within itself."""
        if not self.is_hurrying:
            self.is_hurrying = True
            self._policy.max_retries = 0
            self._hurry.set()

    def reply_to(self, body: bytes, chunk: Chunk) -> Reply:
        reply = super().reply_to(body, chunk)
        if not self._is_reached and not _is_unreached(reply):
            self._is_reached = True
            self._policy.max_retries = 0 if self.is_hurrying else DEFAULT_MAX_RETRIES
        return reply

    def wait(self, seconds: float) -> None:
        self._hurry.wait(seconds)


def _is_unreached(reply: Reply) -> bool:
    return isinstance(reply, Exception) and meaning_of(reply) is Meaning.UNREACHED


class _Interrupted(Exception):  # noqa: N818 - no error, and seen here only
    """A signal came while the input was being read."""


@dataclass
class _Sent:
    """A portion on its way."""

    portion: Portion
    chunk: Chunk | None
    future: Future[Settled] | None


class _Run:
    def __init__(self, client: OpenSearch, plan: Plan, end_at_once: Callable[[], None]) -> None:
        self._plan, options = plan, plan.options
        self._options, self._checkpoint, self._failed = options, plan.checkpoint, plan.failed
        self._end_at_once = end_at_once
        self._state = plan.state
        self._resumed_sent = self._state.sent
        self._outcome = Outcome(Tally())
        self._outcome.tally.add(self._state.tally)
        parameters = {"index": options.shape.index, "pipeline": options.pipeline}
        self._call = call_of(
            client=client,
            args=(),
            kwargs={name: value for name, value in parameters.items() if value is not None},
            chunk_size=MAX_CHUNK_DOCUMENTS,
            max_chunk_bytes=options.chunk_bytes,
            raise_on_error=False,
            expand_action_callback=lambda document: (document, None),  # not called: portions are chunks already
            raise_on_exception=False,
            max_retries=DEFAULT_MAX_RETRIES,
            initial_backoff=DEFAULT_INITIAL_BACKOFF_S,
            max_backoff=DEFAULT_MAX_BACKOFF_S,
            ignore_status=(),
            retry_unknown=options.shape.op == "update",  # merging the same fields once more changes nothing
            idempotent=False,
        )
        self._sender = _Patient(self._call, options.threads)
        self._reader = Reader(plan.files, options.shape, self._state.place, MAX_CHUNK_DOCUMENTS)
        self._settled_end = self._state.place
        self._documents = self._named = self._unanswered = 0
        # One thread sends nothing before it is known what became of the last request.
        self._max_sent = options.threads + (_READY if options.threads > 1 else 0)
        self._is_reading = False
        self._is_frozen = False  # the checkpoint's place: what comes after it has no outcome, or not a final one
        self._has_gap = False  # documents were left without an outcome, but later ones may have one
        self._saved_at = -_CHECKPOINT_INTERVAL_S
        sizes = [file.size for file in plan.files]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        done = sum(size or 0 for size in sizes[: self._state.place.file])
        self._meter = Meter(total, done, options.is_quiet)

    def run(self) -> Outcome:
        outcome = self._outcome
        if self._checkpoint is not None:
            if self._state.finished:
                self._say(f"{self._options.checkpoint}: all of this was done before")
                outcome.complete = not outcome.tally.failed
                return outcome
            if self._checkpoint.is_resumed:
                self._say(f"going on at {self._label(self._state.place)}")
                if not self._options.shape.add_ids and self._state.sent > self._state.place:
                    sent = self._label(self._state.sent)
                    self._say(f"documents without an id between there and {sent} may be in twice")
            self._save()
        self._meter.start(outcome.tally)
        with self._signals():
            is_done = False
            try:
                self._send_all()
                is_done = outcome.stopped is None
                self._state.finished = is_done and not self._is_frozen
            except OSError as error:  # of --failed or --checkpoint: what follows could not be accounted for
                self._stop_for(error)
            finally:
                self._sender.close()
                self._reader.close()
                self._meter.stop()
                try:
                    self._save()
                    if self._failed is not None:
                        self._failed.close()
                except OSError as error:
                    is_done = False
                    self._stop_for(error)
        if is_done:  # a signal came too late
            outcome.stopped = outcome.signal = None
        outcome.seconds = self._meter.seconds
        outcome.complete = not (outcome.tally.failed or outcome.stopped or self._is_frozen)
        if outcome.signal is not None:
            outcome.stopped = f"{signal.Signals(outcome.signal).name}; nothing from {self._label(self._settled_end)} on"
        if outcome.stopped is not None:
            self._say(f"stopped: {outcome.stopped}")
        if outcome.tally.unknown and self._failed is not None and not self._options.shape.add_ids:
            self._say(f"{self._options.failed}: feeding it again indexes unknown documents without an id a second time")
        if self._checkpoint is not None and not self._state.finished:
            self._say(f"the same command goes on at {self._label(self._state.place)}")
        return outcome

    def _send_all(self) -> None:
        sent: deque[_Sent] = deque()
        has_more = True
        while has_more or sent:
            while has_more and self._outcome.stopped is None and len(sent) < self._max_sent:
                portion = self._take()
                if portion is None:
                    has_more = False
                else:
                    sent.append(self._submit(portion))
            if self._outcome.stopped is not None:
                has_more = False
                while sent and (sent[-1].future is None or sent[-1].future.cancel()):
                    sent.pop()
            if sent:
                self._settle(sent.popleft())

    def _take(self) -> Portion | None:
        try:
            self._is_reading = True
            portion = self._reader.take(min(self._options.chunk_bytes, self._call.policy.size_limit))
            self._is_reading = False
        except _Interrupted:
            return None
        return portion if self._outcome.stopped is None else None

    def _submit(self, portion: Portion) -> _Sent:
        if not portion.ends:
            return _Sent(portion, None, None)
        if self._checkpoint is not None and not portion.repeatable:
            self._state.sent = max(self._state.sent, portion.end)
            self._save()
        chunk = Chunk(self._documents, portion.body.getvalue(), portion.ends)
        self._documents += len(chunk)
        portion.body = BytesIO()  # the chunk has it
        return _Sent(portion, chunk, self._sender.submit(chunk))

    # --- what became of it

    def _settle(self, sent: _Sent) -> None:
        portion, chunk = sent.portion, sent.chunk
        settled = None
        try:
            if sent.future is not None:
                settled = sent.future.result()
        except Exception as error:
            self._stop(described(error), portion)
            return
        if settled is not None and (fatal := self._fatal_error(settled)) is not None:
            self._stop(described(fatal), portion)
            return
        tally = Tally(bytes=portion.bytes)
        has_open_end = False
        for file, malformed in portion.malformed:
            self._note_malformed(tally, file, malformed)
        if settled is not None and chunk is not None:
            tally.indexed = settled.succeeded
            for position, outcome in settled.outcomes(with_succeeded=False):
                has_open_end |= not self._note(tally, portion, chunk, position, outcome)
        self._outcome.tally.add(tally)
        if portion.unreadable:
            self._problem(portion.unreadable)
            self._outcome.unreadable.append(portion.unreadable)
        if self._failed is not None:
            self._failed.flush()
        if not self._has_gap:
            self._settled_end = portion.end
        # What was given up for haste only is for the next run, which knows it by its ids.
        self._is_frozen |= self._sender.is_hurrying and self._options.shape.add_ids and has_open_end
        if not self._is_frozen:
            self._state.tally.add(tally)
            self._state.place = portion.end
            self._state.failed_bytes = self._failed_bytes()
            # What cannot be read now may be read by the next run: there it goes on.
            self._is_frozen = bool(portion.unreadable)
            if time.monotonic() - self._saved_at >= _CHECKPOINT_INTERVAL_S:
                self._save()
        self._meter.update(self._outcome.tally, portion.position)
        if self._unanswered >= _MAX_UNANSWERED_ROUNDS * self._options.threads and self._outcome.stopped is None:
            self._stop(f"{self._unanswered} requests in a row had no answer", None)

    def _fatal_error(self, settled: Settled) -> Exception | None:
        """What failed the whole request, none of which was executed, and would fail the next one."""
        if settled.succeeded:
            self._unanswered = 0
            return None
        failures = [outcome for _, outcome in settled.outcomes(with_succeeded=False)]
        if not all(isinstance(failure, Failure) for failure in failures):
            self._unanswered = 0
            return None
        failure = failures[0]
        assert isinstance(failure, Failure)
        if any(isinstance(each, Failure) and each.unknown for each in failures):
            self._unanswered += 1
            return None
        self._unanswered = 0
        if any(isinstance(each, Failure) and each.is_refusal for each in failures):
            return None
        meaning = meaning_of(failure.error)
        is_fatal = meaning in (Meaning.UNREACHED, Meaning.THROTTLED) or (
            meaning is Meaning.REFUSED and (failure.status in (401, 403, 404, "N/A") or not self._outcome.tally.indexed)
        )
        return failure.error if is_fatal else None

    def _note(self, tally: Tally, portion: Portion, chunk: Chunk, position: int, outcome: Any) -> bool:
        """Account for a document that does not seem to be in; whether sending it again could change nothing."""
        if not isinstance(outcome, Failure) and outcome[0]:
            return True
        told = told_of(outcome)
        if isinstance(outcome, Failure):
            is_final = not told.unknown and meaning_of(outcome.error) in (Meaning.REFUSED, Meaning.TOO_LARGE)
        else:
            is_final = not told.unknown and told.status not in RETRIABLE_ITEM_STATUSES
            [op_type] = outcome[1]
            if (op_type, told.status) in _DONE_BEFORE and self._may_be_sent_before(portion, position):
                tally.indexed += 1
                return True
        if told.unknown:
            tally.unknown += 1
        else:
            tally.refused += 1
        tally.statuses[str(told.status)] = tally.statuses.get(str(told.status), 0) + 1
        file, line, element = portion.origin_of(position)
        self._problem(
            _label(file, line, element) + (": may or may not be in: " if told.unknown else ": ") + told.reason
        )
        if self._failed is not None:
            options = self._options
            lines = document_lines(chunk, position, index=options.shape.index, pipeline=options.pipeline)
            self._failed.write(told.line(_origin(file, line, element)) + lines)
        return is_final

    def _may_be_sent_before(self, portion: Portion, position: int) -> bool:
        """Whether an earlier run, that was killed, may have sent this document already."""
        file, line, element = portion.origin_of(position)
        number = self._plan.files.index(file)
        before = self._resumed_sent
        if number != before.file:
            return number < before.file
        return element <= before.element if element else line <= before.line

    def _note_malformed(self, tally: Tally, file: File, malformed: Malformed) -> None:
        tally.malformed += 1
        line, element = malformed.line, malformed.element
        self._problem(f"{_label(file, line, element)}: {malformed.reason}")
        if self._failed is not None:
            self._failed.write(malformed_line(_origin(file, line, element), malformed.text, malformed.reason))

    def _failed_bytes(self) -> int:
        if self._failed is None or self._checkpoint is None:
            return 0
        return self._failed.tell()

    def _save(self) -> None:
        """Write the checkpoint, after what it speaks of."""
        if self._checkpoint is None:
            return
        if self._failed is not None:
            self._failed.flush()
            os.fsync(self._failed.fileno())
        self._checkpoint.state = self._state
        self._checkpoint.save()
        self._saved_at = time.monotonic()

    # --- how it ends, and what it says

    def _stop(self, reason: str, portion: Portion | None) -> None:
        """Send nothing more. Without an outcome are the documents of `portion`, if one is given, and those after."""
        if self._outcome.stopped is None:
            if portion is not None:
                reason += f"; nothing of the request that begins at {_label(*portion.origin_of(0))} is in"
            self._outcome.stopped = reason
        if portion is not None:
            self._is_frozen = self._has_gap = True
        self._sender.hurry()

    def _stop_for(self, error: OSError) -> None:
        self._is_frozen = self._has_gap = True
        self._state.finished = False
        files = " or ".join(filter(None, (self._options.failed, self._options.checkpoint)))
        self._outcome.stopped = f"{files} cannot be written: {error.strerror}"
        self._sender.hurry()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(number: int, _: FrameType | None) -> None:
            if self._outcome.signal is not None:
                self._meter.stop()
                self._end_at_once()
                os._exit(128 + number)
            self._outcome.signal = number
            with suppress(OSError):  # not by a buffered writer, which may be what was interrupted
                os.write(2, b"stopping: waiting for the requests in flight; the same signal again ends at once\n")
            if self._outcome.stopped is None:
                self._outcome.stopped = signal.Signals(number).name
            self._sender.hurry()
            if self._is_reading:
                self._is_reading = False
                raise _Interrupted

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _label(self, place: Place) -> str:
        if place.file >= len(self._plan.files):
            return "the end"
        return _label(self._plan.files[place.file], place.line + 1, place.element and place.element + 1)

    def _problem(self, text: str) -> None:
        self._named += 1
        if self._named <= MAX_NAMED:
            self._say(text)
        elif self._named == MAX_NAMED + 1:
            self._say("further ones are counted, not named")

    def _say(self, text: str) -> None:
        with suppress(OSError):  # to say something is not what it is about
            click.echo(text, err=True)


def _label(file: File, line: int, element: int) -> str:
    return f"{file.name}:{line}" + (f" (element {element})" if element else "")


def _origin(file: File, line: int, element: int) -> dict[str, Any]:
    return {"file": file.name, "line": line, **({"element": element} if element else {})}
