"""The routing table: which row decides what, how its file is read, and that explaining says the same (CC15, STAT)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.routing_file import parsed, routing_table
from schemas.errors import SettingsError
from schemas.routing import BUILT_IN, Condition, Facts, Row, Table

HAND = Facts(
    calling_ae="ER_ROOM1",
    called_ae="CLINSTREAM",
    request_priority="MEDIUM",
    sop_class="1.2.840.10008.5.1.4.1.1.1",
    elements={"00080060": "CR", "00180015": "CHEST", "00181030": "Hand PA", "00081010": "XR-2", "00080080": "St. Mary"},
)

FILE = """
[[rule]]
name = "emergency room"
when = { calling_ae = "er_*" }
lane = "stat"

[[rule]]
name = "hands, whatever the body part says"
when = { modality = ["CR", "DX"], anatomy = ["*hand*", "*wrist*"] }
tasks = "fracture"
destinations = ["pacs", "clinic"]

[[rule]]
name = "St. Mary sends no chests for reading"
when = { tags = { InstitutionName = "St. *" }, body_part = "CHEST" }
tasks = []
"""


def test_each_of_lane_tasks_and_destinations_is_decided_by_the_first_row_that_says_something_of_it() -> None:
    route = parsed(FILE, "routing.toml").route(HAND)
    assert (route.lane, route.tasks, route.destinations) == ("stat", ("fracture",), ("pacs", "clinic"))
    assert set(route.rows) == {"emergency room", "hands, whatever the body part says"}


def test_a_row_that_decided_nothing_says_which_condition_or_which_earlier_row_kept_it_from_that() -> None:
    found = {read.row.name: read for read in parsed(FILE, "routing.toml").read(HAND)}
    assert found["emergency room"].decided == ("lane",)
    assert "calling_ae is ER_ROOM1" in found["emergency room"].why
    assert "earlier row decided tasks" in found["St. Mary sends no chests for reading"].why
    assert "called_ae is CLINSTREAM, asked for is *_STAT" in found["called as urgent"].why
    assert "order_priority is not stated" in found["urgent order"].why


@pytest.mark.parametrize(
    ("facts", "lane"),
    [
        (Facts(called_ae="CLINSTREAM"), "routine"),
        (Facts(called_ae="clinstream_stat"), "stat"),
        (Facts(request_priority="HIGH"), "stat"),
        (Facts(request_priority="LOW"), "routine"),
        (Facts(order_priority=("ROUTINE", "HIGH")), "stat"),
        (Facts(order_priority=("MEDIUM",)), "routine"),
    ],
)
def test_without_a_file_the_called_title_the_request_and_the_order_say_what_is_urgent(facts: Facts, lane: str) -> None:
    route = Table().route(facts)
    assert (route.lane, route.tasks, route.destinations) == (lane, None, None)


def test_no_tasks_and_no_say_about_tasks_are_two_things() -> None:
    table = parsed(FILE, "routing.toml")
    chest = Facts(elements={"00080060": "CR", "00180015": "CHEST", "00080080": "St. Mary"})
    assert table.route(chest).tasks == ()
    assert table.route(Facts()).tasks is None


def test_the_door_reads_only_what_the_table_asks_for() -> None:
    assert Table().tags == ()
    assert "00080080" in parsed(FILE, "routing.toml").tags
    assert "00100010" not in parsed(FILE, "routing.toml").tags


def test_an_installation_may_do_without_the_built_in_rows() -> None:
    table = parsed("built_in = false\n" + FILE, "routing.toml")
    assert [row.name for row in table.rows if row in BUILT_IN] == []
    assert table.route(Facts(called_ae="CLINSTREAM_STAT")).lane == "routine"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[rule]", "not TOML"),
        ("[[rule]]\nlane = 'stat'", "name"),
        ("[[rule]]\nname = 'a'\nlane = 'quick'", "lane"),
        ("[[rule]]\nname = 'a'\nlne = 'stat'", "lne"),
        ("[[rule]]\nname = 'a'", "decides none"),
        ("[[rule]]\nname = 'a'\nlane = 'stat'\n[[rule]]\nname = 'a'\nlane = 'stat'", "two rows called a"),
        ("[[rule]]\nname = 'a'\nlane = 'stat'\nwhen = { colour = 'red' }", "no column colour"),
        ("[[rule]]\nname = 'a'\nlane = 'stat'\nwhen = { tags = { NoSuchThing = 'x' } }", "NoSuchThing"),
        ("[[rule]]\nname = 'a'\nlane = 'stat'\nwhen = { station = 3 }", "a pattern is a text"),
        ("[[rule]]\nname = 'a'\nlane = 'stat'\nwhen = { station = [] }", "a pattern is a text"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_naming_what_is_wrong(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        parsed(text, "routing.toml")


def test_the_file_of_the_home_is_taken_and_one_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    assert routing_table(tmp_path).rows == BUILT_IN
    (tmp_path / "routing.toml").write_text(FILE)
    assert len(routing_table(tmp_path).rows) == 3 + len(BUILT_IN)
    with pytest.raises(SettingsError, match="not there"):
        routing_table(tmp_path, tmp_path / "other.toml")


PATTERN = st.sampled_from(["A*", "B", "*_STAT", "HIGH", "CR"])
CONDITION = st.builds(
    Condition,
    st.sampled_from(["calling_ae", "called_ae", "request_priority", "modality", "00080080"]),
    st.lists(PATTERN, min_size=1, max_size=2).map(tuple),
)
NAMES = st.one_of(st.none(), st.lists(st.sampled_from(["x", "y"]), max_size=2).map(tuple))
ROW = st.builds(
    Row,
    st.text("abc", min_size=1, max_size=3),
    st.lists(CONDITION, max_size=2).map(tuple),
    st.sampled_from([None, "stat", "routine"]),
    NAMES,
    NAMES,
)
WORD = st.sampled_from(["", "A1", "B", "X_STAT", "HIGH", "CR"])
FACTS = st.builds(
    Facts, WORD, WORD, WORD, elements=st.dictionaries(st.sampled_from(["00080060", "00080080"]), WORD, max_size=2)
)


@given(st.lists(ROW, max_size=5, unique_by=lambda row: row.name), FACTS)
def test_what_is_explained_is_what_is_done(rows: list[Row], facts: Facts) -> None:
    table = Table(rows)
    decided = {name: getattr(read.row, name) for read in table.read(facts) for name in read.decided}
    route = table.route(facts)
    assert route.lane == decided.get("lane", "routine")
    assert route.tasks == decided.get("tasks")
    assert route.destinations == decided.get("destinations")
    assert set(route.rows) == {read.row.name for read in table.read(facts) if read.decided}
