"""One page of figures: runs sign.py, connection.py and bulk.py, and draws what they measured.

    python bench/report.py [--quick] [--from DIR] [--out DIR]

The benches run one after the other, each in a process of its own. A wrong row of any ends it, and no page is written.
What is measured and what is not is in bench/README.md.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import bulk
import connection
import harness
import sign

BENCH = Path(__file__).parent
COMMITTED = BENCH / "report"
NOT_COMMITTED = BENCH.parent / "build" / "report"
BENCHES = ("sign", "connection", "bulk")
_DEFAULT_OUT = "by default the DIR of --from, else bench/report, or build/report with --quick"
QUICK = "A QUICK RUN: its times mean nothing"


# --- what was measured --------------------------------------------------------------------------------------


def run(bench, path, *, quick):
    """Run a bench, whose output goes where ours goes, and return its JSON text."""
    print(f"\n=== bench/{bench}.py\n", flush=True)
    command = [sys.executable, "-u", BENCH / f"{bench}.py", "--json", path, *(["--quick"] if quick else [])]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(f"bench/{bench}.py ended with {status}: no page is written")
    return path.read_text(encoding="utf-8")


def measured(options):
    """{bench: its JSON text}, of a run or of files."""
    if options.given:
        try:
            return {bench: (options.given / f"{bench}.json").read_text(encoding="utf-8") for bench in BENCHES}
        except FileNotFoundError as error:
            raise SystemExit(f"{error.filename} is not there") from None
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        return {bench: run(bench, Path(directory, f"{bench}.json"), quick=options.quick) for bench in BENCHES}


# --- what is said of it -------------------------------------------------------------------------------------


def not_measured(bench):
    """The first sentence of that name in the bench's section of bench/README.md."""
    text = (BENCH / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {bench}\.py\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    return " ".join(re.search(r"^Not measured: .*?\.(?=\s)", section, re.DOTALL | re.MULTILINE)[0].split())


def notes(results):
    """What a reader must know of a run before its times."""
    return ([QUICK] if results["quick"] else []) + results["notes"]


def busy_threads(results):
    """The note on rates of wall time which other programs have lowered."""
    busy = {
        row
        for rows in results["threads"].values()
        for row in harness.busy({row: found["1"] for row, found in rows.items()})
    }
    return [f"THE MACHINE WAS BUSY: do not use these rates ({', '.join(sorted(busy))})"] if busy else []


def below_zero(results):
    """The note on layers of a request that came out below zero, which the plot cannot show."""
    import plots

    found = [f"{bar}: {layer}" for bar, of_bar in plots.layers(results).items() for layer, us in of_bar if us < 0]
    return [f"The machine was too busy for differences: below zero and not shown: {', '.join(found)}"] if found else []


def foot(bench, results, *more):
    """The lines below a plot."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return [*notes(results), *more, f"{results['date']}, {results['machine']}", versions, not_measured(bench)]


# --- targets ------------------------------------------------------------------------------------------------

_VERDICTS = {
    "aim": "reached, and the aim too",
    "target": "reached, but not the aim",
    "missed": "MISSED",
    "not measured": "not measured",
}


def targets(results):
    """[(what, measured, target, aim, verdict)] of all benches, as text."""
    found = []

    def add(bench, what, target, verdict, unit="x"):
        limit = "at least" if unit == "x" and target["aim"] > target["target"] else "at most"
        measured = "-" if target["measured"] is None else f"{target['measured']:.2f}{unit}"
        limits = (f"{limit} {target[name]:g}{unit}" for name in ("target", "aim"))
        found.append((what, measured, *limits, "not judged" if results[bench]["quick"] else _VERDICTS[verdict]))

    for target in results["sign"]["targets"]:
        verdict = sign.reached(target["measured"], target["target"], target["aim"])
        add("sign", f"CPU of one signature, {target['ratio']}", target, verdict)
    for target in results["connection"]["targets"]:
        verdict = connection.reached(target["measured"], target["target"], target["aim"])
        add("connection", f"CPU of one request, {target['row']} / {connection.OPENSEARCH_PY}", target, verdict)
    for target in results["bulk"]["targets"]:
        verdict = bulk.reached(target["measured"], target["target"], target["aim"], target["unit"])
        add("bulk", target["what"], target, verdict, target["unit"])
    return found


def targets_section(found):
    """The table, with its sum above it and each miss named."""
    counts = Counter(verdict for *_, verdict in found)
    missed = [
        f"- {what}: {measured}, not {target}" for what, measured, target, _, verdict in found if verdict == "MISSED"
    ]
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    parts = ["## Targets", f"Of {len(found)}: {told}."]
    if missed:
        parts.append("Missed:\n\n" + "\n".join(missed))
    header = ["what", "measured", "target", "aim", "verdict"]
    return "\n\n".join([*parts, harness.table(header, found, markdown=True)])


# --- the page -----------------------------------------------------------------------------------------------


def _tables(titled):
    """Tables of the benches, each below its title."""
    return "\n\n".join(f"{title}\n\n{table}" for title, table in titled)


def sign_tables(results):
    sizes = {sign.Case(int(size)): rows for size, rows in results["sizes"].items()}
    return _tables(
        [
            ("by size of the body, with a session token", sign.sizes_table(sizes, markdown=True)),
            *((case, sign.case_table(found["rows"], markdown=True)) for case, found in results["cases"].items()),
        ]
    )


def threads_tables(results):
    def counted(rows):
        """JSON has made the numbers of threads to text."""
        numbers = {str(count): count for count in sign.THREADS}
        return {row: {numbers.get(key, key): value for key, value in found.items()} for row, found in rows.items()}

    return _tables(
        (case, sign.threads_table(counted(rows), markdown=True)) for case, rows in results["threads"].items()
    )


def bulk_tables(results):
    return _tables(
        (encoding, bulk.encoding_table(rows, markdown=True)) for encoding, rows in results["encodings"].items()
    )


def connection_tables(results):
    return _tables(
        (scheme, connection.scheme_tables(rows, markdown=True)) for scheme, rows in results["schemes"].items()
    )


class Plotted(NamedTuple):
    """A section of the page: the plot is `plots.<name>`, and its file `<name>.svg`."""

    name: str
    bench: str
    title: str
    caption: str
    tables: Callable
    notes: Callable = lambda results: []


SECTIONS = [
    Plotted(
        "sign_by_size",
        "sign",
        "Signing, by size of the body",
        "From (method, URL, body, headers) to the signed headers. The dashed line is what the SHA-256 blocks of such a "
        "request take hashlib: only a signer that hashes faster than hashlib could be below it.",
        sign_tables,
    ),
    Plotted(
        "bulk_rates",
        "bulk",
        "Bulk",
        "All send the same documents, signed, to a sink that answers as OpenSearch does. `our connection` is "
        "opensearch-py's own `helpers.bulk` with `connection_class=SigV4HttpConnection`, and nothing else changed.",
        bulk_tables,
    ),
    Plotted(
        "sign_in_threads",
        "sign",
        "Signing, over threads",
        "From the first thread's start to the last one's end. Of a small body the interpreter's lock (GIL) leaves "
        "little to do at once; a large one is hashed without it. More threads than cores can gain nothing.",
        threads_tables,
        busy_threads,
    ),
    Plotted(
        "one_request",
        "connection",
        "One request",
        "Layers are differences between rows of the same run: `http.client` is what that row takes more than a raw "
        "socket, `urlopen` what it takes more than `http.client`, and so on; the signature is a signed request less an "
        "unsigned one. Our connection replaces what `urlopen` uses of `http.client`, so these are one layer of ours. "
        "The client around it, with its transport and JSON, is opensearch-py's in all bars.",
        connection_tables,
        below_zero,
    ),
]


def section(plotted, results):
    return f"""## {plotted.title}

![{plotted.title}: {plotted.name}.svg]({plotted.name}.svg)

{plotted.caption}

<details><summary>All rows</summary>

{plotted.tables(results)}

</details>"""


def runs_section(results):
    lines = ["## The runs"]
    for bench, found in results.items():
        more = [note for plotted in SECTIONS if plotted.bench == bench for note in plotted.notes(found)]
        items = "\n".join(f"- {line}" for line in foot(bench, found, *more))
        lines.append(f"`bench/{bench}.py`, {bench}.json:\n\n{items}")
    return "\n\n".join(lines)


def page(results):
    quick = [bench for bench, found in results.items() if found["quick"]]
    parts = [
        "# Figures",
        "Made by `python bench/report.py`, of one run of each bench. What the rows are is in bench/README.md.",
        targets_section(targets(results)),
        *(section(plotted, results[plotted.bench]) for plotted in SECTIONS),
        runs_section(results),
    ]
    if quick:
        parts.insert(1, f"**{QUICK} ({', '.join(quick)})**")
    return "\n\n".join(parts) + "\n"


def files(results):
    """{name: text} of the page and its plots."""
    import plots

    drawn = {}
    for plotted in SECTIONS:
        found = results[plotted.bench]
        lines = foot(plotted.bench, found, *plotted.notes(found))
        drawn[f"{plotted.name}.svg"] = plots.draw(getattr(plots, plotted.name), found, lines)
    return {"report.md": page(results), **drawn}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few and short rounds: whether it works, not how fast")
    parser.add_argument("--from", dest="given", type=Path, metavar="DIR", help="run nothing: the JSON files are in DIR")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where to write; {_DEFAULT_OUT}")
    options = parser.parse_args()
    for note in harness.versions("matplotlib")[1]:  # before a run of minutes
        print(f"NOTE: {note}")

    texts = measured(options)
    results = {bench: json.loads(text) for bench, text in texts.items()}
    if wrong := [problem for found in results.values() for problem in found["problems"]]:
        print(*wrong, "no page is written", sep="\n")
        return 1
    directory = options.out or options.given or (NOT_COMMITTED if options.quick else COMMITTED)
    directory.mkdir(parents=True, exist_ok=True)
    for bench, text in texts.items():  # before anything that can fail: --from goes on from here
        (directory / f"{bench}.json").write_text(text, encoding="utf-8")
    for name, text in files(results).items():
        (directory / name).write_text(text, encoding="utf-8")
    print(f"written: {directory / 'report.md'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
