"""Glucose, otoscope, review and folder doors as processes, on a real broker and PostgreSQL (S1)."""

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from PIL import Image

from adapters.settings import Settings
from clinstream import samples
from schemas import envelope, ids, topics
from schemas.events import GlucoseObserved, ImageObserved, ResultAssessed
from tests.support.doors import KEY, Doors, Log, doors_of, log_of

GLUCOSE = (topics.OBSERVED_GLUCOSE_LIVE, topics.OBSERVED_GLUCOSE_BACKFILL)


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings, database: Settings) -> Iterator[Doors]:
    """One process of the HTTP door, which knows a database."""
    with doors_of(kafka_settings, "door-http", database=database) as found:
        yield found


@pytest.fixture
def log(doors: Doors) -> Iterator[Log]:
    """What the doors put onto the log during one test."""
    wanted = (*GLUCOSE, topics.OBSERVED_OTOSCOPE, topics.OVERRIDES, topics.DEAD_UNPROCESSABLE)
    with log_of(doors.settings, *wanted) as found:
        yield found


def run(doors: Doors, *arguments: object, code: int = 0) -> list[Any]:
    """The JSON lines of a command."""
    command = [sys.executable, "-W", "error", "-m", "clinstream", *(str(item) for item in arguments), "--json"]
    done = subprocess.run(command, env=doors.environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def url(doors: Doors, path: str) -> str:
    return f"http://127.0.0.1:{doors.settings.doors.http_port}{path}"


def events(log: Log, kind: type[Any]) -> list[Any]:
    """The events of a kind; dead letters are no events."""
    wanted = ("ce_type", envelope.event_type(kind).encode())
    return [envelope.read(kind, record.value) for record in log.read() if wanted in record.headers]


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), (shade, 60, 60), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def test_an_app_with_a_wearers_credential_is_taken_at_once_until_it_is_revoked(doors: Doors, log: Log) -> None:
    name = f"W {uuid4()}"
    (made,) = run(doors, "wearers", "add", name)
    subject = ids.subject_id(bytes.fromhex(KEY), "", name)
    assert made["subject_id"] == subject
    assert made["secret"] in made["url_with_secret"]
    headers = {"api-secret": hashlib.sha1(made["secret"].encode()).hexdigest()}
    entries = [
        {"type": "sgv", "sgv": 120, "date": 1_700_000_000_000, "device": "a"},
        {"type": "sgv", "sgv": 5.5, "date": 1},
    ]
    answer = httpx.post(url(doors, "/api/v1/entries"), json=entries, headers=headers, trust_env=False)
    assert answer.status_code == 200
    taken, refused = answer.json()
    (event,) = events(log, GlucoseObserved)
    assert (taken["_id"], event.subject_id) == (str(event.event_id), subject)
    assert "mmol/L" in refused["refused"]
    (letter,) = (record for record in log.read() if any(name == "dead_reason" for name, _ in record.headers))
    kept = doors.store / json.loads(letter.value)["uri"]
    assert json.loads(kept.read_text()) == [entries[1]]
    (known,) = (row for row in run(doors, "wearers", "list")[0] if row["name"] == name)
    assert known["revoked_at"] is None
    assert made["secret"] not in json.dumps(known)
    assert run(doors, "wearers", "revoke", name)[0]["revoked"] == [made["credential_id"]]
    while httpx.post(url(doors, "/v1/glucose"), json=[], headers=headers, trust_env=False).status_code != 401:
        time.sleep(0.2)  # the door reads the credentials anew every few seconds
    assert name not in doors.log("door-http")
    assert made["secret"] not in doors.log("door-http")


def test_a_recording_is_sent_as_of_now_and_again_as_the_same_wearer(doors: Doors, log: Log, tmp_path: Path) -> None:
    rows = "".join(f"2022-04-09T13:{minute:02}:07,{100 + minute}\n" for minute in range(0, 60, 5))
    (tmp_path / "w.csv").write_text("timestamp,glucose_mg_dl\n" + rows + "2022-04-09T14:00:07,5\n")
    wearer = f"W {uuid4()}"
    lines = run(doors, "send", "cgm", tmp_path, "--wearer", wearer, "--shift-to-now", code=1)
    assert [line["status"] for line in lines] == ["accepted"] * 12 + ["refused"]
    found = events(log, GlucoseObserved)
    assert {str(event.event_id) for event in found} == {line["event_id"] for line in lines[:-1]}
    assert len({event.subject_id for event in found}) == 1
    by_topic = [record.envelope.extensions for record in log.read()]
    assert all(extensions["priority"] == "routine" for extensions in by_topic)
    first, again = (
        {line["event_id"] for line in run(doors, "send", "cgm", tmp_path / "w.csv", "--wearer", wearer, code=1)}
        for _ in range(2)
    )
    assert first == again
    credentials = [row for row in run(doors, "wearers", "list")[0] if row["name"] == wearer]
    assert len(credentials) == 1, "one credential serves every recording of a wearer"


