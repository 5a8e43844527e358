"""The DICOM door: who may have an association and how long it lives (PS3.7 9.1, PS3.8); C-ECHO is answered here.

Each other DIMSE service is in a module of its own and handed in (`dicom_services`); pynetdicom's sockets are in
`dicom_server`, the allow-list in `dicom_admission`, what is kept about an association in `dicom_journal`.
"""

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT
from pynetdicom.sop_class import Verification

from adapters import telemetry
from adapters.clock import Clock
from producers.dicom_admission import Admission
from producers.dicom_journal import Journal, Journals
from producers.dicom_receiving import Store, Taking
from producers.dicom_server import Server
from producers.dicom_services import DicomService
from producers.dicom_store import StoreService
from producers.door import Door
from producers.store_request import ACCEPTED, BUILT_IN_TABLE
from schemas.errors import Unavailable
from schemas.routing import Table

log = telemetry.logger("door.dicom")

REJECT_LOCAL_LIMIT = (0x02, 0x03, 0x02)
"""Rejected transient, by the presentation provider, local limit exceeded (PS3.8 table 9-21): come again later."""

REJECT_FOR_GOOD = (0x01, 0x01)
"""Rejected permanent, by the service user; the reason follows."""

MAX_PDU_BYTES = 1 << 18
"""Offered maximum length (PS3.8 D.1). Processor time of the door for 10 MB from storescu (128 KB a PDU at most), two
runs on a busy machine: 64 KB 42.6 and 47.6 ms, 256 KB 40.9 and 41.9 ms, 1 MB 39.7 and 41.0 ms."""

REQUEST_WITHIN_S = 10.0
"""Seconds within which a connection must ask for an association; a stray one occupies a thread for that long."""

REJECT_AFTER_S = 0.05
"""Whoever hammers at the door is slowed, and a busy requestor of pynetdicom takes a rejection that comes sooner for a
failed connection."""

CONNECTIONS_AN_ASSOCIATION = 8


@dataclass(frozen=True, slots=True)
class Listening:
    """How the door presents itself. `network_timeout_s` ends an association on which nothing moves; with `tls` the
    port speaks nothing else."""

    host: str
    port: int
    ae_title: str
    admission: Admission = field(default_factory=Admission)
    associations: int = 32
    pdu_bytes: int = MAX_PDU_BYTES
    object_bytes: int = 1 << 30
    network_timeout_s: float = 60.0
    tls: ssl.SSLContext | None = None


