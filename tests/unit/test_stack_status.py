"""What `status` makes of what a process says of itself, and that every command can be asked what it does."""

import pytest
from typer.testing import CliRunner

from clinstream import __main__ as command_line
from clinstream import status
from clinstream.status import Scrape


def said(*samples: tuple[str, dict[str, str], float]) -> Scrape:
    return Scrape(True, {(name, frozenset(labels.items())): value for name, labels, value in samples})


READY = ("clinstream_ready", dict[str, str](), 1.0)


@pytest.mark.parametrize(
    ("scrape", "state", "detail"),
    [
        (None, "silent", ""),
        (Scrape(False, {}), "silent", ""),
        (said(("clinstream_ready", {}, 0.0)), "starting", ""),
        (said(READY), "ready", ""),
        (said(READY, ("clinstream_parked", {"lane": "record", "reason": "database"}, 0.0)), "ready", ""),
        (said(READY, ("clinstream_parked", {"lane": "record", "reason": "database"}, 1.0)), "parked", "database"),
        (said(READY, ("clinstream_braked", {"lane": "record"}, 1.0)), "braked", "clinstream resume"),
    ],
)
def test_a_process_is_what_it_says_it_is(scrape: Scrape | None, state: str, detail: str) -> None:
    details: list[str] = []
    assert status._state_of_service(scrape, details) == state
    assert detail in " ".join(details)
    assert bool(details) == bool(detail)


def test_values_are_summed_over_labels_and_the_oldest_age_counts() -> None:
    scrape = said(("in_flight", {"lane": "a"}, 2.0), ("in_flight", {"lane": "b"}, 3.0), ("age", {"lane": "a"}, 7.0))
    assert scrape.total("in_flight") == 5.0
    assert scrape.total("nothing") == 0.0
    assert scrape.largest("age") == 7.0
    assert scrape.largest("nothing") is None


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name: str) -> None:
    app = command_line.build([name])
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    names |= {str(group.name) for group in app.registered_groups}
    assert name in names
    answer = CliRunner().invoke(app, [name, "--help"])
    assert answer.exit_code == 0, answer.output
    assert "Usage" in answer.output


@pytest.mark.parametrize("former", command_line.FORMER)
def test_what_a_group_was_called_before_still_runs_and_is_not_shown(former: str) -> None:
    """Scripts go on; a person finds one name."""
    app = command_line.build([former])
    for name in ("list", "show", "expect", "expedite", "rebuild"):
        answer = CliRunner().invoke(app, [former, name, "--help"])
        assert answer.exit_code == 0, answer.output
    assert former not in CliRunner().invoke(app, ["--help"]).output
