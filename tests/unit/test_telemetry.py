"""Metrics, logs and trace context of one process."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from adapters import telemetry
from adapters.telemetry import METRICS, Meters, logs
from schemas.errors import Unprocessable

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
FORBIDDEN_LABELS = {"event_id", "object_id", "subject_id", "study_id", "patient", "stay", "uid", "answer_id"}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level, show = root.handlers[:], root.level, warnings.showwarning
    stream = io.StringIO()
    telemetry.configure_logging("record", 1, stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    warnings.showwarning = show


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_row_of_the_table_has_a_meter_and_every_meter_a_row() -> None:
    meters = Meters(CollectorRegistry())
    held = {name for name, value in vars(meters).items() if isinstance(value, Gauge | Counter | Histogram)}
    assert held == {row.field for row in METRICS}


def test_names_are_unique_carry_their_unit_and_no_label_names_an_individual() -> None:
    names = [row.name for row in METRICS]
    assert len(set(names)) == len(names)
    for row in METRICS:
        assert (row.kind == "counter") == row.name.endswith("_total"), row.name
        assert (row.kind == "histogram") == bool(row.buckets), row.name
        assert not FORBIDDEN_LABELS & set(row.labels), row.name


def test_the_documented_table_is_the_table_of_the_code() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    expected = [f"| `{m.name}` | {m.kind} | {m.unit} | {', '.join(m.labels) or '–'} | {m.meaning} |" for m in METRICS]
    assert rows == expected


def test_every_metric_of_the_table_is_set_by_some_process() -> None:
    rooms = [DOCS.parents[1] / room for room in ("adapters", "consumers", "producers", "training", "clinstream")]
    sources = [path.read_text() for room in rooms for path in room.rglob("*.py") if path.parent.name != "telemetry"]
    unset = [row.name for row in METRICS if not any(f".{row.field}" in source for source in sources)]
    assert unset == []


def test_the_endpoint_on_loopback_shows_what_was_counted_and_closes() -> None:
    meters = Meters(CollectorRegistry())
    meters.dead_letters.labels(lane="record", kind="failed").inc(3)
    meters.ready.set(1)
    server = telemetry.serve_metrics(0, meters)
    try:
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    finally:
        server.close()
    assert families["clinstream_ready"].samples[0].value == 1
    dead = families["clinstream_dead_letters"].samples
    assert [(s.labels, s.value) for s in dead if s.name.endswith("_total")] == [
        ({"lane": "record", "kind": "failed"}, 3)
    ]
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5)


def test_a_log_line_is_json_with_process_index_level_and_event_id(lines: io.StringIO) -> None:
    telemetry.logger("record").info("recorded", event_id="e-1", events=3)
    (line,) = read(lines)
    assert {k: line[k] for k in ("event", "process", "index", "level", "event_id", "events")} == {
        "event": "recorded",
        "process": "record",
        "index": 1,
        "level": "info",
        "event_id": "e-1",
        "events": 3,
    }


@pytest.mark.parametrize(
    "key", ["patient_name", "PatientName", "patient-id", "stay", "StayId", "accession_number", "features"]
)
def test_a_field_that_names_personal_data_is_emptied(lines: io.StringIO, key: str) -> None:
    telemetry.logger("door").warning("refused", **{key: "Doe^Jane"}, inner={"deep": [{key: "Doe^Jane"}]})
    assert "Doe" not in lines.getvalue()
    assert read(lines)[0][key] == logs.REMOVED


@pytest.mark.parametrize("key", ["event_id", "subject_id", "object_id", "task", "lane", "reason", "topic"])
def test_a_field_that_names_no_personal_data_is_kept(key: str) -> None:
    assert not logs.is_personal(key)


def test_the_text_of_a_foreign_error_stays_out_and_that_of_ours_is_kept(lines: io.StringIO) -> None:
    log = telemetry.logger("prepare")
    for error in (ValueError("bad name Doe^Jane"), Unprocessable("the data set ends early")):
        try:
            raise error
        except (ValueError, Unprocessable):
            log.exception("could not prepare")
    foreign, ours = read(lines)
    assert foreign["error"] == "ValueError"
    assert "Doe" not in json.dumps(foreign)
    assert str(foreign["frames"]).count("test_telemetry.py") == 1
    assert ours["error_text"] == "the data set ends early"


def test_the_text_of_a_warning_stays_out(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = logs._show_warning
        warnings.warn("Invalid value for VR PN: Doe^Jane", UserWarning, stacklevel=1)
    assert "Doe" not in lines.getvalue()
    assert read(lines)[0]["category"] == "UserWarning"


def test_libraries_are_heard_from_warning_on_and_parsers_not_at_all(lines: io.StringIO) -> None:
    logging.getLogger("aiokafka.consumer").info("joined")
    logging.getLogger("aiokafka.consumer").warning("heartbeat failed %s", "soon")
    logging.getLogger("pydicom").error("Doe^Jane")
    assert [line["event"] for line in read(lines)] == ["heartbeat failed soon"]


def test_a_child_keeps_the_trace_and_gets_a_span_of_its_own() -> None:
    parent = telemetry.new_traceparent()
    child = telemetry.child_traceparent(parent)
    assert child.split("-")[1] == parent.split("-")[1]
    assert child.split("-")[2] != parent.split("-")[2]


@pytest.mark.parametrize("broken", ["", "00-xyz", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"])
def test_a_malformed_parent_starts_a_new_trace(broken: str) -> None:
    version, trace, span, flags = telemetry.child_traceparent(broken).split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert set(trace) != {"0"}
