"""Spark's options, which are text, become a `Job`; whatever is none is refused by its name."""

from __future__ import annotations

import difflib
import importlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from ..credentials import Snapshot
from ._partition import OPS, Job


class Option(NamedTuple):
    """One option.

    Attributes:
        name: as the user writes it, in any case.
        read: makes a value of its text, or raises ValueError.
        for_: whether it is for reading, writing, or both.
    """

    name: str
    read: Callable[[str], Any] = str
    for_: str = "both"


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false is needed")
    return text.lower() == "true"


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise ValueError(f"an integer of at least {least} is needed")
        return value

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise ValueError("a number of seconds is needed")
    return value


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)} is needed")
        return text

    return read


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _query(text: str) -> Any:
    try:
        query = json.loads(text)
    except ValueError as error:
        raise ValueError(f"a query in JSON is needed: {error}") from error
    if not isinstance(query, dict):
        raise ValueError('a query in JSON is needed, such as {"match_all": {}}')
    return query["query"] if query.keys() == {"query"} else query  # as in the body of a search


def _time(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(ms|s|m|h|d)", text):
        raise ValueError("a time such as 5m or 30s is needed")
    return text


OPTIONS: Final = {
    option.name.lower(): option
    for option in (
        Option("url"),
        Option("index"),
        Option("path"),  # what save() and load() take: an index
        Option("region"),
        Option("service"),
        Option("profile"),
        Option("credentials"),
        Option("accessKey"),
        Option("secretKey"),
        Option("sessionToken"),
        Option("caCerts"),
        Option("verifyCerts", _boolean),
        Option("timeout", _seconds),
        Option("compress", _boolean),
        Option("idField"),
        Option("opType", _one_of(*OPS), "writing"),
        Option("routingField", for_="writing"),
        Option("pipeline", for_="writing"),
        Option("addIds", _boolean, "writing"),
        Option("createIndex", _boolean, "writing"),
        Option("ignoreNullFields", _boolean, "writing"),
        Option("chunkSize", _at_least(1), "writing"),
        Option("maxChunkBytes", _at_least(1), "writing"),
        Option("concurrency", _at_least(1), "writing"),
        Option("maxRetries", _at_least(0), "writing"),
        Option("failedPath", for_="writing"),
        Option("summaryPath", for_="writing"),
        Option("checkpointLocation", for_="writing"),  # Spark's own, of a stream
        Option("query", _query, "reading"),
        Option("slices", _at_least(1), "reading"),
        Option("pageSize", _at_least(1), "reading"),
        Option("keepAlive", _time, "reading"),
        Option("arrayFields", _names, "reading"),
    )
}
_HEADER: Final = "header."


class Options:
    """The options of one read or write.

    Args:
        given: name to text; the names in any case.
        for_: `"reading"` or `"writing"`.

    Raises:
        ValueError: an option that is none, with the one that may be meant; a value that is none; one that is missing.
    """

    def __init__(self, given: Mapping[str, str], for_: str) -> None:
        self._values: dict[str, Any] = {}
        self._headers: dict[str, str] = {}
        for name, text in given.items():
            if name.lower().startswith(_HEADER):
                self._headers[name[len(_HEADER) :]] = text
                continue
            option = OPTIONS.get(name.lower())
            if option is None or option.for_ not in ("both", for_):
                raise ValueError(_unknown(name, for_))
            try:
                self._values[option.name] = option.read(text)
            except ValueError as error:
                shown = "" if "key" in name.lower() or "token" in name.lower() else f", not {text!r}"
                raise ValueError(f"option {option.name}: {error}{shown}") from error
        if self.get("path") is not None and self._values.setdefault("index", self["path"]) != self["path"]:
            raise ValueError("option index: the path of save() or load() is another one")
        for name in ("url", "index"):
            if not self.get(name):
                raise ValueError(f"option {name}: it is missing")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def job(self) -> Job:
        """What the tasks have in common."""
        fields = {
            "url": "url",
            "index": "index",
            "region": "region",
            "service": "service",
            "profile": "profile",
            "opType": "op_type",
            "idField": "id_field",
            "routingField": "routing_field",
            "pipeline": "pipeline",
            "createIndex": "create_index",
            "chunkSize": "chunk_size",
            "maxChunkBytes": "max_chunk_bytes",
            "concurrency": "concurrency",
            "maxRetries": "max_retries",
            "failedPath": "failed_path",
        }
        client = {
            "caCerts": "ca_certs",
            "verifyCerts": "verify_certs",
            "timeout": "timeout",
            "compress": "http_compress",
        }
        client_options = {client[name]: value for name, value in self._values.items() if name in client}
        if self._headers:
            client_options["headers"] = self._headers
        return Job(
            **{fields[name]: value for name, value in self._values.items() if name in fields},
            credentials=self._credentials(),
            client_options=client_options,
        )

    def _credentials(self) -> Any:
        keys = [self.get(name) for name in ("accessKey", "secretKey", "sessionToken")]
        given = [name for name in ("profile", "credentials") if self.get(name)]
        if any(keys):
            if given:
                raise ValueError(f"options accessKey and {given[0]}: one of the two")
            if not all(keys[:2]):
                raise ValueError("options accessKey and secretKey: they go together")
            return Snapshot(*keys)
        return Imported(self["credentials"]) if "credentials" in given else None


class Imported:
    """Credentials of a function that is imported where they are needed, by its name: `package.module:function`.

    It is called once in a process, and returns a session or a credentials object.

    Raises:
        ValueError: no such name.
    """

    def __init__(self, name: str) -> None:
        module, _, function = name.partition(":")
        if not module or not function:
            raise ValueError("option credentials: module:function is needed")
        self._name = name

    def __call__(self) -> Any:
        return _imported(self._name)

    def __repr__(self) -> str:
        return f"Imported({self._name!r})"


@cache
def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    found = getattr(importlib.import_module(module), function)()
    return found.get_credentials() if hasattr(found, "get_credentials") else found


def _unknown(name: str, for_: str) -> str:
    option = OPTIONS.get(name.lower())
    if option is not None:
        return f"option {option.name}: it is for {option.for_}, not for {for_}"
    known = {key: option.name for key, option in OPTIONS.items() if option.for_ in ("both", for_)}
    close = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"; is {known[close[0]]} meant?" if close else f"; there are {', '.join(known.values())}"
    return f"option {name}: there is none of that name{hint}"
