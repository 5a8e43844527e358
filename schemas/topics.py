"""The topics table: every topic with its event, key, partitions, retention, writers and readers; no client here."""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.events import (
    Answer,
    Base,
    GlucoseMetricsRevised,
    GlucoseObserved,
    ImageObserved,
    ImagePrepared,
    OutcomeDecided,
    ReleaseChanged,
    ResultAmended,
    ResultAssessed,
    ResultPublished,
    ResultWithdrawn,
    RetrainRequested,
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
OBSERVED_OTOSCOPE = "observed.otoscope"
OBSERVED_GLUCOSE_LIVE = "observed.glucose.live"
OBSERVED_GLUCOSE_BACKFILL = "observed.glucose.backfill"
OBSERVED_VITALS = "observed.vitals"
WORK_STAT = "work.stat"
WORK_ROUTINE = "work.routine"
ANSWERS = "answers"
OUTCOMES = "outcomes"
OVERRIDES = "overrides"
RETRAIN_REQUESTED = "retrain.requested"
RELEASES_CHANGED = "releases.changed"
METRICS_GLUCOSE = "metrics.glucose"
METRICS_GLUCOSE_SIMULATED = "metrics.glucose.simulated"
DEAD_FAILED = "dead.failed"
DEAD_UNPROCESSABLE = "dead.unprocessable"

OBSERVED_IMAGES = (OBSERVED_DICOM, OBSERVED_OTOSCOPE)
OBSERVED_GLUCOSE = {"live": OBSERVED_GLUCOSE_LIVE, "backfill": OBSERVED_GLUCOSE_BACKFILL}
OBSERVED = (*OBSERVED_IMAGES, OBSERVED_VITALS, *OBSERVED_GLUCOSE.values())
WORK = {"stat": WORK_STAT, "routine": WORK_ROUTINE}


RESULTS = ("results.", "simulated.")
"""How the names of the topics that subscribers read begin."""


def results_topic(task: str, *, simulated: bool = False) -> str:
    """Where subscribers find the visible results of a task; injected data has a topic of its own."""
    return f"{'simulated' if simulated else 'results'}.{task}"


def both_results_topics(tasks: Iterable[str]) -> tuple[str, ...]:
    """The clinical and the simulated results topics of these tasks, for whoever treats the two alike."""
    return tuple(results_topic(task, simulated=made) for task in tasks for made in (False, True))


RESULT_EVENTS = (ResultPublished, ResultAmended, ResultWithdrawn)

# Whoever may decide that an event ends, or put it aside.
STEPS = (
    "imaging-prepare",
    "imaging-infer",
    "imaging-follow-up",
    "signals",
    "glucose",
    "record",
    "overrides",
    "studies",
    "exports",
    "loop",
)
DOORS = ("door-dicom", "door-http", "door-folder")
RESULT_WRITERS = ("record", "signals", "glucose", "loop")
RESULT_READERS = ("imaging-follow-up", "exports", "subscribers")

FIXED: tuple[Topic, ...] = (
    Topic(
        OBSERVED_DICOM,
        (ImageObserved,),
        "study",
        8,
        FOR_EVER,
        ("door-dicom", "door-http"),
        ("imaging-prepare", "studies"),
        True,
    ),
    Topic(
        OBSERVED_OTOSCOPE,
        (ImageObserved,),
        "study",
        8,
        FOR_EVER,
        ("door-http", "door-folder"),
        ("imaging-prepare",),
        True,
    ),
    Topic(OBSERVED_GLUCOSE_LIVE, (GlucoseObserved,), "wearer", 8, FOR_EVER, ("door-http",), ("glucose",), True),
    Topic(OBSERVED_GLUCOSE_BACKFILL, (GlucoseObserved,), "wearer", 8, FOR_EVER, ("door-http",), ("glucose",), True),
    Topic(OBSERVED_VITALS, (VitalsObserved,), "stay", 8, FOR_EVER, ("door-http",), ("signals", "trainer"), True),
    Topic(
        WORK_STAT,
        (ImagePrepared,),
        "study",
        8,
        FOR_EVER,
        ("imaging-prepare", "imaging-follow-up"),
        ("imaging-infer",),
    ),
    Topic(
        WORK_ROUTINE,
        (ImagePrepared,),
        "study",
        8,
        FOR_EVER,
        ("imaging-prepare", "imaging-follow-up"),
        ("imaging-infer",),
    ),
    Topic(ANSWERS, (Answer,), "subject", 8, FOR_EVER, ("imaging-infer",), ("record",)),
    Topic(
        OVERRIDES,
        (ResultAssessed,),
        "result",
        4,
        FOR_EVER,
        ("door-http", "imaging-prepare"),
        ("overrides",),
        True,
    ),
    Topic(RETRAIN_REQUESTED, (RetrainRequested,), "task", 1, FOR_EVER, ("loop",), ("trainer",)),
    Topic(OUTCOMES, (OutcomeDecided,), "event", 4, FOR_EVER, STEPS, ("rebuild",)),
    Topic(RELEASES_CHANGED, (ReleaseChanged,), "task", 1, FOR_EVER, ("loop",), ("subscribers",)),
    Topic(METRICS_GLUCOSE, (GlucoseMetricsRevised,), "wearer", 4, FOR_EVER, ("loop",), ("subscribers",)),
    Topic(METRICS_GLUCOSE_SIMULATED, (GlucoseMetricsRevised,), "wearer", 4, FOR_EVER, ("loop",), ("subscribers",)),
    Topic(DEAD_FAILED, (), "event", 2, FOR_EVER, STEPS, ("operators",)),
    Topic(DEAD_UNPROCESSABLE, (), "event", 2, FOR_EVER, (*DOORS, *STEPS), ("operators",)),
)


def topics(tasks: Iterable[str]) -> tuple[Topic, ...]:
    """The whole table for the given tasks (card names): the fixed rows and two result topics for each task."""
    rows = list(FIXED)
    for task in sorted(tasks):
        for simulated in (False, True):
            name = results_topic(task, simulated=simulated)
            rows.append(Topic(name, RESULT_EVENTS, "subject", 4, FOR_EVER, RESULT_WRITERS, RESULT_READERS))
    return tuple(rows)
