"""The projections made anew from the log, in one transaction; reading the log is the caller's part.

Answers, visible results, outcomes, images and readings follow from the log. Releases and the audit are decisions and
stay as they are; studies and identities come from the images themselves and stay too.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database import assessments, glucose_marks, identities, migrating, recording, results_changes
from adapters.database import outcomes as outcome_rows
from adapters.database import readings as reading_rows
from adapters.database.columns import arrays, names, unnest
from adapters.database.engine import make_engine
from adapters.database.errors import translated
from adapters.database.recording import COLUMNS, Standing
from adapters.database.records import ImageIdentity, NewReading
from adapters.settings import Settings
from schemas.events import (
    Answer,
    GlucoseObserved,
    OutcomeDecided,
    ResultAmended,
    ResultAssessed,
    ResultPublished,
    ResultWithdrawn,
)

PROJECTIONS = ("answers", "visible", "outcomes", "images", "readings", "assessments")
# In the order in which every transaction that writes takes them, so that whoever waits holds nothing needed here.
LOCKED = ("glucose_windows", "readings", "assessments", "answers", "visible", "outcomes", "images")

# insert-visible-as-published: with the revisions that the log says.
INSERT = text(
    f"INSERT INTO visible ({names(COLUMNS)}, visible_at) "
    f"SELECT * FROM {unnest(COLUMNS, 'CAST(:at AS timestamptz[])')} ON CONFLICT DO NOTHING"
)

# What the log does not hold (yet): rows whose event was committed here and is still to be published, and answers
# that are never published. They were true before and stay so.
KEEP_ANSWERS = text("INSERT INTO answers SELECT * FROM old_answers ON CONFLICT DO NOTHING")
KEEP_VISIBLE = text(
    "INSERT INTO visible SELECT v.* FROM old_visible v JOIN answers USING (answer_id) "
    "ORDER BY v.object_id, v.task, v.revision ON CONFLICT DO NOTHING"
)
# counted-before, counted-others: corrections stay counted; where nobody knows in which window, in a closed one.
COUNTED_BEFORE = text(
    "UPDATE assessments a SET counted_window = o.counted_window FROM old_assessments o "
    "WHERE a.override_id = o.override_id"
)
COUNTED_OTHERS = text(
    "UPDATE assessments SET counted_window = :window WHERE differs AND NOT simulated AND counted_window IS NULL "
    "AND override_id NOT IN (SELECT override_id FROM old_assessments)"
)
KEEP_OUTCOMES = text("INSERT INTO outcomes SELECT * FROM old_outcomes ON CONFLICT DO NOTHING")
KEEP_IMAGES = text("INSERT INTO images SELECT * FROM old_images ON CONFLICT DO NOTHING")
KEEP_READINGS = text(
    "INSERT INTO readings SELECT * FROM old_readings o WHERE NOT EXISTS (SELECT 1 FROM readings r "
    "WHERE r.subject_id = o.subject_id AND r.simulated = o.simulated AND r.measured_at = o.measured_at "
    "AND r.content = o.content) ON CONFLICT DO NOTHING"
)

# Readings as the log has them, until it is known which were taken and in what order.
LOGGED = text(
    "CREATE TEMP TABLE logged_readings ON COMMIT DROP AS "
    "SELECT r.*, now() AS logged_at, 0::int8 AS place FROM readings r WITH NO DATA"
)
LOG_READINGS = text(
    f"INSERT INTO logged_readings ({names(reading_rows.COLUMNS)}, logged_at, place) SELECT * FROM "
    + unnest(reading_rows.COLUMNS, "CAST(:logged_at AS timestamptz[])", "CAST(:place AS int8[])")
)
# Those whose events came to an end, the first sighting of each content, numbered as they were observed. A reading that
# no model was to see (`*`) because it was refused or given up was never taken.
TAKE_READINGS = text(
    f"INSERT INTO readings ({names(reading_rows.COLUMNS)}) SELECT "
    + ", ".join(
        "row_number() OVER (PARTITION BY subject_id, simulated, measured_at ORDER BY logged_at, place)"
        if column.name == "revision"
        else column.name
        for column in reading_rows.COLUMNS
    )
    + " FROM (SELECT DISTINCT ON (subject_id, simulated, measured_at, content) l.* FROM logged_readings l "
    "WHERE EXISTS (SELECT 1 FROM outcomes o WHERE o.event_id = l.event_id "
    "AND NOT (o.task = '*' AND o.fate IN ('refused', 'dead'))) "
    "ORDER BY subject_id, simulated, measured_at, content, logged_at, place) AS taken"
)
# New stamps for all: no cached window is true any more.
STAMPS = text(
    "INSERT INTO glucose_windows SELECT subject_id, simulated, gen_random_uuid() FROM readings "
    "GROUP BY subject_id, simulated"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows each projection has."""

    answers: int
    visible: int
    outcomes: int
    images: int
    readings: int
    assessments: int


