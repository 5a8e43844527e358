"""HTTP of forecasts: whose they are says the credential, how they are made `forecasting`; nothing is decided here.

A process of its own: a client of Triton that hangs must not hold up the doors, nor a storm of questions readings.
"""

import math
import time
from collections.abc import Awaitable
from datetime import date, timedelta
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request, Response

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import MetricsRow, Prediction, Wearer
from adapters.wearers import Credential, WearerBook
from consumers import cgm_summary, forecast_request, forecasting, patterns
from consumers.forecast_request import ForecastRequest
from consumers.forecasting import Forecasting
from consumers.rates import Rates
from schemas.errors import ClinstreamError, DatabaseUnavailable, RejectedInput
from schemas.events import GLUCOSE_NOTICE
from schemas.predictions import GlucosePattern, GlucosePrediction

JSON = "application/json"
FHIR_JSON = "application/fhir+json"
PATH = "/api/predictions/glucose"
MAX_BODY_BYTES = 1_000_000
RETRY_AFTER_S = 2.0
FAILURES_A_MINUTE, FAILURES_AT_ONCE = 20.0, 10
BURST_S = 10.0
MOST_HISTORY = 500
UNKNOWN = "no wearer has this credential; `clinstream wearers add` makes one"


class Views(forecasting.Views, Protocol):
    """Where forecasts and metrics are found; `adapters.database.GlucoseViews` is one. Raises DatabaseUnavailable."""

    async def predictions(self, wearer: Wearer, limit: int) -> list[Prediction]:
        """The newest forecasts that a wearer asked for."""
        ...

    async def metrics(self, wearer: Wearer, since: date) -> list[MetricsRow]:
        """The windows of a wearer that end on `since` or later."""
        ...


