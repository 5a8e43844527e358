"""Requests for storage commitment in PostgreSQL: leased to one, taken over, repeated, reported, in the ledger (S1)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapters.database import Database
from adapters.database.commitments import Commitment
from adapters.database.studies import Arrived
from adapters.fakes.clock import FakeClock
from adapters.settings import Settings
from schemas import ids
from schemas.studies import Quiet
from tests.contract.test_database_instances import instance

CT = "1.2.840.10008.5.1.4.1.1.2"
OTHERS, LEASE = timedelta(seconds=3), timedelta(seconds=120)


class Requests:
    """A database whose clock the test moves."""

    def __init__(self, settings: Settings) -> None:
        self.clock = FakeClock()
        self.database = Database.open(settings, self.clock)
        self.archive = self.database.archive

    async def ask(self, transaction: str, *uids: str) -> Commitment:
        """A request, due in a second."""
        asked = Commitment("CT1", transaction, "CLINSTREAM", tuple((CT, uid) for uid in uids), self.clock.now())
        await self.archive.ask_commitment(asked, self.clock.now() + timedelta(seconds=1))
        return asked

    async def claim(self, *mine: str) -> list[str]:
        """Transactions that a process gets."""
        found = await self.archive.claim_commitments(others=OTHERS, lease=LEASE, mine=mine, limit=10)
        return sorted(each.transaction_uid for each in found)


@pytest.fixture
async def requests(fresh_database: Settings) -> AsyncIterator[Requests]:
    """None yet."""
    opened = Requests(fresh_database)
    yield opened
    await opened.database.close()


async def test_a_request_is_its_process_own_first_then_anybodys_and_leased_to_one(requests: Requests) -> None:
    await requests.ask("1.9", "1.1")
    assert await requests.claim("1.9") == [], "not before its time"
    await requests.clock.advance(1)
    assert await requests.claim() == [], "the others give its process a start"
    assert await requests.claim("1.9") == ["1.9"]
    await requests.clock.advance(60)
    assert await requests.claim("1.9") == await requests.claim() == [], "leased"
    await requests.clock.advance(63)
    assert await requests.claim() == ["1.9"], "its process died: another one takes it"


async def test_a_reported_request_rests_until_it_is_asked_again(requests: Requests) -> None:
    asked = await requests.ask("1.9", "1.1", "1.2")
    await requests.clock.advance(10)
    assert await requests.claim() == ["1.9"]
    await requests.archive.commitment_reported(asked, ["1.2"], requests.clock.now() + timedelta(days=30))
    await requests.clock.advance(1000)
    assert await requests.claim("1.9") == []
    again = await requests.ask("1.9", "1.1")
    await requests.archive.commitment_reported(asked, [], requests.clock.now())
    await requests.clock.advance(10)
    assert await requests.claim() == ["1.9"], "an answer to the first request is none to the second"
    await requests.archive.put_off(again, requests.clock.now(), failed=True, give_up=True)
    await requests.clock.advance(1000)
    assert await requests.claim("1.9") == []


async def test_what_is_kept_is_read_from_what_was_noted_and_audited(requests: Requests) -> None:
    await requests.archive.take([instance(10), instance(11)], (), (), Quiet())
    asked = await requests.ask("1.9", "1.1.1.10", "1.5")
    kept = await requests.archive.kept(asked)
    assert {uid: (each.sop_class_uid, each.blob_uri) for uid, each in kept.items()} == {
        "1.1.1.10": (CT, "pixels/aa/10")
    }


async def test_a_request_says_what_a_study_should_have(requests: Requests) -> None:
    came = [Arrived("stu-s", "CT1", "1.1", ids.event_id("1.1", "c"), requests.clock.now())]
    await requests.archive.take((), came, (), Quiet())
    await requests.archive.expect_committed(await requests.ask("1.9", "1.1", "1.2"))
    (line,) = await requests.archive.study(["stu-s"])
    assert (line.state, line.listed, line.missing) == ("receiving", ("1.1", "1.2"), 1)
