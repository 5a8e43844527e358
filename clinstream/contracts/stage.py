"""Where a play is performed: the broker and the topic that an integrator chose; the play itself is `play`'s."""

import asyncio

from adapters import settings as settings_room
from adapters import topics_admin
from adapters.clock import SystemClock
from adapters.kafka import KafkaPublisher, Message
from adapters.settings import KafkaSettings
from clinstream.contracts.play import Play
from schemas.errors import UserError

RESULTS = "results."


def perform(play: Play, *, bootstrap: str = "", topic: str, create: bool = False) -> int:
    """Sends the play to `topic` at `bootstrap` (else the installation's brokers) and returns how many were sent.

    Raises UserError for a topic of real results at the installation's own brokers, or one that does not exist and
    shall not be made; BrokerUnavailable when no broker answers.
    """
    own = settings_room.load().kafka
    kafka = own.model_copy(update={"bootstrap_servers": bootstrap}) if bootstrap else own
    if topic.startswith(RESULTS) and kafka.bootstrap_servers == own.bootstrap_servers:
        raise UserError(f"{topic} carries patients' results; made-up ones may go to simulated.<task> only.")
    if topics_admin.missing_topics(kafka, [topic]):
        if not create:
            raise UserError(f"There is no topic {topic} at {kafka.bootstrap_servers}; make it, or add --create.")
        with topics_admin.admin(kafka) as client:
            client.create_topics({topic: {"num_partitions": 4}}, wait_for_metadata=True)
    return asyncio.run(_send(play, kafka, topic))


async def _send(play: Play, kafka: KafkaSettings, topic: str) -> int:
    """All deliveries in order, each acknowledged before the next."""
    publisher = KafkaPublisher(kafka, SystemClock())
    await publisher.start()
    try:
        for each in play.deliveries:
            await publisher.publish_many([Message(topic, each.key, each.headers, each.value)], deadline_s=30.0)
    finally:
        await publisher.stop()
    return len(play.deliveries)
