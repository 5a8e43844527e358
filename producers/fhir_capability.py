"""What the FHIR interface says of itself (CapabilityStatement); the routes are elsewhere."""

from datetime import datetime
from typing import Any

from producers import uploaded
from producers.fhir_bundle import TYPES
from producers.fhir_reading import GUIDE, PROFILE

DEDUPLICATION = (
    "The credential selects the wearer. A sensor reading is wearer and effectiveDateTime: the same value again is 200 "
    "and adds nothing, another value is its next version. Other resources are their first identifier, else their "
    "content. ifNoneExist is understood with identifier, date, code and the like; entries fail alone."
)
SUMMARIES = (
    "cgm-summary",
    "cgm-summary-mean-glucose-mass-per-volume",
    "cgm-summary-mean-glucose-moles-per-volume",
    "cgm-summary-times-in-ranges",
    "cgm-summary-gmi",
    "cgm-summary-coefficient-of-variation",
    "cgm-summary-days-of-wear",
    "cgm-summary-sensor-active-percentage",
)
SUPPORTED = {
    "Observation": [*PROFILE.values(), *(f"{GUIDE}/StructureDefinition/{name}" for name in SUMMARIES)],
    "DiagnosticReport": [f"{GUIDE}/StructureDefinition/cgm-summary-pdf"],
    "Device": [f"{GUIDE}/StructureDefinition/cgm-device"],
}
SEARCH = (("code", "token"), ("date", "date"), ("patient", "reference"), ("subject", "reference"))


def capability(now: datetime) -> dict[str, Any]:
    """The CapabilityStatement of a receiver of CGM data."""
    security = {"description": "api-secret, HTTP Basic user name, bearer token, or ?token=; one wearer each"}
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": uploaded.iso(now),
        "kind": "instance",
        "software": {"name": "clinstream"},
        "implementation": {"description": "clinstream: the door for glucose readings"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "instantiates": [f"{GUIDE}/CapabilityStatement/cgm-data-receiver"],
        "implementationGuide": [f"{GUIDE}/ImplementationGuide/hl7.fhir.uv.cgm"],
        "rest": [
            {
                "mode": "server",
                "documentation": DEDUPLICATION,
                "security": security,
                "resource": [_resource(kind) for kind in TYPES],
                "operation": [
                    {
                        "name": "submit-cgm-bundle",
                        "definition": f"{GUIDE}/OperationDefinition/submit-cgm-bundle",
                        "documentation": DEDUPLICATION,
                    }
                ],
            }
        ],
    }


def _resource(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": kind,
        "supportedProfile": SUPPORTED[kind],
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "versioned" if kind == "Observation" else "no-version",
        "conditionalCreate": True,
    }
    if kind == "Observation":
        found["searchParam"] = [{"name": name, "type": of} for name, of in SEARCH]
    return found
