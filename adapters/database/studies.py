"""The ledger of studies: what each sender sent of each and what was expected; the moves are in `schemas.studies`."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import study_reports
from schemas.studies import OPEN, Facts, Quiet, Source, StudyEvent, StudyState, judged, move

KEPT = timedelta(days=30)
"""So long a mark of a study waits for somebody who tells it."""

Place = tuple[str, str]
"""A study (its pseudonym) and a sender."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One object of a study, as a sender sent it; `related` is what the object says of the study's size, if it does."""

    study_id: str
    sender: str
    object_id: str
    event_id: UUID
    observed_at: datetime
    related: int | None = None


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One line of the ledger. `listed` names the objects that somebody announced, `missing` counts those not there."""

    study_id: str
    sender: str
    state: StudyState
    revision: int
    received: int
    expectations: Mapping[str, int]
    listed: tuple[str, ...] = field(repr=False)
    missing: int
    why: str
    first_at: datetime
    last_at: datetime
    released_at: datetime | None
    closed_at: datetime | None
    seen_at: datetime


KEYS = "SELECT * FROM unnest(CAST(:studies AS text[]), CAST(:senders AS text[])) AS k(study_id, sender)"
LINE = (
    "SELECT l.study_id, l.sender, l.state, l.revision, "
    "(SELECT count(DISTINCT o.object_id) FROM study_objects o WHERE o.study_id = l.study_id AND o.sender = l.sender) "
    "AS received, l.expectations, l.listed, "
    "(SELECT count(*) FROM unnest(l.listed) AS n(object_id) WHERE NOT EXISTS (SELECT 1 FROM study_objects o "
    "WHERE o.study_id = l.study_id AND o.sender = l.sender AND o.object_id = n.object_id)) AS missing, "
    "l.why, l.first_at, l.last_at, l.released_at, l.closed_at, l.seen_at FROM study_ledger l"
)

# begin-studies, lock-studies: a line for each, then taken in one order, so that two writers never wait crosswise.
BEGIN = text(
    "INSERT INTO study_ledger (study_id, sender, state, revision, received, first_at, last_at, seen_at) "
    f"SELECT study_id, sender, '{OPEN}', 1, 0, :now, :now, :now FROM ({KEYS}) AS k ORDER BY 1, 2 ON CONFLICT DO NOTHING"
)
LOCK = text(f"{LINE} JOIN ({KEYS}) AS k USING (study_id, sender) ORDER BY l.study_id, l.sender FOR UPDATE OF l")
KNOWN = text(
    "SELECT study_id, sender, object_id, event_id FROM study_objects "
    "WHERE study_id = ANY(CAST(:studies AS text[])) AND event_id = ANY(CAST(:events AS uuid[]))"
)
ADD = text(
    "INSERT INTO study_objects (study_id, sender, object_id, event_id, revision) SELECT * FROM unnest("
    "CAST(:studies AS text[]), CAST(:senders AS text[]), CAST(:objects AS text[]), CAST(:events AS uuid[]), "
    "CAST(:revisions AS int4[])) ON CONFLICT DO NOTHING"
)
WRITE = text(
    "UPDATE study_ledger SET state = :state, revision = :revision, received = :received, why = :why, "
    "expectations = CAST(:expectations AS jsonb), listed = CAST(:listed AS text[]), "
    "first_at = :first_at, last_at = :last_at, released_at = :released_at, closed_at = :closed_at, seen_at = :seen_at "
    "WHERE study_id = :study_id AND sender = :sender"
)
# An association of the sender that ended in order, as the door's journal has it; written behind, so perhaps later.
RELEASED = (
    "(SELECT max(j.began_at + make_interval(secs => j.seconds)) FROM door_journal j WHERE j.sender = l.sender "
    "AND j.ended = 'released' AND j.began_at >= l.first_at - interval '1 day') AS released_at"
)
# waiting-studies: those on which the quiet period may have passed; what another process has in its hands is left out.
WAITING = text(
    LINE.replace("l.released_at", RELEASED)
    + f" WHERE l.state = '{OPEN}' AND l.seen_at <= :before ORDER BY l.study_id, l.sender LIMIT 200 "
    "FOR UPDATE OF l SKIP LOCKED"
)
LIST = f"{LINE} WHERE (CAST(:state AS text) IS NULL OR l.state = :state) ORDER BY l.last_at DESC LIMIT :limit"
SHOW = text(f"{LINE} WHERE l.study_id = ANY(CAST(:studies AS text[])) ORDER BY l.study_id, l.sender")
PLACES_OF = text(
    "SELECT study_id, object_id FROM study_objects WHERE sender = :sender AND object_id = ANY(CAST(:objects AS text[]))"
)


async def noted(connection: AsyncConnection, objects: Sequence[Arrived]) -> set[UUID]:
    """The events of these objects that the ledger has."""
    return {row.event_id for row in await connection.execute(KNOWN, _which(objects))}


async def arrived(connection: AsyncConnection, objects: Sequence[Arrived], quiet: Quiet, now: datetime) -> None:
    """Enters objects; one that is there already changes nothing, so that a redelivery is harmless."""
    places = sorted({(each.study_id, each.sender) for each in objects})
    if not places:
        return
    before = await _locked(connection, places, now)
    rows = await connection.execute(KNOWN, _which(objects))
    known = {(row.study_id, row.sender, row.object_id, row.event_id) for row in rows}
    new: dict[Place, list[Arrived]] = defaultdict(list)
    for each in objects:
        mark = (each.study_id, each.sender, each.object_id, each.event_id)
        if mark not in known:
            known.add(mark)
            new[each.study_id, each.sender].append(each)
    if not new:
        return
    lines = {place: _with(before[place], came, now) for place, came in new.items()}
    await connection.execute(ADD, _columns(lines, new))
    after = await _locked(connection, sorted(new), now)
    for place, line in lines.items():
        counted = replace(line, received=after[place].received, missing=after[place].missing)
        await _write(connection, _judge(counted, quiet, now))


async def expect(
    connection: AsyncConnection,
    place: Place,
    source: Source,
    number: int | None,
    listed: Iterable[str],
    quiet: Quiet,
    now: datetime,
) -> StudyEntry:
    """Notes what somebody expects of a study and sender; a number and the objects by name, either may be missing."""
    line = (await _locked(connection, [place], now))[place]
    said: dict[str, int] = dict(line.expectations)
    if number is not None:
        said[source] = number
    names = tuple(dict.fromkeys((*line.listed, *listed)))
    await _write(connection, replace(line, expectations=said, listed=names))
    line = (await _locked(connection, [place], now))[place]
    line = _judge(line, quiet, now)
    await _write(connection, line)
    return line


async def close_quiet(connection: AsyncConnection, quiet: Quiet, now: datetime, before: datetime) -> list[StudyEntry]:
    """Closes the studies of which nothing came for long enough; returns them."""
    closed = []
    await study_reports.forget(connection, now - KEPT)
    for row in list(await connection.execute(WAITING, {"before": before})):
        line = _entry(row)
        judged_line = _judge(line, quiet, now)
        if judged_line.state != line.state:
            await _write(connection, judged_line)
            closed.append(judged_line)
    return closed


async def listing(connection: AsyncConnection, state: str | None, limit: int) -> list[StudyEntry]:
    """The lines of the ledger, the most recent first."""
    return [_entry(row) for row in await connection.execute(text(LIST), {"state": state, "limit": limit})]


async def show(connection: AsyncConnection, studies: Sequence[str]) -> list[StudyEntry]:
    """The lines of these studies."""
    return [_entry(row) for row in await connection.execute(SHOW, {"studies": list(studies)})]


async def studies_of(connection: AsyncConnection, sender: str, objects: Sequence[str]) -> dict[str, set[str]]:
    """Objects of a sender by study, of those that came."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in await connection.execute(PLACES_OF, {"sender": sender, "objects": list(objects)}):
        found[row.study_id].add(row.object_id)
    return found


