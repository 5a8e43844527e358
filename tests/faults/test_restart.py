"""How long a consumer's events wait after its SIGKILL; the figure is recorded, only that they flow is asserted."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant
from tests.support.real_events import readings, xrays
from tests.support.senders import IMAGE_TASK, Acknowledged, dispatch, send_vitals

CONSUMERS = (
    "signals.0",
    "record.0",
    "imaging-prepare.stat.0",
    "imaging-prepare.routine.0",
    "imaging-infer.stat.0",
    "imaging-infer.routine.0",
)


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_events_flow_again_after_a_consumer_is_killed(
    plant: Plant,
    oracle: Oracle,
    tmp_path: Path,
    consumer: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    sent = Acknowledged()
    todo = readings(20) if consumer == "signals.0" else []
    images = [] if todo else xrays(2, tmp_path)

    pid = faults.kill(plant, consumer)
    began = time.monotonic()
    send_vitals(plant, todo, sent)
    for line in dispatch(plant, images, urgent=".stat" in consumer):
        assert line.status == "accepted", line
        sent.note(line.event_id, IMAGE_TASK)
    asked = time.monotonic()
    verdict = oracle.judge(sent, seconds=60.0)
    answered_s = round(asked - began + verdict.seconds, 1)
    faults.wait_replaced(plant, consumer, pid)

    record_testsuite_property(f"answered_after_s.{consumer}", answered_s)
    assert verdict.faults == []
    assert verdict.fates == {"answered": len(sent.events)}
