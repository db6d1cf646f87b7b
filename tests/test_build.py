"""The build policy, OPENSEARCH_SIGV4_EXTENSIONS, by real builds of copies of the source tree.

They use this environment's setuptools and Cython, so that no network is needed; .ci/run has the isolated builds.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from conftest import EXTENSION_REQUIRED
from processes import PURE, run, sign_in_new_process, signed_here

ROOT = Path(__file__).resolve().parents[1]
MODULE = f"_cython{EXTENSION_SUFFIXES[0]}"
CORE = Path("src", "opensearch_sigv4", "core")
EXTENSION_ENDINGS = (".so", ".pyd", ".dylib", ".dll")
SOURCE_ENDINGS = (".c", ".h", ".pyx", ".pxd")
LOUD = "THE COMPILED CORE COULD NOT BE BUILT"
NAME = "opensearch-sigv4: "
MAX_EXTENSION_BYTES = 300_000
QUICK = {"CFLAGS": "-O0"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the compilers that fail are shell scripts")


def copy_of_the_tree(target):
    """What a clone has; and where this is no clone but an unpacked sdist, what that has."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            target.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    else:
        ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so")
        shutil.copytree(ROOT, target, ignore=ignored, dirs_exist_ok=True)
    return target


@pytest.fixture
def tree(tmp_path):
    """A tree with a smaller extension, where it does not matter what is compiled: a second instead of six."""
    tree = copy_of_the_tree(tmp_path / "tree")
    core = tree / CORE
    core.joinpath("_cython.pxd").write_text("")
    core.joinpath("_cython.pyx").write_text("from ._python import *\nfrom ._python import Kept, RequestSigner\n")
    return tree


def compiler():
    """The compiler that this Python's extensions are built with."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if found := shutil.which(command):
        return found
    reason = f"no C compiler: {command}"
    return pytest.fail(reason) if EXTENSION_REQUIRED else pytest.skip(reason)


def pip_wheel(source, target, *options, **changes):
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", *options]
    return run(*command, "-w", target, source, **changes)


def build(hook, tree, **changes):
    """One call of the build backend, as a frontend makes it; and what it made."""
    target = tree.parent / "built"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    call = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
    ran = run(sys.executable, "-c", call, target, cwd=tree, **changes)
    made = [path for path in target.iterdir() if path.is_file()]
    return ran, made[0] if made else None


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def extensions(wheel):
    return [name for name in contents(wheel) if name.endswith(EXTENSION_ENDINGS)]


def our_lines(text):
    return [line for line in text.splitlines() if NAME in line]


def is_pure(wheel):
    return wheel.name.endswith("-py3-none-any.whl") and extensions(wheel) == []


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def new_venv(path):
    venv.create(path)
    return path / "bin" / "python"


def install(python, wheel):
    ran = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    assert ran.returncode == 0, ran.stdout + ran.stderr


# --- a machine that can compile ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The tree, the wheel that pip builds from it, its sdist, and the wheel that pip builds from that."""
    compiler()
    base = tmp_path_factory.mktemp("released")
    tree = copy_of_the_tree(base / "tree")
    ran, sdist = build("build_sdist", tree, OPENSEARCH_SIGV4_EXTENSIONS="require")
    assert ran.returncode == 0, ran.stderr
    wheels = []
    for source in (tree, sdist):
        target = base / f"wheel-of-{source.name}"
        ran = pip_wheel(source, target, OPENSEARCH_SIGV4_EXTENSIONS="require")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert LOUD not in ran.stdout + ran.stderr
        wheels.extend(target.iterdir())
    return tree, wheels[0], sdist, wheels[1]


