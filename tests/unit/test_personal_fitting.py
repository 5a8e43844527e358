"""A wearer's vector from stored readings to a noted outcome, with readings and a model server in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from adapters.database import Wearer, WearerModel
from adapters.fakes.clock import FakeClock
from training import personal
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.preprocess import WIDTH

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEARER: Wearer = ("sub-1", False)


@dataclass
class FakeModels:
    """One wearer's readings and attempts."""

    stored: list[tuple[datetime, float]] = field(default_factory=list)
    noted: list[WearerModel] = field(default_factory=list)

    async def of(self, wearer: Wearer) -> list[WearerModel]:
        return self.noted[::-1]

    async def add(self, wearer: Wearer, made: WearerModel) -> bool:
        self.noted.append(made)
        return True

    async def readings(self, wearer: Wearer, since: datetime) -> list[tuple[datetime, float]]:
        return [row for row in self.stored if row[0] >= since]

    async def new_since(self, wearer: Wearer, after: datetime) -> int:
        return sum(time > after for time, _ in self.stored)


class Flat:
    """A model that expects the newest reading to stay, in requests no larger than the card allows."""

    rows = 0

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def infer(
        self, model: str, inputs: Mapping[str, Any], *, priority: int, deadline_s: float
    ) -> dict[str, np.ndarray]:
        (rows,) = inputs.values()
        assert rows.shape[1] == WIDTH
        assert len(rows) <= 256
        self.rows += len(rows)
        self.asked.add(model)
        return {"forecast": np.repeat(rows[:, :1], 3 * len(HORIZONS_MINUTES), axis=1).reshape(len(rows), -1, 3)}

    async def ready(self, model: str) -> bool:
        return True

    def deadline_s(self, model: str) -> float:
        return 1.0


def days(many: int) -> list[tuple[datetime, float]]:
    """A wearer whose glucose follows the time of day, every five minutes up to now."""
    times = [NOW - timedelta(minutes=5 * place) for place in reversed(range(many * 288))]
    rng = np.random.default_rng(0)
    return [(at, 150 + 60 * np.sin(2 * np.pi * at.timestamp() / 86_400) + rng.normal(0, 3)) for at in times]


async def test_a_wearer_with_days_of_a_habit_gets_a_vector_that_is_noted_with_its_origin() -> None:
    """GL2, GL21, GL24: data range, readings, features, metrics and a version of the model's own MAJOR."""
    models, triton = FakeModels(days(14)), Flat()
    made = await personal.fit(models, triton, FakeClock(NOW.timestamp()), WEARER, "2.3.0")
    assert made is not None
    assert (made.outcome, made.active, made.number, made.version) == ("deployed", True, 1, "2.1.0")
    assert (made.base_version, triton.asked) == ("2.3.0", {"glucose-2_3_0"})
    assert (made.data_from, made.data_until) == (models.stored[0][0], models.stored[-1][0])
    assert made.readings == len(models.stored)
    assert triton.rows == made.metrics["windows"]
    assert made.metrics["gain"] > 0.1
    assert len(made.vector) == 20
    assert models.noted == [made]


async def test_few_days_are_skipped_without_asking_the_model_and_the_next_attempt_has_the_next_number() -> None:
    """GL4, GL23."""
    models, triton = FakeModels(days(2)), Flat()
    first = await personal.fit(models, triton, FakeClock(NOW.timestamp()), WEARER)
    second = await personal.fit(models, triton, FakeClock(NOW.timestamp()), WEARER)
    assert first is not None
    assert second is not None
    assert (first.outcome, first.active, second.version) == ("skipped: insufficient data", False, "2.2.0")
    assert triton.rows == 0


async def test_a_wearer_is_due_after_a_hundred_readings_since_the_last_attempt() -> None:
    """GL12: the hundredth makes the difference, before the first attempt and after one."""
    models = FakeModels(days(1)[:99])
    assert not await personal.is_due(models, WEARER)
    models.stored = days(1)[:100]
    assert await personal.is_due(models, WEARER)
    await personal.fit(models, Flat(), FakeClock(models.stored[-1][0].timestamp()), WEARER)
    assert not await personal.is_due(models, WEARER)
    assert await personal.is_due(models, WEARER, "2.1.0"), "another version serves since"
    models.stored += [(models.stored[-1][0] + timedelta(minutes=5 * place), 120.0) for place in range(1, 101)]
    assert await personal.is_due(models, WEARER)
