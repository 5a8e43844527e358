"""A forecast that somebody asks for: readings, the model within a second or the baseline, the day profile beyond it.

Requests that come while others are at work are answered together: one query, one call of Triton, one insertion.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import msgspec
import numpy as np

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Own, PlainReading, Prediction, Wearer
from adapters.database.readings import EPOCH
from adapters.database.records import NOTHING_OWN
from adapters.releases import Choice
from consumers import baseline, day_profile
from consumers.ask import Told
from consumers.day_profile import Profile
from consumers.forecast_request import ForecastRequest, plain
from consumers.glucose import STALE_S, TOO_OLD
from consumers.glucose_rows import owned, prepared
from schemas import ids
from schemas.errors import ClinstreamError, DatabaseUnavailable, RejectedInput, TooFewYet
from schemas.predictions import GlucosePrediction, PredictedPoint, Provenance
from schemas.windows import MOST, SPAN_S, GlucoseWindow
from triton_models.model import Model

log = telemetry.logger("predictions")

MODEL_S = 1.0
"""Seconds that the model is given; then the baseline answers."""
DATABASE_S = 3.0
REST_S = 5.0
"""Seconds without asking a model that failed or hung: not every request need wait for it."""
GATHER_S = 0.003
"""Seconds in which requests gather that come together."""
LOOK_BACK = timedelta(hours=4)
PROFILE_FOR_S = 600.0
PROFILES = 2_000
BATCH = 256

NOTHING = "no reading of the last 4 hours"
FAILED = "the model does not answer; this is the newest reading, unchanged"
REFUSES = "the model's server refuses this wearer's readings; this is the newest reading, unchanged"


class Asks(Protocol):
    """Who puts rows before the model; `consumers.ask.Ask` is one."""

    def choose(self, model: Model, subject: str) -> Choice:
        """The version that answers a subject; raises DatabaseUnavailable while that is not known."""
        ...

    async def __call__(
        self, model: Model, subjects: Sequence[str], tensors: Sequence[Any], *, choices: Sequence[Choice] | None = None
    ) -> list[Told]:
        """One answer a row; raises what a model or its server can raise."""
        ...


class Views(Protocol):
    """Where readings are found and forecasts kept; all raise DatabaseUnavailable."""

    async def recent(self, wearers: Sequence[Wearer], since: datetime) -> dict[Wearer, list[PlainReading]]:
        """Readings in force of these wearers since a time."""
        ...

    async def readings(self, wearer: Wearer, first: datetime, last: datetime) -> list[PlainReading]:
        """Readings in force of a wearer in [first, last)."""
        ...

    async def own(self, wearers: Sequence[Wearer]) -> dict[Wearer, Own]:
        """What was fitted to those of these wearers to whom something was."""
        ...

    async def keep(self, predictions: Sequence[Prediction]) -> None:
        """Stores forecasts."""
        ...


@dataclass(slots=True)
class _Waiting:
    wearer: Wearer
    request: ForecastRequest
    done: "asyncio.Future[GlucosePrediction]"
    readings: list[PlainReading] = field(default_factory=list)
    own: Own = NOTHING_OWN
    profile: Profile = field(default_factory=dict)


class Forecasting:
    """Answers requests for forecasts of one task; raises DatabaseUnavailable where readings cannot be had in time."""

    def __init__(self, model: Model, ask: Asks, views: Views, clock: Clock, *, model_s: float = MODEL_S) -> None:
        self.model = model
        self._ask, self._views, self._clock = ask, views, clock
        self._waiting: list[_Waiting] = []
        self._working = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests_until = float("-inf")
        self._profiles: OrderedDict[Wearer, tuple[float, Profile]] = OrderedDict()
        self._model_s = model_s

    async def predict(self, wearer: Wearer, requests: Sequence[ForecastRequest]) -> list[GlucosePrediction]:
        """One forecast a request, in their order; stored before they are returned."""
        loop = asyncio.get_running_loop()
        mine = [_Waiting((wearer[0], request.simulated), request, loop.create_future()) for request in requests]
        self._waiting += mine
        if not self._working:
            self._working = True
            task = asyncio.create_task(self._work(), name="forecasting")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        found = await asyncio.gather(*(each.done for each in mine), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if isinstance(each, GlucosePrediction)]

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._answer(batch)
        finally:
            self._working = False

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            async with asyncio.timeout(DATABASE_S):
                await self._read(batch)
            made = await self._predict(batch)
            async with asyncio.timeout(DATABASE_S):
                await self._views.keep([_row(each) for each in made])
        except TimeoutError:
            _fail(batch, DatabaseUnavailable("PostgreSQL did not answer in time"))
        except ClinstreamError as error:
            _fail(batch, error)
        except Exception as error:  # whoever waits must not wait for ever
            log.error("a batch of forecasts broke", exc_info=error)
            _fail(batch, DatabaseUnavailable("the forecast could not be made"))
        else:
            for waiting, prediction in zip(batch, made, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(prediction)

    async def _read(self, batch: Sequence[_Waiting]) -> None:
        now = self._clock.now()
        stored = {each.wearer for each in batch if each.request.readings is None}
        found = await self._views.recent(sorted(stored), now - LOOK_BACK) if stored else {}
        own = await self._views.own(sorted({each.wearer for each in batch}))
        longest = max(self.model.card.horizons_minutes)
        for each in batch:
            each.own = own.get(each.wearer, NOTHING_OWN)
            given = each.request.readings
            readings = plain(given) if given is not None else found.get(each.wearer, [])
            each.readings = _window(readings)
            if max(each.request.horizons_minutes) > longest:
                each.profile = await self._profile(each.wearer)

    async def _profile(self, wearer: Wearer) -> Profile:
        known = self._profiles.get(wearer)
        if known is None or known[0] < self._clock.monotonic():
            now = self._clock.now()
            readings = await self._views.readings(wearer, now - timedelta(days=day_profile.DAYS), now)
            known = (self._clock.monotonic() + PROFILE_FOR_S, await asyncio.to_thread(day_profile.profile, readings))
            self._profiles[wearer] = known
        self._profiles.move_to_end(wearer)
        while len(self._profiles) > PROFILES:
            self._profiles.popitem(last=False)
        return known[1]

    async def _predict(self, batch: Sequence[_Waiting]) -> list[GlucosePrediction]:
        oldest_ms = (self._clock.time() - STALE_S) * 1000
        live = [each for each in batch if each.readings and each.readings[-1].time_ms >= oldest_ms]
        choices = self._choices(live)
        windows = [
            GlucoseWindow(
                [r.time_ms / 1000 for r in each.readings],
                [r.glucose_mg_dl for r in each.readings],
                each.own.to(choice.version) if choice else (),
            )
            for each, choice in zip(live, choices, strict=True)
        ]
        rows, refused = prepared(self.model, windows)
        fit = [place for place in range(len(live)) if place not in refused]
        chosen = [choice for place in fit if (choice := choices[place])]
        told, why = await self._tell([live[place] for place in fit], [rows[place] for place in fit], chosen)
        answers = {
            id(live[place]): owned(self.model, told[number], windows[place]) if told else why
            for number, place in enumerate(fit)
        }
        rejected = {id(live[place]): error for place, error in refused.items()}
        return [self._made(each, answers.get(id(each)), rejected.get(id(each))) for each in batch]

    def _choices(self, asked: Sequence[_Waiting]) -> Sequence[Choice | None]:
        """Which version answers whom; None while that is not known, which is the baseline's case."""
        try:
            return [self._ask.choose(self.model, each.wearer[0]) for each in asked]
        except DatabaseUnavailable:
            return [None] * len(asked)

    async def _tell(
        self, asked: Sequence[_Waiting], rows: Sequence[Any], choices: Sequence[Choice]
    ) -> tuple[list[Told], str]:
        """What the model says to these, or nothing and why."""
        if not asked:
            return [], ""
        if self._clock.monotonic() < self._rests_until:
            return [], FAILED
        try:
            async with asyncio.timeout(self._model_s):
                subjects = [each.wearer[0] for each in asked]
                return await self._ask(self.model, subjects, rows, choices=choices), ""
        except RejectedInput:
            return [], REFUSES
        except (ClinstreamError, TimeoutError) as error:
            log.warning("forecasts come from the baseline for now", reason=type(error).__name__)
            self._rests_until = self._clock.monotonic() + REST_S
            return [], FAILED

    def _made(self, each: _Waiting, told: Told | str | None, rejected: RejectedInput | None) -> GlucosePrediction:
        now = self._clock.now()
        subject, simulated = each.wearer
        newest = each.readings[-1] if each.readings else None
        common = GlucosePrediction(
            prediction_id=uuid4(),
            subject_id=subject,
            status="refused",
            made_at=now,
            newest_at=EPOCH + timedelta(milliseconds=newest.time_ms) if newest else None,
            newest_mg_dl=round(newest.glucose_mg_dl, 1) if newest else None,
            model=self.model.card.name,
            simulated=simulated,
            notice=self.model.card.notice,
            use_status=self.model.card.use_status,
        )
        if newest is None:
            return msgspec.structs.replace(common, status="stale", reason=NOTHING)
        if rejected is not None:
            early = isinstance(rejected, TooFewYet)
            return msgspec.structs.replace(common, status="stale" if early else "refused", reason=str(rejected))
        if told is None:
            return msgspec.structs.replace(common, status="stale", reason=TOO_OLD)
        near, version = self._near(each, told, newest)
        far, days = _far(each, newest.time_ms, max(self.model.card.horizons_minutes))
        missing = len(near) + len(far) < len(set(each.request.horizons_minutes))
        lacking = (
            f"fewer than {day_profile.LEAST_DAYS} days are known of some hours beyond the model" if missing else ""
        )
        return msgspec.structs.replace(
            common,
            status="forecast",
            version=version,
            fallback=isinstance(told, str),
            reason="; ".join(part for part in (told if isinstance(told, str) else "", lacking) if part),
            forecast=(*near, *far),
            provenance=Provenance(
                reading_ids=_reading_ids(each), from_request=each.request.readings is not None, profile_days=days
            ),
        )

    def _near(self, each: _Waiting, told: Told | str, newest: PlainReading) -> tuple[tuple[PredictedPoint, ...], str]:
        asked = sorted({m for m in each.request.horizons_minutes if m in self.model.card.horizons_minutes})
        if isinstance(told, str):
            return baseline.stays(newest.glucose_mg_dl, asked), ""
        points = {point.horizon_minutes: point for point in told.finding.forecast}
        said = tuple(
            PredictedPoint(**msgspec.structs.asdict(points[minutes]), source="model")
            for minutes in asked
            if minutes in points
        )
        return said, told.choice.version


