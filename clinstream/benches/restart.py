"""`bench restart`: seconds from SIGKILL of a consumer until its events flow again."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from clinstream.benches import load
from clinstream.benches.figures import Report, figure
from clinstream.benches.plant import Plant, total
from schemas import topics
from schemas.errors import UserError
from schemas.events import ImageObserved

PROCESSES = ("signals", "imaging-infer.routine", "record")
EVERY_S = 0.2
PATIENCE_S = 60.0
GAP_S = 2.0


async def run(plant: Plant, *, repeats: int, originals: Sequence[np.ndarray]) -> Report:
    """Kills each of three consumers `repeats` times while five readings and five images a second flow."""
    took: dict[str, list[float]] = {name: [] for name in PROCESSES}
    images = await load.images(plant.services.store, originals, int(repeats * len(PROCESSES) * PATIENCE_S))
    async with _flowing(plant, images):
        for _ in range(repeats):
            for name in PROCESSES:
                await _flows(plant, name)
                took[name].append(await _killed(plant, name))
    return Report(
        "restart",
        {},
        {f"{name}_flows_again": figure(seconds, "s") for name, seconds in took.items()},
    )


async def _killed(plant: Plant, name: str) -> float:
    os.kill(plant.pid(f"{name}.0"), signal.SIGKILL)
    started = plant.clock.monotonic()
    # The old process's endpoint died with it: whatever answers now counts from zero.
    await _flows(plant, name)
    took = plant.clock.monotonic() - started
    await plant.clock.sleep(GAP_S)  # the supervisor forgives a process that then stays alive
    return took


async def _flows(plant: Plant, name: str) -> None:
    """Returns when the process finishes events."""
    ends = plant.clock.monotonic() + PATIENCE_S
    while plant.clock.monotonic() < ends:
        with contextlib.suppress(OSError):
            if total(await plant.counters(name), "clinstream_events_total", lane=name) > 0:
                return
        await plant.clock.sleep(0.05)
    raise UserError(f"{name} did not come back within {PATIENCE_S:.0f} s; see its log in the state folder.")


@asynccontextmanager
async def _flowing(plant: Plant, images: Sequence[ImageObserved]) -> AsyncIterator[None]:
    """A reading and an image every 200 ms, until the block ends."""

    async def flow() -> None:
        for image in images:
            reading = load.vitals(1)
            await load.publish(plant.services.publisher, load.messages(reading, topics.OBSERVED_VITALS))
            await load.publish(plant.services.publisher, load.messages([image], topics.OBSERVED_DICOM))
            await plant.clock.sleep(EVERY_S)

    flowing = asyncio.create_task(flow())
    try:
        yield
    finally:
        flowing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flowing
