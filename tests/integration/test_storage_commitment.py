"""Storage commitment over the real door, broker, store and PostgreSQL; pynetdicom as SCU, SIGKILL included (S1)."""

import asyncio
import json
import queue
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.pixels import open_store
from adapters.settings import Settings
from consumers.studies import Studies
from schemas import envelope, topics
from schemas.events import ImageObserved
from schemas.studies import Quiet
from tests.support import steps
from tests.support.dicom_objects import CT, EXPLICIT, data_set
from tests.support.doors import Doors, doors_of, free_ports, log_of

TITLE = "COMMITTED"
UIDS = ["1.2.826.0.1.3680043.8.498.91.1", "1.2.826.0.1.3680043.8.498.91.2"]


@pytest.fixture(scope="module")
def port() -> int:
    """Where the sender takes reports when it is there."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def promise(port: int) -> dict[str, str]:
    """The settings of a door that promises."""
    return {
        "CLINSTREAM_DOOR_STORAGE_COMMITMENT": "true",
        "CLINSTREAM_DOOR_RETENTION_DAYS": "30",
        "CLINSTREAM_DOOR_COMMITMENT_PEERS": json.dumps({TITLE: f"127.0.0.1:{port}"}),
    }


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings, database: Settings, promise: dict[str, str]) -> Iterator[Doors]:
    """One process of the DICOM door, with two objects stored and noted."""
    with doors_of(kafka_settings, database=database) as found, log_of(found.settings, topics.OBSERVED_DICOM) as log:
        found.start("door-dicom", 0, **promise)
        with_association(found, store_all)
        note(found, [envelope.read(ImageObserved, record.value) for record in log.read()])
        yield found


def note(doors: Doors, events: list[ImageObserved]) -> None:
    """What the process `studies` does with these events."""

    async def run() -> None:
        database, blobs = Database.open(doors.settings, SystemClock()), open_store(doors.settings.store_url)
        with ThreadPoolExecutor(1) as decoders:
            step = Studies(store=blobs, archive=database.archive, decoders=decoders, quiet=Quiet())
            await step([steps.delivery(event) for event in events])
        await blobs.close()
        await database.close()

    asyncio.run(run())


def with_association(doors: Doors, work: Any, title: str = TITLE, handlers: Any = ()) -> Any:
    """Does something on an association with the door."""
    entity = AE(title)
    entity.add_requested_context(CTImageStorage, EXPLICIT)
    entity.add_requested_context(StorageCommitmentPushModel)
    sender = entity.associate(
        "127.0.0.1", doors.settings.doors.dicom_port, ae_title="CLINSTREAM", evt_handlers=handlers
    )
    assert sender.is_established
    try:
        return work(sender)
    finally:
        sender.release()


def store_all(sender: Any) -> None:
    """C-STORE of the objects, successful."""
    for uid in UIDS:
        found = data_set(SOPInstanceUID=uid)
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = EXPLICIT
        assert sender.send_c_store(found).Status == 0


def ask(sender: Any, transaction: str, *uids: str, kind: str = CT) -> int:
    """N-ACTION; its status."""
    information = Dataset()
    information.TransactionUID = transaction
    items = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, uid
        items.append(item)
    information.ReferencedSOPSequence = items
    status, _ = sender.send_n_action(information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    return int(status.Status)


def taking(reports: "queue.Queue[tuple[int, Dataset]]") -> Any:
    """Handlers that take reports; one is in the queue once its answer has left: a release must not overtake that."""
    unanswered: list[tuple[int, Dataset]] = []

    def take(event: Any) -> tuple[int, None]:
        unanswered.append((event.event_type, event.event_information))
        return 0x0000, None

    def left(_event: Any) -> None:
        while unanswered:
            reports.put(unanswered.pop(0))

    return [(evt.EVT_N_EVENT_REPORT, take), (evt.EVT_PDU_SENT, left)]


def awaited(reports: "queue.Queue[tuple[int, Dataset]]", transaction: str) -> tuple[int, Dataset]:
    """The report of a transaction; one whose acceptance was lost may come again before it."""
    while True:
        kind, report = reports.get(timeout=150)
        if report.TransactionUID == transaction:
            return kind, report


def named(report: Dataset, keyword: str) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in report.get(keyword, None) or ()]


def test_a_sender_that_waits_on_its_association_gets_the_report_there(doors: Doors) -> None:
    reports: queue.Queue[tuple[int, Dataset]] = queue.Queue()

    def all_kept(sender: Any) -> None:
        assert ask(sender, "1.2.3.1", *UIDS) == 0x0000
        kind, report = awaited(reports, "1.2.3.1")
        assert kind == 1
        assert named(report, "ReferencedSOPSequence") == UIDS

    def another_class(sender: Any) -> None:
        assert ask(sender, "1.2.3.2", UIDS[0], kind="1.2.840.10008.5.1.4.1.1.4") == 0x0000
        kind, report = awaited(reports, "1.2.3.2")
        assert kind == 2
        assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in report.FailedSOPSequence] == [
            (UIDS[0], 0x0119)
        ]

    with_association(doors, all_kept, handlers=taking(reports))
    with_association(doors, another_class, handlers=taking(reports))


def test_what_cannot_be_promised_is_refused_at_once(doors: Doors) -> None:
    assert with_association(doors, lambda sender: ask(sender, "1.2.3.3", *UIDS), title="STRANGER") == 0x0110
    assert with_association(doors, lambda sender: ask(sender, "1.2.3.4")) == 0x0115


def test_a_request_that_was_answered_is_reported_after_a_kill_on_an_association_of_its_own(
    doors: Doors, promise: dict[str, str], port: int
) -> None:
    assert with_association(doors, lambda sender: ask(sender, "1.2.3.5", *UIDS)) == 0x0000
    doors.stop("door-dicom", number=signal.SIGKILL)
    reports: queue.Queue[tuple[int, Dataset]] = queue.Queue()
    entity = AE(TITLE)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=taking(reports))
    try:
        doors.start("door-dicom", 0, **promise)
        kind, report = awaited(reports, "1.2.3.5")
        assert kind == 1
        assert named(report, "ReferencedSOPSequence") == UIDS
    finally:
        server.shutdown()
