"""What the command line asks: lists of visible results and the trail of one thing; nothing is written here."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import answers as answer_rows
from adapters.database import outcomes as outcome_rows
from adapters.database.recording import Standing, result_of
from adapters.database.records import Followable, ResultFilter, StoredImage, StoredOutcome, StoredResult, Trail

ANSWER = ", ".join(f"a.{column.name}" for column in answer_rows.COLUMNS)
RESULT = (
    f"SELECT {ANSWER}, v.revision, v.supersedes, v.visible_at, v.withdrawn_at, v.withdrawn_why, "
    "v.amended_at, v.amended "
    "FROM visible v JOIN answers a USING (answer_id)"
)

# results: newest first; an absent filter is NULL.
RESULTS = text(
    f"{RESULT} WHERE (CAST(:since AS timestamptz) IS NULL OR v.visible_at >= :since) "
    "AND (CAST(:model AS text) IS NULL OR v.task = :model) "
    "AND (CAST(:subject AS text) IS NULL OR v.subject_id = :subject) "
    "AND (:simulated OR NOT v.simulated) "
    "ORDER BY v.visible_at DESC, v.object_id, v.task, v.revision DESC LIMIT :limit"
)

# results-of-objects: with all revisions.
RESULTS_OF_OBJECTS = text(
    f"{RESULT} WHERE v.object_id = ANY(CAST(:objects AS text[])) ORDER BY v.object_id, v.task, v.revision"
)

# result-by-id: by the id of the winning answer.
RESULT_BY_ID = text(f"{RESULT} WHERE a.answer_id = :id AND v.object_id = a.object_id")

IMAGE_COLUMNS = (
    "event_id, object_id, subject_id, study_id, blob_uri, modality, sender, observed_at, "
    "sop_class_uid, media_type, laterality, destinations"
)
IMAGE = f"SELECT {IMAGE_COLUMNS} FROM images"

# images-of: by any of event, object, study or subject.
IMAGES_OF = text(
    f"{IMAGE} WHERE event_id = ANY(CAST(:events AS uuid[])) OR object_id = ANY(CAST(:objects AS text[])) "
    "OR study_id = ANY(CAST(:studies AS text[])) OR subject_id = ANY(CAST(:subjects AS text[])) "
    "ORDER BY observed_at NULLS LAST, event_id"
)

# followable: visible results as they stand, a later revision of the same object and task superseding; joined with the
# image that each speaks of.
FOLLOWABLE = text(
    "SELECT v.answer_id, v.withdrawn_at IS NOT NULL AS withdrawn, EXISTS (SELECT 1 FROM visible n WHERE "
    "n.object_id = v.object_id AND n.task = v.task AND n.revision > v.revision) AS superseded, "
    + ", ".join(f"i.{column} AS image_{column}" for column in IMAGE_COLUMNS.split(", "))
    + " FROM answers a JOIN visible v ON v.object_id = a.object_id AND v.answer_id = a.answer_id "
    "LEFT JOIN images i ON i.event_id = v.event_id WHERE a.answer_id = ANY(CAST(:ids AS uuid[]))"
)

# outcomes-of: by any of event or subject. No index on object_id: objects are found through their events, and answered
# events of a subject through what is visible of it.
OUTCOMES_OF = text(
    f"SELECT {outcome_rows.STORED} FROM outcomes WHERE event_id = ANY(CAST(:events AS uuid[])) "
    "OR (subject_id = ANY(CAST(:subjects AS text[])) AND fate <> 'answered') ORDER BY decided_at, event_id, task"
)

# objects-visible-of-subject, answers-of-events: every version's answers, shown or not; those that forecast are found
# through the outcomes of their events.
OBJECTS_OF_SUBJECTS = text("SELECT DISTINCT object_id FROM visible WHERE subject_id = ANY(CAST(:subjects AS text[]))")
EVENTS_OF_OBJECTS = text("SELECT DISTINCT event_id FROM visible WHERE object_id = ANY(CAST(:objects AS text[]))")
ANSWERS_OF_EVENTS = text(
    f"SELECT {ANSWER} FROM answers a WHERE (event_id = ANY(CAST(:events AS uuid[])) "
    "AND (forecast = '[]' OR arm = 'shadow')) "
    "OR answer_id = ANY(CAST(:answered AS uuid[])) ORDER BY recorded_at, answer_id"
)


async def results(connection: AsyncConnection, wanted: ResultFilter) -> list[StoredResult]:
    """Visible results, newest first; simulated ones only when asked for."""
    values = {
        "since": wanted.since,
        "model": wanted.model,
        "subject": wanted.subject,
        "simulated": wanted.simulated,
        "limit": wanted.limit,
    }
    return [stored_result(row) for row in await connection.execute(RESULTS, values)]


async def result_by_id(connection: AsyncConnection, result_id: UUID) -> StoredResult | None:
    """The visible result with this id."""
    row = (await connection.execute(RESULT_BY_ID, {"id": result_id})).first()
    return stored_result(row) if row is not None else None


async def trail(
    connection: AsyncConnection,
    *,
    events: Sequence[UUID] = (),
    objects: Sequence[str] = (),
    studies: Sequence[str] = (),
    subjects: Sequence[str] = (),
) -> Trail:
    """Everything known of these events, objects, studies and subjects, and of the events of what was found."""
    found = {"events": list(events), "objects": list(objects), "studies": list(studies), "subjects": list(subjects)}
    images = [StoredImage(*row) for row in await connection.execute(IMAGES_OF, found)]
    all_objects = {*objects, *(image.object_id for image in images)}
    if subjects:
        all_objects |= set((await connection.execute(OBJECTS_OF_SUBJECTS, {"subjects": list(subjects)})).scalars())
    all_events = {*events, *(image.event_id for image in images)}
    values = {"objects": sorted(all_objects)}
    all_events |= set((await connection.execute(EVENTS_OF_OBJECTS, values)).scalars())
    outcomes = await _outcomes(connection, all_events, subjects)
    all_events |= {outcome.event_id for outcome in outcomes}
    answered = sorted(each.answer_id for each in outcomes if each.fate == "answered" and each.answer_id is not None)
    answers = await connection.execute(ANSWERS_OF_EVENTS, {"events": sorted(all_events), "answered": answered})
    kept = [answer_rows.answer_of(row) for row in answers]
    values = {"objects": sorted(all_objects | {answer.object_id for answer in kept})}
    shown = [stored_result(row) for row in await connection.execute(RESULTS_OF_OBJECTS, values)]
    return Trail(images, kept, shown, outcomes)


async def followable(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Followable]:
    """How these results stand now, by id; one that is not visible is left out."""
    rows = await connection.execute(FOLLOWABLE, {"ids": list(ids)})
    return {
        row.answer_id: Followable(
            row.answer_id,
            row.withdrawn,
            row.superseded,
            StoredImage(*row[3:]) if row.image_event_id is not None else None,
        )
        for row in rows
    }


async def _outcomes(connection: AsyncConnection, events: set[UUID], subjects: Sequence[str]) -> list[StoredOutcome]:
    rows = await connection.execute(OUTCOMES_OF, {"events": sorted(events), "subjects": list(subjects)})
    return [StoredOutcome(*row) for row in rows]


def stored_result(row: Row[Any]) -> StoredResult:
    """A row of `RESULT` as a record."""
    answer = answer_rows.answer_of(row)
    standing = Standing(
        (answer.object_id, answer.content, answer.task),
        row.revision,
        answer.answer_id,
        answer.event_id,
        answer.subject_id,
        row.supersedes,
        answer.simulated,
    )
    return StoredResult(
        result_of(standing, answer),
        row.visible_at,
        row.withdrawn_at,
        row.withdrawn_why,
        row.amended_at,
        dict(row.amended),
    )
