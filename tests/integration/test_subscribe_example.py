"""The example subscriber against a real broker: each result once, whatever is delivered twice (S6)."""

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from uuid import UUID, uuid4

import pytest
from kafka import KafkaProducer

from adapters import topics_admin
from adapters.settings import Settings
from clinstream.contracts import play, stage
from schemas.envelope import pack
from schemas.errors import UserError
from schemas.events import Base, ResultPublished, ResultWithdrawn
from tests.support.answers import answer

EXAMPLE = Path(__file__).parents[2] / "examples" / "subscribe_results.py"


def published(thing: str) -> ResultPublished:
    given = answer(thing)
    return ResultPublished(
        result_id=given.answer_id,
        object_id=thing,
        subject_id=given.subject_id,
        task=given.task,
        revision=1,
        answer=given,
    )


@pytest.fixture
def topic(kafka_settings: Settings) -> str:
    """A topic of this test's own."""
    name = f"results.example_{uuid4().hex[:8]}"
    with topics_admin.admin(kafka_settings.kafka) as admin:
        admin.create_topics({name: {"num_partitions": 1}}, wait_for_metadata=True)
    return name


def test_a_result_that_is_delivered_twice_is_printed_once(kafka_settings: Settings, topic: str) -> None:
    servers = kafka_settings.kafka.bootstrap_servers
    first, second = published("first"), published("second")
    gone = ResultWithdrawn(
        result_id=second.result_id,
        object_id="second",
        subject_id=second.subject_id,
        task=second.task,
        revision=1,
        reason="wrong patient",
    )
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    for event, name in (
        (first, first.result_id),
        (first, first.result_id),
        (second, second.result_id),
        (gone, uuid4()),
    ):
        _send(producer, topic, event, name)
    producer.flush()
    producer.close()
    lines = _lines(servers, topic, 3)
    assert [line.split()[0] for line in lines] == [first.subject_id, second.subject_id, second.subject_id]
    assert lines[0].split()[1:] == [first.task, "revision", "1", first.answer.label, str(first.answer.score)]
    assert lines[2].endswith("wrong patient")


def _send(producer: KafkaProducer, topic: str, event: Base, name: UUID) -> None:
    headers, value = pack(event, id=str(name), source="test", subject="sub-x", time=datetime(2026, 1, 1, tzinfo=UTC))
    producer.send(topic, value=value, key=b"sub-x", headers=headers)


def _lines(servers: str, topic: str, count: int) -> list[str]:
    """The first lines that the example prints; it is ended after a minute, or when they are there."""
    command = [sys.executable, "-u", str(EXAMPLE), servers, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        alarm = Timer(60, process.kill)
        alarm.start()
        try:
            return [process.stdout.readline().rstrip("\n") for _ in range(count)]
        finally:
            alarm.cancel()
            process.kill()


@pytest.mark.parametrize("seed", [0, 7])
def test_the_example_ends_a_play_as_a_right_subscriber_does(
    kafka_settings: Settings, topic: str, tmp_path: Path, seed: int
) -> None:
    """S6: repeats, revisions, amendments, withdrawals and a later version's additions, in two sittings."""
    servers, made = kafka_settings.kafka.bootstrap_servers, play.script("icu_mortality", seed)
    half = len(made.deliveries) // 2
    for part in (made.deliveries[:half], made.deliveries[half:]):
        stage.perform(play.Play(part), bootstrap=servers, topic=topic)
        command = [sys.executable, str(EXAMPLE), servers, topic, "--state", str(tmp_path / "ward"), "--idle", "3"]
        subprocess.run([*command, "--group", f"subscriber.{topic}"], check=True, timeout=60)
    assert _state(tmp_path / "ward") == made.final


def _state(path: Path) -> play.State:
    columns = ("result_id", "subject_id", "revision", "status", "label", "score", "changed")
    with sqlite3.connect(path) as held:
        rows = held.execute(f"SELECT object_id || '/' || task, {', '.join(columns)} FROM results").fetchall()
    held.close()
    found = {place: dict(zip(columns, values, strict=True)) for place, *values in rows}
    return {place: {**values, "changed": json.loads(str(values["changed"]))} for place, values in found.items()}


def test_a_play_never_goes_to_the_topic_of_patients_results(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CC21: made-up results stay off the clinical topics of the installation itself."""
    monkeypatch.setenv("CLINSTREAM_HOME", str(kafka_settings.home))
    with pytest.raises(UserError, match="patients"):
        stage.perform(play.script("icu_mortality"), topic="results.icu_mortality")
    with pytest.raises(UserError, match="--create"):
        stage.perform(play.script("icu_mortality"), topic="simulated.nobody_made_this")
