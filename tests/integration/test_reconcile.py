"""`clinstream reconcile`, `results` and `where` against a real log and a real database."""

import asyncio
import json
import time
from pathlib import Path

from adapters.clock import SystemClock
from adapters.database import Database, ImageIdentity
from adapters.kafka import Message
from clinstream.reconciliation.positions import INFER, PREPARE, RECORD, SIGNALS
from schemas import ids, topics
from schemas.events import Answer, OutcomeDecided
from tests.support import log
from tests.support.answers import answer, outcome
from tests.support.installation import Installation

TASK = "chest_xray"


def chain(one: Answer) -> list[Message]:
    """The records of an image up to its answer."""
    return [log.image(one.object_id), log.prepared(one.object_id, one.task), log.produced(one)]


def stored(installation: Installation, answers: list[Answer], outcomes: list[OutcomeDecided]) -> list[Message]:
    """Records the answers and outcomes, and returns what is to be published of them."""

    async def work() -> list[Message]:
        database = Database.open(installation.settings, SystemClock())
        recorded = await database.record(answers)
        await database.decide(outcomes)
        await database.close()
        return [log.published(row.result) for row in recorded if row.result and row.won]

    return asyncio.run(work())


def commit_all(installation: Installation) -> None:
    """As if every group had come to the end."""
    log.commit(installation.settings, PREPARE["routine"], {topics.OBSERVED_DICOM: None})
    log.commit(installation.settings, SIGNALS, {topics.OBSERVED_VITALS: None})
    log.commit(installation.settings, INFER[topics.WORK_ROUTINE], {topics.WORK_ROUTINE: None})
    log.commit(installation.settings, RECORD, {topics.ANSWERS: None})


def test_every_acknowledged_event_is_counted_once_and_a_loss_is_named(
    installation: Installation, tmp_path: Path
) -> None:
    answered = [answer(f"1.{n}", task=TASK) for n in range(20)]
    stays = [answer(f"sub-{n}@t") for n in range(20)]
    fates = ("refused", "not_applicable", "duplicate_of", "dead")
    others = [outcome(ids.event_id(f"2.{fate}", "content"), fate, "*") for fate in fates]  # type: ignore[arg-type]
    messages = stored(installation, answered + stays, others)
    for one in answered:
        messages += chain(one)
    messages += [log.vitals(one.object_id) for one in stays] + [log.image(f"2.{fate}") for fate in fates]
    messages += [log.image("3.lost"), log.image("1.0")]
    asyncio.run(log.put(installation.settings, messages))
    commit_all(installation)
    moving = answer("4.answers", task=TASK)
    more = [log.image("4.observed"), log.image("4.work"), log.prepared("4.work", TASK), *chain(moving)]
    asyncio.run(log.put(installation.settings, more))

    found = installation.command("reconcile", "--json")
    lost = str(ids.event_id("3.lost", "content"))
    assert json.loads(found.stdout) == {
        "accepted": 48,
        "answered": 40,
        "refused": 1,
        "not_applicable": 1,
        "duplicate_of": 1,
        "dead": 1,
        "in_flight": 3,
        "lost": 1,
        "duplicates": 0,
        "lost_ids": [lost],
    }
    assert found.exit_code == 1
    assert lost in installation.command("reconcile").stdout

    sent = tmp_path / "sent"
    sent.write_text(f'{{"path": "a", "status": "accepted", "event_id": "{answered[0].event_id}"}}\n2.dead\n5.never\n')
    told = json.loads(installation.command("reconcile", "--json", "--acknowledged", str(sent)).stdout)
    assert (told["accepted"], told["answered"], told["dead"], told["lost"]) == (3, 1, 1, 1)
    assert told["lost_ids"] == ["5.never"]


def test_a_clean_log_has_the_published_keys_and_exit_code_zero(installation: Installation) -> None:
    one = answer("1.1", task=TASK)
    asyncio.run(log.put(installation.settings, [*stored(installation, [one], []), *chain(one)]))
    found = installation.command("reconcile", "--json", "--wait", "0")
    assert (found.exit_code, json.loads(found.stdout)["answered"]) == (0, 1)
    assert len(json.loads(found.stdout)) == 9


def test_waiting_ends_when_nothing_is_in_flight_and_at_the_latest_after_the_time_given(
    installation: Installation,
) -> None:
    asyncio.run(log.put(installation.settings, [log.image("1.1")]))
    began = time.monotonic()
    found = installation.command("reconcile", "--json", "--wait", "2")
    assert json.loads(found.stdout)["in_flight"] == 1
    assert time.monotonic() - began >= 2
    stored(installation, [], [outcome(ids.event_id("1.1", "content"), "refused", TASK)])
    assert json.loads(installation.command("reconcile", "--json", "--wait", "600").stdout)["refused"] == 1


