"""The outbox relay: order, marking after the acknowledgement, waiting while something is away."""

import asyncio
import contextlib

import pytest

from adapters.database import OutboxRow
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from consumers.relay import Relay
from schemas.errors import BrokerUnavailable
from tests.support import steps


def row(number: int) -> OutboxRow:
    return OutboxRow(number, "releases.changed", b"key", [("ce_id", str(number).encode())], b"{}")


def ledger_of(*numbers: int) -> steps.FakeLedger:
    ledger = steps.FakeLedger()
    ledger.outbox += [row(number) for number in sorted(numbers)]
    return ledger


@pytest.fixture
async def publisher() -> FakePublisher:
    made = FakePublisher()
    await made.start()
    return made


def sent(publisher: FakePublisher) -> list[str]:
    return [dict(message.headers)["ce_id"].decode() for message in publisher.topics["releases.changed"]]


async def test_rows_are_sent_in_the_order_of_their_ids_and_marked(publisher: FakePublisher) -> None:
    ledger = ledger_of(3, 1, 2)
    assert await Relay(ledger, publisher, FakeClock()).once() == 3
    assert sent(publisher) == ["1", "2", "3"]
    assert ledger.sent == {1, 2, 3}


async def test_a_row_that_commits_late_with_a_lower_id_is_sent_too(publisher: FakePublisher) -> None:
    """Rule 7: ids commit out of order."""
    ledger = ledger_of(5)
    relay = Relay(ledger, publisher, FakeClock())
    await relay.once()
    ledger.outbox.append(row(4))
    await relay.once()
    assert sent(publisher) == ["5", "4"]


async def test_without_an_acknowledgement_nothing_is_marked() -> None:
    ledger = ledger_of(1)
    publisher = FakePublisher()  # not started: refuses
    with pytest.raises(BrokerUnavailable):
        await Relay(ledger, publisher, FakeClock()).once()
    assert not ledger.sent


async def test_the_relay_waits_while_the_database_is_away_and_goes_on_after(publisher: FakePublisher) -> None:
    clock = FakeClock()
    ledger = ledger_of(1)
    ledger.down = True
    running = asyncio.create_task(Relay(ledger, publisher, clock).run())
    await clock.advance(5)
    assert sent(publisher) == []
    ledger.down = False
    await clock.advance(5)
    assert sent(publisher) == ["1"]
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
