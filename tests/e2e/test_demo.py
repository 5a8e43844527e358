"""The README's first command on an empty machine's state: the main job on real input (S1, S2, S4, S9)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

HOME = "CLINSTREAM_HOME"


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process whose command line or environment names the state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or process.environ().get(HOME) == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.pid != os.getpid()]


def command(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Runs one command of the command line on the state folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLINSTREAM_")}
    if "CLINSTREAM_CACHE" in os.environ:
        kept["CLINSTREAM_CACHE"] = os.environ["CLINSTREAM_CACHE"]
    return subprocess.run(
        [sys.executable, "-m", "clinstream", *words],
        env={**kept, HOME: str(home), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder that is taken down at the end, whatever happened."""
    folder = tmp_path_factory.mktemp("demo") / "home"
    yield folder
    command(folder, "down")
    assert processes_of(folder) == []


def test_the_demo_ends_with_an_outcome_for_every_event_although_a_process_was_killed(home: Path) -> None:
    """S1, S2, S4: exit 0 only if every event that was sent has its outcome."""
    done = command(home, "demo")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "with SIGKILL" in done.stdout
    assert "Every event that was sent has its outcome." in done.stdout
    counted = json.loads(command(home, "reconcile", "--json").stdout)
    assert counted["lost"] == counted["duplicates"] == counted["in_flight"] == counted["dead"] == 0
    assert counted["answered"] > 0
    assert counted["duplicate_of"] > 0
    for model in ("chest_xray", "fracture", "icu_mortality", "otoscope_screening", "otoscope_diagnosis", "glucose"):
        assert listing(home, model), model


def test_the_demo_closes_the_learning_loop_once_whatever_the_gate_says(home: Path) -> None:
    """S5: twenty corrections made one run; a version that passed answers what came after it."""
    (run,) = json.loads(command(home, "models", "runs", "--json").stdout)
    assert run["state"] in ("REGISTERED", "REJECTED"), run
    rows = [row for row in json.loads(command(home, "models", "list", "--json").stdout) if row["name"] == run["task"]]
    states = {row["version"]: row["state"] for row in rows}
    served = next(version for version, state in states.items() if state == "PROMOTED")
    newest = listing(home, run["task"])[0]["answer"]["version"]  # type: ignore[index]  # lineage is an object
    assert newest == served
    assert (served == run["version"]) == (run["state"] == "REGISTERED")


def test_a_second_demo_on_the_same_state_shows_no_result_twice(home: Path) -> None:
    """S4: the same objects again are the same events; readings measured later are new ones."""
    before = json.loads(command(home, "reconcile", "--json").stdout)
    results = {line["object_id"] for line in listing(home, "chest_xray")}
    done = command(home, "demo")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counted = json.loads(command(home, "reconcile", "--json").stdout)
    assert counted["lost"] == counted["duplicates"] == 0
    assert counted["accepted"] >= before["accepted"]
    assert {line["object_id"] for line in listing(home, "chest_xray")} == results


def listing(home: Path, model: str) -> list[dict[str, str]]:
    """The visible results of a model."""
    found: list[dict[str, str]] = json.loads(command(home, "results", "--model", model, "--json").stdout)
    return found


def test_status_for_machines_has_the_promised_shape(home: Path) -> None:
    """S7: checks and operators rely on these names."""
    status = json.loads(command(home, "status", "--json").stdout)
    assert status["ready"] is True
    assert {"kafka", "triton"} <= set(status["parts"])
    assert all({"state", "detail"} <= set(part) for part in status["parts"].values())
    assert status["lanes"]
    assert all({"lag", "age_s", "in_flight"} <= set(lane) for lane in status["lanes"].values())
    assert set(status["dead"]) == {"failed", "unprocessable"}
