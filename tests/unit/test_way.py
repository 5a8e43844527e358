"""One event's way: its stops in order and where it waits, from records and rows made by hand."""

from adapters.database import Trail
from adapters.database.records import StoredOutcome
from clinstream.reconciliation.log import LogRecord
from clinstream.reconciliation.positions import FOLLOW_UP, INFER, PREPARE, Positions
from clinstream.whereabouts.identify import Meant
from clinstream.whereabouts.way import ways
from schemas import ids, topics
from schemas.events import ResultPublished
from tests.support import log
from tests.support.answers import answer
from tests.unit.test_tally import record

TASK = "chest_xray"
EVENT = ids.event_id("1.2.3", "content")
MEANT = Meant(objects=frozenset({"1.2.3"}))
RECORDS = [
    record(log.produced(answer("1.2.3", task=TASK)), 9),
    record(log.prepared("1.2.3", TASK), 5),
    record(log.image("1.2.4"), 2),
    record(log.image("1.2.3"), 3),
]


def test_the_stops_come_in_the_order_of_the_way_and_of_this_object_only() -> None:
    (way,) = ways(MEANT, RECORDS, Positions({}))
    assert [(stop.topic, stop.offset, stop.task) for stop in way.stops] == [
        (topics.OBSERVED_DICOM, 3, ""),
        (topics.WORK_ROUTINE, 5, TASK),
        (topics.ANSWERS, 9, TASK),
    ]
    assert (way.event_id, way.object_id, way.subject_id, way.priority) == (str(EVENT), "1.2.3", "sub-1.2.3", "routine")


def test_it_waits_at_the_last_stop_that_its_group_has_not_come_past() -> None:
    positions = Positions(
        {
            (PREPARE["routine"], topics.OBSERVED_DICOM, 0): 4,
            (INFER[topics.WORK_ROUTINE], topics.WORK_ROUTINE, 0): 2,
        }
    )
    (way,) = ways(MEANT, RECORDS[1:], positions)
    assert way.waits is not None
    assert (way.waits.topic, way.waits.group, way.waits.before) == (topics.WORK_ROUTINE, INFER[topics.WORK_ROUTINE], 3)


def test_an_event_with_an_outcome_waits_nowhere() -> None:
    outcome = StoredOutcome(EVENT, TASK, "answered", "", None, "1.2.3", "content", "sub-1.2.3")
    (way,) = ways(Meant(objects=MEANT.objects, trail=Trail(outcomes=[outcome])), RECORDS, Positions({}))
    assert way.waits is None
    ended = {"task": TASK, "fate": "answered", "code": "", "reason": "", "answer_id": ""}
    assert way.json()["outcomes"] == [ended]


def test_a_dead_letter_is_a_stop_with_its_reason() -> None:
    headers = {"dead_event_id": str(EVENT).encode(), "dead_reason": b"the object is truncated"}
    letter = LogRecord(topics.DEAD_UNPROCESSABLE, 0, 0, None, headers, b"")
    (way,) = ways(MEANT, [*RECORDS, letter], Positions({}))
    assert way.stops[-1].reason == "the object is truncated"


def test_hops_are_the_seconds_between_what_the_answer_says() -> None:
    one = answer("1.2.3", task=TASK)
    (way,) = ways(Meant(objects=MEANT.objects, trail=Trail(answers=[one])), RECORDS, Positions({}))
    assert way.answers == [one]
    assert way.hops(one) == {"observed to prepared": 0.25, "prepared to inferred": 0.25}


def test_an_event_with_an_answer_waits_where_its_second_task_does() -> None:
    """OT3: the result of the first task lies before the follow-up."""
    one = answer("1.2.3", task=TASK)
    shown = ResultPublished(
        result_id=one.answer_id, object_id="1.2.3", subject_id="sub-1.2.3", task=TASK, revision=1, answer=one
    )
    ended = StoredOutcome(EVENT, TASK, "answered", "", one.answer_id, "1.2.3", "content", "sub-1.2.3")
    meant = Meant(objects=MEANT.objects, trail=Trail(outcomes=[ended]))
    (way,) = ways(meant, [*RECORDS, record(log.published(shown))], Positions({}), {TASK: "second"})
    assert way.waits is not None
    assert (way.waits.topic, way.waits.task, way.waits.group) == (f"results.{TASK}", "second", FOLLOW_UP)
