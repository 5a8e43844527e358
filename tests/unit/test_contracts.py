"""The published event contracts: golden schemas, and what counts as a breaking change (S6)."""

import copy
from typing import Any

import msgspec
import pytest

from clinstream import contracts
from schemas.compatibility import breaks, json_schema
from schemas.events import EVENTS, Answer, Base, ImageObserved, ResultPublished


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.TYPE)
def test_every_event_fits_its_golden_schema(kind: type[Base]) -> None:
    """S6: a change of an event without a new golden schema (or an incompatible one) fails here."""
    verdict = next(v for v in contracts.judge() if v.event == kind.TYPE)
    assert verdict.breaks == ()
    assert verdict.state == "same", "run `clinstream contract schemas --write` and commit the golden schemas"


def _changed(kind: type[Base], change: str) -> tuple[dict[str, Any], dict[str, Any]]:
    old = json_schema(kind)
    new = copy.deepcopy(old)
    record = new["$defs"][kind.__name__]
    match change:
        case "field removed":
            record["properties"].pop("object_id")
            record["required"].remove("object_id")
        case "type changed":
            record["properties"]["object_id"] = {"type": "integer"}
        case "newly required":
            record["required"].append("note")
            record["properties"]["note"] = {"type": "string"}
        case "no longer guaranteed":
            record["required"].remove("object_id")
        case "optional field added":
            record["properties"]["note"] = {"type": "string", "default": ""}
    return old, new


@pytest.mark.parametrize("kind", [ImageObserved, Answer, ResultPublished], ids=lambda kind: kind.TYPE)
@pytest.mark.parametrize("change", ["field removed", "type changed", "newly required", "no longer guaranteed"])
def test_an_incompatible_change_is_named(kind: type[Base], change: str) -> None:
    """S6: schemas change by addition only."""
    found = breaks(*_changed(kind, change))
    assert len(found) == 1
    assert change in found[0]


def test_an_optional_field_more_is_compatible() -> None:
    """S6: additions do not break."""
    assert breaks(*_changed(ImageObserved, "optional field added")) == []


def test_a_value_of_an_enumeration_taken_away_is_a_break() -> None:
    """S6: a stored message could hold the removed value."""
    old = json_schema(ImageObserved)
    new = copy.deepcopy(old)
    new["$defs"]["ImageObserved"]["properties"]["priority"]["enum"] = ["stat"]
    assert breaks(old, new) == ["ImageObserved.priority: values removed: routine"]


def test_a_broken_contract_is_not_overwritten_by_write(tmp_path: Any) -> None:
    """S6: `write` keeps the golden schema of an event whose change is incompatible."""
    contracts.write(tmp_path)
    path = tmp_path / f"{Answer.TYPE}.json"
    golden = msgspec.json.decode(path.read_bytes())
    golden["$defs"]["Answer"]["properties"]["confidence"] = {"type": "number"}
    path.write_bytes(msgspec.json.encode(golden))
    assert path not in contracts.write(tmp_path)
    broken = [v for v in contracts.judge(tmp_path) if v.state == "broken"]
    assert [v.event for v in broken] == [Answer.TYPE]
    assert "confidence: field removed" in broken[0].breaks[0]