def test_a_result_published_twice_for_one_content_fails(installation: Installation) -> None:
    """S4: the table cannot hold two, so what subscribers were sent is counted."""
    one, two = answer("1.1", task=TASK, sender="A"), answer("1.1", task=TASK, sender="B")
    (first,) = stored(installation, [one], [])
    value = first.value.replace(str(one.answer_id).encode(), str(two.answer_id).encode())
    copy = Message(first.topic, first.key, first.headers, value)
    asyncio.run(log.put(installation.settings, [first, copy]))
    found = installation.command("reconcile", "--json")
    assert (found.exit_code, json.loads(found.stdout)["duplicates"]) == (1, 1)


def test_results_lists_what_is_visible_with_its_lineage(installation: Installation) -> None:
    stored(installation, [answer("1.1", task=TASK), answer("sub-1@t"), answer("s", simulated=True)], [])
    rows = json.loads(installation.command("results", "--json").stdout)
    assert {row["object_id"] for row in rows} == {"1.1", "sub-1@t"}
    assert rows[0]["answer"]["observed"] == {"topic": "observed.vitals", "partition": 2, "offset": 41}
    only = json.loads(installation.command("results", "--json", "--model", TASK, "--since", "1h").stdout)
    assert [row["object_id"] for row in only] == ["1.1"]
    assert len(json.loads(installation.command("results", "--json", "--simulated").stdout)) == 3
    assert json.loads(installation.command("results", "--json", "--subject", "sub-nobody").stdout) == []
    assert TASK in installation.command("results").stdout


def test_a_refusal_is_listed_with_its_code_and_a_result_shown_with_its_warnings(installation: Installation) -> None:
    """CC10, CC11, CC12, CC26."""
    one = answer("1.1", task=TASK, abstained=True, reason="the age is not known", warnings=("the height is odd",))
    turned = outcome(ids.event_id("1.2", "content"), "refused", TASK, object_id="1.2", code="rotated")
    stored(installation, [one], [turned])
    (row,) = json.loads(installation.command("results", "--refused", "--json").stdout)
    assert (row["object_id"], row["task"], row["code"], row["fate"]) == ("1.2", TASK, "rotated", "refused")
    listed = installation.command("results").stdout
    assert "abstained" in listed
    assert "rotated" in listed, "a person sees what was refused without asking"
    shown = json.loads(installation.command("results", "show", str(one.answer_id), "--json").stdout)
    assert (shown["comparison"], shown["prior"]) == ("", None)
    assert shown["answer"]["warnings"] == ["the height is odd"]
    told = installation.command("results", "show", str(one.answer_id)).stdout
    assert "because the age is not known" in told
    assert "warning: the height is odd" in told
    assert installation.command("results", "show", str(turned.event_id)).exit_code == 1
    (way,) = json.loads(installation.command("where", str(turned.event_id), "--json").stdout)
    assert way["outcomes"][0]["code"] == "rotated"


def test_where_follows_an_image_by_accession_object_event_and_result_and_says_where_it_waits(
    installation: Installation,
) -> None:
    one, waiting = answer("1.7", task=TASK), ids.event_id("1.8", "content")
    asyncio.run(log.put(installation.settings, [*stored(installation, [one], []), *chain(one)]))
    commit_all(installation)
    asyncio.run(log.put(installation.settings, [log.image("1.8")]))

    async def note() -> None:
        database = Database.open(installation.settings, SystemClock())
        person = ImageIdentity(
            one.event_id, "1.7", one.subject_id, "stu-1.7", "pixels/aa/aa", accession_number="A-77", patient_id="P-7"
        )
        await database.note_images([person])
        await database.close()

    asyncio.run(note())
    for word in ("A-77", "P-7", "1.7", str(one.event_id), str(one.answer_id), one.subject_id):
        found = installation.command("where", word, "--json")
        (way,) = json.loads(found.stdout)
        assert way["event_id"] == str(one.event_id), word
        assert [stop["topic"] for stop in way["stops"]] == [
            "observed.dicom",
            "work.routine",
            "answers",
            "results.chest_xray",
        ]
        assert (way["blob_uri"], way["waits"]) == ("pixels/aa/aa", None)
        assert way["results"][0]["result_id"] == str(one.answer_id)
    (way,) = json.loads(installation.command("where", "1.8", "--json").stdout)
    assert (way["event_id"], way["waits"]["group"]) == (str(waiting), PREPARE["routine"])
    assert PREPARE["routine"] in installation.command("where", "1.8").stdout.replace("\n", "")
    audited = installation.sql("SELECT count(*) FROM audit WHERE action = 'identities.look_up'")
    assert int(str(audited[0][0])) >= 2, "the lookups by accession and patient are audited"
    assert installation.command("where", "nothing of the kind").exit_code == 1
