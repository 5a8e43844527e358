"""What became of accepted events, told from records, positions and outcomes made by hand."""

from typing import get_args
from uuid import UUID

import pytest

from adapters.kafka import Message
from clinstream.reconciliation import tally
from clinstream.reconciliation.log import LogRecord
from clinstream.reconciliation.positions import FOLLOW_UP, INFER, PREPARE, RECORD, SIGNALS, Positions
from clinstream.reconciliation.tally import Report, Tally
from schemas import ids, topics
from schemas.events import Fate, ResultPublished
from tests.support import log
from tests.support.answers import answer

TASK = "chest_xray"
IMAGE = ids.event_id("1.2.3", "content")


def record(message: Message, offset: int = 0) -> LogRecord:
    """A message as it was read from partition 0."""
    return LogRecord(message.topic, 0, offset, message.key, dict(message.headers), message.value)


def told(
    *records: LogRecord,
    outcomes: list[tuple[UUID, str, str]] | None = None,
    committed: dict[tuple[str, str], int] | None = None,
    acknowledged: list[str] | None = None,
    follow_ups: dict[str, str] | None = None,
) -> Report:
    """The report; `committed` by (group, topic)."""
    found = Tally(Positions({(group, topic, 0): at for (group, topic), at in (committed or {}).items()}), follow_ups)
    for each in records:
        found.add(each)
    found.settle(outcomes or [])
    return found.report(acknowledged)


ROUTINE = (PREPARE["routine"], topics.OBSERVED_DICOM)
WORK = (INFER[topics.WORK_ROUTINE], topics.WORK_ROUTINE)
ANSWERS = (RECORD, topics.ANSWERS)
OBSERVED = record(log.image("1.2.3"))
PREPARED = record(log.prepared("1.2.3", TASK))
ANSWERED = record(log.produced(answer("1.2.3", task=TASK)))
PAST = {ROUTINE: 1, WORK: 1, ANSWERS: 1}


@pytest.mark.parametrize("fate", [fate for fate in get_args(Fate) if fate != "superseded"])
def test_an_event_counts_as_its_fate(fate: str) -> None:
    report = told(OBSERVED, outcomes=[(IMAGE, TASK, fate)], committed=PAST)
    assert (report.accepted, report.fates[fate], report.in_flight, report.lost) == (1, 1, 0, [])
    assert sum(report.fates.values()) == 1


def test_an_event_before_its_group_is_in_flight_and_after_it_lost() -> None:
    assert told(OBSERVED).in_flight == 1
    assert told(OBSERVED, committed={ROUTINE: 0}).in_flight == 1
    assert told(OBSERVED, committed={ROUTINE: 1}).lost == [str(IMAGE)]


def test_each_lane_has_a_position_of_its_own() -> None:
    urgent = record(log.image("1.2.3", priority="stat"))
    assert told(urgent, committed={ROUTINE: 1}).in_flight == 1
    assert told(urgent, committed={(PREPARE["stat"], topics.OBSERVED_DICOM): 1}).lost == [str(IMAGE)]
    vitals = record(log.vitals("sub-1@t"))
    assert told(vitals, committed={(SIGNALS, topics.OBSERVED_VITALS): 1}).lost == [
        str(ids.event_id("sub-1@t", "content"))
    ]


def test_work_and_answers_ahead_of_their_groups_keep_an_event_in_flight() -> None:
    assert told(OBSERVED, PREPARED, committed={ROUTINE: 1}).in_flight == 1
    assert told(OBSERVED, PREPARED, committed={ROUTINE: 1, WORK: 1}).lost == [str(IMAGE)]
    assert told(OBSERVED, PREPARED, ANSWERED, committed={ROUTINE: 1, WORK: 1}).in_flight == 1
    assert told(OBSERVED, PREPARED, ANSWERED, committed=PAST).lost == [str(IMAGE)]


def test_an_event_of_two_tasks_is_lost_while_one_of_them_is() -> None:
    other = record(log.prepared("1.2.3", "fracture"), 1)
    answered = [(IMAGE, TASK, "answered")]
    past = {**PAST, WORK: 2}
    assert told(OBSERVED, PREPARED, other, outcomes=answered, committed={**PAST, WORK: 1}).in_flight == 1
    assert told(OBSERVED, PREPARED, other, outcomes=answered, committed=past).lost == [str(IMAGE)]
    both = [*answered, (IMAGE, "fracture", "refused")]
    assert told(OBSERVED, PREPARED, other, outcomes=both, committed=past).fates["answered"] == 1
    dead = [*answered, (IMAGE, "fracture", "dead")]
    assert told(OBSERVED, PREPARED, other, outcomes=dead, committed=past).fates["dead"] == 1


def test_an_event_sent_five_times_is_one_and_not_lost_through_the_last_of_them() -> None:
    again = [record(log.image("1.2.3"), offset) for offset in range(5)]
    report = told(*again, outcomes=[(IMAGE, TASK, "answered")], committed={ROUTINE: 3})
    assert (report.accepted, report.fates["answered"]) == (1, 1)