def test_a_wheel_holds_the_extension_and_nothing_it_was_built_from(released):
    tree, wheel, _, _ = released
    files = contents(wheel)
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert re.fullmatch(rf"opensearch_sigv4-[^-]+-{tag}-{tag}t?-(?!any)\w+\.whl", wheel.name)
    assert extensions(wheel) == [f"opensearch_sigv4/core/{MODULE}"]
    assert [name for name in files if name.endswith(SOURCE_ENDINGS)] == []
    packaged = {name for name in files if ".dist-info/" not in name} - set(extensions(wheel))
    expected = {path.relative_to(tree / "src").as_posix() for path in tree.joinpath("src").rglob("*.py")}
    assert packaged == expected | {"opensearch_sigv4/py.typed"}


def test_the_extension_is_small_and_tells_nothing_of_the_machine(released):
    tree, wheel, _, _ = released
    extension = contents(wheel)[f"opensearch_sigv4/core/{MODULE}"]
    assert len(extension) < MAX_EXTENSION_BYTES
    if sys.platform == "linux":
        assert b".symtab" not in extension
        assert b".debug_" not in extension
    for name, content in contents(wheel).items():
        for path in (str(tree.parent), str(ROOT), sys.prefix, sysconfig.get_path("include")):
            assert path.encode() not in content, name


def test_an_installed_wheel_signs_with_the_extension(released, tmp_path):
    python = new_venv(tmp_path / "venv")
    install(python, released[1])
    result = sign_in_new_process(python)
    assert result["file"].startswith(str(tmp_path))
    assert (result["backend"], result["warnings"]) == ("cython", [])
    assert result["signed"] == signed_here()


def sources(sdist):
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_an_sdist_has_all_that_is_compiled_and_nothing_that_was(released):
    tree, _, sdist, _ = released
    files = sources(sdist)
    compiled = {path.relative_to(tree).as_posix() for path in tree.joinpath(CORE).rglob("*.*") if path.is_file()}
    assert {str(CORE / name) for name in ("_cython.pyx", "_cython.pxd", "csrc/sha256.c", "csrc/sha256.h")} <= compiled
    assert compiled - {name for name in compiled if name.endswith(EXTENSION_ENDINGS)} <= files
    assert [name for name in files if name.endswith(EXTENSION_ENDINGS) or name.startswith("build")] == []
    assert [name for name in files if name.endswith("_cython.c")] == []
    assert {"setup.py", "pyproject.toml", "LICENSE", "tests/conftest.py", "tests/c/test_sha256.c"} <= files


def test_the_tree_and_its_sdist_make_the_same_wheel(released):
    _, from_tree, _, from_sdist = released
    assert from_tree.name == from_sdist.name
    assert contents(from_tree) == contents(from_sdist)


@pytest.mark.parametrize("changes", [{"OPENSEARCH_SIGV4_EXTENSIONS": "no"}, {"CC": "/nowhere/cc"}])
def test_an_sdist_is_the_same_whatever_the_policy(released, tree, changes):
    """Leftovers of other builds are none of its business either."""
    tree.joinpath(CORE, MODULE).touch()
    tree.joinpath("build").mkdir()
    tree.joinpath("build", "_cython.c").touch()
    ran, sdist = build("build_sdist", tree, **changes)
    assert ran.returncode == 0, ran.stderr
    assert our_lines(ran.stderr) == []
    assert sources(sdist) == sources(released[2])


def test_the_flags_of_the_one_who_builds_count(tree):
    """A sanitizer needs the symbols, and -O0 is not overruled."""
    seen = tree.parent / "seen"
    recording = script(tree.parent / "cc", f'echo "$@" >> {seen}; exec {compiler()} "$@"')
    ran, _ = build(
        "build_wheel", tree, OPENSEARCH_SIGV4_EXTENSIONS="require", CC=recording, CFLAGS="-O0 -fsanitize=undefined"
    )
    assert ran.returncode == 0, ran.stderr
    # Debian's Python links with -O2 of its own.
    of_python = set(sysconfig.get_config_var("LDSHARED").split())
    for flags in map(set, map(str.split, seen.read_text().splitlines())):
        assert {"-O0", "-fsanitize=undefined"} <= flags
        assert flags.isdisjoint({"-O2", "-g0", "-s", "-DNDEBUG"} - (set() if "-c" in flags else of_python))


