"""Choosing a version by the release log, with the database and the clock as fakes."""

import asyncio
from datetime import UTC, datetime

import pytest

from adapters.database import Version
from adapters.fakes.clock import FakeClock
from adapters.fakes.database import FakeDatabase
from adapters.releases import Choice, ReleaseBook, position
from schemas.errors import DatabaseUnavailable
from tests.support.steps import card

SUBJECTS = [f"sub-{n}" for n in range(2000)]


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    """Empty."""
    return FakeDatabase(clock)


def trained(number: str, threshold: float) -> Version:
    """A trained version of the task `one` with an operating point of its own."""
    point = {"threshold": threshold, "sensitivity": [0.8, 0.7, 0.9], "specificity": [0.7, 0.6, 0.8], "measured_on": "t"}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Version("one", number, None, "weights/ab/x", "x", point, (0.1, 0.3), "1", {}, "", at)


async def put(database: FakeDatabase, version: str, state: str, share: float = 0.0) -> int:
    """A decision on the task `one`."""
    made = await database.set_release("one", version, state, share=share, by_whom="t", why="t")  # type: ignore[arg-type]
    return made.epoch


async def test_without_decisions_the_card_answers_as_epoch_zero(database: FakeDatabase, clock: FakeClock) -> None:
    book = ReleaseBook(database, clock, [card("one", "image")])
    await book.refresh()
    assert book.choose("one", "sub-1") == Choice("1.0.0", "serving", 0)


async def test_before_the_log_was_read_nothing_is_chosen(database: FakeDatabase, clock: FakeClock) -> None:
    """The card's own version may have been rolled back long ago."""
    database.down = True
    book = ReleaseBook(database, clock, [card("one", "image")])
    await book.start()
    with pytest.raises(DatabaseUnavailable):
        book.choose("one", "sub-1")
    database.down = False
    await clock.advance(1.0)
    assert book.choose("one", "sub-1").version == "1.0.0"
    await book.stop()


async def test_a_task_without_card_and_decision_is_unavailable(database: FakeDatabase, clock: FakeClock) -> None:
    book = ReleaseBook(database, clock)
    await book.refresh()
    with pytest.raises(DatabaseUnavailable, match="one"):
        book.choose("one", "sub-1")


async def test_a_canary_takes_its_share_of_the_subjects_and_always_the_same(
    database: FakeDatabase, clock: FakeClock
) -> None:
    await put(database, "1.0.0", "PROMOTED")
    epoch = await put(database, "2.0.0", "CANARY", 0.1)
    books = [ReleaseBook(database, clock) for _ in range(2)]
    for book in books:
        await book.refresh()
    chosen = [books[0].choose("one", subject) for subject in SUBJECTS]
    assert chosen == [books[1].choose("one", subject) for subject in SUBJECTS]
    canaries = [choice for choice in chosen if choice.arm == "canary"]
    assert 0.07 < len(canaries) / len(SUBJECTS) < 0.13
    assert set(canaries) == {Choice("2.0.0", "canary", epoch)}


async def test_a_growing_share_keeps_the_subjects_it_had(database: FakeDatabase, clock: FakeClock) -> None:
    await put(database, "1.0.0", "PROMOTED")
    book = ReleaseBook(database, clock)
    taken = []
    for share in (0.05, 0.25, 1.0):
        await put(database, "2.0.0", "CANARY", share)
        await book.refresh()
        taken.append({subject for subject in SUBJECTS if book.choose("one", subject).arm == "canary"})
    assert taken[0] < taken[1] < taken[2] == set(SUBJECTS)


def test_a_subject_stands_elsewhere_for_another_task() -> None:
    assert position("one", "sub-1") != position("two", "sub-1")
    assert all(0 <= position("one", subject) < 1 for subject in SUBJECTS)


async def test_three_processes_follow_a_promotion_within_two_seconds(database: FakeDatabase, clock: FakeClock) -> None:
    """Delivery rule 12: staleness of at most 2 s."""
    await put(database, "1.0.0", "PROMOTED")
    books = [ReleaseBook(database, clock) for _ in range(3)]
    for book in books:
        await book.start()
    epoch = await put(database, "2.0.0", "PROMOTED")
    await clock.advance(2.0)
    assert {book.choose("one", "sub-1") for book in books} == {Choice("2.0.0", "serving", epoch)}
    await put(database, "1.0.0", "PROMOTED")
    await clock.advance(2.0)
    assert {book.choose("one", "sub-1").version for book in books} == {"1.0.0"}, "a rollback is one row"
    await asyncio.gather(*(book.stop() for book in books))


async def test_with_the_database_away_the_last_epoch_stays_and_its_age_shows(
    database: FakeDatabase, clock: FakeClock
) -> None:
    epoch = await put(database, "1.0.0", "PROMOTED")
    book = ReleaseBook(database, clock)
    await book.start()
    database.down = True
    await clock.advance(60.0)
    assert book.choose("one", "sub-1") == Choice("1.0.0", "serving", epoch)
    assert (book.age_s() or 0) >= 59
    database.down = False
    await clock.advance(2.0)
    assert (book.age_s() or 0) <= 2
    await book.stop()


async def test_shadows_are_named_and_never_chosen(database: FakeDatabase, clock: FakeClock) -> None:
    await put(database, "1.0.0", "PROMOTED")
    await put(database, "3.0.0", "SHADOW")
    book = ReleaseBook(database, clock)
    await book.refresh()
    assert book.shadows("one") == ["3.0.0"]
    assert {book.choose("one", subject).version for subject in SUBJECTS[:100]} == {"1.0.0"}


async def test_a_trained_version_answers_by_its_own_operating_point(database: FakeDatabase, clock: FakeClock) -> None:
    """GL13, S5: a threshold belongs to the weights that it was chosen for."""
    own = card("one", "image")
    book = ReleaseBook(database, clock, [own])
    await database.ensure_starters([own])
    await book.refresh()
    assert book.card(own, own.version) is own
    with pytest.raises(DatabaseUnavailable):
        book.card(own, "1.1.0")
    await database.add_version(trained("1.1.0", 0.2), by_whom="t", why="t")
    await put(database, "1.1.0", "PROMOTED", 1.0)
    await book.refresh()
    found = book.card(own, book.choose("one", SUBJECTS[0]).version)
    assert (found.version, found.threshold, found.abstention_band) == ("1.1.0", 0.2, (0.1, 0.3))
