"""A chest image, its result and a PACS for tests of what leaves; the PACS is Orthanc where that is installed."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from adapters.settings import Destination
from schemas.events import ResultPublished
from tests.support.answers import answer
from tests.support.dicom_objects import EXPLICIT, data_set, part_10

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CHEST = "chest_xray"
SECONDS = 30.0


def program(name: str) -> str:
    """Path of a program of Debian's; skips the test where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def chest(number: int = 1, *, syntax: str = EXPLICIT, **changes: Any) -> bytes:
    """A little chest image as the store keeps it; `number` tells one object from another."""
    shades = np.linspace(0, 255, 64 * 64, dtype=np.uint8).reshape(64, 64)
    values: dict[str, Any] = {
        "SOPClassUID": DX,
        "SOPInstanceUID": f"1.2.826.0.1.3680043.8.498.{number}.1",
        "StudyInstanceUID": f"1.2.826.0.1.3680043.8.498.{number}.2",
        "SeriesInstanceUID": f"1.2.826.0.1.3680043.8.498.{number}.3",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "PatientBirthDate": "20210131",
        "PatientSex": "F",
        "StudyDate": "20260102",
        "StudyTime": "030405",
        "StudyID": "7",
        "AccessionNumber": f"ACC{number}",
        "ReferringPhysicianName": "Ref^Erring",
        "Rows": 64,
        "Columns": 64,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": None,
        **changes,
    }
    found = data_set(**values)
    found.add_new(0x7FE00010, "OB", shades.tobytes())
    return part_10(found, syntax)


def chest_result(number: int = 1, *, observed: float | None = None, **changes: Any) -> ResultPublished:
    """Pneumonia at 87 % on that image, or what `changes` of the answer say."""
    probability = changes.pop("probability", 0.8731234567)
    when = time.time() if observed is None else observed
    values: dict[str, Any] = {
        "task": CHEST,
        "label": "pneumonia",
        "score": probability,
        "threshold": 0.0995,
        "probabilities": {"normal": 1 - probability, "pneumonia": probability},
        "hops": {"observed": when, "prepared": when, "inferred": when, "recorded": when},
        "notice": "A clinician must review this result.",
        **changes,
    }
    given = answer(f"1.2.826.0.1.3680043.8.498.{number}.1", **values)
    return ResultPublished(
        result_id=given.answer_id,
        object_id=given.object_id,
        subject_id=given.subject_id,
        task=given.task,
        revision=1,
        answer=given,
    )


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Pacs:
    """A running Orthanc."""

    dicom_port: int
    url: str

    @property
    def destination(self) -> Destination:
        """As the settings name it."""
        return Destination(host="127.0.0.1", port=self.dicom_port, ae_title="ORTHANC")

    def files(self) -> list[bytes]:
        """Every object that it holds, as a file."""
        ids = self._get("/instances").json()
        return [self._get(f"/instances/{each}/file").content for each in ids]

    def tags(self, level: str) -> list[dict[str, str]]:
        """The main tags of all it holds at a level: `studies`, `series` or `instances`."""
        return [each["MainDicomTags"] for each in self._get(f"/{level}?expand").json()]

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False).raise_for_status()


@contextmanager
def orthanc(folder: Path) -> Iterator[Pacs]:
    """Orthanc with its data in `folder`; skips the test where it is not installed."""
    binary, dicom_port, http_port = program("Orthanc"), free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            found = Pacs(dicom_port, f"http://127.0.0.1:{http_port}")
            _await(found, process)
            yield found
        finally:
            process.terminate()
            process.wait(SECONDS)


def _await(pacs: Pacs, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "Orthanc ended"
        try:
            pacs.tags("studies")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("Orthanc did not start")
