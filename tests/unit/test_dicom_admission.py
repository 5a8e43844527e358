"""Who may have an association with the DICOM door (CC14: allow-list of calling AE titles and addresses)."""

import pytest

from producers.dicom_admission import NOT_CALLED, NOT_CALLING, admission
from schemas.errors import SettingsError


@pytest.mark.parametrize(
    ("senders", "calling", "address", "taken"),
    [
        ([], "ANYBODY", "203.0.113.9", True),
        (["CT1"], "CT1", "203.0.113.9", True),
        (["CT1"], "CT2", "203.0.113.9", False),
        (["CT_*"], "CT_EAST", "10.0.0.1", True),
        (["CT1@10.0.0.5"], "CT1", "10.0.0.5", True),
        (["CT1@10.0.0.5"], "CT1", "10.0.0.6", False),
        (["*@10.1.0.0/16"], "WHOEVER", "10.1.200.3", True),
        (["*@10.1.0.0/16"], "WHOEVER", "::ffff:10.1.200.3", True),
        (["*@10.1.0.0/16", "MR"], "MR", "10.2.0.1", True),
        (["*@fd00::/8"], "MR", "fd12::1%eth0", True),
        (["*@fd00::/8"], "MR", "10.2.0.1", False),
    ],
)
def test_a_sender_is_welcome_by_title_and_address(senders: list[str], calling: str, address: str, taken: bool) -> None:
    refusal = admission(senders, []).refusal(calling, "CLINSTREAM", address)
    assert (refusal is None) == taken
    assert taken or (refusal is not None and refusal.code == NOT_CALLING)


def test_a_title_that_the_door_does_not_have_is_refused_with_its_own_reason() -> None:
    door = admission([], ["CLINSTREAM*"])
    assert door.refusal("CT", "CLINSTREAM_STAT", "10.0.0.1") is None
    refusal = door.refusal("CT", "PACS", "10.0.0.1")
    assert refusal is not None
    assert refusal.code == NOT_CALLED


@pytest.mark.parametrize("text", ["", "@10.0.0.1", "CT@nowhere", "CT@10.0.0.0/99"])
def test_a_malformed_sender_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="allowed sender"):
        admission([text], [])
