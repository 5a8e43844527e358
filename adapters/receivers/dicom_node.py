"""A DICOM application entity that results are stored to: C-ECHO, C-STORE, and C-FIND to see that they arrived.

The only room below the doors that knows pynetdicom.
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from adapters.receivers.parcel import Parcel, Receipt
from adapters.settings import Destination
from schemas.errors import ReceiverAway, ReceiverRefused

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
TIMEOUT_S = 30.0
CONNECT_S = 10.0
SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)


class DicomNode:
    """A receiver of kind `dicom`."""

    def __init__(self, destination: Destination) -> None:
        self._to = destination
        _config.LOG_HANDLER_LEVEL = "none"

    def probe(self) -> None:
        """A C-ECHO (PS3.7 9.1.5); raises ReceiverAway."""
        with self._associated([build_context(Verification)]) as association:
            answer = association.send_c_echo()
            if answer.get("Status") != SUCCESS:
                raise ReceiverAway("it does not answer a C-ECHO")

    def deliver(self, parcel: Parcel) -> Receipt:
        """Each object by a C-STORE; then, where the node takes queries, whether it has them."""
        classes = dict.fromkeys(str(each.SOPClassUID) for each in parcel.objects)
        # A context for each pair: in a context with both transfer syntaxes the node would choose.
        contexts = [build_context(uid, syntax) for uid in classes for syntax in (EXPLICIT, IMPLICIT)]
        with self._associated(contexts) as association:
            for each in parcel.objects:
                _store(association, each)
        ids = tuple(str(each.SOPInstanceUID) for each in parcel.objects)
        if not self._to.confirm:
            return Receipt(ids, confirmed=False)
        return self._confirmed(parcel, ids)

    def _confirmed(self, parcel: Parcel, ids: tuple[str, ...]) -> Receipt:
        try:
            with self._associated([build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
                missing = [each for each in parcel.objects if not _held(association, parcel, each)]
        except ReceiverRefused:
            return Receipt(ids, confirmed=False, note="it takes no queries")
        if missing:
            raise ReceiverAway(f"it took {len(ids)} objects and does not find {len(missing)} of them yet")
        return Receipt(ids, confirmed=True)

    @contextmanager
    def _associated(self, contexts: Sequence[Any]) -> Iterator[Any]:
        """An association on which all contexts' abstract syntaxes were accepted in some transfer syntax."""
        entity = AE(self._to.calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
        entity.connection_timeout = CONNECT_S
        protected = (_tls(self._to), self._to.host) if self._to.tls else None
        association = entity.associate(
            self._to.host, self._to.port, contexts=list(contexts), ae_title=self._to.ae_title, tls_args=protected
        )
        if not association.is_established:
            _hang_up(association)
            raise _why_not(association, tls=self._to.tls)
        try:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            if left := {str(context.abstract_syntax) for context in contexts} - accepted:
                raise ReceiverRefused(f"it does not take {len(left)} of the storage or query classes")
            yield association
        finally:
            if association.is_established:
                association.release()


def _tls(to: Destination) -> ssl.SSLContext:
    """TLS of the BCP 195 profile (PS3.15 B.9): 1.2 or newer, the node's certificate checked.

    Raises ReceiverAway when a file cannot be used: it is read anew with each association, so that a renewed one counts.
    """
    try:
        context = ssl.create_default_context(cafile=str(to.tls_ca) if to.tls_ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if to.tls_certificate is not None:
            context.load_cert_chain(str(to.tls_certificate), str(to.tls_key) if to.tls_key else None)
    except (OSError, ssl.SSLError) as error:
        raise ReceiverAway(f"our certificates for it cannot be used ({type(error).__name__})") from error
    return context


def _hang_up(association: Any) -> None:
    """Closes the socket, which pynetdicom leaves open where the node ended the connection first."""
    left = getattr(association.dul.socket, "socket", None)
    if left is not None:
        left.close()


def _why_not(association: Any, *, tls: bool) -> ReceiverAway | ReceiverRefused:
    said = getattr(association.acceptor.primitive, "result", None)
    if association.is_rejected and said == 0x01:  # permanently, PS3.8 table 9-21: an unknown AE title, mostly
        return ReceiverRefused("it rejects the association; are the AE titles known to it?")
    if association.is_rejected:
        return ReceiverAway("it rejects the association for now")
    if said == 0x00:  # accepted, and none of the contexts: pynetdicom aborts then
        return ReceiverRefused("it takes none of the storage or query classes")
    return ReceiverAway("it does not answer, or TLS fails" if tls else "it does not answer")


def _store(association: Any, made: Dataset) -> None:
    """One C-STORE, and what its status (PS3.4 table B.2-1) means for us."""
    try:
        answer = association.send_c_store(made)
    except (RuntimeError, ValueError) as error:  # the association ended, or the context fell away
        raise ReceiverAway(f"the association broke ({type(error).__name__})") from error
    status = answer.get("Status")
    if status is None:
        raise ReceiverAway("it did not answer a C-STORE")
    if status == SUCCESS or status & 0xF000 == 0xB000:
        return
    if status & 0xFF00 == 0xA700:
        raise ReceiverAway(f"it is out of resources (0x{status:04X})")
    raise ReceiverRefused(f"it refuses an object (0x{status:04X})")


def _held(association: Any, parcel: Parcel, made: Dataset) -> bool:
    """Whether a C-FIND at the IMAGE level (PS3.4 C.6.2) finds the object in its study and series."""
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID = parcel.study_instance_uid
    asked.SeriesInstanceUID = made.SeriesInstanceUID
    asked.SOPInstanceUID = made.SOPInstanceUID
    found = False
    for status, identifier in association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind):
        code = status.get("Status")
        if code in PENDING and identifier is not None:
            found = found or str(identifier.get("SOPInstanceUID", "")) == str(made.SOPInstanceUID)
        elif code != SUCCESS:
            raise ReceiverAway("it could not answer a C-FIND")
    return found
