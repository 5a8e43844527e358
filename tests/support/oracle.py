"""Judges what became of acknowledged events: by the sender's list against database, results topics and `reconcile`."""

import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from clinstream import __main__ as clinstream
from schemas import topics
from tests.support.plant import Plant
from tests.support.senders import GLUCOSE_TASK, Acknowledged

DEAD = (topics.DEAD_FAILED, topics.DEAD_UNPROCESSABLE)
TASKS = ("chest_xray", "icu_mortality", "otoscope_screening", "otoscope_diagnosis", GLUCOSE_TASK)
FOLLOW_UPS = {"otoscope_screening": "otoscope_diagnosis"}
RESULTS = tuple(topics.results_topic(task) for task in TASKS)
ASK_EVERY_S = 0.5


@dataclass(frozen=True)
class Record:
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes
    headers: dict[str, str]
    value: bytes

    def json(self) -> dict[str, Any]:
        """The value as JSON."""
        found: dict[str, Any] = json.loads(self.value)
        return found


class Reader:
    """What came onto topics since this was made; reads again from there each time."""

    def __init__(self, plant: Plant, names: tuple[str, ...]) -> None:
        self._plant, self._names = plant, names
        with self._consumer() as consumer:
            self._start = dict(consumer.end_offsets(self._places(consumer)))

    def read(self) -> list[Record]:
        """All records from the start to the end of this moment."""
        with self._consumer() as consumer:
            ends = consumer.end_offsets(list(self._start))
            waiting = {place for place, end in ends.items() if end > self._start[place]}
            consumer.assign(sorted(waiting))
            for place in waiting:
                consumer.seek(place, self._start[place])
            found: list[Record] = []
            until = time.monotonic() + 60.0
            while any(consumer.position(place) < ends[place] for place in waiting):
                assert time.monotonic() < until, "Kafka holds records that it does not give"
                for records in consumer.poll(timeout_ms=500).values():
                    found += [_record(record) for record in records]
            return found

    def _places(self, consumer: KafkaConsumer) -> list[TopicPartition]:
        present = consumer.topics()
        return [
            TopicPartition(name, number)
            for name in self._names
            if name in present
            for number in consumer.partitions_for_topic(name)
        ]

    @contextmanager
    def _consumer(self) -> Iterator[KafkaConsumer]:
        consumer = KafkaConsumer(
            bootstrap_servers=self._plant.settings.kafka.bootstrap_servers.split(","),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
        )
        try:
            yield consumer
        finally:
            consumer.close()


def _record(record: Any) -> Record:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    return Record(record.topic, record.partition, record.offset, record.key or b"", headers, record.value or b"")


@dataclass
class Verdict:
    """What was found of the acknowledged events; `faults` is empty when every promise was kept.

    `glucose` are the fates of glucose readings, which depend on who was in a batch with whom; `unread` counts those
    that are not, or not only once, among the wearers' readings.
    """

    fates: Counter[str] = field(default_factory=Counter)
    glucose: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    lost: list[str] = field(default_factory=list)
    unpublished: list[str] = field(default_factory=list)
    published_twice: list[tuple[str, str, str]] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    reconciled: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """The broken promises, in words."""
        found = []
        if self.lost:
            found.append(f"{len(self.lost)} acknowledged events have no outcome, for example {self.lost[:3]}")
        if self.unpublished:
            found.append(f"{len(self.unpublished)} visible results never reached subscribers: {self.unpublished[:3]}")
        if self.unread:
            found.append(f"{self.unread} acknowledged glucose readings are not stored exactly once")
        if self.published_twice:
            found.append(f"{len(self.published_twice)} contents have several results: {self.published_twice[:3]}")
        if self.dead:
            found.append(f"{len(self.dead)} events were put aside: {self.dead[:3]}")
        if any(self.reconciled.get(name) for name in ("lost", "duplicates", "in_flight")):
            found.append(f"reconcile says {self.reconciled}")
        return found


