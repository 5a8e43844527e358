"""A wearer's vector from stored readings to a noted outcome, with readings and a model server in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from adapters.database import Standing, Wearer, WearerModel
from adapters.fakes.clock import FakeClock
from tests.support.forecaster import Flat
from tests.support.steps import FakeReleases
from training import personal, refitting
from triton_models.glucose import everybody, preprocess
from triton_models.glucose import personal as vectors
from triton_models.glucose.preprocess import SLOTS

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEARER: Wearer = ("sub-1", False)


@dataclass
class FakeModels:
    """One wearer's readings and attempts."""

    stored: list[tuple[datetime, float]] = field(default_factory=list)
    noted: list[WearerModel] = field(default_factory=list)
    everybody: list[Standing] = field(default_factory=list)
    breaks: str = ""
    forgets: bool = False
    verdicts: list[Mapping[str, Any]] = field(default_factory=list)
    clock: str = ""

    async def of(self, wearer: Wearer) -> list[WearerModel]:
        if wearer[0] == self.breaks:
            raise ValueError("these readings cannot be fitted")
        return [] if self.forgets else self.noted[::-1]

    async def add(self, wearer: Wearer, made: WearerModel) -> bool:
        self.noted.append(made)
        return True

    async def zone(self, wearer: Wearer) -> str:
        return self.clock

    async def readings(self, wearer: Wearer, since: datetime) -> list[tuple[datetime, float]]:
        return [row for row in self.stored if row[0] >= since]

    async def end_trial(self, wearer: Wearer, number: int, outcome: str, metrics: Mapping[str, Any]) -> bool:
        assert self.noted[number - 1].outcome == "on trial"
        self.noted[number - 1] = replace(self.noted[number - 1], outcome=outcome, active=outcome == "deployed")
        self.verdicts.append(metrics)
        return True

    async def standings(self, after: str, limit: int, enough: int) -> list[Standing]:
        return [each for each in self.everybody if each.wearer[0] > after][:limit]


def days(many: float, until: datetime = NOW, swing: float = 60.0) -> list[tuple[datetime, float]]:
    """A wearer whose glucose follows the time of day by so many mg/dL, every five minutes up to a time."""
    times = [until - timedelta(minutes=5 * place) for place in reversed(range(int(many * 288)))]
    rng = np.random.default_rng(0)
    return [(at, 150 + swing * np.sin(2 * np.pi * at.timestamp() / 86_400) + rng.normal(0, 3)) for at in times]


async def test_a_wearer_with_days_of_a_habit_gets_a_vector_that_is_noted_with_its_origin() -> None:
    """GL2, GL21, GL24: data range, readings, features, metrics and a version of the model's own MAJOR."""
    models, triton = FakeModels(days(14)), Flat()
    made = await personal.fit(models, triton, FakeClock(NOW.timestamp()), WEARER, "2.3.0")
    assert made is not None
    assert (made.outcome, made.active, made.number, made.version) == ("on trial", False, 1, "2.1.0")
    assert (made.base_version, triton.asked) == ("2.3.0", {"glucose-2_3_0"})
    assert (made.data_from, made.data_until) == (models.stored[0][0], models.stored[-1][0])
    assert made.readings == len(models.stored)
    assert triton.rows == made.metrics["windows"]
    assert made.metrics["gain"] > 0.1
    assert len(made.vector) == 36
    assert models.noted == [made]


async def test_few_days_are_skipped_without_asking_the_model_and_the_next_attempt_has_the_next_number() -> None:
    """GL4, GL23."""
    models, triton = FakeModels(days(0.5)), Flat()
    first = await personal.fit(models, triton, FakeClock(NOW.timestamp()), WEARER)
    second = await personal.fit(models, triton, FakeClock(NOW.timestamp()), WEARER)
    assert first is not None
    assert second is not None
    assert (first.outcome, first.active, second.version) == ("skipped: insufficient data", False, "2.2.0")
    assert triton.rows == 0


