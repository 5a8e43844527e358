"""Times as a person types them after `results --since`."""

from datetime import UTC, datetime, timedelta

import pytest

from clinstream.commands.results import moment
from clinstream.told import score_of, told
from schemas.errors import UserError
from schemas.events import ForecastPoint
from tests.support.answers import answer

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", NOW - timedelta(minutes=15)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-01-31T08:00Z", NOW - timedelta(hours=4)),
        ("2026-01-31T08:00", NOW - timedelta(hours=4)),
        ("2026-01-31T09:00+01:00", NOW - timedelta(hours=4)),
    ],
)
def test_an_age_or_a_time_is_a_moment_in_utc(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["yesterday", "15", "m", ""])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="15m"):
        moment(text, NOW)


def test_a_forecast_is_said_with_its_intervals_and_an_answer_without_a_score_has_none() -> None:
    """GL1: expected and interval at 30, 60 and 120 minutes; a stale answer says no number."""
    points = tuple(
        ForecastPoint(horizon_minutes=minutes, glucose_mg_dl=112.4, low=88.0, high=139.6, coverage=0.9)
        for minutes in (15, 30, 60, 120)
    )
    forecast = answer(label="forecast", score=0.0, probabilities={}, forecast=points)
    assert told(forecast) == "30 min 112 (88-140), 60 min 112 (88-140), 120 min 112 (88-140)"
    assert score_of(forecast) == ""
    assert (told(answer(label="stale")), score_of(answer())) == ("stale", "0.625")
