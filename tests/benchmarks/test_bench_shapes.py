"""What `clinstream bench` prints and how its numbers are made; the measurements themselves are run by hand."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from typer.testing import CliRunner

from adapters import settings as settings_room
from adapters.bootstrap import Services
from adapters.clock import SystemClock
from adapters.fakes.blobs import FakeBlobs
from clinstream.__main__ import build
from clinstream.benches import figures, load, plant
from clinstream.benches.figures import Report
from clinstream.commands import bench
from clinstream.supervision import records
from schemas import topics
from schemas.errors import UserError
from tests.support import served
from triton_models.icu_mortality.preprocess import prepare

REPORT = Report(
    "vitals",
    {"over_naive": 6.25},
    {"end_to_end": figures.figure([2100.0, 2400.0, 2200.0], "events/s")},
)


def test_a_report_has_the_published_shape() -> None:
    """The JSON that checks rely on: name, ratios, figures with value, unit and spread, machine."""
    found = json.loads(json.dumps(REPORT.to_json()))
    assert set(found) == {"name", "ratios", "figures", "machine"}
    assert found["ratios"] == {"over_naive": 6.25}
    assert found["figures"] == {"end_to_end": {"value": 2200.0, "unit": "events/s", "spread": 300.0}}
    assert found["machine"]["cores"] >= 1


def test_a_ratio_pairs_neighbours_so_that_drift_cancels() -> None:
    assert figures.ratio([100.0, 50.0, 10.0], [50.0, 25.0, 5.0]) == 2.0


def test_the_95th_percentile_is_near_the_slowest() -> None:
    assert figures.p95([*range(100)]) == pytest.approx(94.05)


def test_made_up_vitals_are_plausible_distinct_and_marked() -> None:
    events = load.vitals(50)
    assert len({event.event_id for event in events}) == 50
    assert all(event.simulated for event in events)
    for event in events:
        assert prepare(event.features).shape == (62,)
    assert {event.object_id for event in load.vitals(50)}.isdisjoint(event.object_id for event in events)


async def test_made_up_images_are_distinct_stored_and_for_the_asked_lane() -> None:
    store = FakeBlobs()
    made = await load.images(store, served.pictures(), 5, "stat")
    assert len({image.blob.sha256 for image in made}) == 5
    assert all(image.blob.uri in store.objects for image in made)
    assert all(image.simulated for image in made)
    for message in load.messages(made, topics.OBSERVED_DICOM):
        assert (b"stat" in dict(message.headers)["ce_priority"]) is True


def test_without_a_picture_the_bench_says_which_option_names_some(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--images"):
        load.pictures(tmp_path)


def test_the_packaged_pictures_are_found() -> None:
    found = load.pictures(None, 512)
    assert found
    assert all(each.dtype == np.uint8 and each.ndim == 2 for each in found)
    assert all(max(each.shape) >= 512 for each in found)


def test_samples_are_summed_over_the_labels_that_are_not_asked_for() -> None:
    samples = plant.parse('a_total{lane="x",kind="1"} 2\na_total{lane="x",kind="2"} 3\na_total{lane="y",kind="1"} 7\n')
    assert plant.total(samples, "a_total", lane="x") == 5
    assert plant.total(samples, "a_total") == 12
    assert plant.total(samples, "b_total") == 0


def test_the_command_prints_json_for_machines_and_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measured(*_: object) -> Report:
        return REPORT

    @contextmanager
    def up(_quiet: bool) -> Iterator[settings_room.Settings]:
        yield settings_room.load()

    monkeypatch.setattr(bench, "_measure", measured)
    monkeypatch.setattr(bench, "_stack", up)
    machine = CliRunner().invoke(build(), ["bench", "vitals", "--json"])
    assert machine.exit_code == 0
    assert json.loads(machine.stdout)["ratios"] == {"over_naive": 6.25}
    people = CliRunner().invoke(build(), ["bench", "vitals"])
    assert "over_naive" in people.stdout
    assert "6.25" in people.stdout


def test_an_unknown_bench_is_named_as_such() -> None:
    answer = CliRunner().invoke(build(), ["bench", "nothing"])
    assert answer.exit_code == 2


def test_a_component_that_was_started_anew_while_it_was_held_does_not_end_the_measurement(tmp_path: Path) -> None:
    """Held for longer than the supervisor waits, it is taken for stuck."""
    held = subprocess.Popen(["sleep", "60"])
    record = records.Record("studies.0", held.pid, records.started_at(held.pid), 0, signal.SIGTERM, 1.0)
    (tmp_path / "run").mkdir()
    records.write(tmp_path / "run", record)
    stack = plant.Plant(settings_room.load(tmp_path), Mock(spec=Services), SystemClock())
    with stack.held("studies.0"):
        held.kill()
        held.wait()
    with pytest.raises(UserError, match="does not run"), stack.held("studies.0"):
        pytest.fail("nothing is held")
