"""The DICOM door: C-ECHO and C-STORE (PS3.7 9.1, PS3.4 B), and the only room of the doors that knows pynetdicom.

What a data set says is read in `dicom_identity`, what "accepted" means is in `door`; pixels are not decoded here.
"""

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, NonPatientObjectPresentationContexts, _config, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from adapters import telemetry
from adapters.clock import Clock
from producers.door import Door
from producers.store_request import ACCEPTED, Answer, StoreRequest, judge, settle, try_again
from schemas.errors import Unavailable

log = telemetry.logger("door.dicom")

REJECT_LOCAL_LIMIT = (0x02, 0x03, 0x02)
"""Rejected transient, by the presentation provider, local limit exceeded (PS3.8 table 9-21): come again later."""

MAX_PDU_BYTES = 1 << 16
"""Offered maximum length (PS3.8 D.1). Processor time of the door for a 512 x 512 x 16 bit object, best of two runs on a
busy machine: 16 KB 7.5 ms, 64 KB 6.3 ms, 256 KB 6.7 ms, 1 MB 8.1 ms."""

REQUEST_WITHIN_S = 10.0
"""Seconds within which a connection must ask for an association; a stray one occupies a thread for that long."""

CONNECTIONS_AN_ASSOCIATION = 8

NO_ANSWER_S = 5.0
"""Seconds beyond the door's own deadline after which a handler thread stops waiting for it."""


@dataclass(frozen=True, slots=True)
class Listening:
    """How the door presents itself. `network_timeout_s` ends an association on which nothing moves."""

    host: str
    port: int
    ae_title: str
    require_called_ae_title: bool = False
    associations: int = 32
    network_timeout_s: float = 60.0


@dataclass(slots=True)
class Journal:
    """What one association did, for one line of the log: no data set's content, only counts and reasons."""

    sender: str
    called: str
    started: float
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    received_bytes: int = 0

    def note(self, answer: Answer, size: int) -> None:
        """Counts one answer; reasons are a small set of sentences of ours."""
        status = f"{answer.status:04X}"
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.received_bytes += size
        if answer.reason:
            self.reasons[answer.reason] = self.reasons.get(answer.reason, 0) + 1


class _Server(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom ships no types
    """Shares its port with the door's other processes, since one process is bound by its interpreter lock."""

    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


class DicomDoor:
    """The listening side. pynetdicom runs a thread an association; publishing happens on `loop`."""

    def __init__(self, door: Door, key: bytes, clock: Clock, listening: Listening, loop: asyncio.AbstractEventLoop):
        self._door = door
        self._key = key
        self._clock = clock
        self._listening = listening
        self._loop = loop
        self._journals: dict[Any, Journal] = {}
        self._server: _Server | None = None
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
        self._server = self._ae.make_server(
            (self._listening.host, self._listening.port), evt_handlers=self._handlers(), server_class=_Server
        )
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
        for context in NonPatientObjectPresentationContexts:  # palettes, hanging protocols: kept as well (PS3.4 GG)
            entity.add_supported_context(context.abstract_syntax, context.transfer_syntax)
        # Our own limit counts associations that were accepted; this one counts connections, port scans included.
        entity.maximum_associations = self._listening.associations * CONNECTIONS_AN_ASSOCIATION
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.require_called_aet = self._listening.require_called_ae_title
        entity.network_timeout = self._listening.network_timeout_s
        entity.dimse_timeout = self._listening.network_timeout_s
        entity.acse_timeout = REQUEST_WITHIN_S
        return entity

    def _handlers(self) -> list[tuple[Any, Any]]:
        return [
            (evt.EVT_CONN_OPEN, _quick_ack),
            (evt.EVT_DATA_RECV, _quick_ack),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def _requested(self, event: Any) -> None:
        """Before negotiation: a door that cannot take anything says so at once, and transiently."""
        association = event.assoc
        asked = association.requestor.primitive
        journal = Journal(str(asked.calling_ae_title).strip(), str(asked.called_ae_title).strip(), time.monotonic())
        self._journals[association] = journal
        refusal = self._door.why_refuse() or self._crowded()
        if refusal is not None:
            journal.reasons[str(refusal)] = 1
            telemetry.metrics().door_requests.labels(door="dicom", status="rejected").inc()
            association.acse.send_reject(*REJECT_LOCAL_LIMIT)
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

    def _store(self, event: Any) -> Dataset:
        start = time.monotonic()
        journal = self._journals.get(event.assoc) or Journal("", "", start)
        request = _request(event, journal)
        answer = self._answer(request)
        journal.note(answer, len(request.data))
        meters = telemetry.metrics()
        meters.door_requests.labels(door="dicom", status=f"{answer.status:04X}").inc()
        meters.door_seconds.labels(door="dicom").observe(time.monotonic() - start)
        return _status(answer)

    def _answer(self, request: StoreRequest) -> Answer:
        try:
            verdict = judge(request, self._key, self._clock.now())
            waiting = asyncio.run_coroutine_threadsafe(settle(verdict, self._door), self._loop)
            return waiting.result(self._door.deadline_s * 2 + NO_ANSWER_S)
        except Exception:  # whatever goes wrong here, this sender gets "try again" and its neighbours notice nothing
            log.exception("a request was not handled")
            return try_again("the door could not handle the request")

    def _closed(self, event: Any) -> None:
        journal = self._journals.pop(event.assoc, None)
        if journal is None:
            return
        ended = "released" if event.assoc.is_released else "aborted" if event.assoc.is_aborted else "rejected"
        log.info(
            "association ended",
            sender=journal.sender,
            called=journal.called,
            ended=ended if not event.assoc.is_established else "lost",
            statuses=journal.statuses,
            reasons=journal.reasons,
            received_bytes=journal.received_bytes,
            seconds=round(time.monotonic() - journal.started, 3),
        )


def _request(event: Any, journal: Journal) -> StoreRequest:
    """The C-STORE-RQ in our own words: what was sent, byte for byte, and what the request says about it."""
    asked = event.request
    try:
        data = event.encoded_dataset(include_meta=False)
    except AttributeError:  # a request without a data set
        data = b""
    return StoreRequest(
        data=data,
        transfer_syntax_uid=str(event.context.transfer_syntax),
        sop_class_uid=str(asked.AffectedSOPClassUID or ""),
        sop_instance_uid=str(asked.AffectedSOPInstanceUID or ""),
        priority=asked.Priority,
        sender=journal.sender,
        called=journal.called,
    )


def _status(answer: Answer) -> Dataset:
    """Status (0000,0900) and, where something is to be said, Error Comment (0000,0902), at most 64 characters."""
    status = Dataset()
    status.Status = answer.status
    if answer.reason:
        status.ErrorComment = answer.reason[:64]
    return status


def _quick_ack(event: Any) -> None:
    """Acknowledges TCP segments at once: a sender with Nagle's algorithm else waits 40 ms an object.

    Linux forgets TCP_QUICKACK after a while, so it is set again at every read. 64 x 64 objects on loopback: 21/s
    without, 229/s with.
    """
    connection = event.assoc.dul.socket.socket if event.assoc.dul.socket else None
    if connection is not None and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):  # the peer may be gone already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
