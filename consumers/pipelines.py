"""The process table of the consumers: which step a process name runs and what it needs; the loop runs it.

Steps are imported by the process that runs them: pydicom, tritonclient and the models cost 3 of the 8 s that all of it
takes to import on a busy machine, and a restarted process should be back within 10 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

from adapters.bootstrap import Services
from adapters.settings import Settings, pseudonym_key
from consumers.process import Pipeline
from consumers.steps import Step
from schemas.card import ModelCard
from schemas.events import Priority
from schemas.studies import Quiet

if TYPE_CHECKING:
    from consumers.ask import Ask

EVERYONE = frozenset({"publisher", "database"})
INFERS = EVERYONE | {"inference", "releases"}
ANSWERS = frozenset({"database", "inference", "releases", "wearers"})
ASKED_TASK = "glucose"


def _prepare(lane: Priority) -> Callable[[Settings, Any, str], Step]:
    def build(settings: Settings, services: Services, _name: str) -> Step:
        import triton_models
        from consumers.prepare import Prepare

        return Prepare(
            lane,
            triton_models.discover(),
            store=services.store,
            database=services.database,
            decoders=services.decoders,
            clock=services.clock,
            key=pseudonym_key(settings),
            research=settings.research_measurements,
        )

    return build


def _infer(lane: Priority) -> Callable[[Settings, Any, str], Step]:
    def build(_settings: Settings, services: Services, _name: str) -> Step:
        import triton_models
        from consumers.infer import Infer

        return Infer(
            lane,
            triton_models.discover(),
            store=services.store,
            database=services.database,
            ask=_ask(services),
            clock=services.clock,
        )

    return build


def _follow_up(_settings: Settings, services: Services, _name: str) -> Step:
    import triton_models
    from consumers.follow_up import FollowUps

    return FollowUps(
        triton_models.discover(),
        store=services.store,
        database=services.database,
        decoders=services.decoders,
        clock=services.clock,
    )


def _signals(_settings: Settings, services: Services, _name: str) -> Step:
    import triton_models
    from consumers.signals import Signals

    return Signals(triton_models.discover(), database=services.database, ask=_ask(services), clock=services.clock)


def _glucose(lane: Literal["live", "backfill"]) -> Callable[[Settings, Any, str], Step]:
    def build(_settings: Settings, services: Services, _name: str) -> Step:
        import triton_models
        from consumers.glucose import Glucose

        return Glucose(
            lane,
            triton_models.discover(),
            database=services.database,
            windows=services.windows,
            ask=_ask(services),
            clock=services.clock,
        )

    return build


def _overrides(settings: Settings, services: Services, _name: str) -> Step:
    import triton_models
    from consumers.overrides import Overrides

    known = [model.card for model in triton_models.discover().values()]
    return Overrides(known, settings.retrain_after, services.database)


def _exports(_settings: Settings, services: Services, _name: str) -> Step:
    import triton_models
    from consumers.exports import Exports

    known = [model.card for model in triton_models.discover().values()]
    return Exports(known, services.database)


def _deliveries(settings: Settings, services: Services) -> Callable[[], Coroutine[Any, Any, None]]:
    import triton_models
    from consumers.deliveries import Deliveries
    from consumers.study_reports import StudyReports

    known = {name: model.card for name, model in triton_models.discover().items()}
    reports = StudyReports(known, settings.exports, services.database, services.clock)
    sender = Deliveries(
        known,
        settings.exports,
        services.database,
        services.store,
        services.decoders,
        services.clock,
        key=pseudonym_key(settings),
    )

    async def both() -> None:
        await asyncio.gather(reports.run(), sender.run())

    return both


def _record(_settings: Settings, services: Services, _name: str) -> Step:
    from consumers.record import Record

    return Record(services.database, services.clock)


def _studies(settings: Settings, services: Services, _name: str) -> Step:
    from consumers.studies import Studies

    return Studies(
        store=services.store,
        archive=services.database.archive,
        decoders=services.decoders,
        quiet=quiet_of(settings),
        key=pseudonym_key(settings),
    )


def _ask(services: Services) -> Ask:
    from consumers.ask import Ask

    return Ask(services.inference, services.releases, services.clock)


def cards(needs: frozenset[str] = INFERS) -> list[ModelCard]:
    """The cards of the installed models, for `bootstrap.services`; none where the needs do not ask for releases."""
    if "releases" not in needs:
        return []
    import triton_models

    return [model.card for model in triton_models.discover().values()]


def quiet_of(settings: Settings) -> Quiet:
    """How long a study may be silent before it is closed."""
    return Quiet(settings.study_quiet_s, min(settings.study_released_s, settings.study_quiet_s))


async def beside(settings: Settings, services: Services) -> None:
    """The background work of the process `loop`, which reads no topic; ends by cancellation."""
    from adapters.busy_cores import BusyCores
    from consumers.glucose_metrics import GlucoseMetrics
    from consumers.journal_keeping import JournalKeeping
    from consumers.relay import Relay
    from consumers.study_watch import StudyWatch

    relay = Relay(services.database, services.publisher, services.clock)
    every_s = settings.glucose_metrics_every_s
    metrics = GlucoseMetrics(
        services.database.glucose, services.publisher, services.clock, every_s=every_s, load=BusyCores().share
    )
    watch = StudyWatch(services.database.archive, quiet_of(settings), services.clock)
    journal = JournalKeeping(services.database, settings.doors.journal_days, services.clock)
    await asyncio.gather(relay.run(), metrics.run(), watch.run(), journal.run())


async def predictions(settings: Settings, services: Services) -> None:
    """The process `predictions`: forecasts that are asked for over HTTP; ends by cancellation."""
    import triton_models
    from adapters import http_server
    from consumers import predictions
    from consumers.forecasting import Forecasting

    views, clock, doors = services.database.glucose, services.clock, settings.doors
    forecasting = Forecasting(triton_models.discover()[ASKED_TASK], _ask(services), views, clock)
    rate = doors.predictions_a_minute
    questions = predictions.Questions(forecasting, views, services.wearers, clock, a_minute=rate)
    await http_server.serve(predictions.build(questions), doors.predictions_host, doors.predictions_port)


PIPELINES: dict[str, Pipeline] = {
    "imaging-prepare.stat": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_prepare("stat")),
    "imaging-prepare.routine": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_prepare("routine")),
    "imaging-infer.stat": Pipeline(needs=INFERS | {"store"}, build=_infer("stat")),
    "imaging-infer.routine": Pipeline(needs=INFERS | {"store"}, build=_infer("routine")),
    "imaging-follow-up": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_follow_up),
    "signals": Pipeline(needs=INFERS, build=_signals),
    "glucose.live": Pipeline(needs=INFERS | {"windows"}, build=_glucose("live")),
    "glucose.backfill": Pipeline(needs=INFERS | {"windows"}, build=_glucose("backfill")),
    "overrides": Pipeline(needs=EVERYONE, build=_overrides),
    "record": Pipeline(needs=EVERYONE, build=_record),
    "studies": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_studies),
    "exports": Pipeline(needs=EVERYONE | {"store", "decoders"}, build=_exports, beside=_deliveries),
}