class Oracle:
    """Stands beside an installation from before a fault; `judge` afterwards."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._results = Reader(plant, RESULTS)
        self._dead = Reader(plant, DEAD)

    def judge(self, sent: Acknowledged, *, seconds: float = 90.0) -> Verdict:
        """The verdict as soon as it is good, or after `seconds` as it then is; asks `reconcile` at the end."""
        began = time.monotonic()
        while True:
            verdict = self._look(sent)
            verdict.seconds = time.monotonic() - began
            if not (verdict.lost or verdict.unpublished) or verdict.seconds > seconds:
                break
            time.sleep(ASK_EVERY_S)
        verdict.reconciled = self.reconcile(sent)
        return verdict

    def reconcile(self, sent: Acknowledged, *, wait: float = 20.0) -> dict[str, Any]:
        """What `clinstream reconcile --acknowledged` says of the sender's list."""
        with tempfile.TemporaryDirectory() as folder:
            file = sent.write(Path(folder) / "acknowledged.jsonl")
            order = ["reconcile", "--home", str(self._plant.home.folder), "--acknowledged", str(file)]
            # The command as it is, without the second that an interpreter of its own takes to start.
            done = CliRunner().invoke(clinstream.build(), [*order, "--wait", str(wait), "--json"])
        assert done.stdout.startswith("{"), (done.stdout, done.exception)
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.exit_code == (1 if found["lost"] or found["duplicates"] else 0), done
        return found

    def dead_letters(self) -> list[Record]:
        """What was put aside since the oracle stands here."""
        return self._dead.read()

    def published(self) -> list[Record]:
        """What subscribers were told since then, repeats included."""
        return self._results.read()

    def _look(self, sent: Acknowledged) -> Verdict:
        verdict = Verdict()
        fates: dict[str, dict[str, str]] = defaultdict(dict)
        for event, task, fate in self._plant.sql(
            "SELECT event_id::text, task, fate FROM outcomes WHERE event_id = ANY($1::text[]::uuid[])",
            list(sent.events),
        ):
            fates[event][task] = fate
        for event, task in sent.events.items():
            found = fates[event].get(task) or fates[event].get("*")
            if found is None:
                verdict.lost.append(event)
                continue
            second = fates[event].get(FOLLOW_UPS.get(task, ""), "")
            if found == "answered" and task in FOLLOW_UPS and not second:
                verdict.lost.append(f"{event} for {FOLLOW_UPS[task]}")
                continue
            (verdict.glucose if task == GLUCOSE_TASK else verdict.fates)[found] += 1
            if "dead" in (found, second):
                verdict.dead.append(event)
        if not verdict.lost:
            stored = self._plant.sql(
                "SELECT count(*), count(DISTINCT event_id) FROM readings WHERE event_id = ANY($1::text[]::uuid[])",
                list(sent.events),
            )[0]
            expected = verdict.glucose.total()
            verdict.unread = abs(expected - int(stored[0])) + abs(expected - int(stored[1]))
            self._look_at_results(sent, verdict)
        return verdict

    def _look_at_results(self, sent: Acknowledged, verdict: Verdict) -> None:
        """Each visible result of these events is on its topic, and no content has two."""
        published: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for record in self._results.read():
            result = record.json()
            if "answer" not in result:
                continue  # a withdrawal or an amendment of one
            published[result["object_id"], result["answer"]["content"], result["task"]].add(result["result_id"])
        verdict.published_twice = [key for key, ids in published.items() if len(ids) > 1]
        visible = self._plant.sql(
            "SELECT object_id, content, task, answer_id::text, withdrawn_at IS NULL FROM visible "
            "WHERE event_id = ANY($1::text[]::uuid[])",
            list(sent.events),
        )
        # What was withdrawn before it could be published is not published any more.
        verdict.unpublished = [
            answer for *key, answer, holds in visible if holds and answer not in published[key[0], key[1], key[2]]
        ]
        answered = verdict.fates["answered"] + verdict.glucose["answered"]
        assert len(visible) >= answered, f"{answered} events count as answered, only {len(visible)} results are visible"
