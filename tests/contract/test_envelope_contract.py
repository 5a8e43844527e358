"""CloudEvents over Kafka as any other client reads them (S6)."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from schemas import envelope
from schemas.errors import Unprocessable
from schemas.events import ImageObserved, OutcomeDecided, VitalsObserved
from schemas.ids import event_id

WHEN = datetime(2026, 1, 31, 8, 0, 0, 250000, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def vitals() -> VitalsObserved:
    return VitalsObserved(
        event_id=event_id("sub-1@2026", "abc"),
        object_id="sub-1@2026",
        content="abc",
        subject_id="sub-1",
        features={"Age": 54.0, "Height": None},
        measured_at=WHEN,
        observed_at=WHEN,
    )


def packed(event: VitalsObserved) -> tuple[list[tuple[str, bytes]], bytes]:
    return envelope.pack(
        event,
        id=str(event.event_id),
        source="/doors/http",
        subject=event.subject_id,
        time=WHEN,
        traceparent=TRACE,
        extensions={"priority": "routine"},
    )


def test_the_cloudevents_sdk_reads_what_we_write() -> None:
    """S6: binary mode of the Kafka protocol binding, parsed back by the CNCF's own SDK."""
    headers, value = packed(vitals())
    parsed = from_kafka_event(KafkaMessage(headers=dict(headers), key=b"sub-1", value=value))
    assert parsed.get_id() == str(vitals().event_id)
    assert parsed.get_type() == VitalsObserved.TYPE
    assert parsed.get_subject() == "sub-1"
    assert parsed.get_time() == WHEN
    assert parsed.get_dataschema() == "urn:clinstream:schema:org.clinstream.vitals.observed.v1"
    assert parsed.get_extension("priority") == "routine"
    assert parsed.get_data()["features"] == {"Age": 54.0, "Height": None}


def test_a_round_trip_keeps_event_and_trace() -> None:
    """S6: what is packed is what is read."""
    headers, value = packed(vitals())
    opened, event = envelope.read_any(headers, value, [ImageObserved, VitalsObserved])
    assert event == vitals()
    assert opened.traceparent == TRACE
    assert opened.extensions == {"priority": "routine"}


def test_fields_of_a_later_addition_are_ignored() -> None:
    """S6: schemas change by addition, so a reader must not stumble over a new field."""
    headers, value = packed(vitals())
    _, event = envelope.read_any(headers, value[:-1] + b',"new_field":[1,2]}', [VitalsObserved])
    assert event == vitals()


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ([], b"{}", "missing ce_specversion"),
        ([("ce_id", b"\xff")], b"{}", "not UTF-8"),
        (None, b"<html>", "not JSON"),
        (None, b'{"event_id": 7}', "does not fit"),
        (None, b"\xff\xfe", "not JSON"),
    ],
)
def test_unreadable_events_say_why(headers: list[tuple[str, bytes]] | None, value: bytes, reason: str) -> None:
    """S2: the reason in a dead letter is one that a person understands."""
    good, _ = packed(vitals())
    with pytest.raises(Unprocessable, match=reason):
        envelope.read_any(good if headers is None else headers, value, [VitalsObserved])


def test_a_future_schema_version_asks_for_an_upgrade() -> None:
    """S2: a newer schema is not damage; the operator is told to upgrade and replay."""
    headers, value = packed(vitals())
    future = [(k, v.replace(b".v1", b".v2") if k == "ce_type" else v) for k, v in headers]
    with pytest.raises(Unprocessable, match="upgrade, then replay"):
        envelope.read_any(future, value, [VitalsObserved])


def test_an_event_of_another_kind_is_named() -> None:
    """S2: the message says what was expected."""
    headers, value = packed(vitals())
    with pytest.raises(Unprocessable, match=r"expected org\.clinstream\.outcome\.decided\.v1"):
        envelope.read_any(headers, value, [OutcomeDecided])


def test_ids_are_uuids_in_json_and_back() -> None:
    """S6: ids travel as strings that any language can parse."""
    _, value = packed(vitals())
    assert isinstance(envelope.read(VitalsObserved, value).event_id, UUID)
