"""PostgreSQL from the log and everything from a backup: the same results as before, and new events go on."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.oracle import Oracle
from tests.support.plant import Plant
from tests.support.real_events import glucose, readings, xrays
from tests.support.senders import Acknowledged, Flow

PROJECTIONS = ("visible", "answers", "outcomes", "images", "readings")
SAME = {
    "visible": "object_id, content, task, revision, answer_id::text, event_id::text, supersedes::text, simulated",
    "answers": "answer_id::text, event_id::text, content, task, version, label, score, arm, release_epoch, batch_size",
    "outcomes": "event_id::text, task, fate, answer_id::text, object_id, content",
    "images": "event_id::text, object_id, subject_id, study_id, blob_uri",
    "readings": "subject_id, simulated, measured_at, content, revision, event_id::text, glucose_mg_dl, observed_at",
}


def _everything(plant: Plant) -> dict[str, set[tuple[Any, ...]]]:
    """What the projections say, without when it was said."""
    return {table: set(plant.sql(f"SELECT {columns} FROM {table}")) for table, columns in SAME.items()}


def _answer_some(plant: Plant, oracle: Oracle, folder: Path) -> Acknowledged:
    sent = Flow(plant, readings(100), xrays(8, folder), glucose(4), seconds=0.0).wait()
    verdict = oracle.judge(sent)
    assert verdict.faults == []
    assert verdict.fates == {"answered": 108}
    return sent


def test_rebuild_gives_the_same_results_when_the_projections_were_dropped(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    _answer_some(plant, oracle, tmp_path)
    before = _everything(plant)
    for table in PROJECTIONS:
        plant.sql(f"DROP TABLE {table} CASCADE")
    published = len(oracle.published())

    done = plant.command("rebuild", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    after = _everything(plant)
    for table in PROJECTIONS:
        assert after[table] == before[table], _difference(before[table], after[table])
    assert len(oracle.published()) == published, "a rebuild published results again"
    _answer_some(plant, oracle, tmp_path)


@pytest.mark.slow
def test_restore_into_an_empty_folder_gives_the_same_results(plant: Plant, oracle: Oracle, tmp_path: Path) -> None:
    sent = _answer_some(plant, oracle, tmp_path)
    before = _everything(plant)
    plant.down()
    kept = tmp_path / "backup"
    assert plant.command("backup", str(kept)).returncode == 0
    shutil.rmtree(plant.home.folder)
    plant.home.folder.mkdir(mode=0o711)

    restored = plant.command("restore", str(kept))
    plant.up()

    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert _everything(plant) == before
    assert oracle.judge(sent).faults == []
    _answer_some(plant, oracle, tmp_path)


def _difference(before: set[tuple[Any, ...]], after: set[tuple[Any, ...]]) -> str:
    return f"missing {sorted(map(str, before - after))[:3]}, new {sorted(map(str, after - before))[:3]}"
