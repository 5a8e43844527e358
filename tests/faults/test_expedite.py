"""A study that waits behind a routine lane that stands still is put before the others (CC15, STAT)."""

import json
from contextlib import ExitStack
from pathlib import Path

from tests.support import faults
from tests.support.plant import Plant, await_condition
from tests.support.real_events import xray


def test_an_expedited_study_is_answered_while_the_routine_lane_stands_still_and_once(
    plant: Plant, tmp_path: Path
) -> None:
    image = xray()
    study, path = str(image.StudyInstanceUID), tmp_path / "image.dcm"
    image.save_as(path, enforce_file_format=True)
    with ExitStack() as held:
        for name in plant.components_of("imaging-prepare.routine"):
            held.enter_context(faults.hanging(plant, name))
        sent = json.loads(plant.command("send", "dicom", str(path), "--json").stdout)
        done = plant.command("study", "expedite", study, "--json")
        assert json.loads(done.stdout) == {"expedited": 1, "urgent": 0, "ended": 0}, done.stderr

        def answered() -> bool:
            way = plant.command("results", "--since", "10m", "--model", "chest_xray", "--json").stdout
            return any(
                each["answer"]["event_id"] == sent["event_id"] and each["answer"]["priority"] == "stat"
                for each in json.loads(way)
            )

        await_condition(answered, 60.0, "the study is answered by the urgent lane", every_s=0.5)
        again = json.loads(plant.command("study", "expedite", study, "--json").stdout)
        assert again == {"expedited": 0, "urgent": 0, "ended": 1}
    faults.heal(plant)
    listed = tmp_path / "acknowledged.jsonl"
    listed.write_text(json.dumps(sent))
    report = json.loads(plant.command("reconcile", "--acknowledged", str(listed), "--wait", "60", "--json").stdout)
    assert (report["lost"], report["duplicates"], report["in_flight"]) == (0, 0, 0), report