class DicomDoor:
    """The listening side. pynetdicom runs a thread an association; `ended` is called with the entry of each."""

    def __init__(
        self,
        door: Door,
        clock: Clock,
        listening: Listening,
        services: Sequence[DicomService],
        journals: Journals,
        ended: Callable[[Journal], None],
        store: Store,
    ):
        self._door, self._clock, self._listening = door, clock, listening
        self._services, self._journals, self._ended = services, journals, ended
        self._taking = Taking(store, self._too_large, listening.object_bytes)
        self._coming: dict[Any, int] = {}
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._ae = self._application_entity()

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return int(self._server.server_address[1]) if self._server else 0

    def start(self) -> None:
        """Listens; raises OSError when the port cannot be had."""
        # Any SOP class, known or private, in the transfer syntax that the sender proposes first: kept as sent.
        _config.UNRESTRICTED_STORAGE_SERVICE = True
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its errors quote what was sent
        self._server = self._ae.make_server(
            (self._listening.host, self._listening.port),
            evt_handlers=self._handlers(),
            ssl_context=self._listening.tls,
            server_class=Server,
        )
        self._server.over, self._server.taking = self._over, self._taking
        self._ae._servers.append(self._server)  # as start_server does; shutdown() takes it out again
        self._thread = threading.Thread(target=self._server.serve_forever, name="dicom-accept", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Accepts no more, gives the associations at work `seconds` to end, then aborts them. Blocks."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        end = time.monotonic() + seconds
        for association in self._associations():
            if association.is_established:
                association.join(max(0.0, end - time.monotonic()))
        for association in self._associations():
            association.abort()
        self._server = self._thread = None

    def _application_entity(self) -> AE:
        entity = AE(self._listening.ae_title)
        entity.add_supported_context(Verification)
        for service in self._services:
            for abstract, transfer in service.contexts():
                entity.add_supported_context(abstract, list(transfer))
        # Our own limit counts associations that were accepted; this one counts connections, port scans included.
        entity.maximum_associations = self._listening.associations * CONNECTIONS_AN_ASSOCIATION
        entity.maximum_pdu_size = self._listening.pdu_bytes
        entity.network_timeout = self._listening.network_timeout_s
        entity.dimse_timeout = self._listening.network_timeout_s
        entity.acse_timeout = REQUEST_WITHIN_S
        return entity

    def _handlers(self) -> list[tuple[Any, Any]]:
        return [
            (evt.EVT_DATA_RECV, self._received),
            (evt.EVT_DIMSE_RECV, self._message),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, self._echo),
            *(handler for service in self._services for handler in service.handlers()),
        ]

    def _received(self, event: Any) -> None:
        """Counts what an unfinished message has that pynetdicom reads: it collects until the memory is full."""
        association = event.assoc
        coming = self._coming.get(association, 0) + len(event.data)
        self._coming[association] = coming
        if coming > self._listening.object_bytes:
            self._too_large(association)

    def _too_large(self, association: Any) -> None:
        if journal := self._journals.of(association):
            journal.refuse("the object is larger than the door takes")
        association.abort(block=False)

    def _message(self, event: Any) -> None:
        self._coming[event.assoc] = 0

    def _requested(self, event: Any) -> None:
        """Before negotiation: who is not welcome is told so for good; a door that cannot take anything, transiently."""
        association = event.assoc
        asked = association.requestor.primitive
        calling, called = str(asked.calling_ae_title).strip(), str(asked.called_ae_title).strip()
        address = str(association.requestor.address or "")
        journal = Journal(calling, called, address, self._clock.now(), time.monotonic())
        self._journals.open(association, journal)
        unwelcome = self._listening.admission.refusal(calling, called, address)
        if unwelcome is not None:
            self._reject(association, journal, unwelcome.why, (*REJECT_FOR_GOOD, unwelcome.code))
        elif refusal := self._door.why_refuse() or self._crowded():
            self._reject(association, journal, str(refusal), REJECT_LOCAL_LIMIT)

    def _reject(self, association: Any, journal: Journal, why: str, answer: tuple[int, int, int]) -> None:
        journal.refuse(why)
        telemetry.metrics().door_requests.labels(door="dicom", status="rejected").inc()
        time.sleep(REJECT_AFTER_S)
        association.acse.send_reject(*answer)
        association.kill()

    def _crowded(self) -> Unavailable | None:
        """Why one more association is too many, if it is."""
        at_work = sum(association.is_established for association in self._associations())
        return Unavailable("too many associations") if at_work >= self._listening.associations else None

    def _associations(self) -> list[Any]:
        return self._server.active_associations if self._server else []

    def _echo(self, _event: Any) -> int:
        telemetry.metrics().door_requests.labels(door="dicom", status="echo").inc()
        return ACCEPTED

    def _over(self, association: Any) -> None:
        self._coming.pop(association, None)
        journal = self._journals.close(association)
        if journal is None:
            return
        journal.ended = _how(association)
        journal.seconds = round(time.monotonic() - journal.started_s, 3)
        log.info(
            "association ended",
            sender=journal.sender,
            called=journal.called,
            ended=journal.ended,
            statuses=journal.statuses,
            reasons=journal.reasons,
            received_bytes=journal.received_bytes,
            seconds=journal.seconds,
        )
        self._ended(journal)


def _how(association: Any) -> str:
    """By what went over the connection: the association's own thread may not have come to see it yet."""
    last = association.dul.to_user_queue.last
    if association._sent_release:
        return "released"
    if isinstance(last, A_P_ABORT) and not last.provider_reason:
        return "lost"
    if association._sent_abort or association.is_aborted or isinstance(last, A_ABORT | A_P_ABORT):
        return "aborted"
    return "lost" if association.is_established else "rejected"


def dicom_door(
    door: Door,
    key: bytes,
    clock: Clock,
    listening: Listening,
    loop: asyncio.AbstractEventLoop,
    table: Table = BUILT_IN_TABLE,
    ended: Callable[[Journal], None] = lambda journal: None,
    others: Callable[[Journals], Sequence[DicomService]] = lambda journals: (),
) -> DicomDoor:
    """The door with storage and with what `others` makes; `ended` gets each association's entry, in its own thread."""
    journals = Journals()
    storage = StoreService(door, key, clock, loop, journals, table)
    return DicomDoor(door, clock, listening, [storage, *others(journals)], journals, ended, storage.take)
