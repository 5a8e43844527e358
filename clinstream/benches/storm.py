"""`bench storm`: many wearers send 8 hours at once while live readings go on; what becomes of both, counted."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np

from adapters.database import PlainReading
from adapters.database.readings import time_ms
from clinstream.benches import cgm, load
from clinstream.benches.figures import Report, figure, p95
from clinstream.benches.plant import PATIENCE_S, Plant, total
from consumers import glycaemia
from schemas import topics
from schemas.errors import UserError
from schemas.events import GlucoseObserved

LANE = "glucose.backfill"
NAME = "clinstream_events_total"
ROUNDS = 96
"""Eight hours at five minutes."""
OLDEST = 20
"""The newest of them is so many minutes old: backfill."""
LIVE = 600
LIVE_EVERY_S = 3.0
SAMPLED = 200


async def run(plant: Plant, *, repeats: int, count: int) -> Report:
    """`count` wearers a repeat; 200 live readings a second of 600 others meanwhile.

    Ratios: `lost` and `metrics_unequal` are shares that must be 0: the metrics of at most 200 wearers are compared with
    one computation over all that was sent.
    """
    others = load.wearers(LIVE)
    await cgm.store_history(plant, load.history(others, cgm.HISTORY))
    took, quiet, late, answered, lost, unequal, revisions = [], [], [], [], [], [], []
    for _ in range(repeats):
        quiet.append(await _delay(plant, await _live(plant, others, rounds=3)))
        storm = _storm(load.wearers(count))
        done = asyncio.Event()
        live = asyncio.create_task(_live(plant, others, until=done))
        try:
            took.append(await _send(plant, storm))
        finally:
            done.set()
        events = await live
        late.append(await _delay(plant, events))
        missing, forecasts = await _fates(plant, storm, events)
        lost.append(missing / (len(storm) + len(events)))
        answered.append(forecasts / count)
        wrong, most = await _compare(plant, storm)
        unequal.append(wrong)
        revisions.append(most)
    return Report(
        "storm",
        {"lost": max(lost), "metrics_unequal": max(unequal)},
        {
            "backfill": figure([len(storm) / seconds for seconds in took], "readings/s"),
            "live_p99_before": figure([each[1] for each in quiet], "s"),
            "live_p95": figure([each[0] for each in late], "s"),
            "live_p99": figure([each[1] for each in late], "s"),
            "answers_a_wearer": figure(answered, "answers"),
            "revisions_of_a_window": figure(revisions, "revisions at most"),
        },
    )


def _storm(wearers: Sequence[str]) -> list[GlucoseObserved]:
    """Eight hours of each wearer, wearer after wearer as their apps send them."""
    newest = datetime.now(UTC) - timedelta(minutes=OLDEST)
    rounds = [load.readings(wearers, newest - timedelta(minutes=5 * back)) for back in range(ROUNDS - 1, -1, -1)]
    return [event for each in zip(*rounds, strict=True) for event in each]


async def _send(plant: Plant, storm: Sequence[GlucoseObserved]) -> float:
    """Seconds from the first reading on the log to the last one done."""
    before = total(await plant.counters(LANE), NAME, lane=LANE)
    began = plant.clock.monotonic()
    await load.publish(plant.services.publisher, load.messages(storm, topics.OBSERVED_GLUCOSE_BACKFILL))
    return await plant.until(LANE, NAME, before + len(storm), lane=LANE) - began


async def _live(
    plant: Plant, wearers: Sequence[str], *, rounds: int = 0, until: asyncio.Event | None = None
) -> list[GlucoseObserved]:
    """A reading of each wearer every 3 s, until told or so many times; all that were sent, each of them done."""
    lane = cgm.PROCESS
    before = total(await plant.counters(lane), NAME, lane=lane)
    sent: list[GlucoseObserved] = []
    while len(sent) < rounds * len(wearers) or (until is not None and not until.is_set()):
        began = plant.clock.monotonic()
        events = load.readings(wearers, datetime.now(UTC))
        await load.publish(plant.services.publisher, load.messages(events, topics.OBSERVED_GLUCOSE_LIVE))
        sent += events
        await plant.clock.sleep(LIVE_EVERY_S - (plant.clock.monotonic() - began))
    await plant.until(lane, NAME, before + len(sent), lane=lane)
    return sent


async def _delay(plant: Plant, events: Sequence[GlucoseObserved]) -> tuple[float, float]:
    """95th and 99th percentile of the seconds from a reading's arrival to its recorded forecast."""
    keys = [(event.object_id, event.content, cgm.TASK) for event in events]
    found = (await plant.services.database.already_visible(keys)).values()
    delays = [v.result.answer.hops["recorded"] - v.result.answer.hops["observed"] for v in found]
    if not delays:
        raise UserError("No live reading was answered during the storm.")
    return p95(delays), float(np.percentile(delays, 99))


async def _fates(plant: Plant, storm: Sequence[GlucoseObserved], live: Sequence[GlucoseObserved]) -> tuple[int, int]:
    """How many events have no outcome, and how many of the storm were answered rather than superseded."""
    found: Counter[str] = Counter()
    ended: set[UUID] = set()
    for events in (storm, live):
        for start in range(0, len(events), 5000):
            some = [event.event_id for event in events[start : start + 5000]]
            rows = await plant.services.database.outcomes_of(some)
            ended.update(row.event_id for row in rows)
            if events is storm:
                found.update(row.fate for row in rows)
    return len(storm) + len(live) - len(ended), found["answered"]


async def _compare(plant: Plant, storm: Sequence[GlucoseObserved]) -> tuple[float, int]:
    """The share of wearers whose metrics are not exactly those of one computation, and the highest revision seen."""
    sent: dict[str, list[PlainReading]] = {}
    for event in storm:
        sent.setdefault(event.subject_id, []).append(PlainReading(time_ms(event), event.glucose_mg_dl))
    views = plant.services.database.glucose
    wrong, most = 0, 0
    sampled = random.sample(sorted(sent), min(SAMPLED, len(sent)))
    ends = plant.clock.monotonic() + PATIENCE_S + plant.settings.glucose_metrics_every_s
    for wearer in sampled:
        wanted = glycaemia.batch(sorted(sent[wearer]))
        while True:
            rows = await views.metrics((wearer, True), date(2000, 1, 1))
            right = {(row.ends_on, row.days): row.figures for row in rows} == wanted
            if right or plant.clock.monotonic() > ends:
                break
            await plant.clock.sleep(0.5)
        wrong += not right
        most = max(most, *(row.revision for row in rows), 0)
    return wrong / len(sampled), most