@pytest.mark.parametrize(("swing", "outcome"), [(60.0, "deployed"), (-60.0, "rolled back: worse")])
async def test_a_first_vector_is_shown_to_nobody_before_readings_that_it_never_saw_speak_for_it(
    swing: float, outcome: str
) -> None:
    """GL13: judged beside what everybody is told; a habit that ended with the fit never comes into force."""
    models, triton, clock = FakeModels(days(14)), Flat(), FakeClock(NOW.timestamp())
    made = await personal.fit(models, triton, clock, WEARER, "2.3.0", "first readings")
    assert made is not None
    assert not made.active
    assert await personal.fit(models, triton, clock, WEARER, "2.3.0", "first readings") is None, "somebody was faster"
    models.stored += days(0.2, NOW + timedelta(hours=5), swing)
    assert await personal.end_trial(models, triton, WEARER) is None
    assert models.noted == [made], "five hours are too few windows with a truth"
    models.stored = [*days(14), *days(0.5, NOW + timedelta(hours=12), swing)]
    ended = await personal.end_trial(models, triton, WEARER)
    assert ended is not None
    assert models.noted == [ended]
    assert (ended.outcome, ended.active) == (outcome, outcome == "deployed")
    (figures,) = models.verdicts
    assert figures["trial_windows"] >= personal.TRIAL_WINDOWS
    assert (figures["trial_rmse_60_after"] < figures["trial_rmse_60_before"]) is ended.active
    assert await personal.end_trial(models, triton, WEARER) is None, "nothing is on trial any more"


async def test_what_is_in_force_stays_so_while_the_next_is_on_trial() -> None:
    """GL13: better on the last fifth is not yet better for the wearer, whichever version it is for."""
    models, triton, clock = FakeModels(days(14)), Flat(), FakeClock(NOW.timestamp())
    first = await personal.fit(models, triton, clock, WEARER, "2.3.0")
    assert first is not None
    models.noted = [replace(first, outcome="deployed", active=True)]
    for version, why in (("2.3.0", "new readings"), ("2.4.0", "another version")):
        made = await personal.fit(models, triton, clock, WEARER, version, why, NOW)
        assert made is not None
        assert (made.outcome, made.active, made.hyperparameters["because"]) == ("on trial", False, why)
    assert [each.active for each in models.noted] == [True, False, False]


async def test_whose_clock_is_known_gets_everybodys_ends_by_that_clock_before_a_vector_of_ones_own() -> None:
    """GL6: the same numbers at the same hour of the clock, once, for the version that they were measured with only."""
    models, triton, clock = FakeModels(days(2), clock="Asia/Tokyo"), Flat(), FakeClock(NOW.timestamp())
    first = await personal.fit(models, triton, clock, WEARER)
    assert first is not None
    assert (first.outcome, first.active, len(first.vector)) == ("on trial", False, preprocess.WITH_RANGES)
    assert not any(first.vector[: preprocess.VECTOR]), "nothing is bent"
    three = datetime(2026, 3, 1, 3, tzinfo=UTC).timestamp()
    at_home = everybody.vector(everybody.measured(), 0.0)
    for hour in (0.0, 7.5, 15.0):
        then = np.array([three + hour * 3600])
        in_tokyo = vectors.ends(first.vector, then - 9 * 3600, [150.0])
        np.testing.assert_allclose(in_tokyo, vectors.ends(at_home, then, [150.0]), atol=1e-4)
    models.stored = [*days(2), *days(0.5, NOW + timedelta(hours=12))]
    ended = await personal.end_trial(models, triton, WEARER)
    assert ended is not None
    assert ended.active
    for zone, outcome in (
        ("Asia/Tokyo", "skipped: insufficient data"),
        ("Asia/Kolkata", "on trial"),
        ("", "skipped: insufficient data"),
    ):
        models.clock = zone
        again = await personal.fit(models, triton, clock, WEARER)
        assert again is not None
        assert again.outcome == outcome, zone
    models.clock = "Asia/Kolkata"
    other = await personal.fit(models, triton, clock, WEARER, "9.0.0")
    assert other is not None
    assert other.outcome == "skipped: insufficient data", "the numbers are of another version"


