"""`clinstream glucose`: a wearer's glycaemic metrics and how forecasts compare with what happened; nothing is made."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as settings_room
from schemas.errors import UserError
from schemas.events import GLUCOSE_NOTICE

if TYPE_CHECKING:
    from adapters.database import Accuracy, MetricsRow
    from schemas.predictions import GlucosePattern

JSON = Annotated[bool, typer.Option("--json", help="For machines.")]
SUBJECT = Annotated[str, typer.Option(help="The wearer's pseudonym (sub-...), or the name of a credential.")]
SIMULATED = Annotated[bool, typer.Option("--simulated", help="Injected readings instead of real ones.")]
WIDTH = 120
GROUP_HELP = "Glycaemic metrics of a wearer, patterns, and how forecasts compare with what happened."


def metrics(
    subject: SUBJECT,
    days: Annotated[int, typer.Option(min=1, help="Windows that end within so many days up to today.")] = 1,
    simulated: SIMULATED = False,
    as_json: JSON = False,
) -> None:
    """Time in ranges, mean, GMI, CV, wear of 1, 7, 14 and 30 whole days (UTC), each with its revision.

    They follow new readings within about a minute. Example: clinstream glucose metrics --subject W-017
    """
    rows = asyncio.run(_metrics(subject, simulated, days))
    if as_json:
        print(json.dumps([_line(row) for row in rows]))
        return
    table = Table("ends", "days", "rev", "very low", "low", "target", "high", "very high", box=None, pad_edge=False)
    for name in ("mean", "GMI", "CV", "wear d", "active %"):
        table.add_column(name, justify="right")
    for row in rows:
        f = row.figures
        shares = [f"{getattr(f.percent, name):.1f} %" for name in f.percent.__struct_fields__]
        figures = (f.mean_mg_dl, f.gmi_percent, f.cv_percent, f.days_of_wear, f.sensor_active_percent)
        table.add_row(
            f"{row.ends_on}", f"{row.days}", f"{row.revision}", *shares, *(_or_dash(each) for each in figures)
        )
    Console(highlight=False, width=max(WIDTH, Console().width)).print(table)
    print(GLUCOSE_NOTICE)


def accuracy(
    subject: Annotated[str, typer.Option(help="Only of this wearer.")] = "",
    simulated: SIMULATED = False,
    as_json: JSON = False,
) -> None:
    """R2, MAE and RMSE of forecasts against what the sensors then reported, by version and minutes ahead.

    `baseline` are forecasts made without a model. Example: clinstream glucose accuracy --json
    """
    rows = asyncio.run(_accuracy(subject, simulated))
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    table = Table(
        "version", "minutes", "n", "RMSE", "MAE", "R2", "in interval", "persistence", box=None, pad_edge=False
    )
    for row in rows:
        r2 = "" if row.r2 is None else f"{row.r2:.2f}"
        numbers = (f"{row.rmse:.1f}", f"{row.mae:.1f}", r2, f"{row.coverage:.2f}", f"{row.persistence_rmse:.1f}")
        table.add_row(row.version, f"{row.horizon_minutes}", f"{row.n}", *numbers)
    Console(highlight=False).print(table)


def patterns(subject: SUBJECT, simulated: SIMULATED = False, as_json: JSON = False) -> None:
    """What is unusual in a wearer's last four weeks (gaps, compression lows, drift, days) and what is usual.

    Information to look at, no advice; times of day are UTC. Example: clinstream glucose patterns --subject W-017
    """
    found = asyncio.run(_patterns(subject, simulated))
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    for each in found:
        print(f"{each.first_at:%Y-%m-%d %H:%M} - {each.last_at:%Y-%m-%d %H:%M}  {each.kind}: {each.says}")
    print(GLUCOSE_NOTICE if found else f"Nothing stands out. {GLUCOSE_NOTICE}")


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, no_args_is_help=True)
    group.command()(metrics)
    group.command()(accuracy)
    group.command()(patterns)
    app.add_typer(group, name="glucose")


async def _metrics(who: str, simulated: bool, days: int) -> "list[MetricsRow]":
    from clinstream import uploaders  # on use: the database's client costs a second of start

    async def ask(database: Any) -> "list[MetricsRow]":
        wearer = (await uploaders.subject_of(database, who), simulated)
        since = datetime.now(UTC).date() - timedelta(days=days - 1)
        found: list[MetricsRow] = await database.glucose.metrics(wearer, since)
        if found:
            return found
        # Nobody has sent today: the newest windows that there are.
        every: list[MetricsRow] = await database.glucose.metrics(wearer, date(2000, 1, 1))
        return [row for row in every if row.ends_on == every[-1].ends_on]

    rows = await uploaders.with_database(settings_room.load(), ask)
    if not rows:
        raise UserError(f"There are no metrics of {who}; they follow readings within about a minute.")
    return rows


async def _patterns(who: str, simulated: bool) -> "list[GlucosePattern]":
    from clinstream import uploaders
    from consumers import patterns as room

    async def ask(database: Any) -> "list[GlucosePattern]":
        wearer, now = (await uploaders.subject_of(database, who), simulated), datetime.now(UTC)
        return room.find(await database.glucose.readings(wearer, now - timedelta(days=room.DAYS), now), now)

    return await uploaders.with_database(settings_room.load(), ask)


async def _accuracy(who: str, simulated: bool) -> "list[Accuracy]":
    from clinstream import uploaders

    async def ask(database: Any) -> "list[Accuracy]":
        subject = await uploaders.subject_of(database, who) if who else None
        found: list[Accuracy] = await database.glucose.accuracy(simulated=simulated, subject=subject)
        return found

    return await uploaders.with_database(settings_room.load(), ask)


def _line(row: "MetricsRow") -> dict[str, Any]:
    return {
        "subject_id": row.wearer[0],
        "simulated": row.wearer[1],
        "ends_on": row.ends_on.isoformat(),
        "days": row.days,
        "revision": row.revision,
        "computed_at": row.computed_at.isoformat() if row.computed_at else None,
        "figures": msgspec.to_builtins(row.figures),
        "notice": GLUCOSE_NOTICE,
    }


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
