"""`bench hospital`: a hospital's peak hour through the DICOM door; how long results take, what was lost or doubled.

Studies arrive as a Poisson process, each over an association of its own. A study's time runs from the acknowledgement
of its last instance to the last of its results and outcomes on their topics, which is when a subscriber is told.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import numpy as np

import triton_models
from clinstream.benches import peak_hour
from clinstream.benches.figures import Figure, Report, figure
from clinstream.benches.peak_hour import Maker, Study
from clinstream.benches.plant import PATIENCE_S, Plant
from clinstream.reconciliation import log
from clinstream.reconciliation.count import count_when_quiet
from clinstream.sending import store
from clinstream.sending.objects import StorageObject
from clinstream.sending.sent import Sent
from producers.dicom_identity import SIMULATED_SUFFIX
from schemas import ids, topics
from schemas.errors import UserError
from schemas.events import ResultPublished

RATES = (250.0, 375.0, 2500.0)
PERCENTS = (50, 95, 99)
ALL, STAT, XRAY = "routine", "stat", "xray"
GROUPS: Mapping[str, Callable[[Study], bool]] = {
    ALL: lambda study: not study.urgent,
    STAT: lambda study: study.urgent,
    XRAY: lambda study: study.kind.name == "XR",
}
"""Groups of studies that are told apart; X-rays, which models answer, are of either urgency."""

SHOWN = {
    "acknowledged": "taken",
    "not_acknowledged": "not taken",
    "unfinished": "open",
    "lost": "lost",
    "duplicates": "twice",
}
"""Counts of instances that a person is shown, and under which names."""

AT_ONCE = 24
"""Studies that may be on the wire at once; a later one waits, as at a modality whose worklist is full."""
TRIES = 8
LOOK_S = 0.5
QUIET_S = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """`minutes` of the hospital's time at each of the `rates`; pixels times `scale`, time divided by `speed`."""

    rates: Sequence[float] = RATES
    minutes: float = 3.0
    scale: float = 0.1
    speed: float = 2.0


@dataclass(slots=True)
class Sending:
    """What a study's sender was told: acknowledged events, and when the last of them was (Unix seconds)."""

    study: Study
    objects: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    last_at: float = 0.0
    not_taken: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """One rate: seconds by group of studies, and counts of instances."""

    seconds: Mapping[str, Sequence[float]]
    counts: Mapping[str, int]
    megabytes: float


async def run(plant: Plant, *, repeats: int, size: Size, originals: Sequence[np.ndarray], tell: Tell) -> Report:
    """Every rate `repeats` times, after a study of each kind to warm up; percentiles are of all repeats together.

    `lost` and `duplicates` are counts over everything that was acknowledged, as `reconcile` has them, and must be 0.
    """
    hours = [peak_hour.arrivals(rate, size.minutes, place) for place, rate in enumerate(size.rates)]
    planned = repeats * sum(peak_hour.total_bytes(studies, size.scale) for studies in hours)
    _check_room(plant, planned)
    seconds = repeats * len(hours) * size.minutes * 60 / size.speed
    tell(f"{planned / 1e9:.2f} GB in {repeats * sum(map(len, hours))} studies over {seconds / 60:.1f} minutes")
    maker = Maker(originals, size.scale)
    warm = [Study(0.0, kind, urgent) for kind in peak_hour.KINDS for urgent in (False, True)]
    await _one_rate(plant, maker, warm, size, tell)
    found: dict[float, list[Measured]] = defaultdict(list)
    for _ in range(repeats):
        for rate, studies in zip(size.rates, hours, strict=True):
            tell(f"{rate:g} studies/h: {len(studies)} studies")
            found[rate].append(await _one_rate(plant, maker, studies, size, tell))
    return _report(found, size)


def _check_room(plant: Plant, planned: int) -> None:
    """UserError where the store has not room for all and as much again above the watermark of the doors."""
    free = plant.services.store.free_bytes()
    if free is not None and free < 2 * planned + plant.settings.doors.disk_watermark_bytes:
        raise UserError(
            f"This would store {planned / 1e9:.1f} GB and there are {free / 1e9:.1f} GB: less --minutes or --scale."
        )


async def _one_rate(plant: Plant, maker: Maker, studies: Sequence[Study], size: Size, tell: Tell) -> Measured:
    since = time.time()
    sendings = await _send(plant, maker, studies, size.speed)
    events = [event for each in sendings for event in each.events]
    tell(f"  {len(events)} instances acknowledged, waiting for their outcomes")
    await _ended(plant, events)
    settings, database = plant.settings, plant.services.database
    tasks = sorted(triton_models.discover())
    counted = await count_when_quiet(settings, database, tasks, events, plant.clock, wait_s=QUIET_S)
    told_at = await asyncio.to_thread(_told, plant, tasks, since)
    ours = {name for each in sendings for name in each.objects}
    return Measured(
        {name: list(_seconds(sendings, told_at, chosen)) for name, chosen in GROUPS.items()},
        {
            "studies": len(studies),
            "acknowledged": len(events),
            "not_acknowledged": sum(each.not_taken for each in sendings),
            "answered": counted.fates["answered"],
            "not_applicable": counted.fates["not_applicable"],
            "refused": counted.fates["refused"],
            "dead": counted.fates["dead"],
            "unfinished": counted.in_flight,
            "lost": len(counted.lost),
            "duplicates": sum(thing.removeprefix(ids.SIMULATED) in ours for thing, _, _ in counted.doubled),
        },
        peak_hour.total_bytes(studies, size.scale) / 1e6,
    )


