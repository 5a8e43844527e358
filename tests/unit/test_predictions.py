"""Forecasts that are asked for: whose they are, what they are made from, and what is said when no model can."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from adapters.database import MetricsRow, Own, PlainReading, Prediction, Wearer
from adapters.fakes.clock import FakeClock
from adapters.wearers import WearerBook
from consumers import baseline, forecasting, predictions
from consumers.ask import Ask
from consumers.forecast_request import ForecastRequest
from consumers.forecasting import Forecasting
from consumers.glucose import TOO_OLD
from schemas import ids
from schemas.errors import DatabaseUnavailable, InvalidForModel, ServerDown
from schemas.events import Base, GlucoseMetricsRevised, GlycaemicFigures, TimesInRanges
from schemas.findings import Finding
from schemas.predictions import GlucosePattern, GlucosePrediction, PredictedPoint, Provenance
from tests.support import glucose, steps
from tests.support.http_door import KnownWearers

NOW = glucose.NOW
SECRET, OTHER = "a-secret-of-mine", "another-of-theirs"
MINE, THEIRS = "sub-mine", "sub-theirs"


@dataclass
class FakeViews:
    """Readings and forecasts in memory."""

    stored: dict[Wearer, list[PlainReading]] = field(default_factory=dict)
    fitted: dict[Wearer, Own] = field(default_factory=dict)
    kept: list[Prediction] = field(default_factory=list)
    down: bool = False
    queries: int = 0

    async def recent(self, wearers: Sequence[Wearer], since: datetime) -> dict[Wearer, list[PlainReading]]:
        if self.down:
            raise DatabaseUnavailable("away")
        self.queries += 1
        first = since.timestamp() * 1000
        return {w: [r for r in self.stored.get(w, []) if r.time_ms >= first] for w in wearers}

    async def readings(self, wearer: Wearer, first: datetime, last: datetime) -> list[PlainReading]:
        between = range(round(first.timestamp() * 1000), round(last.timestamp() * 1000))
        return [reading for reading in self.stored.get(wearer, []) if reading.time_ms in between]

    async def own(self, wearers: Sequence[Wearer]) -> dict[Wearer, Own]:
        return {wearer: self.fitted[wearer] for wearer in wearers if wearer in self.fitted}

    async def keep(self, made: Sequence[Prediction]) -> None:
        self.kept += made

    async def predictions(self, wearer: Wearer, limit: int) -> list[Prediction]:
        return [each for each in reversed(self.kept) if each.wearer == wearer][:limit]

    async def metrics(self, wearer: Wearer, since: date) -> list[MetricsRow]:
        return []


class Asked(steps.FakeInference):
    """A Triton that can hang."""

    hangs = False

    async def infer(self, *argv: Any, **named: Any) -> Any:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().infer(*argv, **named)


class Server:
    """The application on fakes."""

    def __init__(self, *, a_minute: float = 6000.0) -> None:
        self.clock, self.views, self.triton = FakeClock(NOW.timestamp()), FakeViews(), Asked()
        self.wearers = KnownWearers()
        for secret, subject in ((SECRET, MINE), (OTHER, THEIRS)):
            self.wearers.add(secret, subject)
        self.releases = steps.FakeReleases()
        ask = Ask(self.triton, self.releases, self.clock)
        made = Forecasting(glucose.model(), ask, self.views, self.clock, model_s=0.05)
        self.book = WearerBook(self.wearers, self.clock)
        questions = predictions.Questions(made, self.views, self.book, self.clock, a_minute=a_minute)
        transport = httpx.ASGITransport(predictions.build(questions))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://asked")

    def has(self, *minutes: float, subject: str = MINE, mg_dl: float = 100.0) -> None:
        """Readings so many minutes ago."""
        at = [round((NOW - timedelta(minutes=ago)).timestamp() * 1000) for ago in minutes]
        here = self.views.stored.setdefault((subject, False), [])
        here[:] = sorted([*here, *(PlainReading(time, mg_dl) for time in at)])

    async def ask(self, body: Any = None, secret: str = SECRET) -> httpx.Response:
        """POST."""
        content = b"" if body is None else msgspec.json.encode(body)
        return await self.client.post(predictions.PATH, content=content, headers={"api-secret": secret})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    await found.book.refresh()
    yield found
    await found.client.aclose()


async def test_the_credential_selects_whose_readings_are_used_and_all_of_them_are_named(server: Server) -> None:
    """GL2, GL7, GL14: provenance and a disclaimer on each; stored before it is answered."""
    server.has(10, 5, 0)
    server.has(10, 5, 0, subject=THEIRS, mg_dl=200.0)
    answer = await server.ask({"horizons_minutes": [30]})
    assert answer.status_code == 200
    told = msgspec.json.decode(answer.content, type=GlucosePrediction)
    assert (told.subject_id, told.status, told.version, told.fallback) == (MINE, "forecast", "1.0.0", False)
    assert [(point.glucose_mg_dl, point.source) for point in told.forecast] == [(300.0, "model")]
    expected = [ids.reading_object_id(MINE, NOW - timedelta(minutes=ago)) for ago in (10, 5, 0)]
    assert list(told.provenance.reading_ids) == expected
    assert told.notice
    assert [each.prediction_id for each in server.views.kept] == [told.prediction_id]
    history = (await server.client.get(predictions.PATH, headers={"authorization": f"Bearer {OTHER}"})).json()
    assert history["predictions"] == []
    mine = (await server.client.get(predictions.PATH, headers={"api-secret": SECRET})).json()
    assert [each["prediction_id"] for each in mine["predictions"]] == [str(told.prediction_id)]


async def test_what_was_fitted_to_a_wearer_bends_that_wearers_forecast_alone(server: Server) -> None:
    """GL2: the same vector that the stream uses, and nobody else's."""
    server.has(10, 5, 0)
    server.has(10, 5, 0, subject=THEIRS)
    server.views.fitted[MINE, False] = Own("1.0.0", (2.0, 5.0))
    told = [(await server.ask({"horizons_minutes": [30]}, secret)).json() for secret in (SECRET, OTHER)]
    assert [each["forecast"][0]["glucose_mg_dl"] for each in told] == [307.0, 300.0]


