"""Each server stopped for 20 s and brought back, then SIGKILLed, while events flow: nothing lost, nothing put aside."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import PARTS, Plant, await_condition
from tests.support.real_events import glucose, readings, xrays
from tests.support.senders import IMAGE_TASK, Flow

EVENTS = 2_000
IMAGES = 30
WEARERS = 40
OUTAGE_S = 20.0
SECONDS = OUTAGE_S + 8.0

# Who is killed while the server is away: what it holds in flight then was waiting for longer than any commit.
KILLED = {
    "database": ("signals.0", "record.0", "glucose.live.0"),
    "redis": ("loop.0", "glucose.live.0"),
    "kafka": ("signals.0", "imaging-infer.routine.0", "glucose.backfill.0"),
    "triton": ("signals.0", "imaging-infer.routine.0", "glucose.live.0"),
}
# Who must be seen parked, for what: proof that the outage reached somebody. Without Redis no lane waits: windows
# come from the database.
PARKED = {
    "database": ("signals", "database"),
    "triton": ("signals", "triton"),
    "store": ("imaging-prepare.routine", "store"),
}


def _parked(plant: Plant, part: str) -> bool:
    lane, reason = PARKED[part]
    numbers = [name.rpartition(".")[2] for name in plant.components_of(lane)]
    return any(plant.metric(lane, number, "clinstream_parked", reason=reason) > 0 for number in numbers)


def _nobody_parked(plant: Plant) -> bool:
    found = [name.rpartition(".") for name in plant.services()]
    return all(plant.metric(name, index, "clinstream_parked") == 0 for name, _, index in found)


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_lost_or_put_aside_when_a_server_is_away_for_20_s_and_then_killed(
    plant: Plant, oracle: Oracle, tmp_path: Path, part: str
) -> None:
    flow = Flow(plant, readings(EVENTS), xrays(IMAGES, tmp_path), glucose(WEARERS), seconds=SECONDS)
    time.sleep(2.0)  # so that work is in flight
    with faults.stopped(plant, part):
        back_at = time.monotonic() + OUTAGE_S
        if part in PARKED:
            await_condition(lambda: _parked(plant, part), OUTAGE_S, f"a lane says that it waits for {part}")
        time.sleep(max(0.0, back_at - time.monotonic()))
        killed = {name: faults.kill(plant, name) for name in KILLED[part]}
    plant.wait_ready(part)
    for name, pid in killed.items():
        faults.wait_replaced(plant, name, pid)
    await_condition(lambda: _nobody_parked(plant), 60.0, "every lane goes on")
    faults.kill_and_wait(plant, part)
    sent = flow.wait()

    verdict = oracle.judge(sent)

    assert verdict.faults == []
    assert verdict.fates == {"answered": EVENTS + IMAGES}
    assert verdict.glucose.total() == 12 * WEARERS
    if part == "redis":
        assert plant.metric("glucose.backfill", 0, "clinstream_window_reads_total", source="fallback") > 0
    assert oracle.dead_letters() == []
    await_condition(lambda: _nobody_parked(plant), 30.0, "every lane goes on")


def test_nothing_is_lost_or_put_aside_when_the_object_store_is_away_for_20_s(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    lane = "imaging-prepare.routine.0"
    flow = Flow(plant, readings(EVENTS), xrays(IMAGES, tmp_path), seconds=SECONDS)
    with ExitStack() as held:
        # Without the store the doors take nothing, so somebody has to be late for images that they took before.
        for each in plant.components_of("imaging-prepare.routine"):
            held.enter_context(faults.hanging(plant, each))
        await_condition(lambda: flow.acknowledged(IMAGE_TASK) >= 5, 15.0, "the door took the first images")
        with faults.store_away(plant):
            back_at = time.monotonic() + OUTAGE_S
            held.close()
            await_condition(lambda: _parked(plant, "store"), OUTAGE_S, "a lane says that it waits for the store")
            # One that starts while the store is away must not take an empty folder for it.
            faults.kill(plant, lane)
            time.sleep(max(0.0, back_at - time.monotonic()))
            refused = flow.sent.tries_again
    sent = flow.wait()

    verdict = oracle.judge(sent)

    assert refused > 0, "the DICOM door took objects that it had nowhere to put"
    assert verdict.faults == []
    assert verdict.fates == {"answered": EVENTS + IMAGES}
    assert oracle.dead_letters() == []


def test_lanes_back_off_and_resume_when_triton_hangs_for_longer_than_the_deadline(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    hang_s = plant.settings.triton.deadline_s + 5.0
    before = plant.metric("signals", 0, "clinstream_retries_total")
    flow = Flow(plant, readings(EVENTS), xrays(IMAGES, tmp_path), seconds=hang_s)
    time.sleep(1.0)
    with faults.hanging(plant, "triton"):
        time.sleep(hang_s)
        faults.kill(plant, "imaging-infer.routine.0")
        retried = plant.metric("signals", 0, "clinstream_retries_total")
    sent = flow.wait()

    verdict = oracle.judge(sent)

    assert retried > before, "no request met the hanging server"
    assert verdict.faults == []
    assert verdict.fates == {"answered": EVENTS + IMAGES}
    assert oracle.dead_letters() == []
    await_condition(lambda: _nobody_parked(plant), 30.0, "every lane goes on")