# --- a machine that cannot ---------------------------------------------------------------------------------


def compiler_fails(folder):
    return {"CC": script(folder / "cc", "exit 1")}, f"{folder}/cc failed with exit code 1"


def no_compiler(folder):
    return {"CC": f"{folder}/no-such-cc"}, "no-such-cc"


def linker_leaves_something(folder):
    """It fails after it has begun to write the extension."""
    text = f"""
is_link= output= previous=
for argument; do
  case $argument in -shared | -bundle) is_link=yes ;; esac
  [ "$previous" = -o ] && output=$argument
  previous=$argument
done
if [ -n "$is_link" ]; then echo half > "$output"; exit 2; fi
exec {compiler()} "$@"
"""
    linker = script(folder / "cc", text)
    return {"CC": linker}, f"{folder}/cc failed with exit code 2"


def no_headers(folder):
    text = f"""
for argument; do
  shift
  case $argument in -I*csrc) ;; -I*) continue ;; esac
  set -- "$@" "$argument"
done
exec {compiler()} "$@"
"""
    return {"CC": script(folder / "cc", text)}, f"{folder}/cc failed with exit code 1"


def no_cython(folder):
    package = folder / "path" / "Cython"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text("raise ImportError('No module named Cython')")
    return {"PYTHONPATH": str(package.parent)}, "ImportError: No module named Cython"


CANNOT = pytest.mark.parametrize(
    "cannot",
    [compiler_fails, no_compiler, linker_leaves_something, no_headers, no_cython],
    ids=lambda function: function.__name__,
)


@CANNOT
def test_auto_makes_an_honest_pure_wheel_and_says_so_in_one_line(tree, cannot):
    changes, reason = cannot(tree.parent)
    ran, wheel = build("build_wheel", tree, **QUICK, **changes)
    assert ran.returncode == 0, ran.stderr
    (line,) = our_lines(ran.stderr)
    assert line.startswith(f"{NAME}{LOUD} (")
    assert reason in line
    assert is_pure(wheel)
    assert "deprecated" not in ran.stderr
    assert [path for path in tree.joinpath("src").rglob("*") if path.suffix in EXTENSION_ENDINGS] == []
    assert list(tree.joinpath(CORE).glob("*.c")) == []


@CANNOT
def test_require_fails_and_says_why(tree, cannot):
    changes, reason = cannot(tree.parent)
    ran, wheel = build("build_wheel", tree, OPENSEARCH_SIGV4_EXTENSIONS="require", **QUICK, **changes)
    assert (ran.returncode, wheel) == (1, None)
    (line,) = our_lines(ran.stderr)
    assert line.startswith(f"{NAME}the compiled core could not be built: ")
    assert reason in line
    assert LOUD not in ran.stderr


def test_a_pure_wheel_signs_the_same(tree, tmp_path):
    changes, _ = compiler_fails(tree.parent)
    ran = pip_wheel(tree, tmp_path / "wheels", "-v", OPENSEARCH_SIGV4_EXTENSIONS="auto", **changes)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (ran.stdout + ran.stderr).count(LOUD) == 1
    (wheel,) = tmp_path.joinpath("wheels").iterdir()
    assert is_pure(wheel)
    python = new_venv(tmp_path / "venv")
    install(python, wheel)
    result = sign_in_new_process(python)
    assert result["file"].startswith(str(tmp_path))
    assert (result["backend"], result["sources"], result["warnings"]) == ("python", PURE, [])
    assert result["signed"] == signed_here()


def test_pip_shows_why_require_failed(tree, tmp_path):
    changes, reason = compiler_fails(tree.parent)
    ran = pip_wheel(tree, tmp_path / "wheels", OPENSEARCH_SIGV4_EXTENSIONS="require", **changes)
    assert ran.returncode != 0
    assert f"the compiled core could not be built: {reason}" in ran.stdout + ran.stderr


