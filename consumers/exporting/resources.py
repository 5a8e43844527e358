"""A result as FHIR R4 resources: DiagnosticReport, an Observation a finding, the Device that made it, a Provenance.

Plain mappings for one transaction Bundle of PUTs, so that a second telling changes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

from pydicom.sr.coding import Code

from consumers.exporting import codes, places
from consumers.exporting.account import PURPOSE, Account, Presence, Statement
from consumers.exporting.report import MANUFACTURER, percent
from consumers.exporting.source import SourceImage
from schemas import ids

SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    codes.OWN_SCHEME: "urn:oid:" + ids.DICOM_ROOT,
}
DICOM_UID = "urn:dicom:uid"
UCUM = "http://unitsofmeasure.org"
IMAGING_REPORT = {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}
PRESENCES: dict[Presence, Code] = {
    "present": codes.PRESENT,
    "absent": codes.ABSENT,
    "indeterminate": codes.INDETERMINATE,
}

Resource = dict[str, Any]

MASKED: Resource = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"},
    ]
}
"""Of a time that a resource must have and that would tell the day."""


def bundle(
    account: Account, source: SourceImage, others: Sequence[SourceImage] = (), *, withdrawn: bool = False
) -> Resource:
    """The transaction; a withdrawn result is entered in error, an assessed one corrected, of no place any more.

    `others` are the other images; where they are not at hand, nothing is said of places in them.
    """
    told = [account, *(replace(each, changed={}) for each in account.others)]
    images = [source, *others, *([None] * (len(told) - 1 - len(others)))]
    observations = [
        _observation(each, said, source, image, withdrawn)
        for each, image in zip(told, images, strict=True)
        for said in each.statements
    ]
    made = [_device(account), *observations, _report(account, source, observations, withdrawn)]
    if account.changed:
        made.append(_provenance(account, observations))
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
            for each in made
        ],
    }


def _observation(
    account: Account, statement: Statement, source: SourceImage, image: SourceImage | None, withdrawn: bool
) -> Resource:
    answer = account.result.answer
    status = "entered-in-error" if withdrawn else "corrected" if account.changed else "preliminary"
    found: Resource = {
        "resourceType": "Observation",
        "id": _id(account, "observation", statement.label),
        "identifier": [_uid(ids.own_uid("tracking", str(account.identity), statement.label))],
        "status": status,
        "category": [_concept_of("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")],
        "code": _concept(codes.of_label(statement.label)),
        "subject": _patient(source),
        "derivedFrom": [_study(source)],
        **_times(account),
        "valueCodeableConcept": _concept(PRESENCES[statement.presence]),
        "device": {"reference": f"Device/{_device_id(account)}"},
        "method": _concept(codes.ARTIFICIAL_INTELLIGENCE),
        "note": [{"text": f"{PURPOSE}. {answer.notice}"}],
        "component": [
            {
                "code": _concept(codes.CERTAINTY),
                "valueQuantity": {
                    "value": percent(statement.probability),
                    "unit": "%",
                    "system": UCUM,
                    "code": "%",
                },
            }
        ],
    }
    if image is not None and not withdrawn:
        found |= _body_site(image)
        found["component"] += _regions(account, statement, image)
    if account.changed:
        found["note"].append({"text": f"Assessed by a clinician: {_said(account)}"})
    return found


def _body_site(image: SourceImage) -> Resource:
    """The part of the body as the image states it, with a code where it is one that a model is meant for."""
    part = image.text("BodyPartExamined")
    code = codes.BODY_PARTS.get(part.upper())
    return {"bodySite": {**(_concept(code) if code else {}), "text": part}} if part else {}


def _regions(account: Account, statement: Statement, image: SourceImage) -> list[Resource]:
    """Two components a region, with the same text: its outline as the structured report has it, and how suspicious it
    is. R4 has no resource for a place in an image."""
    found: list[Resource] = []
    for said, number, region in places.regions_of(account):
        if said is statement:
            frame = ", frame 1" if places.frames(image) else ""
            text = f"region {number} of image urn:oid:{image.stand_in.SOPInstanceUID}{frame}"
            outline = {"valueString": f"POLYLINE {places.in_words(region, image)}"}
            suspicion = {"valueQuantity": {"value": region.score, "system": UCUM, "code": "1"}}
            found += [
                {"code": {**_concept(code), "text": text}, **value}
                for code, value in ((codes.IMAGE_REGION, outline), (codes.SUSPICION, suspicion))
            ]
    return found


def _report(account: Account, source: SourceImage, observations: list[Resource], withdrawn: bool) -> Resource:
    status = "entered-in-error" if withdrawn else "amended" if account.changed else "preliminary"
    found: Resource = {
        "resourceType": "DiagnosticReport",
        "id": str(account.identity),
        "identifier": [
            _uid(account.uid("sr")),
        ],
        "status": status,
        "category": [_concept_of("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")],
        "code": {"coding": [IMAGING_REPORT], "text": account.title},
        "subject": _patient(source),
        **_times(account),
        "imagingStudy": [_study(source)],
        "result": [{"reference": f"Observation/{each['id']}"} for each in observations],
        "conclusion": "; ".join([f"{PURPOSE}: {account.title}: {account.conclusion}", *account.remarks]),
        "conclusionCode": [
            _concept(codes.of_label(each.label)) for each in account.statements if each.presence == "present"
        ],
    }
    if number := source.text("AccessionNumber"):
        kind = _concept_of("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID")
        found["basedOn"] = [{"type": "ServiceRequest", "identifier": {"type": kind, "value": number}}]
    return {name: value for name, value in found.items() if value != []}


def _device(account: Account) -> Resource:
    answer = account.result.answer
    return {
        "resourceType": "Device",
        "id": _device_id(account),
        "identifier": [_uid(ids.own_uid("device", answer.task, answer.version))],
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": answer.task, "type": "model-name"}],
        "type": _concept(codes.ARTIFICIAL_INTELLIGENCE),
        "version": [{"value": answer.version}],
    }


def _provenance(account: Account, observations: list[Resource]) -> Resource:
    """Who stands behind the correction: a clinician, whose name stays here; the pseudonym is in the override."""
    return {
        "resourceType": "Provenance",
        "id": _id(account, "provenance", str(account.result.result_id)),
        "target": [{"reference": f"Observation/{each['id']}"} for each in observations],
        **({"_recorded": MASKED} if account.edition else {"recorded": _time(account.told_at)}),
        "activity": _concept_of("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "UPDATE", "revise"),
        "agent": [{"who": {"display": "a clinician, through the review door"}}],
        "reason": [{"text": _said(account)}],
    }


def _said(account: Account) -> str:
    verdict, label = account.changed.get("assessment", ""), account.changed.get("label", "")
    return ", ".join(each.replace("_", " ") for each in (verdict, label) if each)


def _patient(source: SourceImage) -> Resource:
    """The patient by identifier: which resource that is, the server knows."""
    named: Resource = {"value": source.text("PatientID") or "unknown"}
    if issuer := source.text("IssuerOfPatientID"):
        named["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": named}


def _study(source: SourceImage) -> Resource:
    return {"type": "ImagingStudy", "identifier": _uid(str(source.stand_in.StudyInstanceUID))}


def _uid(uid: str) -> Resource:
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def _concept(code: Code) -> Resource:
    return _concept_of(SYSTEMS[code.scheme_designator], code.value, code.meaning)


def _concept_of(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _device_id(account: Account) -> str:
    answer = account.result.answer
    return str(uuid5(ids.NAMESPACE, f"device\n{answer.task}\n{answer.version}"))


def _id(account: Account, kind: str, name: str) -> str:
    return str(uuid5(ids.NAMESPACE, f"fhir\n{kind}\n{account.identity}\n{name}"))


def _times(account: Account) -> Resource:
    """When the image came and the result was made; of a telling that names nobody neither, as in its DICOM objects."""
    if account.edition:
        return {}
    return {"effectiveDateTime": _time(account.result.answer.hops["observed"]), "issued": _time(account.made_at)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
