"""Sensor readings as FHIR R4 Observations of the HL7 CGM guide, in and out; HTTP and bundles are elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from adapters.database.shelf import Uploaded
from producers import uploaded
from producers.cgm import MAX_DEVICE, Reading
from schemas import ids
from schemas.errors import Unprocessable
from schemas.events import Bound, GlucoseUnit

GUIDE = "http://hl7.org/fhir/uv/cgm"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
OF_CODE: Mapping[str, GlucoseUnit] = {"99504-3": "mg/dL", "105272-9": "mmol/L"}
CODE_OF: Mapping[str, str] = {unit: code for code, unit in OF_CODE.items()}
PROFILE = {
    "mg/dL": f"{GUIDE}/StructureDefinition/cgm-sensor-reading-mass-per-volume",
    "mmol/L": f"{GUIDE}/StructureDefinition/cgm-sensor-reading-moles-per-volume",
}
WRITTEN = {"mg/dL": "mg/dl", "mmol/L": "mmol/l"}
"""How the guide's profiles write the unit beside its UCUM code."""

BOUNDS: Mapping[str, Bound] = {"<": "low", "<=": "low", ">": "high", ">=": "high"}
COMPARATORS = {"low": "<=", "high": ">="}
GOOD = frozenset(("registered", "preliminary", "final", "amended", "corrected"))


@dataclass(frozen=True, slots=True)
class Said:
    """What an Observation says of a sensor: a reading, or that the one of its time was entered in error."""

    reading: Reading
    wrong: bool


def is_reading(resource: Mapping[str, Any]) -> bool:
    """Whether a resource is a sensor reading with a value, by its code."""
    return (
        resource.get("resourceType") == "Observation"
        and bool(codes(resource) & OF_CODE.keys())
        and "dataAbsentReason" not in resource
    )


def codes(resource: Mapping[str, Any]) -> set[str]:
    """The LOINC codes of a resource."""
    found = _of(resource, "code", dict).get("coding")
    codings = found if isinstance(found, list) else []
    return {str(each.get("code")) for each in codings if isinstance(each, dict) and each.get("system") == LOINC}


def read(resource: Mapping[str, Any]) -> Said:
    """The reading of an Observation; raises Unprocessable saying which element is wrong."""
    status = resource.get("status")
    if status not in GOOD and status != "entered-in-error":
        raise Unprocessable("Observation.status is none that a reading has")
    units = {OF_CODE[code] for code in codes(resource) & OF_CODE.keys()}
    quantity = _of(resource, "valueQuantity", dict)
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unprocessable("Observation.valueQuantity.value is not a number")
    unit = _unit(quantity)
    if units != {unit}:
        raise Unprocessable("Observation.code and the unit of its value do not belong together")
    comparator = quantity.get("comparator", "")
    if comparator and comparator not in BOUNDS:
        raise Unprocessable("Observation.valueQuantity.comparator is not one of < <= >= >")
    return Said(
        Reading(
            measured_at=_time(resource),
            value=float(value),
            unit=unit,
            device=_device(resource),
            clipped=BOUNDS.get(comparator, ""),
        ),
        wrong=status == "entered-in-error",
    )


def observation(row: Uploaded, subject: str) -> dict[str, Any]:
    """The Observation of a recorded reading: the value and the unit that were sent."""
    unit = "mmol/L" if row.raw_unit == "mmol/L" else "mg/dL"
    quantity: dict[str, Any] = {"value": uploaded.number(row.raw_value)}
    if row.clipped:
        quantity["comparator"] = COMPARATORS[row.clipped]
    quantity |= {"unit": WRITTEN[unit], "system": UCUM, "code": unit}
    found: dict[str, Any] = {
        "resourceType": "Observation",
        "id": uploaded.identifier(row.time_ms),
        "meta": {
            "versionId": str(row.revision),
            "lastUpdated": uploaded.iso(row.recorded_at),
            "profile": [PROFILE[unit]],
        },
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{row.event_id}"}],
        "status": status(row),
        "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": CODE_OF[unit]}]},
        "subject": {"reference": f"Patient/{subject}"},
        "effectiveDateTime": uploaded.iso(row.measured_at),
        "valueQuantity": quantity,
    }
    if row.device:
        found["device"] = {"display": row.device}
    return found


def status(row: Uploaded) -> Literal["final", "amended", "entered-in-error"]:
    """How an Observation says that it was corrected or taken back."""
    if row.deleted:
        return "entered-in-error"
    return "final" if row.revision == 1 else "amended"


def _unit(quantity: Mapping[str, Any]) -> GlucoseUnit:
    """By UCUM code, else by the unit as it is written."""
    text = quantity.get("code") if quantity.get("system") == UCUM else quantity.get("unit")
    unit = {"mg/dl": "mg/dL", "mmol/l": "mmol/L"}.get(str(text or "").lower())
    if unit == "mg/dL":
        return "mg/dL"
    if unit == "mmol/L":
        return "mmol/L"
    raise Unprocessable("the unit of Observation.valueQuantity is neither mg/dL nor mmol/L")


def _time(resource: Mapping[str, Any]) -> datetime:
    text = resource.get("effectiveDateTime")
    try:
        if isinstance(text, str) and "T" in text:
            return ids.utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise Unprocessable("Observation.effectiveDateTime is no FHIR dateTime") from error
    raise Unprocessable("Observation.effectiveDateTime with time and zone is missing")


def _device(resource: Mapping[str, Any]) -> str:
    device = _of(resource, "device", dict)
    text = device.get("display") or device.get("reference") or ""
    return text[:MAX_DEVICE] if isinstance(text, str) else ""


def _of(resource: Mapping[str, Any], name: str, kind: type[dict[str, Any]]) -> dict[str, Any]:
    found = resource.get(name)
    return found if isinstance(found, kind) else {}
