"""The topics table: every topic with its event, key, partitions, retention, writers and readers; no client here."""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.events import (
    Answer,
    Base,
    ImageObserved,
    ImagePrepared,
    OutcomeDecided,
    ReleaseChanged,
    ResultAmended,
    ResultPublished,
    ResultWithdrawn,
    VitalsObserved,
)

FOR_EVER = -1
MONTH_MS = 30 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """One row: `retention_ms` -1 keeps for ever; `flush_each` has the broker flush every message to disk.

    `events` is empty where raw messages are kept as they came (the dead-letter topics).
    """

    name: str
    events: tuple[type[Base], ...]
    key: str
    partitions: int
    retention_ms: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    flush_each: bool = False

    def settings(self) -> dict[str, str]:
        """Kafka topic configuration of this row."""
        config = {"retention.ms": str(self.retention_ms), "cleanup.policy": "delete"}
        if self.flush_each:
            config["flush.messages"] = "1"
        return config


OBSERVED_DICOM = "observed.dicom"
OBSERVED_VITALS = "observed.vitals"
WORK_STAT = "work.stat"
WORK_ROUTINE = "work.routine"
ANSWERS = "answers"
OUTCOMES = "outcomes"
RELEASES_CHANGED = "releases.changed"
DEAD_FAILED = "dead.failed"
DEAD_UNPROCESSABLE = "dead.unprocessable"

OBSERVED = (OBSERVED_DICOM, OBSERVED_VITALS)
WORK = {"stat": WORK_STAT, "routine": WORK_ROUTINE}


def results_topic(task: str, *, simulated: bool = False) -> str:
    """Where subscribers find the visible results of a task; injected data has a topic of its own."""
    return f"{'simulated' if simulated else 'results'}.{task}"


RESULT_EVENTS = (ResultPublished, ResultAmended, ResultWithdrawn)

FIXED: tuple[Topic, ...] = (
    Topic(OBSERVED_DICOM, (ImageObserved,), "study", 8, FOR_EVER, ("door-dicom",), ("imaging-prepare",), True),
    Topic(OBSERVED_VITALS, (VitalsObserved,), "stay", 8, FOR_EVER, ("door-http",), ("signals",), True),
    Topic(WORK_STAT, (ImagePrepared,), "study", 8, FOR_EVER, ("imaging-prepare",), ("imaging-infer",)),
    Topic(WORK_ROUTINE, (ImagePrepared,), "study", 8, FOR_EVER, ("imaging-prepare",), ("imaging-infer",)),
    Topic(ANSWERS, (Answer,), "subject", 8, FOR_EVER, ("imaging-infer",), ("record",)),
    Topic(
        OUTCOMES,
        (OutcomeDecided,),
        "event",
        4,
        FOR_EVER,
        ("imaging-prepare", "imaging-infer", "signals", "record", "loop"),
        ("rebuild",),
    ),
    Topic(RELEASES_CHANGED, (ReleaseChanged,), "task", 1, FOR_EVER, ("loop",), ("subscribers",)),
    Topic(
        DEAD_FAILED,
        (),
        "event",
        2,
        FOR_EVER,
        ("imaging-prepare", "imaging-infer", "signals", "record", "loop"),
        ("operators",),
    ),
    Topic(
        DEAD_UNPROCESSABLE,
        (),
        "event",
        2,
        FOR_EVER,
        ("door-dicom", "door-http", "imaging-prepare", "imaging-infer", "signals", "record"),
        ("operators",),
    ),
)


def topics(tasks: Iterable[str]) -> tuple[Topic, ...]:
    """The whole table for the given tasks (card names): the fixed rows and two result topics for each task."""
    rows = list(FIXED)
    for task in sorted(tasks):
        for simulated in (False, True):
            name = results_topic(task, simulated=simulated)
            rows.append(Topic(name, RESULT_EVENTS, "subject", 4, FOR_EVER, ("record", "signals"), ("subscribers",)))
    return tuple(rows)
