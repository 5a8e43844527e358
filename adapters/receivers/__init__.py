"""The receivers of results: PACS over the DICOM network, DICOMweb and FHIR servers; what is sent is others' matter."""

from adapters.receivers.parcel import Parcel, Receipt, Receiver
from adapters.settings import Destination

__all__ = ["Parcel", "Receipt", "Receiver", "open_receiver"]


def open_receiver(destination: Destination) -> Receiver:
    """The receiver at a destination; nothing is connected yet."""
    # On use: a process that sends to one kind is spared the libraries of the others.
    if destination.kind == "dicom":
        from adapters.receivers.dicom_node import DicomNode

        return DicomNode(destination)
    if destination.kind == "dicomweb":
        from adapters.receivers.dicomweb import DicomWeb

        return DicomWeb(destination)
    from adapters.receivers.fhir import FhirServer

    return FhirServer(destination)
