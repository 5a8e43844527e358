"""The one-step lanes of glucose, with a database, a cache and a model server in memory."""

from datetime import timedelta

import pytest

from adapters.database import Own, Taking
from consumers.outcomes import Decide
from schemas import ids
from schemas.errors import DatabaseUnavailable, ServerDown
from schemas.events import GlucoseObserved
from tests.support.glucose import NOW, TASK, Around, expected, fate, minutes, reading, result, taken_back


def history(count: int = 3, wearer: str = "1", last: float = -5.0, mg_dl: float = 100.0) -> list[GlucoseObserved]:
    """Readings every five minutes up to `last` minutes after now."""
    return [reading(last - 5 * n, mg_dl, wearer) for n in reversed(range(count))]


async def test_the_newest_reading_of_each_wearer_is_answered_and_the_others_are_superseded() -> None:
    """GL2: one forecast a wearer a micro-batch."""
    around = Around()
    one, two = history(3, "1"), history(4, "2")
    found = await around.run(*one, *two)
    assert [fate(each) for each in found] == ["superseded"] * 2 + ["answered"] + ["superseded"] * 3 + ["answered"]
    answer = result(found[2]).answer
    assert (answer.event_id, answer.label) == (one[2].event_id, "forecast")
    assert (expected(found[2]), expected(found[6])) == (300.0, 400.0)
    assert answer.inputs == (one[0].object_id, one[2].object_id)
    assert len(around.triton.asked) == 1, "one request for all wearers"
    assert around.ledger.batches == [2], "and one transaction"
    assert {row.fate for row in await around.ledger.outcomes_of([one[0].event_id])} == {"superseded"}


async def test_a_window_goes_on_from_batch_to_batch_and_forgets_what_is_older_than_its_span() -> None:
    around = Around()
    await around.run(reading(-300), *history(3))
    found = await around.run(reading(0, 130.0))
    assert expected(found[0]) == 430.0
    assert minutes(around.window()) == [-15.0, -10.0, -5.0, 0.0]


async def test_a_wearers_vector_stays_with_the_window_from_batch_to_batch() -> None:
    """GL2: the database is asked once, then the cache has it; neighbours have none."""
    around = Around()
    one, two = history(3, "1"), history(3, "2")
    around.ledger.own[one[0].subject_id, False] = Own("1.0.0", (0.5, -0.25))
    found = await around.run(*one, *two)
    assert (expected(found[2]), expected(found[5])) == (300.25, 300.0)
    around.ledger.own.clear()
    found = await around.run(reading(0, 130.0, "1"), reading(0, 130.0, "2"))
    assert (expected(found[0]), expected(found[1])) == (430.25, 430.0)
    kept = await around.windows.get([(one[0].subject_id, False), (two[0].subject_id, False)])
    assert kept is not None
    vectors = {wearer[0]: window.own.vector for wearer, window in kept.items()}
    assert vectors == {one[0].subject_id: (0.5, -0.25), two[0].subject_id: ()}


async def test_a_vector_goes_only_to_the_version_that_it_was_fitted_to() -> None:
    """GL2, GL13: a canary's wearers, and all after a promotion, are answered as everybody until they are refitted."""
    around = Around()
    one, two = history(3, "1"), history(3, "2")
    for each in (one, two):
        around.ledger.own[each[0].subject_id, False] = Own("1.0.0", (0.5, -0.25))
    around.releases.versions[two[0].subject_id] = "1.1.0"
    found = await around.run(*one, *two)
    assert [result(found[place]).answer.version for place in (2, 5)] == ["1.0.0", "1.1.0"]
    assert [expected(found[place]) for place in (2, 5)] == [300.25, 300.0]
    around.releases.versions = {one[0].subject_id: "1.1.0"}
    found = await around.run(reading(0, 130.0, "1"), reading(0, 130.0, "2"))
    assert [expected(each) for each in found] == [430.0, 430.25], "promoted for one, rolled back for the other"


