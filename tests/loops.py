"""Event loops of tests: nothing may be left on one, and in a module that asks for it nothing may block one."""

import asyncio
import gc

import pytest
from blockbuster import blockbuster_ctx

from refreshing import join_refreshers


@pytest.fixture(scope="module", autouse=True)
def nothing_blocks_a_loop():
    """To be imported by name: whatever blocks a loop raises."""
    with blockbuster_ctx() as blocking:
        # opensearch-py makes its connections in the first request, and reads certificates then.
        blocking.functions["os.stat"].can_block_in("opensearchpy/connection/http_async.py", "__init__")
        yield


def run(coroutine):
    """The result, on a loop of its own on which no task may be left; what was left open warns, which is an error."""

    async def main():
        result = await coroutine
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    try:
        return asyncio.run(main())
    finally:
        join_refreshers()
        gc.collect()
