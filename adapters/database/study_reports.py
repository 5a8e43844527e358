"""What is told of studies: which are to be looked at, what is known of their objects, and each revision that was told.

Whether a study is over, and what is said of it, is decided by the caller.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities

Decision = Literal["finding", "no_finding", "abstained", "refused", "not_analysed"]
Status = Literal["answered", "refused", "not_analysed"]

# mark-studies: something of them changed.
MARK = text(
    "INSERT INTO study_marks AS m (study_id, due_at) "
    "SELECT id, CAST(:now AS timestamptz) FROM unnest(CAST(:studies AS text[])) AS given(id) ORDER BY id "
    "ON CONFLICT (study_id) DO UPDATE SET number = m.number + 1, due_at = excluded.due_at"
)
DUE = text("SELECT study_id, number FROM study_marks WHERE due_at <= :now ORDER BY due_at LIMIT :limit")
UNMARK = text("DELETE FROM study_marks WHERE study_id = :study AND number = :number")
PUT_OFF = text("UPDATE study_marks SET due_at = :due WHERE study_id = :study AND number = :number")

# forget-marks: where no destination is named nobody looks, and what is so old would not leave.
FORGET = text("DELETE FROM study_marks WHERE due_at < :before")

# open-studies: whether a sender is not done with it yet; NULL where the ledger has no line.
OPEN = text("SELECT bool_or(state = 'receiving'), max(last_at) FROM study_ledger WHERE study_id = :study")

# objects-of-a-study: the newest content of each; of what no model's preparation has seen nothing is known but its name.
OBJECTS = text(
    "SELECT DISTINCT ON (o.object_id) o.object_id, o.event_id, i.subject_id, i.blob_uri, i.media_type, i.destinations, "
    "i.observed_at FROM study_objects o LEFT JOIN images i USING (event_id) WHERE o.study_id = :study "
    "ORDER BY o.object_id, i.observed_at DESC NULLS LAST, o.event_id"
)
OUTCOMES = text(
    "SELECT o.object_id, d.task, d.fate, d.reason, d.code FROM study_objects o JOIN outcomes d USING (event_id) "
    "WHERE o.study_id = :study"
)
# results-of-a-study: the newest revision of each object and task.
RESULTS = text(
    "SELECT DISTINCT ON (v.object_id, v.task) v.object_id, v.task, v.answer_id, v.withdrawn_at, v.amended, "
    "v.amended_at, a.priority FROM visible v JOIN answers a USING (answer_id) WHERE v.object_id IN "
    "(SELECT object_id FROM study_objects WHERE study_id = :study) ORDER BY v.object_id, v.task, v.revision DESC"
)
# unseen-objects: where objects lie that no preparation has seen; headers are personal, so the read is declared.
UNSEEN = text(
    "SELECT event_id, subject_id, blob_uri, modality, sop_class_uid, observed_at FROM instances "
    "WHERE event_id = ANY(CAST(:ids AS uuid[]))"
)

COLUMNS = (
    "report_id, study_id, task, revision, digest, decision, views, results, changed, follows, made_at, withdrawn_at"
)
LATEST = text(
    f"SELECT DISTINCT ON (task) {COLUMNS} FROM study_reports WHERE study_id = :study ORDER BY task, revision DESC"
)
BY_ID = text(f"SELECT {COLUMNS} FROM study_reports WHERE report_id = :id")
CHAIN = text(
    f"SELECT {COLUMNS} FROM study_reports WHERE (study_id, task) = "
    "(SELECT study_id, task FROM study_reports WHERE report_id = :id) ORDER BY revision"
)
INSERT = text(
    "INSERT INTO study_reports (report_id, study_id, task, revision, digest, decision, views, results, changed, "
    "follows, made_at) VALUES (:report_id, :study_id, :task, :revision, :digest, :decision, CAST(:views AS jsonb), "
    "CAST(:results AS uuid[]), CAST(:changed AS jsonb), :follows, :made_at) ON CONFLICT DO NOTHING"
)
# withdraw-reports: with those that it replaced, which told the same thing.
WITHDRAW = text(
    "UPDATE study_reports r SET withdrawn_at = :now FROM study_reports w WHERE w.report_id = :id "
    "AND r.study_id = w.study_id AND r.task = w.task AND r.revision <= w.revision AND r.withdrawn_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class View:
    """One image of a report: `result` where it was answered; `reason` and `code` where it was not."""

    object_id: str
    event_id: UUID
    subject_id: str
    blob_uri: str
    status: Status
    result: UUID | None = None
    reason: str = ""
    code: str = ""
    changed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudyReport:
    """One revision of what is told of a study by a model; `views` begins with the image that decides.

    `task` is `*` where nothing says which model would have been asked. `follows` is the revision before.
    """

    report_id: UUID
    study_id: str
    task: str
    revision: int
    digest: str
    decision: Decision
    views: tuple[View, ...]
    changed: Mapping[str, str]
    follows: UUID | None
    made_at: datetime
    withdrawn_at: datetime | None = None

    @property
    def results(self) -> tuple[UUID, ...]:
        """The results that it tells."""
        return tuple(each.result for each in self.views if each.result is not None)


@dataclass(frozen=True, slots=True)
class Known:
    """An object of a study; `media_type` is empty where no preparation has seen it."""

    object_id: str
    event_id: UUID
    subject_id: str
    blob_uri: str
    media_type: str
    destinations: tuple[str, ...] | None
    observed_at: datetime | None
    modality: str = ""
    sop_class_uid: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an object ended for a task."""

    object_id: str
    task: str
    fate: str
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class Said:
    """The newest visible result of an object and task."""

    object_id: str
    task: str
    result_id: UUID
    withdrawn_at: datetime | None
    changed: Mapping[str, str]
    changed_at: datetime | None
    urgent: bool


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """All that is known of a study now. `receiving` is None where the ledger does not know the study yet."""

    study_id: str
    receiving: bool | None
    last_at: datetime | None
    objects: tuple[Known, ...]
    ended: tuple[Ended, ...]
    said: tuple[Said, ...]
    reports: tuple[StudyReport, ...]


