"""The question that `reconcile` asks, with everything opened and closed that it takes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.reconciliation import acknowledged as sender_list
from clinstream.reconciliation.count import count_when_quiet
from clinstream.reconciliation.tally import Report


def ask(home: Path | None, acknowledged: Path | None, wait_s: float) -> Report:
    """The report on the installation in `home`, of the events in the sender's list or, without one, of all.

    Raises UserError for a list that cannot be read, BrokerUnavailable and DatabaseUnavailable.
    """
    settings = configuration.load(home)
    names = None if acknowledged is None else sender_list.names(acknowledged.read_text().splitlines())
    return asyncio.run(_count(settings, names, wait_s))


async def _count(settings: Settings, names: Sequence[str] | None, wait_s: float) -> Report:
    clock = SystemClock()
    database = Database.open(settings, clock)
    try:
        tasks = sorted(triton_models.discover())
        return await count_when_quiet(settings, database, tasks, names, clock, wait_s=wait_s)
    finally:
        await database.close()
