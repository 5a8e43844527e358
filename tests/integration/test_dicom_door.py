"""The DICOM door as processes, with a real broker, a real store and a foreign sender (S1, S2, CC14, CC21)."""

import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from adapters.settings import Settings
from clinstream.sending import objects, store
from clinstream.sending.objects import StorageObject
from clinstream.sending.sent import Sent
from clinstream.sending.wrap import Wrapping
from schemas import envelope, ids, topics
from schemas.events import ImageObserved
from tests.support.dicom_objects import CT, EXPLICIT, IMPLICIT, data_set, encoded, part_10
from tests.support.doors import Doors, Log, doors_of, log_of

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "dicom"

# pynetdicom forgets to close the socket of a connection that was refused.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings) -> Iterator[Doors]:
    """Two processes of the DICOM door on one port."""
    with doors_of(kafka_settings, "door-dicom") as found:
        found.start("door-dicom", 1)
        yield found


@pytest.fixture
def log(doors: Doors) -> Iterator[Log]:
    """What the doors put onto the log during one test."""
    with log_of(doors.settings, topics.OBSERVED_DICOM, topics.DEAD_UNPROCESSABLE) as found:
        yield found


def target(doors: Doors, called: str = "CLINSTREAM", **changes: Any) -> store.Target:
    return store.Target("127.0.0.1", doors.settings.doors.dicom_port, called, **changes)


def new_object(tmp_path: Path, name: str = "object.dcm", syntax: str = EXPLICIT, **changes: Any) -> StorageObject:
    """An object with identities that no other test has."""
    uid = f"2.25.{uuid4().int}"
    path = tmp_path / name
    path.write_bytes(part_10(data_set(**{"SOPInstanceUID": uid, "StudyInstanceUID": uid, **changes}), syntax))
    found = objects.load(path, Wrapping())
    assert isinstance(found, StorageObject)
    return found


def send(doors: Doors, *items: StorageObject | Sent, **changes: Any) -> list[Sent]:
    return list(store.send(items, target(doors, **changes), pause=lambda seconds: None))


def observed(log: Log) -> list[ImageObserved]:
    read = [record for record in log.read() if dict(record.headers).get("ce_type") == ImageObserved.TYPE.encode()]
    return [envelope.read(ImageObserved, record.value) for record in read]


def dead(log: Log) -> list[dict[str, str]]:
    found = [dict(record.headers) for record in log.read()]
    return [{name: text.decode() for name, text in headers.items()} for headers in found if "dead_reason" in headers]


def test_the_door_answers_an_echo(doors: Doors) -> None:
    assert store.answers(target(doors))


def test_an_accepted_object_is_on_the_log_and_on_disk_byte_for_byte(doors: Doors, log: Log, tmp_path: Path) -> None:
    item = new_object(tmp_path)
    (line,) = send(doors, item)
    assert line == Sent(item.path, "accepted", "", item.event_id)
    (event,) = observed(log)
    assert str(event.event_id) == item.event_id
    file = (doors.store / event.blob.uri).read_bytes()
    assert file.endswith(item.data)
    assert ids.sha256_hex(file) == event.blob.sha256
    assert dcmread(doors.store / event.blob.uri).PatientID == "4711"
    assert event.sender == "CLINSTREAM_SEND"


def test_one_image_in_two_transfer_syntaxes_keeps_its_identity_and_both_its_encodings(
    doors: Doors, log: Log, tmp_path: Path
) -> None:
    uid = f"2.25.{uuid4().int}"
    first = new_object(tmp_path, "a", SOPInstanceUID=uid)
    second = new_object(tmp_path, "b", IMPLICIT, SOPInstanceUID=uid, PatientName="DOE JANE")
    assert [line.status for line in send(doors, first, second)] == ["accepted"] * 2
    one, other = sorted(observed(log), key=lambda event: event.transfer_syntax_uid)
    assert one.object_id == other.object_id == uid
    assert one.subject_id == other.subject_id
    assert (one.transfer_syntax_uid, other.transfer_syntax_uid) == (IMPLICIT, EXPLICIT)


def test_objects_of_private_and_unknown_classes_are_kept(doors: Doors, log: Log, tmp_path: Path) -> None:
    item = new_object(tmp_path, SOPClassUID="1.3.46.670589.11.0.0.12.2")
    (line,) = send(doors, item)
    assert line.status == "accepted"
    assert [event.sop_class_uid for event in observed(log)] == ["1.3.46.670589.11.0.0.12.2"]


def test_an_object_that_is_not_what_its_request_says_is_a_mismatch_kept_aside(
    doors: Doors, log: Log, tmp_path: Path
) -> None:
    item = new_object(tmp_path)
    lying = StorageObject(item.path, CT, "1.2.3.4", EXPLICIT, item.event_id, item.data)
    (line,) = send(doors, lying)
    assert line.status == "refused"
    assert line.reason.startswith("0xA900")
    assert not observed(log)
    (letter,) = dead(log)
    assert letter["dead_error_class"] == "DoesNotMatch"