async def mark(connection: AsyncConnection, studies: Iterable[str], now: datetime) -> None:
    """Has these studies looked at."""
    names = sorted(set(studies))
    if names:
        await connection.execute(MARK, {"studies": names, "now": now})


async def forget(connection: AsyncConnection, before: datetime) -> None:
    """Drops the marks that nobody looked at since `before`."""
    await connection.execute(FORGET, {"before": before})


async def due(connection: AsyncConnection, limit: int, now: datetime) -> list[tuple[str, int]]:
    """(study, number of its mark) of those that are to be looked at."""
    return [(row.study_id, row.number) for row in await connection.execute(DUE, {"now": now, "limit": limit})]


async def facts(connection: AsyncConnection, study: str) -> StudyFacts:
    """What is known of a study."""
    asked = {"study": study}
    receiving, last_at = (await connection.execute(OPEN, asked)).one()
    objects = [_known(row) for row in await connection.execute(OBJECTS, asked)]
    ended = tuple(Ended(*row) for row in await connection.execute(OUTCOMES, asked))
    said = tuple(_said(row) for row in await connection.execute(RESULTS, asked))
    reports = tuple(_report(row) for row in await connection.execute(LATEST, asked))
    return StudyFacts(study, receiving, last_at, tuple(objects), ended, said, reports)


async def unseen(connection: AsyncConnection, events: Sequence[UUID]) -> dict[UUID, Known]:
    """Where objects lie that no preparation has seen; the read is audited."""
    line = await identities.audit(
        connection,
        by_whom="exports",
        purpose="a report of what was not analysed",
        action="instances.read",
        details={"events": len(events)},
    )
    await connection.execute(identities.DECLARE, {"id": str(line)})
    rows = await connection.execute(UNSEEN, {"ids": list(events)})
    return {
        row.event_id: Known(
            "", row.event_id, row.subject_id, row.blob_uri, "", None, row.observed_at, row.modality, row.sop_class_uid
        )
        for row in rows
    }


async def over(
    connection: AsyncConnection,
    study: str,
    number: int,
    again: datetime | None,
    gone: Sequence[UUID],
    made: Sequence[StudyReport],
    now: datetime,
) -> None:
    """Stores what is told and that the study was looked at; one that is not over is looked at `again` then."""
    for report in made:
        await connection.execute(INSERT, _values(report))
    for report_id in gone:
        await connection.execute(WITHDRAW, {"id": report_id, "now": now})
    statement = UNMARK if again is None else PUT_OFF
    await connection.execute(statement, {"study": study, "number": number, **({} if again is None else {"due": again})})


async def by_id(connection: AsyncConnection, report: UUID) -> StudyReport | None:
    """The report of that id."""
    row = (await connection.execute(BY_ID, {"id": report})).one_or_none()
    return None if row is None else _report(row)


async def chain(connection: AsyncConnection, report: UUID) -> list[StudyReport]:
    """All revisions of what that report tells, the first one first."""
    return [_report(row) for row in await connection.execute(CHAIN, {"id": report})]


def _known(row: Row[Any]) -> Known:
    destinations = None if row.destinations is None else tuple(row.destinations)
    return Known(
        row.object_id,
        row.event_id,
        row.subject_id or "",
        row.blob_uri or "",
        row.media_type or "",
        destinations,
        row.observed_at,
    )


def _said(row: Row[Any]) -> Said:
    return Said(
        row.object_id,
        row.task,
        row.answer_id,
        row.withdrawn_at,
        dict(row.amended),
        row.amended_at,
        row.priority == "stat",
    )


def _values(report: StudyReport) -> dict[str, Any]:
    views = [
        {
            "object_id": each.object_id,
            "event_id": str(each.event_id),
            "subject_id": each.subject_id,
            "blob_uri": each.blob_uri,
            "status": each.status,
            "result": str(each.result) if each.result else None,
            "reason": each.reason,
            "code": each.code,
            "changed": dict(each.changed),
        }
        for each in report.views
    ]
    return {
        "report_id": report.report_id,
        "study_id": report.study_id,
        "task": report.task,
        "revision": report.revision,
        "digest": report.digest,
        "decision": report.decision,
        "views": json.dumps(views),
        "results": list(report.results),
        "changed": json.dumps(dict(report.changed)),
        "follows": report.follows,
        "made_at": report.made_at,
    }


def _report(row: Row[Any]) -> StudyReport:
    views = [
        View(**{**each, "event_id": UUID(each["event_id"]), "result": UUID(each["result"]) if each["result"] else None})
        for each in row.views
    ]
    return StudyReport(
        row.report_id,
        row.study_id,
        row.task,
        row.revision,
        row.digest,
        row.decision,
        tuple(views),
        row.changed,
        row.follows,
        row.made_at,
        row.withdrawn_at,
    )
