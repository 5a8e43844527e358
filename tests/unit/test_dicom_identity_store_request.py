"""Which status one C-STORE gets and what reaches log and store for it, without network (S1, S2, standards: C-STORE)."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from adapters.dicom_reading import read_header
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from producers.door import Door, Limits
from producers.store_request import Answer, StoreRequest, judge, settle
from schemas import envelope, ids, topics
from schemas.events import ImageObserved
from tests.support.dicom_objects import CT, EXPLICIT, data_set, encoded

KEY = b"k" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "1.2.826.0.1.3680043.8.498.1"


class Bench:
    """A door on fakes."""

    def __init__(self) -> None:
        self.publisher, self.blobs = FakePublisher(), FakeBlobs()
        self.door = Door(self.publisher, self.blobs, FakeClock(), Limits(0.05, 1000))

    async def store(self, data: bytes, **changes: Any) -> Answer:
        values: dict[str, Any] = {
            "transfer_syntax_uid": EXPLICIT,
            "sop_class_uid": CT,
            "sop_instance_uid": UID,
            "priority": 0,
            "sender": "MODALITY",
            "called": "CLINSTREAM",
        }
        return await settle(judge(StoreRequest(data=data, **{**values, **changes}), KEY, NOW), self.door)

    def events(self) -> list[tuple[envelope.Envelope, ImageObserved]]:
        read = [
            envelope.read_any(message.headers, message.value, [ImageObserved])
            for message in self.publisher.topics[topics.OBSERVED_DICOM]
        ]
        return [(head, event) for head, event in read if isinstance(event, ImageObserved)]


@pytest.fixture
async def bench() -> Bench:
    found = Bench()
    await found.publisher.start()
    return found


async def test_success_means_that_the_file_is_durable_and_the_event_is_on_the_log(bench: Bench) -> None:
    data = encoded(data_set())
    answer = await bench.store(data)
    assert answer.status == 0x0000
    ((head, event),) = bench.events()
    assert event.event_id == ids.event_id(UID, ids.sha256_hex(data))
    assert answer.event_id == head.id == str(event.event_id)
    assert event.blob.uri in bench.blobs.durable
    file = bench.blobs.objects[event.blob.uri]
    assert ids.sha256_hex(file) == event.blob.sha256
    assert len(file) == event.blob.size_bytes
    assert file.endswith(data), "the data set is kept byte for byte"
    assert read_header(file).sop_instance_uid == UID
    assert head.subject == event.subject_id
    assert head.traceparent
    assert head.extensions == {"priority": "routine", "objectid": UID}
    assert event.observed_at == NOW
    assert (event.sender, event.modality, event.sop_class_uid) == ("MODALITY", "CT", CT)


async def test_nothing_that_names_the_patient_leaves_for_the_log(bench: Bench) -> None:
    await bench.store(encoded(data_set()))
    await bench.store(b"Doe^Jane 4711 HOSPITAL" * 9)
    for messages in bench.publisher.topics.values():
        for message in messages:
            written = b"".join([message.value, message.key or b"", *(value for _, value in message.headers)])
            for secret in (b"Doe", b"Jane", b"4711", b"HOSPITAL"):
                assert secret not in written
    assert not any("4711" in uri for uri in bench.blobs.objects)


async def test_an_object_sent_twice_by_two_senders_is_one_event_and_one_blob(bench: Bench) -> None:
    data = encoded(data_set())
    await bench.store(data, sender="MODALITY")
    await bench.store(data, sender="PACS")
    first, second = bench.events()
    assert first[1].event_id == second[1].event_id
    assert len(bench.blobs.objects) == 1


async def test_a_simulated_object_says_so_on_the_log_and_is_another_object(bench: Bench) -> None:
    data = encoded(data_set())
    await bench.store(data)
    await bench.store(data, called="CLINSTREAM_SIM")
    (_, real), (head, made_up) = bench.events()
    assert made_up.simulated
    assert head.extensions["simulated"] == "true"
    assert not real.simulated
    assert real.event_id != made_up.event_id
    assert real.object_id != made_up.object_id


async def test_a_high_priority_request_takes_the_urgent_lane(bench: Bench) -> None:
    await bench.store(encoded(data_set()), priority=1)
    ((head, event),) = bench.events()
    assert event.priority == head.extensions["priority"] == "stat"


async def test_an_object_without_a_study_is_stored_with_a_warning(bench: Bench) -> None:
    answer = await bench.store(encoded(data_set(StudyInstanceUID=None)))
    assert answer.status == 0xB007
    assert len(bench.events()) == 1


@pytest.mark.parametrize(
    "changes", [{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, {"sop_instance_uid": "1.2.3"}, {"sop_class_uid": ""}]
)
async def test_a_request_that_names_another_object_is_a_mismatch(bench: Bench, changes: dict[str, str]) -> None:
    answer = await bench.store(encoded(data_set()), **changes)
    assert answer.status == 0xA900
    assert not bench.events()


@pytest.mark.parametrize("data", [b"", b"\xff" * 300, encoded(data_set())[:30], b"<html>" * 50])
async def test_what_cannot_be_understood_is_kept_aside_with_its_reason(bench: Bench, data: bytes) -> None:
    answer = await bench.store(data)
    assert answer.status == 0xC000
    assert not bench.events()
    (letter,) = bench.publisher.topics[topics.DEAD_UNPROCESSABLE]
    headers = dict(letter.headers)
    kept = msgspec.json.decode(letter.value)
    assert headers["dead_reason"].decode() == answer.reason
    assert bench.blobs.objects[kept["uri"]] == data
    assert kept["uri"] in bench.blobs.durable


@pytest.mark.parametrize("data", [encoded(data_set()), b"rubbish" * 40])
async def test_a_broker_that_does_not_acknowledge_means_try_again(bench: Bench, data: bytes) -> None:
    bench.publisher.away = True
    answer = await bench.store(data)
    assert answer.status == 0xA700
    bench.publisher.away = False
    assert (await bench.store(data)).status != 0xA700


@pytest.mark.parametrize(("attribute", "value"), [("down", True), ("room", 10)])
async def test_a_store_that_cannot_keep_the_object_means_try_again(bench: Bench, attribute: str, value: Any) -> None:
    setattr(bench.blobs, attribute, value)
    answer = await bench.store(encoded(data_set()))
    assert answer.status == 0xA700
    assert not bench.publisher.topics[topics.OBSERVED_DICOM], "no event may point at an object that is not stored"
