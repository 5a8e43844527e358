"""`bench cgm`: readings a second from the topic to forecasts in PostgreSQL and on the topic, against the naive loop."""

from datetime import UTC, datetime
from uuid import uuid4

from adapters.database import NewReading, Taking
from clinstream.benches import load, naive
from clinstream.benches.figures import Report, figure, ratio
from clinstream.benches.plant import Plant, total
from clinstream.benches.vitals import verify
from schemas import topics
from schemas.events import GlucoseObserved

TASK = "glucose"
PROCESS = "glucose.live"
PARTS = (f"{PROCESS}.0", "kafka", "database", "triton", "redis")
HISTORY = 36
WEARERS_A_WRITE = 100


async def run(plant: Plant, *, repeats: int, count: int) -> Report:
    """One reading of each of `count` wearers a repeat, a twentieth of them through the naive loop, in turns.

    Every wearer has three hours of readings before the first repeat; the windows are warm after an unmeasured round.
    """
    wearers = load.wearers(count)
    await store_history(plant, load.history(wearers, HISTORY))
    await _through_the_lane(plant, wearers)
    ours, theirs, spent = [], [], []
    for _ in range(repeats):
        rate, cpu_ms = await _through_the_lane(plant, wearers)
        ours.append(rate)
        spent.append(cpu_ms)
        theirs.append(await _naively(plant, max(100, count // 20)))
    return Report(
        "cgm",
        {"over_naive": ratio(ours, theirs)},
        {
            "end_to_end": figure(ours, "readings/s"),
            "naive": figure(theirs, "readings/s"),
            **{f"cpu_{part}": figure([each[part] for each in spent], "ms/reading") for part in PARTS},
        },
    )


async def store_history(plant: Plant, rounds: list[list[GlucoseObserved]]) -> None:
    """Stores the past, wearer by wearer, as the lane would have."""
    by_wearer = [list(each) for each in zip(*rounds, strict=True)]
    for start in range(0, len(by_wearer), WEARERS_A_WRITE):
        some = by_wearer[start : start + WEARERS_A_WRITE]
        new = [NewReading(event, 1) for events in some for event in events]
        stamps = dict.fromkeys(((events[0].subject_id, True) for events in some), None)
        await plant.services.database.take(Taking(uuid4(), stamps, new, [], []))


async def _through_the_lane(plant: Plant, wearers: list[str]) -> tuple[float, dict[str, float]]:
    """Readings a second, and processor milliseconds a reading by part."""
    events = load.readings(wearers, datetime.now(UTC))
    work = load.messages(events, topics.OBSERVED_GLUCOSE_LIVE)
    name, labels, count = "clinstream_events_total", {"lane": PROCESS}, len(events)
    before = total(await plant.counters(PROCESS), name, **labels)
    with plant.held(f"{PROCESS}.0"):
        await load.publish(plant.services.publisher, work)
        cpu = {part: plant.cpu_s([part]) for part in PARTS}
        started = plant.clock.monotonic()
    ended = await plant.until(PROCESS, name, before + count, **labels)
    used = {part: (plant.cpu_s([part]) - cpu[part]) * 1000 / count for part in PARTS}
    await verify(plant, [str(event.event_id) for event in events], TASK)
    return count / (ended - started), used


async def _naively(plant: Plant, count: int) -> float:
    wearers = load.wearers(count)
    history = [event for events in load.history(wearers, HISTORY) for event in events]
    topic = naive.fresh_topic()
    work = load.messages(load.readings(wearers, datetime.now(UTC)), topic)
    return await naive.rate(plant.settings, plant.services.publisher, work, topic, naive.Glucose(history))
