"""`bench predictions`: how soon a forecast that is asked for is answered, 50 askers at once, beside one at a time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from adapters.database import NewReading, Taking
from clinstream.benches import load
from clinstream.benches.asker import Asker
from clinstream.benches.askers import connected
from clinstream.benches.figures import Report, figure, p95, ratio
from clinstream.benches.plant import Plant
from schemas.errors import UserError

AT_ONCE = 50
ALONE = 20
"""One in so many requests is sent alone."""
HISTORY = 36
PATH = "/api/predictions/glucose"
BODY = b'{"simulated": true}'
PARTS = ("predictions.0", "database", "triton")
BY = "bench predictions"


async def run(plant: Plant, *, repeats: int, count: int) -> Report:
    """`count` requests a repeat from 50 wearers at once, each with a credential that is revoked afterwards."""
    subjects = load.wearers(AT_ONCE)
    rounds = [*load.history(subjects, HISTORY), load.readings(subjects, datetime.now(UTC))]
    new = [NewReading(event, 1) for each in rounds for event in each]
    await plant.services.database.take(Taking(uuid4(), dict.fromkeys(((s, True) for s in subjects), None), new, [], []))
    doors = plant.settings.doors
    async with connected(plant, subjects, doors.predictions_host, doors.predictions_port, BY) as askers:
        return await _measure(plant, askers, repeats, count)


async def _measure(plant: Plant, askers: Sequence[Asker], repeats: int, count: int) -> Report:
    await asyncio.gather(*(_ask(plant, asker, 1) for asker in askers))  # credentials and model are warm now
    rates, alone_rates, late, alone_late, spent = [], [], [], [], []
    for _ in range(repeats):
        cpu = {part: plant.cpu_s([part]) for part in PARTS}
        began = plant.clock.monotonic()
        each = -(-count // AT_ONCE)
        found = [t for some in await asyncio.gather(*(_ask(plant, a, each) for a in askers)) for t in some]
        rates.append(len(found) / (plant.clock.monotonic() - began))
        spent.append({part: (plant.cpu_s([part]) - cpu[part]) * 1000 / len(found) for part in PARTS})
        late.append(p95(found) * 1000)
        alone = await _ask(plant, askers[0], max(10, count // ALONE))
        alone_rates.append(len(alone) / sum(alone))
        alone_late.append(p95(alone) * 1000)
    return Report(
        "predictions",
        {"over_one_at_a_time": ratio(rates, alone_rates)},
        {
            "p95_50_at_once": figure(late, "ms"),
            "p95_one_at_a_time": figure(alone_late, "ms"),
            "answered": figure(rates, "forecasts/s"),
            **{f"cpu_{part}": figure([each[part] for each in spent], "ms/forecast") for part in PARTS},
        },
    )


async def _ask(plant: Plant, asker: Asker, count: int) -> list[float]:
    """Seconds of each of `count` requests, one after the other; UserError where one is not a model's forecast."""
    found = []
    for _ in range(count):
        began = plant.clock.monotonic()
        status, answer = await asker.post(PATH, BODY)
        found.append(plant.clock.monotonic() - began)
        told = msgspec.json.decode(answer)
        if status != 200 or told["status"] != "forecast" or told["fallback"]:
            raise UserError(f"A forecast was answered with {status}: {answer[:200].decode(errors='replace')}")
    return found
