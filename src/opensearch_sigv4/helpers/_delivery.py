"""What becomes of the documents of one chunk: when they are sent, when they are sent again, and with what outcome.

No input or output happens here. `deliver` is a generator that says what to send or how long to wait, and is told the
answer; the synchronous and the asynchronous helpers drive the same one.

    the answer, or its lack                       the documents concerned
    --------------------------------------------  ---------------------------------------------------------------------
    item 2xx                                      done
    item 402, 429, 503                            not executed: again
    any other item                                refused
    429, 402, 403 "throttled"; no connection      not executed: again
    413                                           not executed: in two halves; a single document is refused
    reset, timeout, 502, 503, 504, no JSON        unknown: again if they may be executed twice, and then a 409 of a
                                                  create and a 404 of a delete mean that the first time did it
    another number of items than documents        unknown
    any other status                              opensearch-py's exception
"""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from opensearchpy.exceptions import SerializationError, TransportError
from opensearchpy.helpers import BulkIndexError

from .. import core
from ..responses import RETRIABLE_ITEM_STATUSES, Meaning, meaning_of, size_limit
from ._documents import Chunk, identity_of, is_repeatable, metadata_of

try:
    from orjson import loads as _orjson_loads
except ModuleNotFoundError:
    _orjson_loads = json.loads  # type: ignore[assignment]

Answer = str | bytes | dict[str, Any]
Item = dict[str, Any]

# What an item's status is taken for where the answer has none, as opensearch-py does.
_NO_STATUS: Final = 500
# Of an answer that cannot be read, in the exception that says so.
_MAX_QUOTED: Final = 500
# On the second attempt these say that the first one, whose answer was lost, was executed.
_DONE_BEFORE: Final = {("create", 409), ("delete", 404)}


@dataclass(frozen=True, slots=True)
class Send:
    """Send this body, and answer with what came back or with the exception."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for so long."""

    seconds: float


@dataclass
class Policy:
    """How often and how fast to send again; shared by the chunks of one call.

    Attributes:
        max_retries: how often one document is sent again; with 0 nothing is, in whatever form.
        initial_backoff: seconds before the first repetition; each further one waits twice as long.
        max_backoff: seconds that no wait exceeds.
        retry_unknown: also repeat what may then be executed twice.
        size_limit: bytes that the endpoint is known to accept; a 413 teaches it.
        throttled: called when the domain asks for less.
    """

    max_retries: int
    initial_backoff: float
    max_backoff: float
    retry_unknown: bool
    size_limit: int
    throttled: Callable[[], None] = lambda: None

    def backoff_s(self, attempt: int) -> float:
        """Seconds to wait after this attempt, counted from 0: between half of the exponential delay and all of it."""
        delay = min(self.max_backoff, self.initial_backoff * 2.0 ** min(attempt, 64))
        return delay * random.uniform(0.5, 1)  # noqa: S311 - no secret


@dataclass(frozen=True)
class Failure:
    """The outcome of a document whose request got no answer that tells of it."""

    error: Exception
    unknown: bool
    is_refusal: bool = False  # of this one document, so that it is an error of the document's, not an exception

    @property
    def status(self) -> Any:
        return getattr(self.error, "status_code", "N/A")

    @cached_property
    def text(self) -> str:
        """What the exception says: one text for all documents that have it, which may be many, and it long."""
        return str(self.error)

    def as_item(self, chunk: Chunk, position: int) -> Item:
        """What opensearch-py's helpers report for such a document, and whether it is unknown."""
        _forget_frames(self.error)
        try:
            op_type, metadata = metadata_of(chunk.action(position))
        except ValueError:  # whatever a callback returned
            op_type, metadata = "action", {}
        info: dict[str, Any] = {"error": self.text, "status": self.status, "exception": self.error}
        data = chunk.datum(position)
        if data is not None:
            info["data"] = data
        if self.unknown:
            info["unknown"] = True
        return {op_type: {**info, **metadata}}


