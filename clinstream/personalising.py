"""Wearers' own vectors fitted on request or by a timer, for the command; the arithmetic is in `training`."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from adapters.clock import SystemClock
from adapters.database import Database, WearerModel
from adapters.releases import ReleaseBook
from adapters.settings import Settings
from adapters.triton import TritonClient
from clinstream import uploaders
from training import personal
from triton_models.glucose.card import CARD


async def fit(settings: Settings, which: str, *, due: bool) -> list[dict[str, Any]]:
    """One line an attempt: of the wearer called `which` (name or pseudonym), or of everybody; with `due` only of those
    who sent 100 readings since the last one.

    Raises UserError for an unknown wearer, DatabaseUnavailable and ServerDown where the stack is away.
    """

    async def work(database: Database) -> list[dict[str, Any]]:
        models, clock = database.wearer_models, SystemClock()
        book = ReleaseBook(database, clock, [CARD])
        await book.refresh()
        wearers = [(await uploaders.subject_of(database, which), False)] if which else await models.everybody()
        lines = []
        async with TritonClient(settings.triton) as client:
            for wearer in wearers:
                version = book.choose(CARD.name, wearer[0]).version
                if due and not await personal.is_due(models, wearer, version):
                    continue
                made = await personal.fit(models, client, clock, wearer, version)
                lines += [_line(wearer[0], made)] if made else []
        return lines

    return await uploaders.with_database(settings, work)


async def attempts(settings: Settings, which: str) -> list[dict[str, Any]]:
    """Every attempt to fit a wearer's vector, the newest first; raises UserError for an unknown wearer."""

    async def work(database: Database) -> list[dict[str, Any]]:
        subject = await uploaders.subject_of(database, which)
        return [_line(subject, made) for made in await database.wearer_models.of((subject, False))]

    return await uploaders.with_database(settings, work)


def _line(subject: str, made: WearerModel) -> dict[str, Any]:
    return {"subject_id": subject, **{name: _plain(value) for name, value in asdict(made).items()}}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
