"""One data set and its sequences, made pseudonymous where they are; reading and writing files is elsewhere."""

import re
from collections.abc import Collection
from typing import Any, Final

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement

from adapters.confidentiality import EDITION, Profile
from schemas import ids
from schemas.errors import Unprocessable
from schemas.routing import Deidentify

CONTENT_SEQUENCE: Final = 0x0040A730
PATIENT_ID, ACCESSION_NUMBER = 0x00100020, 0x00080050
ISSUER_OF_PATIENT_ID, PATIENT_BIRTH_DATE, STUDY_DATE = 0x00100021, 0x00100030, 0x00080020
DAY: Final = re.compile(r"\d{8}")
SAID_IN_WORDS: Final = frozenset({"TEXT", "PNAME", "DATE", "TIME", "DATETIME"})
"""Content items whose value may name somebody or a day; codes, numbers, places and references stay."""

DUMMIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "REMOVED"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), 0),
    **dict.fromkeys(("OB", "UN"), b"\0\0"),
    "AS": "000Y",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "SQ": [],
    "TM": "000000",
    "UR": "http://removed.invalid",
}


class Walk:
    """Through a data set and its sequences; keyed, so that what is equal before is equal after."""

    def __init__(self, key: bytes, how: Deidentify, marks: Collection[str]) -> None:
        self._key, self._profile, self._marks = key, Profile(characteristics=how == "characteristics"), marks

    def all_of(self, dataset: Dataset) -> None:
        """Changes it, and says in it what was done (PS3.15 E.1.1, last steps)."""
        if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            raise Unprocessable("not de-identified: Burned In Annotation (0028,0301) is YES")
        patient = self._patient(dataset)
        marked, content = self._marked(dataset), CONTENT_SEQUENCE in dataset
        age = _age(dataset)
        self._each(dataset)
        if age and self._profile.keeps_age and not dataset.get("PatientAge"):
            dataset.PatientAge = age
        dataset.PatientID = dataset.PatientName = patient  # one dummy for all would make them one patient
        if marked:
            dataset.ContributingEquipmentSequence = marked
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = method(self._key)
        dataset.DeidentificationMethodCodeSequence = [_coded(*code) for code in self._profile.codes(content)]
        dataset.LongitudinalTemporalInformationModified = "REMOVED"

    def _patient(self, dataset: Dataset) -> str:
        """A pseudonym for (issuer, id), so that a patient's objects stay together; empty for an object without id."""
        patient, issuer = (_text(dataset, tag) for tag in (PATIENT_ID, ISSUER_OF_PATIENT_ID))
        return ids.pseudonymous_patient(self._key, issuer, patient)

    def _marked(self, dataset: Dataset) -> list[Dataset]:
        found = []
        for item in dataset.get("ContributingEquipmentSequence", None) or ():
            if (said := str(item.get("ContributionDescription", "")).strip()) in self._marks:
                mark = Dataset()
                mark.Manufacturer, mark.ContributionDescription = "clinstream", said
                mark.PurposeOfReferenceCodeSequence = [_coded("109103", "Modifying Equipment")]
                found.append(mark)
        return found

    def _each(self, dataset: Dataset) -> None:
        for tag in list(dataset.keys()):
            action = self._profile.action(tag)
            vr = "" if action == "remove" else _vr(dataset, tag)
            if not vr or action == "remove":
                del dataset[tag]
            elif tag == CONTENT_SEQUENCE and vr == "SQ":
                self._content(dataset)
            elif action in ("keep", "items"):
                self._items(dataset, tag, vr, needed=action == "items")
            elif action == "uid" or (vr == "UI" and action == "dummy"):
                self._uids(dataset, tag, vr)
            else:
                self._replace(dataset, tag, vr, dummy=action == "dummy")

    def _items(self, dataset: Dataset, tag: int, vr: str, *, needed: bool) -> None:
        if vr == "SQ":
            for item in dataset[tag].value:
                self._each(item)
        elif needed:
            del dataset[tag]

    def _content(self, dataset: Dataset) -> None:
        """Content items of a document (PS3.15 E.3.4): those in words go, the others stay, cleaned."""
        kept = [item for item in dataset[CONTENT_SEQUENCE].value if str(item.get("ValueType", "")) not in SAID_IN_WORDS]
        for item in kept:
            self._each(item)
        dataset[CONTENT_SEQUENCE].value = kept

    def _uids(self, dataset: Dataset, tag: int, vr: str) -> None:
        if vr != "UI":
            del dataset[tag]
            return
        value = dataset[tag].value
        several = [str(each) for each in value] if _is_multi(value) else [str(value or "")]
        made = [ids.pseudonymous_uid(self._key, each.strip(" \0")) for each in several]
        dataset[tag] = DataElement(tag, "UI", made[0] if len(made) == 1 else made)

    def _replace(self, dataset: Dataset, tag: int, vr: str, *, dummy: bool) -> None:
        if tag == ACCESSION_NUMBER:
            number = ids.pseudonymous_accession(self._key, _text(dataset, tag))
            dataset[tag] = DataElement(tag, "SH", number)
        elif not dummy:
            dataset[tag] = DataElement(tag, vr, [] if vr == "SQ" else None)
        elif vr in DUMMIES:
            dataset[tag] = DataElement(tag, vr, DUMMIES[vr])
        else:
            del dataset[tag]


def _vr(dataset: Dataset, tag: int) -> str:
    """The representation that counts; empty where nobody can tell, so that what it holds must go."""
    found = dataset.get_item(tag)
    stated = found.VR if found is not None else None
    if stated is None:  # implicit
        try:
            return str(dictionary_VR(tag))
        except KeyError:
            return ""
    if stated == "UN":
        stated = dataset[tag].VR  # by the dictionary; what is a sequence becomes one
    return "" if stated == "UN" else str(stated)


def _text(dataset: Dataset, tag: int) -> str:
    value = dataset[tag].value if tag in dataset else None
    return "" if value is None else str(value).strip(" \0")


def _age(dataset: Dataset) -> str:
    """The Age String (PS3.5 6.2) in years that days of birth and study make, since both go; empty where one is missing.

    As `dicom_reading` reckons it, so that models hear the same of both kinds of objects.
    """
    born, seen = _text(dataset, PATIENT_BIRTH_DATE), _text(dataset, STUDY_DATE)
    if not (DAY.fullmatch(born) and DAY.fullmatch(seen)):
        return ""
    years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    return f"{years:03d}Y" if 0 <= years <= 130 else ""


def _is_multi(value: Any) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__iter__")


def _coded(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def method(key: bytes) -> str:
    """What was done and by which installation: another one's objects are somebody's as they come."""
    return f"clinstream PS3.15 {EDITION} basic profile, key {ids.pseudonym(key, 'deidentifying key', '', '')[:8]}"
