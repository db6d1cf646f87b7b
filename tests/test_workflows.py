"""What has to agree between the workflows, .ci and pyproject.toml. actionlint and zizmor (.ci/lint) judge the rest."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
if not WORKFLOWS:
    pytest.skip("an sdist has no workflows", allow_module_level=True)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CI = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")


def version_list(text, pattern):
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return set(re.findall(r"3\.\d+", found))


IN_CI = version_list(CI, r'^        python: (\[(?:"3\.\d+"(?:, )?)+\])$')
TRIED = version_list(CI, r"continue-on-error: \$\{\{ (matrix\.python == '3\.\d+') \}\}")


def test_every_supported_python_must_pass_in_ci():
    classified = set(re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"])))
    in_run = version_list((ROOT / ".ci/pythons").read_text(encoding="utf-8"), r'^SUPPORTED="(.*)"$')
    assert classified
    assert classified | in_run <= IN_CI - TRIED
    assert PROJECT["requires-python"] == f">={min(IN_CI, key=Version)}"


def requirements(lines):
    return [Requirement(line) for line in lines]


def lower_bounds():
    """The highest lower bound of each name, whichever extra has it."""
    bounds = {}
    everything = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in requirements(line for lines in everything for line in lines):
        for specifier in requirement.specifier:
            if specifier.operator == ">=":
                bound = Version(specifier.version)
                bounds[requirement.name] = max(bound, bounds.get(requirement.name, bound))
    return bounds


def pins_of(name):
    pins = {}
    for requirement in requirements((ROOT / name).read_text(encoding="utf-8").split()):
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        pins[requirement.name] = Version(specifier.version)
    return pins


def test_the_oldest_clusters_in_ci_are_those_that_are_claimed():
    pins, bounds = pins_of(".ci/oldest-cluster.txt"), lower_bounds()
    assert pins == {"pyspark": bounds["pyspark"], "dask": bounds["dask"], "distributed": bounds["dask"]}


def test_the_oldest_dependencies_in_ci_are_those_that_are_claimed():
    pins, bounds = pins_of(".ci/oldest.txt"), lower_bounds()
    assert pins == {name: bounds.get(name) for name in pins}
    used = {
        requirement.name
        for extra in ("async", "bulk", "httpx")
        for requirement in requirements([*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]])
    }
    assert used <= pins.keys()


def test_actions_are_pinned_each_to_one_commit():
    commits = {}
    for workflow in WORKFLOWS:
        for line in re.findall(r"^ *(?:- )?uses: (.*)$", workflow.read_text(encoding="utf-8"), re.MULTILINE):
            if line.startswith("./"):
                continue
            pinned = re.fullmatch(r"([\w-]+/[\w-]+)[\w/-]*@([0-9a-f]{40}) # v\d+\.\d+\.\d+", line)
            assert pinned, f"{workflow.name}: {line}"
            commits.setdefault(pinned[1], set()).add(line.partition("@")[2])
    assert len(commits) > 3
    assert {action: len(pins) for action, pins in commits.items()} == dict.fromkeys(commits, 1)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_every_job_has_an_end(workflow):
    _, _, jobs = workflow.read_text(encoding="utf-8").partition("\njobs:\n")
    _, *named = re.split(r"^  ([\w-]+):$", jobs, flags=re.MULTILINE)
    assert named
    for name, job in zip(named[::2], named[1::2], strict=True):
        is_a_call = re.search(r"^    uses: ", job, re.MULTILINE)
        assert is_a_call or re.search(r"^    timeout-minutes: \d+$", job, re.MULTILINE), name


def test_all_that_takes_long_is_run_by_a_workflow():
    (sections,) = re.findall(r"\|\| set -- (.*)$", (ROOT / ".ci/full").read_text(encoding="utf-8"), re.MULTILINE)
    called = set(re.findall(r"run: \.ci/full (\w+)$", CI, re.MULTILINE))
    weekly = (ROOT / ".github/workflows/sanitizers.yml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^        section: \[(.*)\]$", weekly, re.MULTILINE)
    # What `pythons` is for on one machine is the matrix of ci.yml, and each job there is a stranger's machine.
    assert set(sections.split()) == called | set(listed.split(", ")) | {"pythons", "stranger"}


def test_the_wheels_are_tested_with_tests_that_there_are():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]
    tests = re.findall(r"tests/\S+", settings["test-command"])
    assert tests
    assert [name for name in tests if not (ROOT / name).exists()] == []
