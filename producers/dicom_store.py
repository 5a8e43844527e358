"""C-STORE at the DICOM door (PS3.4 B): from pynetdicom's event to a request of ours, and back to a status.

Which status an object deserves is in `store_request`, what "accepted" means in `door`.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import NonPatientObjectPresentationContexts, evt

from adapters import telemetry
from adapters.clock import Clock
from producers.dicom_command import StoreCommand
from producers.dicom_journal import Journal, Journals
from producers.dicom_room import HEADROOM, Room
from producers.dicom_services import Handler
from producers.door import Door
from producers.store_request import Answer, StoreRequest, judge, settle, try_again
from schemas.routing import Table

log = telemetry.logger("door.dicom")

NO_ANSWER_S = 5.0
"""Seconds beyond the door's own deadline after which a handler thread stops waiting for it."""

LOOK_S = 0.5
"""Seconds between two looks whether anybody still waits for the answer."""


class StoreService:
    """Storage of every SOP class; publishing happens on `loop`, the rest in the association's thread."""

    def __init__(
        self, door: Door, key: bytes, clock: Clock, loop: asyncio.AbstractEventLoop, journals: Journals, table: Table
    ) -> None:
        self._door, self._key, self._clock, self._loop = door, key, clock, loop
        self._journals, self._table = journals, table

    def contexts(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Palettes, hanging protocols (PS3.4 GG); the classes of images need no naming (`DicomDoor.start`)."""
        return [
            (str(each.abstract_syntax), each.transfer_syntax or []) for each in NonPatientObjectPresentationContexts
        ]

    def handlers(self) -> Sequence[Handler]:
        """C-STORE alone."""
        return [(evt.EVT_C_STORE, self._store)]

    def take(self, association: Any, asked: StoreCommand, transfer_syntax_uid: str, room: Room) -> Answer:
        """Answers a data set that lies in a room of ours; blocks until the answer is true or the association over."""
        journal = self._journals.of(association)
        whole = room.whole()
        request = StoreRequest(
            data=whole[HEADROOM:],
            room=whole,
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=asked.sop_class_uid,
            sop_instance_uid=asked.sop_instance_uid,
            priority=asked.priority,
            sender=journal.sender if journal else "",
            called=journal.called if journal else "",
        )
        return self._noted(request, association, journal)

    def _store(self, event: Any) -> Dataset:
        journal = self._journals.of(event.assoc)
        return _status(self._noted(_request(event, journal), event.assoc, journal))

    def _noted(self, request: StoreRequest, association: Any, journal: Journal | None) -> Answer:
        start = time.monotonic()
        answer = self._answer(request, association)
        if journal is not None:
            journal.note(answer, len(request.data), request.sop_class_uid, request.transfer_syntax_uid)
        meters = telemetry.metrics()
        meters.door_requests.labels(door="dicom", status=f"{answer.status:04X}").inc()
        meters.door_seconds.labels(door="dicom").observe(time.monotonic() - start)
        return answer

    def _answer(self, request: StoreRequest, association: Any) -> Answer:
        try:
            verdict = judge(request, self._key, self._clock.now(), self._table)
            waiting = asyncio.run_coroutine_threadsafe(settle(verdict, self._door), self._loop)
            return self._settled(waiting, association)
        except Exception:  # whatever goes wrong here, this sender gets "try again" and its neighbours notice nothing
            log.exception("a request was not handled")
            return try_again("the door could not handle the request")

    def _settled(self, waiting: Future[Answer], association: Any) -> Answer:
        """What it was settled to; nobody waits for that any more once the association is killed."""
        ends = time.monotonic() + self._door.deadline_s * 2 + NO_ANSWER_S
        while True:
            try:
                return waiting.result(LOOK_S)
            except TimeoutError:
                if waiting.done() or time.monotonic() > ends:
                    raise
                if association._kill:
                    return try_again("the association ended before the answer")


def _request(event: Any, journal: Journal | None) -> StoreRequest:
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
        sender=journal.sender if journal else "",
        called=journal.called if journal else "",
    )


def _status(answer: Answer) -> Dataset:
    """Status (0000,0900) and, where something is to be said, Error Comment (0000,0902), at most 64 characters."""
    status = Dataset()
    status.Status = answer.status
    if answer.reason:
        status.ErrorComment = answer.reason[:64]
    return status
