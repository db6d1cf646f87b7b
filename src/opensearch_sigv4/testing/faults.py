"""`Fault`: what a LocalDomain does wrong when asked to, and what becomes of a `_bulk` request by it. Sans-I/O."""

from __future__ import annotations

import gzip
import json
import re
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, unquote_plus

TIMEOUT_LIMIT_S = 60.0
PIECES = 10
_MAX_STATUS = 599


@dataclass(frozen=True)
class BulkAction:
    """One action of a `_bulk` request, as `Fault.documents` shows it.

    Args:
        position: where its item stands in the answer, from 0.
        action: `"index"`, `"create"`, `"update"` or `"delete"`.
        index: the index that the action or the URL names; `""` if neither does.
        id: the document's id, None if the node is to make one.
        metadata: the action's metadata, such as `{"_id": "1", "if_seq_no": 3}`.
        source: the line after the action; empty for `delete`.

    Thread-safety: immutable, but for `metadata`, which is not to be changed.
    """

    position: int
    action: str
    index: str
    id: str | None
    metadata: Mapping[str, Any]
    source: bytes


_DOCUMENT_ERRORS = {
    400: ("mapper_parsing_exception", "failed to parse"),
    402: ("service_quota_exceeded_exception", "maximum OCU capacity reached"),
    403: ("cluster_block_exception", "index blocked by: [FORBIDDEN/8/index write (api)];"),
    404: ("index_not_found_exception", "no such index"),
    409: ("version_conflict_engine_exception", "version conflict, document already exists"),
    429: ("rejected_execution_exception", "rejected execution of coordinating operation"),
    503: ("unavailable_shards_exception", "primary shard is not active"),
}


@dataclass(frozen=True)
class DocumentError:
    """What the item of one document in a `_bulk` answer says went wrong.

    Args:
        status: the item's status.
        type: the error's type; for 400, 402, 403, 404, 409, 429 and 503 one that OpenSearch gives with that status,
            unless given. 429 is `rejected_execution_exception`; Elasticsearch says `es_rejected_execution_exception`.
        reason: the error's reason, likewise.

    Thread-safety: immutable.
    """

    status: int
    type: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if not 400 <= self.status <= _MAX_STATUS:
            raise ValueError(f"status must be that of an error (400 to {_MAX_STATUS}), not {self.status}")
        default_type, default_reason = _DOCUMENT_ERRORS.get(self.status, ("exception", "injected by LocalDomain"))
        object.__setattr__(self, "type", self.type or default_type)
        object.__setattr__(self, "reason", self.reason or default_reason)


IDS_REFUSED = "Document ID is not supported in create/index operation request"  # argilla#3251, langchainjs#4346

# As in opensearch-py#186 and the Security plugin's documentation.
_FORBIDDEN = {
    "policy": json.dumps(
        {
            "Message": "User: arn:aws:iam::111122223333:user/example is not authorized to perform: es:ESHttpPost "
            "because no resource-based policy allows the es:ESHttpPost action"
        }
    ),
    "roles": json.dumps(
        {
            "error": {
                "root_cause": [{"type": "security_exception", "reason": "REASON"}],
                "type": "security_exception",
                "reason": "REASON",
            },
            "status": 403,
        }
    ).replace(
        "REASON",
        "no permissions for [indices:data/write/bulk] and User [name=arn:aws:iam::111122223333:user/example, "
        "backend_roles=[], requestedTenant=null]",
    ),
}

