"""`bench stat`: how long urgent images take, idle and while the routine lane has more work than it can do."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from clinstream.benches import load
from clinstream.benches.figures import Report, figure, p95, ratio
from clinstream.benches.plant import Plant, total
from schemas import topics
from schemas.errors import UserError
from schemas.events import ImageObserved

ROUTINE = "imaging-infer.routine"
PAUSE_S = 0.05
# Two batches in Triton and two before it wait at the least; the lane gets through some 60 images a second.
FULL, LEAST = 192, 64
PATIENCE_S = 60.0


async def run(plant: Plant, *, repeats: int, count: int, originals: Sequence[np.ndarray]) -> Report:
    """`count` urgent images one after the other, first alone, then beside a backlog of routine ones."""
    idle, busy = [], []
    for repeat in range(repeats):
        urgent = await load.images(plant.services.store, originals, 2 * count + 4, "stat")
        await _latencies(plant, urgent[: 4 if not repeat else 1])
        idle.append(p95(await _latencies(plant, urgent[4 : 4 + count])))
        backlog = _Backlog(plant, originals)
        await backlog.fill(FULL)
        busy.append(p95(await _latencies(plant, urgent[4 + count :], backlog)))
        await backlog.drained()
    return Report(
        "stat",
        {"saturated_over_idle_p95": ratio(busy, idle)},
        {
            "idle_p95": figure([value * 1000 for value in idle], "ms"),
            "saturated_p95": figure([value * 1000 for value in busy], "ms"),
        },
    )


class _Backlog:
    """Routine images that wait in the lane."""

    def __init__(self, plant: Plant, originals: Sequence[np.ndarray]) -> None:
        self._plant, self._originals = plant, originals
        self._sent = 0
        self._start = 0.0

    async def fill(self, count: int) -> None:
        """Puts `count` more routine images onto the log; the first time waits until the lane has begun on them."""
        first = not self._sent
        if first:
            self._start = await self._done()
        work = await load.images(self._plant.services.store, self._originals, count)
        await load.publish(self._plant.services.publisher, load.messages(work, topics.OBSERVED_DICOM))
        self._sent += count
        if first:
            await self._plant.until(ROUTINE, "clinstream_events_total", self._start + 1, lane=ROUTINE)

    async def waiting(self) -> float:
        """How many are not inferred yet."""
        return self._start + self._sent - await self._done()

    async def drained(self) -> None:
        """Waits until all are inferred."""
        await self._plant.until(ROUTINE, "clinstream_events_total", self._start + self._sent, lane=ROUTINE)

    async def _done(self) -> float:
        return total(await self._plant.counters(ROUTINE), "clinstream_events_total", lane=ROUTINE)


async def _latencies(plant: Plant, images: Sequence[ImageObserved], backlog: _Backlog | None = None) -> list[float]:
    """Seconds from the door's acknowledgement to PostgreSQL of each image; a backlog is kept up meanwhile."""
    took = []
    for image in images:
        while backlog is not None and await backlog.waiting() < LEAST:
            await backlog.fill(LEAST)
        now = msgspec.structs.replace(image, observed_at=datetime.now(UTC))
        await load.publish(plant.services.publisher, load.messages([now], topics.OBSERVED_DICOM))
        took.append(await _recorded(plant, now))
        await plant.clock.sleep(PAUSE_S)
    return took


async def _recorded(plant: Plant, image: ImageObserved) -> float:
    ends = plant.clock.monotonic() + PATIENCE_S
    while plant.clock.monotonic() < ends:
        for answer in (await plant.services.database.trail(events=[image.event_id])).answers:
            return answer.hops["recorded"] - answer.hops["observed"]
        await plant.clock.sleep(PAUSE_S)
    raise UserError(f"An urgent image was not answered within {PATIENCE_S:.0f} s; see `clinstream status`.")
