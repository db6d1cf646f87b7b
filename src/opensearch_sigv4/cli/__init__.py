"""The command `opensearch-sigv4`."""

import sys


def main() -> None:
    """Run the command line; without its extra, say in one line how to get it."""
    try:
        from ._commands import cli
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"opensearch-sigv4: {error.name} is missing: pip install 'opensearch-sigv4[cli]'")
    cli()
