"""Write the API reference, as HTML of the docstrings.

    pip install -e '.[dev,dask]' pdoc
    python docs/reference.py DIRECTORY

It fails for whatever pdoc warns of, and for a public name without a docstring.
"""

import inspect
import re
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc
import pdoc.doc
import pdoc.docstrings

MODULES = (
    "opensearch_sigv4",
    "opensearch_sigv4.helpers",
    "opensearch_sigv4.integrations",
    "opensearch_sigv4.integrations.dask",
    "opensearch_sigv4.testing",
    "opensearch_sigv4.timing",
    "opensearch_sigv4.compression",
    "opensearch_sigv4.credentials",
    "opensearch_sigv4.endpoint",
    "opensearch_sigv4.responses",
)


def resolve(name):
    """The module, with the names that it imports on first use in its `__dict__`, where pdoc looks for them."""
    module = import_module(name)
    for public in getattr(module, "__all__", ()):
        setattr(module, public, getattr(module, public))
    return module


def undocumented(module):
    """The public names of a module, and of its classes, that have no docstring."""
    for member in pdoc.doc.Module(module).members.values():
        documented = [member, *member.members.values()] if isinstance(member, pdoc.doc.Class) else [member]
        for each in documented:
            own = inspect.unwrap(each.obj) if callable(getattr(each, "obj", None)) else None
            is_ours = (getattr(own, "__module__", None) or "").startswith("opensearch_sigv4")
            if each.is_inherited or each.name.startswith("_") or each.docstring.strip() or not is_ours:
                continue
            yield each.fullname


def with_lists(docstring, convert=pdoc.docstrings.google):
    """The classes that users of opensearch-py meet have its `:arg name:` form: each becomes an item of a list."""
    return convert(re.sub(r"^:arg ([\w, ]+): ", r"- **\1**: ", docstring, flags=re.MULTILINE))


def main():
    if len(sys.argv) != 2:
        return "usage: python docs/reference.py DIRECTORY"
    directory = Path(sys.argv[1])
    warnings.simplefilter("error")
    modules = [resolve(name) for name in MODULES]
    missing = [name for module in modules for name in undocumented(module)]
    if missing:
        return "no docstring: " + ", ".join(missing)
    pdoc.docstrings.google = with_lists
    pdoc.render.configure(docformat="google", show_source=False, footer_text="opensearch-sigv4")
    pdoc.pdoc(*MODULES, output_directory=directory)
    return None


if __name__ == "__main__":
    raise SystemExit(main())
