"""What becomes of a row of the export queue: sent, put off, given up, or not sent at all (CC20)."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import UUID, uuid4

import highdicom
import pytest

import triton_models
from adapters.database import Export, ExportAction, ExportState, StoredResult
from adapters.database.study_reports import StudyReport, View
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.receivers import Parcel, Receipt, open_receiver
from adapters.settings import Destination, ExportSettings
from consumers.deliveries import Deliveries
from consumers.exporting import account, codes, package
from schemas import ids
from schemas.errors import ReceiverAway, ReceiverRefused, StoreUnavailable
from tests.support.results_out import CHEST, chest, chest_result

OF_STUDY = "1.2.826.0.1.3680043.8.498.1.2"
CARDS = {CHEST: triton_models.discover()[CHEST].card}
RESULT = chest_result(observed=1_700_000_000.0)
VIEW = View(RESULT.object_id, RESULT.answer.event_id, "sub-1", "pixels/1", "answered", RESULT.result_id)


def report(revision: int = 1, follows: UUID | None = None, **changes: Any) -> StudyReport:
    """What is told of the study of that result."""
    values: dict[str, Any] = {
        "report_id": uuid4(),
        "study_id": "stu-1",
        "task": CHEST,
        "revision": revision,
        "digest": "",
        "decision": "finding",
        "views": (VIEW,),
        "changed": {},
        "follows": follows,
        "made_at": datetime.fromtimestamp(1_700_000_000, UTC),
        **changes,
    }
    return StudyReport(**values)


class Queue:
    """One row and the result that it is about."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.reports = [report()]
        self.row = Export(
            export_id=uuid4(),
            result_id=self.reports[0].report_id,
            task=CHEST,
            object_id=RESULT.object_id,
            subject_id="sub-1",
            action="publish",
            destination="pacs",
            urgent=False,
            until=clock.now() + timedelta(hours=24),
            filed_at=clock.now(),
            next_at=clock.now(),
        )
        self.stored: StoredResult | None = StoredResult(RESULT, clock.now(), None, None)
        self.told: set[UUID] = set()

    async def claim_exports(self, limit: int, lease: timedelta) -> list[Export]:
        now = self.clock.now()
        if self.row.state != "waiting" or self.row.next_at is None or self.row.next_at > now:
            return []
        self.row = replace(self.row, attempts=self.row.attempts + 1, next_at=now + lease)
        return [self.row]

    async def end_export(self, export_id: UUID, state: ExportState, reason: str, sent: Sequence[str] = ()) -> None:
        self.row = replace(self.row, state=state, reason=reason, sent=tuple(sent))

    async def put_off_export(self, export_id: UUID, until: datetime, reason: str, refusals: int) -> None:
        self.row = replace(self.row, next_at=until, reason=reason, refusals=refusals)

    async def delivered(self, result: UUID, destination: str) -> list[tuple[str, str, list[str]]]:
        return [("publish", "", ["1.2.3"])] if result in self.told else []

    async def waiting_exports(self) -> int:
        return int(self.row.state == "waiting")

    async def result(self, result_id: UUID) -> StoredResult | None:
        return self.stored

    async def study_report(self, report: UUID) -> StudyReport | None:
        return next((each for each in self.reports if each.report_id == report), None)

    async def study_report_chain(self, report: UUID) -> list[StudyReport]:
        return self.reports

    def again(self, action: ExportAction = "publish", about: int = 0) -> None:
        """The row waits once more, for the report of that place."""
        result = self.reports[about].report_id
        self.row = replace(self.row, action=action, result_id=result, state="waiting", next_at=self.clock.now())


class Node:
    """A receiver that says what the test wants."""

    def __init__(self) -> None:
        self.says: list[Exception] = []
        self.got: list[Parcel] = []

    def probe(self) -> None:
        return None

    def deliver(self, parcel: Parcel) -> Receipt:
        if self.says:
            raise self.says.pop(0)
        self.got.append(parcel)
        return Receipt(tuple(str(each.SOPInstanceUID) for each in parcel.objects), confirmed=True)


