"""Storage commitment at the DICOM door (PS3.4 J): requests are made durable before they are answered with success.

Which objects are kept is judged in `commitment_reports`, which also decides when a report is sent; here is the DIMSE.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, DEFAULT_TRANSFER_SYNTAXES, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from adapters import telemetry
from adapters.clock import Clock
from adapters.database.commitments import Commitment, Reference
from producers.commitment_reports import Report
from producers.dicom_journal import Journals
from producers.dicom_services import Handler
from schemas.errors import Unavailable

log = telemetry.logger("door.commitment")

SUCCESS, PROCESSING_FAILURE, NO_SUCH_INSTANCE = 0x0000, 0x0110, 0x0112
INVALID_ARGUMENT, NO_SUCH_ACTION, RESOURCES = 0x0115, 0x0123, 0x0213
"""N-ACTION statuses, PS3.7 Annex C."""

REQUEST_ACTION = 1
ALL_KEPT, SOME_FAILED = 1, 2
"""Event types of a report (PS3.4 J.3.3)."""

MOST_REFERENCES = 50_000
ANSWER_WITHIN_S = 15.0
CONNECT_S, REPORT_S = 10.0, 30.0

Ask = Callable[[Commitment], Coroutine[Any, Any, None]]


class CommitmentService:
    """N-ACTION in, N-EVENT-REPORT out: to the sender's address, else on the request's association.

    `addresses` names host and port of every AE title that may ask: without one no report could be promised.
    """

    def __init__(
        self,
        ask: Ask,
        addresses: Mapping[str, tuple[str, int]],
        ae_title: str,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        journals: Journals,
    ) -> None:
        self._ask, self._addresses, self._ae_title = ask, addresses, ae_title
        self._clock, self._loop, self._journals = clock, loop, journals
        self._open: dict[str, Any] = {}
        self._lock = threading.Lock()

    def contexts(self) -> Sequence[tuple[str, Sequence[str]]]:
        """The push model."""
        return [(str(StorageCommitmentPushModel), DEFAULT_TRANSFER_SYNTAXES)]

    def handlers(self) -> Sequence[Handler]:
        """N-ACTION alone."""
        return [(evt.EVT_N_ACTION, self._action)]

    def mine(self) -> list[str]:
        """Transactions whose association is still open here."""
        with self._lock:
            self._open = {uid: each for uid, each in self._open.items() if each.is_established}
            return list(self._open)

    def send(self, report: Report) -> bool:
        """Whether the sender took the report, here or there. Blocks; never raises."""
        with self._lock:
            association = self._open.pop(report.transaction_uid, None)
        try:
            if self._sent_anew(report):
                return True
            # Second: a request of the sender that crosses our report on one association would be taken for its answer.
            return association is not None and association.is_established and _sent(association, report)
        except Exception:  # pynetdicom raises anything on a peer that misbehaves: the report is tried again
            log.exception("a commitment report could not be sent")
            return False

    def _sent_anew(self, report: Report) -> bool:
        address = self._addresses.get(report.sender)
        if address is None:
            return False
        entity = AE(report.called or self._ae_title)
        entity.acse_timeout = entity.connection_timeout = CONNECT_S
        entity.dimse_timeout = entity.network_timeout = REPORT_S
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        association = entity.associate(*address, ae_title=report.sender, ext_neg=[role])
        if not association.is_established:
            return False
        try:
            for context in association.accepted_contexts:
                context._as_scp = True  # many devices take reports without having negotiated the role
            return _sent(association, report)
        finally:
            association.release()

    def _action(self, event: Any) -> tuple[int, Dataset | None]:
        """Success once PostgreSQL has the request: then a report follows, whatever is killed."""
        journal = self._journals.of(event.assoc)
        sender = journal.sender if journal else ""
        try:
            status, why, asked = self._read(event, sender, journal.called if journal else "")
            if asked is not None:
                waiting = asyncio.run_coroutine_threadsafe(self._ask(asked), self._loop)
                waiting.result(ANSWER_WITHIN_S)
                with self._lock:
                    self._open[asked.transaction_uid] = event.assoc
        except (Unavailable, TimeoutError):
            status, why = RESOURCES, "the database is away"
        except Exception:  # as at C-STORE: this sender gets an error and its neighbours notice nothing
            log.exception("a commitment request was not handled")
            status, why = PROCESSING_FAILURE, "the door could not handle the request"
        telemetry.metrics().door_requests.labels(door="dicom", status=f"N-ACTION {status:04X}").inc()
        if why and journal is not None:
            journal.refuse(f"storage commitment: {why}")
        return status, None

    def _read(self, event: Any, sender: str, called: str) -> tuple[int, str, Commitment | None]:
        asked = event.request
        if str(asked.RequestedSOPInstanceUID) != str(StorageCommitmentPushModelInstance):
            return NO_SUCH_INSTANCE, "no such instance of the push model", None
        if asked.ActionTypeID != REQUEST_ACTION:
            return NO_SUCH_ACTION, "no such action", None
        if sender not in self._addresses:
            return PROCESSING_FAILURE, "no address is set for this AE title", None
        found = request_of(event.action_information, sender, called, self._clock.now())
        if found is None:
            return INVALID_ARGUMENT, "no transaction, no references, or too many", None
        return SUCCESS, "", found


def request_of(information: Dataset, sender: str, called: str, now: datetime) -> Commitment | None:
    """The Action Information of a request (PS3.4 table J.3-1); None for one that cannot be served."""
    transaction = str(information.get("TransactionUID", "") or "")
    references: list[Reference] = [
        (str(item.get("ReferencedSOPClassUID", "") or ""), str(item.get("ReferencedSOPInstanceUID", "") or ""))
        for item in information.get("ReferencedSOPSequence", None) or ()
    ]
    if not 0 < len(transaction) <= 64 or not 0 < len(references) <= MOST_REFERENCES:
        return None
    if any(not instance or len(instance) > 64 or len(kind) > 64 for kind, instance in references):
        return None
    return Commitment(sender, transaction, called, tuple(dict.fromkeys(references)), now)


def event_information(report: Report) -> tuple[int, Dataset]:
    """Event type and Event Information of a report (PS3.4 table J.3-2)."""
    found = Dataset()
    found.TransactionUID = report.transaction_uid
    if report.kept:
        found.ReferencedSOPSequence = [_reference(each) for each in report.kept]
    if report.failed:
        items = []
        for each, reason in report.failed:
            item = _reference(each)
            item.FailureReason = reason
            items.append(item)
        found.FailedSOPSequence = items
    return (SOME_FAILED if report.failed else ALL_KEPT), found


def _reference(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    return item


def _sent(association: Any, report: Report) -> bool:
    kind, information = event_information(report)
    status, _ = association.send_n_event_report(
        information, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return bool("Status" in status and status.Status == SUCCESS)
