"""A lane that stands still for long: aiokafka leaves the group and never returns, unless the poll interval forbids."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from pydantic import SecretStr

from adapters.settings import KafkaSettings, Settings
from consumers import app, loop_settings
from consumers.outcomes import Batch
from consumers.process import ConsumerProcess
from schemas.errors import ServerDown
from tests.support import loop as support
from tests.support.arrivals import ToyStep

PARKED_S = 16.0
SHORT_POLL: dict[str, Any] = {"broker_max_poll_interval": 6.0}
EVENTS = 1200


class Away:
    """A server that is away until it is back."""

    def __init__(self) -> None:
        self.back = False

    def __call__(self, batch: Any) -> list[list[Any]]:
        """Answers, or is down."""
        if not self.back:
            raise ServerDown("away")
        return [[] for _ in batch]


async def park(kafka_settings: Settings, home: Path, overrides: dict[str, Any], *, finish_s: float) -> int:
    """Parks a lane with a full buffer for 16 s, ends the outage, and tells what is left undone after `finish_s`."""
    settings = support.at_home(kafka_settings, home)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic)
    server = Away()
    step = ToyStep(answer=server, topics=(topic,), batch=Batch(8, 0.01), in_flight=16)
    async with support.around(settings) as services:
        await support.publish(services, topic, range(EVENTS))
        async with support.running(settings, step, services, name=name, overrides=overrides) as found:
            await support.until(lambda: found.lane.parking.parked, seconds=20, what="parking")
            await asyncio.sleep(PARKED_S)
            assert found.lane.batcher.used <= 16
            server.back = True
            await asyncio.sleep(2.0)
            loop = asyncio.get_running_loop()
            give_up = loop.time() + finish_s
            while loop.time() < give_up:
                if not await asyncio.to_thread(support.behind, settings, name, topic):
                    break
                await asyncio.sleep(0.2)
            return await asyncio.to_thread(support.behind, settings, name, topic)


@pytest.mark.slow
async def test_with_our_settings_a_lane_parked_for_long_goes_on_where_it_stood(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """Parking: longer than the session (10 s) and than the poll interval of the next test."""
    assert await park(kafka_settings, tmp_path, {}, finish_s=20) == 0


@pytest.mark.slow
async def test_with_a_short_poll_interval_the_same_lane_never_goes_on(kafka_settings: Settings, tmp_path: Path) -> None:
    """Why the interval is a day: when this fails the trap is gone from aiokafka or Faust."""
    assert await park(kafka_settings, tmp_path, SHORT_POLL, finish_s=8) > 0


def test_no_setting_that_matters_is_left_to_its_default(kafka_settings: Settings, tmp_path: Path) -> None:
    chosen = loop_settings.chosen(ConsumerProcess("record", 1, support.at_home(kafka_settings, tmp_path)), ("answers",))
    assert chosen["id"] == "clinstream.record"
    assert chosen["broker_max_poll_interval"] == 86_400
    assert chosen["broker_session_timeout"] == 10
    assert chosen["broker_heartbeat_interval"] == 2
    assert chosen["consumer_auto_offset_reset"] == "earliest"
    assert str(chosen["consumer_group_instance_id"]).startswith("record.1.")
    assert str(chosen["datadir"]).startswith(str(tmp_path))
    assert chosen["processing_guarantee"] == "at_least_once"
    assert 16 <= chosen["stream_buffer_maxsize"] <= 64
    for off in ("web_enabled", "autodiscover", "topic_allow_declare", "stream_wait_empty"):
        assert chosen[off] is False
    assert chosen["topic_disable_leader"] is True


def test_sasl_and_tls_reach_fausts_clients() -> None:
    """S9: brokers elsewhere are protected."""
    assert app.credentials(KafkaSettings()) is None
    guarded = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-256", sasl_username="us", sasl_password=SecretStr("pw")
    )
    found = driver.credentials_to_aiokafka_auth(app.credentials(guarded))
    assert found["security_protocol"] == "SASL_SSL"
    assert found["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (found["sasl_plain_username"], found["sasl_plain_password"]) == ("us", "pw")
    assert found["ssl_context"].check_hostname
    tls = driver.credentials_to_aiokafka_auth(app.credentials(KafkaSettings(security_protocol="SSL")))
    assert tls["security_protocol"] == "SSL"
    bare = app.credentials(guarded.model_copy(update={"security_protocol": "SASL_PLAINTEXT"}))
    assert driver.credentials_to_aiokafka_auth(bare)["security_protocol"] == "SASL_PLAINTEXT"
