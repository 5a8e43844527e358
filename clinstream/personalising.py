"""Wearers' own vectors fitted on request, for the command; what is due the trainer does, the arithmetic is there."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from adapters.clock import SystemClock
from adapters.database import Database, WearerModel
from adapters.releases import ReleaseBook
from adapters.settings import Settings
from adapters.triton import TritonClient
from clinstream import uploaders
from training import personal, refitting
from triton_models.glucose.card import CARD


async def fit(settings: Settings, which: str, *, due: bool) -> list[dict[str, Any]]:
    """One line an attempt: of the wearer called `which` (name or pseudonym), or of everybody; with `due` only where the
    trainer would make one too.

    Raises UserError for an unknown wearer, DatabaseUnavailable and ServerDown where the stack is away.
    """

    async def work(database: Database) -> list[dict[str, Any]]:
        models, clock = database.wearer_models, SystemClock()
        book = ReleaseBook(database, clock, [CARD])
        await book.refresh()
        mine = (await uploaders.subject_of(database, which), False) if which else None
        standings = [] if mine and not due else await refitting.everybody(models)
        standing = {each.wearer: each for each in standings}
        lines = []
        async with TritonClient(settings.triton) as client:
            for wearer in [mine] if mine else list(standing):
                version = book.choose(CARD.name, wearer[0]).version
                if not due:
                    made = await personal.fit(models, client, clock, wearer, version)
                elif wearer in standing:
                    made = await refitting.attempt(models, client, clock, standing[wearer], version)
                else:
                    made = None
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