class Rebuild:
    """The transaction under way: everything here is undone unless the block that opened it ends well.

    Feed it in this order: results, their changes, `keep_unlogged`, answers, outcomes, images, readings, assessments.
    """

    def __init__(self, connection: AsyncConnection, clock: Clock, missing: Sequence[str]) -> None:
        self._connection = connection
        self._clock = clock
        self.missing = tuple(missing)
        self.before = Counts(0, 0, 0, 0, 0, 0)

    async def begin(self) -> None:
        """Keeps writers out, sets the old rows aside, and empties the projections.

        EXCLUSIVE keeps readers going: they see the old rows until the end.
        """
        for table in LOCKED:
            await self._connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        self.before = await self.counts()
        for table in PROJECTIONS:
            await self._connection.execute(text(f"CREATE TEMP TABLE old_{table} ON COMMIT DROP AS TABLE {table}"))
            await self._connection.execute(text(f"DELETE FROM {table}"))
        await self._connection.execute(LOGGED)

    async def add_results(self, results: Sequence[ResultPublished]) -> None:
        """Visible results as published, with their answers and outcomes."""
        answers = [result.answer for result in results]
        rows = [_standing(result) for result in results]
        at = [moment(answer, self._clock.now()) for answer in answers]
        await self._connection.execute(INSERT, {**arrays(COLUMNS, rows), "at": at})
        await self.add_answers(answers)

    async def change(self, changed: ResultWithdrawn | ResultAmended, at: datetime) -> None:
        """A result that was taken back or amended at a time."""
        place = (self._connection, changed.object_id, changed.task, changed.result_id)
        if isinstance(changed, ResultWithdrawn):
            await results_changes.mark_withdrawn(*place, changed.reason, at)
        else:
            await results_changes.mark_amended(*place, changed.changed, at)

    async def keep_unlogged(self) -> None:
        """Puts back the old answers and visible results that the log does not hold."""
        await self._connection.execute(KEEP_ANSWERS)
        await self._connection.execute(KEEP_VISIBLE)

    async def add_answers(self, answers: Sequence[Answer]) -> None:
        """Answers in the order of the log; those whose content has no result yet become visible, as when recorded."""
        for when, group in _by_moment(answers, self._clock.now()):
            await recording.record(self._connection, group, when, announce=False)

    async def add_outcomes(self, outcomes: Sequence[OutcomeDecided]) -> None:
        """Outcomes as decided."""
        await outcome_rows.upsert(self._connection, outcomes, self._clock.now())

    async def add_assessments(self, events: Sequence[ResultAssessed], rules: Mapping[str, assessments.Rules]) -> None:
        """What clinicians said, in the order in which they said it; nothing is counted, announced or asked for.

        Where an assessment counts was decided before and is kept; how many corrections the open window of a task has is
        a decision and stays as it is.
        """
        for event in assessments.in_order(events):
            await assessments.assess(self._connection, event, rules, self._clock.now(), mute=True)
        await self._connection.execute(COUNTED_BEFORE)
        await self._connection.execute(COUNTED_OTHERS, {"window": assessments.KEPT_CLOSED})

    async def add_images(self, images: Sequence[ImageIdentity]) -> None:
        """Image events as observed, without whose they are."""
        await identities.note_events(self._connection, images)

    async def add_readings(self, readings: Sequence[GlucoseObserved], logged: Sequence[tuple[datetime, int]]) -> None:
        """Glucose readings as observed; `logged` orders them: of a partition as it lies there, else by arrival."""
        rows = arrays(reading_rows.COLUMNS, [NewReading(event, 1) for event in readings])
        order = {"logged_at": [at for at, _ in logged], "place": [place for _, place in logged]}
        await self._connection.execute(LOG_READINGS, {**rows, **order})

    async def add_identities(self, images: Sequence[ImageIdentity]) -> None:
        """Studies and patients as their images name them."""
        await identities.note(self._connection, images)

    async def finish(self, *, keep_unlogged: bool) -> Counts:
        """Puts back what the log does not hold, decides which readings were taken, and counts."""
        if keep_unlogged:
            await self._connection.execute(KEEP_OUTCOMES)
            await self._connection.execute(KEEP_IMAGES)
        await self._connection.execute(TAKE_READINGS)
        if keep_unlogged:
            await self._connection.execute(KEEP_READINGS)
        await self._connection.execute(text("DELETE FROM glucose_windows"))
        await self._connection.execute(STAMPS)
        await glucose_marks.everything(self._connection)
        return await self.counts()

    async def counts(self) -> Counts:
        """How many rows each projection has now."""
        found = [
            (await self._connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
            for table in PROJECTIONS
        ]
        return Counts(*found)


@asynccontextmanager
async def rebuild(settings: Settings, clock: Clock) -> AsyncIterator[Rebuild]:
    """Opens the transaction as the owner of the tables, makes dropped tables again, and commits at the end.

    `missing` of what it yields names the tables that had to be made. Raises DatabaseUnavailable.
    """
    engine = make_engine(settings.database.migration_url, pool_size=1, statement_timeout_s=0, name="clinstream rebuild")
    try:
        with translated():
            async with engine.begin() as connection:
                role = settings.database.application_role
                missing = await migrating.restore_tables(connection, (*PROJECTIONS, "glucose_windows"), role)
                work = Rebuild(connection, clock, missing)
                await work.begin()
                yield work
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                for table in PROJECTIONS:
                    await connection.execute(text(f"VACUUM ANALYZE {table}"))
    finally:
        await engine.dispose()


def moment(answer: Answer, now: datetime) -> datetime:
    """When the answer was recorded, as it says itself, else now."""
    at = answer.hops.get("recorded")
    return datetime.fromtimestamp(at, UTC) if at else now


def _by_moment(answers: Sequence[Answer], now: datetime) -> Iterable[tuple[datetime, list[Answer]]]:
    """Runs of neighbours that were recorded in one transaction, so that they can be written by one statement."""
    group: list[Answer] = []
    for answer in answers:
        if group and moment(answer, now) != moment(group[0], now):
            yield moment(group[0], now), group
            group = []
        group.append(answer)
    if group:
        yield moment(group[0], now), group


def _standing(result: ResultPublished) -> Standing:
    answer = result.answer
    return Standing(
        key=recording.key_of(answer),
        revision=result.revision,
        answer_id=result.result_id,
        event_id=answer.event_id,
        subject_id=result.subject_id,
        supersedes=result.supersedes,
        simulated=answer.simulated,
    )
