"""Runs a coroutine to its first wait without a task, and the rest inside one; knows nothing of what it runs."""

import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


@types.coroutine
def _carry_on(begun: Coroutine[Any, Any, Any], held_by: Any) -> Generator[Any, Any, Any]:
    """The rest of a coroutine that has run to its first wait already."""
    while True:
        try:
            sent = yield held_by
        except GeneratorExit:
            begun.close()
            raise
        except BaseException as error:  # a cancellation goes where the coroutine waits
            go_on = partial(begun.throw, error)
        else:
            go_on = partial(begun.send, sent)
        try:
            held_by = go_on()
        except StopIteration as ended:
            return ended.value


async def rest(begun: Coroutine[Any, Any, Any], held_by: Any) -> Any:
    """What is left of `begun`, which `send(None)` has brought to its first wait, `held_by`."""
    return await _carry_on(begun, held_by)