# --- the policy itself -------------------------------------------------------------------------------------


def test_no_does_not_try(tree):
    called = tree.parent / "called"
    recording = script(tree.parent / "cc", f"touch {called}; exit 1")
    no_cython_either, _ = no_cython(tree.parent)
    ran, wheel = build("build_wheel", tree, OPENSEARCH_SIGV4_EXTENSIONS="no", CC=recording, **no_cython_either)
    assert ran.returncode == 0, ran.stderr
    assert is_pure(wheel)
    assert not called.exists()
    assert our_lines(ran.stderr) == []


@pytest.mark.parametrize("value", ["yes", "1", "Require", " "])
def test_an_unknown_policy_is_an_error_that_names_them(tree, value):
    ran, wheel = build("build_wheel", tree, OPENSEARCH_SIGV4_EXTENSIONS=value)
    assert (ran.returncode, wheel) == (1, None)
    assert ran.stderr.splitlines()[-1] == f"{NAME}OPENSEARCH_SIGV4_EXTENSIONS={value}: it must be auto, require or no"


def test_one_tree_under_one_policy_after_the_other(tree):
    """setuptools keeps a build folder in the tree: nothing half-built, and no earlier extension, is taken from it."""
    half_built, _ = linker_leaves_something(tree.parent)
    require = {"OPENSEARCH_SIGV4_EXTENSIONS": "require", **QUICK}
    _, wheel = build("build_wheel", tree, **QUICK, **half_built)
    assert is_pure(wheel)
    ran, wheel = build("build_wheel", tree, **require)
    assert ran.returncode == 0, ran.stderr
    (extension,) = extensions(wheel)
    assert contents(wheel)[extension].startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"))
    failing, _ = compiler_fails(tree.parent)
    assert build("build_wheel", tree, **require, **failing)[0].returncode == 1
    for changes in ({"OPENSEARCH_SIGV4_EXTENSIONS": "no"}, failing):
        _, wheel = build("build_wheel", tree, **changes)
        assert is_pure(wheel)


def test_an_editable_installation_follows_the_policy(tree, tmp_path):
    """What an earlier one left beside the sources is not used any more, and that of another Python stays."""
    of_another_python = tree / CORE / "_cython.cpython-399-none.so"
    of_another_python.touch()
    failing, _ = compiler_fails(tree.parent)
    python = new_venv(tmp_path / "venv")

    def installed(**changes):
        ran, wheel = build("build_editable", tree, **changes)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.count(LOUD) == (changes.get("CC") is not None)
        if changes.get("OPENSEARCH_SIGV4_EXTENSIONS") == "require":  # All of them point to the same folder.
            install(python, wheel)
        result = sign_in_new_process(python)
        assert result["file"] == str(tree / "src" / "opensearch_sigv4" / "__init__.py")
        assert result["signed"] == signed_here()
        assert result["warnings"] == []
        return result["backend"]

    compiler()
    require = {"OPENSEARCH_SIGV4_EXTENSIONS": "require", **QUICK}
    assert installed(**require) == "cython"
    assert installed(OPENSEARCH_SIGV4_EXTENSIONS="no") == "python"
    assert installed(**QUICK) == "cython"
    assert installed(**failing) == "python"
    assert of_another_python.exists()
    assert build("build_editable", tree, **require, **failing)[0].returncode == 1
    assert not tree.joinpath(CORE, MODULE).exists()


def test_no_other_command_touches_an_editable_installation(tree):
    """A wheel or an sdist made from a checkout leaves alone what the checkout's own environment uses."""
    built = tree / CORE / MODULE
    built.touch()
    for hook in ("build_wheel", "build_sdist"):
        ran, _ = build(hook, tree, OPENSEARCH_SIGV4_EXTENSIONS="no")
        assert ran.returncode == 0, ran.stderr
        assert built.exists()
