"""Whose image it is, read from the data set for the identity tables; never for events, keys, logs or reasons."""

import warnings
from dataclasses import replace
from typing import Any

from adapters.database import ImageIdentity
from schemas.events import ImageObserved

PERSONAL = {
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "accession_number": "AccessionNumber",
    "issuer": "IssuerOfPatientID",
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
}


def identity_of(event: ImageObserved, dataset: Any = None) -> ImageIdentity:
    """The personal elements of a parsed data set (PS3.3 C.7.1.1 Patient, C.7.2.1 General Study), empty where absent.

    Without a data set (a picture, or the event alone) nobody is named.
    """
    identity = ImageIdentity(
        event_id=event.event_id,
        object_id=event.object_id,
        subject_id=event.subject_id,
        study_id=event.study_id,
        blob_uri=event.blob.uri,
        modality=event.modality,
        sender=event.sender,
        simulated=event.simulated,
        wrapped=event.wrapped,
        observed_at=event.observed_at,
        sop_class_uid=event.sop_class_uid,
        transfer_syntax_uid=event.transfer_syntax_uid,
        media_type=event.blob.media_type,
        laterality=event.laterality,
        destinations=event.destinations,
        named=dataset is not None,
    )
    if dataset is None:
        return identity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break their representation are kept as they came
        personal: dict[str, Any] = {field: _text(dataset, word) for field, word in PERSONAL.items()}
        return replace(identity, **personal)


def _text(dataset: Any, keyword: str) -> str:
    """One value as text, without the zero bytes and lone surrogates that PostgreSQL refuses."""
    try:
        value = dataset.get(keyword, "")
    except Exception:  # pydicom converts on access and raises anything on a damaged element: it counts as absent
        return ""
    return "" if value is None else str(value).replace("\0", "").encode("utf-8", "replace").decode().strip()
