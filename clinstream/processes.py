"""The process table: which processes of ours run, how often and how urgently; not how they are kept alive."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream.embedded import probes
from clinstream.supervision.component import Command, Component
from schemas import topics

# With the line break: the metric's help text begins in the same way.
READY_METRIC = b"\nclinstream_ready 1.0\n"


@dataclass(frozen=True, slots=True)
class Process:
    """One row: `python -m <module> <args> --index i` for i below `count`.

    `topics` are those that it reads, as the consumer group `clinstream.<name>`; none for a door. `nice` (0 to 19)
    makes a process yield to more urgent ones. `asked_for`: it runs only where a setting asks for it.
    """

    name: str
    module: str
    args: tuple[str, ...]
    count: int = 1
    topics: tuple[str, ...] = ()
    nice: int = 0
    asked_for: bool = False

    @property
    def group(self) -> str:
        """The consumer group of a process that reads topics."""
        return f"clinstream.{self.name}"


def _consumer(name: str, *read: str, nice: int = 0, count: int = 1) -> Process:
    return Process(name, "consumers", (name,), count=count, topics=read, nice=nice)


def _door(name: str, count: int = 1) -> Process:
    return Process(name, "producers", (name,), count=count)


def table(settings: Settings) -> tuple[Process, ...]:
    """All processes of one installation, in the order in which they start: consumers first, doors last."""
    asked = {"exports": bool(settings.exports.destinations), "door-folder": settings.doors.folder is not None}
    return tuple(row for row in every(settings) if not row.asked_for or asked[row.name])


def every(settings: Settings) -> tuple[Process, ...]:
    """All processes that there can be, those too that no setting asks for.

    Routine imaging yields to STAT, and so does everything that nobody waits for at a bedside.
    """
    return (
        _consumer("record", topics.ANSWERS),
        _consumer("imaging-infer.stat", topics.WORK_STAT),
        _consumer("imaging-infer.routine", topics.WORK_ROUTINE, nice=5),
        *_follow_ups(),
        _exports(),
        _consumer("imaging-prepare.stat", *topics.OBSERVED_IMAGES),
        # Decoding holds the interpreter lock for half of its time: with one process the second core stood idle.
        _consumer("imaging-prepare.routine", *topics.OBSERVED_IMAGES, nice=5, count=2),
        _consumer("signals", topics.OBSERVED_VITALS),
        _consumer("glucose.live", topics.OBSERVED_GLUCOSE_LIVE),
        _consumer("glucose.backfill", topics.OBSERVED_GLUCOSE_BACKFILL, nice=5),
        _consumer("overrides", topics.OVERRIDES),
        _consumer("studies", topics.OBSERVED_DICOM, nice=5),
        _consumer("loop", nice=5),
        _consumer("predictions"),
        Process("release-manager", "training", ("release-manager",), nice=5),
        Process("trainer", "training", ("trainer",), nice=10),
        _door("door-dicom", settings.doors.dicom_processes),
        _door("door-http"),
        replace(_door("door-folder"), asked_for=True),
    )


def _follow_ups() -> Iterable[Process]:
    """The process that asks second tasks, where an installed model names one."""
    import triton_models  # on use: it brings numpy and the decoders' libraries along

    chained = triton_models.chains(triton_models.discover())
    return [_consumer("imaging-follow-up", *topics.both_results_topics(chained))] if chained else []


def _exports() -> Process:
    """The process that sends results to PACS and FHIR servers."""
    import triton_models

    images = [name for name, model in triton_models.discover().items() if model.card.consumes == "image"]
    row = _consumer("exports", *(topics.results_topic(task) for task in images), nice=5)
    return replace(row, asked_for=True)


def metrics_ports(rows: Iterable[Process]) -> list[str]:
    """The names of the ports that the rows' Prometheus endpoints need."""
    return [f"metrics.{row.name}.{index}" for row in rows for index in range(row.count)]


def components(rows: Iterable[Process], settings: Settings, logs: Path) -> list[Component]:
    """One supervised component a process, ready when its metrics say `clinstream_ready 1`."""
    return [
        _component(row, index, settings.metrics_port(row.name, index), settings.home, logs)
        for row in rows
        for index in range(row.count)
    ]


def _component(row: Process, index: int, port: int, home: Path, logs: Path) -> Component:
    async def ready() -> bool:
        return await probes.http_ok("127.0.0.1", port, "/metrics", READY_METRIC)

    name = f"{row.name}.{index}"
    argv = (sys.executable, "-m", row.module, *row.args, "--index", str(index))
    command = Command(argv, settings_room.child_environment(home), home, logs / f"{name}.log", None, row.nice)
    return Component(
        name=name, kind="service", command=command, ready=ready, ready_timeout_s=120.0, stop_timeout_s=20.0
    )