def _seconds(
    sendings: Sequence[Sending], told_at: Mapping[str, float], chosen: Callable[[Study], bool]
) -> Iterator[float]:
    """Seconds of each chosen study of which every acknowledged instance has ended."""
    for each in sendings:
        if chosen(each.study) and each.events and all(event in told_at for event in each.events):
            yield max(0.0, max(told_at[event] for event in each.events) - each.last_at)


async def _send(plant: Plant, maker: Maker, studies: Sequence[Study], speed: float) -> list[Sending]:
    """Sends each study when it is due; returns when every object has its last answer."""
    doors = plant.settings.doors
    called = doors.dicom_ae_title[: 16 - len(SIMULATED_SUFFIX)] + SIMULATED_SUFFIX
    loop = asyncio.get_running_loop()
    began = plant.clock.monotonic()
    works = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="modality") as pool:
        for number, study in enumerate(studies):
            await plant.clock.sleep(max(0.0, began + study.at_s / speed - plant.clock.monotonic()))
            target = store.Target(doors.dicom_host, doors.dicom_port, called, "BENCH_HOSPITAL", urgent=study.urgent)
            works.append(loop.run_in_executor(pool, _send_study, maker, study, f"{study.kind.name}{number}", target))
        return list(await asyncio.gather(*works))


def _send_study(maker: Maker, study: Study, name: str, target: store.Target) -> Sending:
    sending = Sending(study)

    def objects() -> Iterator[StorageObject]:
        for each in maker.objects(study, name):
            sending.objects.add(each.sop_instance_uid)
            yield each

    def told(line: Sent) -> None:
        if line.status == "accepted":
            sending.last_at = time.time()

    for line in store.send(objects(), target, associations=1, tries=TRIES, pause=time.sleep, told=told):
        if line.status == "accepted" and line.event_id:
            sending.events.append(line.event_id)
        else:
            sending.not_taken += 1
    return sending


async def _ended(plant: Plant, events: Sequence[str]) -> None:
    """Returns when each event has an outcome, or after `PATIENCE_S`: the count then says what is missing."""
    left = {UUID(event) for event in events}
    until = plant.clock.monotonic() + PATIENCE_S
    while left and plant.clock.monotonic() < until:
        left -= {row.event_id for row in await plant.services.database.outcomes_of(sorted(left))}
        if left:
            await plant.clock.sleep(LOOK_S)


class _Event(msgspec.Struct):
    event_id: str


class _Result(msgspec.Struct):
    answer: _Event


def _told(plant: Plant, tasks: Sequence[str], since: float) -> dict[str, float]:
    """When subscribers were told the last thing about each event (Unix seconds), as the records say."""
    found: dict[str, float] = {}
    names = [topics.OUTCOMES, *(topics.results_topic(task, simulated=True) for task in tasks)]
    for record in log.read(plant.settings.kafka, names):
        if record.at < since:
            continue
        if record.topic == topics.OUTCOMES:
            event = msgspec.json.decode(record.value, type=_Event).event_id
        elif record.text("ce_type") == ResultPublished.TYPE:
            event = msgspec.json.decode(record.value, type=_Result).answer.event_id
        else:
            continue
        found[event] = max(found.get(event, 0.0), record.at)
    return found


def _report(found: Mapping[float, Sequence[Measured]], size: Size) -> Report:
    figures: dict[str, Figure] = {}
    rows = []
    for rate, repeats in found.items():
        counts = {name: sum(each.counts[name] for each in repeats) for name in repeats[0].counts}
        told = {shown: str(counts[name]) for name, shown in SHOWN.items()}
        for group in GROUPS:
            times = [each.seconds[group] for each in repeats if each.seconds[group]]
            pooled = [value for each in times for value in each]
            row = {"rate/h": f"{rate:g}", "studies": group, "n": str(len(pooled))}
            for percent in PERCENTS if pooled else ():
                value = float(np.percentile(pooled, percent))
                spread = figure([float(np.percentile(each, percent)) for each in times], "s").spread
                figures[f"{group}_p{percent}_{rate:g}"] = Figure(value, "s", spread)
                row[f"p{percent} s"] = f"{value:.2f}"
            rows.append({**row, **told})
            told = {}  # said once a rate
        figures |= {f"{name}_{rate:g}": Figure(value, "count", 0.0) for name, value in counts.items()}
        figures[f"megabytes_{rate:g}"] = Figure(sum(each.megabytes for each in repeats), "MB", 0.0)
    profile = {"minutes_a_rate": size.minutes, "scale": size.scale, "speed": size.speed}
    notes = {"profile": {**profile, "stat_share": peak_hour.STAT_SHARE}}
    return Report("hospital", {}, figures, notes=notes, rows=rows)
