"""The same calls on opensearch-py's classes and on ours, and what each returned, raised, logged, warned of and sent.

A `Pair` is both over one HTTP client. `Pair.same` fails for every difference between them that it was not told of, and
for each that it was told of and that is none.
"""

import asyncio
import gzip
import hashlib
import inspect
import itertools
import logging
import re
import time
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import GeneratorType
from typing import Any
from urllib.parse import urlsplit

from botocore.credentials import Credentials
from opensearchpy import (
    VERSION,
    AsyncHttpConnection,
    AsyncOpenSearch,
    AWSV4SignerAsyncAuth,
    OpenSearch,
    TransportError,
    Urllib3AWSV4SignerAuth,
    Urllib3HttpConnection,
)
from opensearchpy.helpers import BulkIndexError

import opensearch_sigv4
from opensearch_sigv4 import AsyncSigV4HttpConnection, SigV4HttpConnection, connect
from opensearch_sigv4.testing import LocalDomain, verify
from oracles import REGION, SECRET_KEY, SESSION_KEY, TOKEN
from transports import Driven

LOGGERS = ("opensearch", "opensearchpy.trace", "opensearch_sigv4", "urllib3")

# What is another text on the two sides, or in two runs of one, and says the same.
PLAIN = [
    (r"\b(Async)?SigV4HttpConnection\b", lambda m: "AsyncHttpConnection" if m[1] else "Urllib3HttpConnection"),
    (r"\bopensearch_sigv4\._transport\.(HTTPS?Connection)", r"urllib3.connection.\1"),
    (r"0x[0-9a-f]{6,}", "0x"),
    (r"request:[0-9.]+s\]", "request:s]"),
    (r"\([0-9.]+s\)", "(s)"),
    (r'"took" ?: ?\d+', '"took":0'),
    (r"[A-Za-z0-9+/=_-]{60,}", "<long id>"),
]

# Newer versions of aiohttp warn opensearch-py of how it passes basic auth. Ours passes a header.
AIOHTTP_WARNS = re.compile(r"BasicAuth is deprecated|The 'auth' parameter is deprecated")


def plain(text, ports=()):
    """A text without what cannot be the same twice."""
    for n, port in enumerate(ports):
        text = re.sub(rf"\b{port}\b", f"PORT{n or ''}", text)
    for pattern, by in PLAIN:
        text = re.sub(pattern, by, text)
    return text


def credentials():
    """Those of a session, which `real_domain` knows."""
    return Credentials(SESSION_KEY, SECRET_KEY, TOKEN)


# --- what one call did ---------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one call did: comparable, and without what is secret or of this run alone."""

    value: Any = None
    error: dict | None = None
    logs: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def facts(self):
        """Everything, by a path such as `requests.0.headers.host`."""
        facts = {name: value for name, value in vars(self).items() if value != []}
        del facts["value" if self.error else "error"]
        return dict(_flat("", facts))


def _flat(path, value):
    if not value or not isinstance(value, (list, dict)) or path.startswith("error."):
        yield path, value
        return
    for name, child in enumerate(value) if isinstance(value, list) else value.items():
        yield from _flat(f"{path}.{name}".lstrip("."), child)


ABSENT = "<absent>"
NONE = "no difference"


@dataclass(frozen=True)
class Difference:
    """What differs on purpose.

    Args:
        path: of the fact, as in `Outcome.facts`.
        because: the reason.
        over: `"urllib3"` or `"aiohttp"`, if it is so only there.
        signed: True or False, if it is so only of signed, or of unsigned, requests.
    """

    path: str
    theirs: Any
    ours: Any
    because: str
    over: str | None = None
    signed: bool | None = None

    def concerns(self, pair):
        return self.over in (None, pair.over) and self.signed in (None, pair.signed)


@dataclass(frozen=True)
class Apart:
    """Where one raises on purpose what the other does not: the exceptions by name, None for none.

    Args:
        because, over, signed: as of a `Difference`.
    """

    theirs: str | None
    ours: str | None
    because: str
    over: str | None = None
    signed: bool | None = None

    concerns = Difference.concerns


class Like:
    """Equal to whatever has a `str` that matches a pattern."""

    def __init__(self, pattern):
        self._pattern = re.compile(pattern, re.DOTALL)

    def __eq__(self, other):
        return self._pattern.fullmatch(str(other)) is not None

    def __hash__(self):
        return hash(self._pattern)

    def __repr__(self):
        return f"Like({self._pattern.pattern!r})"


_NOTE = Difference("error.notes", ABSENT, Like(r".{2}opensearch-sigv4: .*"), "it says what to do about it")
ADVICE = [replace(_NOTE, signed=True), replace(_NOTE, over="aiohttp", signed=False)]


# --- listening -----------------------------------------------------------------------------------------------


class _Records(logging.Handler):
    def __init__(self):
        super().__init__(logging.DEBUG)
        self.records = []

    def emit(self, record):
        self.records.append(record)


@contextmanager
def _listening(level):
    handler = _Records()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield handler.records
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(before)


