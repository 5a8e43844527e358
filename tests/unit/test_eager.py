"""A coroutine that is begun without a task and finished in one."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from consumers import eager


def begin(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs it to its first wait."""
    return work.send(None)


async def test_the_rest_waits_for_what_the_beginning_waited_for() -> None:
    gate = asyncio.get_running_loop().create_future()

    async def work() -> str:
        first = await gate
        await asyncio.sleep(0)
        return f"{first} and done"

    begun = work()
    task = asyncio.ensure_future(eager.rest(begun, begin(begun)))
    await asyncio.sleep(0)
    gate.set_result("waited")
    assert await task == "waited and done"


async def test_an_error_and_a_cancellation_reach_the_place_where_it_waits() -> None:
    seen: list[str] = []

    async def work(gate: "asyncio.Future[None]") -> None:
        try:
            await gate
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        except ValueError:
            seen.append("error")

    loop = asyncio.get_running_loop()
    gates = [loop.create_future(), loop.create_future()]
    begun = [work(gate) for gate in gates]
    tasks = [asyncio.ensure_future(eager.rest(each, begin(each))) for each in begun]
    await asyncio.sleep(0)
    gates[0].set_exception(ValueError())
    await tasks[0]
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert seen == ["error", "cancelled"]
