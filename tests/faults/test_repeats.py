"""The same thing observed more than once: five deliveries, two senders, a promotion in between; one visible result."""

import asyncio
import io
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

import triton_models
from adapters import pixels, repository, triton
from adapters.clock import SystemClock
from adapters.database import Database, Version
from adapters.windows import RedisWindows
from schemas import ids
from tests.support.oracle import Oracle
from tests.support.plant import Plant, await_condition
from tests.support.real_events import glucose, readings, storage_object, xray
from tests.support.senders import IMAGE_TASK, VITALS_TASK, Acknowledged, dispatch, send_glucose, send_vitals


def test_one_result_is_visible_when_the_same_reading_is_sent_five_times(plant: Plant, oracle: Oracle) -> None:
    todo = readings(40)
    sent = Acknowledged()
    for _ in range(5):
        send_vitals(plant, todo, sent)

    verdict = oracle.judge(sent)

    assert len(sent.events) == 40
    assert verdict.faults == []
    assert verdict.fates == {"answered": 40}
    assert _visible(plant, list(sent.events)) == 40


def test_one_result_is_visible_and_one_reading_kept_when_glucose_is_sent_five_times(
    plant: Plant, oracle: Oracle
) -> None:
    """GL5: the repeats come in another order and while Redis is flushed."""
    todo = glucose(4)
    sent = Acknowledged()
    for number in range(5):
        send_glucose(plant, todo[::-1] if number % 2 else todo, sent)
        if number == 2:
            assert oracle.judge(sent).faults == []
            asyncio.run(_flush(plant))

    verdict = oracle.judge(sent)
    _everything_read(plant)

    assert len(sent.events) == 48
    assert oracle.judge(sent).faults == []
    assert verdict.glucose["answered"] >= 4
    assert _visible(plant, list(sent.events)) == verdict.glucose["answered"]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_one_result_is_visible_when_a_second_sender_has_the_image_in_another_form(
    plant: Plant, oracle: Oracle, tmp_path: Path, syntax: pydicom.uid.UID
) -> None:
    first = xray()
    first.PatientName = "Example^Ada"
    second = _recoded(first, syntax)
    second.PatientName = "EXAMPLE^ADA^^Dr"
    second.InstitutionName = "PACS"
    sent = Acknowledged()
    for found, sender in ((first, "MODALITY"), (second, "PACS")):
        (line,) = dispatch(plant, [storage_object(found, tmp_path)], calling_ae_title=sender)
        assert line.status == "accepted", line
        sent.note(line.event_id, IMAGE_TASK)

    verdict = oracle.judge(sent)

    assert len(sent.events) == 2
    assert verdict.faults == []
    assert verdict.fates == {"answered": 1, "duplicate_of": 1}
    assert _visible(plant, list(sent.events)) == 1


def test_the_first_result_stays_when_an_event_comes_again_after_the_served_version_changed(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    todo, later = readings(30), readings(30)
    image = storage_object(xray(), tmp_path)
    sent = Acknowledged()
    send_vitals(plant, todo, sent)
    (line,) = dispatch(plant, [image])
    sent.note(line.event_id, IMAGE_TASK)
    assert oracle.judge(sent).faults == []
    before = _versions(plant, list(sent.events))

    own = {task: triton_models.discover()[task].card.version for task in (VITALS_TASK, IMAGE_TASK)}
    _serve(plant, dict.fromkeys(own, "7.0.1"))
    try:
        send_vitals(plant, todo, sent)
        (line,) = dispatch(plant, [image])
        after_change = Acknowledged()
        send_vitals(plant, later, after_change)
        verdict, fresh = oracle.judge(sent), oracle.judge(after_change)
        _everything_read(plant)
    finally:
        _serve(plant, own)

    assert set(before.values()) == set(own.values())
    assert set(_versions(plant, list(after_change.events)).values()) == {"7.0.1"}, "the served version never changed"
    assert fresh.faults == []
    assert verdict.faults == []
    assert verdict.fates == {"answered": 31}
    assert _versions(plant, list(sent.events)) == before


async def _flush(plant: Plant) -> None:
    windows = RedisWindows(plant.settings.redis_url, SystemClock())
    assert await windows.clear()
    await windows.close()


def _recoded(found: pydicom.Dataset, syntax: pydicom.uid.UID) -> pydicom.Dataset:
    """The same pixels, losslessly compressed otherwise."""
    buffer = io.BytesIO()
    found.save_as(buffer, enforce_file_format=True)
    again = pydicom.dcmread(io.BytesIO(buffer.getvalue()))
    if syntax == RLELossless:
        again.compress(RLELossless, generate_instance_uid=False)
        return again
    encode = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else _j2k
    again.PixelData = encapsulate([encode(np.ascontiguousarray(again.pixel_array))])
    again["PixelData"].VR = "OB"
    again["PixelData"].is_undefined_length = True
    again.file_meta.TransferSyntaxUID = syntax
    return again


def _j2k(pixels: npt.NDArray[np.uint8]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0))