async def test_another_version_than_the_vector_was_fitted_to_answers_as_for_everybody(server: Server) -> None:
    """GL2, GL13: after a promotion, for a canary's wearers and after a rollback, until the vector is fitted anew."""
    server.has(10, 5, 0)
    server.views.fitted[MINE, False] = Own("1.0.0", (2.0, 5.0))
    said = []
    for version in ("1.0.0", "1.1.0", "1.0.0"):
        server.releases.versions[MINE] = version
        told = (await server.ask({"horizons_minutes": [30]})).json()
        said.append((told["version"], told["forecast"][0]["glucose_mg_dl"]))
    assert said == [("1.0.0", 307.0), ("1.1.0", 300.0), ("1.0.0", 307.0)]


@pytest.mark.parametrize(
    ("ago", "status", "code"), [((40, 35, 30), "stale", 200), ((), "stale", 200), ((0,), "stale", 200)]
)
async def test_no_forecast_where_the_newest_reading_is_old_or_readings_are_few(
    server: Server, ago: tuple[int, ...], status: str, code: int
) -> None:
    server.has(*ago)
    answer = await server.ask({"horizons_minutes": [30]})
    assert (answer.status_code, answer.json()["status"], answer.json()["forecast"]) == (code, status, [])
    assert answer.json()["reason"]
    assert server.triton.asked == []


@pytest.mark.parametrize("error", [ServerDown("away"), InvalidForModel("refuses"), None])
async def test_a_missing_failing_or_hanging_model_is_replaced_by_the_baseline_which_says_so(
    server: Server, error: Exception | None
) -> None:
    """GL8, GL22: also a hang ends within a stated time."""
    server.has(10, 5, 0)
    server.triton.error, server.triton.hangs = error, error is None
    told = msgspec.json.decode((await server.ask({"horizons_minutes": [30]})).content, type=GlucosePrediction)
    assert (told.status, told.fallback, told.version) == ("forecast", True, "")
    assert "newest reading, unchanged" in told.reason
    assert told.forecast == baseline.stays(100.0, [30])
    assert server.views.kept[0].fallback


async def test_a_model_that_hung_is_left_alone_for_a_while_and_then_asked_again(server: Server) -> None:
    server.has(10, 5, 0)
    server.triton.hangs = True
    await server.ask({"horizons_minutes": [30]})
    server.triton.hangs = False
    assert (await server.ask({"horizons_minutes": [30]})).json()["fallback"] is True
    await server.clock.advance(forecasting.REST_S)
    assert (await server.ask({"horizons_minutes": [30]})).json()["fallback"] is False


