"""`bench dicom`: objects a second through the DICOM door, beside DCMTK's `storescp` and Orthanc in the same run.

DCMTK's `storescu` sends, one process an association; the door answers after the flushed file and the broker's
acknowledgement, the other two as they come. Nothing is inferred: no model claims these objects.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from clinstream.benches.figures import Figure, Report, figure, ratio
from clinstream.benches.plant import Plant
from schemas.errors import UserError

SIZES = {"8KB": 8 << 10, "0.5MB": 512 << 10, "10MB": 10 << 20}
HUGE = {"50MB": 50 << 20}
COUNTS = {"8KB": 320, "0.5MB": 64, "10MB": 32, "50MB": 16}
"""Objects a measurement, divided among the associations; a quarter with one association, so that each measurement is
shorter than the time for which consumers can be held."""

ASSOCIATIONS = (1, 4, 16)
OURS, STORESCP, ORTHANC = "door", "storescp", "orthanc"
HELD = ("imaging-prepare.routine", "imaging-prepare.stat", "studies")
PLACE = "2.25.100000000000000000000000000000000000"
"""Stands for the SOP Instance UID in the pattern of an object: one of the same length is put there."""

READY_S, SENT_S = 30.0, 300.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send, and as what."""

    name: str
    port: int
    called: str


async def run(plant: Plant, *, repeats: int, huge: bool, tell: Callable[[str], None]) -> Report:
    """Every size with every number of associations, `repeats` times, the receivers in turns that alternate.

    `tell` gets a line for each case.
    """
    if not shutil.which("storescu"):
        raise UserError("`bench dicom` sends with DCMTK's storescu, which is not installed (Debian: dcmtk).")
    return await asyncio.to_thread(_run, plant, repeats, {**SIZES, **(HUGE if huge else {})}, tell)


def _run(plant: Plant, repeats: int, sizes: dict[str, int], tell: Callable[[str], None]) -> Report:
    doors = plant.settings.doors
    rates: dict[tuple[str, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="clinstream-bench-dicom-") as folder, ExitStack() as stack:
        receivers = [Receiver(OURS, doors.dicom_port, f"{doors.dicom_ae_title}_SIM"), *_others(Path(folder), stack)]
        pattern = {name: _pattern(size) for name, size in sizes.items()}
        for repeat in range(repeats + 1):
            for size in sizes:
                for associations in ASSOCIATIONS:
                    found: dict[str, float] = {}
                    for receiver in receivers[:: -1 if repeat % 2 else 1]:
                        count = max(associations, COUNTS[size] // (1 if repeat and associations > 1 else 4))
                        rate = _measured(plant, receiver, Path(folder), pattern[size], count, associations)
                        found[receiver.name] = rate
                        if repeat:  # the first round warms up
                            rates.setdefault((receiver.name, size, associations), []).append(rate)
                    each = ", ".join(f"{name} {found[name]:.0f}" for name in sorted(found))
                    tell(f"{repeat or 'warming up'} · {size} over {associations}: {each} objects/s")
    return _report(rates, sizes)


def _report(rates: dict[tuple[str, str, int], list[float]], sizes: dict[str, int]) -> Report:
    cases = [(size, associations) for size in sizes for associations in ASSOCIATIONS]
    ratios = {
        f"over_{other}_{size}_{associations}": ratio(rates[OURS, size, associations], rates[other, size, associations])
        for other in (STORESCP, ORTHANC)
        for size, associations in cases
        if (other, size, associations) in rates
    }
    figures: dict[str, Figure] = {}
    for (name, size, associations), values in rates.items():
        figures[f"{name}_{size}_{associations}"] = figure(values, "objects/s")
        megabytes = [value * sizes[size] / 1e6 for value in values]
        figures[f"{name}_{size}_{associations}_bytes"] = figure(megabytes, "MB/s")
    return Report("dicom", ratios, figures)


def _measured(plant: Plant, receiver: Receiver, folder: Path, pattern: bytes, count: int, associations: int) -> float:
    """Objects a second of `count` new objects over so many associations at once; UserError where one was not taken."""
    place = Path(tempfile.mkdtemp(dir=folder))
    for number in range(associations):
        (place / str(number)).mkdir()
    for number in range(count):
        made = pattern.replace(PLACE.encode(), _uid().encode())
        (place / str(number % associations) / f"{number}.dcm").write_bytes(made)
    with ExitStack() as held:
        for name in HELD:  # they would read what the door has just stored
            for each in plant.numbers(name):
                held.enter_context(plant.held(each))
        took = _send(receiver, [place / str(number) for number in range(associations)])
    shutil.rmtree(place)
    return count / took


def _send(receiver: Receiver, folders: Sequence[Path]) -> float:
    # -R: only the contexts that the objects need.
    command = ["storescu", "-R", "-aec", receiver.called, "+sd", "127.0.0.1", str(receiver.port)]
    started = time.perf_counter()
    senders = [
        subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for folder in folders
    ]
    try:
        failed = [sender.wait(SENT_S) for sender in senders]
    finally:
        for sender in senders:
            sender.kill()
    took = time.perf_counter() - started
    if any(failed):
        raise UserError(f"{receiver.name} did not take every object of the measurement.")
    return took


def _others(folder: Path, stack: ExitStack) -> Iterator[Receiver]:
    """What is installed of the programs to compare with, running."""
    if shutil.which("storescp"):
        port, place = _free_port(), folder / "storescp"
        place.mkdir()
        stack.enter_context(_running(["storescp", "--fork", "-od", str(place), str(port)], port))
        yield Receiver(STORESCP, port, "STORESCP")
    if program := shutil.which("Orthanc"):
        port, place = _free_port(), folder / "orthanc"
        place.mkdir()
        settings = {
            "StorageDirectory": str(place),
            "IndexDirectory": str(place),
            "DicomPort": port,
            "HttpServerEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomThreadsCount": 16,
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        stack.enter_context(_running([program, str(folder / "orthanc.json")], port))
        yield Receiver(ORTHANC, port, "ORTHANC")


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + READY_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > ends:
                raise UserError(f"{Path(command[0]).name} did not start.")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(READY_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _uid() -> str:
    """A UID as long as the one that it replaces."""
    return f"2.25.{10 ** (len(PLACE) - 6) + uuid4().int % 10 ** (len(PLACE) - 6)}"


def _pattern(size: int) -> bytes:
    """A secondary capture of about `size` bytes as a PS3.10 file."""
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = SecondaryCaptureImageStorage, PLACE
    found.StudyInstanceUID, found.SeriesInstanceUID = f"2.25.{uuid4().int}", f"2.25.{uuid4().int}"
    found.PatientID, found.PatientName, found.Modality = "BENCH", "Bench^Made", "OT"
    found.Rows, found.Columns = max(1, size // 1024), 512
    found.BitsAllocated = found.BitsStored = 16
    found.HighBit, found.SamplesPerPixel, found.PixelRepresentation = 15, 1, 0
    found.PhotometricInterpretation = "MONOCHROME2"
    found.PixelData = bytes(found.Rows * found.Columns * 2)
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()
