"""A DICOMweb server that results are stored to: STOW-RS, and QIDO-RS to see that they arrived (PS3.18)."""

import io
from typing import Any

import httpx
from pydicom.dataset import Dataset

from adapters.receivers.parcel import Parcel, Receipt
from adapters.receivers.web import client, judged
from adapters.settings import Destination
from schemas.errors import ReceiverRefused

BOUNDARY = "clinstream-boundary"
QUERY = {"Accept": "application/dicom+json"}


class DicomWeb:
    """A receiver of kind `dicomweb`."""

    def __init__(self, destination: Destination) -> None:
        self._to = destination

    def probe(self) -> None:
        """A search for one study; raises ReceiverAway."""
        with client(self._to) as web:
            judged(lambda: web.get("/studies", params={"limit": "1"}, headers=QUERY))

    def deliver(self, parcel: Parcel) -> Receipt:
        """All objects in one request; then, where asked, whether the server finds them."""
        ids = tuple(str(each.SOPInstanceUID) for each in parcel.objects)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
            "Accept": "application/dicom+json",
        }
        with client(self._to) as web:
            path = f"/studies/{parcel.study_instance_uid}"
            answer = judged(lambda: web.post(path, content=_body(parcel), headers=headers))
            if answer.status_code == 202:  # some were not stored: PS3.18 10.5.3
                raise ReceiverRefused("it did not store all of the objects")
            if not self._to.confirm:
                return Receipt(ids, confirmed=False)
            return _confirmed(web, parcel, ids)


def _confirmed(web: httpx.Client, parcel: Parcel, ids: tuple[str, ...]) -> Receipt:
    path = f"/studies/{parcel.study_instance_uid}/instances"
    try:
        answer = judged(lambda: web.get(path, headers=QUERY))
    except ReceiverRefused:
        return Receipt(ids, confirmed=False, note="it takes no queries")
    rows: list[dict[str, Any]] = answer.json() if answer.content else []
    held = {value for row in rows for value in row.get("00080018", {}).get("Value", [])}
    missing = len(set(ids) - held)
    return Receipt(ids, confirmed=not missing, note=f"it does not find {missing} of them" if missing else "")


def _body(parcel: Parcel) -> bytes:
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + _file(each) + b"\r\n"
        for each in parcel.objects
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def _file(made: Dataset) -> bytes:
    kept = io.BytesIO()
    made.save_as(kept, enforce_file_format=True)
    return kept.getvalue()
