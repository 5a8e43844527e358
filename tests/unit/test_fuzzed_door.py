"""Damaged objects and damaged associations: each gets a defined answer, neighbours none the worse (CC20, S2)."""

import gc
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_context, evt

from clinstream import fuzzing
from producers.store_request import CANNOT_UNDERSTAND, StoreRequest, judge
from tests.support.dicom_in_process import InProcess, listening
from tests.support.dicom_objects import CT, EXPLICIT, data_set

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "dicom"
MUTATIONS, STREAMS, SEED = 5_000, 80, 20261128

# pydicom warns of odd values, which fuzzing makes by the thousand; pynetdicom forgets sockets that were cut off.
pytestmark = [
    pytest.mark.filterwarnings("ignore:::pydicom"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What pynetdicom's own sender leaves open is collected here, not in somebody else's test."""
    yield
    gc.collect()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared DICOM files are not here")
def test_every_damaged_object_gets_a_defined_status_and_the_memory_stays_flat() -> None:
    found = fuzzing.fuzz(fuzzing.requests_of(SHARED), SEED, MUTATIONS)
    assert found.undefined == []
    assert sum(found.statuses.values()) == MUTATIONS
    assert set(found.statuses) == {"0000", "B007", "A900", "C000"}, "the damage reaches every answer"
    assert found.grown_bytes < 32 << 20


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared DICOM files are not here")
def test_the_same_seed_is_the_same_damage() -> None:
    originals = fuzzing.requests_of(SHARED)
    assert [fuzzing.mutated(originals, 7, n) for n in range(20)] == [
        fuzzing.mutated(originals, 7, n) for n in range(20)
    ]
    assert fuzzing.mutated(originals, 7, 0) != fuzzing.mutated(originals, 8, 0)


def test_an_element_of_a_representation_that_does_not_exist_is_not_understood_instead_of_tried_again() -> None:
    """Found by the fuzzer: pydicom raised only when the value was looked at."""
    head = b"\x08\x00\x16\x00UI\x04\x001.2\x00\x08\x00\x18\x00UI\x04\x001.3\x00"
    broken = head + b"\x10\x00\x20\x00L\x01\x04\x00"
    request = StoreRequest(broken, EXPLICIT, "1.2", "1.3", 0, "A", "B")
    assert judge(request, fuzzing.KEY, fuzzing.NOW).answer.status == CANNOT_UNDERSTAND


def test_damaged_associations_end_and_leave_the_door_as_it_was() -> None:
    with listening(network_timeout_s=5.0) as door:
        stream = _recorded(door)
        before = threading.active_count()
        for number in range(STREAMS):
            _send(door, _damaged(stream, random.Random(f"{SEED}:{number}")))
        assert _stores(door), "a proper sender is served as before"
        _until(lambda: threading.active_count() <= before + 2)
        reasons = Counter(reason for entry in door.journal for reason in entry.reasons)
        assert "the door could not handle the request" not in reasons


def _recorded(door: InProcess) -> bytes:
    """What a sender puts on the wire from association to release."""
    sent: list[bytes] = []
    assert _stores(door, [(evt.EVT_DATA_SENT, lambda event: sent.append(event.data))])
    return b"".join(sent)


def _stores(door: InProcess, handlers: list[Any] | None = None) -> bool:
    association = AE("FUZZ").associate(
        "127.0.0.1", door.port, contexts=[build_context(CT, EXPLICIT)], evt_handlers=handlers or []
    )
    found = data_set()
    found.ensure_file_meta()
    found.file_meta.TransferSyntaxUID = EXPLICIT
    stored = association.is_established and association.send_c_store(found).get("Status") == 0x0000
    association.release()
    return bool(stored)


def _damaged(stream: bytes, dice: random.Random) -> bytes:
    data = bytearray(stream)
    for _ in range(dice.randint(1, 3)):
        fuzzing.DAMAGES[dice.randrange(len(fuzzing.DAMAGES))](data, dice)
    return bytes(data)


def _send(door: InProcess, data: bytes) -> None:
    """Sends all, says that nothing follows, and reads until the door closes."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:
            return  # reset by the door: an answer as well


def _until(holds: Any) -> None:
    waiting = threading.Event()
    for _ in range(200):
        if holds():
            return
        waiting.wait(0.05)
    raise AssertionError("it never became so")
