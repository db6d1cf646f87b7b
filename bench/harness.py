"""What the benches share: the machine, the peers' versions, rounds taken in turn, tables.

Every row of a bench lives in a process of its own, so that no row sees another's imports, heap or threads, and the
two twins can be rows of one run. The processes stay alive and are asked for one round at a time, A B C A B C: a
machine that slows down or speeds up on the way hits all rows alike, and ratios hold where times do not.
"""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import signal
import ssl
import statistics
import time
import traceback
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_START_LIMIT_S = 120
_REPLY_LIMIT_S = 300


class Sample(NamedTuple):
    """One round of one row: microseconds per call. `cpu_us` is that of all threads of the process."""

    wall_us: float
    cpu_us: float
    calls: int


class Unavailable(Exception):  # noqa: N818 - not an error: the row cannot be measured here, and says why
    """Raised by a worker's `setup`: the row is left out, and the reason printed."""


# --- rows, each in its process ------------------------------------------------------------------------------


class Worker:
    """A process that calls `setup(*args)` once, and then the function which that returned, whenever it is asked.

    `setup` is a module-level function; `env` is in the environment before it runs. What the bench's module imports at
    its top is imported before that, so a bench imports what it measures inside `setup`.
    """

    def __init__(self, name, setup, *args, env=None):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup, args, env or {}), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self):
        """Return once `setup` has; raise `Unavailable` if that did."""
        self._receive(_START_LIMIT_S)

    def ask(self, *request):
        """Call the worker's function with `request`, which must pickle, and return what it returned."""
        self._pipe.send(request)
        return self._receive(_REPLY_LIMIT_S)

    def _receive(self, limit_s):
        if not self._pipe.poll(limit_s):
            raise TimeoutError(f"{self.name}: no answer within {limit_s} s")
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: its process ended") from None
        if kind == "unavailable":
            raise Unavailable(value)
        if kind == "error":
            raise RuntimeError(f"{self.name}: {value}")
        return value

    def close(self):
        """End the process: it leaves its loop when the pipe closes."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe, setup, args, env):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bench closes the pipe when it is interrupted
    os.environ.update(env)
    with suppress(EOFError, ConnectionError):  # the bench has closed its end
        try:
            function = setup(*args)
        except Unavailable as reason:
            pipe.send(("unavailable", str(reason)))
            return
        except Exception:
            pipe.send(("error", traceback.format_exc()))
            return
        pipe.send(("value", None))
        while True:
            pipe.send(_outcome(function, pipe.recv()))


def _outcome(function, request):
    try:
        return "value", function(*request)
    except Exception:
        return "error", traceback.format_exc()


@contextmanager
def workers(started):
    """Wait until these workers are ready, yield ({name: worker}, [notes on those left out]), and end them all."""
    ready, notes = {}, []
    try:
        for worker in started:
            try:
                worker.wait_until_ready()
                ready[worker.name] = worker
            except Unavailable as reason:
                notes.append(f"{worker.name}: left out: {reason}")
        yield ready, notes
    finally:
        for worker in started:
            worker.close()


def in_turn(asked, count, *request):
    """Ask each of `asked` ({name: worker}) for one round at a time, `count` times, and return {name: [reply, ...]}.

    The first round is a warm-up that is not returned.
    """
    replies = {name: [] for name in asked}
    for number in range(count + 1):
        for name, worker in asked.items():
            reply = worker.ask(*request)
            if number:
                replies[name].append(reply)
    return replies


# --- time ---------------------------------------------------------------------------------------------------


def timed(run, batches, budget_s):
    """Time `run(batch)` over batches drawn from an iterator until `budget_s` is used, and return
    (Sample, what `run` returned for the last).

    Drawing a batch is not timed, so an iterator can make its requests anew. The garbage collector runs as it does in
    production; what the batches before left behind is collected first.
    """
    gc.collect()
    wall = cpu = 0.0
    calls = 0
    for batch in batches:
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        result = run(batch)
        wall_end, cpu_end = time.perf_counter(), time.process_time()
        wall += wall_end - wall_start
        cpu += cpu_end - cpu_start
        calls += len(batch)
        if wall >= budget_s:
            break
    return Sample(wall / calls * 1e6, cpu / calls * 1e6, calls), result


def summary(samples):
    """The minimum and median of several rounds of one row, as it stands in the JSON."""
    return {
        "wall_us": _min_and_median([sample.wall_us for sample in samples]),
        "cpu_us": _min_and_median([sample.cpu_us for sample in samples]),
        "rounds": len(samples),
        "calls": sum(sample.calls for sample in samples),
    }


def busy(results):
    """The rows of one thread in {row: summary} whose best round waited for a core: over 1.1 of its CPU time."""
    return [row for row, result in results.items() if result["wall_us"]["min"] > 1.1 * result["cpu_us"]["min"]]


def _min_and_median(values):
    return {"min": min(values), "median": statistics.median(values)}


# --- what a reader has to know ------------------------------------------------------------------------------


def arguments(description):
    """The options that all benches have; the caller may add its own before parsing."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: whether it works, not how fast")
    parser.add_argument("--rounds", type=int, help="rounds of each row, after one to warm up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results to FILE")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    return parser


def machine():
    """CPU, cores, load, Python, OpenSSL and operating system, in one line."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{_cpu_model()}, {os.cpu_count()} cores{load}, {platform.python_implementation()} "
        f"{platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.system()} {platform.release()}"
    )


def _cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions(*names):
    """({name: version installed}, [a note for each that is not the one pinned in requirements.txt])."""
    pinned = dict(line.split("==") for line in REQUIREMENTS.read_text(encoding="utf-8").split())
    found, notes = {}, []
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise SystemExit(f"{name} is not installed: pip install -r bench/requirements.txt") from None
        if name in pinned and found[name] != pinned[name]:
            notes.append(f"{name} {found[name]} IS NOT THE PINNED {pinned[name]}: do not compare with other runs")
    return found, notes


def table(header, rows, *, markdown=False):
    """A table of text: the first column to the left, the others to the right. Cells are str."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = [
        [
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (header, *rows)
    ]
    rule = [
        "-" * width if number == 0 or not markdown else "-" * (width - 1) + ":" for number, width in enumerate(widths)
    ]
    lines.insert(1, rule)
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def write_json(options, results):
    """Write `results` to the file that `options` name, if any, with what report.py says beside each plot."""
    if options.json:
        about = {"date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count(), "quick": options.quick}
        options.json.write_text(json.dumps(about | results, indent=1) + "\n", encoding="utf-8")
