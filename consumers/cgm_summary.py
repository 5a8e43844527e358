"""Glycaemic metrics as FHIR R4: the summary of the HL7 CGM guide, one panel with its six Observations a window."""

from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.database import MetricsRow
from schemas import ids
from schemas.events import GLUCOSE_NOTICE, GlycaemicFigures

GUIDE = "http://hl7.org/fhir/uv/cgm/StructureDefinition"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
PANEL, RANGES = ("cgm-summary", "107931-8"), ("cgm-summary-times-in-ranges", "106793-3")
IN_RANGE = {
    "very_low": "104642-4",
    "low": "104641-6",
    "target": "97510-2",
    "high": "104640-8",
    "very_high": "104639-0",
}
# Field of the figures: profile, LOINC code, unit as it is written, UCUM code.
SINGLE = {
    "mean_mg_dl": ("cgm-summary-mean-glucose-mass-per-volume", "97507-8", "mg/dl", "mg/dL"),
    "gmi_percent": ("cgm-summary-gmi", "97506-0", "%", "%"),
    "cv_percent": ("cgm-summary-coefficient-of-variation", "104638-2", "%", "%"),
    "days_of_wear": ("cgm-summary-days-of-wear", "104636-6", "days", "d"),
    "sensor_active_percent": ("cgm-summary-sensor-active-percentage", "104637-4", "%", "%"),
}


def bundle(rows: list[MetricsRow]) -> dict[str, Any]:
    """A collection of the panels of these windows and their members; windows without readings have none."""
    found = [each for row in rows if row.figures.readings for each in observations(row)]
    entries = [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in found]
    return {"resourceType": "Bundle", "type": "collection", **({"entry": entries} if entries else {})}


def observations(row: MetricsRow) -> list[dict[str, Any]]:
    """The panel of a window, then its members."""
    members = [
        {**_common(row, profile, code), "valueQuantity": _quantity(getattr(row.figures, name), unit, ucum)}
        for name, (profile, code, unit, ucum) in SINGLE.items()
    ]
    members.append({**_common(row, *RANGES), "component": _ranges(row.figures)})
    panel = _common(row, *PANEL)
    panel["note"] = [{"text": GLUCOSE_NOTICE}]
    panel["hasMember"] = [{"reference": f"urn:uuid:{member['id']}"} for member in members]
    return [panel, *members]


def _common(row: MetricsRow, profile: str, code: str) -> dict[str, Any]:
    """What all Observations of a window have; an id for each revision of each."""
    subject, simulated = row.wearer
    last = datetime(row.ends_on.year, row.ends_on.month, row.ends_on.day, tzinfo=UTC)
    start, end = last - timedelta(days=row.days - 1), last + timedelta(days=1) - timedelta(milliseconds=1)
    revision = ids.metrics_id(subject, simulated, row.days, row.ends_on, row.revision)
    return {
        "resourceType": "Observation",
        "id": str(ids.part_id(revision, code)),
        "meta": {"versionId": str(row.revision), "profile": [f"{GUIDE}/{profile}"]},
        "status": "final" if row.revision == 1 else "amended",
        "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{subject}"},
        "effectivePeriod": {"start": start.isoformat(), "end": end.isoformat(timespec="milliseconds")},
    }


def _ranges(figures: GlycaemicFigures) -> list[dict[str, Any]]:
    return [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": _quantity(getattr(figures.percent, name), "%", "%"),
        }
        for name, code in IN_RANGE.items()
    ]


def _quantity(value: float, unit: str, ucum: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": ucum}
