"""`POST /v1/vitals` on fakes: what is taken, what is refused and how it is said (S1, CC11, CC21)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from producers import http
from producers.door import Door, Limits
from schemas import envelope, ids, topics
from schemas.events import VitalsObserved

KEY = b"k" * 32
JSON = {"content-type": "application/json"}


class Ward:
    """A client of a door on fakes."""

    def __init__(self) -> None:
        self.publisher, self.blobs, self.clock = FakePublisher(), FakeBlobs(), FakeClock()
        self.door = Door(self.publisher, self.blobs, self.clock, Limits(0.05, 1000))
        app = http.build(self.door, KEY, self.clock)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door")

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.post("/v1/vitals", content=content, headers={**JSON, **headers})

    def events(self) -> list[tuple[envelope.Envelope, VitalsObserved]]:
        read = [
            envelope.read_any(message.headers, message.value, [VitalsObserved])
            for message in self.publisher.topics[topics.OBSERVED_VITALS]
        ]
        return [(head, event) for head, event in read if isinstance(event, VitalsObserved)]


@pytest.fixture
async def ward() -> AsyncIterator[Ward]:
    found = Ward()
    await found.publisher.start()
    yield found
    await found.client.aclose()


def reading(**changes: Any) -> dict[str, Any]:
    return {
        "stay": "stay 12",
        "measured_at": "2026-01-31T09:00:00.250+01:00",
        "features": {"Age": 54, "HR_first": 81.5, "Height": None},
        **changes,
    }


async def test_one_reading_becomes_one_event_with_its_deterministic_identity(ward: Ward) -> None:
    answer = await ward.post(reading())
    assert answer.status_code == 200
    ((head, event),) = ward.events()
    subject = ids.subject_id(KEY, "", "stay 12")
    assert event.subject_id == head.subject == subject
    assert event.object_id == f"{subject}@2026-01-31T08:00:00.250Z"
    assert event.content == ids.features_content({"Age": 54, "HR_first": 81.5})
    assert event.event_id == ids.event_id(event.object_id, event.content)
    assert answer.json() == {"results": [{"event_id": str(event.event_id), "status": "accepted", "reason": ""}]}
    assert event.features == {"Age": 54.0, "HR_first": 81.5, "Height": None}
    assert event.observed_at == ward.clock.now()
    assert head.traceparent
    assert ward.publisher.topics[topics.OBSERVED_VITALS][0].key == subject.encode()


async def test_the_stay_never_leaves_in_clear(ward: Ward) -> None:
    await ward.post(reading())
    (message,) = ward.publisher.topics[topics.OBSERVED_VITALS]
    assert b"stay 12" not in b"".join([message.value, message.key or b"", *(v for _, v in message.headers)])


async def test_the_same_reading_in_another_zone_and_order_is_the_same_event(ward: Ward) -> None:
    first = await ward.post(reading())
    second = await ward.post(reading(measured_at="2026-01-31T08:00:00.25Z", features={"HR_first": 81.5, "Age": 54.0}))
    assert first.json()["results"][0]["event_id"] == second.json()["results"][0]["event_id"]


async def test_in_an_array_each_reading_has_its_own_result_and_a_bad_one_harms_no_neighbour(ward: Ward) -> None:
    answer = await ward.post([reading(stay="a"), reading(measured_at="2026-01-31T09:00:00"), reading(stay="c")])
    assert answer.status_code == 200
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "refused", "accepted"]
    assert answer.json()["results"][1]["event_id"] is None
    assert len(ward.events()) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stay": 7}, "stay"),
        ({"stay": ""}, "stay"),
        ({"measured_at": "yesterday"}, "measured_at"),
        ({"measured_at": "2026-01-31T09:00:00"}, "measured_at"),
        ({"features": {"Age": "54"}}, "features"),
        ({"features": {}}, "features"),
        ({"features": [54]}, "features"),
        ({"features": {str(number): 1 for number in range(513)}}, "features"),
        ({"simulatd": True}, "simulatd"),
        ({"simulated": "yes"}, "simulated"),
    ],
)
async def test_a_refused_reading_names_the_field_and_not_its_value(
    ward: Ward, changes: dict[str, Any], field: str
) -> None:
    answer = await ward.post(reading(**changes))
    assert answer.status_code == 422
    (result,) = answer.json()["results"]
    assert result["status"] == "refused"
    assert field in result["reason"]
    assert "yesterday" not in result["reason"]
    assert not ward.events()


async def test_an_array_of_only_refused_readings_is_refused(ward: Ward) -> None:
    answer = await ward.post([reading(stay=1), reading(stay=2)])
    assert answer.status_code == 422
    assert len(answer.json()["results"]) == 2


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b"NaN", b'{"stay": "a", "features": {"Age": NaN}}', b"\xff\xfe"])
async def test_what_is_not_json_is_told_so(ward: Ward, body: bytes) -> None:
    answer = await ward.post(body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]


async def test_a_number_that_is_not_finite_is_never_accepted(ward: Ward) -> None:
    answer = await ward.post(b'{"stay":"a","measured_at":"2026-01-31T09:00:00Z","features":{"Age":1e999}}')
    assert answer.status_code in (400, 422)
    assert not ward.events()


@pytest.mark.parametrize("body", [b"7", b'"text"', b"null", b"true"])
async def test_json_of_another_shape_is_refused(ward: Ward, body: bytes) -> None:
    assert (await ward.post(body)).status_code == 422


async def test_an_empty_array_is_an_empty_answer(ward: Ward) -> None:
    answer = await ward.post([])
    assert (answer.status_code, answer.json()) == (200, {"results": []})


async def test_another_media_type_is_refused(ward: Ward) -> None:
    assert (await ward.post(reading(), **{"content-type": "text/csv"})).status_code == 415
    assert (await ward.post(reading(), **{"content-type": "application/json; charset=utf-8"})).status_code == 200


async def test_too_many_readings_or_bytes_are_refused_before_they_cost_anything(ward: Ward) -> None:
    assert (await ward.post([reading()] * 1001)).status_code == 413
    assert (await ward.post(b" " * 5_000_001)).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b" " * 1_000_000

    answer = await ward.client.post("/v1/vitals", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert not ward.events()


async def test_a_thousand_readings_are_taken_in_one_post_and_a_repeated_one_is_published_once(ward: Ward) -> None:
    readings = [reading(stay=str(number)) for number in range(999)]
    answer = await ward.post([*readings, readings[0]])
    assert [result["status"] for result in answer.json()["results"]] == ["accepted"] * 1000
    assert len(ward.events()) == 999


async def test_a_simulated_reading_says_so_and_shares_no_identity_with_the_real_one(ward: Ward) -> None:
    await ward.post([reading(), reading(simulated=True)])
    (head, real), (made_head, made_up) = ward.events()
    assert made_up.simulated
    assert made_head.extensions["simulated"] == "true"
    assert "simulated" not in head.extensions
    assert real.event_id != made_up.event_id


async def test_a_broker_that_does_not_acknowledge_means_503_and_when_to_come_again(ward: Ward) -> None:
    ward.publisher.away = True
    answer = await ward.post(reading())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    ward.publisher.away = False
    await ward.door.drain(5)
    assert len(ward.events()) == 1, "the refused reading lands later, and its identity makes that harmless"


async def test_a_full_disk_means_503_and_not_ready_but_alive(ward: Ward) -> None:
    assert (await ward.client.get("/readyz")).status_code == 200
    ward.blobs.room = 10
    await ward.clock.advance(1)
    assert (await ward.post(reading())).status_code == 503
    assert (await ward.client.get("/readyz")).status_code == 503
    assert (await ward.client.get("/healthz")).status_code == 200


async def test_the_published_api_description_is_what_the_door_does(ward: Ward) -> None:
    described = (await ward.client.get("/openapi.json")).json()
    post = described["paths"]["/v1/vitals"]["post"]
    one, many = post["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert set(one["required"]) == {"stay", "measured_at", "features"}
    assert set(one["properties"]) == {"stay", "measured_at", "features", "issuer", "simulated"}
    assert one["additionalProperties"] is False
    assert many["maxItems"] == 1000
    assert set(post["responses"]) == {"200", "400", "413", "415", "422", "503"}
