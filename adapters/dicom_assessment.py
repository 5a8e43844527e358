"""What a document from a reading room says of reports of ours that it names; which results these tell is others' part.

Two ways, since no PACS offers all: the title of a Key Object Selection (PS3.16 CID 7010, 7011), or a content item of a
structured report that agrees or disagrees with prior findings. `docs/dicom-conformance.md` has the table.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any, Final

from adapters import dicom_content
from adapters.dicom_rejection import KEY_OBJECT_SELECTION, TITLES
from schemas import ids

DOCUMENTS: Final = "1.2.840.10008.5.1.4.1.1.88."
"""How the storage classes of structured reports and key object selections begin (PS3.4 B.5)."""

OF_INTEREST, QUALITY_ISSUE, DESCRIPTION = "113000", "113010", "113012"
AGREEMENT, DISAGREEMENT, OBSERVER = "122775", "122776", "121008"
MOST_REPORTS: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """What the reader says that there is: a code, or words in its place; empty where nothing is said."""

    value: str = ""
    scheme: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """`reports` of ours that are named; whether the reader agrees (None: no word about that), what there is instead.

    `reader` is a person's name, empty where the document names nobody: it must become a pseudonym at once.
    `study` is the Study Instance UID.
    """

    reports: tuple[str, ...]
    agrees: bool | None
    finding: Finding
    reader: str
    study: str = field(repr=False, default="")


def read(dataset: Any, sop_class_uid: str) -> Said | None:
    """What a document says of reports of ours; None where it names none, takes other objects back, or is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(dataset, sop_class_uid)
    except Exception:  # a lazy parser meets hostile bytes here, whatever it raises: nobody can tell what they say
        return None


def _read(dataset: Any, sop_class_uid: str) -> Said | None:
    selection = sop_class_uid == KEY_OBJECT_SELECTION
    named = dicom_content.named(dataset) if selection else _named_by_report(dataset)
    reports = tuple(uid for uid in named if ids.is_own_uid(uid))[:MOST_REPORTS]
    if not reports:
        return None
    title = dicom_content.title(dataset) if selection else ""
    if title in TITLES and len(reports) < len(named):
        # A note over a whole series or study is about the images; that our report goes with them judges nothing.
        return None
    agrees, finding = _selected(dataset, title) if selection else _reported(dataset)
    return Said(reports, agrees, finding, _reader(dataset), str(dataset.get("StudyInstanceUID", "") or ""))


def _selected(dataset: Any, title: str) -> tuple[bool | None, Finding]:
    agrees = True if title == OF_INTEREST else False if title == QUALITY_ISSUE or title in TITLES else None
    for item in dicom_content.items(dataset):
        if _concept(item) == DESCRIPTION:
            return agrees, Finding(words=str(item.get("TextValue", "") or ""))
    return agrees, Finding()


def _reported(dataset: Any) -> tuple[bool | None, Finding]:
    """A disagreement anywhere counts more than agreements elsewhere."""
    found: dict[str, Finding] = {}
    for item in dicom_content.items(dataset):
        concept, value = _concept(item), dicom_content.code(item.get("ConceptCodeSequence", None))
        if concept in (AGREEMENT, DISAGREEMENT):
            found.setdefault(concept, Finding(*value))
        elif value[1] == "DCM" and value[0] in (AGREEMENT, DISAGREEMENT):
            found.setdefault(value[0], Finding())
    if DISAGREEMENT in found:
        return False, found[DISAGREEMENT]
    return (True, found[AGREEMENT]) if AGREEMENT in found else (None, Finding())


def _named_by_report(dataset: Any) -> list[str]:
    found = dicom_content.named(dataset)
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence",
                    "PredecessorDocumentsSequence"):  # fmt: skip
        found += dicom_content.by_study(dataset, keyword)
    return list(dict.fromkeys(found))


def _concept(item: Any) -> str:
    value, scheme, _ = dicom_content.code(item.get("ConceptNameCodeSequence", None))
    return value if scheme == "DCM" else ""


def _reader(dataset: Any) -> str:
    """Who verified it, else who observed, wrote or selected."""
    for keyword, name in (("VerifyingObserverSequence", "VerifyingObserverName"),
                          ("AuthorObserverSequence", "PersonName")):  # fmt: skip
        for item in dataset.get(keyword, None) or ():
            if found := str(item.get(name, "") or "").strip():
                return found
    for item in dicom_content.items(dataset):
        if _concept(item) == OBSERVER and (found := str(item.get("PersonName", "") or "").strip()):
            return found
    return next((text for key in ("ContentCreatorName", "OperatorsName")
                 if (text := str(dataset.get(key, "") or "").strip())), "")  # fmt: skip