@pytest.mark.parametrize(
    "data", [b"<html>Not Found</html>" * 30, b"\0" * 5000, encoded(data_set())[:60]], ids=["html", "zeros", "cut"]
)
def test_poison_is_kept_aside_with_its_reason_and_its_neighbours_are_stored(
    doors: Doors, log: Log, tmp_path: Path, data: bytes
) -> None:
    before, after = new_object(tmp_path, "a"), new_object(tmp_path, "b")
    poison = StorageObject("poison", CT, "1.2.3.4", EXPLICIT, "", data)
    lines = send(doors, before, poison, after)
    assert [line.status for line in lines] == ["accepted", "refused", "accepted"]
    assert lines[1].reason.startswith("0xC000")
    assert {str(event.event_id) for event in observed(log)} == {before.event_id, after.event_id}
    records = [record for record in log.read() if "dead_reason" in dict(record.headers)]
    (kept,) = [msgspec.json.decode(record.value) for record in records]
    assert (doors.store / kept["uri"]).read_bytes() == data


@pytest.mark.parametrize(
    ("changes", "priority", "simulated"),
    [
        ({}, "routine", False),
        ({"urgent": True}, "stat", False),
        ({"called": "CLINSTREAM_STAT"}, "stat", False),
        ({"called": "CLINSTREAM_SIM"}, "routine", True),
    ],
)
def test_the_sender_says_how_urgent_and_how_real_an_object_is(
    doors: Doors, log: Log, tmp_path: Path, changes: dict[str, Any], priority: str, simulated: bool
) -> None:
    send(doors, new_object(tmp_path), **changes)
    (event,) = observed(log)
    assert (event.priority, event.simulated) == (priority, simulated)


def test_a_foreign_sender_that_offers_several_transfer_syntaxes_is_understood(doors: Doors, log: Log) -> None:
    found = dcmread(io.BytesIO(part_10(data_set(SOPInstanceUID=f"2.25.{uuid4().int}"))))
    association = _associate(doors, [build_context(CT, [EXPLICIT, IMPLICIT])])
    assert association.is_established
    assert association.send_c_store(found).Status == 0x0000
    association.release()
    assert len(observed(log)) == 1


def _associate(doors: Doors, contexts: list[Any]) -> Any:
    entity = AE("FOREIGN")
    return entity.associate("127.0.0.1", doors.settings.doors.dicom_port, contexts=contexts)


def test_a_sender_that_vanishes_in_the_middle_of_an_object_harms_nobody(doors: Doors, log: Log, tmp_path: Path) -> None:
    association = _associate(doors, [build_context(CT, EXPLICIT)])
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    with socket.create_connection(("127.0.0.1", doors.settings.doors.dicom_port)) as garbage:
        garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    item = new_object(tmp_path)
    (line,) = send(doors, item)
    assert line.status == "accepted"


def test_the_journal_of_an_association_counts_answers_and_names_nobody(doors: Doors, tmp_path: Path) -> None:
    poison = StorageObject("poison", CT, "1.2.3.4", EXPLICIT, "", b"Doe^Jane" * 40)
    list(store.send([new_object(tmp_path), poison], target(doors), associations=1, pause=lambda seconds: None))
    lines = _journal_lines(doors, lambda line: line["statuses"] == {"0000": 1, "C000": 1})
    assert lines[-1]["reasons"]
    assert lines[-1]["sender"] == "CLINSTREAM_SEND"
    for index in (0, 1):
        assert "Doe" not in doors.log("door-dicom", index)
        assert "4711" not in doors.log("door-dicom", index)


def _journal_lines(doors: Doors, wanted: Any) -> list[dict[str, Any]]:
    """The line is written when the door has seen the connection close, moments after the sender."""
    give_up = time.monotonic() + 20
    while True:
        text = doors.log("door-dicom", 0) + doors.log("door-dicom", 1)
        lines = [msgspec.json.decode(line) for line in text.splitlines()]
        found = [line for line in lines if line["event"] == "association ended" and wanted(line)]
        if found or time.monotonic() > give_up:
            assert found, text
            return found
        time.sleep(0.05)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared DICOM files are not here")
def test_every_file_of_the_shared_collection_gets_a_defined_status(doors: Doors, log: Log) -> None:
    files = list(objects.files([SHARED]))
    assert len(files) == 403
    lines = list(
        store.send((objects.load(path, Wrapping()) for path in files), target(doors), pause=lambda seconds: None)
    )
    assert [line.path for line in lines] == [str(path) for path in files]
    assert {line.status for line in lines} == {"accepted", "refused", "unreadable"}
    assert all(line.reason for line in lines if line.status != "accepted")
    accepted = {line.event_id for line in lines if line.status == "accepted"}
    assert sum(line.status == "accepted" for line in lines) >= 370
    assert accepted == {str(event.event_id) for event in observed(log)}, "what was acknowledged is what is on the log"
    assert store.answers(target(doors))


