"""`bench imaging`: images a second from the topic to PostgreSQL, against the same work with Triton driven directly."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

import triton_models
from adapters.triton import triton_name
from clinstream.benches import direct, load
from clinstream.benches.figures import Report, figure, ratio
from clinstream.benches.plant import Plant, total
from clinstream.benches.vitals import verify
from schemas import topics
from schemas.events import ImageObserved

TASK = "chest_xray"
PREPARE, INFER, RECORD = "imaging-prepare.routine", "imaging-infer.routine", "record"
LANE = (PREPARE, INFER, RECORD, "imaging-prepare.stat")
PARTS = ("kafka", "database", "triton")


async def run(plant: Plant, *, repeats: int, count: int, originals: Sequence[np.ndarray]) -> Report:
    """`count` images a repeat through the lane and directly, in turns, after a round to warm both up."""
    model = triton_models.discover()[TASK]
    store, inference = plant.services.store, plant.services.inference
    ours, theirs, outside, batch = [], [], [], []
    cpu: dict[str, list[float]] = {part: [] for part in PARTS}
    for repeat in range(repeats + 1):
        size = count if repeat else max(16, count // 8)
        work = await load.images(store, originals, size)
        # Who goes first alternates: what one leaves warm, the other finds.
        decoding = len(plant.numbers(PREPARE))
        first = await direct.rate(store, inference, model, work, decoding) if repeat % 2 else 0.0
        passed = await _through_the_lane(plant, work)
        baseline = first or await direct.rate(store, inference, model, work, decoding)
        if repeat:
            theirs.append(baseline)
            ours.append(passed["rate"])
            outside.append(passed["outside_ms"])
            batch.append(passed["batch"])
            for part in PARTS:
                cpu[part].append(passed[part])
    return Report(
        "imaging",
        {"end_to_end_over_direct_triton": ratio(ours, theirs)},
        {
            "end_to_end": figure(ours, "images/s"),
            "direct_triton": figure(theirs, "images/s"),
            "cpu_outside_decoding_and_triton": figure(outside, "ms/image"),
            "mean_triton_batch": figure(batch, "rows"),
            **{f"cpu_{part}": figure(values, "ms/image") for part, values in cpu.items()},
        },
    )


async def _through_the_lane(plant: Plant, images: Sequence[ImageObserved]) -> dict[str, float]:
    """Images a second, processor milliseconds an image by part, and rows a batch that Triton ran."""
    count = len(images)
    labels = {"lane": RECORD}
    work = load.messages(images, topics.OBSERVED_DICOM)
    done = total(await plant.counters(RECORD), "clinstream_events_total", **labels)
    decoded, served = await _decoded_s(plant), await _served(plant)
    ours = [name for process in LANE for name in plant.numbers(process)]
    with ExitStack() as held:
        for name in (*plant.numbers(PREPARE), *plant.numbers("imaging-prepare.stat")):
            held.enter_context(plant.held(name))
        await load.publish(plant.services.publisher, work)
        used = {part: plant.cpu_s([part]) for part in (*ours, *PARTS)}
        started = plant.clock.monotonic()
    ended = await plant.until(RECORD, "clinstream_events_total", done + count, **labels)
    spent = {part: plant.cpu_s([part]) - used[part] for part in (*ours, *PARTS)}
    rows, executions = (after - before for after, before in zip(await _served(plant), served, strict=True))
    outside = sum(spent[name] for name in ours) - (await _decoded_s(plant) - decoded)
    await verify(plant, [str(image.event_id) for image in images], TASK)
    return {
        "rate": count / (ended - started),
        "outside_ms": outside * 1000 / count,
        "batch": rows / max(1.0, executions),
        "decoding": (await _decoded_s(plant) - decoded) * 1000 / count,
        **{name: spent[name] * 1000 / count for name in ours},
        **{part: spent[part] * 1000 / count for part in PARTS},
    }


async def _decoded_s(plant: Plant) -> float:
    return await plant.counter(PREPARE, "clinstream_decode_cpu_seconds_total")


async def _served(plant: Plant) -> tuple[float, float]:
    """Rows and executions of the routine model since it was loaded."""
    card = triton_models.discover()[TASK].card
    samples, model = await plant.triton(), triton_name(card.name, card.version, False)
    return (
        total(samples, "nv_inference_count_total", model=model),
        total(samples, "nv_inference_exec_count_total", model=model),
    )
