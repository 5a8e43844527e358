"""Topics of the table at a real broker: made once, widened, configured, and how far a group has come."""

from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from adapters import topics_admin
from adapters.settings import KafkaSettings, Settings
from schemas import topics
from schemas.errors import BrokerUnavailable
from tests.support import loop as support
from tests.support.arrivals import ToyStep


def test_missing_topics_are_made_as_the_table_says_and_a_second_time_nothing_is(kafka_settings: Settings) -> None:
    task = support.fresh_name("task").replace("-", "_")
    made = topics_admin.ensure_topics(kafka_settings, [task])
    assert {f"results.{task}", f"simulated.{task}"} <= set(made)
    assert topics_admin.ensure_topics(kafka_settings, [task]) == []
    names = topics_admin.topic_names([task])
    assert topics_admin.missing_topics(kafka_settings.kafka, names) == []
    counts = topics_admin.partition_counts(kafka_settings.kafka, names)
    assert counts == {row.name: row.partitions for row in topics.topics([task])}


def test_a_topic_with_too_few_partitions_is_widened_and_its_configuration_set(kafka_settings: Settings) -> None:
    task = support.fresh_name("task").replace("-", "_")
    name = topics.results_topic(task)
    support.make_topics(kafka_settings, name, partitions=1)
    topics_admin.ensure_topics(kafka_settings, [task])
    assert topics_admin.partition_counts(kafka_settings.kafka, [name]) == {name: 4}
    with topics_admin.admin(kafka_settings.kafka) as client:
        asked = ConfigResource(ConfigResourceType.TOPIC, topics.OBSERVED_VITALS)
        found = client.describe_configs([asked])["topic"][topics.OBSERVED_VITALS]
    assert found["flush.messages"]["value"] == "1"
    assert found["retention.ms"]["value"] == "-1"


async def test_lag_counts_from_the_start_of_the_log_until_something_is_committed(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic)
    async with support.around(settings) as services:
        await support.publish(services, topic, range(30))
        assert support.behind(settings, name, topic) == 30
        assert set(support.committed(settings, name, topic).values()) == {None}
        async with support.running(settings, ToyStep(topics=(topic,)), services, name=name):
            await support.until_committed(settings, name, topic, seconds=30)
    assert topics_admin.lag(settings, f"clinstream.{name}", [topic, "no.such.topic"])[0].events == 0


def test_no_broker_is_told_as_such() -> None:
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        topics_admin.missing_topics(KafkaSettings(bootstrap_servers="127.0.0.1:9", request_timeout_s=1), ["x"])
