"""What is known of the embedded servers before any of them runs."""

from pathlib import Path

from clinstream.embedded import kafka, postgres


def test_a_cluster_id_never_begins_like_an_option_of_the_tool_that_reads_it() -> None:
    ids = {kafka.new_cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert not any(cluster.startswith("-") for cluster in ids)
    assert {len(cluster) for cluster in ids} == {22}


def test_kafka_deletes_nothing_by_age_and_forgets_no_offset_unless_a_topic_says_so() -> None:
    found = kafka.properties(Path("/data"), 9092, 9093)
    assert found["log.retention.ms"] == "-1"
    assert found["offsets.retention.minutes"] == "5256000"
    assert found["auto.create.topics.enable"] == "false"
    assert found["group.initial.rebalance.delay.ms"] == "0"
    assert {value for name, value in found.items() if name.endswith("replication.factor")} == {"1"}
    assert all(place.startswith("127.0.0.1:") for place in _places(found))


def test_both_database_roles_are_made_without_special_rights() -> None:
    made = [line for line in postgres.BOOTSTRAP.splitlines() if line.startswith("CREATE ROLE")]
    assert len(made) == 2
    assert all("NOSUPERUSER NOBYPASSRLS" in line for line in made)


def _places(properties: dict[str, str]) -> list[str]:
    return [part.partition("://")[2] for part in properties["listeners"].split(",")]
