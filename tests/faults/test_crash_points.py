"""SIGKILL of the steps at named points of their work: the event in hand comes again and ends once."""

import os
import signal
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant, await_condition
from tests.support.real_events import ears, glucose, readings, xrays
from tests.support.senders import Flow

EVENTS = 2_000
IMAGES = 40
EARS = 16
WEARERS = 16
SECONDS = 6.0

LIVE, BACKFILL = "glucose.live.0", "glucose.backfill.0"
STAT, ROUTINE, SIGNALS, RECORD = "imaging-infer.stat.0", "imaging-infer.routine.0", "signals.0", "record.0"
FOLLOW_UP = "imaging-follow-up.0"

# What a process passes depends on what it does: `record` asks no Triton, `infer` commits by the broker's
# acknowledgement of its answers, which is after its step and before its own acknowledgement.
POINTS = {
    "after decoding": {
        **dict.fromkeys((STAT, ROUTINE, RECORD, FOLLOW_UP, LIVE, BACKFILL), "after-decode:2"),
        SIGNALS: "after-decode:3",
    },
    "after Triton": {
        **dict.fromkeys((STAT, ROUTINE, LIVE), "after-triton:2"),
        SIGNALS: "after-triton:3",
        RECORD: "after-commit:1",
        BACKFILL: "after-commit:1",
    },
    "after the commit": {
        **dict.fromkeys((STAT, ROUTINE, RECORD, FOLLOW_UP), "after-step:2"),
        SIGNALS: "after-commit:3",
        **dict.fromkeys((LIVE, BACKFILL), "after-commit:2"),
    },
    "before the acknowledgement": {
        **dict.fromkeys((STAT, ROUTINE, RECORD, FOLLOW_UP, LIVE, BACKFILL), "before-ack:2"),
        SIGNALS: "before-ack:3",
    },
}


@pytest.mark.parametrize("where", list(POINTS))
def test_nothing_is_lost_or_doubled_when_consumers_die(
    plant: Plant, oracle: Oracle, tmp_path: Path, where: str
) -> None:
    before = plant.components()
    for name, point in POINTS[where].items():
        faults.arm(plant, name, point)
        os.kill(plant.pid(name), signal.SIGKILL)
    await_condition(lambda: not any(faults.is_armed(plant, name) for name in POINTS[where]), 60.0, "all are armed")

    images = [*ears(EARS, tmp_path), *xrays(IMAGES, tmp_path)]
    flow = Flow(plant, readings(EVENTS), images, glucose(WEARERS), seconds=SECONDS)
    sent = flow.wait()
    # Once to arm it, once at the point: a process that never reached its point would make this test say nothing.
    await_condition(
        lambda: all(plant.components()[name].restarts >= before[name].restarts + 2 for name in POINTS[where]),
        60.0,
        f"each of them has died {where}",
    )
    verdict = oracle.judge(sent)

    assert verdict.faults == []
    assert verdict.fates == {"answered": EVENTS + IMAGES + EARS}
    assert verdict.glucose.total() == 12 * WEARERS
    assert verdict.glucose["answered"] >= WEARERS, "each wearer has at least one forecast"
