"""The process table of the consumers: which step a process name runs and what it needs; the loop runs it."""

from collections.abc import Callable
from typing import Any

import triton_models
from adapters.bootstrap import Services
from adapters.settings import Settings
from consumers.ask import Ask
from consumers.infer import Infer
from consumers.prepare import Prepare
from consumers.process import Pipeline
from consumers.record import Record
from consumers.relay import Relay
from consumers.signals import Signals
from consumers.steps import Step
from schemas.card import ModelCard
from schemas.events import Priority

EVERYONE = frozenset({"publisher", "database"})
INFERS = EVERYONE | {"inference", "releases"}


def _prepare(lane: Priority) -> Callable[[Settings, Any, str], Step]:
    def build(_settings: Settings, services: Services, _name: str) -> Step:
        return Prepare(
            lane,
            triton_models.discover(),
            store=services.store,
            database=services.database,
            decoders=services.decoders,
            clock=services.clock,
        )

    return build


def _infer(lane: Priority) -> Callable[[Settings, Any, str], Step]:
    def build(_settings: Settings, services: Services, _name: str) -> Step:
        return Infer(
            lane,
            triton_models.discover(),
            store=services.store,
            database=services.database,
            ask=_ask(services),
            clock=services.clock,
        )

    return build


def _signals(_settings: Settings, services: Services, _name: str) -> Step:
    return Signals(triton_models.discover(), database=services.database, ask=_ask(services), clock=services.clock)


def _record(_settings: Settings, services: Services, _name: str) -> Step:
    return Record(services.database, services.clock)


def _ask(services: Services) -> Ask:
    return Ask(services.inference, services.releases, services.clock)


def cards() -> list[ModelCard]:
    """The cards of the installed models, for `bootstrap.services`."""
    return [model.card for model in triton_models.discover().values()]


def relay(services: Services) -> Relay:
    """The background work of the process `loop`, which reads no topic."""
    return Relay(services.database, services.publisher, services.clock)


PIPELINES: dict[str, Pipeline] = {
    "imaging-prepare.stat": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_prepare("stat")),
    "imaging-prepare.routine": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_prepare("routine")),
    "imaging-infer.stat": Pipeline(needs=INFERS | {"store"}, build=_infer("stat")),
    "imaging-infer.routine": Pipeline(needs=INFERS | {"store"}, build=_infer("routine")),
    "signals": Pipeline(needs=INFERS, build=_signals),
    "record": Pipeline(needs=EVERYONE, build=_record),
}
