"""Assessments through the review door while the door and the step that stores them are killed: each is kept once."""

import os
import signal
import threading
import time
from uuid import uuid4

import httpx
import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant, await_condition
from tests.support.real_events import readings
from tests.support.senders import GIVE_UP_S, VITALS_TASK, Flow

RESULTS = 15  # fewer than make a run
SECONDS = 8.0
STEP, DOOR = "overrides.0", "door-http.0"
POINTS = ("after-decode:1", "after-commit:1", "after-step:1", "before-ack:1")


def _visible(plant: Plant, events: list[str]) -> list[tuple[str, str]]:
    rows = plant.sql(
        "SELECT v.answer_id::text, a.label FROM visible v JOIN answers a USING (answer_id) "
        "WHERE v.event_id = ANY($1::uuid[]) AND v.task = $2",
        events,
        VITALS_TASK,
    )
    return [(row[0], row[1]) for row in rows]


def _assess(plant: Plant, results: list[tuple[str, str]], kept: dict[str, str]) -> None:
    """Rejects each result, repeated with one key until the door says that it has it; notes the override's id."""
    doors = plant.settings.doors
    until = time.monotonic() + GIVE_UP_S
    with httpx.Client(base_url=f"http://{doors.http_host}:{doors.http_port}", timeout=30.0) as client:
        for result, answered in results:
            time.sleep(SECONDS / len(results))
            label = "survived" if answered != "survived" else "died_in_hospital"
            body = {"verdict": "rejected", "label": label, "clinician": "reviewer"}
            headers = {"idempotency-key": str(uuid4())}
            while result not in kept:
                assert time.monotonic() < until, "the review door took nothing for too long"
                try:
                    answer = client.post(f"/v1/results/{result}/assessments", json=body, headers=headers)
                except httpx.TransportError:
                    time.sleep(0.2)  # the door is being killed and started again
                    continue
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    kept[result] = answer.json()["override_id"]


@pytest.mark.parametrize("point", POINTS)
def test_each_acknowledged_assessment_is_stored_and_counted_once_when_the_step_and_the_door_die(
    plant: Plant, oracle: Oracle, point: str
) -> None:
    """S4, S5, delivery rule 6: the sender's own list is the oracle."""
    sent = Flow(plant, readings(RESULTS), [], seconds=0.0).wait()
    assert oracle.judge(sent).faults == []
    results = _visible(plant, list(sent.events))
    assert len(results) == RESULTS
    plant.sql("UPDATE retrain_counters SET n = 0 WHERE task = $1", VITALS_TASK)
    restarts = plant.components()[STEP].restarts
    faults.arm(plant, STEP, point)
    os.kill(plant.pid(STEP), signal.SIGKILL)
    await_condition(lambda: not faults.is_armed(plant, STEP), 60.0, "the step is armed")

    kept: dict[str, str] = {}
    sender = threading.Thread(target=_assess, args=(plant, results, kept))
    sender.start()
    await_condition(lambda: len(kept) >= RESULTS // 3, 60.0, "some are acknowledged")
    faults.kill_and_wait(plant, DOOR)
    sender.join()
    await_condition(lambda: plant.components()[STEP].restarts >= restarts + 2, 60.0, f"the step has died {point}")

    assert len(kept) == RESULTS
    overrides = list(kept.values())
    await_condition(
        lambda: (
            plant.sql("SELECT count(*) FROM assessments WHERE override_id = ANY($1::uuid[])", overrides) == [(RESULTS,)]
        ),
        60.0,
        "every acknowledged assessment is stored",
    )
    stored = plant.sql("SELECT result_id::text, count(*) FROM assessments GROUP BY 1 HAVING count(*) > 1")
    assert stored == [], "an assessment was stored twice"
    assert plant.sql("SELECT n FROM retrain_counters WHERE task = $1", VITALS_TASK) == [(RESULTS,)]
    amended = plant.sql(
        "SELECT count(*) FROM visible WHERE answer_id = ANY($1::uuid[]) AND amended <> '{}'", list(kept)
    )
    assert amended == [(RESULTS,)]
