"""From the doors' settings to how the DICOM door listens; nothing is opened here but certificates."""

from adapters.settings import DoorSettings
from producers.dicom import Listening
from producers.dicom_admission import admission
from producers.dicom_server import tls_context
from schemas.errors import SettingsError


def listening_of(doors: DoorSettings) -> Listening:
    """Raises SettingsError for an allow-list or a certificate that cannot be used."""
    certificate, key = doors.dicom_tls_certificate, doors.dicom_tls_key
    if (certificate is None) != (key is None):
        raise SettingsError("DICOM TLS needs both a certificate and its key.")
    return Listening(
        host=doors.dicom_host,
        port=doors.dicom_port,
        ae_title=doors.dicom_ae_title,
        admission=admission(doors.dicom_allowed, doors.dicom_called),
        associations=doors.dicom_associations,
        pdu_bytes=doors.dicom_pdu_bytes,
        object_bytes=doors.dicom_object_bytes,
        tls=tls_context(certificate, key, doors.dicom_tls_ca) if certificate and key else None,
    )
