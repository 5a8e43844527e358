"""The whole stack with our own processes: ready, inside its memory, and back after a kill of anything in it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tritonclient import grpc as triton_grpc

import triton_models
from adapters import settings as settings_room
from adapters import topics_admin
from adapters.settings import Destination, ExportSettings
from clinstream import processes, status
from clinstream.embedded import triton
from clinstream.embedded.home import Home
from clinstream.supervision import records
from consumers import pipelines
from schemas import topics
from tests.integration.test_stack_lifecycle import DEADLINE_S, clinstream, processes_of, start, until
from tests.support import stack

IDLE_BYTES = 4 << 30


@pytest.fixture(scope="module")
def running() -> Iterator[stack.RunningStack]:
    """A stack with everything in it."""
    with stack.temporary_home() as folder, stack.start_stack(folder) as found:
        yield found


def models_ready(running: stack.RunningStack) -> list[str]:
    client = triton_grpc.InferenceServerClient(running.settings().triton.grpc)
    try:
        return sorted(row.name for row in client.get_model_repository_index().models if row.state == "READY")
    finally:
        client.close()


def components(running: stack.RunningStack) -> list[dict[str, Any]]:
    return list(running.status().get("components", []))


def shared_memory_of(home: Path) -> list[Path]:
    return list(triton.SHARED_MEMORY.glob(f"{triton._shared_memory(Home(home))}*"))


def test_status_has_the_promised_shape_and_says_ready(running: stack.RunningStack) -> None:
    code, said = clinstream(running.home, "status", "--json")
    found = json.loads(said)
    assert code == 0, {name: part for name, part in found["parts"].items() if part["state"] != "ready"}
    assert set(found) == {"ready", "parts", "lanes", "dead"}
    assert found["ready"] is True
    rows = processes.table(running.settings())
    expected = {f"{row.name}.{index}" for row in rows for index in range(row.count)}
    assert set(found["parts"]) == expected | {"database", "redis", "kafka", "triton", "store"}
    assert all(set(part) == {"state", "detail"} for part in found["parts"].values())
    assert set(found["lanes"]) == {row.name for row in rows if row.topics}
    assert all(lane["lag"] == 0 and lane["in_flight"] == 0 for lane in found["lanes"].values())
    assert found["dead"] == {"failed": 0, "unprocessable": 0}


def test_every_topic_of_the_table_is_there(running: stack.RunningStack) -> None:
    names = [row.name for row in topics.topics(["chest_xray", "icu_mortality"])]
    assert topics_admin.missing_topics(running.settings().kafka, names) == []


def test_the_idle_stack_fits_its_memory(running: stack.RunningStack) -> None:
    """At most 4 GB: the sum of proportional set sizes, in which shared pages count once."""
    written = running.status()
    roots = [psutil.Process(pid) for pid in [written["pid"], *(part["pid"] for part in written["components"])]]
    everyone = {process.pid: process for root in roots for process in [root, *root.children(recursive=True)]}
    used = sum(process.memory_full_info().pss for process in everyone.values())
    assert 0 < used <= IDLE_BYTES


@pytest.mark.parametrize("name", ["record.0", "imaging-infer.stat.0", "signals.0", "door-dicom.1"])
def test_a_killed_process_is_restarted_at_once_and_reported(running: stack.RunningStack, name: str) -> None:
    before = running.component(name)
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: running.component(name)["restarts"] == before["restarts"] + 1)
    until(lambda: running.component(name)["state"] == "ready")
    assert running.component(name)["pid"] != before["pid"]
    found = status.collect(running.settings())
    assert found["parts"][name]["state"] == "ready"
    assert "last exit SIGKILL" in found["parts"][name]["detail"]


def test_a_killed_triton_has_its_models_again_when_it_is_ready_again(running: stack.RunningStack) -> None:
    served = models_ready(running)
    assert served
    before = running.component("triton")
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: running.component("triton")["restarts"] == before["restarts"] + 1)
    until(lambda: running.component("triton")["state"] == "ready")
    assert models_ready(running) == served
    assert shared_memory_of(running.home)


def test_down_leaves_no_process_and_no_record(running: stack.RunningStack) -> None:
    known = records.read_all(running.home / "run")
    assert len(known) == len(running.status()["components"])
    running.down()
    assert processes_of(running.home) == []
    assert shared_memory_of(running.home) == []
    assert records.read_all(running.home / "run") == []


def test_the_process_table_names_the_topics_that_each_step_reads() -> None:
    """A lag shown under the wrong topic would hide a stuck lane."""
    alone = settings_room.load(Path("/nonexistent"))
    sending = ExportSettings(destinations={"pacs": Destination()})
    rows = {row.name: row for row in processes.table(alone.model_copy(update={"exports": sending}))}
    assert {name for name, row in rows.items() if row.topics} == set(pipelines.PIPELINES)
    readers = {row.name: row.readers for row in topics.topics(triton_models.discover())}
    for name, row in rows.items():
        for topic in row.topics:
            assert name.partition(".")[0] in readers[topic]


def test_ctrl_c_while_our_processes_start_leaves_nothing_behind() -> None:
    with stack.temporary_home() as home, start(home, "up") as command:
        starting = stack.RunningStack(home)
        until(lambda: any(part["kind"] == "service" and part["pid"] for part in components(starting)))
        command.send_signal(signal.SIGINT)
        out, _ = command.communicate(timeout=DEADLINE_S)
        assert command.returncode == 130
        assert "nothing is left running" in out
        assert processes_of(home) == []
        assert shared_memory_of(home) == []