def test_pictures_of_ears_are_sent_by_their_names_and_urgent_ones_say_so(
    doors: Doors, log: Log, tmp_path: Path
) -> None:
    (tmp_path / "P-1_left.jpg").write_bytes(picture(80))
    (tmp_path / "P-1_right.jpg").write_bytes(picture(90))
    (tmp_path / "README").write_text("two ears")
    (tmp_path / "which.jpg").write_bytes(picture(70))
    lines = run(doors, "send", "otoscope", tmp_path, "--stat", code=1)
    assert [line["status"] for line in lines] == ["accepted", "accepted", "unreadable", "unreadable"]
    found = {str(event.event_id): event for event in events(log, ImageObserved)}
    assert [found[line["event_id"]].laterality for line in lines[:2]] == ["left", "right"]
    assert len({event.study_id for event in found.values()}) == 1
    for event in found.values():
        assert event.priority == "stat"
        assert ids.sha256_hex((doors.store / event.blob.uri).read_bytes()) == event.blob.sha256


def test_the_packaged_recordings_and_pictures_are_accepted(doors: Doors) -> None:
    """The samples that ship with the package can be sent by the commands of the README."""
    pack = Path(str(samples.__file__)).parent / "pack"
    if not (pack / "cgm").is_dir() or not (pack / "otoscope").is_dir():
        pytest.skip("this package has no recordings or pictures of ears")
    sent = run(doors, "send", "cgm", pack / "cgm" / "wearer-01.csv", "--wearer", "W-01", "--shift-to-now")
    sent += run(doors, "send", "otoscope", pack / "otoscope")
    assert {line["status"] for line in sent} == {"accepted"}


def test_an_override_is_one_event_however_often_it_is_said(doors: Doors, log: Log) -> None:
    result = uuid4()
    said = ("override", result, "--label", "normal", "--by", "dr-lee", "--idempotency-key", "once")
    (first,), (again,) = run(doors, *said), run(doors, *said)
    assert first == again
    found = events(log, ResultAssessed)
    assert {str(event.override_id) for event in found} == {first["override_id"]}
    assert {record.key for record in log.read()} == {str(result).encode()}
    run(doors, "override", result, "--by", "dr-lee", "--verdict", "supplemented", code=1)
    run(doors, "override", "7", "--by", "dr-lee", code=2)


def test_a_watched_folder_is_emptied_onto_the_log_also_what_lay_there_before(
    doors: Doors, log: Log, tmp_path: Path
) -> None:
    (tmp_path / "P-2_left.jpg").write_bytes(picture(60))
    doors.start("door-folder", CLINSTREAM_DOOR_FOLDER=str(tmp_path))
    try:
        (tmp_path / "nobody.jpg").write_bytes(picture(61))
        while len(list(tmp_path.glob("done/*"))) < 1 or len(list(tmp_path.glob("refused/*.txt"))) < 1:
            assert doors.is_ready("door-folder")
            time.sleep(0.1)
        (event,) = events(log, ImageObserved)
        assert (event.sender, event.laterality) == ("door-folder", "left")
        line = 'clinstream_door_requests_total{door="folder",status="accepted"}'
        assert doors.metric(line, "door-folder") == 1
    finally:
        assert doors.stop("door-folder") == 0


def test_while_the_database_is_away_glucose_waits_and_other_doors_do_not(kafka_settings: Settings) -> None:
    with doors_of(kafka_settings, "door-http") as away:
        answer = httpx.post(
            url(away, "/api/v1/entries"), json={}, headers={"api-secret": "some secret of twelve"}, trust_env=False
        )
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        form = {"subject": "P", "laterality": "left"}
        files = {"image": ("p", picture(50), "image/jpeg")}
        taken = httpx.post(url(away, "/v1/otoscope"), data=form, files=files, trust_env=False, timeout=30)
        assert taken.status_code == 200
