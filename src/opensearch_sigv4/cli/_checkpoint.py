"""How far a run has come, in a file that is whole whenever the process ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ._reading import START, File, InputError, Place

_VERSION: Final = 1


@dataclass
class Tally:
    """What became of the documents.

    Attributes:
        indexed: are in (or deleted, where that was asked for).
        refused: by the domain, for good.
        malformed: were not sent.
        unknown: their request's answer was lost: they may or may not be in.
        bytes: of the input, uncompressed.
        statuses: of what was refused or is unknown, how often which.
    """

    indexed: int = 0
    refused: int = 0
    malformed: int = 0
    unknown: int = 0
    bytes: int = 0
    statuses: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.refused + self.malformed + self.unknown

    def add(self, other: Tally) -> None:
        """Count what the other counts, too."""
        self.indexed += other.indexed
        self.refused += other.refused
        self.malformed += other.malformed
        self.unknown += other.unknown
        self.bytes += other.bytes
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count


@dataclass
class State:
    """What a checkpoint holds.

    Attributes:
        place: up to which every document has an outcome.
        tally: of those.
        failed_bytes: of the file of `--failed` that tell of those.
        sent: up to which documents may have been sent.
        finished: whether the input was read to its end.
    """

    place: Place = START
    tally: Tally = field(default_factory=Tally)
    failed_bytes: int = 0
    sent: Place = START
    finished: bool = False


class Checkpoint:
    """The file of `--checkpoint`.

    Args:
        path: of the file; its directory must be writable.
        files: the input.
        options: what else decides about what is sent.

    Raises:
        InputError: the file is another one's, or tells of other files or options.
    """

    def __init__(self, path: str, files: Sequence[File], options: dict[str, Any]) -> None:
        self._path = path
        self._options = options
        # Ids must begin as they did, also where the files were moved.
        self.id_prefixes = [file.id_prefix for file in files]
        self._identities = [file.identity for file in files]
        self._names = [file.name for file in files]
        self.state: State = State()
        self.is_resumed = False
        try:
            with open(path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        self._load(content)
        self.is_resumed = True

    def _load(self, content: bytes) -> None:
        try:
            held = json.loads(content)
            if held["version"] != _VERSION:
                raise ValueError
            options, names, identities = held["options"], held["files"], held["identities"]
            self.state = State(
                Place(*held["place"]),
                Tally(**held["tally"]),
                held["failed_bytes"],
                Place(*held["sent"]),
                held["finished"],
            )
            self.id_prefixes = held["id_prefixes"]
            if not _is_sound(self.state, options, names, identities, self.id_prefixes):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(f"{self._path}: no checkpoint of this version") from None
        other = "; to begin anew, remove it, or name another checkpoint"
        for name, value in self._options.items():
            if options.get(name) != value:
                raise InputError(
                    f"{self._path} is of a run with {name} {_shown(options.get(name))}, not {_shown(value)}{other}"
                )
        if len(names) != len(self._names):
            raise InputError(f"{self._path} is of a run with {len(names)} files, not {len(self._names)}{other}")
        for name, before, identity in zip(self._names, identities, self._identities, strict=True):
            if before != identity:
                raise InputError(f"{name} was changed since {self._path} was written, or is another file{other}")

    def save(self) -> None:
        """Replace the file, so that it holds the state before or after this, whatever happens.

        Raises:
            OSError: it cannot be written.
        """
        state = self.state
        content = json.dumps(
            {
                "version": _VERSION,
                "finished": state.finished,
                "place": state.place,
                "sent": state.sent,
                "failed_bytes": state.failed_bytes,
                "tally": asdict(state.tally),
                "options": self._options,
                "files": self._names,
                "identities": self._identities,
                "id_prefixes": self.id_prefixes,
            },
            indent=1,
        )
        temporary = f"{self._path}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        if os.name == "posix":
            directory = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def _is_sound(state: State, options: Any, *of_files: Any) -> bool:
    """Whether a run can go on from what was read, which somebody may have edited; the last texts begin ids."""
    count = len(of_files[0])
    numbers = [value for name, value in vars(state.tally).items() if name != "statuses"]
    numbers += [*state.tally.statuses.values(), state.failed_bytes, *state.place, *state.sent]
    return (
        all(type(number) is int and 0 <= number <= sys.maxsize for number in numbers)
        and max(state.place, state.sent).file <= count
        and isinstance(options, dict)
        and all(isinstance(texts, list) and len(texts) == count for texts in of_files)
        and all(isinstance(text, str) for texts in of_files for text in texts)
        and all(prefix.isascii() for prefix in of_files[-1])
    )


def _shown(value: Any) -> str:
    return "none" if value in (None, False, "") else repr(value)
