"""Glucose readings for tests, a toy forecaster, and the lane with everything around it in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import structs

from adapters.database import Window
from adapters.database.readings import EPOCH
from adapters.fakes.clock import FakeClock
from adapters.fakes.windows import FakeWindows
from consumers.ask import Ask
from consumers.glucose import Glucose
from consumers.outcomes import Decide, Outcome, Publish
from schemas import ids
from schemas.card import ModelCard, TensorSpec
from schemas.errors import TooFewYet, Unprocessable
from schemas.events import ForecastPoint, GlucoseObserved, ResultPublished
from schemas.findings import Finding
from schemas.windows import GlucoseWindow
from tests.support import steps
from triton_models.model import Model

NOW = steps.NOW
TASK = "toy_glucose"
Tensor = npt.NDArray[Any]


def reading(minutes: float = 0.0, mg_dl: float = 100.0, wearer: str = "1", **changes: Any) -> GlucoseObserved:
    """A reading that many minutes after (before, if negative) `NOW`, observed a second after it."""
    at = changes.pop("measured_at", NOW + timedelta(minutes=minutes))
    subject = ids.subject_id(steps.KEY, "", wearer)
    simulated = changes.get("simulated", False)
    thing = (ids.SIMULATED if simulated else "") + ids.reading_object_id(subject, at)
    content = ids.reading_content(mg_dl, changes.get("clipped", ""))
    return GlucoseObserved(
        **{
            "event_id": ids.event_id(thing, content),
            "object_id": thing,
            "content": content,
            "subject_id": subject,
            "glucose_mg_dl": mg_dl,
            "raw_value": mg_dl,
            "raw_unit": "mg/dL",
            "measured_at": at,
            "observed_at": at + timedelta(seconds=1),
            **changes,
        }
    )


def taken_back(event: GlucoseObserved) -> GlucoseObserved:
    """The event that deletes this reading."""
    content = ids.deletion_content(event.content)
    return structs.replace(event, content=content, event_id=ids.event_id(event.object_id, content), deleted=True)


def model(**changes: Any) -> Model:
    """Forecasts the sum of the window's values; needs 3 readings, and cannot read a value of 666."""
    made = steps.card(
        TASK,
        "glucose",
        inputs=[TensorSpec("glucose", "float32", (2,), "mg/dL")],
        labels=("forecast", "stale"),
        positive_label="",
        operating_point=None,
        horizons_minutes=(30,),
        **changes,
    )

    def prepare(window: GlucoseWindow) -> Tensor:
        if 666.0 in window.glucose_mg_dl:
            raise Unprocessable("the window cannot be read")
        if len(window.times_s) < 3:
            raise TooFewYet("a forecast needs 3 readings")
        return np.array([sum(window.glucose_mg_dl) + sum(window.vector), 0], dtype=np.float32)

    def decode(outputs: Mapping[str, Tensor], card: ModelCard | None = None) -> Sequence[Finding]:
        return [
            Finding(
                label="forecast",
                score=0.0,
                threshold=0.0,
                probabilities={},
                abstained=False,
                forecast=(ForecastPoint(horizon_minutes=30, glucose_mg_dl=value, low=value, high=value, coverage=0.9),),
            )
            for value in outputs["probability"][:, 1].tolist()
        ]

    return Model(made, prepare, decode, Path("model.onnx"))


@dataclass
class Around:
    """A glucose lane in memory; several lanes may share all but the step."""

    ledger: steps.FakeLedger = field(default_factory=steps.FakeLedger)
    windows: FakeWindows = field(default_factory=FakeWindows)
    triton: steps.FakeInference = field(default_factory=steps.FakeInference)
    releases: steps.FakeReleases = field(default_factory=steps.FakeReleases)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW.timestamp() + 5))
    models: Mapping[str, Model] = field(default_factory=lambda: {TASK: model()})

    def lane(self, name: Literal["live", "backfill"] = "live") -> Glucose:
        """A step of this lane."""
        ask = Ask(self.triton, self.releases, self.clock)
        return Glucose(name, self.models, database=self.ledger, windows=self.windows, ask=ask, clock=self.clock)

    async def run(self, *events: GlucoseObserved, lane: Literal["live", "backfill"] = "live") -> list[list[Any]]:
        """What becomes of one batch; decisions are written as the loop does."""
        batch = [steps.delivery(event, f"observed.glucose.{lane}", place) for place, event in enumerate(events)]
        found: list[list[Outcome]] = [list(outcomes) for outcomes in await self.lane(lane)(batch)]
        await self.ledger.decide([o.outcome for each in found for o in each if isinstance(o, Decide)])
        return found

    def window(self, wearer: str = "1", *, simulated: bool = False) -> Window:
        """What the database holds of a wearer."""
        return self.ledger._window((ids.subject_id(steps.KEY, "", wearer), simulated))


def fate(outcomes: Sequence[Outcome]) -> str:
    """How an event ended: `answered`, a decided fate, or the kind of its dead letter; empty for nothing to do."""
    if not outcomes:
        return ""
    (only,) = outcomes
    if isinstance(only, Publish):
        return "answered"
    return only.outcome.fate if isinstance(only, Decide) else only.kind


def result(outcomes: Sequence[Outcome]) -> ResultPublished:
    """The published result of an event."""
    (only,) = outcomes
    assert isinstance(only, Publish)
    assert isinstance(only.event, ResultPublished)
    return only.event


def expected(outcomes: Sequence[Outcome]) -> float:
    """The toy's forecast."""
    return result(outcomes).answer.forecast[0].glucose_mg_dl


def minutes(window: Window) -> list[float]:
    """The window's times in minutes after `NOW`."""
    return [((EPOCH + timedelta(milliseconds=time)) - NOW) / timedelta(minutes=1) for time in window.times_ms]


def at(moment: datetime) -> float:
    """Seconds since the epoch."""
    return moment.timestamp()
