"""Whose image it is, read from the data set for the identity tables; never for events, keys, logs or reasons."""

import warnings
from typing import Any

from adapters.database import ImageIdentity
from schemas.events import ImageObserved


def identity_of(event: ImageObserved, dataset: Any) -> ImageIdentity:
    """The personal elements of a parsed data set (PS3.3 C.7.1.1 Patient, C.7.2.1 General Study), empty where absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break their representation are kept as they came
        return _identity(event, dataset)


def _identity(event: ImageObserved, dataset: Any) -> ImageIdentity:
    return ImageIdentity(
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
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        accession_number=_text(dataset, "AccessionNumber"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        patient_id=_text(dataset, "PatientID"),
        patient_name=_text(dataset, "PatientName"),
        birth_date=_text(dataset, "PatientBirthDate"),
        sex=_text(dataset, "PatientSex"),
    )


def _text(dataset: Any, keyword: str) -> str:
    """One value as text, without the zero bytes and lone surrogates that PostgreSQL refuses."""
    try:
        value = dataset.get(keyword, "")
    except Exception:  # pydicom converts on access and raises anything on a damaged element: it counts as absent
        return ""
    return "" if value is None else str(value).replace("\0", "").encode("utf-8", "replace").decode().strip()
