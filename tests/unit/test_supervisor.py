"""The supervisor brings up in order, restarts what dies, reports it, and leaves nothing behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clinstream.supervision import records
from clinstream.supervision.component import Component, Step
from clinstream.supervision.keeper import restart_delay_s
from clinstream.supervision.supervisor import Supervisor
from tests.support import dummies

DEADLINE_S = 30.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    return not records.started_at(pid)


@asynccontextmanager
async def supervised(run: Path, *components: Component, prepare: Step | None = None) -> AsyncIterator[Supervisor]:
    """A supervisor whose components are ready; stopped on leaving."""
    supervisor = Supervisor(run, components, prepare)
    task = asyncio.ensure_future(supervisor.run())
    try:
        await until(lambda: task.done() or dummies.status(run).get("phase") == "ready")
        assert not task.done(), dummies.status(run)["message"]
        yield supervisor
    finally:
        supervisor.request_stop()
        await asyncio.wait_for(task, DEADLINE_S)


def test_the_first_restart_waits_for_nothing_and_repeated_quick_deaths_wait_ever_longer() -> None:
    delays = [restart_delay_s(deaths) for deaths in range(8)]
    assert delays == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0]
    assert restart_delay_s(10_000) == 10.0


async def test_services_start_after_the_parts_and_after_what_prepares_for_them(tmp_path: Path) -> None:
    prepares = (
        "import pathlib, sys, time; home = pathlib.Path(sys.argv[1])\n"
        "while not (home / 'server.ready').exists(): time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "(home / 'prepared').touch()\n"
        "sys.exit('too late' if (home / 'ours.ready').exists() else 0)"
    )
    prepare = dummies.step(tmp_path, "prepare", prepares)
    server, ours = dummies.component(tmp_path, "server"), dummies.component(tmp_path, "ours", kind="service")
    async with supervised(tmp_path, server, ours, prepare=prepare):
        assert (tmp_path / "prepared").exists()
        assert dummies.report(tmp_path, "ours")["state"] == "ready"


async def test_everything_is_stopped_in_reverse_order(tmp_path: Path) -> None:
    names = ["first", "second", "third"]
    parts = [dummies.component(tmp_path, name) for name in names]
    async with supervised(tmp_path, *parts, dummies.component(tmp_path, "ours", kind="service")):
        pass
    assert (tmp_path / "ended").read_text().split() == ["ours", "third", "second", "first"]
    assert records.read_all(tmp_path) == []
    assert dummies.status(tmp_path)["phase"] == "stopped"


async def test_a_component_that_is_killed_is_started_again_and_the_death_is_reported(tmp_path: Path) -> None:
    async with supervised(tmp_path, dummies.component(tmp_path, "server")):
        before = dummies.report(tmp_path, "server")
        os.kill(before["pid"], signal.SIGKILL)
        await until(lambda: dummies.report(tmp_path, "server")["restarts"] == 1)
        await until(lambda: dummies.report(tmp_path, "server")["state"] == "ready")
        after = dummies.report(tmp_path, "server")
        assert after["pid"] != before["pid"]
        assert after["last_exit"] == "SIGKILL"


async def test_what_must_follow_a_restart_runs_after_each_restart_and_not_after_the_first_start(tmp_path: Path) -> None:
    note = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'reconciled').touch()"
    follow = dummies.command(tmp_path, "follow", note)
    async with supervised(tmp_path, dummies.component(tmp_path, "server", after_restart=follow)):
        assert not (tmp_path / "reconciled").exists()
        os.kill(dummies.report(tmp_path, "server")["pid"], signal.SIGKILL)
        await until(lambda: (tmp_path / "reconciled").exists())
        await until(lambda: dummies.report(tmp_path, "server")["state"] == "ready")


async def test_children_of_a_killed_component_do_not_outlive_it(tmp_path: Path) -> None:
    async with supervised(tmp_path, dummies.component(tmp_path, "server", dummies.HAS_A_CHILD)):
        child = int((tmp_path / "child").read_text())
        os.kill(dummies.report(tmp_path, "server")["pid"], signal.SIGKILL)
        await until(lambda: gone(child))


async def test_a_component_that_cannot_start_ends_the_start_with_its_own_words_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    good = dummies.component(tmp_path, "good")
    broken = dummies.component(tmp_path, "broken", dummies.DIES_AT_ONCE)
    assert not await Supervisor(tmp_path, [good, broken]).run()
    found = dummies.status(tmp_path)
    assert found["phase"] == "failed"
    assert "broken does not start (exit 1): the disk is on fire" in found["message"]
    assert gone(int((tmp_path / "good.ready").read_text()))
    assert records.read_all(tmp_path) == []


async def test_a_failed_preparation_ends_the_start_with_its_own_words(tmp_path: Path) -> None:
    prepare = dummies.step(tmp_path, "prepare", "import time; time.sleep(0.5);" + dummies.DIES_AT_ONCE)
    assert not await Supervisor(tmp_path, [dummies.component(tmp_path, "good")], prepare).run()
    assert "prepare failed (exit 1): the disk is on fire" in dummies.status(tmp_path)["message"]
    assert gone(int((tmp_path / "good.ready").read_text()))


async def test_a_component_that_ignores_the_stop_signal_is_killed(tmp_path: Path) -> None:
    async with supervised(tmp_path, dummies.component(tmp_path, "deaf", dummies.IGNORES_SIGTERM)):
        pid = dummies.report(tmp_path, "deaf")["pid"]
    assert gone(pid)


async def test_a_stop_asked_for_while_a_component_starts_leaves_nothing(tmp_path: Path) -> None:
    never_ready = dummies.component(tmp_path, "slow", "import time; time.sleep(600)")
    supervisor = Supervisor(tmp_path, [never_ready])
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: dummies.report(tmp_path, "slow").get("pid") is not None)
    pid = dummies.report(tmp_path, "slow")["pid"]
    supervisor.request_stop()
    assert await asyncio.wait_for(task, DEADLINE_S)
    assert gone(pid)


async def test_a_stop_asked_for_during_the_preparation_ends_that_too(tmp_path: Path) -> None:
    script = "import os, pathlib, sys, time; (pathlib.Path(sys.argv[1]) / 'pid').write_text(str(os.getpid()))"
    prepare = dummies.step(tmp_path, "prepare", script + "; time.sleep(600)")
    supervisor = Supervisor(tmp_path, [dummies.component(tmp_path, "server")], prepare)
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    supervisor.request_stop()
    await asyncio.wait_for(task, DEADLINE_S)
    assert gone(int((tmp_path / "pid").read_text()))


async def test_components_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from clinstream.supervision.supervisor import Supervisor\n"
        "from tests.support import dummies\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "async def main(): await Supervisor(home, [dummies.component(home, 'server')]).run()\n"
        "asyncio.run(main())\n"
    )
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    await until(lambda: dummies.status(tmp_path).get("phase") == "ready")
    pid = dummies.report(tmp_path, "server")["pid"]
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: gone(pid))


def test_a_recorded_process_is_stopped_and_a_stranger_with_its_id_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as ours:
        try:
            started = records.started_at(ours.pid)
            stranger = records.Record("server", ours.pid, "an-earlier-boot:1", 1, signal.SIGTERM, 2.0)
            records.write(tmp_path, stranger)
            assert records.stop_all(tmp_path, records.read_all(tmp_path)) == []
            assert not gone(ours.pid)
            records.write(tmp_path, records.Record("server", ours.pid, started, 1, signal.SIGTERM, 2.0))
            assert records.stop_all(tmp_path, records.read_all(tmp_path)) == ["server"]
            assert records.read_all(tmp_path) == []
        finally:
            ours.kill()


@pytest.mark.parametrize("text", ["", "{", '{"name": "server"}'])
def test_a_half_written_record_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / f"server{records.SUFFIX}").write_text(text)
    assert records.read_all(tmp_path) == []
