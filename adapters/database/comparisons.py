"""A result beside the one before it of the same patient, and what was refused; lists of results are in `queries`."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import outcomes as outcome_rows
from adapters.database.queries import RESULT, result_by_id, stored_result
from adapters.database.records import Refusal, ResultFilter, StoredOutcome, StoredResult
from schemas import ids

# prior-result: the newest of the same subject and task that belongs to another study which came in earlier, as it
# stands now: the last revision of its object, not withdrawn.
PRIOR = text(
    f"{RESULT} JOIN images i ON i.event_id = v.event_id JOIN images mine ON mine.event_id = :event "
    "WHERE v.subject_id = :subject AND v.task = :task AND v.simulated = :simulated AND v.object_id <> :object "
    "AND v.withdrawn_at IS NULL AND i.study_id <> mine.study_id AND i.observed_at < mine.observed_at "
    "AND NOT EXISTS (SELECT 1 FROM visible n WHERE n.object_id = v.object_id AND n.task = v.task "
    "AND n.revision > v.revision) ORDER BY i.observed_at DESC, v.object_id LIMIT 1"
)

# refused: newest first; an absent filter is NULL.
REFUSED = text(
    f"SELECT {outcome_rows.STORED}, decided_at FROM outcomes WHERE fate = 'refused' "
    "AND (CAST(:since AS timestamptz) IS NULL OR decided_at >= :since) "
    "AND (CAST(:model AS text) IS NULL OR task = :model) "
    "AND (CAST(:subject AS text) IS NULL OR subject_id = :subject) "
    "AND (:simulated OR NOT starts_with(object_id, :prefix)) "
    "ORDER BY decided_at DESC, event_id, task LIMIT :limit"
)


async def with_prior(connection: AsyncConnection, result_id: UUID) -> tuple[StoredResult | None, StoredResult | None]:
    """The visible result with this id, and the one before it of the patient for the same task; None for either."""
    found = await result_by_id(connection, result_id)
    if found is None:
        return None, None
    result, answer = found.result, found.result.answer
    values = {
        "event": answer.event_id,
        "subject": result.subject_id,
        "task": result.task,
        "simulated": answer.simulated,
        "object": result.object_id,
    }
    row = (await connection.execute(PRIOR, values)).first()
    return found, stored_result(row) if row is not None else None


async def refused(connection: AsyncConnection, wanted: ResultFilter) -> list[Refusal]:
    """What models did not take, newest first; of injected data only when asked for."""
    values = {
        "since": wanted.since,
        "model": wanted.model,
        "subject": wanted.subject,
        "simulated": wanted.simulated,
        "prefix": ids.SIMULATED,
        "limit": wanted.limit,
    }
    rows = await connection.execute(REFUSED, values)
    return [Refusal(StoredOutcome(*row[:-1]), row[-1]) for row in rows]