def _far(each: _Waiting, newest_ms: int, longest: int) -> tuple[tuple[PredictedPoint, ...], int]:
    """The usual values of the wearer's days at the horizons beyond the model, and of how many days at least."""
    found = {
        minutes: usual
        for minutes in sorted(set(each.request.horizons_minutes))
        if minutes > longest
        and (usual := each.profile.get(day_profile.slot_of(newest_ms + minutes * 60_000))) is not None
    }
    points = tuple(
        PredictedPoint(
            horizon_minutes=minutes,
            glucose_mg_dl=usual.middle,
            low=usual.low,
            high=usual.high,
            coverage=day_profile.COVERAGE,
            source="day_profile",
        )
        for minutes, usual in found.items()
    )
    return points, min((usual.days for usual in found.values()), default=0)


def _window(readings: Sequence[PlainReading]) -> list[PlainReading]:
    """What the stream's windows hold too: the span up to the newest reading."""
    if not readings:
        return []
    first = readings[-1].time_ms - SPAN_S * 1000
    return [reading for reading in readings if reading.time_ms > first][-MOST:]


def _reading_ids(each: _Waiting) -> tuple[str, ...]:
    """As `ids.reading_object_id` names them; a call for each reading was most of the time that a forecast took."""
    prefix = f"{ids.SIMULATED if each.wearer[1] else ''}{each.wearer[0]}@"
    times = np.array([reading.time_ms for reading in each.readings], dtype="datetime64[ms]")
    return tuple(f"{prefix}{stamp}Z" for stamp in np.datetime_as_string(times, unit="ms").tolist())


def _row(made: GlucosePrediction) -> Prediction:
    content: dict[str, Any] = msgspec.to_builtins(made)
    wearer = (made.subject_id, made.simulated)
    fallback = made.reason if made.fallback else ""
    return Prediction(made.prediction_id, wearer, made.made_at, made.newest_at, made.version, fallback, content)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for each in batch:
        if not each.done.done():
            each.done.set_exception(error)