class Desk:
    """The sender with all that it needs, and time that the test moves."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.clock, self.node, self.store = FakeClock(), Node(), FakeBlobs()
        self.queue = Queue(self.clock)
        self.store.objects["pixels/1"] = chest()
        settings = ExportSettings(destinations={"pacs": Destination()})
        self.sender = Deliveries(
            CARDS, settings, self.queue, self.store, threads, self.clock, receiver=lambda _: self.node
        )

    async def until_over(self) -> int:
        """Tries, always as soon as the row is due, until it has ended; how many tries that took."""
        tries = 0
        while self.queue.row.state == "waiting":
            assert self.queue.row.next_at is not None
            await self.clock.advance(max(0.0, (self.queue.row.next_at - self.clock.now()).total_seconds()))
            tries += await self.sender.once()
        return tries


@pytest.fixture
def desk() -> Iterator[Desk]:
    with ThreadPoolExecutor(1) as threads:
        yield Desk(threads)


async def test_a_receiver_that_is_away_is_asked_again_until_it_takes_the_same_objects(desk: Desk) -> None:
    """CC20: retried with back-off, idempotent."""
    desk.node.says = [ReceiverAway("it does not answer")] * 6
    began = desk.clock.time()
    assert await desk.until_over() == 7
    assert desk.clock.time() - began == 2 + 4 + 8 + 16 + 32 + 64
    assert desk.queue.row.state == "confirmed"
    (parcel,) = desk.node.got
    assert desk.queue.row.sent == tuple(str(each.SOPInstanceUID) for each in parcel.objects)


async def test_a_receiver_that_stays_away_until_the_time_is_over_is_given_up_with_the_reason(desk: Desk) -> None:
    """`deliver_within`: an old result never leaves late; the row stays to be seen and sent again by hand."""
    desk.node.says = [ReceiverAway("it does not answer")] * 1000
    desk.queue.row = replace(desk.queue.row, until=desk.clock.now() + timedelta(minutes=2))
    await desk.until_over()
    assert (desk.queue.row.state, desk.node.got) == ("failed", [])
    assert desk.queue.row.reason == "its time is over; last: it does not answer"
    assert 120 < desk.clock.time() - 1_700_000_000 < 240


async def test_a_refusal_is_asked_three_times_and_an_unexpected_error_harms_nobody(desk: Desk) -> None:
    """The dead-letter path: failed, with its reason."""
    desk.node.says = [ReceiverRefused("it refuses an object (0xA900)"), KeyError("x"), ReceiverRefused("no")]
    assert await desk.until_over() == 3
    assert (desk.queue.row.state, desk.queue.row.reason) == ("failed", "no")


async def test_what_was_withdrawn_or_never_left_is_not_sent(desk: Desk) -> None:
    """A withdrawn result stays at home; so does the withdrawal of what nobody there has."""
    desk.queue.reports = [replace(desk.queue.reports[0], withdrawn_at=desk.clock.now())]
    await desk.until_over()
    assert (desk.queue.row.state, desk.node.got) == ("cancelled", [])
    desk.queue.again("withdraw")
    await desk.until_over()
    assert (desk.queue.row.state, desk.node.got) == ("cancelled", [])
    desk.queue.told = {desk.queue.reports[0].report_id}
    desk.queue.again("withdraw")
    await desk.until_over()
    assert desk.queue.row.state == "confirmed"
    assert [each.Modality for each in desk.node.got[0].objects] == ["KO"]


async def test_a_later_revision_refers_to_the_one_before_where_that_was_sent_and_replaces_it_where_not(
    desk: Desk,
) -> None:
    """CC20: a late image is a new report in the same study; what was told stays, what was not does not leave."""
    first = desk.queue.reports[0]
    desk.queue.reports.append(report(2, first.report_id))
    await desk.until_over()
    assert (desk.queue.row.state, desk.node.got) == ("cancelled", [])
    desk.queue.again(about=1)
    await desk.until_over()
    assert "PredecessorDocumentsSequence" not in desk.node.got[0].objects[0]
    desk.queue.told = {first.report_id}
    desk.queue.again(about=1)
    await desk.until_over()
    (before,) = desk.node.got[1].objects[0].PredecessorDocumentsSequence
    (named,) = before.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == ids.own_uid("sr", str(first.report_id), "")


async def test_a_refused_image_leaves_with_its_reason_beside_one_that_was_answered(desk: Desk) -> None:
    """CC20: a radiologist sees why there is no finding; the run's outcome says that not all succeeded."""
    refused = replace(VIEW, object_id="1.2.3", blob_uri="pixels/2", status="refused", result=None, code="rotated")
    desk.store.objects["pixels/2"] = chest(2, StudyInstanceUID=OF_STUDY)
    views = (VIEW, replace(refused, reason="image quality: it is turned"))
    desk.queue.reports = [replace(desk.queue.reports[0], views=views)]
    await desk.until_over()
    made, picture = desk.node.got[0].objects
    said = str(made)
    assert "Not all algorithms succeeded; with findings" in said
    assert "No algorithms succeeded; without findings" in said
    assert "image quality: it is turned" in said
    referred = [
        item.ReferencedSOPInstanceUID
        for series in made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert len(referred) == 2
    conclusion = desk.node.got[0].bundle["entry"][-1]["resource"]["conclusion"]
    assert conclusion.endswith("image 2 of 2: refused (image quality: it is turned)")
    desk.queue.reports = [replace(desk.queue.reports[0], views=views[1:], decision="refused")]
    desk.queue.again()
    await desk.until_over()
    alone, other = desk.node.got[1].objects
    assert [each.value for each in _codes(alone)] == ["111245", "ROTATED"]
    assert (other.pixel_array[-40:] != picture.pixel_array[-40:]).any()
    assert (
        desk.node.got[1].bundle["entry"][-1]["resource"]["conclusion"].endswith("refused (image quality: it is turned)")
    )


def _codes(made: Any) -> list[Any]:
    """What the qualitative evaluations of a report say."""
    read = highdicom.sr.Comprehensive3DSR.from_dataset(made)
    assert isinstance(read.content, highdicom.sr.MeasurementReport)
    return [
        each.value
        for group in read.content.get_image_measurement_groups()
        for name in (codes.OUTCOME, codes.REASON)
        for each in group.get_qualitative_evaluations(name=name)
    ]


async def test_a_store_that_is_away_is_not_the_rows_fault(desk: Desk) -> None:
    """An outage of ours costs a lease and no try of the receiver."""
    desk.store.down = True
    with pytest.raises(StoreUnavailable):
        await desk.sender.once()
    desk.store.down = False
    await desk.until_over()
    assert (desk.queue.row.state, desk.queue.row.refusals) == ("confirmed", 0)


class Server(BaseHTTPRequestHandler):
    """A DICOMweb and FHIR server that keeps what it was sent; `answers` overrides its status by path."""

    answers: ClassVar[dict[str, int]] = {}
    got: ClassVar[list[tuple[str, str, bytes]]] = []

    def _reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(self.answers.get(self.path, status))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, self.headers["Content-Type"], sent))
        entries = b'{"entry": [%s]}' % b",".join([b'{"response": {"status": "201 Created"}}'] * sent.count(b'"PUT"'))
        self._reply(200, entries if self.path.startswith("/fhir") else b"{}")

    def do_GET(self) -> None:
        held = [part[:64].split(b"\0")[0] for _, _, sent in self.got for part in sent.split(b"\x08\0\x18\0UI@\0")[1:]]
        rows = b",".join(b'{"00080018": {"Value": ["%s"]}}' % uid.strip() for uid in held)
        self._reply(200, b"[%s]" % rows)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    Server.answers, Server.got = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_servers_on_the_web_get_objects_and_resources_and_are_believed_by_what_they_answer(server: str) -> None:
    """CC20: STOW-RS confirmed by QIDO-RS, FHIR by its transaction response; 5xx is later, 4xx hardly ever."""
    parcel = package.told(account.of_result(RESULT, CARDS[CHEST]), chest())
    web = open_receiver(Destination(kind="dicomweb", url=f"{server}/web"))
    web.probe()
    assert web.deliver(parcel).confirmed
    ((path, kind, sent),) = Server.got
    assert path == f"/web/studies/{parcel.study_instance_uid}"
    assert kind.startswith('multipart/related; type="application/dicom"')
    assert sent.count(b"DICM\x02\x00\x00\x00UL") == 2
    fhir = open_receiver(Destination(kind="fhir", url=f"{server}/fhir"))
    receipt = fhir.deliver(parcel)
    assert receipt.confirmed
    assert len(receipt.ids) == 3
    Server.answers = {"/fhir": 503, "/fhir/": 503, path: 409}
    with pytest.raises(ReceiverAway):
        fhir.deliver(parcel)
    with pytest.raises(ReceiverRefused):
        web.deliver(parcel)
    with pytest.raises(ReceiverAway):
        open_receiver(Destination(kind="fhir", url="http://127.0.0.1:9")).probe()
