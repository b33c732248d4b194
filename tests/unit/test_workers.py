"""The queue for a model's connections: none is lost, whoever gives up in whatever moment."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from container.native.errors import NotNow
from container.native.worker import Worker
from container.native.workers import Limits, Workers


async def _client_leaves(workers: Workers, worker: Worker) -> None:
    turn = asyncio.ensure_future(workers.turn())
    await asyncio.sleep(0)
    workers.release(worker)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn


async def _client_leaves_before(workers: Workers, worker: Worker) -> None:
    turn = asyncio.ensure_future(workers.turn())
    await asyncio.sleep(0)
    turn.cancel()
    await asyncio.sleep(0)
    workers.release(worker)


async def _time_is_over(workers: Workers, worker: Worker) -> None:
    with pytest.raises(NotNow):
        await workers.turn()
    workers.release(worker)


@pytest.mark.parametrize("ends", [_client_leaves, _client_leaves_before, _time_is_over])
def test_connection_that_nobody_takes_any_more_is_there_for_the_next(
    ends: Callable[[Workers, Worker], Awaitable[None]],
) -> None:
    async def run(stack: ExitStack) -> None:
        """The one connection that there may be is taken at first."""
        wait = 0.01 if ends is _time_is_over else 5.0
        workers = Workers(Limits(10, 1, wait), b"", lambda theirs: stack.enter_context(theirs.dup()))
        worker = await workers._take(lambda theirs: stack.enter_context(theirs.dup()))
        await ends(workers, worker)
        async with asyncio.timeout(5.0):
            assert await workers.turn() is worker
            workers.release(worker)
            await workers.rest()
        workers.close()
        await asyncio.sleep(0)

    with ExitStack() as stack:
        asyncio.run(run(stack))