def _which(objects: Sequence[Arrived]) -> dict[str, Any]:
    """The study is the first column of the key: without it every row would be looked at."""
    studies = sorted({each.study_id for each in objects})
    return {"studies": studies, "events": [each.event_id for each in objects]}


async def _locked(connection: AsyncConnection, places: Sequence[Place], now: datetime) -> dict[Place, StudyEntry]:
    keys = {"studies": [study for study, _ in places], "senders": [sender for _, sender in places]}
    await connection.execute(BEGIN, {**keys, "now": now})
    entries = [_entry(row) for row in await connection.execute(LOCK, keys)]
    return {(entry.study_id, entry.sender): entry for entry in entries}


def _with(line: StudyEntry, came: Sequence[Arrived], now: datetime) -> StudyEntry:
    """The line after something new came: open, as its next revision where it was closed."""
    step = move(line.state, "arrived")
    related = [each.related for each in came if each.related]
    times = [each.observed_at for each in came]
    fresh = line.received == 0
    return replace(
        line,
        state=step.to,
        revision=line.revision + step.again,
        expectations={**line.expectations, **({"related_instances": max(related)} if related else {})},
        why="late" if step.again else line.why,
        first_at=min(times) if fresh else min(line.first_at, *times),
        last_at=max(times) if fresh else max(line.last_at, *times),
        released_at=None,
        closed_at=None,
        seen_at=now,
    )


