"""C-STORE the short way, with the real DICOM door in this process: whatever way a data set is cut, it is one (S1)."""

import asyncio
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from producers.dicom_command import StoreCommand, read_store_request, store_response
from producers.dicom_room import HEADROOM, Room
from producers.door import Limits
from schemas import ids, topics
from tests.support.dicom_in_process import InProcess, listening
from tests.support.dicom_objects import CT, EXPLICIT, data_set, encoded

UID = "1.2.3.4.5"


@pytest.fixture(scope="module")
def door() -> Iterator[InProcess]:
    with listening() as found:
        yield found


def command(uid: str = UID, **changes: Any) -> bytes:
    """A C-STORE-RQ as pynetdicom encodes it, without its data set."""
    asked = C_STORE()
    asked.MessageID, asked.Priority, asked.AffectedSOPClassUID, asked.AffectedSOPInstanceUID = 7, 1, CT, uid
    message = C_STORE_RQ()
    message.primitive_to_message(asked)
    message.command_set.CommandDataSetType = 1
    for name, value in changes.items():
        setattr(message.command_set, name, value)
    found: bytes = encode(message.command_set, True, True)
    return found


def content(uid: str = UID, size: int = 3000) -> bytes:
    return encoded(data_set(SOPInstanceUID=uid, PixelData=bytes(range(250)) * (size // 250)))


class Talk:
    """An association over which P-DATA-TF PDUs are sent as a test has made them."""

    def __init__(self, door: InProcess) -> None:
        entity = AE("CT1")
        entity.dimse_timeout = 20
        place = ("127.0.0.1", door.port)
        self.association: Any = entity.associate(*place, contexts=[build_context(CT, EXPLICIT)], ae_title="CLINSTREAM")
        self.association._reactor_checkpoint.clear()  # answers are taken here

    def send(self, *pdus: Sequence[tuple[int, bytes]]) -> None:
        """Each PDU is (control header, fragment) pairs."""
        for pdu in pdus:
            primitive = P_DATA()
            primitive.presentation_data_value_list = [[1, bytes([control]) + part] for control, part in pdu]
            self.association.dul.send_pdu(primitive)

    def answer(self) -> Any:
        return self.association.dimse.get_msg(block=True)[1]

    def close(self) -> None:
        self.association._reactor_checkpoint.set()
        self.association.release()


@pytest.fixture
def talk(door: InProcess) -> Iterator[Talk]:
    found = Talk(door)
    yield found
    found.close()


def cut(data: bytes, size: int) -> list[tuple[int, bytes]]:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return [(2 if number == len(parts) - 1 else 0, part) for number, part in enumerate(parts)]


def ways(data: bytes) -> dict[str, list[list[tuple[int, bytes]]]]:
    """The same C-STORE in other PDUs."""
    asked = command()
    return {
        "a PDU each": [[(3, asked)], [(2, data)]],
        "all in one PDU": [[(3, asked), (2, data)]],
        "fragments in one PDU": [[(3, asked)], cut(data, 700)],
        "a PDU a fragment": [[(3, asked)], *([part] for part in cut(data, 611))],
        "an empty last fragment": [[(3, asked)], [(0, data)], [(2, b"")]],
        "the command in two": [[(1, asked[:50])], [(3, asked[50:])], [(2, data)]],
    }


@pytest.mark.parametrize("way", list(ways(b"x")))
def test_however_it_is_cut_a_data_set_is_the_same_object(door: InProcess, talk: Talk, way: str) -> None:
    data = content(size=90_000)
    before = len(door.publisher.topics.get(topics.OBSERVED_DICOM, []))
    for _ in range(2):
        talk.send(*ways(data)[way])
        answer = talk.answer()
        assert (answer.Status, answer.MessageIDBeingRespondedTo, answer.AffectedSOPInstanceUID) == (0, 7, UID)
    sent = [dict(each.headers)["ce_id"] for each in door.publisher.topics[topics.OBSERVED_DICOM][before:]]
    assert sent == [str(ids.event_id(UID, ids.sha256_hex(data))).encode()] * 2
    stored = {uri: file for uri, file in door.blobs.objects.items() if file.endswith(data)}
    assert [uri.rpartition("/")[2] for uri in stored] == [ids.sha256_hex(file) for file in stored.values()]
    assert len(stored) == 1


@pytest.mark.parametrize(
    "breach",
    [[[(2, b"\0" * 40), (3, b"")]], [[(0, b"\0" * 40)], [(3, command())]], [[(0, b"\0" * 40), (1, b"\0" * 9)]]],
)
def test_what_breaks_the_protocol_ends_its_own_association_only(
    door: InProcess, breach: list[list[tuple[int, bytes]]]
) -> None:
    """What follows a last fragment is nothing; a command within a data set is a breach."""
    broken, neighbour = Talk(door), Talk(door)
    broken.send([(3, command())], *breach)
    found = broken.answer()
    assert found is None or found.Status == 0xC000
    neighbour.send([(3, command())], [(2, content())])
    assert neighbour.answer().Status == 0x0000
    broken.close()
    neighbour.close()


def test_a_sender_that_is_gone_within_the_head_of_a_request_is_lost(door: InProcess) -> None:
    talk = Talk(door)
    door.ended.clear()
    talk.association.dul.socket.send(struct.pack(">BxIH", 4, 100, 0))
    talk.association._reactor_checkpoint.set()
    talk.association.dul.socket._shutdown_socket()
    assert door.last().ended == "lost"


@pytest.mark.parametrize("how", ["aborted", "lost"])
def test_a_sender_that_is_gone_within_a_data_set_leaves_nothing(door: InProcess, how: str) -> None:
    before = len(door.publisher.topics.get(topics.OBSERVED_DICOM, []))
    talk = Talk(door)
    talk.send([(3, command(uid="1.2.3.99"))], [(0, content(uid="1.2.3.99"))])
    door.ended.clear()
    talk.association._reactor_checkpoint.set()
    if how == "lost":
        talk.association.dul.socket._shutdown_socket()
    else:
        talk.association.abort()
    assert door.last().ended == how
    assert len(door.publisher.topics.get(topics.OBSERVED_DICOM, [])) == before


def test_a_store_that_is_late_still_has_the_bytes_it_was_given() -> None:
    """The sender was told "try again" and sent the next object over the same association meanwhile."""
    with listening(Limits(0.3, 1000)) as door:
        real, waits = door.blobs.put, asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def late(uri: str, data: bytes | memoryview, *, durable: bool) -> None:
            loops.append(asyncio.get_running_loop())
            if len(loops) == 1:
                await waits.wait()
            await real(uri, data, durable=durable)

        door.blobs.put = late  # type: ignore[method-assign]
        first, second = generate_uid(), generate_uid()
        talk = Talk(door)
        talk.send([(3, command(uid=first))], [(2, content(uid=first))])
        assert talk.answer().Status == 0xA700
        talk.send([(3, command(uid=second))], [(0, content(uid=second))])
        loops[0].call_soon_threadsafe(waits.set)
        talk.send([(2, b"")])
        assert talk.answer().Status == 0x0000
        talk.close()
        assert len(door.blobs.objects) == 2
        for uri, file in door.blobs.objects.items():
            assert uri.endswith(ids.sha256_hex(file))


def test_a_request_is_read_as_pynetdicom_means_it_and_an_unusual_one_is_left_to_it() -> None:
    asked = read_store_request(command())
    assert asked == StoreCommand(7, CT, UID, 1)
    moved = command(MoveOriginatorApplicationEntityTitle="PACS", MoveOriginatorMessageID=3)
    assert read_store_request(moved) == asked
    for changes in (
        {"CommandField": 0x0030},
        {"CommandDataSetType": 0x0101},
        {"Priority": 9},
        {"AffectedSOPInstanceUID": ""},
        {"ErrorComment": "what a request does not have"},
    ):
        assert read_store_request(command(**changes)) is None, changes
    for broken in (b"", command()[:-3], command() + b"\0", struct.pack("<HHI", 8, 5, 0) + command()):
        assert read_store_request(broken) is None


@pytest.mark.parametrize(("status", "reason"), [(0, ""), (0xA700, "x" * 80), (0xC000, "odd")])
def test_a_response_is_one_that_pynetdicom_reads(status: int, reason: str) -> None:
    pdu = P_DATA_TF()
    pdu.decode(store_response(5, StoreCommand(7, CT, UID, 1), status, reason))
    message = C_STORE_RSP()
    assert message.decode_msg(pdu.to_primitive())
    answer = message.message_to_primitive()
    assert (message.context_id, answer.MessageIDBeingRespondedTo, answer.Status) == (5, 7, status)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, UID)
    assert (answer.ErrorComment or "") == reason[:64]
    assert decode(message.encoded_command_set, True, True).CommandDataSetType == 0x0101


def test_a_room_is_found_again_unless_somebody_still_has_what_lies_in_it() -> None:
    room = Room()
    for size in (10, 500_000):
        room.begin()
        for _ in range(2):
            with room.next(size) as view:
                view[:] = b"a" * size
    kept = room.whole()
    assert bytes(kept[HEADROOM:]) == b"a" * 1_000_000
    room.begin()
    with room.next(5) as view:
        view[:] = b"bbbbb"
    assert bytes(kept[HEADROOM : HEADROOM + 5]) == b"aaaaa"
    assert bytes(room.whole()[HEADROOM:]) == b"bbbbb"
    room.clear()
    assert room.size == 0
