"""SIGKILL of each of our processes at random while events flow: what was acknowledged has its outcome."""

import random
import time
from pathlib import Path

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant
from tests.support.real_events import ears, glucose, readings, xrays
from tests.support.senders import Flow

EVENTS = 2_000
IMAGES = 60
EARS = 24
WEARERS = 40
SECONDS = 25.0
SEED = 20260131
# Two commits of a consumer. What it holds is held for that long before it is killed, or hardly ever would a commit
# that went past an event in flight fall into the milliseconds that an event takes.
HELD_S = 1.2


def test_nothing_is_lost_when_each_process_is_killed_at_random_while_events_flow(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    victims = plant.services()
    chance.shuffle(victims)
    images = [*xrays(IMAGES, tmp_path), *ears(EARS, tmp_path)]
    chance.shuffle(images)
    flow = Flow(plant, readings(EVENTS), images, glucose(WEARERS), seconds=SECONDS)
    killed: dict[str, int] = {}
    for victim in victims:
        time.sleep(chance.uniform(0.2, 1.6))
        if victim.startswith(("door", "loop")):
            killed[victim] = faults.kill(plant, victim)
            continue
        with faults.hanging(plant, "database"):
            time.sleep(HELD_S)
            killed[victim] = faults.kill(plant, victim)
    for victim, pid in killed.items():
        faults.wait_replaced(plant, victim, pid)
    sent = flow.wait()

    verdict = oracle.judge(sent)

    everything = EVENTS + IMAGES + EARS + 12 * WEARERS
    assert len(sent.events) == everything
    assert verdict.faults == []
    assert verdict.fates == {"answered": EVENTS + IMAGES + EARS}
    assert verdict.glucose.total() == 12 * WEARERS
    assert verdict.reconciled["answered"] + verdict.reconciled["refused"] == everything