async def test_questions_that_come_together_are_answered_together(server: Server) -> None:
    """GL10: one query and one call of Triton for many."""
    server.has(10, 5, 0)
    answers = await asyncio.gather(*(server.ask({"horizons_minutes": [30]}) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    most = glucose.model().card.serving.max_batch_size
    assert {rows for _, rows, _ in server.triton.asked} == {most}
    assert server.views.queries < 10


async def test_a_batch_has_an_answer_for_each_request(server: Server) -> None:
    server.has(10, 5, 0)
    given = [
        {"measured_at": (NOW - timedelta(minutes=ago)).isoformat(), "value": 5.0, "unit": "mmol/L"}
        for ago in (10, 5, 0)
    ]
    items = [{"horizons_minutes": [30]}, {"horizons_minutes": [30], "readings": given}, {"horizons_minutes": [31]}, 5]
    answer = await server.ask({"requests": items})
    stored, brought, odd, none = answer.json()["predictions"]
    assert answer.status_code == 200
    assert stored["forecast"][0]["glucose_mg_dl"] == 300.0
    assert brought["forecast"][0]["glucose_mg_dl"] == pytest.approx(3 * 90.1)
    assert (stored["provenance"]["from_request"], brought["provenance"]["from_request"]) == (False, True)
    assert [odd["status"], none["status"]] == ["invalid", "invalid"]


@pytest.mark.parametrize(
    "body",
    [
        {"horizons_minutes": []},
        {"horizons_minutes": [20]},
        {"horizons_minutes": [1441]},
        {"horizon": 30},
        {"readings": [{"measured_at": "2026-01-01T00:00:00Z", "value": 5.5, "unit": "mg/dL"}]},
        {"readings": [{"measured_at": "2026-01-01T00:00:00Z", "value": 130, "unit": "mmol/L"}]},
        {"readings": [{"measured_at": "2999-01-01T00:00:00Z", "value": 100, "unit": "mg/dL"}]},
        {"readings": [{"measured_at": "2026-01-01T00:00:00", "value": 100, "unit": "mg/dL"}]},
    ],
)
async def test_what_the_model_was_not_trained_for_is_refused_with_a_reason(server: Server, body: Any) -> None:
    """GL20: horizons, units and plausible ranges."""
    answer = await server.ask(body)
    assert answer.status_code == 422
    assert answer.json()["error"]


async def test_beyond_the_model_the_wearers_own_days_speak_and_are_called_so(server: Server) -> None:
    """GL9: to 24 hours; too few days say nothing and the answer says why."""
    server.has(10, 5, 0)
    few = msgspec.json.decode((await server.ask({"horizons_minutes": [30, 720]})).content, type=GlucosePrediction)
    assert [point.source for point in few.forecast] == ["model"]
    assert "days" in few.reason
    server.has(*(1440 * day + 720 + near for day in range(10) for near in (-10, 0, 10)), mg_dl=150.0)
    await server.clock.advance(forecasting.PROFILE_FOR_S + 1)
    server.has(-5, -10)
    told = msgspec.json.decode((await server.ask({"horizons_minutes": [30, 720]})).content, type=GlucosePrediction)
    assert [(point.source, point.glucose_mg_dl) for point in told.forecast][1] == ("day_profile", 150.0)
    assert told.provenance.profile_days == 10


async def test_a_client_that_asks_too_often_is_told_when_to_come_again() -> None:
    """GL15: each credential for itself; a batch costs as much as its requests."""
    server = Server(a_minute=60.0)
    server.has(10, 5, 0)
    codes = [(await server.ask({"horizons_minutes": [30]})).status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]
    assert (await server.ask(secret=OTHER)).status_code == 200
    late = await server.ask([{}, {}])
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1
    await server.clock.advance(2)
    assert (await server.ask({"horizons_minutes": [30]})).status_code == 200
    await server.client.aclose()


async def test_strangers_and_outages_are_answered_as_what_they_are(server: Server) -> None:
    async def wait() -> httpx.Response:
        asked = asyncio.ensure_future(server.ask(secret="nobody-knows-it"))
        while not asked.done():
            await asyncio.sleep(0)
            await server.clock.advance(0.5)
        return asked.result()

    codes = [(await wait()).status_code for _ in range(30)]
    assert codes[:10] == [401] * 10
    assert 429 in codes
    server.views.down = True
    answer = await server.ask()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


WORDS = ("dose", "insulin", "diagnos", "triage", "treat", "carb", "eat ", "emergency", "you ", "should", "must")


async def test_a_model_that_says_more_than_numbers_is_not_heard(server: Server) -> None:
    """GL14: the output has no room for a diagnosis, a dose or a triage decision, whatever a model answers."""
    server.has(10, 5, 0)
    model = glucose.model()
    plain = model.decode

    def eager(*argv: Any, **named: Any) -> list[Finding]:
        changed = {"label": "take 5 units", "probabilities": {"hypoglycaemia": 0.99}, "score": 0.99}
        return [msgspec.structs.replace(each, **changed) for each in plain(*argv, **named)]

    object.__setattr__(model, "decode", eager)
    ask = Ask(server.triton, steps.FakeReleases(), server.clock)
    made = Forecasting(model, ask, server.views, server.clock)
    (told,) = await made.predict((MINE, False), [msgspec.convert({"horizons_minutes": [30]}, ForecastRequest)])
    text = msgspec.json.encode(told).decode()
    assert "units" not in text
    assert "0.99" not in text
    assert "hypo" not in text


def test_every_text_of_the_output_contract_is_known_and_advises_nothing() -> None:
    """GL14: free text is a reason, a notice or one of the project's own sentences."""
    free: dict[type[Base], set[str]] = {
        GlucosePrediction: {"subject_id", "reason", "model", "version", "notice", "use_status"},
        PredictedPoint: set(),
        Provenance: set(),
        GlucosePattern: {"says", "notice"},
        GlucoseMetricsRevised: {"subject_id", "notice"},
        GlycaemicFigures: set(),
        TimesInRanges: set(),
    }
    for kind, fields in free.items():
        assert {each.name for each in msgspec.structs.fields(kind) if each.type in (str, Any, dict)} == fields
    said = (forecasting.NOTHING, forecasting.FAILED, forecasting.REFUSES, TOO_OLD)
    assert not [word for sentence in said for word in WORDS if word in sentence.lower()]
