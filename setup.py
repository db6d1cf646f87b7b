"""Builds the compiled core where that can be done; everything else about the package is in pyproject.toml.

OPENSEARCH_SIGV4_EXTENSIONS says what happens where it cannot (no compiler, no Python headers, no Cython):
    auto      (the default) the package is installed without it, as a pure-Python one, and one line says so
    require   the build fails
    no        it is not tried
"""

import os
import platform
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

CORE = Path("src", "opensearch_sigv4", "core")
VARIABLE = "OPENSEARCH_SIGV4_EXTENSIONS"
POLICY = os.environ.get(VARIABLE) or "auto"
CFLAGS = os.environ.get("CFLAGS", "").split()


class BuildError(Exception):
    """The extension cannot be built here; the text says why."""


class BuildExtension(build_ext):
    def run(self) -> None:
        # A linker that failed may have left a file that is newer than all sources: nothing of an earlier build counts.
        self.force = True
        try:
            from Cython.Build import cythonize

            for extension in self.extensions:
                # The generated C stays out of the source tree, and so out of wheels and sdists.
                built = cythonize([extension], build_dir=str(Path(self.build_temp, "cython")), force=True)
                extension.sources = built[0].sources
            super().run()
        except Exception as error:  # compilers and Cython fail in ways of their own
            raise BuildError(reason(error)) from error


class PureEditableWheel(editable_wheel):
    def run(self) -> None:
        for suffix in EXTENSION_SUFFIXES:  # Left by an earlier editable installation, this one would go on using it.
            CORE.joinpath(f"_cython{suffix}").unlink(missing_ok=True)
        super().run()


def reason(error: BaseException) -> str:
    """What went wrong, on one line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, subprocess.CalledProcessError):  # Its own text has the compiler's whole command line.
            return f"{cause.cmd[0]} failed with exit code {cause.returncode}"
        cause = cause.__cause__ or cause.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())


def core_extension() -> Extension:
    # A sanitizer's report needs the symbols that a release does without. CFLAGS replaces the flags of Python's own
    # build: without NDEBUG the assertions in its headers are compiled in, with the paths of those headers.
    is_release = not any(flag.startswith("-fsanitize") for flag in CFLAGS)
    compile_args = ["-fvisibility=hidden"]
    if is_release:
        compile_args += ["-DNDEBUG", "-g0"]
    if not any(flag.startswith("-O") for flag in CFLAGS):
        compile_args.append("-O2")
    return Extension(
        "opensearch_sigv4.core._cython",
        [str(CORE / "_cython.pyx"), *map(str, sorted(CORE.glob("csrc/*.c")))],
        include_dirs=[str(CORE / "csrc")],
        depends=[str(CORE / "_cython.pxd"), *map(str, sorted(CORE.glob("csrc/*.h")))],
        extra_compile_args=compile_args if os.name == "posix" else [],
        # Bound at once: the dynamic linker's lazy way saves the vector registers, keys and all, on the stack.
        extra_link_args=["-Wl,-z,now", *["-s"][:is_release]] if sys.platform == "linux" else [],
    )


def main() -> None:
    if POLICY not in ("auto", "require", "no"):
        sys.exit(f"opensearch-sigv4: {VARIABLE}={POLICY}: it must be auto, require or no")
    if POLICY == "no" or (POLICY == "auto" and platform.python_implementation() != "CPython"):
        setup(cmdclass={"editable_wheel": PureEditableWheel})
        return
    try:
        setup(ext_modules=[core_extension()], cmdclass={"build_ext": BuildExtension})
    except BuildError as error:
        if POLICY == "require":
            sys.exit(f"opensearch-sigv4: the compiled core could not be built: {error}")
        sys.stderr.write(
            f"opensearch-sigv4: THE COMPILED CORE COULD NOT BE BUILT ({error}). Installing the pure-Python core: the "
            f"same results, several times slower. {VARIABLE}=require makes this an error.\n"
        )
        # In a process of its own: setuptools keeps state, such as which directories it has made, and an editable
        # installation failed on it. The warning is one that setuptools' own build backend silences, too.
        command = [sys.executable, "-W", "ignore:setup.py install is deprecated", __file__, *sys.argv[1:]]
        retried = subprocess.run(command, env={**os.environ, VARIABLE: "no"}, check=False)  # noqa: S603
        if retried.returncode:
            sys.exit(retried.returncode)


main()
