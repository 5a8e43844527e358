"""DICOMweb over the real door, broker, store and PostgreSQL: stored, found, retrieved byte for byte (S1, CC8, CC28)."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.pixels import open_store
from adapters.settings import Settings
from consumers.studies import Studies
from schemas import envelope, topics
from schemas.events import ImageObserved
from schemas.studies import Quiet
from tests.support import steps
from tests.support.dicom_objects import data_set, encoded, part_10
from tests.support.dicomweb import RELATED, related
from tests.support.doors import Doors, doors_of, log_of
from tests.support.installation import command

STUDY = "1.2.826.0.1.3680043.8.498.77"


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings, database: Settings) -> Iterator[Doors]:
    """One process of the HTTP door, which knows a database."""
    with doors_of(kafka_settings, "door-http", database=database) as found:
        yield found


def work(doors: Doors, events: list[ImageObserved]) -> None:
    """What the process `studies` does with these events."""

    async def run() -> None:
        database, store = Database.open(doors.settings, SystemClock()), open_store(doors.settings.store_url)
        with ThreadPoolExecutor(1) as decoders:
            step = Studies(store=store, archive=database.archive, decoders=decoders, quiet=Quiet())
            for _ in range(2):  # a redelivery changes nothing
                await step([steps.delivery(event) for event in events])
        await store.close()
        await database.close()

    asyncio.run(run())


def test_what_stow_took_is_found_by_qido_and_comes_back_from_wado_as_it_was_sent(doors: Doors) -> None:
    # One object's header is longer than what is read of it at first, and one has 12 MB.
    extras: list[dict[str, Any]] = [
        {},
        {"ImageComments": "x" * 9000, "PixelData": bytes(12_000_000)},
        {"TextValue": "long " * 30_000},
    ]
    sets = [
        data_set(SOPInstanceUID=f"{STUDY}.{number}", StudyInstanceUID=STUDY, InstanceNumber=number, **more)
        for number, more in enumerate(extras)
    ]
    files = [part_10(each) for each in sets]
    base = f"http://127.0.0.1:{doors.settings.doors.http_port}"
    with (
        log_of(doors.settings, topics.OBSERVED_DICOM) as log,
        httpx.Client(base_url=base, timeout=60, trust_env=False) as client,
    ):
        answer = client.post(f"/studies/{STUDY}", content=related(*files, b"no DICOM"), headers=RELATED)
        assert answer.status_code == 202
        told = Dataset.from_json(answer.json())
        stored = {item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence}
        events = [envelope.read(ImageObserved, record.value) for record in log.read()]
        assert stored == {event.object_id for event in events} == {f"{STUDY}.{number}" for number in range(3)}
        work(doors, events[:2])
        rebuilt = command(doors.settings, "study", "rebuild")
        assert rebuilt.exit_code == 0, rebuilt.output

        (study,) = client.get("/studies", params={"StudyInstanceUID": STUDY, "PatientID": "4711"}).json()
        assert Dataset.from_json(study).NumberOfStudyRelatedInstances == 3
        found = client.get(f"/studies/{STUDY}/instances").json()
        assert {Dataset.from_json(each).InstanceNumber for each in found} == {0, 1, 2}
        back = client.get(Dataset.from_json(study).RetrieveURL)
        assert back.headers["content-type"].startswith("multipart/related")
        assert all(encoded(each) in back.content for each in sets), "byte for byte"
        for each in found:
            read = Dataset.from_json(each)
            one = client.get(f"{read.RetrieveURL}/metadata").json()
            assert Dataset.from_json(one[0]).SOPInstanceUID == read.SOPInstanceUID
        picture = client.get(f"/studies/{STUDY}/series/{read.SeriesInstanceUID}/instances/{STUDY}.0/rendered")
        assert picture.headers["content-type"] == "image/jpeg"
        (line,) = json.loads(command(doors.settings, "studies", "show", STUDY, "--json").stdout)
        assert (line["state"], line["received"], line["expected"]) == ("receiving", 3, None)
        told = command(doors.settings, "study", "expect", STUDY, "--instances", "3", "--json")
        (line,) = json.loads(told.stdout)
        assert (line["state"], line["received"], line["expected"], line["sender"]) == ("complete", 3, 3, "STOW-RS")
        (line,) = json.loads(command(doors.settings, "study", "expect", STUDY, "--ask", base, "--json").stdout)
        assert (line["state"], line["expected_by"]) == ("complete", "list")
        assert line in json.loads(command(doors.settings, "study", "list", "--json").stdout)
    assert "4711" not in doors.log("door-http")
