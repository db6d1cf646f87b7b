"""How far the command is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ._checkpoint import Tally

#: Between two lines where there is no terminal.
LINES_INTERVAL_S: Final = 10.0
_FRAMES_PER_S: Final = 4


class Meter:
    """For a `with` statement.

    Args:
        total: bytes of the input as stored; None if that is not known.
        position: of those, what an earlier run did.
        is_quiet: whether nothing is to be shown.
    """

    def __init__(self, total: int | None, position: int, is_quiet: bool) -> None:
        self._total, self._first_position = total, position
        self._started = self._last_line = time.monotonic()
        self._first_bytes = 0
        console = Console(file=sys.stderr)
        self._progress: Progress | None = None
        self._is_quiet = is_quiet
        if console.is_terminal and not is_quiet:
            self._progress = Progress(
                TextColumn("{task.fields[text]}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=console,
                refresh_per_second=_FRAMES_PER_S,
                transient=True,
            )
            self._task = self._progress.add_task("", total=total, completed=position, text="")

    def start(self, tally: Tally) -> None:
        """From here on time counts; `tally` is what an earlier run did."""
        self._started = self._last_line = time.monotonic()
        self._first_bytes = tally.bytes
        if self._progress is not None:
            self._progress.start()

    def stop(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()

    @property
    def seconds(self) -> float:
        """Since `start`."""
        return time.monotonic() - self._started

    def update(self, tally: Tally, position: int) -> None:
        """Show this, if it is time."""
        if self._is_quiet:
            return
        now = time.monotonic()
        if self._progress is not None:
            self._progress.update(self._task, completed=position, text=self._text(tally))
        elif now - self._last_line >= LINES_INTERVAL_S:
            self._last_line = now
            click.echo(self._text(tally) + self._time_left(position), err=True)

    def _text(self, tally: Tally) -> str:
        rate = (tally.bytes - self._first_bytes) / max(self.seconds, 1e-9) / 1e6
        return f"{tally.indexed + tally.failed:,} documents, {rate:.1f} MB/s, {tally.failed:,} errors"

    def _time_left(self, position: int) -> str:
        done = position - self._first_position
        if not self._total or done <= 0:
            return ""
        left = round(self.seconds * (self._total - position) / done)
        return f", {position * 100 // self._total} %, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
