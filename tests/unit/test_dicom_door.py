"""Associations with the real DICOM door in this process: who gets one, its bounds, TLS, its journal (CC14, S1)."""

import gc
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from producers.dicom_admission import admission
from producers.dicom_server import tls_context
from producers.door import Limits
from schemas import topics
from schemas.errors import SettingsError
from tests.support import dicom_pki
from tests.support.dicom_in_process import InProcess, listening
from tests.support.dicom_objects import CT, EXPLICIT, data_set, part_10
from tests.support.dicom_pki import Pki

# pynetdicom forgets to close the socket of a connection that was refused.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning", "ignore:unclosed <ssl:ResourceWarning"
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What pynetdicom's own sender leaves open is collected here, not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    if not which("openssl"):
        pytest.skip("no openssl here")
    return dicom_pki.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def door() -> Iterator[InProcess]:
    with listening() as found:
        yield found


def associate(door: InProcess, calling: str = "CT1", called: str = "CLINSTREAM", **changes: Any) -> Any:
    entity = AE(calling)
    contexts = [build_context(Verification), build_context(CT, EXPLICIT)]
    return entity.associate("127.0.0.1", door.port, contexts=contexts, ae_title=called, **changes)


def an_object(**changes: Any) -> Any:
    found = data_set(**{"SOPInstanceUID": generate_uid(), **changes})
    found.ensure_file_meta()
    found.file_meta.TransferSyntaxUID = EXPLICIT
    return found


def test_the_journal_tells_who_came_from_where_and_what_was_answered(door: InProcess) -> None:
    door.ended.clear()
    association = associate(door)
    statuses = [association.send_c_store(an_object(**changes)).Status for changes in ({}, {"StudyInstanceUID": None})]
    association.release()
    assert statuses == [0x0000, 0xB007], "stored, and stored with a warning: no Study Instance UID"
    entry = door.last()
    assert (entry.sender, entry.called, entry.address, entry.ended) == ("CT1", "CLINSTREAM", "127.0.0.1", "released")
    assert entry.statuses == {"0000": 1, "B007": 1}
    assert entry.classes == {CT: 2}
    assert entry.syntaxes == {EXPLICIT: 2}
    assert list(entry.reasons) == ["stored; it has no Study Instance UID (0020,000D)"]
    assert len(door.publisher.topics[topics.OBSERVED_DICOM]) >= 2


@pytest.mark.parametrize(("calling", "called", "reason"), [("MR", "CLINSTREAM", 3), ("CT1", "PACS", 7)])
def test_who_is_not_on_the_list_is_rejected_for_good_and_in_the_journal(calling: str, called: str, reason: int) -> None:
    with listening(admission=admission(["CT1@127.0.0.0/8"], ["CLINSTREAM*"])) as door:
        refused = associate(door, calling, called)
        assert refused.is_rejected
        answer = refused.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, reason)
        entry = door.last()
        assert entry.ended == "rejected"
        assert "AE title" in next(iter(entry.reasons))
        welcome = associate(door, "CT1", "CLINSTREAM_STAT")
        assert welcome.is_established
        welcome.release()


def test_one_association_too_many_and_a_full_disk_are_rejected_transiently() -> None:
    """PS3.8: result 2, source 3, reason 2: a sender comes again."""
    with listening(associations=1) as door:
        first = associate(door)
        second = associate(door)
        answer = second.acceptor.primitive
        assert second.is_rejected
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        first.release()
    with listening(Limits(5.0, 1000), free_bytes=10) as door:
        full = associate(door)
        assert full.is_rejected
        assert full.acceptor.primitive.result == 2
        assert dict(door.last().reasons) == {"the disk is almost full": 1}


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(5.0, 1000, waiting_messages=0), "too much waits for the broker's acknowledgement"),
        (Limits(5.0, 1000, waiting_bytes=0), "too much waits for the object store"),
    ],
)
def test_what_finds_no_room_in_the_middle_of_an_association_is_out_of_resources(limits: Limits, why: str) -> None:
    roomy = Limits(5.0, 1000)
    with listening(roomy) as door:
        association = associate(door)
        door.scp._door._limits = limits
        answer = association.send_c_store(an_object())
        door.scp._door._limits = roomy
        again = association.send_c_store(an_object())
        association.release()
    assert (answer.Status, answer.ErrorComment) == (0xA700, why[:64])
    assert again.Status == 0x0000


def test_an_object_larger_than_the_door_takes_ends_its_association_and_not_the_door() -> None:
    with listening(object_bytes=100_000) as door:
        large = associate(door)
        answer = large.send_c_store(an_object(PixelData=bytes(400_000), Rows=1000, Columns=200))
        assert "Status" not in answer
        assert dict(door.last().reasons).keys() == {"the object is larger than the door takes"}
        small = associate(door)
        assert small.send_c_store(an_object()).Status == 0x0000
        small.release()


def test_a_pdu_that_announces_gigabytes_is_not_waited_for() -> None:
    with listening() as door:
        with socket.create_connection(("127.0.0.1", door.port), timeout=20) as hostile:
            hostile.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + bytes(1000))
            assert hostile.recv(100) == b"", "the connection is closed, nothing collected"
        assert associate(door).is_established


def test_the_door_offers_the_pdu_length_that_is_set() -> None:
    with listening(pdu_bytes=32_768) as door:
        association = associate(door)
        assert association.acceptor.maximum_length == 32_768
        association.release()


def test_over_tls_the_door_takes_who_trusts_it_and_nobody_in_clear(pki: Pki) -> None:
    with listening(tls=tls_context(pki.door, pki.door_key, None)) as door:
        context = ssl.create_default_context(cafile=str(pki.authority))
        association = associate(door, tls_args=(context, "localhost"))
        assert association.send_c_store(an_object()).Status == 0x0000
        association.release()
        with socket.create_connection(("127.0.0.1", door.port)):  # says nothing: holds up nobody
            assert associate(door, tls_args=(context, "localhost")).is_established
        entity = AE("PLAIN")
        entity.acse_timeout = 10
        assert not entity.associate("127.0.0.1", door.port, contexts=[build_context(Verification)]).is_established


@pytest.mark.skipif(which("storescu") is None, reason="no DCMTK here")
def test_dcmtk_sends_over_tls_where_the_door_asks_for_its_certificate(pki: Pki, tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(part_10(data_set(SOPInstanceUID="1.2.3.4.5")))
    with listening(tls=tls_context(pki.door, pki.door_key, pki.authority)) as door:
        place = ["127.0.0.1", str(door.port), str(path)]
        secure = ["storescu", "+tls", str(pki.sender_key), str(pki.sender), "+cf", str(pki.authority)]
        done = subprocess.run([*secure, *place], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert len(door.publisher.topics[topics.OBSERVED_DICOM]) == 1
        anonymous = ["storescu", "+tla", "+cf", str(pki.authority)]
        assert subprocess.run([*anonymous, *place], capture_output=True, timeout=60).returncode != 0


def test_a_certificate_that_cannot_be_used_is_said_without_its_content(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("SECRET")
    with pytest.raises(SettingsError) as said:
        tls_context(broken, broken, None)
    assert "SECRET" not in str(said.value)
