"""`clinstream send` as a user runs it, against real doors on a real broker (S1)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adapters.settings import Settings
from schemas import envelope, topics
from schemas.events import ImageObserved, VitalsObserved
from tests.support.dicom_objects import data_set, part_10
from tests.support.doors import Doors, Log, doors_of, log_of


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings) -> Iterator[Doors]:
    """Both doors."""
    with doors_of(kafka_settings, "door-dicom", "door-http") as found:
        yield found


@pytest.fixture
def log(doors: Doors) -> Iterator[Log]:
    """What the doors put onto the log during one test."""
    with log_of(doors.settings, topics.OBSERVED_DICOM, topics.OBSERVED_VITALS) as found:
        yield found


def run(doors: Doors, *arguments: object) -> subprocess.CompletedProcess[str]:
    # pynetdicom forgets to close the socket of a connection that was refused.
    strict = ["-W", "error", "-W", "ignore::ResourceWarning"]
    command = [sys.executable, *strict, "-m", "clinstream", "send", *(str(item) for item in arguments)]
    return subprocess.run(command, env=doors.environment(), capture_output=True, text=True, timeout=120)


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people have them: an object, a picture, a note, a broken object, one level down."""
    inner = tmp_path / "study" / "series"
    inner.mkdir(parents=True)
    (inner / "1.dcm").write_bytes(part_10(data_set()))
    (inner / "2-broken.dcm").write_bytes(part_10(data_set(SOPInstanceUID=None)))
    Image.linear_gradient("L").save(inner / "3.png")
    (inner / "4-README").write_text("see 1.dcm")
    return tmp_path / "study"


def test_every_file_of_a_folder_gets_its_line_and_what_was_accepted_is_on_the_log(
    doors: Doors, log: Log, folder: Path
) -> None:
    done = run(doors, "dicom", folder, "--json")
    assert done.returncode == 1
    found = lines(done)
    assert [set(line) for line in found] == [{"path", "status", "reason", "event_id"}] * 4
    assert [line["path"] for line in found] == [str(path) for path in sorted((folder / "series").iterdir())]
    assert [line["status"] for line in found] == ["accepted", "refused", "accepted", "unreadable"]
    assert found[1]["reason"].startswith("0xC000: ")
    events = {str(event.event_id): event for event in images(log)}
    assert set(events) == {line["event_id"] for line in found if line["status"] == "accepted"}
    assert events[found[2]["event_id"]].wrapped
    assert not events[found[0]["event_id"]].wrapped


def images(log: Log) -> list[ImageObserved]:
    records = [record for record in log.read() if record.envelope.type == ImageObserved.TYPE]
    return [envelope.read(ImageObserved, record.value) for record in records]


def test_sending_a_folder_again_makes_the_same_events(doors: Doors, folder: Path) -> None:
    first, second = (
        [line["event_id"] for line in lines(run(doors, "dicom", folder / "series" / name, "--json"))]
        for name in ("1.dcm", "1.dcm")
    )
    assert first == second != [None]


def test_urgent_and_simulated_reach_the_log(doors: Doors, log: Log, folder: Path) -> None:
    done = run(
        doors, "dicom", folder / "series" / "1.dcm", folder / "series" / "3.png", "--stat", "--simulated", "--json"
    )
    assert done.returncode == 0
    found = {str(event.event_id): event for event in images(log)}
    for line in lines(done):
        event = found[line["event_id"]]
        assert event.simulated
        assert event.priority == "stat"


def test_a_person_gets_a_table_and_a_sum(doors: Doors, folder: Path) -> None:
    done = run(doors, "dicom", folder)
    assert "2 accepted, 1 refused, 1 unreadable" in done.stdout
    assert "not a DICOM file" in " ".join(done.stdout.split())


def test_a_table_of_vitals_goes_through_the_http_door(doors: Doors, log: Log, tmp_path: Path) -> None:
    file = tmp_path / "stays.csv"
    file.write_text("recordid,Age,HR_first,In-hospital_death\n1,54,80,0\n2,76,,1\n3,old,,0\n")
    done = run(doors, "vitals", file, "--json", "--measured-at", "2026-01-31T08:00:00Z")
    assert done.returncode == 1
    found = lines(done)
    assert [line["status"] for line in found] == ["accepted", "accepted", "unreadable"]
    events = [envelope.read(VitalsObserved, record.value) for record in log.read()]
    assert {str(event.event_id) for event in events} == {line["event_id"] for line in found[:2]}
    assert all("In-hospital_death" not in event.features for event in events)


def test_a_file_that_is_not_there_is_a_mistake_of_usage(doors: Doors) -> None:
    assert run(doors, "dicom", "/nowhere/at/all").returncode == 2


@pytest.mark.parametrize("what", ["dicom", "vitals"])
def test_doors_that_do_not_answer_are_said_in_one_sentence(kafka_settings: Settings, folder: Path, what: str) -> None:
    with doors_of(kafka_settings) as closed:
        done = run(closed, what, folder, "--json")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "clinstream up" in done.stderr
