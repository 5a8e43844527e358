"""The measurements run from end to end on a real stack; small, so their figures mean nothing, but their shape does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[stack.RunningStack]:
    with stack.temporary_home() as home, stack.start_stack(home) as found:
        yield found


def bench(running: stack.RunningStack, *words: str) -> dict[str, Any]:
    asked = subprocess.run(
        [sys.executable, "-m", "clinstream", "bench", *words, "--json"],
        env={**os.environ, "CLINSTREAM_HOME": str(running.home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


def test_vitals_are_measured_against_the_naive_loop_and_beat_it(running: stack.RunningStack) -> None:
    found = bench(running, "vitals", "--repeats", "1", "--count", "1000")
    assert found["ratios"]["over_naive"] > 1
    assert found["figures"]["end_to_end"]["unit"] == "events/s"


def test_glucose_is_measured_against_the_naive_loop_and_beats_it(running: stack.RunningStack) -> None:
    found = bench(running, "cgm", "--repeats", "1", "--count", "400")
    assert found["ratios"]["over_naive"] > 1
    assert found["figures"]["end_to_end"]["unit"] == "readings/s"


def test_a_rate_is_held_for_a_while_and_every_reading_has_its_outcome(running: stack.RunningStack) -> None:
    found = bench(running, "cgm", "--rate", "100", "--minutes", "0.1", "--wearers", "500")
    assert found["ratios"]["lost"] == 0
    assert found["notes"] == {"wearers": 500, "readings": 600, "delays_looked_up": 24}
    assert 0 < found["figures"]["delay_p50"]["value"] <= found["figures"]["delay_p99"]["value"]


def test_images_are_measured_against_triton_driven_directly_and_run_in_batches(running: stack.RunningStack) -> None:
    found = bench(running, "imaging", "--repeats", "1", "--count", "48", "--side", "256")
    assert 0 < found["ratios"]["end_to_end_over_direct_triton"] < 5
    assert found["figures"]["mean_triton_batch"]["value"] > 1
    assert found["figures"]["cpu_outside_decoding_and_triton"]["value"] > 0


def test_forecasts_asked_for_are_measured_and_all_are_the_models(running: stack.RunningStack) -> None:
    found = bench(running, "predictions", "--repeats", "1", "--count", "100")
    assert found["figures"]["p95_50_at_once"]["value"] > 0
    assert found["ratios"]["over_one_at_a_time"] > 0


def test_a_peak_hour_loses_nothing_and_shows_nothing_twice(running: stack.RunningStack) -> None:
    found = bench(running, "hospital", "--rates", "600", "--minutes", "0.4", "--scale", "0.02", "--speed", "1")
    value = {name: figure["value"] for name, figure in found["figures"].items()}
    assert value["studies_600"] == 4
    assert value["answered_600"] == 6, "two X-ray studies of three images"
    assert value["acknowledged_600"] == value["answered_600"] + value["not_applicable_600"]
    assert [value[f"{name}_600"] for name in ("not_acknowledged", "unfinished", "lost", "duplicates")] == [0] * 4
    assert 0 < value["routine_p50_600"] <= value["routine_p99_600"]


def test_the_glucose_door_is_measured_with_one_and_ten_readings_a_post(running: stack.RunningStack) -> None:
    found = bench(running, "door", "--repeats", "1", "--count", "100")
    assert found["ratios"]["readings_in_tens_over_single"] > 1
    assert 0 < found["ratios"]["posts_over_bare_requests"] < 1
