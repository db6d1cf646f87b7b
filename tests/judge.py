"""A `_bulk` server that judges what a client did: it stores each document and a log of every execution.

It imports nothing of the library, reads bulk bodies by itself, strictly as OpenSearch's BulkRequestParser does, and
answers with OpenSearch's items. `Judge` runs it in a process of its own, on loopback, behind a LocalDomain or alone:

    with Judge() as judge, LocalDomain(upstream=judge.url) as domain:
        ...
        judge.executions("n")  # how often a document was executed, by the field "n" of its source
"""

import asyncio
import contextlib
import gzip
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
import zlib
from collections import Counter
from urllib.parse import parse_qsl, unquote, urlencode

ACTIONS = ("index", "create", "update", "delete")
METADATA = {"_index", "_id", "_source", "if_primary_term", "if_seq_no", "op_type", "pipeline", "require_alias"}
METADATA |= {"retry_on_conflict", "routing", "version", "version_type"}
MAX_BODY_BYTES = 1 << 30
MAX_ID_BYTES = 512
PRIMARY_TERM = 1
SHARDS = {"total": 2, "successful": 1, "failed": 0}
INDEX_UUID = "6mGYbZWlQ2iJ5dBvbPzGxg"
_START_LIMIT_S = 30
_ANSWER_LIMIT_S = 120


# --- in the test's process -------------------------------------------------------------------------------------


class Judge:
    """The server's process, for a `with` statement. It ends with it, and with the process that started it."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self._process.stdout.readline()
        if not line:
            self.__exit__()
            raise RuntimeError("the judge did not start")
        self._port = int(line)
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()  # it ends by this
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def executions(self, field):
        """How often a document was executed: {value of this field of its source: times}. Deletes have no source."""
        return Counter(dict(self._ask("executions", field=field)))

    def held(self, field):
        """How many documents are held now: {value of this field of the source: documents}."""
        return Counter(dict(self._ask("held", field=field)))

    def documents(self, index):
        """{id: source} of what this index holds now."""
        return self._ask("documents", index=index)

    def log(self):
        """Every action in the order of its execution: [{"action", "index", "id", "status"}, ...], refused ones too."""
        return self._ask("log")

    def requests(self):
        """Every `_bulk` request received: [{"status", "actions", "bytes", "encoding"}, ...]."""
        return self._ask("requests")

    def reset(self):
        """Forget everything."""
        self._ask("reset")

    def _ask(self, what, **parameters):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_LIMIT_S)
        with contextlib.closing(connection):
            connection.request("GET", f"/_judge/{what}?{urlencode(parameters)}")
            return json.load(connection.getresponse())


# --- what a bulk body says -------------------------------------------------------------------------------------


class Refused(Exception):
    """OpenSearch's answer to a whole request that it does not take."""

    def __init__(self, kind, reason, status=400):
        self.status = status
        cause = {"type": kind, "reason": reason}
        self.answer = {"error": {"root_cause": [cause], **cause}, "status": status}


def _no_constant(constant):
    raise ValueError(f"Non-standard token '{constant}'")


def _no_duplicates(pairs):
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("Duplicate field")
    return fields


