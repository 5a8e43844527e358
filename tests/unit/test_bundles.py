"""Records of a fetch in bundles: all of them, in order, none too long."""

from dataclasses import dataclass

import pytest

from consumers import bundles


@dataclass
class Fetched:
    """A record as the client has it: times in milliseconds."""

    offset: int
    timestamp: int | None = 1_700_000_000_123
    topic: str = "observed.vitals"
    partition: int = 3
    key: bytes | None = b"stay"
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes], ...] = (("ce_id", b"1"),)


@pytest.mark.parametrize("count", [0, 1, bundles.MOST, bundles.MOST + 1, 3 * bundles.MOST - 1])
def test_bundles_hold_every_record_once_and_in_order(count: int) -> None:
    """Delivery: nothing is lost on the way to the lane."""
    found = bundles.bundled([Fetched(number) for number in range(count)])
    assert [each.offset for bundle in found for each in bundle] == list(range(count))
    assert all(1 <= len(bundle) <= bundles.MOST for bundle in found)


def test_a_record_is_an_arrival_with_its_time_in_seconds() -> None:
    record = bundles.read(Fetched(7))
    assert (record.topic, record.partition, record.offset, record.key) == ("observed.vitals", 3, 7, b"stay")
    assert record.timestamp == pytest.approx(1_700_000_000.123)
    assert bundles.read(Fetched(7, timestamp=None)).timestamp == 0.0
