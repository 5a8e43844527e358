"""In which order outcomes become durable, and what a later try repeats."""

from collections.abc import Sequence

import msgspec
import pytest

from adapters import telemetry
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from adapters.kafka import Message
from consumers import dead_letters, delivery
from consumers.outcomes import DeadLetter, Decide, Outcome, Publish
from consumers.settle import Handled, Settler
from schemas import envelope, topics
from schemas.errors import BrokerUnavailable, DatabaseUnavailable
from schemas.events import OutcomeDecided, VitalsObserved
from tests.support.arrivals import Arrived, Kept, arrival, poison, vitals


class Recorder(FakePublisher):
    """Notes what happens in which order; `fails` makes the next publish fail."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log
        self.fails = 0

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float | None = None) -> None:
        """Publishes, or fails."""
        if messages and self.fails:
            self.fails -= 1
            raise BrokerUnavailable("away")
        self._log.extend(message.topic for message in messages)
        await super().publish_many(messages)


class Rows(Kept):
    """Notes when rows are written."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    async def decide(self, outcomes: Sequence[OutcomeDecided]) -> None:
        """Writes."""
        await super().decide(outcomes)
        self._log.extend("row" for _ in outcomes)


def handled(found: Arrived, *outcomes: Outcome) -> Handled:
    """An arrival that could be read, with its outcomes."""
    return Handled(found, delivery.read(found, (VitalsObserved,)), outcomes)


def publication(number: int) -> Publish:
    """An event for the next topic."""
    return Publish("results.toy", b"sub-0", vitals(number), f"result-{number}", "sub-0", {"task": "toy"})


def decision(number: int, reason: str = "out of intended use") -> Decide:
    """A refusal of the `number`-th reading."""
    return Decide(OutcomeDecided(event_id=vitals(number).event_id, task="toy", fate="refused", reason=reason))


async def settler(log: list[str]) -> tuple[Settler, Rows, Recorder]:
    """A settler with what it writes to."""
    rows, publisher = Rows(log), Recorder(log)
    await publisher.start()
    return Settler("signals", rows, publisher, FakeClock()), rows, publisher


async def test_dead_letters_come_before_rows_and_rows_before_what_is_published() -> None:
    log: list[str] = []
    found, rows, _ = await settler(log)
    batch = [
        handled(arrival(0), publication(0)),
        handled(arrival(1), decision(1)),
        handled(arrival(2), DeadLetter("failed", "the model refused", "InvalidForModel", task="toy")),
    ]
    await found.settle(found.plan(batch))
    assert log == ["dead.failed", "row", "row", "outcomes", "outcomes", "results.toy"]
    assert {row.fate for row in rows.rows.values()} == {"refused", "dead"}


async def test_what_an_onlooker_gives_up_on_is_put_aside_and_decides_nothing() -> None:
    """S4: an event that was answered is not dead because somebody who only noted it failed."""
    rows, publisher = Rows([]), Recorder([])
    await publisher.start()
    found = Settler("studies", rows, publisher, FakeClock(), onlooker=True)
    await found.settle(found.plan([handled(arrival(0), DeadLetter("failed", "x", "StepFailed"))]))
    assert len(publisher.topics[topics.DEAD_FAILED]) == 1
    assert rows.rows == {}
    assert topics.OUTCOMES not in publisher.topics


async def test_a_later_try_goes_on_at_the_stage_that_failed() -> None:
    log: list[str] = []
    found, rows, publisher = await settler(log)
    plan = found.plan([handled(arrival(0), DeadLetter("failed", "x", "StepFailed"), publication(0))])
    rows.away = True
    with pytest.raises(DatabaseUnavailable):
        await found.settle(plan)
    rows.away, publisher.fails = False, 1
    with pytest.raises(BrokerUnavailable):
        await found.settle(plan)
    await found.settle(plan)
    assert log == ["dead.failed", "row", "outcomes", "results.toy"]


async def test_a_dead_letter_carries_the_event_as_it_came_and_the_whole_note() -> None:
    found, rows, publisher = await settler([])
    came = arrival(7, attempt=2)
    letter = DeadLetter("failed", "line one\nline two", "StepFailed", task="toy", model_version="1.2.0")
    await found.settle(found.plan([handled(came, letter)]))
    (message,) = publisher.topics[topics.DEAD_FAILED]
    read = dead_letters.read(topics.DEAD_FAILED, 1, 5, message.key, message.headers, message.value)
    assert read.id == "failed-1-5"
    assert (read.key, read.value, read.headers) == (came.key, came.value, list(came.headers))
    note = read.note
    assert (note.origin.topic, note.origin.offset, note.observed) == (came.topic, 7, note.origin)
    assert (note.reason, note.error_class, note.model_version) == ("line one line two", "StepFailed", "1.2.0")
    assert note.attempt == 2
    assert note.first_seen == FakeClock().now().isoformat()
    (row,) = rows.rows.values()
    assert (row.event_id, row.fate, row.task) == (vitals(7).event_id, "dead", "toy")