def _judge(line: StudyEntry, quiet: Quiet, now: datetime) -> StudyEntry:
    """The line with its state as the facts and the clock have it."""
    facts = Facts(
        received=line.received,
        expectations=line.expectations,
        listed=len(line.listed),
        missing=line.missing,
        silent_s=(now - line.seen_at).total_seconds(),
        released=line.released_at is not None and line.released_at >= line.last_at,
    )
    event, why = judged(facts, quiet)
    if line.state != OPEN and event == "overdue":
        event = "short"
    if event is None or (line.state != OPEN and event == "quiet"):
        return line
    return _moved(line, event, why, now)


def _moved(line: StudyEntry, event: StudyEvent, why: str, now: datetime) -> StudyEntry:
    step = move(line.state, event)
    if step.to == line.state:
        return line
    if step.to == OPEN:
        return replace(line, state=OPEN, revision=line.revision + step.again, why=why, closed_at=None, seen_at=now)
    return replace(line, state=step.to, revision=line.revision + step.again, why=why, closed_at=now)


async def _write(connection: AsyncConnection, line: StudyEntry) -> None:
    names = (
        "study_id sender state revision received why first_at last_at released_at closed_at seen_at".split()  # noqa: SIM905
    )
    values: dict[str, Any] = {name: getattr(line, name) for name in names}
    values["expectations"], values["listed"] = json.dumps(dict(line.expectations)), list(line.listed)
    await connection.execute(WRITE, values)
    if line.closed_at is not None:
        await study_reports.mark(connection, [line.study_id], line.closed_at)


def _columns(lines: Mapping[Place, StudyEntry], new: Mapping[Place, Sequence[Arrived]]) -> dict[str, list[Any]]:
    rows = [(each, lines[place].revision) for place in sorted(new) for each in new[place]]
    return {
        "studies": [each.study_id for each, _ in rows],
        "senders": [each.sender for each, _ in rows],
        "objects": [each.object_id for each, _ in rows],
        "events": [each.event_id for each, _ in rows],
        "revisions": [revision for _, revision in rows],
    }


def _entry(row: Any) -> StudyEntry:
    values = dict(row._mapping)
    said = values["expectations"]
    values["expectations"] = json.loads(said) if isinstance(said, str) else said
    values["listed"] = tuple(values["listed"])
    return StudyEntry(**values)