def take_received(server):
    """(method, target, headers, body) of each request since the last time, of a `Recorder` or a `LocalDomain`."""
    if not isinstance(server, LocalDomain):
        taken = server.received[:]
        server.received.clear()
        return taken
    taken = [
        (
            request.method,
            request.target.decode(),
            [(name.decode(), value.decode("latin-1")) for name, value in request.headers],
            request.body,
        )
        for request in server.requests
    ]
    server.reset()
    return taken


def check_signature(request):
    """What ours sign, somebody else verifies; the parents' faults are no concern of ours."""
    method, target, headers, body = request
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in headers)
    if any(name.lower() == b"authorization" and value.startswith(b"AWS4-") for name, value in raw):
        known = {SESSION_KEY: verify.Credentials(SESSION_KEY, SECRET_KEY, TOKEN)}
        verdict = verify.verify(
            method,
            target.encode("latin-1"),
            raw,
            body,
            region=REGION,
            service="es",
            find_credentials=known.get,
            now=time.time(),
        )
        assert verdict.code == verify.VERIFIED, verdict


def normal_request(request, ports=()):
    """One request with its body as it was before compression, and its signature judged in place of quoted."""
    method, target, headers, body = request
    found = {}
    for given, value in headers:
        name = given.lower()
        if name == "authorization" and value.startswith("AWS4-HMAC-SHA256 "):
            key, _, region, service, _ = re.search("Credential=([^,]*)", value)[1].split("/")
            value = f"signed by {key} for {region}/{service}"
        elif name == "x-amz-date":
            value = "now"
        elif (name, value) in (
            ("content-length", str(len(body))),
            ("x-amz-content-sha256", hashlib.sha256(body).hexdigest()),
        ):
            value = "of the body"
        found[name] = f"{found[name]} and {plain(value, ports)}" if name in found else plain(value, ports)
    if found.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    text = plain(body.decode(), ports)
    return {"method": method, "target": plain(target, ports), "headers": found, "body": text}


