"""`bench cgm --rate`: so many readings a second for minutes, with the state of many wearers stored before."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import psutil

from adapters.database import Key, NewReading, Taking, Wearer, Window
from adapters.database.readings import time_ms
from adapters.windows import RedisWindows
from clinstream.benches import load
from clinstream.benches.figures import Figure, Report, figure
from clinstream.benches.plant import Plant, total
from schemas import topics
from schemas.errors import UserError
from schemas.events import GlucoseObserved

TASK = "glucose"
PROCESS = "glucose.live"
EVENTS = "clinstream_events_total"
PARTS = (f"{PROCESS}.0", "kafka", "database", "triton", "redis", "loop.0")

HISTORY = 3
"""Readings of each wearer before the first measured one: the fewest that a forecast can be made from are three."""
WEARERS_A_WRITE = 250
TICK_S = 0.25
"""Readings come in bunches of a quarter of a second's, spread over the partitions as any others."""
SAMPLED = 25
"""The delay of every so manieth reading is looked up afterwards; the outcome of every one is counted."""
LOOKED_UP = 5000
FELL_BEHIND_S = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """Wearers with state, readings a second (at least one), and how long."""

    wearers: int
    rate: float
    minutes: float


@dataclass(slots=True)
class _Sent:
    """What was published: ids of all events, 16 bytes each, and keys of the sampled ones."""

    count: int = 0
    ids: bytearray = field(default_factory=bytearray)
    keys: list[Key] = field(default_factory=list)
    late_s: float = 0.0

    def note(self, events: Sequence[GlucoseObserved]) -> None:
        for number, event in enumerate(events, self.count):
            self.ids += event.event_id.bytes
            if number % SAMPLED == 0:
                self.keys.append((event.object_id, event.content, TASK))
        self.count += len(events)


async def run(plant: Plant, *, size: Size, tell: Tell) -> Report:
    """One run; ratios: what was reached over the rate asked for, and the share of readings without an outcome.

    Raises UserError when the lane falls further behind than a minute's work at the end.
    """
    wearers = load.wearers(size.wearers)
    before = _bytes(plant)
    await _store(plant, wearers, tell)
    grown = {part: (after - before[part]) / size.wearers for part, after in _bytes(plant).items()}
    sent = _Sent()
    done_before = total(await plant.counters(PROCESS), EVENTS, lane=PROCESS)
    cpu = {part: plant.cpu_s([part]) for part in PARTS}
    own = _own_cpu_s()
    began = plant.clock.monotonic()
    await _publish(plant, wearers, size, sent, tell)
    published = plant.clock.monotonic()
    backlog = sent.count - (total(await plant.counters(PROCESS), EVENTS, lane=PROCESS) - done_before)
    if backlog > FELL_BEHIND_S * size.rate:
        raise UserError(f"The lane is {backlog:.0f} readings behind: {size.rate:.0f} a second are too many here.")
    ended = await plant.until(PROCESS, EVENTS, done_before + sent.count, lane=PROCESS)
    used = {part: (plant.cpu_s([part]) - cpu[part]) * 1000 / sent.count for part in PARTS}
    sender = (_own_cpu_s() - own) * 1000 / sent.count
    tell("counting outcomes")
    lost = await _without_outcome(plant, sent)
    delays = await _delays(plant, sent.keys)
    p50, p95, p99 = np.percentile(delays, [50, 95, 99])
    return Report(
        "cgm",
        {"reached": sent.count / (ended - began) / size.rate, "lost": lost / sent.count},
        {
            "published": _one(sent.count / (published - began), "readings/s"),
            "end_to_end": _one(sent.count / (ended - began), "readings/s"),
            "behind_at_the_end": _one(backlog, "readings"),
            "delay_p50": _one(p50, "s"),
            "delay_p95": _one(p95, "s"),
            "delay_p99": _one(p99, "s"),
            "delay_most": _one(max(delays), "s"),
            "sender_late_by": _one(sent.late_s, "s"),
            **{f"cpu_{part}": _one(value, "ms/reading") for part, value in used.items()},
            "cpu_of_the_sender": _one(sender, "ms/reading"),
            **{f"bytes_{part}": _one(value, "bytes/wearer") for part, value in grown.items()},
        },
        notes={"wearers": size.wearers, "readings": sent.count, "delays_looked_up": len(delays)},
    )


