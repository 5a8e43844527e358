"""Assessments over HTTP on fakes: what is taken, one identity for a repeat, pseudonyms, labels in place (S1, CC11)."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from schemas import ids, topics
from schemas.events import ResultAssessed
from tests.support.http_door import KEY, Client, at_the_door

RESULT = UUID("6a3c1c44-5f6b-5c3e-9d0e-4f6f3f1f8a01")


@pytest.fixture
async def desk() -> AsyncIterator[Client]:
    """A reviewer's place."""
    async with at_the_door() as found:
        yield found


async def assess(desk: Client, key: str | None = "once", result: object = RESULT, **said: Any) -> httpx.Response:
    headers = {"idempotency_key": key} if key else {}
    body = {"verdict": "rejected", "label": "normal", "clinician": "Dr. Lee", **said}
    return await desk.post(f"/v1/results/{result}/assessments", body, **headers)


async def test_an_assessment_becomes_one_event_with_a_pseudonym_keyed_by_its_result(desk: Client) -> None:
    answer = await assess(desk)
    assert answer.status_code == 200
    (event,) = desk.events(topics.OVERRIDES, ResultAssessed)
    clinician = ids.clinician_id(KEY, "dr. lee")
    assert event.clinician_id == clinician
    assert event.override_id == ids.override_id(RESULT, clinician, "rejected", "normal", "once")
    assert answer.json() == {"override_id": str(event.override_id)}
    (message,) = desk.publisher.topics[topics.OVERRIDES]
    assert message.key == str(RESULT).encode()
    assert b"Lee" not in message.value


async def test_a_repeat_is_the_same_assessment_and_another_key_another(desk: Client) -> None:
    first, again, other = await assess(desk), await assess(desk, None, idempotency_key="once"), await assess(desk, "2")
    assert first.json() == again.json() != other.json()


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ({"key": None}, 400, "Idempotency-Key"),
        ({"key": "k" * 201}, 400, "200"),
        ({"idempotency_key": "another"}, 400, "different"),
        ({"result": "7"}, 400, "UUID"),
        ({"verdict": "wrong"}, 422, "verdict"),
        ({"verdict": "supplemented", "label": " "}, 422, "needs a label"),
        ({"verdict": "accepted"}, 422, "takes no label"),
        ({"clinician": ""}, 422, "clinician"),
        ({"clinician": "  "}, 422, "clinician"),
        ({"comment": "looks wrong"}, 422, "comment"),
    ],
)
async def test_what_cannot_be_taken_is_told_why(desk: Client, said: dict[str, Any], status: int, reason: str) -> None:
    answer = await assess(desk, **said)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert topics.OVERRIDES not in desk.publisher.topics


@pytest.mark.parametrize(
    "said", [{"verdict": "accepted", "label": ""}, {"label": ""}, {"verdict": "supplemented", "label": "effusion"}]
)
async def test_a_label_is_required_only_where_it_says_what_is_missing(desk: Client, said: dict[str, Any]) -> None:
    assert (await assess(desk, **said)).status_code == 200


async def test_not_json_another_type_and_a_broker_that_is_away(desk: Client) -> None:
    url = f"/v1/results/{RESULT}/assessments"
    assert (await desk.post(url, b"{", idempotency_key="k")).status_code == 400
    assert (await desk.post(url, b"{}", idempotency_key="k", content_type="text/plain")).status_code == 415
    desk.publisher.away = True
    answer = await assess(desk)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
