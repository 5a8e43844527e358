"""The HTTP door as a process, with a real broker (S1): readiness, answers, draining, refusing, and its speed."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import psutil
import pytest

from adapters.settings import Settings
from schemas import envelope, topics
from schemas.events import VitalsObserved
from tests.support.doors import Doors, Log, doors_of, log_of


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings) -> Iterator[Doors]:
    """One process of the HTTP door."""
    with doors_of(kafka_settings, "door-http") as found:
        yield found


@pytest.fixture
def log(doors: Doors) -> Iterator[Log]:
    """What the door puts onto the log during one test."""
    with log_of(doors.settings, topics.OBSERVED_VITALS) as found:
        yield found


@pytest.fixture
def client(doors: Doors) -> Iterator[httpx.Client]:
    """A ward's connection."""
    with httpx.Client(base_url=url(doors), timeout=30, trust_env=False) as found:
        yield found


def url(doors: Doors) -> str:
    return f"http://127.0.0.1:{doors.settings.doors.http_port}"


def readings(count: int) -> list[dict[str, Any]]:
    features = {f"Feature_{number}": number * 1.5 if number % 4 else None for number in range(62)}
    return [
        {"stay": f"secret {uuid4()}", "measured_at": "2026-01-31T09:00:00Z", "features": features} for _ in range(count)
    ]


def test_what_was_answered_accepted_is_on_the_log_under_the_same_ids(client: httpx.Client, log: Log) -> None:
    answer = client.post("/v1/vitals", json=readings(25))
    assert answer.status_code == 200
    promised = {result["event_id"] for result in answer.json()["results"]}
    records = log.read()
    assert {record.envelope.id for record in records} == promised
    for record in records:
        event = envelope.read(VitalsObserved, record.value)
        assert str(event.event_id) == record.envelope.id
        assert record.key == event.subject_id.encode()


def test_the_door_is_alive_ready_and_serves_its_description(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert "/v1/vitals" in client.get("/openapi.json").json()["paths"]


def test_no_request_is_logged_and_no_stay_appears_anywhere(client: httpx.Client, doors: Doors, log: Log) -> None:
    client.post("/v1/vitals", json=readings(3))
    client.post("/v1/vitals", content=b'{"stay": "secret', headers={"content-type": "application/json"})
    assert "secret" not in doors.log("door-http")
    for record in log.read():
        assert b"secret" not in record.value + (record.key or b"") + b"".join(value for _, value in record.headers)


def test_requests_are_counted_by_their_status(client: httpx.Client, doors: Doors) -> None:
    line = 'clinstream_door_requests_total{door="http",status="415"}'
    before = doors.metric(line, "door-http") or 0.0
    client.post("/v1/vitals", content=b"a,b", headers={"content-type": "text/csv"})
    assert doors.metric(line, "door-http") == before + 1


def test_a_door_without_room_on_its_disk_answers_503_with_retry_after(kafka_settings: Settings) -> None:
    with doors_of(kafka_settings) as doors:
        doors.start("door-http", CLINSTREAM_DOOR_DISK_WATERMARK_BYTES=str(1 << 60))
        answer = httpx.post(f"{url(doors)}/v1/vitals", json=readings(1), trust_env=False)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{url(doors)}/readyz", trust_env=False).status_code == 503


def test_a_door_told_to_end_answers_the_posts_under_way(kafka_settings: Settings) -> None:
    with doors_of(kafka_settings, "door-http") as doors, log_of(doors.settings, topics.OBSERVED_VITALS) as log:
        promised: set[str] = set()
        gone = threading.Event()

        def run() -> None:
            with httpx.Client(base_url=url(doors), timeout=30, trust_env=False) as client:
                while not gone.is_set():
                    try:
                        answer = client.post("/v1/vitals", json=readings(20))
                    except httpx.TransportError:
                        gone.set()
                    else:
                        promised.update(result["event_id"] for result in answer.json()["results"])

        senders = [threading.Thread(target=run) for _ in range(3)]
        for sender in senders:
            sender.start()
        while len(promised) < 100:
            assert not gone.is_set()
            time.sleep(0.01)
        assert doors.stop("door-http") == 0
        for sender in senders:
            sender.join(60)
        assert promised <= {record.envelope.id for record in log.read()}


def test_a_thousand_events_in_posts_of_a_hundred_cost_less_than_a_third_of_a_core_second(
    client: httpx.Client, doors: Doors, log: Log
) -> None:
    """3,000 events/s on one core: measured as processor time of the door, which a busy machine does not change."""
    bodies = [msgspec.json.encode(readings(100)) for _ in range(30)]
    headers = {"content-type": "application/json"}
    client.post("/v1/vitals", content=bodies[0], headers=headers)
    process = psutil.Process(doors.processes["door-http", 0].pid)
    before = process.cpu_times()
    for body in bodies[1:]:
        assert client.post("/v1/vitals", content=body, headers=headers).status_code == 200
    after = process.cpu_times()
    spent = (after.user + after.system - before.user - before.system) / 2.9
    assert spent < 1000 / 3000, f"{spent:.3f} s of processor time a thousand events"
    assert len(log.read()) == 3000