Choose = Callable[[BulkAction], "DocumentError | int | None"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong with one request; what `LocalDomain(faults=...)` returns. Made by the class methods.

    They set the fields below; `dataclasses.replace` combines two of them, such as documents refused in an answer that
    is then lost: `replace(Fault.documents(choose), ending="reset")`.

    Args:
        clock_offset_s: by how much the domain's clock is ahead while it judges this request and dates its answer.
        region: the region that the request has to be signed for, None for the domain's.
        service: the service, likewise.
        refusal: the error code and message with which the request is refused, however well it is signed.
        executed: whether the node gets the request.
        ending: `"answer"`; `"reset"`, the connection is reset (RST) instead; `"silence"`, nothing is sent.
        status: the status to answer with, None for the node's answer.
        message: the answer's text, None for AWS's with that status.
        content: the JSON of an answer with `status`, which a domain of `es` gives in place of a text.
        headers: headers of an answer with `status`.
        delay_s: how long the answer waits once the node has given it; for `"silence"`, after how long it ends.
        over_s: how long the sending of the answer's body takes, ten pieces of it.
        sent: how much of the answer's body is sent, from 0.0 to 1.0.
        is_length_right: whether `Content-Length` is that of what is sent, or of the whole answer.
        limit_bytes: the largest body that is executed; the answer to others is 413.
        is_kept_alive: whether the connection, kept alive, gets an answer to its next request.
        refuses_ids: whether requests that index or create one document with an id are refused.
        choose: which documents of a `_bulk` request fail, and how.

    Raises:
        ValueError: a number is out of its range.

    Thread-safety: immutable; `choose` is called as `LocalDomain` calls `faults`.

    >>> Fault.answer(429).executed, Fault.answer(503, executed=True).executed
    (False, True)
    """

    clock_offset_s: float = 0.0
    region: str | None = None
    service: str | None = None
    refusal: tuple[str, str] | None = None
    executed: bool = True
    ending: Literal["answer", "reset", "silence"] = "answer"
    status: int | None = None
    message: str | None = None
    content: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    over_s: float = 0.0
    sent: float = 1.0
    is_length_right: bool = True
    choose: Choose | None = None
    limit_bytes: int | None = None
    is_kept_alive: bool = True
    refuses_ids: bool = False

    def __post_init__(self) -> None:
        if self.ending not in ("answer", "reset", "silence"):
            raise ValueError(f"ending must be 'answer', 'reset' or 'silence', not {self.ending!r}")
        if self.status is not None and not 200 <= self.status <= _MAX_STATUS:
            raise ValueError(f"status must be 200 to {_MAX_STATUS}, not {self.status}")
        if not 0 <= self.sent <= 1:
            raise ValueError(f"sent must be 0.0 to 1.0, not {self.sent}")
        if not (self.delay_s >= 0 and self.over_s >= 0):
            raise ValueError("delay_s and over_s must not be negative")
        if not self.executed and self.ending == "answer" and self.status is None:
            raise ValueError("a request that is not executed has no answer but one with a status")

    @property
    def judges(self) -> bool:
        """Whether it changes how a request is judged, and so concerns refused requests, too."""
        return bool(self.clock_offset_s or self.region or self.service or self.refusal)

    @classmethod
    def skewed(cls, offset_s: float) -> Fault:
        """The domain's clock is `offset_s` ahead: more than 300 s off, what is signed by another clock is refused.

        So is what was signed well before; what is signed by the `Date` of the refusal passes.
        """
        return cls(clock_offset_s=offset_s)

    @classmethod
    def expired(cls) -> Fault:
        """The request's credentials are refused as expired."""
        return cls(refusal=("ExpiredTokenException", "The security token included in the request is expired"))

    @classmethod
    def unrecognized(cls) -> Fault:
        """The request's access key, or its session token, is not known."""
        return cls(refusal=("UnrecognizedClientException", "The security token included in the request is invalid."))

    @classmethod
    def wrong_region(cls, region: str = "eu-west-1") -> Fault:
        """The domain is one of another region."""
        return cls(region=region)

    @classmethod
    def wrong_service(cls, service: str = "aoss") -> Fault:
        """The domain is one of another service."""
        return cls(service=service)

    @classmethod
    def throttled(cls, status: int = 429, *, retry_after_s: int | None = None) -> Fault:
        """Too many requests: 429, 403 as `es` has it, too, or 402 as `aoss` has it without capacity; not executed."""
        if status not in (402, 403, 429):
            raise ValueError(f"status must be 402, 403 or 429, not {status}")
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        return cls.answer(status, headers=headers)

    @classmethod
    def forbidden(cls, by: Literal["policy", "roles"] = "policy") -> Fault:
        """The signature is good, and its owner may not do that: by IAM and access policies, or by OpenSearch's roles.

        A collection tells neither.
        """
        if by not in _FORBIDDEN:
            raise ValueError(f"by must be 'policy' or 'roles', not {by!r}")
        return cls(status=403, content=_FORBIDDEN[by], executed=False)

    @classmethod
    def too_large(cls, limit_bytes: int = 0) -> Fault:
        """A body of more bytes is refused with 413; others are executed."""
        return cls(limit_bytes=limit_bytes)

    @classmethod
    def stale(cls) -> Fault:
        """The node's answer; then the connection, kept alive, is reset when the next request comes on it.

        That one is neither read, recorded nor executed: as by a load balancer that closed it in that moment.
        """
        return cls(is_kept_alive=False)

    @classmethod
    def ids_refused(cls) -> Fault:
        """Documents that are indexed or created with an id are refused, as by time-series and vector collections."""

        def choose(action: BulkAction) -> DocumentError | None:
            has_id = action.id is not None and action.action in ("index", "create")
            return DocumentError(400, "illegal_argument_exception", IDS_REFUSED) if has_id else None

        return cls(choose=choose, refuses_ids=True)

    @classmethod
    def reset(cls, *, executed: bool = False) -> Fault:
        """The connection is reset once the request is read: before the node sees it, or after, its answer lost."""
        return cls(ending="reset", executed=executed)

    @classmethod
    def timeout(cls, *, executed: bool = False, limit_s: float = TIMEOUT_LIMIT_S) -> Fault:
        """No answer until the client gives up, the domain closes, or `limit_s` is over; then a reset."""
        return cls(ending="silence", executed=executed, delay_s=limit_s)

    @classmethod
    def answer(
        cls,
        status: int,
        message: str | None = None,
        *,
        executed: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """An answer with this status in the shape that the service gives it, whether the node executed it or not.

        `message` stands in the shape's place for it, by default as AWS words it: of 403, that the request was
        throttled; of 413, that it exceeds the domain's `client_max_size`.
        """
        return cls(status=status, message=message, executed=executed, headers=tuple((headers or {}).items()))

    @classmethod
    def slow(cls, delay_s: float = 0.0, *, over_s: float = 0.0) -> Fault:
        """The node's answer `delay_s` late, its body in pieces over `over_s`."""
        return cls(delay_s=delay_s, over_s=over_s)

    @classmethod
    def truncated(cls, sent: float = 0.5) -> Fault:
        """The node's answer with its whole `Content-Length`, of whose body a part comes before the connection ends."""
        return cls(sent=sent, is_length_right=False)

    @classmethod
    def cut(cls, sent: float = 0.5) -> Fault:
        """A whole HTTP answer whose body is a part of the node's, such as JSON that ends in the middle."""
        return cls(sent=sent)

    @classmethod
    def documents(cls, choose: Choose) -> Fault:
        """Chosen documents of a `_bulk` request fail and do not reach the node, the others do.

        Args:
            choose: called with each `BulkAction` in order; returns a `DocumentError`, a status for
                `DocumentError(status)`, or None for a document that is to be executed.

        Other requests, and bodies that are no bulk (a wrong line, an encoding other than gzip), are passed on as they
        are: the node judges them.
        """
        return cls(choose=choose)


def in_turn(*faults: Fault | None) -> Callable[[Any], Fault | None]:
    """For `LocalDomain(faults=...)`: the first fault for the first request, and so on; after the last one nothing.

    None is a request that nothing happens to. A request that the domain refuses anyway takes no turn of a fault which
    does not concern it.

    >>> faults = in_turn(Fault.throttled(), None, Fault.reset(executed=True))
    """
    left = list(faults)

    def fault_of(request: Any) -> Fault | None:
        if not left or (request.verdict != "verified" and not (left[0] is not None and left[0].judges)):
            return None
        return left.pop(0)

    return fault_of


_DOCUMENT_PATH = re.compile(r"/[^/]+/_(?:doc|create)/[^/]+/?")


def names_a_document(method: str, target: bytes) -> bool:
    """Whether a request indexes or creates one document with an id."""
    path = target.decode("utf-8", "surrogateescape").partition("?")[0]
    return method in ("PUT", "POST") and _DOCUMENT_PATH.fullmatch(path) is not None


# --- a `_bulk` request in two parts, and its answer in one -----------------------------------------------------

_BULK_PATH = re.compile(r"(?:/([^/]+))?/_bulk/?")
_DECODERS: dict[bytes, Callable[[bytes], bytes]] = {b"": bytes, b"identity": bytes, b"gzip": gzip.decompress}
_ACTIONS = frozenset(("index", "create", "update", "delete"))


@dataclass(frozen=True)
class DividedBulk:
    """A `_bulk` request some of whose documents fail: what the node gets, and what becomes of its answer.

    The node gets no `filter_path`, under which items could be missing from its answer, nor may it compress that.
    """

    actions: Sequence[BulkAction]
    errors: Mapping[int, DocumentError]
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    filter_paths: Sequence[str]

    def merged(self, content: bytes | None) -> bytes | None:
        """The answer's body with every document's item in its place; None if `content` is no such answer.

        Args:
            content: the node's answer; None where it got nothing.
        """
        try:
            answer: Any = {"took": 0, "items": []} if content is None else json.loads(content)
            given = iter(answer["items"])
            items = [
                _failed(action, self.errors[action.position]) if action.position in self.errors else next(given)
                for action in self.actions
            ]
            if next(given, None) is not None:
                return None
        except (ValueError, LookupError, TypeError, StopIteration):
            return None
        merged = {**answer, "errors": True, "items": items}
        return json.dumps(filtered(merged, self.filter_paths), ensure_ascii=False, separators=(",", ":")).encode()


def divide(
    method: str, target: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes, choose: Choose
) -> DividedBulk | None:
    """Ask `choose` about every document; None where it chose none, and for what is no readable `_bulk` request."""
    path, _, query = target.decode("utf-8", "surrogateescape").partition("?")
    match = _BULK_PATH.fullmatch(path)
    if match is None or method not in ("POST", "PUT"):
        return None
    encoding = b"".join(value.strip().lower() for name, value in headers if name.lower() == b"content-encoding")
    try:
        actions, lines = _parsed(_DECODERS[encoding](body), unquote(match[1] or ""))
    except (LookupError, ValueError, TypeError, OSError, EOFError, zlib.error, RecursionError):
        return None
    errors = {}
    for action in actions:
        error = choose(action)
        if error is not None:
            errors[action.position] = DocumentError(error) if isinstance(error, int) else error
    if not errors:
        return None
    pairs = [pair for pair in query.split("&") if pair]
    kept = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) != "filter_path"]
    return DividedBulk(
        actions=actions,
        errors=errors,
        target="?".join([path, *(["&".join(kept)] if kept else [])]).encode("utf-8", "surrogateescape"),
        headers=tuple(pair for pair in headers if pair[0].lower() not in (b"content-encoding", b"accept-encoding")),
        body=b"".join(lines[action.position] for action in actions if action.position not in errors),
        filter_paths=[
            pattern for name, value in parse_qsl(query) if name == "filter_path" for pattern in value.split(",")
        ],
    )


