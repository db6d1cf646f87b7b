"""The command `opensearch-sigv4`."""

import sys


def main() -> None:
    """Run the command line; without its extra, say in one line how to get it."""
    try:
        from ._commands import cli
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("click", "rich"):
            raise
        sys.exit(f"opensearch-sigv4: {missing} is missing: pip install 'opensearch-sigv4[cli]'")
    except KeyboardInterrupt:  # loading takes a moment
        sys.exit(130)
    cli()
