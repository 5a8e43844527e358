"""The judge itself: it must say so when an acknowledged event is nowhere."""

from uuid import uuid4

from tests.support.oracle import Oracle
from tests.support.plant import Plant
from tests.support.real_events import readings
from tests.support.senders import VITALS_TASK, Acknowledged, send_vitals


def test_an_acknowledged_event_that_is_nowhere_is_called_lost_by_both_judges(plant: Plant, oracle: Oracle) -> None:
    sent = Acknowledged()
    send_vitals(plant, readings(50), sent)
    nowhere = str(uuid4())
    sent.note(nowhere, VITALS_TASK)

    verdict = oracle.judge(sent, seconds=3.0)

    assert verdict.lost == [nowhere]
    assert verdict.fates == {"answered": 50}
    assert verdict.reconciled["lost"] == 1
    assert verdict.reconciled["lost_ids"] == [nowhere]
    assert len(verdict.faults) == 2
