"""The loop that everybody writes first, as a baseline: poll, one synchronous request, one INSERT, next event.

The one place outside `adapters` that talks to Triton and PostgreSQL itself, because that is what it is there to show.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import numpy as np
import tritonclient.grpc as grpc
from kafka import KafkaConsumer

import triton_models
from adapters import topics_admin
from adapters.kafka import Message, Publisher, client_security
from adapters.settings import Settings
from adapters.triton import triton_name
from clinstream.benches import load
from schemas.card import ModelCard
from schemas.events import GlucoseObserved
from schemas.windows import SPAN_S, GlucoseWindow

IDLE_MS = 20_000


class Job(Protocol):
    """What the loop does to one event, over a table of its own."""

    async def begin(self, connection: asyncpg.Connection, table: str) -> None:
        """Makes the table, and puts into it what was there before the first event."""
        ...

    async def one(
        self, connection: asyncpg.Connection, triton: grpc.InferenceServerClient, table: str, event: dict[str, Any]
    ) -> None:
        """From the event to its row."""
        ...


async def rate(settings: Settings, publisher: Publisher, work: Sequence[Message], topic: str, job: Job) -> float:
    """Events a second of the naive loop over `topic`, which is made for it and removed, as is the table."""
    with topics_admin.admin(settings.kafka) as admin:
        admin.create_topics({topic: {"num_partitions": 8}}, wait_for_metadata=True)
    try:
        await load.publish(publisher, work)
        # In a thread with a loop of its own: the naive loop blocks, and must not block the bench's publisher.
        return await asyncio.to_thread(lambda: asyncio.run(_run(settings, topic, len(work), job)))
    finally:
        with topics_admin.admin(settings.kafka) as admin:
            admin.delete_topics([topic])


def fresh_topic() -> str:
    """A topic that no other run has."""
    return f"bench.naive.{uuid4().hex[:8]}"


async def _run(settings: Settings, topic: str, count: int, job: Job) -> float:
    connection = await asyncpg.connect(_plain(settings.database.migration_url))
    table = topic.replace(".", "_")
    await job.begin(connection, table)
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
            await job.one(connection, triton, table, json.loads(message.value))
            done += 1
            if done == count:
                break
        return done / (time.monotonic() - started)
    finally:
        triton.close()
        consumer.close()
        await connection.execute(f"DROP TABLE {table}")
        await connection.close()


class Vitals:
    """`icu_mortality` as a script would ask it."""

    def __init__(self) -> None:
        self._model = triton_models.discover()["icu_mortality"]

    async def begin(self, connection: asyncpg.Connection, table: str) -> None:
        """See Job.begin."""
        await connection.execute(f"CREATE TABLE {table} (event_id text, subject_id text, label text, score float8)")

    async def one(
        self, connection: asyncpg.Connection, triton: grpc.InferenceServerClient, table: str, event: dict[str, Any]
    ) -> None:
        """See Job.one."""
        card = self._model.card
        answer = _infer(triton, card, self._model.prepare(event["features"])[np.newaxis])
        score = float(answer[0, list(card.labels).index(card.positive_label)])
        label = card.positive_label if score >= card.threshold else card.labels[0]
        await connection.execute(
            f"INSERT INTO {table} VALUES ($1, $2, $3, $4)", event["event_id"], event["subject_id"], label, score
        )


@dataclass
class Glucose:
    """`glucose` as a script would ask it: the window is a query; `history` are the readings before the first event."""

    history: Sequence[GlucoseObserved]

    async def begin(self, connection: asyncpg.Connection, table: str) -> None:
        """See Job.begin."""
        self._model = triton_models.discover()["glucose"]
        await connection.execute(
            f"CREATE TABLE {table} (event_id text, subject_id text, measured_at timestamptz, glucose_mg_dl float8, "
            "forecast text, PRIMARY KEY (subject_id, measured_at))"
        )
        rows = [(str(e.event_id), e.subject_id, e.measured_at, e.glucose_mg_dl, "") for e in self.history]
        await connection.copy_records_to_table(table, records=rows)
        await connection.execute(f"ANALYZE {table}")

    async def one(
        self, connection: asyncpg.Connection, triton: grpc.InferenceServerClient, table: str, event: dict[str, Any]
    ) -> None:
        """See Job.one."""
        at = datetime.fromisoformat(event["measured_at"]).astimezone(UTC)
        rows = await connection.fetch(
            f"SELECT extract(epoch FROM measured_at)::float8, glucose_mg_dl FROM {table} "
            "WHERE subject_id = $1 AND measured_at > $2 ORDER BY measured_at",
            event["subject_id"],
            at - timedelta(seconds=SPAN_S),
        )
        times = [row[0] for row in rows] + [at.timestamp()]
        window = GlucoseWindow(times, [row[1] for row in rows] + [event["glucose_mg_dl"]])
        answer = _infer(triton, self._model.card, self._model.prepare(window)[np.newaxis])
        await connection.execute(
            f"INSERT INTO {table} VALUES ($1, $2, $3, $4, $5)",
            event["event_id"],
            event["subject_id"],
            at,
            event["glucose_mg_dl"],
            json.dumps(answer[0].tolist()),
        )


def _infer(triton: grpc.InferenceServerClient, card: ModelCard, row: np.ndarray) -> np.ndarray:
    tensor = grpc.InferInput(card.inputs[0].name, list(row.shape), "FP32")
    tensor.set_data_from_numpy(row)
    answer = triton.infer(triton_name(card.name, card.version, False), [tensor])
    found: np.ndarray = answer.as_numpy(card.outputs[0].name)
    return found


def _plain(url: str) -> str:
    """A SQLAlchemy URL as asyncpg reads it."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql"))
