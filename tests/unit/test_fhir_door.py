"""The FHIR interface of the HTTP door on fakes: submissions of the HL7 CGM guide and Observations out (GL16)."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome

from producers.fhir_reading import GUIDE
from schemas import topics
from schemas.events import GlucoseObserved
from tests.support.http_door import Client, at_the_door

SECRET, SUBJECT = "a secret of the wearer", "sub-wearer"
SUBMIT = "/fhir/$submit-cgm-bundle"
ME = {"api-secret": SECRET, "content-type": "application/fhir+json"}
MASS, MOLES, OURS = "99504-3", "105272-9", "http://example.org/readings"
NOW = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.fixture
async def app() -> AsyncIterator[Client]:
    """A sender that has a credential."""
    async with at_the_door() as found:
        found.wearers.add(SECRET, SUBJECT)
        await found.clock.advance(1)
        yield found


def reading(minutes: int = 0, value: float = 120, code: str = MASS, **more: Any) -> dict[str, Any]:
    unit = "mg/dL" if code == MASS else "mmol/L"
    quantity = {"value": value, "unit": unit.lower(), "system": "http://unitsofmeasure.org", "code": unit}
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/example"},
        "effectiveDateTime": (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z"),
        "valueQuantity": quantity,
        **more,
    }


def summary(kind: str = "Observation", **more: Any) -> dict[str, Any]:
    """A result over days, as the guide's example bundle has several beside one reading."""
    period = {"start": "2024-05-01", "end": "2024-05-31"}
    code = {"coding": [{"system": "http://loinc.org", "code": "97507-8"}]}
    quantity = {"value": 145, "unit": "mg/dl", "system": "http://unitsofmeasure.org", "code": "mg/dL"}
    found = {"resourceType": kind, "status": "final", "code": code, "subject": {"reference": "Patient/example"}}
    return {
        **found,
        "effectivePeriod": period,
        **({"valueQuantity": quantity} if kind == "Observation" else {}),
        **more,
    }


def bundle(*resources: dict[str, Any], kind: str = "transaction", **request: Any) -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"https://example.org/{each['resourceType']}/{number}",
            "resource": each,
            "request": {"method": "POST", "url": each["resourceType"], **request},
        }
        for number, each in enumerate(resources)
    ]
    tag = {"system": f"{GUIDE}/CodeSystem/cgm-codes", "code": "cgm-data-submission-bundle"}
    return {"resourceType": "Bundle", "type": kind, "meta": {"tag": [tag]}, "entry": entries}


async def submit(app: Client, content: Any) -> list[dict[str, Any]]:
    """The response of each entry; what was taken is recorded."""
    answer = await app.client.post(SUBMIT, content=json.dumps(content), headers=ME)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    Bundle.model_validate(answer.json())
    assert answer.json()["type"] == content["type"] + "-response"
    for topic in topics.OBSERVED_GLUCOSE.values():
        app.shelf.record(*app.events(topic, GlucoseObserved))
    return [entry["response"] for entry in answer.json()["entry"]]


def statuses(responses: list[dict[str, Any]]) -> list[str]:
    return [response["status"][:3] for response in responses]


async def get(app: Client, path: str, status: int = 200) -> Any:
    answer = await app.client.get(path, headers=ME)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("kind", ["transaction", "batch"])
async def test_a_bundle_shaped_like_the_guides_is_taken_and_posted_twice_gives_200_and_no_second_row(
    app: Client, kind: str
) -> None:
    report = summary("DiagnosticReport", presentedForm=[{"contentType": "application/pdf", "data": "JVBERi0="}])
    device = {"resourceType": "Device", "identifier": [{"system": "http://acme.com", "value": "4"}]}
    sent = bundle(report, summary(), reading(5), reading(0, 6.7, MOLES), device, kind=kind)
    first = await submit(app, sent)
    assert statuses(first) == ["201"] * 5
    assert statuses(await submit(app, sent)) == ["200"] * 5
    assert len(app.shelf.rows[SUBJECT]) == 2
    assert len(app.shelf.kept[SUBJECT, "fhir"]) == 3
    live = app.events(topics.OBSERVED_GLUCOSE_LIVE, GlucoseObserved)
    assert [(event.glucose_mg_dl, event.raw_unit, event.sender) for event in live] == [
        (120.0, "mg/dL", "fhir"),
        (120.7, "mmol/L", "fhir"),
    ]
    for response in first:
        found = await get(app, "/fhir/" + response["location"])
        assert found["resourceType"] == response["location"].partition("/")[0]


