"""The play for subscribers: deterministic, within what the contract allows, and hard enough to tell (S6)."""

import json

import pytest

from clinstream.contracts.play import UNKNOWN_TYPE, Play, script
from schemas.envelope import read_any
from schemas.events import ResultAmended, ResultPublished, ResultWithdrawn

KINDS = (ResultPublished, ResultAmended, ResultWithdrawn)


def names(play: Play) -> list[str]:
    """The ids in the order of delivery."""
    return [dict(each.headers)["ce_id"].decode() for each in play.deliveries]


def test_one_seed_is_one_play_and_another_is_another() -> None:
    """S6: a failed run can be repeated."""
    assert script("chest_xray", 3) == script("chest_xray", 3)
    assert set(names(script("chest_xray", 3))).isdisjoint(names(script("chest_xray", 4)))


@pytest.mark.parametrize("seed", range(20))
def test_within_a_key_first_deliveries_keep_their_order(seed: int) -> None:
    """The contract: order within a key; a repeat comes after its first delivery, never instead of it."""
    play = script("chest_xray", seed)
    for key in {each.key for each in play.deliveries}:
        mine = [each for each in play.deliveries if each.key == key]
        first = list(dict.fromkeys(dict(each.headers)["ce_time"] for each in mine))
        assert first == sorted(first)
    assert len(names(play)) > len(set(names(play))), "nothing was repeated"
    switches = sum(a.key != b.key for a, b in zip(play.deliveries, play.deliveries[1:], strict=False))
    assert switches > len(play.final), "keys were not mixed"


def test_every_known_event_of_the_play_is_readable_by_our_own_schemas() -> None:
    """S6: later minors are additions, which readers of today ignore."""
    unknown = 0
    for each in script("chest_xray").deliveries:
        headers = [(name, value) for name, value in each.headers if name != "x-new-header"]
        if dict(headers)["ce_type"] == UNKNOWN_TYPE.encode():
            unknown += 1
            continue
        _, event = read_any(headers, each.value, KINDS)
        assert getattr(event, "task") == "chest_xray"  # noqa: B009
    assert unknown >= 1


@pytest.mark.parametrize("mistake", ["counts twice", "forgets withdrawals", "forgets amendments"])
def test_a_wrong_subscriber_ends_with_another_state(mistake: str) -> None:
    """S6: a play that every consumer passes would prove nothing."""
    play = script("chest_xray", 1)
    state: dict[str, dict[str, object]] = {}
    seen: set[bytes] = set()
    for each in play.deliveries:
        headers, event = dict(each.headers), json.loads(each.value)
        kind = headers["ce_type"].decode()
        if headers["ce_id"] in seen and mistake != "counts twice":
            continue
        seen.add(headers["ce_id"])
        place = f"{event.get('object_id')}/{event.get('task')}"
        if "published" in kind:
            state[place] = {"revision": event["revision"], "status": "current", "changed": {}}
        elif "withdrawn" in kind and mistake != "forgets withdrawals":
            state[place]["status"] = "withdrawn"
        elif "amended" in kind and mistake != "forgets amendments":
            state[place]["changed"] = event["changed"]
    kept = {
        place: {name: held[name] for name in ("revision", "status", "changed")} for place, held in play.final.items()
    }
    assert state != kept
