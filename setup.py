"""Builds the compiled core where that can be done; everything else about the package is in pyproject.toml.

OPENSEARCH_SIGV4_EXTENSIONS says what happens where it cannot (no compiler, no Python headers, no Cython):
    auto      (the default) the package is installed without it, as a pure-Python one, and one line says so
    require   the build fails
    no        it is not tried
"""

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = Path("src", "opensearch_sigv4", "core")
POLICY = os.environ.get("OPENSEARCH_SIGV4_EXTENSIONS") or "auto"


class BuildError(Exception):
    """The extension cannot be built here; the text says why."""


class BuildExtension(build_ext):
    def run(self) -> None:
        try:
            from Cython.Build import cythonize

            for extension in self.extensions:
                # The generated C stays out of the source tree, and so out of wheels and sdists.
                built = cythonize([extension], build_dir=str(Path(self.build_temp, "cython")))
                extension.sources = built[0].sources
            super().run()
        except Exception as error:  # compilers and Cython fail in ways of their own
            raise BuildError(f"{type(error).__name__}: {error}") from error


def core_extension() -> Extension:
    # A sanitizer's report needs the symbols that a release does without.
    is_release = "-fsanitize" not in os.environ.get("CFLAGS", "")
    is_posix = os.name == "posix"
    return Extension(
        "opensearch_sigv4.core._cython",
        [str(CORE / "_cython.pyx"), *map(str, sorted(CORE.glob("csrc/*.c")))],
        include_dirs=[str(CORE / "csrc")],
        depends=[str(CORE / "_cython.pxd"), *map(str, sorted(CORE.glob("csrc/*.h")))],
        extra_compile_args=["-O2", "-fvisibility=hidden", *["-g0"][:is_release]] if is_posix else [],
        extra_link_args=["-s"] if is_release and sys.platform == "linux" else [],
    )


def install_without() -> None:
    for built in CORE.glob("_cython.*"):
        if built.suffix in (".so", ".pyd"):
            built.unlink()  # Left by an editable installation, which would go on using it.
    setup()


def main() -> None:
    if POLICY not in ("auto", "require", "no"):
        sys.exit(f"OPENSEARCH_SIGV4_EXTENSIONS={POLICY}: it must be auto, require or no")
    if POLICY == "no" or (POLICY == "auto" and platform.python_implementation() != "CPython"):
        install_without()
        return
    try:
        setup(ext_modules=[core_extension()], cmdclass={"build_ext": BuildExtension})
    except BuildError as error:
        if POLICY == "require":
            sys.exit(f"opensearch-sigv4: the compiled core could not be built: {error}")
        sys.stderr.write(
            f"opensearch-sigv4: THE COMPILED CORE COULD NOT BE BUILT ({error}). Installing the pure-Python core: the "
            "same results, about ten times slower. OPENSEARCH_SIGV4_EXTENSIONS=require makes this an error.\n"
        )
        install_without()


main()
