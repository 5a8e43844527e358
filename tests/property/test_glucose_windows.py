"""The same readings in whatever order, batches and repeats, by either lane: the same readings and the same window."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.windows import SPAN_S
from tests.support.glucose import TASK, Around, fate, reading, taken_back

TIMES = st.lists(st.integers(-SPAN_S // 60 - 30, 0), unique=True, min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(TIMES, st.lists(st.integers(0, 24), max_size=10), st.randoms(use_true_random=False), st.integers(1, 9))
def test_order_batches_repeats_and_lanes_do_not_matter(
    times: list[int], repeats: list[int], chance: random.Random, size: int
) -> None:
    """GL5: windows are sets by timestamp."""
    events = [reading(time, 100.0 + number, str(number % 2)) for number, time in enumerate(times)]
    sent = events + [events[number % len(events)] for number in repeats]
    chance.shuffle(sent)

    async def through(arrivals: list[object], size: int, *, one_lane: bool) -> Around:
        around = Around()
        ends: dict[object, str] = {}
        for start in range(0, len(arrivals), size):
            batch = arrivals[start : start + size]
            lane = "live" if one_lane or chance.random() < 0.5 else "backfill"
            if not one_lane and chance.random() < 0.3:
                await around.windows.clear()
            for event, outcomes in zip(batch, await around.run(*batch, lane=lane), strict=True):  # type: ignore[arg-type]
                name = event.event_id  # type: ignore[attr-defined]
                ended = fate(outcomes)
                assert ended in ("", ends.get(name, ended)), "a redelivery ended otherwise"
                ends[name] = ended or ends[name]
        assert set(ends) == {event.event_id for event in events}
        return around

    straight = asyncio.run(through(list(events), len(events), one_lane=True))
    mixed = asyncio.run(through(list(sent), size, one_lane=False))
    assert mixed.ledger.readings.keys() == straight.ledger.readings.keys()
    assert {row.revision for row in mixed.ledger.readings.values()} == {1}
    for wearer in ("0", "1"):
        assert mixed.window(wearer).times_ms == straight.window(wearer).times_ms
        assert mixed.window(wearer).glucose_mg_dl == straight.window(wearer).glucose_mg_dl


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 0), st.integers(0, 3)), min_size=1, max_size=20), st.integers(1, 7))
def test_the_last_new_content_of_a_time_counts_and_revisions_have_no_gaps(
    arrivals: list[tuple[int, int]], size: int
) -> None:
    events = [reading(time, 100.0 + value) for time, value in arrivals]
    around = Around()

    async def run() -> None:
        for start in range(0, len(events), size):
            await around.run(*events[start : start + size])

    asyncio.run(run())
    contents: dict[int, list[float]] = {}
    for time, value in arrivals:
        here = contents.setdefault(time, [])
        if 100.0 + value not in here:
            here.append(100.0 + value)
    assert list(around.window().glucose_mg_dl) == [contents[time][-1] for time in sorted(contents)]
    for (_, _, _), row in around.ledger.readings.items():
        here = contents[round((row.event.measured_at - reading(0).measured_at).total_seconds() / 60)]
        assert row.revision == here.index(row.event.glucose_mg_dl) + 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 0), st.integers(0, 3), st.booleans()), min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_no_forecast_outlives_what_it_was_made_from(changes: list[tuple[int, int, bool]], size: int) -> None:
    """GL3: corrections and deletions in any batches leave no forecast of a deleted reading, and the newest is true."""
    around = Around()
    # Values differ between times: a deletion names what it takes back.
    events = [reading(time, 100.0 + 10 * value) for time, value, _ in changes]
    sent = [taken_back(event) if back else event for event, (_, _, back) in zip(events, changes, strict=True)]

    async def run() -> None:
        await around.run(*(reading(time, 90.0) for time in range(-5, 1)))
        for start in range(0, len(sent), size):
            await around.run(*sent[start : start + size])

    asyncio.run(run())
    latest = {row.event.object_id: row for row in sorted(around.ledger.readings.values(), key=lambda r: r.revision)}
    standing = [row for row in around.ledger.visible.values() if row.withdrawn_at is None]
    assert not [row for row in standing if latest[row.key[0]].event.deleted]
    if any(event.deleted for event in sent if event.object_id == reading(0).object_id):
        return
    shown = max(
        (r for r in around.ledger.visible.values() if r.key[0] == reading(0).object_id), key=lambda r: r.revision
    )
    answer = around.ledger.answers[shown.answer_id]
    assert shown.key[2] == TASK
    if shown.withdrawn_at is None and answer.label == "forecast":
        assert answer.forecast[0].glucose_mg_dl == sum(around.window().glucose_mg_dl)
