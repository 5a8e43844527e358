"""Events put aside by the real loop, listed and sent through again by commands; Kafka and PostgreSQL are real."""

import asyncio
import getpass
import json
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from adapters import sealing, topics_admin
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.database.engine import make_engine
from adapters.kafka import KafkaPublisher, Message
from adapters.pixels import open_store
from adapters.settings import Settings
from clinstream.__main__ import build
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Decide, Outcome
from producers.aside import put_aside
from schemas.errors import DatabaseUnavailable, StepFailed, UserError
from schemas.events import OutcomeDecided
from tests.support import loop as support
from tests.support.arrivals import ToyStep, number_of, packed, vitals


class Mends(ToyStep):
    """Gives up on one reading until it is mended; refuses all others."""

    def __init__(self, topic: str, bad: int) -> None:
        super().__init__(topics=(topic,), batch=Batch(8, 0.01), in_flight=16)
        self.bad, self.mended = bad, False
        self.attempts: list[int] = []

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """Refusals, as rows of the database."""
        if not self.mended and any(number_of(each) == self.bad for each in batch):
            raise StepFailed("the model is not what the card says")
        self.attempts += [each.attempt for each in batch if number_of(each) == self.bad]
        return [[Decide(refusal(number_of(each)))] for each in batch]


def refusal(number: int) -> OutcomeDecided:
    """A reading ends here."""
    return OutcomeDecided(event_id=vitals(number).event_id, task="toy", fate="refused", reason="out of intended use")


@pytest.fixture
def installation(
    kafka_settings: Settings, fresh_database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of a home of its own, also for the command line."""
    topics_admin.ensure_topics(kafka_settings, [])
    monkeypatch.setenv("CLINSTREAM_HOME", str(tmp_path))
    monkeypatch.setenv("CLINSTREAM_KAFKA_URL", kafka_settings.kafka.bootstrap_servers)
    monkeypatch.setenv("CLINSTREAM_DATABASE_URL", fresh_database.database.url)
    return fresh_database.model_copy(update={"home": tmp_path, "kafka": kafka_settings.kafka})


def command(*words: str) -> list[dict[str, object]]:
    """What `clinstream dead ... --json` answers."""
    result = CliRunner().invoke(build(), ["dead", *words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def of(topic: str, found: list[dict[str, object]]) -> list[dict[str, object]]:
    """The letters of one test."""
    return [each for each in found if each["topic"] == topic]


async def test_poison_is_listed_with_its_reason_and_a_replay_after_the_mending_closes_the_letter(
    installation: Settings,
) -> None:
    """S2: a bad event goes aside with its reason, never lost, never blocking its neighbours."""
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(installation, topic)
    base = uuid4().int % 10**9
    step = Mends(topic, base + 3)
    database = Database.open(installation, SystemClock())
    try:
        async with support.around(installation) as services:
            services.database = database  # type: ignore[assignment]
            await support.publish(services, topic, range(base, base + 8))
            headers, _ = packed(base + 8)
            await services.publisher.publish_many(
                [Message(topic, b"k", headers, b"<html>"), Message(topic, b"k", [("x", b"y")], b"{}")]
            )
            async with support.running(installation, step, services, name=name):
                await support.until_committed(installation, name, topic, seconds=30)
                letters = of(topic, await asyncio.to_thread(command, "list"))
                assert sorted((each["kind"], each["reason"]) for each in letters) == [
                    ("failed", "the model is not what the card says"),
                    ("unprocessable", "not a CloudEvent: missing ce_specversion, ce_id, ce_source, ce_type, ce_time"),
                    ("unprocessable", "the value is not JSON"),
                ]
                rows = await database.outcomes_of([vitals(base + n).event_id for n in range(9)])
                assert sorted(row.fate for row in rows) == ["dead"] * 2 + ["refused"] * 7

                step.mended = True
                (bad,) = [each for each in letters if each["kind"] == "failed"]
                (placed,) = await asyncio.to_thread(command, "replay", str(bad["id"]))
                assert placed["topic"] == topic
                await support.until_committed(installation, name, topic, seconds=30)
                assert step.attempts == [2]
                open_now = of(topic, await asyncio.to_thread(command, "list"))
                assert sorted(str(each["kind"]) for each in open_now) == ["unprocessable", "unprocessable"]
                assert len(of(topic, await asyncio.to_thread(command, "list", "--all"))) == 3
    finally:
        await database.close()


def test_a_letter_that_does_not_exist_and_a_lane_that_is_not_braked_are_told(installation: Settings) -> None:
    for words in (["dead", "show", "failed-0-999999"], ["resume", "no-lane"], ["dead", "replay"]):
        result = CliRunner().invoke(build(), words)
        assert isinstance(result.exception, UserError), result.output


async def test_what_a_door_keeps_sealed_is_listed_and_opened_for_who_has_the_key_and_says_why(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CC28: into a file that its owner alone may read, after the audit has who, when and why, and not without it."""
    key, data = uuid4().bytes * 2, b"data set of Doe^Jane " + uuid4().bytes
    monkeypatch.setenv("CLINSTREAM_PSEUDONYM_KEY", key.hex())
    message, (uri, kept) = put_aside(
        sealing.seal(key, sealing.QUARANTINE, data),
        door="door-dicom",
        sender="CLINIC_1",
        media_type="application/dicom" + sealing.MEDIA_TYPE_SUFFIX,
        error_class="Unprocessable",
        reason="not de-identified: Burned In Annotation (0028,0301) is YES",
        now=datetime.now(UTC),
    )
    store, publisher = open_store((tmp_path / "store").as_uri()), KafkaPublisher(installation.kafka, SystemClock())
    await store.put(uri, kept, durable=True)
    await publisher.start()
    await publisher.publish_many([message])
    await publisher.stop()
    await store.close()
    headers = {name: value.decode() for name, value in message.headers}

    listed = await asyncio.to_thread(command, "list", "--sealed")
    (mine,) = [each for each in listed if each["event_id"] == headers["dead_event_id"]]
    assert (mine["kept"], mine["topic"]) == ("sealed", "door-dicom")
    target, asked = tmp_path / "object.dcm", ("open", str(mine["id"]), "--why", "the vendor asks")

    def opened(*words: str) -> Result:
        return CliRunner().invoke(build(), ["dead", *asked, *words], catch_exceptions=True)

    with monkeypatch.context() as away:
        away.setenv("CLINSTREAM_DATABASE_URL", "postgresql+asyncpg://nobody:x@127.0.0.1:9/none")
        assert isinstance((await asyncio.to_thread(opened, "--to", str(target))).exception, DatabaseUnavailable)
        assert not target.exists()
    told = await asyncio.to_thread(opened, "--to", str(target), "--by", "the physicist")
    assert (told.exit_code, "Doe" in told.output) == (0, False), told.output
    assert target.read_bytes() == data
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert isinstance((await asyncio.to_thread(opened, "--to", str(target))).exception, UserError)
    engine = make_engine(installation.database.url, pool_size=1, statement_timeout_s=10)
    async with engine.begin() as connection:
        asked_for = text("SELECT by_whom, purpose, details FROM audit WHERE action = 'quarantine.open'")
        (line,) = (await connection.execute(asked_for)).all()
    await engine.dispose()
    details = {"letter": mine["id"], "uri": uri, "sealed": True, "user": getpass.getuser()}
    assert tuple(line) == ("the physicist", "the vendor asks", details)
    with pytest.raises(UserError, match="refused at the door"):
        CliRunner().invoke(build(), ["dead", "replay", str(mine["id"])], catch_exceptions=False)
