"""How the sender's own list is read."""

import pytest

from clinstream.reconciliation.acknowledged import names
from schemas.errors import UserError


def test_lines_of_send_count_when_they_were_accepted() -> None:
    lines = [
        '{"path": "a.dcm", "status": "accepted", "reason": "", "event_id": "one"}',
        '{"path": "b.dcm", "status": "refused", "reason": "no pixels", "event_id": null}',
        '{"path": "c.dcm", "status": "retry", "reason": "", "event_id": null}',
        '{"path": "a.dcm", "status": "accepted", "reason": "", "event_id": "one"}',
        "",
    ]
    assert names(lines) == ["one"]


def test_lists_of_other_senders_name_objects_or_are_plain_ids() -> None:
    assert names(['{"sop_instance_uid": "1.2.3"}', '{"object_id": "1.2.4", "status": "success"}', " 1.2.5 "]) == [
        "1.2.3",
        "1.2.4",
        "1.2.5",
    ]


@pytest.mark.parametrize("line", ['{"path": "a"}', "{broken"])
def test_a_line_that_names_nothing_is_refused_with_its_number(line: str) -> None:
    """A list that is not understood must never pass as a list without losses."""
    with pytest.raises(UserError, match="Line 2"):
        names(["one", line])
