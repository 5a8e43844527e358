"""A wearer's apps while the door, the glucose step and PostgreSQL die under them: nothing is lost, nothing is twice."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant, await_condition
from tests.support.senders import GIVE_UP_S, GLUCOSE_TASK, Acknowledged, credential

READINGS = 30
TAKEN_BACK = range(10)


class Phone:
    """Sends a reading in turn over both Nightscout interfaces and FHIR, each with a treatment, until it is taken."""

    def __init__(self, plant: Plant) -> None:
        self.subject = f"sub-{uuid4().hex}"
        doors = plant.settings.doors
        headers = {"api-secret": credential(plant, self.subject), "content-type": "application/json"}
        url = f"http://{doors.http_host}:{doors.http_port}"
        self.client = httpx.Client(base_url=url, headers=headers, timeout=30.0, trust_env=False)
        self.first_ms = round(datetime.now(UTC).timestamp() * 1000) - READINGS * 60_000

    def send(self) -> None:
        """Everything twice, as an app that did not hear the answer."""
        for number in range(READINGS):
            for _ in range(2):
                self.said("POST", *self.reading(number))
                self.said("POST", "/api/v1/treatments", {"syncIdentifier": f"t{number}", "insulin": number})
        for number in TAKEN_BACK:
            self.said("DELETE", f"/api/v3/entries/sgv-{self.time(number)}", None, gone=410)

    def time(self, number: int) -> int:
        """Its sensor times, a minute apart."""
        return self.first_ms + number * 60_000

    def reading(self, number: int) -> tuple[str, Any]:
        """Where and how a reading is sent."""
        entry = {"type": "sgv", "sgv": 100 + number, "date": self.time(number), "app": "test", "device": "phone"}
        if number % 3 < 2:
            return ("/api/v1/entries", [entry]) if number % 3 else ("/api/v3/entries", entry)
        resource = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
            "effectiveDateTime": datetime.fromtimestamp(self.time(number) / 1000, UTC).isoformat(),
            "valueQuantity": {"value": 100 + number, "unit": "mg/dl"},
        }
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": resource}]}
        return "/fhir/$submit-cgm-bundle", bundle

    def said(self, method: str, path: str, body: Any, gone: int = 0) -> None:
        """Repeats what is not taken; what a reader cannot see yet is asked for again too."""
        until = time.monotonic() + GIVE_UP_S
        while True:
            try:
                status = self.client.request(method, path, json=body).status_code
                if status in (200, 201, gone):
                    return
                assert status in (404, 503), status
            except httpx.TransportError:
                pass  # the door's process is being killed and started again
            assert time.monotonic() < until, f"{method} {path} was not taken for too long"
            time.sleep(0.3)


def test_what_apps_were_told_is_kept_once_through_kills_and_an_outage(plant: Plant, oracle: Oracle) -> None:
    """GL3, CC: both Nightscout interfaces and FHIR, readings, documents and deletions."""
    phone = Phone(plant)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(phone.send)
        for name in ("door-http.0", "glucose.live.0", "glucose.backfill.0"):
            faults.kill_and_wait(plant, name)
        with faults.stopped(plant, "database"):
            time.sleep(2.0)
        sending.result(timeout=GIVE_UP_S * 2)

    def rows() -> list[tuple[Any, ...]]:
        return plant.sql("SELECT measured_at, deleted, event_id FROM readings WHERE subject_id = $1", phone.subject)

    await_condition(lambda: len(rows()) >= READINGS + len(TAKEN_BACK), 60.0, "everything is recorded")
    sent = Acknowledged({str(event): GLUCOSE_TASK for _, _, event in rows()})
    assert oracle.judge(sent).faults == []
    found = rows()
    assert len({at for at, deleted, _ in found if not deleted}) == len(found) - len(TAKEN_BACK) == READINGS
    shown = phone.client.get("/api/v1/entries.json", params={"count": "all"}).json()
    assert sorted(each["sgv"] for each in shown) == [100 + number for number in range(len(TAKEN_BACK), READINGS)]
    treatments = phone.client.get("/api/v1/treatments.json", params={"count": "1000"}).json()
    assert sorted(each["insulin"] for each in treatments) == list(range(READINGS))
    phone.client.close()