def _parsed(body: bytes, default_index: str) -> tuple[list[BulkAction], list[bytes]]:
    """The actions of a bulk body, and the lines of each. Blank lines between actions are skipped, as by OpenSearch."""
    if not body.endswith(b"\n"):
        raise ValueError("a bulk body ends with a newline")
    lines = iter(body.split(b"\n")[:-1])
    actions: list[BulkAction] = []
    texts: list[bytes] = []
    for line in lines:
        if not line.strip():
            continue
        ((name, metadata),) = json.loads(line).items()
        if name not in _ACTIONS:
            raise ValueError("no bulk action")
        text, source = line + b"\n", b""
        if name != "delete":
            try:
                source = next(lines)
            except StopIteration:
                raise ValueError("the last action has no source") from None
            text += source + b"\n"
        document_id = metadata.get("_id")
        actions.append(
            BulkAction(
                position=len(actions),
                action=name,
                index=metadata.get("_index") or default_index,
                id=None if document_id is None else str(document_id),
                metadata=metadata,
                source=source,
            )
        )
        texts.append(text)
    return actions, texts


def _failed(action: BulkAction, error: DocumentError) -> dict[str, Any]:
    item = {
        "_index": action.index,
        "_id": uuid.uuid4().hex[:20] if action.id is None else action.id,
        "status": error.status,
        "error": {"type": error.type, "reason": error.reason},
    }
    return {action.action: item}


