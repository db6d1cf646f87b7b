"""What the targets share: how one is run, and how the library's Python code has its coverage counted.

    fuzz_NAME.py --seeds DIRECTORY    write the inputs to start from
    fuzz_NAME.py [libFuzzer's options] DIRECTORY...

A target is `check`, to which every input is an assertion, and `seeds`. It is imported without atheris, too:
test_fuzz.py, in the quick suite, runs each for a moment.
"""

import contextlib
import sys
from pathlib import Path

try:
    import atheris
except ModuleNotFoundError:
    atheris = None

END = b"\xff"


def instrumented():
    """What of the library is imported first within it has its coverage counted, and its comparisons seen."""
    return contextlib.nullcontext() if atheris is None else atheris.instrument_imports(include=["opensearch_sigv4"])


def text_of(data):
    """Text of any kind: bytes that are not UTF-8 are lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def fields_of(data, count):
    """The fields of an input, which are between 0xFF; the last one has what is left."""
    fields = data.split(END, count - 1)
    return fields + [b""] * (count - len(fields))


def outcome(function, *arguments):
    try:
        return "returned", function(*arguments)
    except Exception as error:
        return type(error), str(error)


def main(check, seeds):
    if sys.argv[1:2] == ["--seeds"]:
        for number, seed in enumerate(seeds()):
            Path(sys.argv[2], f"seed-{number:03d}").write_bytes(seed)
        return
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
