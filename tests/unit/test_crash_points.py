"""The places where a test can have a process die."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumers import crash_points
from schemas.errors import SettingsError

PASSES = """
import asyncio
from consumers import crash_points
crash_points.arm({setting!r})
async def work():
    for number in range(5):
        await crash_points.reach("after-decode")
        await crash_points.reach("before-ack")
        print(number, flush=True)
asyncio.run(work())
"""


def run(setting: str) -> tuple[int, int]:
    """Exit status, and how many rounds were finished before."""
    done = subprocess.run([sys.executable, "-c", PASSES.format(setting=setting)], capture_output=True, check=False)
    return done.returncode, len(done.stdout.split())


def test_the_process_dies_at_the_named_pass_without_a_word() -> None:
    assert run("before-ack:3") == (-signal.SIGKILL, 2)


def test_nothing_happens_at_other_places_or_without_a_setting() -> None:
    assert run("after-commit:1") == (0, 5)
    assert run("") == (0, 5)


@pytest.mark.parametrize("setting", ["nowhere:1", "before-ack", "before-ack:0", "before-ack:x"])
def test_a_place_that_does_not_exist_is_refused(setting: str) -> None:
    with pytest.raises(SettingsError, match="before-ack"):
        crash_points.arm(setting)


def test_a_process_takes_its_order_from_a_file_once_and_only_when_files_are_asked_for(tmp_path: Path) -> None:
    order = tmp_path / "run" / "crash" / "signals.0"
    order.parent.mkdir(parents=True)
    order.write_text("before-ack:2\n")
    assert crash_points.setting_of("", tmp_path, "signals", 0) == ""
    assert crash_points.setting_of("file", tmp_path, "signals", 1) == ""
    assert crash_points.setting_of("file", tmp_path, "signals", 0) == "before-ack:2"
    assert crash_points.setting_of("file", tmp_path, "signals", 0) == ""
