"""No room for pixels: the doors say "try again", what was in flight waits, and all goes on when there is room."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant, await_condition
from tests.support.real_events import readings, xrays
from tests.support.senders import Acknowledged, Flow, dispatch, send_images

DOORS = ("door-dicom.0", "door-dicom.1", "door-http.0")
IMAGES = 24
ROOM = 24 << 20


@contextmanager
def doors_with(plant: Plant, **settings: Any) -> Iterator[None]:
    """The doors anew with other settings, and at the end anew with those of before."""
    file = plant.home.folder / "endpoints.json"
    before = file.read_text()
    known = json.loads(before)
    file.write_text(json.dumps({**known, "doors": {**known["doors"], **settings}}))
    try:
        _doors_anew(plant)
        yield
    finally:
        file.write_text(before)
        _doors_anew(plant)


def _doors_anew(plant: Plant) -> None:
    killed = {name: faults.kill(plant, name) for name in DOORS}
    for name, pid in killed.items():
        faults.wait_replaced(plant, name, pid)


@contextmanager
def small_store(plant: Plant) -> Iterator[Path]:
    """A file system of its own, of `ROOM` bytes, where the store was; what it then holds is kept at the end."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system, and nothing else makes a real 'no space left on device'")
    elsewhere = plant.store.with_name("store-away")
    plant.store.rename(elsewhere)
    plant.store.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(plant.store)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    try:
        if mounted.returncode:
            pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
        yield plant.store
    finally:
        if mounted.returncode == 0:
            shutil.copytree(plant.store, elsewhere, dirs_exist_ok=True)
            subprocess.run(["umount", "--lazy", str(plant.store)], check=True)
        plant.store.rmdir()
        elsewhere.rename(plant.store)


def test_doors_say_try_again_below_the_disk_watermark_and_take_everything_afterwards(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    images = xrays(4, tmp_path)
    doors = plant.settings.doors
    with doors_with(plant, disk_watermark_bytes=1 << 60):
        posted = httpx.post(f"http://{doors.http_host}:{doors.http_port}/v1/vitals", json=readings(1))
        lines = list(dispatch(plant, images))
    sent = Flow(plant, readings(50), images, seconds=0.0).wait()

    verdict = oracle.judge(sent)

    assert posted.status_code == 503
    assert posted.headers["retry-after"].isdigit()
    assert {line.status for line in lines} == {"retry"}
    assert verdict.faults == []
    assert verdict.fates == {"answered": 54}


def test_nothing_is_lost_when_the_store_has_no_space_left_on_device(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    images = xrays(IMAGES, tmp_path)
    early, late = images[:8], images[8:]
    sent = Acknowledged()
    with doors_with(plant, disk_watermark_bytes=0), small_store(plant) as store:
        send_images(plant, early, sent)
        filler = store / "filler"
        _fill(filler, leave=200 << 10)
        lines = list(dispatch(plant, late))
        refused = [line for line in lines if line.status == "retry"]
        for line in lines:
            if line.status == "accepted":
                sent.note(line.event_id, "chest_xray")
        filler.unlink()
        send_images(plant, late, sent)
        verdict = oracle.judge(sent)
        await_condition(lambda: oracle.judge(sent).faults == [], 60.0, "all images are answered")

    assert refused, "the file system never was full"
    assert all("A700" in line.reason for line in refused), refused
    assert verdict.faults == []
    assert verdict.fates == {"answered": IMAGES}
    assert oracle.dead_letters() == []


def _fill(path: Path, *, leave: int) -> None:
    """Writes a file that leaves that many bytes free."""
    free = shutil.disk_usage(path.parent).free
    with path.open("wb") as file:
        file.write(bytes(max(0, free - leave)))