async def test_readings_come_out_as_they_went_in_with_profile_and_code_and_validate(app: Client) -> None:
    sent = [reading(10, 118, device={"display": "Acme"}), reading(5, 6.7, MOLES)]
    limit = reading(0, 400)
    limit["valueQuantity"]["comparator"] = ">="
    await submit(app, bundle(*sent, limit))
    found = await get(app, "/fhir/Observation")
    Bundle.model_validate(found)
    newest, molar, mass = (entry["resource"] for entry in found["entry"])
    assert mass["meta"]["profile"] == [f"{GUIDE}/StructureDefinition/cgm-sensor-reading-mass-per-volume"]
    assert molar["meta"]["profile"] == [f"{GUIDE}/StructureDefinition/cgm-sensor-reading-moles-per-volume"]
    for was, now in zip(sent, (mass, molar), strict=True):
        assert now["valueQuantity"] == was["valueQuantity"]
        assert now["code"] == was["code"]
        assert datetime.fromisoformat(now["effectiveDateTime"]) == datetime.fromisoformat(was["effectiveDateTime"])
    assert mass["device"] == {"display": "Acme"}
    assert newest["valueQuantity"]["comparator"] == ">="
    app.shelf.rows[SUBJECT].sort(key=lambda row: row.measured_at)
    assert app.shelf.rows[SUBJECT][-1].clipped == "high"


async def test_readings_are_searched_by_code_and_date_in_pages(app: Client) -> None:
    await submit(app, bundle(*(reading(5 * n, 100 + n) for n in range(5)), reading(60, 5.0, MOLES), summary()))

    async def values(query: str) -> list[float]:
        found = await get(app, f"/fhir/Observation?{query}")
        return [entry["resource"]["valueQuantity"]["value"] for entry in found.get("entry", [])]

    assert await values(f"code=http://loinc.org|{MOLES}") == [5.0]
    assert await values(f"code={MASS}&date=ge2023-11-14T22:08:20Z") == [100, 101]
    assert await values("date=lt2023-11-14T22:08:20Z&date=ge2023-11-14T22:00:00Z") == [102]
    assert await values("code=97507-8") == [145]
    assert await values("patient=sub-another") == []
    assert await values(f"patient=Patient/{SUBJECT}&_count=1") == [100]
    page, seen = await get(app, "/fhir/Observation?_count=2"), []
    while True:
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        page = await get(app, following[0].removeprefix("http://door"))
    assert len(seen) == len(set(seen)) == 6
    for query in ("date=yesterday", "value=3", "_count=0"):
        OperationOutcome.model_validate(await get(app, f"/fhir/Observation?{query}", 400))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"effectiveDateTime": "2023-11-14T22:13:20"}, "zone"),
        ({"effectiveDateTime": "2023-11-14"}, "effectiveDateTime"),
        ({"status": "cancelled"}, "status"),
        ({"valueQuantity": {"value": "120", "unit": "mg/dL"}}, "not a number"),
        ({"valueQuantity": {"value": 120, "unit": "g/L"}}, "neither mg/dL nor mmol/L"),
        ({"valueQuantity": {"value": 6.7, "unit": "mmol/L"}}, "do not belong together"),
        ({"valueQuantity": {"value": 6.7, "unit": "mg/dL"}}, "looks like mmol/L"),
        ({"valueQuantity": {"value": 120, "unit": "mg/dL", "comparator": "ad"}}, "comparator"),
        ({"resourceType": "Patient"}, "only Observation"),
        ({"subject": {"reference": "Patient/other"}}, "more than one subject"),
    ],
)
async def test_an_entry_that_cannot_be_right_fails_alone_with_its_reason(
    app: Client, changes: dict[str, Any], reason: str
) -> None:
    wrong, good = await submit(app, bundle(reading(5, **changes), reading(0)))
    assert wrong["status"] == "422 Unprocessable Entity"
    assert reason in wrong["outcome"]["issue"][0]["diagnostics"]
    assert "location" not in wrong
    assert good["status"][:3] == ("422" if "subject" in changes else "201")
    assert topics.DEAD_UNPROCESSABLE in app.publisher.topics