def read_object(text):
    """A JSON object as OpenSearch reads one: UTF-8, no NaN, no field twice."""
    value = json.loads(text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def parse(body, default_index):
    """[(action, metadata, source as bytes or None), ...] of a `_bulk` body."""
    if not body:
        raise Refused("parse_exception", "request body is required")
    if not body.endswith(b"\n"):
        raise Refused("illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
    lines = body.split(b"\n")
    lines.pop()
    actions = []
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if not line.strip():
            continue
        where = f"Malformed action/metadata line [{number}]"
        try:
            ((action, metadata),) = read_object(line).items()
        except (ValueError, RecursionError) as error:
            raise Refused("illegal_argument_exception", f"{where}: {error}") from None
        if action not in ACTIONS or not isinstance(metadata, dict):
            raise Refused("illegal_argument_exception", f"{where}, found [{action}]")
        for name in metadata.keys() - METADATA:
            message = f"Action/metadata line [{number}] contains an unknown parameter [{name}]"
            raise Refused("illegal_argument_exception", message)
        metadata.setdefault("_index", default_index)
        source = None
        if action != "delete":
            _, source = next(numbered, (0, None))
            if source is None:
                raise Refused("illegal_argument_exception", "the last action has no source line")
        _validate(action, metadata)
        actions.append((action, metadata, source))
    if not actions:
        raise Refused("action_request_validation_exception", "Validation Failed: 1: no requests added;")
    return actions


def _validate(action, metadata):
    identifier = metadata.get("_id")
    problem = None
    if not metadata["_index"]:
        problem = "index is missing"
    elif identifier is None and action in ("update", "delete"):
        problem = "id is missing"
    elif identifier is not None and len(str(identifier).encode()) > MAX_ID_BYTES:
        problem = f"id [{identifier}] is too long, must be no longer than {MAX_ID_BYTES} bytes"
    elif ("if_seq_no" in metadata) != ("if_primary_term" in metadata):
        problem = "ifSeqNo is set, but primary term is [0]"
    if problem:
        raise Refused("action_request_validation_exception", f"Validation Failed: 1: {problem};")


# --- what is done with it --------------------------------------------------------------------------------------


class ItemError(Exception):
    def __init__(self, status, kind, reason):
        self.status, self.kind, self.reason = status, kind, reason


def conflict(identifier, what):
    return ItemError(409, "version_conflict_engine_exception", f"[{identifier}]: version conflict, {what}")


class Store:
    """The documents, and what was done to them."""

    def __init__(self):
        self.held = {}  # {(index, id): (source, version, seq_no)}
        self.deleted = {}  # {(index, id): version}
        self.log = []  # (action, index, id, status, source or None)
        self.requests = []
        self.seq_no = itertools.count()
        self.made_ids = itertools.count()

    def bulk(self, actions):
        started = time.perf_counter()
        items, errors = [], False
        for action, metadata, source in actions:
            index = metadata["_index"]
            identifier = metadata.get("_id")
            identifier = f"judge{next(self.made_ids):015d}" if identifier is None else str(identifier)
            document = None
            try:
                document, item = getattr(self, action)(index, identifier, metadata, source)
            except ItemError as error:
                errors = True
                cause = {"type": error.kind, "reason": error.reason, "index": index, "shard": "0"}
                cause["index_uuid"] = INDEX_UUID
                item = {"_index": index, "_id": identifier, "status": error.status, "error": cause}
            self.log.append((action, index, identifier, item["status"], document))
            items.append({action: item})
        return {"took": int((time.perf_counter() - started) * 1000), "errors": errors, "items": items}

    def index(self, index, identifier, metadata, source):
        if metadata.get("op_type") == "create":
            return self.create(index, identifier, metadata, source)
        document = self._source(source)
        version = self._next_version(index, identifier, metadata)
        return document, self._store(index, identifier, document, version)

    def create(self, index, identifier, metadata, source):
        if (index, identifier) in self.held:
            version = self.held[index, identifier][1]
            raise conflict(identifier, f"document already exists (current version [{version}])")
        document = self._source(source)
        version = self._next_version(index, identifier, metadata)
        return document, self._store(index, identifier, document, version)

    def update(self, index, identifier, metadata, source):
        change = self._source(source)
        if unknown := change.keys() - {"doc", "doc_as_upsert", "upsert", "detect_noop", "_source"}:
            raise ItemError(400, "x_content_parse_exception", f"[UpdateRequest] unknown field {sorted(unknown)}")
        held = self.held.get((index, identifier))
        if held is None:
            document = change.get("doc") if change.get("doc_as_upsert") else change.get("upsert")
            if document is None:
                raise ItemError(404, "document_missing_exception", f"[{identifier}]: document missing")
            return document, self._store(index, identifier, document, self._next_version(index, identifier, metadata))
        document = _merged(held[0], change.get("doc", {}))
        if document == held[0] and change.get("detect_noop", True):
            self._next_version(index, identifier, metadata)
            return document, self._item(index, identifier, held[1], "noop", 200, held[2])
        return document, self._store(index, identifier, document, self._next_version(index, identifier, metadata))

    def delete(self, index, identifier, metadata, _):
        version = self._next_version(index, identifier, metadata)
        found = self.held.pop((index, identifier), None)
        self.deleted[index, identifier] = version
        result, status = ("not_found", 404) if found is None else ("deleted", 200)
        return None, self._item(index, identifier, version, result, status, next(self.seq_no))

    def _source(self, source):
        if not source.strip():
            raise ItemError(400, "mapper_parsing_exception", "failed to parse, document is empty")
        try:
            return read_object(source)
        except (ValueError, RecursionError) as error:
            raise ItemError(400, "mapper_parsing_exception", f"failed to parse: {error}") from None

    def _next_version(self, index, identifier, metadata):
        if identifier == "":
            raise ItemError(400, "illegal_argument_exception", "if _id is specified it must not be empty")
        held = self.held.get((index, identifier))
        current = held[1] if held else self.deleted.get((index, identifier))
        if metadata.get("version_type") in ("external", "external_gte"):
            wanted = metadata["version"]
            least = 0 if current is None else current + (metadata["version_type"] == "external")
            if wanted < least:
                what = "higher or equal to" if metadata["version_type"] == "external" else "higher than"
                raise conflict(identifier, f"current version [{current}] is {what} the one provided [{wanted}]")
            return wanted
        if "if_seq_no" in metadata:
            wanted = (metadata["if_seq_no"], metadata["if_primary_term"])
            if held is None:
                raise conflict(identifier, f"required seqNo [{wanted[0]}], but no document was found")
            if wanted != (held[2], PRIMARY_TERM):
                raise conflict(identifier, f"required seqNo [{wanted[0]}], current document has seqNo [{held[2]}]")
        return (current or 0) + 1

    def _store(self, index, identifier, document, version):
        result, status = ("updated", 200) if (index, identifier) in self.held else ("created", 201)
        seq_no = next(self.seq_no)
        self.held[index, identifier] = (document, version, seq_no)
        return self._item(index, identifier, version, result, status, seq_no)

    def _item(self, index, identifier, version, result, status, seq_no):
        return {
            "_index": index,
            "_id": identifier,
            "_version": version,
            "result": result,
            "_shards": SHARDS,
            "_seq_no": seq_no,
            "_primary_term": PRIMARY_TERM,
            "status": status,
        }

    # What `Judge` asks.

    def executions(self, field):
        executed = (entry[4] for entry in self.log if entry[3] < 300 and entry[4] is not None)
        return list(Counter(document.get(field) for document in executed).items())

    def documents_by(self, field):
        return list(Counter(document.get(field) for document, _, _ in self.held.values()).items())

    def documents(self, index):
        return {identifier: held[0] for (name, identifier), held in self.held.items() if name == index}


def _merged(document, change):
    merged = dict(document)
    for name, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


NOTHING = object()


def select(value, patterns):
    """`filter_path`: dotted, `*` within a level; a list has no level; what becomes empty goes."""
    if isinstance(value, list):
        return [kept for item in value if (kept := select(item, patterns)) is not NOTHING] or NOTHING
    if not isinstance(value, dict):
        return NOTHING
    selected = {}
    for name, field in value.items():
        rests = [rest for first, *rest in patterns if re.fullmatch(first.replace("*", ".*"), name)]
        kept = field if [] in rests else select(field, rests) if rests else NOTHING
        if kept is not NOTHING:
            selected[name] = kept
    return selected or NOTHING


# --- the server ------------------------------------------------------------------------------------------------


def answer_bulk(store, index, headers, raw):
    encoding = headers.get("Content-Encoding", "")
    actions = []
    try:
        if headers.get("Content-Type", "").partition(";")[0] not in ("application/json", "application/x-ndjson"):
            raise Refused("media_type_header_exception", "Content-Type is not supported", 406)
        body = raw
        if encoding == "gzip":
            try:
                body = gzip.decompress(raw)
            except (OSError, EOFError, zlib.error) as error:
                raise Refused("parse_exception", f"bad gzip: {error}") from None
        elif encoding:
            raise Refused("illegal_argument_exception", f"unknown Content-Encoding [{encoding}]")
        actions = parse(body, index)
        status, answer = 200, store.bulk(actions)
    except Refused as refused:
        status, answer = refused.status, refused.answer
    store.requests.append({"status": status, "actions": len(actions), "bytes": len(raw), "encoding": encoding})
    return status, answer


async def serve():
    from aiohttp import web

    store = Store()

    async def handle(request):
        path, _, query = request.raw_path.partition("?")
        parameters = dict(parse_qsl(query))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if request.method in ("POST", "PUT") and parts[-1] == "_bulk" and len(parts) <= 2:
            index = parts[0] if len(parts) == 2 else None
            status, answer = answer_bulk(store, index, request.headers, await request.read())
            if patterns := parameters.get("filter_path"):
                selected = select(answer, [pattern.split(".") for pattern in patterns.split(",")])
                answer = {} if selected is NOTHING else selected
            return web.json_response(answer, status=status)
        if parts[0] == "_judge":
            return web.json_response(answer_judge(store, parts[1], parameters))
        if parts == [""]:
            return web.json_response({"version": {"distribution": "opensearch", "number": "2.19.0"}})
        return web.json_response({"error": f"no handler found for uri [{path}]", "status": 400}, status=400)

    loop = asyncio.get_running_loop()

    def request_factory(message, payload, protocol, writer, task):
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    server = web.Server(handle, request_factory=request_factory, access_log=None, auto_decompress=False)
    listener = await loop.create_server(server, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the test's process closes it, or ends


def answer_judge(store, what, parameters):
    if what == "executions":
        return store.executions(parameters["field"])
    if what == "held":
        return store.documents_by(parameters["field"])
    if what == "documents":
        return store.documents(parameters["index"])
    if what == "log":
        return [dict(zip(("action", "index", "id", "status"), entry, strict=False)) for entry in store.log]
    if what == "requests":
        return store.requests
    store.__init__()
    return None


if __name__ == "__main__":
    asyncio.run(serve())
