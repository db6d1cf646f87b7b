"""The pytest plugin, loaded through the entry point `pytest11`: the fixture `local_domain`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import LocalDomain


@pytest.fixture
def local_domain() -> Iterator[LocalDomain]:
    """A started `opensearch_sigv4.testing.LocalDomain` in front of an empty node, closed after the test."""
    try:
        from . import LocalDomain

        domain = LocalDomain().start()
    except ImportError as error:  # its one line says what to install
        pytest.fail(str(error), pytrace=False)
    with closing(domain):
        yield domain
