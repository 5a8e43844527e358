"""`bench vitals`: events a second from the topic to published results, against the naive loop over the same events."""

from clinstream.benches import load, naive
from clinstream.benches.figures import Report, figure, ratio
from clinstream.benches.plant import Plant, total
from schemas import topics
from schemas.errors import UserError

TASK = "icu_mortality"
PROCESS = "signals"
PARTS = (f"{PROCESS}.0", "kafka", "database", "triton")


async def run(plant: Plant, *, repeats: int, count: int) -> Report:
    """`count` events a repeat through the lane, a tenth of it through the naive loop, in turns."""
    ours, theirs, spent = [], [], []
    for repeat in range(repeats):
        rate, cpu_ms = await _through_the_lane(plant, count, seed=repeat)
        ours.append(rate)
        spent.append(cpu_ms)
        few = load.vitals(max(100, count // 10), seed=repeat)
        topic = naive.fresh_topic()
        work = load.messages(few, topic)
        theirs.append(await naive.rate(plant.settings, plant.services.publisher, work, topic, naive.Vitals()))
    return Report(
        "vitals",
        {"over_naive": ratio(ours, theirs)},
        {
            "end_to_end": figure(ours, "events/s"),
            "naive": figure(theirs, "events/s"),
            **{f"cpu_{part}": figure([each[part] for each in spent], "ms/event") for part in PARTS},
        },
    )


async def _through_the_lane(plant: Plant, count: int, *, seed: int) -> tuple[float, dict[str, float]]:
    """Events a second, and processor milliseconds an event by part."""
    events = load.vitals(count, seed=seed)
    work = load.messages(events, topics.OBSERVED_VITALS)
    name, labels = "clinstream_events_total", {"lane": PROCESS}
    before = total(await plant.counters(PROCESS), name, **labels)
    with plant.held(f"{PROCESS}.0"):
        await load.publish(plant.services.publisher, work)
        cpu = {part: plant.cpu_s([part]) for part in PARTS}
        started = plant.clock.monotonic()
    ended = await plant.until(PROCESS, name, before + count, **labels)
    used = {part: (plant.cpu_s([part]) - cpu[part]) * 1000 / count for part in PARTS}
    await verify(plant, [str(event.event_id) for event in events], TASK)
    return count / (ended - started), used


async def verify(plant: Plant, events: list[str], task: str) -> None:
    """UserError unless every event was answered: a rate of lost events would mean nothing."""
    fates = {str(event): fate for event, found, fate in await plant.services.database.all_outcomes() if found == task}
    missing = sum(fates.get(event) != "answered" for event in events)
    if missing:
        raise UserError(f"{missing} of {len(events)} events were not answered; see `clinstream dead list`.")