async def test_whose_clock_nobody_told_gets_everybodys_ends_by_the_hours_that_the_readings_make_likely() -> None:
    """GL6: after a day, not before; once told, the clock itself counts and is not guessed any more."""
    models, triton, clock = FakeModels(days(0.7)), Flat(), FakeClock(NOW.timestamp())
    early = await personal.fit(models, triton, clock, WEARER)
    assert early is not None
    assert early.outcome == "skipped: insufficient data"
    models.stored = days(2)
    first = await personal.fit(models, triton, clock, WEARER)
    assert first is not None
    assert (first.outcome, len(first.vector)) == ("on trial", preprocess.WITH_RANGES)
    assert not any(first.vector[: preprocess.VECTOR]), "nothing is bent"
    assert 0 < first.metrics["clock_likely"] <= 1
    models.stored = [*days(2), *days(0.5, NOW + timedelta(hours=12))]
    ended = await personal.end_trial(models, triton, WEARER)
    assert ended is not None
    assert ended.active
    models.stored = days(2)
    again = await personal.fit(models, triton, clock, WEARER)
    assert again is not None
    assert again.outcome == "skipped: insufficient data", "the same readings say the same"
    models.clock = "Asia/Tokyo"
    told = await personal.fit(models, triton, clock, WEARER)
    assert told is not None
    assert (told.outcome, told.metrics[personal.TOLD]) == ("on trial", 540.0)


def standing(**changes: Any) -> Standing:
    """Attempted a day ago with 2.3.0, and nothing new since."""
    known = Standing(WEARER, NOW - timedelta(days=1), "2.3.0", False, 0, 20.0, 0, 0.0)
    return replace(known, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"attempted_at": None, "new_readings": 99}, ""),
        ({"attempted_at": None, "new_readings": 100}, "first readings"),
        ({"new_readings": 99}, ""),
        ({"new_readings": 100}, "new readings"),
        ({"base_version": "2.2.0"}, "another version"),
        ({"base_version": "2.2.0", "on_trial": True}, "another version"),
        ({"attempted_at": NOW - timedelta(days=7), "new_readings": 1}, "schedule"),
        ({"attempted_at": NOW - timedelta(days=7)}, ""),
        ({"truths": 36, "rmse": 30.1}, "drop of accuracy"),
        ({"truths": 35, "rmse": 99.0}, ""),
        ({"truths": 36, "rmse": 29.9}, ""),
        ({"truths": 36, "rmse": 99.0, "rmse_at_fit": 0.0}, ""),
        ({"on_trial": True, "new_readings": 100}, "trial"),
        ({"on_trial": True, "new_readings": 100, "attempted_at": NOW - timedelta(hours=6)}, ""),
        ({"on_trial": True, "new_readings": 100, "attempted_at": NOW - timedelta(days=7)}, "new readings"),
    ],
)
def test_when_a_wearer_is_due_and_why(changes: dict[str, Any], reason: str) -> None:
    """GL12: on schedule, after a hundred readings, on a measured drop, when another version serves."""
    assert refitting.why_due(standing(**changes), "2.3.0", NOW) == reason


async def test_a_pass_is_bounded_goes_on_where_it_stopped_and_outlives_what_breaks_for_one_wearer() -> None:
    """GL12: twenty attempts, then a rest; whoever cannot be fitted keeps nobody waiting."""
    triton, clock = Flat(), FakeClock(NOW.timestamp())
    models = FakeModels(
        days(2),
        everybody=[standing(wearer=(f"sub-{n:02}", False), attempted_at=None, new_readings=100) for n in range(30)],
    )
    work = refitting.Refitting(models, triton, FakeReleases({f"sub-{n:02}": "2.3.0" for n in range(30)}), clock)
    models.breaks, models.forgets = "sub-03", True
    assert [len(await work.once()) for _ in range(3)] == [20, 9, 20]
    assert {each.outcome for each in models.noted} == {"skipped: insufficient data"}


def test_the_verdict_of_a_trial_is_by_the_same_windows_for_both() -> None:
    """GL13: not worse is enough, and the figures of both are kept."""
    rng = np.random.default_rng(1)
    rows = (150 + np.cumsum(rng.normal(0, 3, (60, SLOTS)), axis=1)).astype(np.float32)
    times = (NOW.timestamp() + 600.0 * np.arange(60)).astype(np.float64)
    expected = np.repeat(rows[:, :1], 8, axis=1)
    good, bad = (0.5, *([0.0] * 19)), (-0.5, *([0.0] * 19))
    truth = (expected + vectors.correction(rows, good, times)).astype(np.float32)
    truth[5:9] = np.nan
    truth += rng.normal(0, 1, truth.shape).astype(np.float32)
    assert vectors.verdict(rows, truth, expected, times, (), good)[0] == "deployed"
    assert vectors.verdict(rows, truth, expected, times, good, good)[0] == "deployed"
    outcome, metrics = vectors.verdict(rows, truth, expected, times, good, bad)
    assert outcome == "rolled back: worse"
    assert metrics["trial_rmse_60_before"] < metrics["trial_rmse_60_after"]