async def test_what_is_not_a_post_or_names_another_type_is_not_done(app: Client) -> None:
    assert statuses(await submit(app, bundle(reading(), method="PUT"))) == ["405"]
    assert statuses(await submit(app, bundle(reading(), url="Patient"))) == ["400"]
    assert statuses(await submit(app, {**bundle(), "entry": [7, {"fullUrl": "x"}]})) == ["400", "400"]
    assert not app.events(topics.OBSERVED_GLUCOSE_LIVE, GlucoseObserved)


async def test_a_conditional_create_is_done_once(app: Client) -> None:
    named = [{"system": OURS, "value": "1"}]
    when = {"ifNoneExist": f"identifier={OURS}|1"}
    assert statuses(await submit(app, bundle(summary(identifier=named), **when))) == ["201"]
    assert statuses(await submit(app, bundle(summary(identifier=named, status="amended"), **when))) == ["200"]
    assert statuses(await submit(app, bundle(reading(0, identifier=named), **when))) == ["201"]
    assert statuses(await submit(app, bundle(reading(0, 130, identifier=named), **when))) == ["200"]
    (row,) = app.shelf.rows[SUBJECT]
    assert row.raw_value == 120
    assert statuses(await submit(app, bundle(reading(5), ifNoneExist=f"code={MASS}"))) == ["200"]
    assert statuses(await submit(app, bundle(reading(5)))) == ["201"]
    assert statuses(await submit(app, bundle(reading(10), ifNoneExist=f"code={MASS}"))) == ["412"]
    assert statuses(await submit(app, bundle(reading(10), ifNoneExist="_text=x"))) == ["400"]


async def test_corrections_and_errors_are_versions_of_the_reading(app: Client) -> None:
    """GL3"""
    (made,) = await submit(app, bundle(reading(0, 120)))
    place = "/fhir/" + made["location"]
    await submit(app, bundle(reading(0, 121, status="corrected")))
    await submit(app, bundle(reading(0, 120, status="corrected")))
    found = await get(app, place)
    assert (found["valueQuantity"]["value"], found["status"], found["meta"]["versionId"]) == (120, "amended", "3")
    assert statuses(await submit(app, bundle(reading(0, 120, status="entered-in-error")))) == ["200"]
    assert statuses(await submit(app, bundle(reading(0, 120, status="entered-in-error")))) == ["200"]
    OperationOutcome.model_validate(await get(app, place, 410))
    assert len(app.shelf.rows[SUBJECT]) == 4
    assert statuses(await submit(app, bundle(reading(9, status="entered-in-error")))) == ["422"]


async def test_the_server_says_that_it_is_a_receiver_of_the_guide(app: Client) -> None:
    found = (await app.client.get("/fhir/metadata")).json()
    CapabilityStatement.model_validate(found)
    assert found["instantiates"] == [f"{GUIDE}/CapabilityStatement/cgm-data-receiver"]
    assert found["rest"][0]["operation"][0]["name"] == "submit-cgm-bundle"


async def test_who_may_not_or_asks_too_often_is_told_in_fhir(app: Client) -> None:
    """GL15"""
    answer = None
    for _ in range(510):
        answer = await app.client.get("/fhir/Observation", headers=ME)
    assert answer is not None
    assert answer.status_code == 429
    assert "retry-after" in answer.headers
    assert answer.json()["issue"][0]["code"] == "throttled"
    OperationOutcome.model_validate(answer.json())


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", ME, 400),
        (b"{}", ME, 400),
        (b'{"resourceType": "Bundle", "type": "searchset"}', ME, 400),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": 7}', ME, 413),
        (b"<Bundle/>", {**ME, "content-type": "application/fhir+xml"}, 415),
    ],
)
async def test_what_is_no_submission_is_told_so(
    app: Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await app.client.post(SUBMIT, content=content, headers=headers)
    assert answer.status_code == status
    OperationOutcome.model_validate(answer.json())