@pytest.mark.parametrize("cache", ["as it was", "flushed", "away", "behind"])
async def test_the_forecast_is_the_same_whatever_became_of_the_cache(cache: str) -> None:
    """GL5: the database is the truth; a cache that missed a change is noticed."""
    around = Around()
    await around.run(*history(3))
    old = dict(around.windows.kept)
    await around.run(reading(-2, 120.0))
    if cache == "flushed":
        await around.windows.clear()
    around.windows.away = cache == "away"
    if cache == "behind":
        around.windows.kept = old
    found = await around.run(reading(0, 130.0))
    assert expected(found[0]) == 550.0
    assert len(around.triton.asked) == (4 if cache == "behind" else 3)


async def test_nothing_that_was_rolled_back_gets_into_the_cache() -> None:
    around = Around()
    await around.run(*history(3))
    before = dict(around.windows.kept)

    async def refuse(_: Taking) -> None:
        raise DatabaseUnavailable("away")

    around.ledger.take = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(DatabaseUnavailable):
        await around.run(reading(0, 130.0))
    assert around.windows.kept == before
    assert minutes(around.window()) == [-15.0, -10.0, -5.0]


async def test_a_lane_that_another_overtakes_works_its_batch_out_again() -> None:
    """GL5: a backfill between a live batch's window and its commit is in the live forecast."""
    around = Around()
    await around.run(*history(3))
    take = around.ledger.take

    async def overtaken(taking: Taking) -> object:
        around.ledger.take = take  # type: ignore[method-assign]
        await around.run(reading(-7, 50.0), lane="backfill")
        return await take(taking)

    around.ledger.take = overtaken  # type: ignore[method-assign, assignment]
    found = await around.run(reading(0, 130.0))
    assert expected(found[0]) == 480.0
    assert minutes(around.window()) == [-15.0, -10.0, -7.0, -5.0, 0.0]


async def test_an_old_newest_reading_is_answered_as_stale_without_asking_the_model() -> None:
    """GL3."""
    around = Around()
    found = await around.run(*history(3, last=-16.0))
    answer = result(found[2]).answer
    assert (answer.label, answer.forecast, answer.inputs) == ("stale", (), ())
    assert "15 minutes" in answer.reason
    assert answer.version == "1.0.0"
    assert around.triton.asked == []
    assert len(around.window().times_ms) == 3


async def test_a_reading_of_15_minutes_is_not_stale_yet() -> None:
    around = Around()
    found = await around.run(*history(3, last=-14.9))
    assert result(found[2]).answer.label == "forecast"


async def test_what_comes_late_for_a_wearer_with_a_newer_reading_is_superseded_and_kept() -> None:
    around = Around()
    await around.run(*history(3, last=0.0))
    late = reading(-7, 90.0)
    found = await around.run(late, lane="backfill")
    assert fate(found[0]) == "superseded"
    assert minutes(around.window()) == [-10.0, -7.0, -5.0, 0.0]
    assert len(around.triton.asked) == 1


async def test_a_correction_of_the_newest_reading_is_a_second_revision_of_its_forecast() -> None:
    around = Around()
    first = await around.run(*history(3, last=0.0))
    again = await around.run(reading(0.0, 150.0))
    before, after = result(first[2]), result(again[0])
    assert (after.object_id, after.revision, after.supersedes) == (before.object_id, 2, before.result_id)
    assert expected(again[0]) == 350.0


async def test_a_correction_of_a_past_reading_is_never_the_newest_forecast_and_counts_from_then_on() -> None:
    around = Around()
    await around.run(*history(3, last=0.0))
    corrected = await around.run(reading(-5.0, 150.0))
    found = await around.run(reading(4, 100.0))
    assert fate(corrected[0]) == "superseded"
    assert expected(found[0]) == 450.0


async def test_the_last_of_two_contents_of_one_time_in_a_batch_is_in_force() -> None:
    around = Around()
    found = await around.run(*history(3), reading(0, 200.0), reading(0, 210.0))
    assert [fate(each) for each in found[3:]] == ["superseded", "answered"]
    assert expected(found[4]) == 510.0
    rows = sorted((row.revision, row.event.glucose_mg_dl) for (_, _, _), row in around.ledger.readings.items())
    assert rows[-1] == (2, 210.0)


