"""Which core is used: what the environment asks for, what can be loaded, and that each signs the same."""

import importlib
import json
import shutil
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import opensearch_sigv4
from conftest import EXTENSION_REQUIRED, twin
from processes import PURE, SIGN, run, sign_in_new_process, signed_here

COMPILED = "opensearch_sigv4.core._cython"


@pytest.fixture(scope="module")
def cython():
    return twin("cython")


def test_the_extension_is_used_where_it_must_have_been_built():
    assert opensearch_sigv4.backend in (["cython"] if EXTENSION_REQUIRED else ["cython", "python"])


def test_the_core_in_use_is_not_mixed():
    for name in ("sign", "RequestSigner", "SigningKey", "Kept", "payload_hash", "select_hash_path"):
        expected = f"opensearch_sigv4.core._{opensearch_sigv4.backend}"
        assert getattr(opensearch_sigv4.core, name).__module__ == expected


def test_all_that_is_compiled_is_used(cython):
    module = importlib.import_module(COMPILED)
    compiled = {name for name in opensearch_sigv4.core.__all__ if hasattr(module, name)}
    own = {name for name in compiled if getattr(module, name).__module__ == COMPILED}
    assert own == set(opensearch_sigv4.core._COMPILED)


@pytest.mark.parametrize("value", [None, "", "0"])
def test_the_extension_is_used_unless_it_is_refused(cython, value):
    result = sign_in_new_process(OPENSEARCH_SIGV4_NO_EXTENSIONS=value)
    assert (result["backend"], result["sources"], result["warnings"]) == ("cython", [COMPILED], [])
    assert result["signed"] == signed_here()


def test_the_extension_can_be_refused():
    result = sign_in_new_process(OPENSEARCH_SIGV4_NO_EXTENSIONS="1")
    assert (result["backend"], result["sources"], result["warnings"]) == ("python", PURE, [])
    assert result["hash_path"] == "openssl"
    assert result["signed"] == signed_here()


@pytest.mark.parametrize("path", ["openssl", "portable"])
def test_the_way_to_hash_can_be_chosen(cython, path):
    result = sign_in_new_process(OPENSEARCH_SIGV4_HASH=path)
    assert (result["backend"], result["hash_path"]) == ("cython", path)
    assert result["signed"] == signed_here()


@pytest.mark.parametrize("value", [None, "", "auto"])
def test_the_fastest_way_to_hash_is_the_default(cython, value):
    result = sign_in_new_process(OPENSEARCH_SIGV4_HASH=value)
    assert (result["backend"], result["hash_path"]) == ("cython", cython.hash_paths()[0])


@pytest.mark.parametrize(
    ("name", "refused", "path"), [("cython", None, "md5"), ("python", "1", "md5"), ("python", "1", "portable")]
)
def test_an_unknown_way_to_hash_names_those_there_are(name, refused, path):
    paths = ", ".join(twin(name).hash_paths())
    ran = run(sys.executable, "-c", SIGN, OPENSEARCH_SIGV4_NO_EXTENSIONS=refused, OPENSEARCH_SIGV4_HASH=path)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert (
        last
        == f"ValueError: OPENSEARCH_SIGV4_HASH: no way to compute SHA-256 is called {path!r} here; there are: {paths}"
    )


def not_an_extension(core):
    core.joinpath(f"_cython{EXTENSION_SUFFIXES[0]}").touch()
    return "ImportError: "


def without_a_name(core):
    core.joinpath("_cython.py").write_text("from ._python import Kept, RequestSigner, SigningKey\n")
    return "AttributeError: module 'opensearch_sigv4.core._cython' has no attribute 'canonical_path'"


def raises_something_else(core):
    core.joinpath("_cython.py").write_text("raise ValueError('datetime.datetime size changed')\n")
    return "ValueError: datetime.datetime size changed"


def lacks_a_module_itself(core):
    core.joinpath("_cython.py").write_text("import opensearch_sigv4.core._gone\n")
    return "ModuleNotFoundError: No module named 'opensearch_sigv4.core._gone'"


@pytest.fixture
def pure_copy(tmp_path):
    """The package without its extension, in a folder for PYTHONPATH."""
    package = tmp_path / "path" / "opensearch_sigv4"
    ignored = shutil.ignore_patterns("__pycache__", *(f"*{suffix}" for suffix in EXTENSION_SUFFIXES))
    shutil.copytree(Path(opensearch_sigv4.__file__).parent, package, ignore=ignored)
    return package


@pytest.mark.parametrize(
    "broken", [not_an_extension, without_a_name, raises_something_else, lacks_a_module_itself], ids=lambda f: f.__name__
)
def test_a_broken_extension_is_named_and_python_signs(pure_copy, broken):
    reason = broken(pure_copy / "core")
    result = sign_in_new_process(PYTHONPATH=str(pure_copy.parent))
    assert result["file"] == str(pure_copy / "__init__.py")
    assert (result["backend"], result["sources"]) == ("python", PURE)
    (warning,) = result["warnings"]
    assert warning.startswith(
        f"RuntimeWarning: the compiled core cannot be loaded, signing in Python instead: {reason}"
    )
    assert result["signed"] == signed_here()


def test_an_extension_that_was_not_built_is_no_reason_to_warn(pure_copy):
    result = sign_in_new_process(PYTHONPATH=str(pure_copy.parent))
    assert result["file"] == str(pure_copy / "__init__.py")
    assert (result["backend"], result["sources"], result["warnings"]) == ("python", PURE, [])


# A second interpreter that shares the main one's GIL, and from 3.13 on one that has its own. CPython 3.12.1 corrupts
# its memory where the latter uses hashlib and hmac, and 3.13.0 where it does so first, without anything of ours.
if sys.version_info >= (3, 13):
    INTERPRETERS, SHARED_GIL, OWN_GIL = "_interpreters", "'legacy'", [("'isolated'", "main")]
else:
    INTERPRETERS, SHARED_GIL, OWN_GIL = "_xxsubinterpreters", "isolated=False", []


@pytest.mark.parametrize(("kind", "first"), [(SHARED_GIL, "main"), (SHARED_GIL, "second"), *OWN_GIL])
def test_only_one_interpreter_of_a_process_has_the_extension(cython, kind, first):
    """Cython's module is one for the whole process: the others sign in Python, and say so."""
    pytest.importorskip(INTERPRETERS)
    in_main = f"exec({SIGN!r}, {{}})"
    in_second = f"module.run_string(module.create({kind}), {SIGN!r})"
    order = [in_main, in_second] if first == "main" else [in_second, in_main]
    ran = run(sys.executable, "-c", "\n".join([f"import {INTERPRETERS} as module", *order]))
    assert ran.returncode == 0, ran.stderr
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [result["signed"] for result in results] == [signed_here()] * 2
    assert [(result["backend"], result["sources"]) for result in results] == [("cython", [COMPILED]), ("python", PURE)]
    assert results[0]["warnings"] == []
    (warning,) = results[1]["warnings"]
    assert warning.startswith("RuntimeWarning: the compiled core cannot be loaded, signing in Python instead: Import")
