"""The loop that everybody writes first, as a baseline: poll, one synchronous request, one INSERT, next event.

The one place outside `adapters` that talks to Triton and PostgreSQL itself, because that is what it is there to show.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import numpy as np
import tritonclient.grpc as grpc
from kafka import KafkaConsumer

from adapters import topics_admin
from adapters.kafka import Publisher, client_security
from adapters.settings import Settings
from adapters.triton import triton_name
from clinstream.benches import load
from schemas.events import VitalsObserved
from triton_models.icu_mortality.card import CARD
from triton_models.icu_mortality.preprocess import prepare

IDLE_MS = 20_000


async def rate(settings: Settings, publisher: Publisher, events: Sequence[VitalsObserved]) -> float:
    """Events a second of the naive loop over a topic and a table of its own, both removed afterwards."""
    topic = f"bench.naive.{uuid4().hex[:8]}"
    with topics_admin.admin(settings.kafka) as admin:
        admin.create_topics({topic: {"num_partitions": 8}}, wait_for_metadata=True)
    try:
        await load.publish(publisher, load.messages(events, topic))
        # In a thread with a loop of its own: the naive loop blocks, and must not block the bench's publisher.
        return await asyncio.to_thread(lambda: asyncio.run(_run(settings, topic, len(events))))
    finally:
        with topics_admin.admin(settings.kafka) as admin:
            admin.delete_topics([topic])


async def _run(settings: Settings, topic: str, count: int) -> float:
    connection = await asyncpg.connect(_plain(settings.database.migration_url))
    table = topic.replace(".", "_")
    await connection.execute(f"CREATE TABLE {table} (event_id text, subject_id text, label text, score float8)")
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka.bootstrap_servers.split(","),
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        consumer_timeout_ms=IDLE_MS,
        **client_security(settings.kafka),
    )
    triton = grpc.InferenceServerClient(settings.triton.grpc)
    try:
        done, started = 0, 0.0
        for message in consumer:
            started = started or time.monotonic()
            await _one(connection, triton, table, message.value)
            done += 1
            if done == count:
                break
        return done / (time.monotonic() - started)
    finally:
        triton.close()
        consumer.close()
        await connection.execute(f"DROP TABLE {table}")
        await connection.close()


async def _one(connection: asyncpg.Connection, triton: grpc.InferenceServerClient, table: str, value: bytes) -> None:
    event = json.loads(value)
    row = prepare(event["features"])[np.newaxis]
    tensor = grpc.InferInput(CARD.inputs[0].name, list(row.shape), "FP32")
    tensor.set_data_from_numpy(row)
    answer = triton.infer(triton_name(CARD.name, CARD.version, False), [tensor])
    score = float(answer.as_numpy(CARD.outputs[0].name)[0, list(CARD.labels).index(CARD.positive_label)])
    label = CARD.positive_label if score >= CARD.threshold else CARD.labels[0]
    await connection.execute(
        f"INSERT INTO {table} VALUES ($1, $2, $3, $4)", event["event_id"], event["subject_id"], label, score
    )


def _plain(url: str) -> str:
    """A SQLAlchemy URL as asyncpg reads it."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql"))