async def test_a_redelivery_publishes_the_same_result_and_changes_nothing() -> None:
    """S4."""
    around = Around()
    events = history(3)
    first = await around.run(*events)
    readings, stamps = dict(around.ledger.readings), dict(around.ledger.stamps)
    await around.run(reading(0, 130.0))
    again = await around.run(*events)
    assert [fate(each) for each in again] == [fate(each) for each in first]
    assert result(again[2]) == result(first[2])
    assert len(around.ledger.readings) == len(readings) + 1
    assert len(around.ledger.stamps) == len(stamps)
    assert len(around.triton.asked) == 2


async def test_a_first_revision_that_comes_again_does_not_undo_its_correction() -> None:
    around = Around()
    events = [*history(3), reading(0, 130.0)]
    await around.run(*events)
    await around.run(reading(0, 150.0))
    await around.run(events[-1])
    assert around.window().glucose_mg_dl[-1] == 150.0


async def test_an_event_twice_in_one_batch_is_worked_on_once() -> None:
    around = Around()
    events = history(3)
    found = await around.run(*events, events[2])
    assert [fate(each) for each in found] == ["superseded", "superseded", "answered", ""]


async def test_another_event_of_the_same_content_is_a_duplicate() -> None:
    around = Around()
    events = history(3)
    first = await around.run(*events)
    twin = reading(-5, event_id=ids.event_id("another", "sender"))
    found = await around.run(twin)
    (decide,) = found[0]
    assert isinstance(decide, Decide)
    assert (decide.outcome.fate, decide.outcome.answer_id) == ("duplicate_of", result(first[2]).result_id)


async def test_a_sensor_that_warms_up_is_answered_as_stale_with_the_models_reason_and_its_readings_are_kept() -> None:
    """GL3."""
    around = Around()
    found = await around.run(*history(2))
    answer = result(found[1]).answer
    assert (answer.label, answer.reason, answer.forecast) == ("stale", "a forecast needs 3 readings", ())
    assert around.triton.asked == []
    assert expected((await around.run(reading(0)))[0]) == 300.0


async def test_what_the_model_cannot_read_goes_aside_beside_its_neighbours() -> None:
    around = Around()
    found = await around.run(*history(3, "1"), *history(2, "2"), reading(0, 666.0, "2"))
    assert fate(found[2]) == "answered"
    assert fate(found[5]) == "unprocessable"


async def test_a_time_in_the_future_is_refused_and_not_kept() -> None:
    """A clock that runs ahead must not make every later reading an older one."""
    around = Around()
    found = await around.run(*history(3), reading(120, observed_at=NOW))
    assert fate(found[2]) == "answered"
    assert fate(found[3]) == "refused"
    assert minutes(around.window())[-1] == -5.0


async def test_injected_readings_have_a_window_and_a_topic_of_their_own() -> None:
    around = Around()
    await around.run(*history(3))
    made_up = [reading(n, 40.0, simulated=True) for n in (-10, -5, 0)]
    found = await around.run(*made_up)
    assert found[2][0].topic == f"simulated.{TASK}"
    assert expected(found[2]) == 120.0
    assert result(found[2]).answer.inputs[0].startswith(ids.SIMULATED)
    assert len(around.window().times_ms) == 3


async def test_without_a_model_readings_are_kept_and_the_events_are_not_applicable() -> None:
    around = Around(models={})
    found = await around.run(*history(3))
    assert [fate(each) for each in found] == ["not_applicable"] * 3
    assert len(around.window().times_ms) == 3


async def test_with_triton_away_nothing_is_written_and_the_batch_comes_again() -> None:
    """Delivery rule 9."""
    around = Around()
    around.triton.error = ServerDown("away")
    with pytest.raises(ServerDown):
        await around.run(*history(3))
    assert around.ledger.readings == {}
    around.triton.error = None
    assert fate((await around.run(*history(3)))[2]) == "answered"


