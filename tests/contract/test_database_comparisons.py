"""A result beside the one before it of the same patient, on real PostgreSQL (CC12)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.clock import SystemClock
from adapters.database import Database, ImageIdentity
from adapters.settings import Settings
from clinstream.comparison import compared, lines
from schemas.events import Answer
from tests.support.answers import answer

TASK = "toy_image"
ILL: dict[str, Any] = {"label": "ill", "probabilities": {"well": 0.1, "ill": 0.9}}
WELL: dict[str, Any] = {"label": "well", "probabilities": {"well": 0.9, "ill": 0.1}}


@pytest.fixture
async def database(fresh_database: Settings) -> AsyncIterator[Database]:
    """An empty database."""
    opened = Database.open(fresh_database, SystemClock())
    yield opened
    await opened.close()


async def seen(database: Database, thing: str, *, study: str, day: int, subject: str = "sub-1", **said: Any) -> Answer:
    """An image of a study that came in on a day of May, with its result."""
    given = answer(thing, task=TASK, subject_id=subject, **said)
    await database.note_images(
        [
            ImageIdentity(
                event_id=given.event_id,
                object_id=thing,
                subject_id=subject,
                study_id=study,
                blob_uri="pixels/aa/aa",
                observed_at=datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=day),
            )
        ]
    )
    await database.record([given])
    return given


async def test_the_result_before_is_the_newest_of_an_earlier_study_of_the_same_patient_and_task(
    database: Database,
) -> None:
    await seen(database, "1.1", study="stu-1", day=1, **ILL)
    before = await seen(database, "1.2", study="stu-2", day=2, **WELL)
    now = await seen(database, "1.3", study="stu-3", day=5, warnings=("the height is odd",), **ILL)
    await seen(database, "1.4", study="stu-3", day=4, **WELL)  # another view of the same study
    await seen(database, "1.5", study="stu-4", day=6, **WELL)  # a later study
    await seen(database, "1.6", study="stu-5", day=4, subject="sub-2", **WELL)  # another patient
    found, prior = await database.with_prior(now.answer_id)
    assert found is not None
    assert prior is not None
    assert (found.result.answer, prior.result.answer) == (now, before)
    assert compared(found, prior) == "changed"
    told = lines(found, prior)
    assert "warning: the height is odd" in told[1]
    assert "changed since" in told[2]


async def test_what_was_withdrawn_or_superseded_is_not_compared_with(database: Database) -> None:
    withdrawn = await seen(database, "1.2", study="stu-2", day=2, **WELL)
    await database.withdraw(withdrawn.answer_id, by_whom="tester", why="wrong patient")
    older = await seen(database, "1.1", study="stu-1", day=1, **WELL)
    newer = await seen(database, "1.1", study="stu-1", day=1, content="again", **ILL)
    now = await seen(database, "1.3", study="stu-3", day=5, **ILL)
    found, prior = await database.with_prior(now.answer_id)
    assert found is not None
    assert prior is not None
    assert prior.result.answer.answer_id == newer.answer_id != older.answer_id
    assert compared(found, prior) == "unchanged"


async def test_a_first_study_and_an_abstention_have_nothing_to_be_compared_with(database: Database) -> None:
    first = await seen(database, "1.1", study="stu-1", day=1, **ILL)
    unsure = await seen(database, "1.2", study="stu-2", day=2, abstained=True, reason="0.5 is in the band", **ILL)
    found, prior = await database.with_prior(first.answer_id)
    assert found is not None
    assert (prior, compared(found, prior)) == (None, "")
    assert "no earlier study" in lines(found, None)[1]
    found, prior = await database.with_prior(unsure.answer_id)
    assert found is not None
    assert compared(found, prior) == "not_comparable"
    assert "because 0.5 is in the band" in lines(found, prior)[1]


async def test_an_unknown_result_is_none(database: Database) -> None:
    assert await database.with_prior(answer("9.9").answer_id) == (None, None)
