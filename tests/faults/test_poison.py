"""Poison of every kind among good events: put aside with a reason for people, no neighbour harmed, replay works."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pydicom
import pytest
from kafka import KafkaProducer

from clinstream.sending.objects import StorageObject
from schemas import topics
from schemas.events import ImageObserved, VitalsObserved
from tests.support import faults
from tests.support.oracle import Oracle, Record
from tests.support.plant import Plant, await_condition
from tests.support.real_events import readings, storage_object, xray, xrays
from tests.support.senders import IMAGE_TASK, Acknowledged, Flow, dispatch, send_images

NEIGHBOURS, IMAGES = 400, 12
HTML = b"<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>\n" * 20


Put = tuple[list[tuple[str, bytes]], bytes, str]


def _headers(kind: str) -> list[tuple[str, bytes]]:
    """The headers of an event of that type as a door writes them."""
    found = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_source": "tests/poison",
        "ce_type": kind,
        "ce_time": "2026-01-31T08:00:00Z",
        "ce_subject": "sub-0",
        "ce_priority": "routine",
    }
    return [(name, value.encode()) for name, value in found.items()]


def _on_the_log(kind: str) -> dict[str, Put]:
    """What lands on a topic of events of `kind`: headers, value, and the words that a person needs to read."""
    newer = kind.removesuffix(".v1") + ".v2"
    event = json.dumps({"event_id": str(uuid4())}).encode()
    return {
        "not JSON": (_headers(kind), b"\x00\xffnot json", "the value is not JSON"),
        "wrong schema": (_headers(kind), b'{"event_id": "7", "features": 3}', f"does not fit {kind}"),
        "future schema version": (_headers(newer), event, "newer than this system; upgrade, then replay"),
        "no CloudEvent": ([("source", b"somebody")], b"{}", "not a CloudEvent: missing ce_specversion"),
    }


@pytest.mark.parametrize(
    ("topic", "kind"),
    [(topics.OBSERVED_VITALS, VitalsObserved.TYPE), (topics.OBSERVED_DICOM, ImageObserved.TYPE)],
)
def test_poison_on_the_log_is_put_aside_with_its_reason_and_neighbours_are_answered(
    plant: Plant, oracle: Oracle, tmp_path: Path, topic: str, kind: str
) -> None:
    poison = _on_the_log(kind)
    flow = Flow(plant, readings(NEIGHBOURS), xrays(IMAGES, tmp_path), seconds=3.0)
    producer = KafkaProducer(bootstrap_servers=plant.settings.kafka.bootstrap_servers)
    for headers, value, _ in poison.values():
        producer.send(topic, key=b"poison", headers=headers, value=value)
    producer.flush()
    producer.close()
    sent = flow.wait()

    verdict = oracle.judge(sent)
    await_condition(lambda: len(oracle.dead_letters()) >= len(poison), 30.0, "all poison is put aside")
    letters = oracle.dead_letters()

    assert verdict.faults == []
    assert verdict.fates == {"answered": NEIGHBOURS + IMAGES}
    assert [letter.topic for letter in letters] == [topics.DEAD_UNPROCESSABLE] * len(poison)
    assert all(letter.headers["dead_topic"] == topic for letter in letters)
    for name, (_, value, words) in poison.items():
        (kept,) = [letter for letter in letters if words in letter.headers["dead_reason"]]
        assert kept.value == value, f"{name} is not kept as it came"


def _truncated(found: StorageObject) -> StorageObject:
    return _with(found, found.data[: len(found.data) // 2])


def _with(found: StorageObject, data: bytes) -> StorageObject:
    return StorageObject(
        found.path, found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid, found.event_id, data
    )


def _nan_pixels() -> pydicom.Dataset:
    """Float Pixel Data (7FE0,0008) of which one value is no number (PS3.3 C.7.6.24)."""
    found = xray()
    pixels = found.pixel_array.astype("<f4")
    pixels[3, 3] = np.nan
    del found.PixelData
    del found.BitsStored, found.HighBit, found.PixelRepresentation
    found.BitsAllocated = 32
    found.FloatPixelData = pixels.tobytes()
    return found


def test_poison_through_the_door_is_answered_or_put_aside_and_neighbours_are_answered(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    good = xrays(IMAGES, tmp_path)
    template = storage_object(xray(), tmp_path)
    poison = {
        "truncated DICOM": _truncated(template),
        "NaN pixels": storage_object(_nan_pixels(), tmp_path),
        "HTML": _with(storage_object(xray(), tmp_path), HTML),
    }
    page = tmp_path / "page.dcm"
    page.write_bytes(HTML)
    sent = Acknowledged()
    send_images(plant, good[:6], sent)
    lines = dict(zip(poison, dispatch(plant, list(poison.values())), strict=True))
    send_images(plant, good[6:], sent)
    refused_by_sender = plant.command("send", "dicom", str(page), "--json")

    verdict = oracle.judge(sent)
    await_condition(lambda: len(oracle.dead_letters()) >= 3, 30.0, "all poison is put aside")
    by_name = {_kind(letter): letter for letter in oracle.dead_letters()}

    assert verdict.faults == []
    assert verdict.fates == {"answered": IMAGES}
    assert lines["HTML"].status == "refused"
    assert "C000" in lines["HTML"].reason
    assert {letter.topic for letter in by_name.values()} == {topics.DEAD_UNPROCESSABLE}
    assert len(by_name) == 3, by_name
    for letter in by_name.values():
        reason = letter.headers["dead_reason"]
        assert len(reason.split()) >= 3, reason
        assert "Traceback" not in reason
    told = json.loads(refused_by_sender.stdout.splitlines()[0])
    assert (told["status"], told["reason"]) == ("unreadable", "not a DICOM file")


def _kind(letter: Record) -> str:
    return letter.headers["dead_reason"]


def test_replay_gives_the_result_once_when_the_missing_pixels_are_back(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    sent = Acknowledged()
    image = storage_object(xray(), tmp_path)
    with ExitStack() as held:
        for each in plant.components_of("imaging-prepare.routine"):
            held.enter_context(faults.hanging(plant, each))
        (line,) = dispatch(plant, [image])
        sent.note(line.event_id, IMAGE_TASK)
        blob = _newest_blob(plant)
        hidden = tmp_path / "hidden"
        blob.rename(hidden)
    await_condition(lambda: len(oracle.dead_letters()) == 1, 30.0, "the event is put aside")
    (letter,) = oracle.dead_letters()
    put_aside = oracle.judge(sent)
    hidden.rename(blob)
    listed = json.loads(plant.command("dead", "list", "--json").stdout)
    (mine,) = [row["id"] for row in listed if row["event_id"] == line.event_id]
    replayed = [plant.command("dead", "replay", mine) for _ in range(2)]
    await_condition(lambda: oracle.judge(sent).fates == {"answered": 1}, 60.0, "the replayed event is answered")

    verdict = oracle.judge(sent)

    assert letter.topic == topics.DEAD_FAILED
    assert "does not hold" in letter.headers["dead_reason"]
    assert put_aside.fates == {"dead": 1}
    assert put_aside.reconciled["lost"] == 0
    assert [done.returncode for done in replayed] == [0, 0], replayed
    assert verdict.faults == []
    assert plant.sql("SELECT count(*) FROM visible WHERE event_id = $1::text::uuid", line.event_id) == [(1,)]


def _newest_blob(plant: Plant) -> Path:
    blobs = [path for path in (plant.store / "pixels").rglob("*") if path.is_file()]
    return max(blobs, key=os.path.getmtime)
