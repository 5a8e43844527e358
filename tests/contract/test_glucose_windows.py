"""Readings and windows, as PostgreSQL and Redis and their fakes keep them: each pair sits the same exam."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.clock import SystemClock
from adapters.database import Database, NewReading, ResultFilter, Taking, Wearer, Window, WindowsMoved
from adapters.database.readings import EPOCH, time_ms
from adapters.fakes.clock import FakeClock
from adapters.fakes.database import FakeDatabase
from adapters.fakes.windows import FakeWindows
from adapters.windows import REST_S, RedisWindows, WindowCache
from schemas.events import Answer, ForecastPoint, GlucoseObserved
from schemas.windows import MOST, SPAN_S
from tests.support.answers import answer, outcome
from tests.support.glucose import minutes, reading, taken_back

WEARER = (reading().subject_id, False)


@pytest.fixture(params=["real", "fake"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Database | FakeDatabase]:
    """PostgreSQL, then the fake."""
    if request.param == "fake":
        yield FakeDatabase(SystemClock())
        return
    opened = Database.open(request.getfixturevalue("fresh_database"), SystemClock())
    yield opened
    await opened.close()


@pytest.fixture(params=["real", "fake"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[WindowCache]:
    """Redis, then the fake."""
    if request.param == "fake":
        yield FakeWindows()
        return
    opened = RedisWindows(request.getfixturevalue("redis_url"), SystemClock())
    await opened.clear()
    yield opened
    await opened.close()


def taking(
    *events: GlucoseObserved, before: Mapping[Wearer, UUID | None], revision: int = 1, stamp: UUID | None = None
) -> Taking:
    return Taking(stamp or uuid4(), before, [NewReading(event, revision) for event in events], [], [])


async def stored(ledger: Database, *events: GlucoseObserved, revision: int = 1) -> None:
    windows = await ledger.windows(list({(event.subject_id, event.simulated) for event in events}))
    before = {wearer: window.stamp for wearer, window in windows.items()}
    await ledger.take(taking(*events, before=before, revision=revision))


async def test_a_wearer_of_whom_nothing_is_stored_has_an_empty_window_without_stamp(ledger: Database) -> None:
    assert await ledger.windows([WEARER]) == {WEARER: Window(None)}


async def test_a_window_holds_one_reading_a_time_in_order_with_the_latest_revision(ledger: Database) -> None:
    await stored(ledger, reading(0, 100.1), reading(-10), reading(-5))
    await stored(ledger, reading(-5, 140.0), revision=2)
    window = (await ledger.windows([WEARER]))[WEARER]
    assert minutes(window) == [-10.0, -5.0, 0.0]
    assert window.glucose_mg_dl == pytest.approx((100.0, 140.0, 100.1), abs=1e-4)
    assert window.stamp is not None


async def test_a_window_ends_at_its_span_and_at_its_number_of_readings(ledger: Database) -> None:
    span = SPAN_S / 60
    await stored(ledger, reading(-span), reading(-span + 1), *[reading(-n / 10) for n in range(MOST - 1)])
    assert minutes((await ledger.windows([WEARER]))[WEARER])[0] == -span + 1
    await stored(ledger, reading(0.05))
    window = (await ledger.windows([WEARER]))[WEARER]
    assert len(window.times_ms) == MOST
    assert minutes(window)[0] == -(MOST - 2) / 10


async def test_injected_and_real_readings_of_a_wearer_are_kept_apart(ledger: Database) -> None:
    await stored(ledger, reading(0), reading(0, simulated=True), reading(-5, simulated=True))
    windows = await ledger.windows([WEARER, (WEARER[0], True)])
    assert [len(window.times_ms) for window in windows.values()] == [1, 2]


async def test_contents_at_a_time_are_found_with_their_revisions(ledger: Database) -> None:
    first, second = reading(0), reading(0, 120.0)
    await stored(ledger, first, reading(-5))
    await stored(ledger, second, revision=2)
    found = await ledger.readings_at([(WEARER, time_ms(first)), (WEARER, 0)])
    assert sorted((row.revision, row.content, row.wearer, row.time_ms) for row in found) == [
        (1, first.content, WEARER, time_ms(first)),
        (2, second.content, WEARER, time_ms(first)),
    ]


async def test_an_old_stamp_writes_nothing_at_all(ledger: Database) -> None:
    """Readings, answers and outcomes are one transaction."""
    await stored(ledger, reading(-5))
    window = (await ledger.windows([WEARER]))[WEARER]
    other = (reading(wearer="2").subject_id, False)
    for stamp in (uuid4(), None):
        draft = taking(reading(0), reading(0, wearer="2"), before={WEARER: stamp, other: None})
        full = Taking(
            draft.stamp, draft.stamps, draft.readings, [answer()], [outcome(reading(-1).event_id, "superseded")]
        )
        with pytest.raises(WindowsMoved) as moved:
            await ledger.take(full)
        assert moved.value.wearers == {WEARER}
    assert (await ledger.windows([WEARER]))[WEARER] == window
    assert (await ledger.windows([other]))[other] == Window(None)
    assert await ledger.all_outcomes() == []


async def test_answers_outcomes_and_readings_are_written_together(ledger: Database) -> None:
    event = reading(0)
    draft = taking(event, before={WEARER: None})
    decided = [outcome(reading(-1).event_id, "superseded")]
    (recorded,) = await ledger.take(Taking(draft.stamp, draft.stamps, draft.readings, [answer()], decided))
    assert recorded.won
    assert sorted(fate for _, _, fate in await ledger.all_outcomes()) == ["answered", "superseded"]
    assert (await ledger.windows([WEARER]))[WEARER].stamp == draft.stamp


@pytest.mark.parametrize("first", [True, False])
async def test_of_two_writers_at_once_one_is_told_to_look_again(ledger: Database, first: bool) -> None:
    """Live and backfill at one wearer: none overwrites what the other did not see."""
    if not first:
        await stored(ledger, reading(-60))
    before = {WEARER: (await ledger.windows([WEARER]))[WEARER].stamp}

    async def write(events: Sequence[GlucoseObserved]) -> bool:
        try:
            await ledger.take(taking(*events, before=before))
        except WindowsMoved:
            return False
        return True

    done = await asyncio.gather(*(write([reading(-n), reading(-n - 0.5)]) for n in range(4)))
    assert sum(done) == 1
    assert len((await ledger.windows([WEARER]))[WEARER].times_ms) == (2 if first else 3)


async def test_a_content_or_a_revision_that_is_taken_is_never_stored_twice(ledger: Database) -> None:
    await stored(ledger, reading(0))
    for event, revision in ((reading(0), 2), (reading(0, 120.0), 1)):
        window = (await ledger.windows([WEARER]))[WEARER]
        with pytest.raises(WindowsMoved):
            await ledger.take(taking(event, before={WEARER: window.stamp}, revision=revision))


async def test_a_new_reading_of_a_content_that_has_a_result_gets_no_second_one(ledger: Database) -> None:
    """S4: what is taken as new is found to be there by the unique keys, and then recorded as it stands."""
    event, other = reading(0), reading(-5)
    first, second = said(event), said(event, version="2.0.0")
    await ledger.record([first])
    draft = taking(other, event, before={WEARER: None})
    recorded = await ledger.take(Taking(draft.stamp, draft.stamps, draft.readings, [said(other), second], []))
    assert [row.won for row in recorded] == [True, True]
    assert [row.first_time for row in recorded] == [True, True]
    assert [row.result.result_id for row in recorded if row.result] == [said(other).answer_id, first.answer_id]
    shown = await ledger.results(ResultFilter())
    assert sorted(row.result.result_id for row in shown) == sorted([said(other).answer_id, first.answer_id])
    assert (await ledger.windows([WEARER]))[WEARER].stamp == draft.stamp


async def test_a_new_reading_of_an_event_that_was_given_up_is_answered_after_all(ledger: Database) -> None:
    """Delivery: any real outcome beats `dead`, and a replayed event comes in as a new reading."""
    event = reading(0)
    await ledger.decide([outcome(event.event_id, "dead")])
    draft = taking(event, before={WEARER: None})
    (recorded,) = await ledger.take(Taking(draft.stamp, draft.stamps, draft.readings, [said(event)], []))
    assert recorded.won
    assert [row.fate for row in await ledger.outcomes_of([event.event_id])] == ["answered"]


async def test_forecasts_and_outcomes_are_found_by_wearer_and_by_event(ledger: Database) -> None:
    """S4: forecasts through the outcomes of their events, shadow answers and refusals by themselves."""
    event, old = reading(0), reading(-5)
    draft = taking(old, event, before={WEARER: None})
    made = [said(event), said(event, version="2.0.0", arm="shadow")]
    superseded = outcome(old.event_id, "superseded", subject_id=event.subject_id)
    await ledger.take(Taking(draft.stamp, draft.stamps, draft.readings, made, [superseded]))
    for trail in (
        await ledger.trail(subjects=[event.subject_id]),
        await ledger.trail(events=[event.event_id, old.event_id]),
    ):
        assert {row.answer_id for row in trail.answers} == {row.answer_id for row in made}
        assert {(row.event_id, row.fate) for row in trail.outcomes} == {
            (event.event_id, "answered"),
            (old.event_id, "superseded"),
        }


def said(event: GlucoseObserved, **changes: Any) -> Answer:
    """What a version forecast from a reading."""
    point = ForecastPoint(horizon_minutes=30, glucose_mg_dl=110.0, low=90.0, high=130.0, coverage=0.9)
    named = {"event_id": event.event_id, "subject_id": event.subject_id, "label": "forecast", "forecast": (point,)}
    return answer(event.object_id, event.content, **{**named, **changes})


def kept(count: int = 3) -> Window:
    times = tuple((time_ms(reading()) // 1000 + 300 * n) * 1000 for n in range(count))
    return Window(uuid4(), times, tuple(100.5 + n for n in range(count)))


async def test_a_cached_window_comes_back_as_it_was_and_a_missing_one_not(cache: WindowCache) -> None:
    window, other = kept(), (WEARER[0], True)
    await cache.put({WEARER: window})
    assert await cache.get([other, WEARER]) == {WEARER: window}
    assert EPOCH.timestamp() == 0
    newer = kept(MOST)
    await cache.put({WEARER: newer})
    assert await cache.get([WEARER]) == {WEARER: newer}


async def test_a_cleared_cache_holds_nothing(cache: WindowCache) -> None:
    await cache.put({WEARER: kept(), (WEARER[0], True): kept()})
    assert await cache.clear()
    assert await cache.get([WEARER]) == {}


async def test_a_value_that_is_not_ours_counts_as_absent(redis_url: str) -> None:
    from redis.asyncio import Redis

    from adapters.windows import key

    other = (WEARER[0], True)
    async with Redis.from_url(redis_url) as client:
        await client.set(key(WEARER), b"<html>")
        await client.set(key(other), b"<html> of sixteen bytes and more")
    opened = RedisWindows(redis_url, SystemClock())
    try:
        assert await opened.get([WEARER, other]) == {}
    finally:
        await opened.close()


async def test_redis_being_away_is_none_never_an_error_and_it_is_left_alone_for_a_while(redis_url: str) -> None:
    """GL5: the cache never stops a lane."""
    clock = FakeClock()
    opened = RedisWindows("redis://127.0.0.1:1/0", clock)
    try:
        assert await opened.get([WEARER]) is None
        opened._redis = opened._redis.from_url(redis_url)
        assert await opened.get([WEARER]) is None, "asked again at once"
        await clock.advance(REST_S + 0.1)
        assert await opened.get([WEARER]) is not None
        assert await opened.clear()
    finally:
        await opened.close()


async def test_a_deleted_reading_is_in_no_window_and_the_one_before_it_is_the_newest(ledger: Database) -> None:
    """GL3: a deletion is a revision; a value said after it counts again."""
    span = SPAN_S / 60
    await stored(ledger, reading(0), reading(-5), reading(-span - 1), reading(-span + 1))
    assert minutes((await ledger.windows([WEARER]))[WEARER]) == [-span + 1, -5.0, 0.0]
    await stored(ledger, taken_back(reading(0)), revision=2)
    assert minutes((await ledger.windows([WEARER]))[WEARER]) == [-span - 1, -span + 1, -5.0]
    await stored(ledger, reading(0, 140.0), revision=3)
    assert minutes((await ledger.windows([WEARER]))[WEARER]) == [-span + 1, -5.0, 0.0]
    for event in (reading(0, 140.0), reading(-5), reading(-span + 1), reading(-span - 1)):
        await stored(ledger, taken_back(event), revision=4)
    assert (await ledger.windows([WEARER]))[WEARER].times_ms == ()


async def test_what_fell_with_a_reading_is_withdrawn_once_in_the_transaction_that_takes_the_reading_back(
    ledger: Database,
) -> None:
    """GL3: results that stand are withdrawn for the reason, neighbours and a repeat change nothing."""
    mine, other = (answer(each.object_id, each.content, event_id=each.event_id) for each in (reading(0), reading(-5)))
    window = (await ledger.windows([WEARER]))[WEARER]
    first = taking(reading(0), reading(-5), before={WEARER: window.stamp})
    await ledger.take(replace(first, answers=[mine, other]))
    for revision, event in ((2, taken_back(reading(0))), (3, reading(0, 140.0))):
        stamp = (await ledger.windows([WEARER]))[WEARER].stamp
        change = taking(event, before={WEARER: stamp}, revision=revision)
        await ledger.take(replace(change, fallen={reading(0).object_id: "taken back", "no-such-thing": "x"}))
    keys = [(each.object_id, each.content, each.task) for each in (mine, other)]
    found = await ledger.already_visible(keys)
    assert [found[key].withdrawn_at is None for key in keys] == [False, True]
    assert len([row for row in await ledger.unsent() if dict(row.headers)["ce_type"].endswith(b"withdrawn.v1")]) == 1
