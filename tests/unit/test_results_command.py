"""Times as a person types them after `results --since`."""

from datetime import UTC, datetime, timedelta

import pytest

from clinstream.commands.results import moment
from schemas.errors import UserError

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
