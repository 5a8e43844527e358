"""The topics table (S6, rule 14)."""

from schemas import topics
from schemas.topics import Topic


def test_every_task_gets_a_result_topic_and_one_for_simulated_data() -> None:
    """CC21: injected data never mixes with clinical results."""
    names = [row.name for row in topics.topics(["chest_xray", "icu_mortality"])]
    assert {"results.chest_xray", "simulated.chest_xray", "results.icu_mortality"} <= set(names)
    assert len(names) == len(set(names))


def test_doors_topics_are_flushed_and_kept() -> None:
    """Rules 1 and 14: what a door acknowledged is on the broker's disk and is not deleted behind a parked lane."""
    observed: list[Topic] = [row for row in topics.FIXED if row.name in topics.OBSERVED]
    assert len(observed) == len(topics.OBSERVED)
    for row in observed:
        assert row.settings()["flush.messages"] == "1"
        assert row.settings()["retention.ms"] == "-1"


def test_every_topic_names_its_writers_and_readers() -> None:
    """S6: access rules can be generated from the table."""
    for row in topics.topics(["chest_xray"]):
        assert row.writers
        assert row.readers
        assert row.partitions >= 1