async def test_an_outcome_that_was_never_written_is_decided_again() -> None:
    """After a rebuild from a log that lacks it, say."""
    around = Around()
    events = history(3)
    await around.run(*events)
    del around.ledger.outcomes[events[0].event_id, TASK]
    found = await around.run(events[0])
    assert fate(found[0]) == "superseded"


async def test_readings_are_told_apart_to_the_millisecond_that_their_ids_name() -> None:
    around = Around()
    exact = NOW + timedelta(microseconds=123_456)
    await around.run(reading(measured_at=exact), reading(measured_at=NOW + timedelta(microseconds=123_999)))
    assert len(around.window().times_ms) == 1


async def test_a_deleted_reading_is_gone_from_the_next_forecast_and_stays_so_when_it_is_uploaded_again() -> None:
    """GL3: a deletion is a revision: it asks no model, and a repeat of it or of what it took back changes nothing."""
    around = Around()
    wrong = reading(-2, 300.0)
    await around.run(*history(3), wrong)
    asked = len(around.triton.asked)
    assert [fate(each) for each in await around.run(taken_back(wrong))] == ["not_applicable"]
    assert len(around.triton.asked) == asked
    assert [fate(each) for each in await around.run(taken_back(wrong))] == ["not_applicable"]
    await around.run(wrong)
    assert len(around.ledger.readings) == 5
    assert minutes(around.window()) == [-15.0, -10.0, -5.0]
    assert expected((await around.run(reading(0, 130.0)))[0]) == 430.0
    assert expected((await around.run(taken_back(reading(-10)), reading(1, 120.0)))[1]) == 450.0
    found = await around.run(reading(0, 131.0), reading(1, 121.0))
    assert expected(found[1]) == 452.0, "the window is that of the database again"


async def test_a_reading_deleted_in_the_batch_that_brings_it_is_not_answered() -> None:
    around = Around()
    wrong = reading(0, 300.0)
    found = await around.run(*history(3), wrong, taken_back(wrong))
    assert [fate(each) for each in found[3:]] == ["superseded", "not_applicable"]
    assert minutes(around.window()) == [-15.0, -10.0, -5.0]


def withdrawn(around: Around) -> dict[str, str]:
    """Why the results of which objects were withdrawn."""
    return {key[0]: why for key, why in around.ledger.withdrawn_why.items()}


async def test_a_reading_that_is_taken_back_takes_its_forecast_with_it() -> None:
    """GL3: in the same transaction, announced with the reason, and not shown again by a redelivery."""
    around = Around()
    wrong = reading(0, 300.0)
    await around.run(*history(3), wrong)
    assert withdrawn(around) == {}
    await around.run(taken_back(wrong))
    assert withdrawn(around) == {wrong.object_id: "the reading that it was made from was taken back"}
    assert len(around.ledger.outbox) == 1
    assert [fate(each) for each in await around.run(wrong, taken_back(wrong))] == ["", "not_applicable"]
    assert len(around.ledger.outbox) == 1
    found = await around.run(reading(0, 120.0))
    assert (expected(found[0]), result(found[0]).revision) == (420.0, 2)


@pytest.mark.parametrize("change", [taken_back(reading(-10)), reading(-10, 180.0)])
async def test_the_newest_forecast_falls_when_a_reading_within_it_changes(change: GlucoseObserved) -> None:
    """GL3: a revision of a past window is never the newest forecast, so none is until the next reading."""
    around = Around()
    earlier = await around.run(*history(3))
    newest = await around.run(reading(0, 130.0))
    await around.run(change, lane="backfill")
    assert set(withdrawn(around)) == {result(newest[0]).object_id}, "what was said before stays as it was said"
    assert result(earlier[2]).object_id not in withdrawn(around)
    assert expected((await around.run(reading(4, 100.0)))[0]) == (430.0 if change.deleted else 610.0)


async def test_a_late_reading_or_one_that_the_next_forecast_answers_withdraws_nothing() -> None:
    around = Around()
    await around.run(*history(3))
    await around.run(reading(-7, 90.0), lane="backfill")
    await around.run(reading(-10, 150.0), reading(0, 130.0))
    await around.run(reading(0, 140.0))
    assert withdrawn(around) == {}