@dataclass(frozen=True, slots=True)
class Rules:
    """When the helpers raise: opensearch-py's arguments of these names."""

    raise_on_error: bool
    raise_on_exception: bool
    ignore_status: Sequence[int]

    def refuses(self, status: Any) -> bool:
        """Whether a document that failed with this status ends in a BulkIndexError."""
        return self.raise_on_error and status not in self.ignore_status

    def raises_exception(self, failure: Failure) -> bool:
        """Whether the exception of the request is raised for it."""
        return self.raise_on_exception and not failure.is_refusal and failure.status not in self.ignore_status


class Settled:
    """The outcomes of a chunk's documents, in their order.

    Args:
        chunk: the chunk.
        answer: the one answer to all its documents, read only as far as something failed: `failed` holds those, by
            index. Or else:
        outcomes: of each document its own.
    """

    __slots__ = ("_answer", "_failed", "_outcomes", "chunk", "succeeded")

    def __init__(
        self,
        chunk: Chunk,
        *,
        answer: Answer = "",
        failed: Sequence[tuple[int, Item]] = (),
        outcomes: Sequence[Outcome] | None = None,
    ) -> None:
        self.chunk, self._answer, self._failed, self._outcomes = chunk, answer, failed, outcomes
        #: How many documents succeeded.
        self.succeeded = len(chunk) - len(failed)
        if outcomes is not None:
            self.succeeded = sum(isinstance(outcome, tuple) and outcome[0] for outcome in outcomes)

    def outcomes(self, with_succeeded: bool = True) -> Iterable[tuple[int, Outcome]]:
        """(index, outcome) of the documents, or of those at least that did not succeed."""
        if self._outcomes is not None:
            return enumerate(self._outcomes)
        if not with_succeeded:
            return [(index, (False, item)) for index, item in self._failed]
        failed = {index: (False, item) for index, item in self._failed}
        return [(index, failed.get(index) or (True, item)) for index, item in enumerate(_items(self._answer))]

    def raises(self, rules: Rules) -> bool:
        """Whether `results` is going to raise."""
        return any(
            rules.raises_exception(outcome) or rules.refuses(outcome.status)
            if isinstance(outcome, Failure)
            else not outcome[0] and rules.refuses(_status(outcome[1]))
            for _, outcome in self.outcomes(with_succeeded=False)
        )

    def results(self, rules: Rules, yield_ok: bool = True) -> Iterator[tuple[bool, Item]]:
        """Yield (ok, {op_type: item}) for each document, and raise at the end, as opensearch-py's helpers do.

        Raises:
            TransportError: what the request of a document raised, once the chunk's other documents were yielded.
            BulkIndexError: its `errors` hold the documents that failed.
        """
        if self._outcomes is None and not self._failed:  # what usually happens
            if yield_ok:
                for item in _items(self._answer):
                    yield True, item
            return
        errors: list[Item] = []
        exception: Exception | None = None
        for index, outcome in self.outcomes(with_succeeded=yield_ok):
            if isinstance(outcome, Failure):
                if rules.raises_exception(outcome):
                    exception = exception or outcome.error
                    continue
                ok, item = False, outcome.as_item(self.chunk, index)
            else:
                ok, item = outcome
            if not ok and rules.refuses(_status(item)):
                data = self.chunk.datum(index)
                if data is not None:
                    _read_item(item)[1]["data"] = data
                errors.append(item)
            elif (ok or not errors) and (yield_ok or not ok):
                yield ok, item
        bulk_error = BulkIndexError(f"{len(errors)} document(s) failed to index.", errors) if errors else None
        if exception is not None:
            raise exception from (bulk_error or exception.__cause__)
        if bulk_error is not None:
            raise bulk_error


Outcome = tuple[bool, Item] | Failure
Step = Send | Wait
Reply = Answer | Exception | None


def deliver(chunk: Chunk, policy: Policy) -> Generator[Step, Reply, Settled]:
    """Say what to do for a chunk until each of its documents has an outcome, and return those.

    Yields:
        Send: to be answered with what came back, or with the exception of opensearch-py that came instead.
        Wait: to be answered with None.
    """
    return _Delivery(chunk, policy).steps()


