"""Whatever is ordered of whichever version, one version serves, and each move was a row of the table."""

from datetime import UTC, datetime
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.database import Release
from schemas.errors import Conflict
from training import release
from training.release import TABLE, Event

VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.3.0")
ORDERS = st.lists(st.tuples(st.sampled_from(VERSIONS), st.sampled_from(get_args(Event)), st.booleans()), max_size=40)


@settings(max_examples=300, deadline=None)
@given(ORDERS)
def test_after_any_orders_exactly_one_version_serves_and_at_most_one_is_tried(
    orders: list[tuple[str, Event, bool]],
) -> None:
    """S5: the release table holds under every sequence of moves, allowed and forbidden."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    log = [Release(1, "task", "1.0.0", "PROMOTED", 1.0, at, "t", "starter")]
    for version, event, approved in orders:
        now = release.standing(log, "task")
        try:
            rows = release.advance(now, version, event, approved=approved, share=0.5)
        except Conflict:
            continue
        assert TABLE[now.state(version), event].to in {row[1] for row in rows if row[0] == version}
        log += [Release(len(log) + 1, "task", v, state, share, at, "t", event) for v, state, share in rows]
        after = release.standing(log, "task")
        serving = [v for v, state in after.states.items() if state == "PROMOTED"]
        assert len(serving) == 1
        loaded = release.to_keep_loaded(after)
        assert len(loaded) == len(set(loaded))
        assert set(serving) <= set(loaded)
        if after.before(serving[0]):
            assert after.before(serving[0]) in loaded
        if event == "promote":
            assert "CANARY" not in after.states.values()
