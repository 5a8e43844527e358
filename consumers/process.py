"""A consumer process: its name, group and member id, and what it is made of; how it runs is in `running`."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.clock import Clock
from adapters.identity_lock import instance_id
from adapters.kafka import Publisher
from adapters.settings import Settings
from consumers.settle import Decisions
from consumers.steps import Step


class Needs(Protocol):
    """The services that the loop itself uses; a step receives its own when it is built."""

    @property
    def publisher(self) -> Publisher: ...
    @property
    def database(self) -> Decisions: ...
    @property
    def clock(self) -> Clock: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How a process is made: the services to open (names of `adapters.bootstrap`) and its step.

    `beside` makes work without an end that runs as long as the step does; it must not raise.
    """

    needs: frozenset[str]
    build: Callable[[Settings, Any, str], Step]
    beside: Callable[[Settings, Any], Callable[[], Coroutine[Any, Any, None]]] | None = None


@dataclass(frozen=True, slots=True)
class ConsumerProcess:
    """One process of the process table, for example number 0 of `imaging-infer.routine`."""

    name: str
    index: int
    settings: Settings

    @property
    def group(self) -> str:
        """The consumer group: one for each process name, for ever."""
        return f"clinstream.{self.name}"

    def instance_id(self, topics: tuple[str, ...]) -> str:
        """The static member id at the brokers."""
        return instance_id(self.name, self.index, topics)
