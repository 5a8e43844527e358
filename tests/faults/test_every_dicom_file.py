"""Every real DICOM file there is, broken ones included, through the door: a defined status each, nothing lost."""

import json
from collections import Counter
from pathlib import Path

from clinstream.sending.objects import files
from tests.support.oracle import Oracle
from tests.support.plant import Plant
from tests.support.real_events import data, xrays
from tests.support.senders import Flow


def test_every_file_gets_a_defined_status_and_neighbours_are_answered(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    folder = data("dicom")
    neighbours = Flow(plant, [], xrays(30, tmp_path), seconds=10.0)
    done = plant.command("send", "dicom", str(folder), "--json", timeout=300.0)
    neighbours_sent = neighbours.wait()

    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    statuses = Counter(line["status"] for line in lines)
    listed = tmp_path / "sent.jsonl"
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines if line["status"] == "accepted"))
    verdict = oracle.judge(neighbours_sent)
    counted = plant.command("reconcile", "--acknowledged", str(listed), "--wait", "60", "--json")
    report = json.loads(counted.stdout)

    assert len(lines) == len(list(files([folder]))), done.stderr[-500:]
    assert set(statuses) <= {"accepted", "refused", "unreadable"}, statuses
    assert all(line["reason"] for line in lines if line["status"] != "accepted")
    assert statuses["accepted"] > 300, statuses
    assert (report["lost"], report["duplicates"], report["in_flight"]) == (0, 0, 0), report
    assert report["accepted"] == sum(
        report[fate] for fate in ("answered", "refused", "not_applicable", "duplicate_of", "dead")
    )
    assert verdict.faults == []
    assert verdict.fates == {"answered": 30}
