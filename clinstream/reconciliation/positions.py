"""Which consumer group has to do with a record, and whether it has come past it; no event is judged here."""

from collections.abc import Mapping
from dataclasses import dataclass

import triton_models
from adapters import topics_admin
from adapters.settings import Settings
from clinstream.reconciliation.log import LogRecord
from schemas import topics

PREPARE = {lane: f"clinstream.imaging-prepare.{lane}" for lane in topics.WORK}
INFER = {topic: f"clinstream.imaging-infer.{lane}" for lane, topic in topics.WORK.items()}
FOLLOW_UP = "clinstream.imaging-follow-up"
SIGNALS = "clinstream.signals"
GLUCOSE = {topic: f"clinstream.glucose.{lane}" for lane, topic in topics.OBSERVED_GLUCOSE.items()}
RECORD = "clinstream.record"

READS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(PREPARE.values(), topics.OBSERVED_IMAGES),
    **{group: (topic,) for topic, group in INFER.items()},
    SIGNALS: (topics.OBSERVED_VITALS,),
    **{group: (topic,) for topic, group in GLUCOSE.items()},
    RECORD: (topics.ANSWERS,),
}


def reads() -> dict[str, tuple[str, ...]]:
    """What each group reads: `READS`, and the results that ask for a second task where a model names one."""
    chained = triton_models.chains(triton_models.discover())
    follow_up = {FOLLOW_UP: topics.both_results_topics(chained)} if chained else {}
    return {**READS, **follow_up}


def group_of(record: LogRecord) -> str:
    """The group that handles the record: of the two that read images, the one of its `ce_priority`."""
    if record.topic in topics.OBSERVED_IMAGES:
        return PREPARE["stat" if record.headers.get("ce_priority") == b"stat" else "routine"]
    if record.topic == topics.OBSERVED_VITALS:
        return SIGNALS
    if record.topic.startswith(topics.RESULTS):
        return FOLLOW_UP
    return GLUCOSE.get(record.topic) or INFER.get(record.topic, RECORD)


@dataclass(frozen=True, slots=True)
class Positions:
    """The committed offsets by (group, topic, partition); what is absent has not been read at all."""

    committed: Mapping[tuple[str, str, int], int]

    def is_ahead(self, record: LogRecord) -> bool:
        """Whether the record still lies before its group."""
        return record.offset >= self._next(record)

    def before(self, record: LogRecord) -> int:
        """How many records of its partition the group takes before this one."""
        return max(0, record.offset - self._next(record))

    def _next(self, record: LogRecord) -> int:
        return self.committed.get((group_of(record), record.topic, record.partition), 0)


def read(settings: Settings) -> Positions:
    """Where all groups stand now; raises BrokerUnavailable."""
    found = topics_admin.lags(settings, reads())
    return Positions(
        {
            (group, row.topic, row.partition): row.committed
            for group, rows in found.items()
            for row in rows
            if row.committed is not None
        }
    )


def active_groups(settings: Settings) -> list[str]:
    """The groups that have members now; raises BrokerUnavailable."""
    read(settings)  # a new cluster knows of no group until somebody asked for offsets; this waits until it does
    with topics_admin.admin(settings.kafka) as client:
        described = client.describe_groups(list(reads()))
    return sorted(name for name, group in described.items() if group["members"])