@pytest.mark.skipif(subprocess.run(["which", "storescu"], capture_output=True).returncode != 0, reason="no DCMTK here")
def test_dcmtk_stores_through_the_door(doors: Doors, log: Log, tmp_path: Path) -> None:
    item = new_object(tmp_path)
    place = ["127.0.0.1", str(doors.settings.doors.dicom_port)]
    done = subprocess.run(["storescu", "-v", "-aec", "CLINSTREAM", *place, item.path], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (event,) = observed(log)
    assert event.object_id == item.sop_instance_uid


def test_both_processes_of_the_door_take_associations(doors: Doors) -> None:
    def answered() -> list[float]:
        line = 'clinstream_door_requests_total{door="dicom",status="echo"}'
        return [doors.metric(line, "door-dicom", index) or 0.0 for index in (0, 1)]

    before = answered()
    for _ in range(24):  # the kernel spreads connections by a hash of the sender's port
        assert store.answers(target(doors))
    assert all(after > start for after, start in zip(answered(), before, strict=True))


def test_a_door_told_to_end_answers_what_is_under_way_and_is_gone(kafka_settings: Settings, tmp_path: Path) -> None:
    with doors_of(kafka_settings, "door-dicom") as doors, log_of(doors.settings, topics.OBSERVED_DICOM) as log:
        items = [new_object(tmp_path, str(number)) for number in range(40)]
        lines: list[Sent] = []
        sending = threading.Thread(
            target=lambda: lines.extend(store.send(items, target(doors), associations=1, pause=lambda seconds: None))
        )
        sending.start()
        while not log.read():
            assert sending.is_alive()
        assert doors.stop("door-dicom") == 0
        sending.join(60)
        accepted = {line.event_id for line in lines if line.status == "accepted"}
        assert {str(event.event_id) for event in observed(log)} >= accepted
        assert len(accepted) == 40, "an association at work is let finish"
        (again,) = send(doors, items[0])
        assert again.status == "retry"


def test_a_door_killed_at_work_has_lost_nothing_that_it_acknowledged(kafka_settings: Settings, tmp_path: Path) -> None:
    with doors_of(kafka_settings, "door-dicom") as doors, log_of(doors.settings, topics.OBSERVED_DICOM) as log:
        items = [new_object(tmp_path, str(number)) for number in range(60)]
        lines: list[Sent] = []

        def run() -> None:
            lines.extend(store.send(items, target(doors), associations=2, pause=time.sleep))

        sending = threading.Thread(target=run)
        sending.start()
        while len(log.read()) < 5:
            assert sending.is_alive()
        doors.stop("door-dicom", number=signal.SIGKILL)
        doors.start("door-dicom")
        sending.join(120)
        accepted = {line.event_id for line in lines if line.status == "accepted"}
        on_log = observed(log)
        assert accepted <= {str(event.event_id) for event in on_log}
        for event in on_log:
            assert ids.sha256_hex((doors.store / event.blob.uri).read_bytes()) == event.blob.sha256


def test_below_the_disk_watermark_associations_are_rejected_transiently(kafka_settings: Settings) -> None:
    with doors_of(kafka_settings) as doors:
        doors.start("door-dicom", CLINSTREAM_DOOR_DISK_WATERMARK_BYTES=str(1 << 60))
        association = _associate(doors, [build_context(Verification)])
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)


def test_a_door_without_a_pseudonym_key_says_so_and_does_not_open(kafka_settings: Settings) -> None:
    with doors_of(kafka_settings) as doors:
        (doors.home / "secrets" / "pseudonym.key").write_text("ab")
        done = subprocess.run(
            [sys.executable, "-m", "producers", "door-dicom"],
            env=doors.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert "pseudonym key" in done.stderr


def test_more_associations_than_one_process_takes_are_rejected_transiently_and_the_others_go_on(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    with doors_of(kafka_settings, "door-dicom") as doors:
        taken = [_associate(doors, [build_context(Verification)]) for _ in range(32)]
        assert all(association.is_established for association in taken)
        one_more = _associate(doors, [build_context(Verification)])
        assert one_more.is_rejected
        answer = one_more.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        assert taken[0].send_c_echo().Status == 0x0000
        for association in taken:
            association.release()
        (line,) = list(store.send([new_object(tmp_path)], target(doors), pause=time.sleep))
        assert line.status == "accepted"


def test_stray_connections_that_ask_for_nothing_do_not_keep_senders_out(doors: Doors, tmp_path: Path) -> None:
    place = ("127.0.0.1", doors.settings.doors.dicom_port)
    strays = [socket.create_connection(place) for _ in range(70)]  # more than both processes take associations
    try:
        (line,) = send(doors, new_object(tmp_path))
        assert line.status == "accepted"
    finally:
        for stray in strays:
            stray.close()
