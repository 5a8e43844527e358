"""The learning loop on a whole installation: corrections that come five times, a trainer that dies at every stage."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

import triton_models
from clinstream import demonstration, samples
from clinstream.demonstration import TASK, Correction
from tests.support import faults
from tests.support.plant import Plant, await_condition

CORRECTIONS = 20
STARTER = triton_models.HOME / TASK / "starter"
STAGES = ("snapshot", "train", "register")
ENDED = ("REGISTERED", "REJECTED", "FAILED")
RUN_S = 300.0


@pytest.fixture
def learning(plant: Plant) -> Plant:
    """The installation with the packaged base data."""
    base = plant.training_data / TASK
    if not base.is_dir():
        shutil.copytree(samples.ICU_TRAINING, base)
    return plant


def asked(plant: Plant, *words: str) -> Any:
    """What a command prints with --json."""
    done = plant.command(*words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.lstrip().startswith(("[", "{")) else None


def send(plant: Plant, path: Path) -> list[dict[str, Any]]:
    """Stays through the HTTP door, waited for; the sender's lines."""
    done = plant.command("send", "vitals", str(path), "--wait", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assess(plant: Plant, wrong: list[Correction], times: int) -> None:
    """Each correction through the review door, as often as a client that never hears the answer would send it."""
    doors = plant.settings.doors
    with httpx.Client(base_url=f"http://{doors.http_host}:{doors.http_port}", trust_env=False) as client:
        for _ in range(times):
            for each in wrong:
                body = {"verdict": "rejected", "label": each.label, "clinician": "reviewer"}
                headers = {"idempotency-key": each.result_id}
                answer = client.post(f"/v1/results/{each.result_id}/assessments", json=body, headers=headers)
                assert answer.status_code == 200, answer.text


def run_row(plant: Plant) -> dict[str, str]:
    """State and stage of the one run; empty before it is asked for."""
    rows = plant.sql("SELECT state, stage, version, why FROM runs")
    assert len(rows) <= 1, rows
    return dict(zip(("state", "stage", "version", "why"), rows[0], strict=True)) if rows else {}


def versions(plant: Plant, lines: list[dict[str, Any]]) -> set[str]:
    """Which versions answered these events, visibly."""
    events = [line["event_id"] for line in lines]
    rows = plant.sql(
        "SELECT a.version FROM visible v JOIN answers a USING (answer_id) "
        "WHERE v.event_id = ANY($1::uuid[]) AND v.task = $2",
        events,
        TASK,
    )
    assert len(rows) == len(events)
    return {row[0] for row in rows}


@pytest.mark.slow
def test_corrections_repeated_five_times_and_a_trainer_killed_at_each_stage_end_as_one_run_that_can_be_released(
    learning: Plant,
) -> None:
    """S5, delivery rules 6, 11 and 12: one count, one request, one finished run; released without a restart."""
    plant = learning
    why = ("--why", "a test of the loop", "--by", "reviewer")
    weak = json.loads((STARTER / "metadata.json").read_text())["version"]
    asked(plant, "models", "register", TASK, "--from", str(STARTER), *why)
    asked(plant, "models", "approve", TASK, weak, *why)
    asked(plant, "models", "promote", TASK, weak, *why)
    lines = send(plant, samples.VITALS)
    assert versions(plant, lines) == {weak}
    results = asked(plant, "results", "--model", TASK, "--limit", "5000")
    sent = {line["event_id"] for line in lines}
    wrong = demonstration.corrections(lines, [row for row in results if row["answer"]["event_id"] in sent])
    assert len(wrong) >= CORRECTIONS

    plant.sql("UPDATE retrain_counters SET n = 0 WHERE task = $1", TASK)  # other tests correct a few, too
    ((before,),) = plant.sql("SELECT count(*) FROM assessments")
    assess(plant, wrong[:CORRECTIONS], times=5)
    for stage in STAGES:
        await_condition(lambda stage=stage: run_row(plant).get("stage") == stage, RUN_S, f"the run is at {stage}")  # type: ignore[misc]
        faults.kill_and_wait(plant, "trainer.0")
    await_condition(lambda: run_row(plant)["state"] in ENDED, RUN_S, "the run ends")

    assert plant.sql("SELECT n, retrain_window FROM retrain_counters WHERE task = $1", TASK) == [(0, 1)]
    assert plant.sql("SELECT count(*) FROM assessments") == [(before + CORRECTIONS,)]
    row = run_row(plant)
    assert row["state"] == "REGISTERED", row
    registered = plant.sql("SELECT version, registry_uri FROM versions WHERE request_id IS NOT NULL")
    assert registered == [(row["version"], f"models:/{TASK}/1")]

    processes = {name: seen.pid for name, seen in plant.components().items() if name != "trainer.0"}
    refused = plant.command("models", "promote", TASK, row["version"], *why)
    assert refused.returncode != 0
    assert "must be approved" in refused.stdout + refused.stderr
    asked(plant, "models", "approve", TASK, row["version"], *why)
    asked(plant, "models", "promote", TASK, row["version"], *why)
    later = send(plant, demonstration.measured_now(plant.home.folder))
    assert versions(plant, later) == {row["version"]}
    again = send(plant, samples.VITALS)
    assert versions(plant, again) == {weak}, "content that has its visible result keeps it after a promotion"

    asked(plant, "models", "rollback", TASK, *why)
    assert {seen.pid for name, seen in plant.components().items() if name in processes} == set(processes.values())
    states = {entry["version"]: entry["state"] for entry in asked(plant, "models", "list") if entry["name"] == TASK}
    assert (states[row["version"]], states[weak]) == ("ROLLED_BACK", "PROMOTED")
    asked(plant, "models", "promote", TASK, triton_models.discover()[TASK].card.version, *why)
    assert json.loads(plant.command("reconcile", "--json").stdout)["duplicates"] == 0