def test_a_replayed_dead_event_is_in_flight_until_it_has_a_real_outcome() -> None:
    dead = (IMAGE, "*", "dead")
    again = record(log.image("1.2.3"), 1)
    assert told(OBSERVED, outcomes=[dead], committed=PAST).fates["dead"] == 1
    assert told(OBSERVED, again, outcomes=[dead], committed=PAST).in_flight == 1
    assert told(OBSERVED, again, outcomes=[dead, (IMAGE, TASK, "answered")], committed=PAST).fates["answered"] == 1


def test_what_no_door_wrote_is_lost_unless_it_lies_in_the_dead_letters() -> None:
    poison = LogRecord(topics.OBSERVED_VITALS, 0, 7, None, {}, b"not json")
    past = {(SIGNALS, topics.OBSERVED_VITALS): 8}
    assert told(poison, committed=past).lost == ["observed.vitals/0/7"]
    headers = {"dead_topic": b"observed.vitals", "dead_partition": b"0", "dead_offset": b"7"}
    letter = LogRecord(topics.DEAD_UNPROCESSABLE, 1, 0, None, headers, b"not json")
    assert told(poison, letter, committed=past).fates["dead"] == 1


def test_a_content_with_two_published_results_is_visible_twice_and_a_repeat_is_not() -> None:
    def published(sender: str, offset: int) -> LogRecord:
        one = answer("1.2.3", task=TASK, sender=sender)
        result = ResultPublished(
            result_id=one.answer_id, object_id="1.2.3", subject_id="s", task=TASK, revision=1, answer=one
        )
        return record(log.published(result), offset)

    outcomes = [(IMAGE, TASK, "answered")]
    assert told(OBSERVED, published("A", 0), published("A", 1), outcomes=outcomes).clean
    report = told(OBSERVED, published("A", 0), published("B", 1), outcomes=outcomes)
    assert report.doubled == [("1.2.3", "content", TASK)]
    assert not report.clean
    assert report.json()["duplicates"] == 1


def test_the_senders_list_is_the_oracle_by_event_or_by_object() -> None:
    outcomes = [(IMAGE, TASK, "answered")]
    found = told(OBSERVED, outcomes=outcomes, committed=PAST, acknowledged=[str(IMAGE), "1.2.3"])
    assert (found.accepted, found.fates["answered"], found.lost) == (1, 1, [])
    missing = told(OBSERVED, outcomes=outcomes, committed=PAST, acknowledged=["1.2.3", "1.2.4"])
    assert (missing.accepted, missing.lost) == (2, ["1.2.4"])
    assert missing.json()["lost_ids"] == ["1.2.4"]
    nothing = told(OBSERVED, committed=PAST, acknowledged=[])
    assert (nothing.accepted, nothing.lost) == (0, [])


def test_the_json_of_a_clean_report_has_the_published_keys_only() -> None:
    keys = [
        "accepted",
        "answered",
        "refused",
        "not_applicable",
        "duplicate_of",
        "dead",
        "in_flight",
        "lost",
        "duplicates",
    ]
    assert list(told().json()) == keys
    assert tally.FATES == ("answered", "refused", "not_applicable", "duplicate_of", "dead")


def test_an_answered_first_task_owes_the_second() -> None:
    """OT17: in flight while anything carries it, lost when nothing does, ended by any outcome of the second."""
    chain = {TASK: "second"}
    one = answer("1.2.3", task=TASK)
    shown = ResultPublished(
        result_id=one.answer_id, object_id="1.2.3", subject_id="s", task=TASK, revision=1, answer=one
    )
    result = record(log.published(shown))
    first = [(IMAGE, TASK, "answered")]
    follows = {(FOLLOW_UP, f"results.{TASK}"): 1}

    def count(*records: LogRecord, committed: dict[tuple[str, str], int], outcomes: list[tuple[UUID, str, str]]) -> str:
        report = told(OBSERVED, *records, outcomes=outcomes, committed=committed, follow_ups=chain)
        found = {name: number for name, number in report.fates.items() if number}
        return next(iter(found), "in_flight" if report.in_flight else "lost")

    recorded_only = {**PAST, ANSWERS: 0}
    assert count(ANSWERED, committed=recorded_only, outcomes=first) == "in_flight", "not published yet"
    assert count(ANSWERED, result, committed=PAST, outcomes=first) == "in_flight", "not read by the follow-up yet"
    assert count(ANSWERED, result, committed={**PAST, **follows}, outcomes=first) == "lost"
    work = record(log.prepared("1.2.3", "second"), 1)
    assert count(ANSWERED, result, work, committed={**PAST, **follows}, outcomes=first) == "in_flight"
    assert count(ANSWERED, result, work, committed={**PAST, **follows, WORK: 2}, outcomes=first) == "lost"
    for fate in ("answered", "not_applicable", "superseded"):
        ended = [*first, (IMAGE, "second", fate)]
        assert count(ANSWERED, result, work, committed={**PAST, **follows, WORK: 2}, outcomes=ended) == "answered"
    dead = [*first, (IMAGE, "second", "dead")]
    assert count(ANSWERED, result, committed={**PAST, **follows}, outcomes=dead) == "dead"


def test_a_first_task_that_did_not_answer_owes_nothing() -> None:
    refused = [(IMAGE, TASK, "refused")]
    report = told(OBSERVED, outcomes=refused, committed=PAST, follow_ups={TASK: "second"})
    assert (report.fates["refused"], report.lost) == (1, [])
