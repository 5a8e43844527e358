"""Reads everything in the one order that cannot call a moving event lost, and counts; also waits until none moves."""

from collections.abc import Iterable, Sequence

import triton_models
from adapters.clock import Clock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.reconciliation import log, positions
from clinstream.reconciliation.tally import Report, Tally
from schemas import topics

READ = (*topics.OBSERVED, *topics.WORK.values(), topics.ANSWERS, topics.DEAD_FAILED, topics.DEAD_UNPROCESSABLE)
AGAIN_AFTER_S = 1.0


async def count(
    settings: Settings, database: Database, tasks: Iterable[str], acknowledged: Sequence[str] | None
) -> Report:
    """The report of this moment. Raises BrokerUnavailable or DatabaseUnavailable.

    Positions first, outcomes last: what lies before a committed offset was made durable before the offset was
    committed, so whatever is read later must show it.
    """
    follow_ups = {task: each.task for task, each in triton_models.chains(triton_models.discover()).items()}
    tally = Tally(positions.read(settings), follow_ups)
    results = [topics.results_topic(task, simulated=simulated) for task in tasks for simulated in (False, True)]
    for record in log.read(settings.kafka, [*READ, *results]):
        tally.add(record)
    tally.settle(await database.all_outcomes())
    return tally.report(acknowledged)


async def count_when_quiet(
    settings: Settings,
    database: Database,
    tasks: Sequence[str],
    acknowledged: Sequence[str] | None,
    clock: Clock,
    *,
    wait_s: float,
) -> Report:
    """The report once nothing is in flight any more, or after `wait_s` seconds as it then is."""
    until = clock.monotonic() + wait_s
    report = await count(settings, database, tasks, acknowledged)
    while report.in_flight and clock.monotonic() < until:
        await clock.sleep(min(AGAIN_AFTER_S, max(0.0, until - clock.monotonic())))
        report = await count(settings, database, tasks, acknowledged)
    return report
