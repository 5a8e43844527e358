"""`clinstream rebuild`: the projections after it are those before it, from a real log."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from adapters.clock import SystemClock
from adapters.database import Database, ResultFilter, Visible
from adapters.database.instances import Match
from adapters.kafka import Message
from adapters.pixels import blob_uri, open_store
from schemas import ids
from schemas.events import Answer, BlobRef, OutcomeDecided, ResultAmended, ResultWithdrawn
from tests.support import log
from tests.support.answers import answer, outcome
from tests.support.dicom_objects import data_set, part_10
from tests.support.installation import Installation

TASK = "chest_xray"
VISIBLE = (
    "SELECT object_id, content, task, revision, answer_id, event_id, supersedes, subject_id, simulated, visible_at "
    "FROM visible ORDER BY 1, 2, 3"
)
OUTCOMES = (
    "SELECT event_id, task, fate, reason, answer_id, object_id, content, subject_id, origin_topic, origin_partition, "
    "origin_offset FROM outcomes ORDER BY 1, 2"
)
ANSWERS = "SELECT a.*, '' FROM answers a ORDER BY answer_id"


def at(seconds: float, **changes: Any) -> dict[str, Any]:
    """An answer's hops with the moment at which it was recorded."""
    return {
        "hops": {"observed": 1.7e9, "prepared": 1.7e9 + 1, "inferred": 1.7e9 + 2, "recorded": 1.7e9 + seconds},
        **changes,
    }


