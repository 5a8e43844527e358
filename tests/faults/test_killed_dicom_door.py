"""SIGKILL of the DICOM door's processes and of Kafka while DCMTK sends: of what was answered 0x0000, nothing is missing
(CC21, S1); the journal tells of the associations (CC14)."""

import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import which

import pytest
from pydicom.uid import generate_uid

from tests.support import faults
from tests.support.dicom_objects import data_set, part_10
from tests.support.plant import Plant, await_condition

OBJECTS = int(os.environ.get("CLINSTREAM_TEST_KILL_OBJECTS", "360"))
SENDERS = 2
PATIENCE_S = 120.0 + OBJECTS / 10
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PIXELS = {"Rows": 64, "Columns": 64, "PixelData": bytes(8192)}
SENDING = re.compile(r"Sending file: (\S+)")
ANSWERED = "Received Store Response (Success)"


class Sender(threading.Thread):
    """`storescu` over a folder, started again with what was not answered until all is; `sent` are the UIDs answered."""

    def __init__(self, plant: Plant, folder: Path) -> None:
        super().__init__(daemon=True)
        self._plant, self._left = plant, {path.name: path for path in folder.iterdir()}
        self.sent: list[str] = []
        self.runs = 0

    def run(self) -> None:
        """Ends when every object was answered, or after `PATIENCE_S`."""
        ends = time.monotonic() + PATIENCE_S
        place = ["127.0.0.1", str(self._plant.settings.doors.dicom_port)]
        while self._left and time.monotonic() < ends:
            self.runs += 1
            command = ["storescu", "-v", "-R", "-to", "5", "-td", "20", "-aec", "CLINSTREAM", *place]
            with subprocess.Popen(
                [*command, *map(str, self._left.values())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as process:
                self._follow(process)
            if self._left:
                time.sleep(0.3)

    def _follow(self, process: "subprocess.Popen[str]") -> None:
        current = ""
        for line in process.stdout or ():
            if found := SENDING.search(line):
                current = Path(found[1]).name
            elif ANSWERED in line:
                self.sent.append(current)
                self._left.pop(current, None)


@pytest.mark.timeout(600 + OBJECTS)
@pytest.mark.skipif(which("storescu") is None, reason="no DCMTK here")
def test_what_dcmtk_was_told_is_stored_survives_the_death_of_doors_and_broker(plant: Plant, tmp_path: Path) -> None:
    senders = []
    for number in range(SENDERS):
        folder = tmp_path / str(number)
        folder.mkdir()
        for _ in range(OBJECTS // SENDERS):
            uid = generate_uid()
            changes = {"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT", "SOPInstanceUID": uid, **PIXELS}
            (folder / uid).write_bytes(part_10(data_set(StudyInstanceUID=generate_uid(), **changes)))
        senders.append(Sender(plant, folder))
    for sender in senders:
        sender.start()

    def answered_count() -> int:
        return sum(len(each.sent) for each in senders)

    # All processes of the door at once: of one alone the senders may have no association.
    for due, victims in ((OBJECTS // 6, plant.components_of("door-dicom")), (OBJECTS // 2, ["kafka"])):
        await_condition(partial(_reached, answered_count, due), PATIENCE_S, "objects are answered", every_s=0.02)
        killed = {victim: faults.kill(plant, victim) for victim in victims}
        for victim, pid in killed.items():
            faults.wait_replaced(plant, victim, pid)
    for sender in senders:
        sender.join(PATIENCE_S + 30.0)
    answered = [uid for sender in senders for uid in sender.sent]
    listed = tmp_path / "answered.txt"
    listed.write_text("\n".join(answered))
    counted = plant.command(
        "reconcile",
        "--acknowledged",
        str(listed),
        "--wait",
        str(60 + OBJECTS // 20),
        "--json",
        timeout=PATIENCE_S + OBJECTS,
    )
    report = json.loads(counted.stdout)

    assert len(set(answered)) == OBJECTS
    assert sum(sender.runs for sender in senders) > SENDERS, "associations broke, or nothing was tested"
    assert (report["lost"], report["duplicates"], report["in_flight"]) == (0, 0, 0), report
    assert counted.returncode == 0, counted.stderr

    def journalled() -> Counter[str]:
        lines = json.loads(plant.command("door", "journal", "--sender", "STORESCU", "--json").stdout)
        return Counter(line["ended"] for line in lines)

    await_condition(lambda: journalled()["released"] >= 1, 60.0, "the last associations are in the journal", every_s=1)


def _reached(count: Callable[[], int], due: int) -> bool:
    return count() >= due
