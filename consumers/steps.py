"""What a step is: a small asynchronous function from events to outcomes, with its needs stated beside it."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, runtime_checkable

from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome
from schemas.events import Base


class Step(Protocol):
    """One hop of an event's way.

    `order = "key"`: an event whose key is in flight waits, and a micro-batch is one unit; `"none"`: batches run side
    by side. `in_flight` bounds the *events* that are taken from the log and not finished, at least one batch.

    A call returns one list of outcomes for each event, in the order of the events; an empty list means that nothing
    more is to do. An event that the step gives up on is returned as a DeadLetter. Raising `Unavailable` parks the
    lane (`Overloaded` backs off) and the same events come again; raising anything else has the events tried one by
    one, so that a poison event never harms its neighbours. A call must therefore be safe to repeat.
    """

    @property
    def name(self) -> str: ...
    @property
    def topics(self) -> tuple[str, ...]: ...
    @property
    def accepts(self) -> tuple[type[Base], ...]: ...
    @property
    def order(self) -> Literal["key", "none"]: ...
    @property
    def batch(self) -> Batch: ...
    @property
    def in_flight(self) -> int: ...

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]: ...


@runtime_checkable
class Chooses(Protocol):
    """A step that leaves some events to another group, by their headers alone and before anything is decoded."""

    def accepts_headers(self, headers: Iterable[tuple[str, bytes]]) -> bool:
        """Whether the event with these headers is this step's."""
        ...


@runtime_checkable
class Onlooker(Protocol):
    """A step that reads what another group answers for.

    What this step gives up on is put aside without an outcome. `leaves_poison`: what cannot be read is put aside by
    that other group, and only there; else here, where no other group may have looked.
    """

    @property
    def onlooker(self) -> Literal[True]: ...
    @property
    def leaves_poison(self) -> bool: ...