class Steps:
    """Does to database and log what the consumers do."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def run(self) -> None:
        """Two objects with several contents, sightings, a redelivery, a shadow, a decision of each kind, a replay."""
        first, second = answer("1.1", "a", task=TASK, **at(3)), answer("1.1", "b", task=TASK, **at(4))
        seen = answer("1.1", "a", sender="other", task=TASK, **at(5))
        await self.images([first])
        await self.images([second, seen])
        await self.images([answer("1.1", "a", version="2.0.0", task=TASK, **at(6))])
        await self.images(
            [answer("1.2", task=TASK, arm="shadow", **at(7)), answer("1.3", task=TASK, simulated=True, **at(7))]
        )
        await self.vitals([answer(f"sub-{n}@t", **at(8 + n // 10)) for n in range(40)])
        dead = answer("1.4", task=TASK, **at(20))
        await self.decide(
            [outcome(ids.event_id("1.5", "content"), "refused", TASK), outcome(dead.event_id, "dead", "*")]
        )
        await self.decide([outcome(ids.event_id("1.6", "content"), "not_applicable", "*")])
        await self.decide([outcome(ids.event_id("1.6", "content"), "not_applicable", "*")])
        await self.images([dead])

    async def images(self, answers: Sequence[Answer]) -> None:
        """Answers on their topic, recorded, and the winners published."""
        for one in answers:
            hops = {name: seconds for name, seconds in one.hops.items() if name != "recorded"}
            observed = log.image(one.object_id, one.content, event_id=one.event_id)
            await self.put([observed, log.produced(msgspec.structs.replace(one, hops=hops))])
        await self._record(answers)

    async def vitals(self, answers: Sequence[Answer]) -> None:
        """Recorded in one step: what does not win is on no topic but `outcomes`."""
        await self.put([log.vitals(one.object_id, one.content) for one in answers])
        await self._record(answers)

    async def decide(self, outcomes: Sequence[OutcomeDecided]) -> None:
        """In the database and on the log."""
        async with self._database() as database:
            await database.decide(outcomes)
        await self.put([log.decided(each) for each in outcomes])

    async def put(self, messages: Sequence[Message]) -> None:
        """Publishes."""
        await log.put(self._installation.settings, messages)

    async def _record(self, answers: Sequence[Answer]) -> None:
        async with self._database() as database:
            recorded = await database.record(answers)
        await self.put([log.published(row.result) for row in recorded if row.result and row.won])

    def _database(self) -> "Opened":
        return Opened(self._installation)


class Opened:
    """A database for one block."""

    def __init__(self, installation: Installation) -> None:
        self._database = Database.open(installation.settings, SystemClock())

    async def __aenter__(self) -> Database:
        return self._database

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()


def snapshot(installation: Installation) -> dict[str, list[tuple[object, ...]]]:
    """The projections, without the moments at which rows were written."""
    return {name: installation.sql(query) for name, query in (("visible", VISIBLE), ("outcomes", OUTCOMES))}


def settled(installation: Installation) -> dict[str, list[tuple[object, ...]]]:
    """A snapshot after one rebuild: from then on every row has the time that its answer says."""
    found = installation.command("rebuild", "--json")
    assert found.exit_code == 0, found.output
    return snapshot(installation)


def test_dropped_projections_come_back_as_they_were(installation: Installation) -> None:
    """Delivery rule 13: the log is the truth."""
    asyncio.run(Steps(installation).run())
    before = snapshot(installation)
    stripped = [row[:-1] for row in before["visible"]]
    answers = {row[0] for row in installation.sql(ANSWERS)}
    installation.sql("DROP TABLE answers, visible", "DELETE FROM outcomes", "DELETE FROM images")
    found = installation.command("rebuild", "--json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["remade"] == ["answers", "visible"]
    after = snapshot(installation)
    assert [row[:-1] for row in after["visible"]] == stripped
    assert after["outcomes"] == before["outcomes"]
    assert {row[0] for row in installation.sql(ANSWERS)} == answers
    assert len(installation.sql("SELECT 1 FROM images")) == 6
    assert settled(installation) == after, "a second rebuild changes nothing"


def test_after_a_rebuild_the_services_go_on_where_they_were(installation: Installation) -> None:
    steps = Steps(installation)
    asyncio.run(steps.run())
    installation.sql("DROP TABLE visible")
    assert installation.command("rebuild").exit_code == 0
    asyncio.run(steps.images([answer("1.1", "c", task=TASK)]))

    async def ask() -> dict[tuple[str, str, str], Visible]:
        async with Opened(installation) as database:
            return await database.already_visible([("1.1", "b", TASK), ("1.1", "c", TASK)])

    found = asyncio.run(ask())
    last = found["1.1", "c", TASK].result
    assert (last.revision, last.supersedes) == (3, found["1.1", "b", TASK].result.result_id)


def test_what_was_committed_and_not_yet_published_is_kept_unless_the_log_alone_is_asked_for(
    installation: Installation,
) -> None:
    steps = Steps(installation)
    unpublished = answer("sub-9@t", **at(1))

    async def work() -> None:
        async with Opened(installation) as database:
            await database.record([unpublished])

    asyncio.run(steps.vitals([answer("sub-8@t", **at(1))]))
    asyncio.run(work())
    assert len(settled(installation)["visible"]) == 2
    assert installation.command("rebuild", "--only-log").exit_code == 0
    assert [row[0] for row in snapshot(installation)["visible"]] == ["sub-8@t"]


def test_a_withdrawn_result_stays_withdrawn_and_an_amended_one_amended(installation: Installation) -> None:
    one = answer("1.1", task=TASK, **at(1))
    withdrawn = ResultWithdrawn(
        result_id=one.answer_id,
        object_id="1.1",
        subject_id=one.subject_id,
        task=TASK,
        revision=1,
        reason="wrong patient",
    )
    steps = Steps(installation)
    asyncio.run(steps.images([one]))
    amended = ResultAmended(
        result_id=one.answer_id,
        object_id="1.1",
        subject_id=one.subject_id,
        task=TASK,
        revision=1,
        changed={"assessment": "rejected"},
        reason="assessed",
    )
    changes = [(amended, f"{one.answer_id}/amended/1"), (withdrawn, f"{one.answer_id}/withdrawn")]
    asyncio.run(steps.put([log.message(f"results.{TASK}", event, name, one.subject_id) for event, name in changes]))
    installation.sql("DELETE FROM visible")
    settled(installation)
    found = installation.sql("SELECT withdrawn_why, withdrawn_at IS NOT NULL, amended->>'assessment' FROM visible")
    assert found == [("wrong patient", True, "rejected")]


def test_records_that_are_no_events_do_not_stop_it_and_decisions_stay(installation: Installation) -> None:
    steps = Steps(installation)

    async def work() -> None:
        await steps.images([answer("1.1", task=TASK, **at(1))])
        await steps.put([Message("answers", b"k", [], b"not json"), Message("outcomes", b"k", [], b"{}")])
        async with Opened(installation) as database:
            await database.set_release(TASK, "1.0.0", "PROMOTED", by_whom="t", why="t")

    asyncio.run(work())
    told = json.loads(installation.command("rebuild", "--json").stdout)
    assert (told["unread"], told["after"]["visible"]) == (2, 1)
    assert len(installation.sql("SELECT 1 FROM releases")) == 1
    assert len(installation.sql("SELECT 1 FROM outbox WHERE sent_at IS NULL")) == 1, "nothing is sent by a rebuild"


def test_readers_see_the_old_rows_and_writers_wait_while_it_runs(installation: Installation) -> None:
    from adapters.database import rebuilding

    one, late = answer("1.1", task=TASK, **at(1)), answer("1.2", task=TASK, **at(2))
    steps = Steps(installation)

    async def work() -> UUID:
        await steps.images([one])
        async with Opened(installation) as database:
            async with rebuilding.rebuild(installation.settings, SystemClock()) as rebuild:
                assert len(await database.results(ResultFilter())) == 1
                writing = asyncio.ensure_future(database.record([late]))
                done, _ = await asyncio.wait([writing], timeout=0.3)
                assert not done
                await rebuild.add_answers([one])
            (row,) = await writing
            assert row.result is not None
            return row.result.result_id

    assert asyncio.run(work()) == late.answer_id
    assert [row[0] for row in snapshot(installation)["visible"]] == ["1.1", "1.2"]


def test_patients_and_studies_are_read_from_the_stored_images_when_asked_for(installation: Installation) -> None:
    data = part_10(data_set(PatientID="P-9", PatientName="Doe^Jane", AccessionNumber="A-9"))
    digest = ids.sha256_hex(data)
    blob = BlobRef(uri=blob_uri("pixels", digest), sha256=digest, size_bytes=len(data), media_type="application/dicom")
    gone = BlobRef(uri=blob_uri("pixels", "0" * 64), sha256="0" * 64, size_bytes=1, media_type="application/dicom")

    async def seed() -> None:
        store = open_store(installation.settings.store_url)
        await store.put(blob.uri, data, durable=True)
        await store.close()
        await log.put(installation.settings, [log.image("1.9", blob=blob), log.image("1.10", blob=gone)])

    async def look_up(number: str) -> tuple[set[str], set[str]]:
        async with Opened(installation) as database:
            return await database.look_up(number, by_whom="tester", purpose="a test")

    async def searched(patient: str) -> list[str]:
        async with Opened(installation) as database:
            matches = [Match("patient_id", "exact", (patient,))]
            return [each.sop_instance_uid for each in await database.archive.locate(matches, by_whom="tester")]

    asyncio.run(seed())
    installation.sql("TRUNCATE identities, studies, instances, study_ledger, study_objects")
    for studied in (2, 0):
        done = installation.command("rebuild", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["studied"] == studied, "once, what the ledger of studies lacks"
    lines = installation.sql("SELECT study_id, sender, received FROM study_ledger ORDER BY study_id")
    assert [line[0] for line in lines] == ["stu-1.10", "stu-1.9"]
    assert [line[2] for line in lines] == [1, 1], "also the one that the store has lost"
    assert asyncio.run(searched("P-9")) == ["1.9"]
    assert asyncio.run(look_up("P-9")) == (set(), set())
    assert installation.command("rebuild", "--identities").exit_code == 0
    assert asyncio.run(look_up("P-9")) == (set(), {"sub-1.9"})
    assert asyncio.run(look_up("A-9")) == ({"stu-1.9"}, set())
