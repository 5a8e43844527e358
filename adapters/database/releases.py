"""The log of release decisions in PostgreSQL; choosing a version by it is `adapters.releases`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.records import Release, State
from schemas import envelope, topics
from schemas.card import ModelCard
from schemas.errors import UserError
from schemas.events import ReleaseChanged

# Epochs are drawn from a sequence, and sequences do not commit in order: a poller that asks for `epoch > last` could
# skip a lower one that commits later. One writer at a time makes the order of epochs the order of commits.
RELEASES_LOCK = 0x72656C6561736573

STARTER = "starter version of the card"

LOCK = text("SELECT pg_advisory_xact_lock(:key)")

# releases-since: the log after an epoch.
SINCE = text(
    "SELECT epoch, task, version, state, share, at, by_whom, why FROM releases WHERE epoch > :epoch ORDER BY epoch"
)

# insert-release: one decision.
INSERT = text(
    "INSERT INTO releases (task, version, state, share, at, by_whom, why) "
    "VALUES (:task, :version, :state, :share, :now, :by_whom, :why) "
    "RETURNING epoch, task, version, state, share, at, by_whom, why"
)

# promoted-versions: what serves each task now.
PROMOTED = text(
    "SELECT task, version FROM (SELECT DISTINCT ON (task, version) task, version, state FROM releases "
    "ORDER BY task, version, epoch DESC) AS newest WHERE state = 'PROMOTED'"
)


def check_share(state: State, share: float) -> None:
    """Raises UserError for a share outside 0..1, or a canary without one."""
    if not 0 <= share <= 1 or (state == "CANARY" and share == 0):
        raise UserError(
            f"A share of {share} cannot be served; a canary takes more than 0 and at most 1 of the subjects."
        )


async def since(connection: AsyncConnection, epoch: int) -> list[Release]:
    """All decisions after `epoch`, oldest first."""
    return [Release(*row) for row in await connection.execute(SINCE, {"epoch": epoch})]


async def add(
    connection: AsyncConnection,
    *,
    task: str,
    version: str,
    state: State,
    share: float,
    by_whom: str,
    why: str,
    now: datetime,
) -> Release:
    """Writes a decision; a promotion retires what was promoted before, in the same transaction.

    Raises UserError for a share outside 0..1, or a canary without one.
    """
    check_share(state, share)
    await connection.execute(LOCK, {"key": RELEASES_LOCK})
    common = {"task": task, "by_whom": by_whom, "why": why, "now": now}
    if state == "PROMOTED":
        for row in list(await connection.execute(PROMOTED)):
            if row.task == task and row.version != version:
                await connection.execute(INSERT, {**common, "version": row.version, "state": "RETIRED", "share": 0.0})
    row = (await connection.execute(INSERT, {**common, "version": version, "state": state, "share": share})).one()
    return Release(*row)


async def move(
    connection: AsyncConnection,
    rows: Sequence[tuple[str, State, float]],
    *,
    task: str,
    by_whom: str,
    why: str,
    now: datetime,
) -> list[Release]:
    """Writes the rows (version, state, share) that one move of a task makes, in their order, as one decision.

    The caller has checked the move against the table; two who decide at once take turns, and each version's newest row
    is its state.
    """
    for _, state, share in rows:
        check_share(state, share)
    await connection.execute(LOCK, {"key": RELEASES_LOCK})
    common = {"task": task, "by_whom": by_whom, "why": why, "now": now}
    made = []
    for version, state, share in rows:
        row = (await connection.execute(INSERT, {**common, "version": version, "state": state, "share": share})).one()
        made.append(Release(*row))
    return made


async def ensure_starters(
    connection: AsyncConnection, cards: Iterable[ModelCard], now: datetime, why: Mapping[str, str]
) -> None:
    """Promotes the version of each card whose task has no decision yet; a second call adds nothing. `why` by task."""
    await connection.execute(LOCK, {"key": RELEASES_LOCK})
    known = {release.task for release in await since(connection, 0)}
    for card in cards:
        if card.name not in known:
            values = {"task": card.name, "version": card.version, "state": "PROMOTED", "share": 1.0, "now": now}
            said = why.get(card.name, STARTER)
            await connection.execute(INSERT, {**values, "by_whom": "clinstream", "why": said})


def announcement(release: Release) -> tuple[str, bytes, list[tuple[str, bytes]], bytes]:
    """Topic, key, headers and value of the event that tells outsiders of a decision."""
    changed = ReleaseChanged(
        task=release.task, version=release.version, state=release.state, epoch=release.epoch, reason=release.why
    )
    headers, value = envelope.pack(
        changed,
        id=f"release/{release.epoch}",
        source="clinstream/releases",
        subject=release.task,
        time=release.at,
        extensions={"task": release.task},
    )
    return topics.RELEASES_CHANGED, release.task.encode(), headers, value