# --- filter_path -----------------------------------------------------------------------------------------------

_NOTHING = object()


def filtered(value: Any, patterns: Iterable[str]) -> Any:
    """`value` as OpenSearch's `filter_path` leaves it: arrays have no level of their own, what is empty is left out.

    >>> answer = {"took": 1, "errors": True, "items": [{"index": {"status": 201}}, {"index": {"error": 1}}]}
    >>> filtered(answer, ["errors", "items.*.error"])
    {'errors': True, 'items': [{'index': {'error': 1}}]}
    >>> filtered(answer, ["-took", "-items.**.error"])
    {'errors': True, 'items': [{'index': {'status': 201}}, {'index': {}}]}
    """
    includes = [_segments(pattern) for pattern in patterns if pattern and not pattern.startswith("-")]
    excludes = [_segments(pattern[1:]) for pattern in patterns if pattern.startswith("-")]
    if includes:
        value = _included(value, includes)
        if value is _NOTHING:
            return {}
    return _without(value, excludes) if excludes else value


def _segments(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.strip().split("."))


def _next(name: str, patterns: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """What is left of the patterns below the field `name`; an empty one says that all of it is meant."""
    left: list[tuple[str, ...]] = []
    for pattern in patterns:
        if not pattern:
            continue
        first, rest = pattern[0], pattern[1:]
        if first == "**":
            left.append(pattern if rest else ())
            left.extend(_next(name, [rest]))
        elif re.fullmatch(".*".join(map(re.escape, first.split("*"))), name, re.DOTALL):
            left.append(rest)
    return left


def _included(value: Any, patterns: list[tuple[str, ...]]) -> Any:
    if isinstance(value, list):
        kept_items = [kept for item in value if (kept := _included(item, patterns)) is not _NOTHING]
        return kept_items or _NOTHING
    if not isinstance(value, dict):
        return _NOTHING
    kept_fields = {}
    for name, field in value.items():
        left = _next(name, patterns)
        kept = field if () in left else _included(field, left) if left else _NOTHING
        if kept is not _NOTHING:
            kept_fields[name] = kept
    return kept_fields or _NOTHING


def _without(value: Any, patterns: list[tuple[str, ...]]) -> Any:
    if isinstance(value, list):
        return [_without(item, patterns) for item in value]
    if not isinstance(value, dict):
        return value
    left = {name: _next(name, patterns) for name in value}
    return {name: _without(field, left[name]) for name, field in value.items() if () not in left[name]}