def normal(value, ports=()):
    """A value as plain data: an object of opensearch-py's DSL as its dict, any other as its `repr`."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return plain(value, ports)
    if isinstance(value, Mapping):
        return {str(name): normal(item, ports) for name, item in value.items() if str(name).lower() != "date"}
    if isinstance(value, (list, tuple, set, frozenset, GeneratorType)):
        return [normal(item, ports) for item in value]
    if hasattr(value, "to_dict"):
        return normal(value.to_dict(), ports)
    return plain(repr(value), ports)


def _normal_error(error, ports):
    found = {"type": type(error).__name__, "text": plain(str(error), ports)}
    if isinstance(error, TransportError):
        for name, argument in zip(("status_code", "error", "info"), error.args, strict=False):
            found[name] = normal(argument, ports)
    if isinstance(error, BulkIndexError):
        found["errors"] = normal(error.errors, ports)
    if notes := getattr(error, "__notes__", None):
        found["notes"] = [plain(note, ports) for note in notes]
    return found


def _normal_record(record, ports):
    error = record.exc_info[0].__name__ if record.exc_info else None
    return {"logger": record.name, "level": record.levelname, "text": plain(record.getMessage(), ports), "error": error}


# --- the two -------------------------------------------------------------------------------------------------


class Pair:
    """opensearch-py and ours over one HTTP client, synchronous or not, signed or not.

    Of an asynchronous client a call gets a `Driven` one, so that the same function serves both.
    """

    def __init__(self, over, signed, run=None):
        self.over, self.signed, self._run = over, signed, run
        if over == "urllib3":
            self._client, self._auth = OpenSearch, Urllib3AWSV4SignerAuth
            self.theirs, self.ours = Urllib3HttpConnection, SigV4HttpConnection
        else:
            self._client, self._auth = AsyncOpenSearch, AWSV4SignerAsyncAuth
            self.theirs, self.ours = AsyncHttpConnection, AsyncSigV4HttpConnection

    def __repr__(self):
        return f"{self.over} {'signed' if self.signed else 'unsigned'}"

    def returned(self, call, *args, **kwargs):
        """What a call returns, once that is there."""
        result = call(*args, **kwargs)
        return self._run(result) if inspect.iscoroutine(result) else result

    def signing(self, connection_class):
        """What has a connection of this class sign."""
        if not self.signed:
            return {}
        if connection_class is self.theirs:
            return {"http_auth": self._auth(credentials(), REGION)}
        return {"region": REGION, "credentials": credentials()}

    @contextmanager
    def client(self, connection_class, hosts, **options):
        options = {"connection_class": connection_class, **self.signing(connection_class), **options}
        client = self._client(hosts, **options)
        if self._run is None:
            with client:
                yield client
            return
        try:
            yield Driven(self._run(client.__aenter__()), self._run)
        finally:
            transport = client.transport
            known = [*getattr(transport.connection_pool, "orig_connections", ()), *transport.seed_connections]
            try:
                self._run(client.close())
            finally:  # it leaves open those that it takes for dead, and all if its last sniff failed
                for connection in known:
                    self._run(connection.close())

    @contextmanager
    def connection(self, connection_class, **options):
        """A connection alone."""
        connection = connection_class(**{**self.signing(connection_class), **options})
        try:
            yield connection if self._run is None else Driven(connection, self._run)
        finally:
            self.returned(connection.close)

    def outcome(self, connection_class, call, server, *, make=None, level=logging.DEBUG, **options):
        """What `call(client)` does, with the making and closing of the client, or of what else `make` makes."""
        ports = ()
        if server is not None:
            ports = [urlsplit(url).port for url in getattr(server, "urls", [server.url])]
            if make is None and connection_class is self.theirs and isinstance(server, LocalDomain) and VERSION < (3,):
                # Its own signer leaves out a header that has to be signed, and is refused.
                ours = getattr(opensearch_sigv4, self._auth.__name__)
                options.setdefault("http_auth", ours(credentials(), REGION))
            if make is None:
                options.setdefault("hosts", server.url)
        found = Outcome()
        if server is not None:
            take_received(server)
        with _listening(level) as records, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with (make or self.client)(connection_class, **options) as client:
                    found.value = normal(call(client), ports)
            except Exception as error:
                found.error = _normal_error(error, ports)
        found.logs = [_normal_record(record, ports) for record in records]
        found.warnings = [
            {"category": warning.category.__name__, "text": plain(str(warning.message), ports)}
            for warning in caught
            if connection_class is self.ours or not AIOHTTP_WARNS.match(str(warning.message))
        ]
        if server is not None:
            requests = take_received(server)
            if connection_class is self.ours and self.signed:
                for request in requests:
                    check_signature(request)
            found.requests = [normal_request(request, ports) for request in requests]
        return found

    def same(self, call, server, *, differs=(), before=None, **options):
        """The outcome of both, theirs and ours, which differ in what was told, and in nothing else.

        Args:
            differs: of `Difference` and `Apart`; what does not concern this pair is left out.
            before: is called ahead of each side, so that both find the same state.
        """
        differs = [difference for difference in differs if difference.concerns(self)]
        outcomes = []
        for connection_class in (self.theirs, self.ours):
            if before is not None:
                before()
            outcomes.append(self.outcome(connection_class, call, server, **options))
        raised = [outcome.error and outcome.error["type"] for outcome in outcomes]
        if differs and isinstance(differs[0], Apart):
            assert raised == [differs[0].theirs, differs[0].ours]
            return outcomes
        theirs, ours = (outcome.facts() for outcome in outcomes)
        if None in raised and raised != [None, None]:  # then what the other returned is no fact of both
            theirs, ours = (
                {path: fact for path, fact in facts.items() if path.split(".")[0] != "value"}
                for facts in (theirs, ours)
            )
        found = {
            path: (theirs.get(path, ABSENT), ours.get(path, ABSENT))
            for path in dict.fromkeys(itertools.chain(theirs, ours))
            if theirs.get(path, ABSENT) != ours.get(path, ABSENT)
        }
        expected = {difference.path: (difference.theirs, difference.ours) for difference in differs}
        wrong = [
            f"{path}:\n  found    {found.get(path, NONE)}\n  expected {expected.get(path, NONE)}"
            for path in found | expected
            if expected.get(path) != found.get(path)
        ]
        assert not wrong, "\n".join(["theirs and ours", *wrong])
        return outcomes


def raw(client_or_connection):
    """What a call was given, without the face that runs what it returns."""
    return client_or_connection._target if isinstance(client_or_connection, Driven) else client_or_connection


async def _abort_what_is_open():
    """opensearch-py's connections leave open what failed; that is no concern of ours, and not of later tests."""
    for transport in list(asyncio.get_running_loop()._transports.values()):
        transport.abort()
    await asyncio.sleep(0)


@contextmanager
def pair(over, signed):
    if over == "urllib3":
        yield Pair(over, signed)
        return
    with asyncio.Runner() as runner:
        try:
            yield Pair(over, signed, runner.run)
        finally:
            runner.run(_abort_what_is_open())


# --- a real node -----------------------------------------------------------------------------------------------------

# What is another one each time that it is asked for.
VOLATILE = {"took", "index_uuid", "_scroll_id", "pit_id"}
MADE = re.compile(r"(?<=/)[\w-]{22}(?=\])|(?<=with id ')[\w-]{20}(?=')|^[\w-]{20}$")


def steady(value):
    """A real node's answer without what is volatile in it."""
    if isinstance(value, dict):
        return {name: steady(item) for name, item in value.items() if name not in VOLATILE}
    if isinstance(value, str):
        return MADE.sub("made", value)
    return [*map(steady, value)] if isinstance(value, (list, tuple)) else value


def remove_indices(domain, prefix):
    """Leave a node without the indices of one's own."""
    with connect(domain.url, region=domain.region, credentials=domain.credentials) as client:
        client.indices.delete(index=f"{prefix}*")