class _Delivery:
    def __init__(self, chunk: Chunk, policy: Policy) -> None:
        self._chunk, self._policy = chunk, policy
        self._outcomes: dict[int, Outcome] = {}
        self._in_doubt: set[int] = set()  # documents that an attempt without an answer may have executed

    def steps(self) -> Generator[Step, Reply, Settled]:
        chunk, policy = self._chunk, self._policy
        # What is still to be sent, the next at the end, and how often it was sent before.
        parts: list[tuple[Sequence[int], int]] = [(range(len(chunk)), 0)]
        while parts:
            positions, attempt = parts.pop()
            reply = yield Send(chunk.body_of(positions))
            if reply is None:
                reply = ""
            can_repeat = attempt < policy.max_retries
            if isinstance(reply, Exception):
                if can_repeat and len(positions) > 1 and meaning_of(reply) is Meaning.TOO_LARGE:
                    parts += [(part, attempt) for part in reversed(self._split(positions, reply))]
                    continue
                again = self._unanswered(positions, reply, can_repeat)
            else:
                try:
                    count, failed = _read(reply)
                except ValueError as error:
                    again = self._unanswered(positions, self._unreadable(positions, reply, error), can_repeat)
                else:
                    # A part's answer may have as many items as the chunk, and yet tells of the part only.
                    is_whole = attempt == 0 and count == len(positions) == len(chunk)
                    if is_whole and not any(_needs_care(item, can_repeat) for _, item in failed):
                        return Settled(chunk, answer=reply, failed=failed)
                    again = self._answered(positions, reply, count, dict(failed), can_repeat)
            if again:
                yield Wait(policy.backoff_s(attempt))
                parts.append((again, attempt + 1))
        return Settled(chunk, outcomes=[self._outcomes[position] for position in range(len(chunk))])

    def _answered(
        self, positions: Sequence[int], reply: Answer, count: int, failed: dict[int, Item | None], can_repeat: bool
    ) -> list[int]:
        """Note the outcomes that an answer tells, and return the positions to be sent again."""
        if count != len(positions):
            name = self._chunk.name_of(positions)
            error = TransportError("N/A", f"the answer to {name} of the input has {count} items, not {len(positions)}")
            self._outcomes |= dict.fromkeys(positions, Failure(error, unknown=True))
            return []
        again = []
        for index, item in enumerate(_items(reply)):
            position = positions[index]
            if index not in failed:
                self._outcomes[position] = (True, item)
                continue
            op_type, info = _read_item(item)
            status = info.get("status", _NO_STATUS)
            if op_type is None:
                name = self._chunk.name_of([position])
                error = TransportError("N/A", f"the answer to {name} of the input is no outcome: {item!r}")
                self._outcomes[position] = Failure(error, unknown=True)
            elif self._was_done_before(position, op_type, status):
                self._outcomes[position] = (True, item)
            else:
                self._outcomes[position] = (False, item)
                if status in RETRIABLE_ITEM_STATUSES and can_repeat:
                    again.append(position)
                elif position in self._in_doubt:
                    info["unknown"] = True
        if again:
            self._policy.throttled()
        return self._in_order(again)

    def _was_done_before(self, position: int, op_type: str, status: Any) -> bool:
        """Whether the answer to a repetition says that the first attempt, whose answer was lost, was executed."""
        if position not in self._in_doubt or (op_type, status) not in _DONE_BEFORE:
            return False
        # Of two that create one document, the second is refused in any case.
        return self._identities.index(self._identities[position]) == position

    def _in_order(self, again: list[int]) -> list[int]:
        """Those to be sent again, but for one after which another of the same id was executed, or may have been.

        To repeat it would undo the later one; it keeps the outcome that it has.
        """
        if not again:
            return again
        waiting = set(again)
        latest: dict[Any, int] = {}
        for position, outcome in self._outcomes.items():
            is_executed = outcome.unknown if isinstance(outcome, Failure) else outcome[0]
            if position not in waiting and is_executed:
                identity = self._identities[position]
                latest[identity] = max(position, latest.get(identity, -1))
        latest.pop(None, None)
        return [position for position in again if latest.get(self._identities[position], -1) < position]

    @cached_property
    def _identities(self) -> list[Any]:
        """What tells the chunk's documents from each other, None for those without an id. Only faults ask for it."""
        return [identity_of(self._chunk.action(position)) for position in range(len(self._chunk))]

    def _unreadable(self, positions: Sequence[int], answer: Answer, error: ValueError) -> SerializationError:
        """opensearch-py's exception for an answer that is no JSON, with no more than the beginning of it."""
        name = self._chunk.name_of(positions)
        return SerializationError(str(answer)[:_MAX_QUOTED], ValueError(f"the answer to {name} of the input: {error}"))

    def _unanswered(self, positions: Sequence[int], error: Exception, can_repeat: bool) -> list[int]:
        """Note the outcomes where no answer tells them, and return the positions to be sent again."""
        meaning = meaning_of(error)
        again: list[int] = []
        if meaning is Meaning.THROTTLED:
            self._policy.throttled()
        if meaning is Meaning.UNKNOWN:
            self._in_doubt.update(positions)
            if can_repeat:
                again = [p for p in positions if self._policy.retry_unknown or is_repeatable(self._chunk.action(p))]
        elif can_repeat and meaning in (Meaning.THROTTLED, Meaning.UNREACHED):
            again = list(positions)
        # With nothing to be repeated this is opensearch-py's exception, whatever its status.
        is_refusal = meaning is Meaning.TOO_LARGE and self._policy.max_retries > 0
        failures = {unknown: Failure(error, unknown, is_refusal) for unknown in (False, True)}
        for position in positions:
            self._outcomes[position] = failures[position in self._in_doubt]
        return self._in_order(again)

    def _split(self, positions: Sequence[int], error: Exception) -> list[Sequence[int]]:
        """Cut what was too large into parts within the limit that the domain names, else into halves."""
        size = sum(map(self._chunk.size_of, positions))
        assert isinstance(error, TransportError)
        limit = size_limit(error)
        if limit is None or limit >= size:
            limit = size // 2
        self._policy.size_limit = min(self._policy.size_limit, limit)
        parts: list[list[int]] = []
        room = 0
        for position in positions:
            needed = self._chunk.size_of(position)
            if needed > room:
                parts.append([])
                room = limit
            parts[-1].append(position)
            room -= needed
        return list(parts)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of an exception that is only reported hold: the request's body, above all."""
    seen: list[BaseException] = []
    while error is not None and not any(error is other for other in seen):
        seen.append(error)
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _needs_care(item: Item | None, can_repeat: bool) -> bool:
    op_type, info = _read_item(item)
    return op_type is None or (can_repeat and info.get("status") in RETRIABLE_ITEM_STATUSES)


