"""Runs a consumer process from its start to its orderly end; what must hold before it may join its group."""

import asyncio
import gc
from collections.abc import Callable, Coroutine

from adapters import telemetry, topics_admin
from adapters.identity_lock import identity
from consumers import crash_points
from consumers.process import ConsumerProcess, Needs
from consumers.steps import Step
from schemas.errors import Conflict

log = telemetry.logger("process")


async def run(process: ConsumerProcess, step: Step, services: Needs, stop: asyncio.Event) -> None:
    """Runs the step over its topics until `stop` is set, then finishes what is in flight and leaves.

    Raises Conflict when the same process runs already or a topic does not exist, BrokerUnavailable when Kafka is
    away at the start, RuntimeError when the process should be started anew.
    """
    from consumers import app  # Faust takes 0.6 s to import, which `--help` and the checks before need not wait for

    settings = process.settings
    crash_points.arm(crash_points.setting_of(settings.crash_point, settings.home, process.name, process.index))
    with identity(settings.home, process.name, process.index):
        missing = await asyncio.to_thread(topics_admin.missing_topics, settings.kafka, step.topics)
        if missing:
            raise Conflict(f"Kafka has no topic {', '.join(missing)}; `clinstream up` makes them")
        log.info("starts", group=process.group, topics=list(step.topics))
        # What is loaded by now stays: the collector need not look at it again, nor so often at what passes through
        # (reading an envelope took 46 us with its default thresholds, 11 us so).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        await app.run(process, step, services, stop)
        log.info("ended")


async def run_with(
    process: ConsumerProcess,
    step: Step,
    services: Needs,
    work: Callable[[], Coroutine[None, None, None]],
    stop: asyncio.Event,
) -> None:
    """Runs the step as `run` does and `work` beside it; when the work breaks, the step ends and the error comes out."""
    both_stop = asyncio.Event()
    working, stopping = asyncio.ensure_future(work()), asyncio.ensure_future(stop.wait())
    for each in (working, stopping):
        each.add_done_callback(lambda _: both_stop.set())
    try:
        await run(process, step, services, both_stop)
        if working.done():
            working.result()
    finally:
        for each in (working, stopping):
            each.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def run_beside(
    process: ConsumerProcess, work: Callable[[], Coroutine[None, None, None]], stop: asyncio.Event
) -> None:
    """Runs work that reads no topic until `stop` is set.

    Raises what ends the work by itself, and Conflict when the same process runs already.
    """
    with identity(process.settings.home, process.name, process.index):
        log.info("starts")
        running = asyncio.ensure_future(work())
        stopping = asyncio.ensure_future(stop.wait())
        telemetry.metrics().ready.set(1)
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            telemetry.metrics().ready.set(0)
            for each in (running, stopping):
                each.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
        log.info("ended")