async def test_an_unreadable_event_is_known_by_its_header() -> None:
    found, rows, publisher = await settler([])
    letter = DeadLetter("unprocessable", "the value is not JSON", "Unprocessable")
    nameless = Arrived("observed.vitals", 0, 9, None, b"\xff", [])
    await found.settle(found.plan([Handled(poison(3), None, [letter]), Handled(nameless, None, [letter])]))
    assert [row.event_id for row in rows.rows.values()] == [vitals(3).event_id]
    assert len(publisher.topics[topics.DEAD_UNPROCESSABLE]) == 2


async def test_a_published_event_continues_the_trace_and_keeps_the_attempt() -> None:
    found, _, publisher = await settler([])
    await found.settle(found.plan([handled(arrival(0, attempt=3), publication(0))]))
    (message,) = publisher.topics["results.toy"]
    opened = envelope.open_envelope(message.headers)
    assert opened.traceparent[3:35] == "0af7651916cd43dd8448eb211c80319c"
    assert opened.traceparent[36:52] != "b7ad6b7169203331"
    assert opened.source == "clinstream/signals"
    assert opened.extensions["attempt"] == "3"


async def test_a_reason_is_one_printable_line_of_bounded_length() -> None:
    found, rows, _ = await settler([])
    await found.settle(found.plan([handled(arrival(0), decision(0, "a\x00b\nc" + "d" * 900))]))
    (row,) = rows.rows.values()
    assert row.reason.startswith("a b cd")
    assert len(row.reason) == 500
    assert row.origin is not None


async def test_a_value_that_would_not_fit_is_left_at_its_origin() -> None:
    note_of = DeadLetter("unprocessable", "too large", "Unprocessable")
    found, _, publisher = await settler([])
    huge = Arrived("observed.vitals", 0, 9, b"k", b"x" * 990_000, [])
    await found.settle(found.plan([Handled(huge, None, [note_of])]))
    (message,) = publisher.topics[topics.DEAD_UNPROCESSABLE]
    read = dead_letters.read(topics.DEAD_UNPROCESSABLE, 0, 0, message.key, message.headers, message.value)
    assert read.left_at_origin
    assert read.value == b""


def test_a_replayed_event_is_the_observed_one_with_one_attempt_more() -> None:
    came = arrival(4)
    note = dead_letters.Note(
        kind="failed",
        reason="r",
        error_class="e",
        origin=delivery.origin(came),
        observed=delivery.origin(came),
        attempt=1,
        first_seen="2026-01-31T08:00:00+00:00",
    )
    written = dead_letters.write(note, came.key, came.headers, came.value or b"")
    letter = dead_letters.read(topics.DEAD_FAILED, 0, 0, written.key, written.headers, written.value)
    again = dead_letters.again(letter, letter.key, letter.headers, letter.value)
    assert (again.topic, again.key, again.value) == (came.topic, came.key, came.value)
    read = delivery.read(Arrived(again.topic, 0, 99, again.key, again.value, again.headers), (VitalsObserved,))
    assert read.attempt == 2
    assert read.event == vitals(4)
    assert read.envelope.extensions["firstseen"] == "2026-01-31T08:00:00+00:00"
    assert not [name for name, _ in again.headers if name.startswith("dead_")]


async def test_refusals_are_counted_by_their_code_when_they_are_durable() -> None:
    """CC10: a camera that sends everything lying on its side shows."""

    def counted(code: str) -> float:
        labels = {"task": "toy", "code": code}
        return telemetry.metrics().registry.get_sample_value("clinstream_refusals_total", labels) or 0.0

    before = counted("rotated"), counted("")
    told, _, _ = await settler([])
    turned = Decide(msgspec.structs.replace(decision(0).outcome, code="rotated"))
    plan = told.plan([handled(arrival(0), turned), handled(arrival(1), decision(1))])
    await told.settle(plan)
    told.count(plan)
    assert (counted("rotated"), counted("")) == (before[0] + 1, before[1])