async def _store(plant: Plant, wearers: Sequence[str], tell: Tell) -> None:
    """Readings of the last quarter of an hour of each wearer, in the database and the cache, as the lane has them."""
    cache = RedisWindows(plant.settings.redis_url, plant.clock)
    try:
        now = datetime.now(UTC)
        for start in range(0, len(wearers), WEARERS_A_WRITE):
            some = wearers[start : start + WEARERS_A_WRITE]
            rounds = [load.readings(some, now - timedelta(minutes=5 * ago)) for ago in range(HISTORY, 0, -1)]
            stamp, stamps = uuid4(), {(wearer, True): None for wearer in some}
            new = [NewReading(event, 1) for events in rounds for event in events]
            await plant.services.database.take(Taking(stamp, dict(stamps), new, [], []))
            await cache.put(_windows(stamp, rounds))
            if start and start % 50_000 == 0:
                tell(f"stored the state of {start:,} of {len(wearers):,} wearers")
    finally:
        await cache.close()


def _windows(stamp: UUID, rounds: Sequence[Sequence[GlucoseObserved]]) -> dict[Wearer, Window]:
    return {
        (events[0].subject_id, True): Window(
            stamp, tuple(time_ms(event) for event in events), tuple(event.glucose_mg_dl for event in events)
        )
        for events in zip(*rounds, strict=True)
    }


async def _publish(plant: Plant, wearers: Sequence[str], size: Size, sent: _Sent, tell: Tell) -> None:
    """Readings of wearer after wearer, round and round, as evenly as the clock allows."""
    began = plant.clock.monotonic()
    said = 0
    while (passed := plant.clock.monotonic() - began) < size.minutes * 60:
        due = int(min(passed + TICK_S, size.minutes * 60) * size.rate) - sent.count
        if due > 0:
            sent.late_s = max(sent.late_s, due / size.rate - TICK_S)
            some = [wearers[(sent.count + number) % len(wearers)] for number in range(min(due, len(wearers)))]
            events = load.readings(some, datetime.now(UTC))
            await load.publish(plant.services.publisher, load.messages(events, topics.OBSERVED_GLUCOSE_LIVE))
            sent.note(events)
        if passed // 60 > said:
            said = int(passed // 60)
            tell(f"{said} of {size.minutes:g} minutes, {sent.count:,} readings")
        await plant.clock.sleep(max(0.0, TICK_S - (plant.clock.monotonic() - began - passed)))


async def _without_outcome(plant: Plant, sent: _Sent) -> int:
    data, missing = bytes(sent.ids), 0
    for start in range(0, sent.count, LOOKED_UP):
        places = range(start, min(start + LOOKED_UP, sent.count))
        asked = [UUID(bytes=data[16 * place : 16 * place + 16]) for place in places]
        rows = await plant.services.database.outcomes_of(asked)
        missing += len(asked) - len({row.event_id for row in rows})
    return missing


async def _delays(plant: Plant, keys: Sequence[Key]) -> list[float]:
    """Seconds from the arrival of a reading to its recorded forecast; UserError when none was answered."""
    found: list[float] = []
    for start in range(0, len(keys), LOOKED_UP):
        rows = (await plant.services.database.already_visible(keys[start : start + LOOKED_UP])).values()
        found += [v.result.answer.hops["recorded"] - v.result.answer.hops["observed"] for v in rows]
    if not found:
        raise UserError("No reading was answered; see `clinstream status`.")
    return found


def _bytes(plant: Plant) -> dict[str, float]:
    """What the database has on disk, its log of changes aside, and Redis in memory; 0 where they do not run here."""
    disk = memory = 0.0
    with suppress(UserError, psutil.Error):
        folder = Path(psutil.Process(plant.pid("database")).cwd())
        disk = float(sum(path.stat().st_size for path in (folder / "base").rglob("*") if path.is_file()))
    with suppress(UserError, psutil.Error):
        memory = float(psutil.Process(plant.pid("redis")).memory_info().rss)
    return {"database": disk, "redis": memory}


def _own_cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _one(value: float, unit: str) -> Figure:
    return figure([float(value)], unit)