class Refusal(Exception):
    """Ends a request with this status and sentence."""

    def __init__(self, status: int, reason: str, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(reason)
        self.status, self.retry_after_s = status, retry_after_s


class Questions:
    """What wearers ask: forecasts, those of before, metrics and patterns."""

    def __init__(
        self, forecasting: Forecasting, views: Views, wearers: WearerBook, clock: Clock, *, a_minute: float
    ) -> None:
        self._forecasting, self._views, self._wearers, self._clock = forecasting, views, wearers, clock
        self._rates = Rates(clock, a_minute=a_minute, burst=max(10, math.ceil(a_minute / 60 * BURST_S)))
        self._failures = Rates(clock, a_minute=FAILURES_A_MINUTE, burst=FAILURES_AT_ONCE)

    async def predict(self, request: Request) -> Response:
        """One forecast, or a batch of them: for each its own status."""
        wearer = await self._whose(request)
        try:
            items, batch = forecast_request.read(await _body(request))
        except RejectedInput as problem:
            raise Refusal(400, str(problem)) from problem
        self._count(wearer, len(items))
        now, card = self._clock.now(), self._forecasting.model.card
        asked: dict[int, ForecastRequest] = {}
        refused: dict[int, str] = {}
        for place, item in enumerate(items):
            try:
                asked[place] = forecast_request.check(item, card, now)
            except RejectedInput as problem:
                refused[place] = str(problem)
        made = await self._forecasting.predict((wearer.subject_id, False), list(asked.values())) if asked else []
        found = dict(zip(asked, made, strict=True))
        for each in made:
            _tally("fallback" if each.fallback else each.status)
        if batch:
            return reply(
                200, {"predictions": [_item(found.get(place), refused.get(place)) for place in range(len(items))]}
            )
        if refused:
            _tally("invalid")
            return reply(422, {"error": refused[0], "notice": GLUCOSE_NOTICE})
        return reply(422 if found[0].status == "refused" else 200, found[0])

    async def history(self, request: Request) -> Response:
        """The wearer's forecasts, newest first, with what then happened where that is known."""
        wearer = await self._whose(request)
        self._count(wearer, 1)
        whose, limit = _asked_of(request, wearer), _number(request, "limit", 50, MOST_HISTORY)
        rows = await self._views.predictions(whose, limit)
        found = [{**row.content, "truth": row.truth} for row in rows]
        return reply(200, {"predictions": found, "notice": GLUCOSE_NOTICE})

    async def metrics(self, request: Request) -> Response:
        """The wearer's glycaemic metrics of the windows that ended in the last `days` days."""
        wearer = await self._whose(request)
        self._count(wearer, 1)
        since = self._clock.now().date() - timedelta(days=_number(request, "days", 1, 400))
        rows = await self._views.metrics(_asked_of(request, wearer), since)
        if request.query_params.get("format") == "fhir":
            return reply(200, cgm_summary.bundle(rows), FHIR_JSON)
        found = [
            {"ends_on": row.ends_on, "days": row.days, "revision": row.revision, "figures": row.figures} for row in rows
        ]
        return reply(200, {"metrics": found, "notice": GLUCOSE_NOTICE})

    async def patterns(self, request: Request) -> Response:
        """What is unusual or usual in the wearer's last four weeks, as information."""
        wearer = await self._whose(request)
        self._count(wearer, 5)
        now = self._clock.now()
        readings = await self._views.readings(_asked_of(request, wearer), now - timedelta(days=patterns.DAYS), now)
        found: list[GlucosePattern] = patterns.find(readings, now)
        return reply(200, {"patterns": found, "notice": GLUCOSE_NOTICE})

    async def _whose(self, request: Request) -> Credential:
        address = request.client.host if request.client else ""
        given = request.headers.get("authorization", "")
        bearer = given[7:] if given.lower().startswith("bearer ") else ""
        presented = request.headers.get("api-secret") or bearer or request.query_params.get("token") or ""
        found = await self._wearers.find(presented)
        if found is None:
            wait_s = self._failures.wait_s(address)
            if wait_s:
                raise Refusal(429, "too many failed attempts from this address", wait_s)
            raise Refusal(401, UNKNOWN)
        return found

    def _count(self, wearer: Credential, cost: int) -> None:
        wait_s = self._rates.wait_s(wearer.credential_id, max(1, cost))
        if wait_s:
            raise Refusal(429, "too many requests with this credential", wait_s)


def build(questions: Questions) -> FastAPI:
    """The application."""
    app = FastAPI(title="clinstream predictions", version="1", docs_url=None, redoc_url=None)

    @app.post(PATH, summary="Forecast a wearer's glucose, or a batch of forecasts")
    async def predict(request: Request) -> Response:
        return await _answered("predictions", questions.predict(request))

    @app.get(PATH, summary="The wearer's forecasts and what then happened")
    async def history(request: Request) -> Response:
        return await _answered("predictions", questions.history(request))

    @app.get("/api/metrics/glucose", summary="The wearer's glycaemic metrics")
    async def metrics(request: Request) -> Response:
        return await _answered("predictions", questions.metrics(request))

    @app.get("/api/patterns/glucose", summary="What is unusual or usual in the wearer's readings")
    async def found(request: Request) -> Response:
        return await _answered("predictions", questions.patterns(request))

    @app.get("/healthz", summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


async def _answered(door: str, work: Awaitable[Response]) -> Response:
    start = time.monotonic()
    try:
        answer = await work
    except Refusal as refusal:
        answer = _error(refusal.status, str(refusal), refusal.retry_after_s)
    except DatabaseUnavailable as away:
        answer = _error(503, str(away), RETRY_AFTER_S)
    except ClinstreamError as problem:
        answer = _error(503, f"not now ({type(problem).__name__})", RETRY_AFTER_S)
    meters = telemetry.metrics()
    meters.door_requests.labels(door=door, status=str(answer.status_code)).inc()
    meters.door_seconds.labels(door=door).observe(time.monotonic() - start)
    return answer


def reply(status: int, content: Any, media_type: str = JSON) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(content), status_code=status, media_type=media_type)


def _error(status: int, reason: str, retry_after_s: float) -> Response:
    answer = reply(status, {"error": reason, "notice": GLUCOSE_NOTICE})
    if status in (429, 503):
        answer.headers["retry-after"] = str(math.ceil(retry_after_s))
    return answer


def _item(made: GlucosePrediction | None, reason: str | None) -> Any:
    if made is not None:
        return made
    _tally("invalid")
    return {"status": "invalid", "error": reason}


def _tally(fate: str) -> None:
    telemetry.metrics().predictions.labels(fate=fate).inc()


def _asked_of(request: Request, wearer: Credential) -> Wearer:
    return wearer.subject_id, request.query_params.get("simulated", "").lower() in ("true", "1")


def _number(request: Request, name: str, usual: int, most: int) -> int:
    text = request.query_params.get(name, str(usual))
    if not text.isdecimal() or not 0 < int(text) <= most:
        raise Refusal(400, f"{name} is a number from 1 to {most}")
    return int(text)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refusal(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
        parts.append(part)
    return b"".join(parts)