def _read_item(item: Any) -> tuple[str | None, dict[str, Any]]:
    """The type and the content of an item, `{"index": {...}}`; (None, {}) for what is no such thing."""
    if isinstance(item, dict) and len(item) == 1:
        [(op_type, info)] = item.items()
        if isinstance(info, dict):
            return op_type, info
    return None, {}


def _read(answer: Answer) -> tuple[int, list[tuple[int, Any]]]:
    """How many items an answer has, and (index, item) of those that failed.

    Raises:
        ValueError: no JSON.
    """
    if not isinstance(answer, dict):
        try:
            count, failed = core.scan_bulk_answer(answer)
            return count, [(index, _loads(raw)) for index, raw in failed]
        except ValueError:
            answer = _loads(answer)  # with a lone surrogate, which opensearch-py lets through; or no JSON at all
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    items = answer.get("items")
    if not isinstance(items, list):
        return 0, []
    return len(items), [(index, item) for index, item in enumerate(items) if not _is_done(item)]


def _items(answer: Answer) -> list[Any]:
    """All items of an answer that `_read` has read."""
    parsed = answer if isinstance(answer, dict) else _loads(answer)
    return parsed["items"]  # type: ignore[no-any-return]


def _loads(text: str | bytes) -> Any:
    try:
        return _orjson_loads(text)
    except ValueError:  # a lone surrogate, which json takes
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("nested too deep") from None


def _is_done(item: Any) -> bool:
    _, info = _read_item(item)
    status = info.get("status")
    return type(status) is int and 200 <= status < 300


def _status(item: Item) -> Any:
    return _read_item(item)[1].get("status", _NO_STATUS)