def _visible(plant: Plant, events: list[str]) -> int:
    """How many results clinicians see of the objects of these events."""
    found = plant.sql(
        "SELECT count(*) FROM visible WHERE object_id IN "
        "(SELECT object_id FROM outcomes WHERE event_id = ANY($1::text[]::uuid[]))",
        events,
    )
    return int(found[0][0])


def _versions(plant: Plant, events: list[str]) -> dict[str, str]:
    """Which version answered each event, by the visible result."""
    found = plant.sql(
        "SELECT v.event_id::text, a.version FROM visible v JOIN answers a USING (answer_id) "
        "WHERE v.event_id = ANY($1::text[]::uuid[])",
        events,
    )
    return {str(row[0]): str(row[1]) for row in found}


def _everything_read(plant: Plant) -> None:
    """Waits until no lane has anything left: a redelivery that came to a wrong end would have done so by then."""

    def quiet() -> bool:
        lanes = [seen.name.rpartition(".")[0] for seen in plant.components().values() if seen.kind == "service"]
        return all(plant.metric(lane, 0, "clinstream_in_flight") == 0 for lane in lanes if "door" not in lane)

    await_condition(quiet, 30.0, "no lane has work in flight")


def _serve(plant: Plant, versions: dict[str, str]) -> None:
    """Makes these versions (the same weights under another number) the promoted ones, as a release does."""
    settings, models = plant.settings, triton_models.discover()
    entries = [
        repository.Entry(replace(models[task].card, version=version), models[task].weights_path)
        for task, version in versions.items()
    ]

    async def register(database: Database, entry: repository.Entry) -> None:
        weights, card = entry.weights.read_bytes(), entry.card
        digest = ids.sha256_hex(weights)
        store = pixels.open_store(settings.store_url)
        await store.put(pixels.blob_uri("weights", digest), weights, durable=True)
        await store.close()
        point = asdict(card.operating_point) if card.operating_point else None
        made = Version(
            task=card.name,
            version=card.version,
            request_id=None,
            weights_uri=pixels.blob_uri("weights", digest),
            weights_sha256=digest,
            operating_point=point,
            abstention_band=card.abstention_band,
            preprocessing_version=card.preprocessing_version,
            figures={},
            registry_uri="",
            registered_at=datetime.now(UTC),
        )
        await database.add_version(made, by_whom="tests", why="a second version")

    async def release() -> int:
        await triton.reconcile(settings.triton, repository.build(settings.triton, entries))
        database = Database.open(settings, SystemClock())
        try:
            for entry in entries:
                if entry.card.version != models[entry.card.name].card.version:
                    await register(database, entry)
            made = [
                await database.set_release(task, version, "PROMOTED", by_whom="tests", why="a second version")
                for task, version in versions.items()
            ]
            return max(release.epoch for release in made)
        finally:
            await database.close()

    epoch = asyncio.run(release())
    # Staleness is at most two seconds; what is sent from then on is answered by the new version.
    probe = readings(1)

    def serves() -> bool:
        sent = Acknowledged()
        probe[:] = readings(1)
        send_vitals(plant, probe, sent)
        await_condition(lambda: bool(_versions(plant, list(sent.events))), 30.0, "the probe is answered")
        return set(_versions(plant, list(sent.events)).values()) == {versions[VITALS_TASK]}

    await_condition(serves, 20.0, f"{versions[VITALS_TASK]} of epoch {epoch} serves", every_s=0.5)
