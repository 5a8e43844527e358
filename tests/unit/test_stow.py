"""STOW-RS on fakes: the statuses, what the answer names, the same identities as by C-STORE (S1, CC8)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from producers.dicomweb_access import Access
from producers.store_request import StoreRequest, judge
from schemas import envelope, ids, topics
from schemas.events import ImageObserved
from tests.support.dicom_objects import CT, EXPLICIT, data_set, encoded, part_10
from tests.support.dicomweb import KEY, RELATED, Web, related, web

STUDY = "1.2.826.0.1.3680043.8.498.2"
UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
async def pacs() -> AsyncIterator[Web]:
    """A sender."""
    async with web() as found:
        yield found


def events(pacs: Web) -> list[ImageObserved]:
    return [envelope.read(ImageObserved, each.value) for each in pacs.publisher.topics.get(topics.OBSERVED_DICOM, [])]


def named(answer: Any, tag: str) -> dict[str, int | None]:
    """Instance UIDs of a sequence with their failure or warning reasons."""
    return {
        item["00081155"]["Value"][0]: (item.get("00081197") or item.get("00081196") or {"Value": [None]})["Value"][0]
        for item in answer.get(tag, {}).get("Value", [])
    }


async def test_an_object_that_is_named_as_stored_is_durable_and_the_same_event_as_by_c_store(pacs: Web) -> None:
    answer = await pacs.store(part_10(data_set()))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert named(answer.json(), "00081199") == {UID: None}
    assert answer.json()["00081190"]["Value"] == [f"http://127.0.0.1:8080/studies/{STUDY}"]
    (event,) = events(pacs)
    assert event.blob.uri in pacs.blobs.durable
    data = encoded(data_set())
    same = judge(StoreRequest(data, EXPLICIT, CT, UID, 0, "MODALITY", "CLINSTREAM"), KEY, pacs.clock.now())
    assert event.event_id == ids.event_id(UID, ids.sha256_hex(data))
    assert same.answer.event_id == str(event.event_id)
    assert [uri for uri, _ in same.blobs] == [event.blob.uri], "one blob, whichever way it came"
    assert same.message.key == pacs.publisher.topics[topics.OBSERVED_DICOM][0].key


async def test_good_and_bad_objects_of_one_request_each_get_their_own_word(pacs: Web) -> None:
    other = part_10(data_set(SOPInstanceUID="1.2.3.4"))
    torn = part_10(data_set(SOPInstanceUID="1.2.3.5"))[:200]
    unlike = part_10(data_set(SOPInstanceUID="1.2.3.6")).replace(b"1.2.3.6\0", b"1.2.3.7\0", 1)
    answer = await pacs.store(other, torn, b"<html>", unlike, part_10(data_set()))
    assert answer.status_code == 202
    assert named(answer.json(), "00081199") == {"1.2.3.4": None, UID: None}
    assert named(answer.json(), "00081198") == {"1.2.3.7": 0xA900}
    assert [item["00081197"]["Value"] for item in answer.json()["0008119A"]["Value"]] == [[0xC000], [0xC000]]
    assert len(events(pacs)) == 2
    assert len(pacs.publisher.topics[topics.DEAD_UNPROCESSABLE]) == 3, "what is refused is kept aside"


async def test_only_refused_objects_are_a_conflict(pacs: Web) -> None:
    answer = await pacs.store(part_10(data_set()), study="1.2.3.999")
    assert answer.status_code == 409
    assert named(answer.json(), "00081198") == {UID: 0xA900}
    assert not events(pacs)
    assert (await pacs.store(part_10(data_set()), study=STUDY)).status_code == 200


async def test_a_warning_is_told_and_the_object_is_stored(pacs: Web) -> None:
    answer = await pacs.store(part_10(data_set(StudyInstanceUID=None)))
    assert answer.status_code == 202
    assert named(answer.json(), "00081199") == {UID: 0xB007}
    assert len(events(pacs)) == 1


async def test_while_the_broker_is_away_the_sender_is_told_when_to_come_again(pacs: Web) -> None:
    pacs.publisher.away = True
    answer = await pacs.store(*(part_10(data_set(SOPInstanceUID=f"1.2.3.{n}")) for n in range(20)))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    pacs.publisher.away = False
    assert (await pacs.store(part_10(data_set()))).status_code == 200


async def test_a_full_disk_is_told_before_the_body_is_read(pacs: Web) -> None:
    pacs.blobs.room = 10
    answer = await pacs.store(part_10(data_set()))
    assert answer.status_code == 503
    assert not events(pacs)


async def test_a_body_that_is_no_such_body_is_refused(pacs: Web) -> None:
    url = "/studies"
    whole = related(part_10(data_set()))
    assert (
        await pacs.client.post(url, content=whole, headers={"content-type": "application/dicom"})
    ).status_code == 415
    wrong = RELATED["content-type"].replace("application/dicom", "application/dicom+json")
    assert (await pacs.client.post(url, content=whole, headers={"content-type": wrong})).status_code == 415
    assert (await pacs.client.post(url, content=b"nothing", headers=RELATED)).status_code == 400
    cut = await pacs.client.post(url, content=related(part_10(data_set()), b"x")[:-20], headers=RELATED)
    assert cut.status_code == 400
    assert "1 objects" in cut.json()["error"]


async def test_many_objects_are_each_stored_once_in_the_order_of_the_answer(pacs: Web) -> None:
    uids = [f"1.2.3.{number}" for number in range(1, 60)]
    answer = await pacs.store(*(part_10(data_set(SOPInstanceUID=uid)) for uid in uids))
    assert answer.status_code == 200
    assert list(named(answer.json(), "00081199")) == uids
    assert sorted(event.object_id for event in events(pacs)) == sorted(uids)


async def test_a_token_is_asked_for_where_one_is_set() -> None:
    async with web(Access("secret"), base="http://pacs.example") as found:
        assert (await found.store(part_10(data_set()))).status_code == 401
        assert (await found.store(part_10(data_set()), authorization="Bearer wrong")).status_code == 401
        assert (await found.store(part_10(data_set()), authorization="Bearer secret")).status_code == 200


async def test_without_a_token_nobody_comes_in_by_another_name_of_this_machine() -> None:
    """A page in a browser here that has its own name resolve to loopback is a stranger."""
    async with web(base="http://rebound.example") as found:
        assert (await found.store(part_10(data_set()))).status_code == 403
        assert (await found.client.get("/studies")).status_code == 403
