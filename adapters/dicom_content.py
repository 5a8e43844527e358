"""What documents (structured reports, key object selections) say and which objects they name, by PS3.3 C.17.3."""

from collections.abc import Iterator
from typing import Any

REFERENCES = ("IMAGE", "COMPOSITE", "WAVEFORM")


def code(items: Any) -> tuple[str, str, str]:
    """(value, scheme, meaning) of the first item of a code sequence; empty where there is none."""
    for item in items or ():
        keywords = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        value, scheme, meaning = (str(item.get(keyword, "") or "").strip() for keyword in keywords)
        return value, scheme, meaning
    return "", "", ""


def title(dataset: Any) -> str:
    """The value of the document's title in the scheme DCM; empty for another scheme or none."""
    for item in dataset.get("ConceptNameCodeSequence", None) or ():
        if str(item.get("CodingSchemeDesignator", "")) == "DCM":
            return str(item.get("CodeValue", ""))
    return ""


def items(dataset: Any) -> Iterator[Any]:
    """Every content item of the tree, in the order of reading."""
    for item in dataset.get("ContentSequence", None) or ():
        yield item
        yield from items(item)


def named(dataset: Any) -> list[str]:
    """SOP Instance UIDs that the content refers to, or else the evidence, which repeats them by study and series."""
    found = [uid for item in items(dataset) if _is_reference(item) for uid in _instances(item)]
    return list(dict.fromkeys(found or by_study(dataset, "CurrentRequestedProcedureEvidenceSequence")))


def by_study(dataset: Any, keyword: str) -> Iterator[str]:
    """SOP Instance UIDs in a sequence of references by study and series."""
    for study in dataset.get(keyword, None) or ():
        for series in study.get("ReferencedSeriesSequence", None) or ():
            yield from _instances(series)


def _is_reference(item: Any) -> bool:
    return str(item.get("ValueType", "")) in REFERENCES


def _instances(item: Any) -> Iterator[str]:
    for reference in item.get("ReferencedSOPSequence", None) or ():
        uid = str(reference.get("ReferencedSOPInstanceUID", "") or "")
        if uid:
            yield uid
