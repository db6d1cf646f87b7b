"""bench/report.py makes its page of what the benches measured, and hides no miss: all of one quick run, changed."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
BENCHES = ("sign", "connection", "bulk")
PLOTS = {"sign_by_size": "sign", "bulk_rates": "bulk", "sign_in_threads": "sign", "one_request": "connection"}


def run_report(*arguments, **environment):
    command = [sys.executable, BENCH / "report.py", *arguments]
    environment = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(what a quick run printed, the directory that it wrote)."""
    directory = tmp_path_factory.mktemp("report")
    run = run_report("--quick", "--out", directory)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout, directory


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("report")
    for name in ("report", "plots", "bulk", "connection", "sign", "harness"):
        sys.modules.pop(name, None)


@pytest.fixture
def results(quick):
    """The benches' results, to be changed; judged, as if they were not of a quick run."""
    found = {bench: json.loads((quick[1] / f"{bench}.json").read_text(encoding="utf-8")) for bench in BENCHES}
    for of_bench in found.values():
        of_bench["quick"] = False
    return found


def text_of(svg):
    """What is written in a plot: matplotlib notes each text beside its outlines."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.fromstring(svg, parser)
    return " ".join(element.text for element in root.iter(ElementTree.Comment)).replace("  ", " ")


def test_a_quick_run(quick):
    printed, directory = quick
    assert {path.name for path in directory.iterdir()} == {
        "report.md",
        *(f"{bench}.json" for bench in BENCHES),
        *(f"{plot}.svg" for plot in PLOTS),
    }
    for bench in BENCHES:
        assert f"=== bench/{bench}.py" in printed
    for last_line in ("every signature checked", "every answer, and", "every document, every signature"):
        assert last_line in printed
    page = (directory / "report.md").read_text(encoding="utf-8")
    assert "A QUICK RUN: its times mean nothing (sign, connection, bulk)" in page
    assert "not judged" in page
    assert "MISSED" not in page
    assert "reached" not in page


def test_what_the_page_and_each_plot_state(quick):
    directory = quick[1]
    page = (directory / "report.md").read_text(encoding="utf-8")
    readme = " ".join((BENCH / "README.md").read_text(encoding="utf-8").split())
    for plot, bench in PLOTS.items():
        results = json.loads((directory / f"{bench}.json").read_text(encoding="utf-8"))
        drawn = text_of((directory / f"{plot}.svg").read_text(encoding="utf-8"))
        assert f"]({plot}.svg)" in page
        stated = [f"{package} {version}" for package, version in results["versions"].items()]
        assert len(stated) > 5
        for text in (*stated, results["machine"], results["date"], "A QUICK RUN"):
            assert text in drawn, plot
            assert text in page
        unmeasured = drawn[drawn.index("Not measured: ") :]
        assert unmeasured.strip() in readme
        assert unmeasured.strip() in page


def test_every_row_is_on_the_page(quick):
    directory = quick[1]
    page = (directory / "report.md").read_text(encoding="utf-8")
    sign, connection, bulk = (json.loads((directory / f"{bench}.json").read_text()) for bench in BENCHES)
    tables = [
        *(case["rows"] for case in sign["cases"].values()),
        *sign["threads"].values(),
        *connection["schemes"].values(),
        *bulk["encodings"].values(),
    ]
    rows = [row for table in tables for row in table]
    curve = sum(1 for row in sign["sizes"]["1024"] if row in sign["sizes"]["5242880"])
    listed = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    targets = sum(len(found["targets"]) for found in (sign, connection, bulk))
    headers = len(tables) + len(connection["schemes"]) + 2  # of asyncio's tables; of the curve and the targets
    rules = headers
    assert len(listed) == len(rows) + curve + targets + headers + rules
    assert set(rows) <= set(listed)


def test_the_same_json_gives_the_same_bytes(quick, tmp_path):
    """Whatever the settings of matplotlib, of the hashes, and of the clock."""
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: none\naxes.facecolor: red\n")
    settings = {"MPLCONFIGDIR": str(tmp_path), "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo"}
    again = tmp_path / "again"
    run = run_report("--from", quick[1], "--out", again, **settings)
    assert run.returncode == 0, run.stdout + run.stderr
    for path in quick[1].iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


TARGETS = [  # bench, a part of the target's name, measured, target, aim, verdict
    ("sign", "opensearch-py / ours (python)", 4.994, "at least 5x", "at least 8x", "MISSED"),
    ("sign", "opensearch-py / ours (python)", 5.0, "at least 5x", "at least 8x", "reached, but not the aim"),
    ("sign", "opensearch-py / ours (python)", 8.0, "at least 5x", "at least 8x", "reached, and the aim too"),
    ("sign", "5 MB: ours (python) / hashlib", 1.04, "at most 1.03x", "at most 1x", "MISSED"),
    ("sign", "5 MB: ours (python) / hashlib", 1.02, "at most 1.03x", "at most 1x", "reached, but not the aim"),
    ("connection", "ours, signed (python)", 0.86, "at most 0.85x", "at most 0.6x", "MISSED"),
    ("connection", "ours, signed (python)", 0.6, "at most 0.85x", "at most 0.6x", "reached, and the aim too"),
    ("bulk", "peak memory: our command, plain", 150.2, "at most 150 MB", "at most 100 MB", "MISSED"),
    ("bulk", "peak memory: our command, plain", 149.0, "at most 150 MB", "at most 100 MB", "reached, but not the aim"),
    ("bulk", "compressed size over opensearch-py's level 9: our command", 8.2, "at most 8%", "at most 3%", "MISSED"),
    (
        "bulk",
        "compressed size over opensearch-py's level 9: our command",
        -1.0,
        "at most 8%",
        "at most 3%",
        "reached, and the aim too",
    ),
]


@pytest.mark.parametrize(("bench", "name", "measured", "target", "aim", "verdict"), TARGETS)
def test_targets(report, results, bench, name, measured, target, aim, verdict):
    (changed,) = (
        found
        for found in results[bench]["targets"]
        if name in str(found.get("ratio") or found.get("row") or found.get("what"))
    )
    changed["measured"] = measured
    (told,) = (told for told in report.targets(results) if name in told[0])
    assert told[2:] == (target, aim, verdict)
    assert told[1].startswith(f"{measured:.2f}")
    section = report.targets_section([told])
    assert f"Of 1: 1 {verdict}." in section
    assert (f"- {told[0]}: {told[1]}, not {target}" in section) is (verdict == "MISSED")


def test_what_is_not_measured_is_not_reached(report, results):
    for found in results["sign"]["targets"]:
        found["measured"] = None
    told = [told for told in report.targets(results) if told[0].startswith("CPU of one signature")]
    assert len(told) == 7
    assert {(measured, verdict) for _, measured, _, _, verdict in told} == {("-", "not measured")}


def test_a_wrong_row_makes_no_page(quick, tmp_path):
    for bench in BENCHES:
        results = json.loads((quick[1] / f"{bench}.json").read_text(encoding="utf-8"))
        if bench == "connection":
            results["problems"] = ["WRONG: raw socket, http"]
        (tmp_path / f"{bench}.json").write_text(json.dumps(results), encoding="utf-8")
    out = tmp_path / "out"
    run = run_report("--from", tmp_path, "--out", out)
    assert run.returncode == 1
    assert "WRONG: raw socket, http" in run.stdout
    assert not out.exists()
    (tmp_path / "bulk.json").unlink()
    run = run_report("--from", tmp_path, "--out", out)
    assert run.returncode == 1
    assert "bulk.json is not there" in run.stderr
    assert not out.exists()


def test_a_bench_that_fails_makes_no_page(report, monkeypatch, tmp_path):
    """It writes its JSON nevertheless, as the benches do, and the next bench is not begun."""
    bench = "import pathlib, sys\npathlib.Path(sys.argv[2]).write_text('{}')\nraise SystemExit(1)\n"
    (tmp_path / "sign.py").write_text(bench)
    monkeypatch.setattr(report, "BENCH", tmp_path)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["report.py", "--out", str(out)])
    with pytest.raises(SystemExit, match=r"bench/sign\.py ended with 1: no page"):
        report.main()
    assert not out.exists()


def test_without_the_extension(report, results):
    """Rows that could not be measured are left out of the plots, and the page says why."""
    note = "ours (cython): left out: opensearch_sigv4.backend is 'python'"

    def without(tree):
        if not isinstance(tree, dict):
            return tree
        return {
            key: without(value)
            for key, value in tree.items()
            if "cython" not in key and key != "opensearch-py, our connection"
        }

    left = {bench: without(found) | {"notes": [note]} for bench, found in results.items()}
    written = report.files(left)
    assert note in written["report.md"]
    for plot in PLOTS:
        drawn = text_of(written[f"{plot}.svg"])
        assert "left out" in drawn
        assert "(python)" in drawn
        assert "(cython)" not in drawn.replace(note, "")


def test_a_busy_machine_is_named(report, results):
    for rows in results["sign"]["threads"].values():
        for found in rows.values():
            found["1"]["wall_us"]["min"] = found["1"]["cpu_us"]["min"]
    assert "BUSY" not in report.page(results)
    results["sign"]["threads"]["1 KB body, 300-character session token, warm key"]["awscrt"]["1"]["wall_us"]["min"] *= (
        1.2
    )
    written = report.files(results)
    note = "THE MACHINE WAS BUSY: do not use these rates (awscrt)"
    assert note in written["report.md"]
    assert [plot for plot in PLOTS if note in text_of(written[f"{plot}.svg"])] == ["sign_in_threads"]


def test_layers_are_differences_of_rows(report, results):
    plots = importlib.import_module("plots")
    rows = results["connection"]["schemes"]["http"]
    for row, us in {
        "raw socket": 5,
        "http.client": 60,
        "urllib3 urlopen": 130,
        "opensearch-py, unsigned": 150,
        "opensearch-py, signed": 290,
        "opensearch-py, signed, with its client": 320,
        "ours, unsigned": 65,
        "ours, signed (python)": 95,
        "ours, signed (python), with the client": 90,  # cheaper than what is inside it, which only noise can do
    }.items():
        rows[row]["cpu_us"]["min"] = us
    layers = plots.layers(results["connection"])
    assert [us for _, us in layers["opensearch-py"]] == [5, 55, 70, 20, 140, 30]
    assert [us for _, us in layers["ours (python)"]] == [5, 60, 30, -5]
    rows.pop("ours, signed (cython)", None)
    written = report.files(results)
    assert "below zero and not shown: ours (python): opensearch-py's client, JSON" in written["report.md"]
    drawn = text_of(written["one_request.svg"])
    assert "below zero" in drawn
    assert {"320", "90"} <= set(drawn.split())
