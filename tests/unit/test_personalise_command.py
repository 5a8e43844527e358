"""What `clinstream wearers personalise` prints; fitting itself is tested where it is done."""

import json

import pytest
from typer.testing import CliRunner

from adapters.settings import Settings
from clinstream import personalising, uploaders
from clinstream.__main__ import build
from schemas.errors import UserError

SINCE = {"trained_at": "2026-03-01T00:00:00+00:00"}
BETTER = {"outcome": "deployed", "active": True, "readings": 4000, "metrics": {"gain": 0.031}, **SINCE}
FEW = {"outcome": "skipped: insufficient data", "active": False, "readings": 9, "metrics": {}, **SINCE}
LINES = [{"subject_id": "sub-1", "version": "2.1.0", **BETTER}, {"subject_id": "sub-2", "version": "2.4.0", **FEW}]


def test_each_attempt_is_told_with_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """GL12, GL23: one wearer on request, those who are due by a timer; a line an attempt."""
    asked = []

    async def fit(settings: Settings, which: str, *, due: bool) -> list[dict[str, object]]:
        asked.append((which, due))
        return LINES

    monkeypatch.setattr(personalising, "fit", fit)
    machine = CliRunner().invoke(build(["wearers"]), ["wearers", "personalise", "W-017", "--json"])
    assert json.loads(machine.stdout) == LINES
    person = CliRunner().invoke(build(["wearers"]), ["wearers", "personalise", "--due"])
    assert "deployed" in person.stdout
    assert "3.1%" in person.stdout
    assert asked == [("W-017", False), ("", True)]


def test_the_attempts_of_a_wearer_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """GL21: which is in use, since when, from how many readings."""

    async def attempts(settings: Settings, which: str) -> list[dict[str, object]]:
        assert which == "W-017"
        return LINES[:1]

    monkeypatch.setattr(personalising, "attempts", attempts)
    done = CliRunner().invoke(build(["wearers"]), ["wearers", "models", "W-017"])
    assert "2026-03-01T00:00" in done.stdout
    assert "yes" in done.stdout


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "UTC+2"])
def test_a_zone_that_does_not_exist_is_told(zone: str) -> None:
    """GL6: before anything is written."""
    uploaders.check_zone("Europe/Berlin")
    uploaders.check_zone("")
    with pytest.raises(UserError, match="like Europe/Berlin"):
        uploaders.check_zone(zone)
