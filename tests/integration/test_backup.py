"""`clinstream backup` and `restore`: an installation into a folder and, from it, the same results elsewhere."""

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings, child_environment
from clinstream.backups.manifest import MANIFEST
from tests.support import log, stack
from tests.support.answers import answer
from tests.support.installation import TASKS, Installation, command

TASK = "chest_xray"
PIXELS = b"pixels" + bytes(3 << 20) + b"more"


@dataclass(frozen=True)
class Backup:
    """One that was made while the stack ran, and what the commands said before."""

    folder: Path
    settings: Settings
    results: object
    counted: object


def seed(installation: Installation) -> None:
    """A few results, on the log and in the database, and an object in the store."""
    answers = [answer(f"1.backup.{n}", task=TASK) for n in range(30)]

    async def work() -> None:
        database = Database.open(installation.settings, SystemClock())
        recorded = await database.record(answers)
        await database.close()
        messages = [log.published(row.result) for row in recorded if row.result]
        await log.put(installation.settings, [*messages, *(log.image(one.object_id) for one in answers)])

    stack.in_a_loop_of_its_own(work)
    store = installation.settings.home / "store" / "pixels"
    store.mkdir(parents=True, exist_ok=True)
    (store / "aa").write_bytes(PIXELS)


def told(settings: Settings, *words: str) -> object:
    """What a command prints as JSON."""
    return json.loads(command(settings, *words, "--json").stdout)


@pytest.fixture(scope="module")
def made(session_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """A backup of the running installation."""
    from adapters import topics_admin

    settings = session_installation.settings
    topics_admin.ensure_topics(settings, TASKS)
    seed(session_installation)
    results, counted = told(settings, "results", "--limit", "1000"), told(settings, "reconcile")
    folder = tmp_path_factory.mktemp("backups") / "one"
    # A process of its own, as a user runs it: the stack that it starts again outlives it.
    subprocess.run(
        [sys.executable, "-m", "clinstream", "backup", str(folder)],
        check=True,
        env=child_environment(settings.home),
        timeout=240,
    )
    return Backup(folder, settings, results, counted)


def test_a_running_stack_runs_again_after_its_backup_and_the_copy_is_for_its_owner_only(made: Backup) -> None:
    assert told(made.settings, "results", "--limit", "1000") == made.results
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.rglob("*") if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.rglob("*") if path.is_dir()} == {0o700}
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700, "it holds patient data and passwords"


def test_a_restore_into_an_empty_home_gives_the_same_results(made: Backup) -> None:
    with stack.temporary_home() as home:
        moved = made.settings.model_copy(update={"home": home})
        found = command(moved, "restore", str(made.folder), "--json")
        assert found.exit_code == 0, found.output
        assert stat.S_IMODE((home / "secrets" / "pseudonym.key").stat().st_mode) == 0o600
        assert (home / "store" / "pixels" / "aa").read_bytes() == PIXELS
        again = command(moved, "restore", str(made.folder))
        assert "not empty" in str(again.exception), "a home that is in use is left alone"
        with stack._started(home, ("kafka", "database"), services=False) as running:
            assert told(moved, "results", "--limit", "1000") == made.results
            assert told(moved, "reconcile") == made.counted
            assert running.settings().store_url == (home / "store").as_uri()


def test_a_damaged_or_unfinished_backup_is_refused_before_anything_is_written(made: Backup, tmp_path: Path) -> None:
    copy = shutil.copytree(made.folder, tmp_path / "copy")
    (copy / "files" / "store" / "pixels" / "aa").write_bytes(PIXELS[:-1] + b"!")
    with stack.temporary_home() as home:
        moved = made.settings.model_copy(update={"home": home})
        assert "store/pixels/aa" in str(command(moved, "restore", str(copy)).exception)
        assert os.listdir(home) == []
        (copy / MANIFEST).unlink()
        assert "no complete backup" in str(command(moved, "restore", str(copy)).exception)
        assert os.listdir(home) == []


def test_a_manifest_that_names_a_file_outside_is_refused(made: Backup, tmp_path: Path) -> None:
    contents = json.loads((made.folder / MANIFEST).read_text())
    contents["files"]["../../escaped"] = {"sha256": "", "size": 0, "mode": 0o600}
    (tmp_path / MANIFEST).write_text(json.dumps(contents))
    with stack.temporary_home() as home:
        moved = made.settings.model_copy(update={"home": home})
        assert "outside" in str(command(moved, "restore", str(tmp_path)).exception)


def test_a_backup_never_goes_into_a_folder_that_holds_something_or_into_the_home_itself(
    session_installation: Installation, tmp_path: Path
) -> None:
    """And the stack goes on running: its processes are the same afterwards."""
    before = session_installation.running.component("kafka")["pid"]
    (tmp_path / "mine").write_text("precious")
    assert "not an empty folder" in str(session_installation.command("backup", str(tmp_path)).exception)
    assert (tmp_path / "mine").read_text() == "precious"
    inside = session_installation.settings.home / "backup"
    assert "inside" in str(session_installation.command("backup", str(inside)).exception)
    assert session_installation.running.component("kafka")["pid"] == before
