"""What a door put aside, as letters and as bytes; files, audit and commands are tested on the real servers (CC28)."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from adapters import sealing
from adapters.fakes.blobs import FakeBlobs
from adapters.kafka import Message
from adapters.settings import KafkaSettings
from clinstream import aside, opening
from clinstream.reconciliation import log
from consumers import dead_letters
from consumers.dead_letters import Letter
from producers.aside import put_aside
from schemas import topics
from schemas.errors import MissingObject, Unprocessable, UserError

KEY = b"k" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATA = b"\x10\x00\x10\x00PN\x08\x00Doe^Jane"


def refused(data: bytes = DATA, *, key: bytes = b"", door: str = "door-dicom") -> tuple[Message, tuple[str, bytes]]:
    """As a door writes it: sealed with `key` where there is one."""
    media_type = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    if key:
        data, media_type = sealing.seal(key, sealing.QUARANTINE, data), media_type + sealing.MEDIA_TYPE_SUFFIX
    return put_aside(
        data, door=door, sender="CT1", media_type=media_type, error_class="Unprocessable", reason="broken", now=NOW
    )


def letter(message: Message, offset: int = 0) -> Letter:
    return dead_letters.read(message.topic, 0, offset, message.key, message.headers, message.value)


async def test_a_sealed_object_comes_out_as_it_was_sent_and_says_that_it_was_sealed() -> None:
    store = FakeBlobs()
    for key in (KEY, b""):
        message, (uri, kept) = refused(key=key)
        await store.put(uri, kept, durable=True)
        found = opening.kept(letter(message))
        assert found is not None
        assert (found.uri, found.sealed, found.sender) == (uri, bool(key), "CT1")
        assert found.clear_type == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
        assert await opening.clear(store, found, KEY) == DATA


async def test_another_key_other_bytes_and_a_place_that_is_empty_open_nothing() -> None:
    """Nothing of the content is in what is said."""
    store, (message, (uri, kept)) = FakeBlobs(), refused(key=KEY)
    found = opening.kept(letter(message))
    assert found is not None
    with pytest.raises(MissingObject):
        await opening.clear(store, found, KEY)
    await store.put(uri, kept, durable=True)
    with pytest.raises(Unprocessable, match="another key") as wrong:
        await opening.clear(store, found, b"x" * 32)
    assert "Doe" not in str(wrong.value)
    other = FakeBlobs()
    await other.put(uri, kept + b"!", durable=True)
    with pytest.raises(Unprocessable, match="not what was put aside"):
        await opening.clear(other, found, KEY)


@pytest.mark.parametrize(
    "value",
    [
        b"<html>",
        b'{"uri": "quarantine/ab/c"}',
        b'{"uri": "identities/ab/c", "sha256": "", "size_bytes": 1, "media_type": "x", "sender": ""}',
    ],
)
def test_what_is_no_record_of_kept_bytes_opens_nothing(value: bytes) -> None:
    """Whoever may write to the topic cannot have an identity or a picture opened."""
    message, _ = refused()
    made = dead_letters.read(topics.DEAD_UNPROCESSABLE, 0, 0, b"", message.headers, value)
    assert opening.kept(made) is None
    of_a_step = [("dead_topic", b"observed.dicom"), ("dead_observed_topic", b"observed.dicom")]
    assert opening.kept(dead_letters.read(topics.DEAD_FAILED, 0, 0, b"", of_a_step, message.value)) is None


def test_nothing_is_opened_without_a_reason() -> None:
    for why in ("", "  "):
        with pytest.raises(UserError, match="--why"):
            opening.asked("", why)
    who = opening.asked("", "asked by the vendor")
    assert (who.by_whom, who.why) == (who.user, "asked by the vendor")
    assert opening.asked(" B ", "x").by_whom == "B"


def test_each_object_that_a_door_refused_has_its_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """S2: none of them was ever at a place of the log, by which others are told apart."""
    sent = [refused(DATA), refused(DATA + b"2"), refused(DATA), refused(DATA, door="door-http")]
    records = [
        SimpleNamespace(
            topic=message.topic,
            partition=0,
            offset=offset,
            key=message.key,
            headers=dict(message.headers),
            value=message.value,
        )
        for offset, (message, _) in enumerate(sent)
    ]
    monkeypatch.setattr(log, "read", lambda *_: records)
    settings: Any = SimpleNamespace(kafka=KafkaSettings())
    found = aside.letters(settings)
    assert [each.id for each in found] == [f"unprocessable-0-{offset}" for offset in (0, 1, 3)]
    assert all(aside.at_the_door(each) for each in found)
    with pytest.raises(UserError, match="refused at the door"):
        aside.replay(settings, found[:1])
