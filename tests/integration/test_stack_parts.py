"""Each embedded server is the real one, reachable by the settings that others get, with the promised rights."""

from collections.abc import Iterator

import asyncpg
import kafka as kafka_python
import pytest
import redis as redis_client
from tritonclient import grpc as triton_grpc

from adapters.settings import Settings
from tests.support import stack


@pytest.fixture(scope="module")
def served() -> Iterator[Settings]:
    """Settings of the embedded PostgreSQL as `up` starts it, with its empty database."""
    with stack.start_parts("database") as running:
        yield running.settings()


def test_kafka_answers_and_creates_no_topic_by_itself(kafka: str) -> None:
    consumer = kafka_python.KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    try:
        assert consumer.partitions_for_topic("nobody.created.this") in (None, set())
        assert "nobody.created.this" not in consumer.topics()
    finally:
        consumer.close()


async def test_postgresql_16_lets_the_application_in_without_special_rights(served: Settings) -> None:
    connection = await asyncpg.connect(served.database.url.replace("+asyncpg", ""))
    try:
        assert connection.get_server_version().major >= 16
        role = await connection.fetchrow(
            "SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        assert role is not None
        assert tuple(role) == (False, False, False, False)
    finally:
        await connection.close()


async def test_postgresql_refuses_a_wrong_password(served: Settings) -> None:
    url = served.database.url.replace("+asyncpg", "")
    head, _, tail = url.partition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(head[:-4] + "beef@" + tail)


async def test_the_owner_may_create_tables_and_the_application_may_not(served: Settings) -> None:
    owner = await asyncpg.connect(served.database.migration_url.replace("+asyncpg", ""))
    application = await asyncpg.connect(served.database.url.replace("+asyncpg", ""))
    try:
        await owner.execute("CREATE TABLE made_by_the_owner (n int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute("CREATE TABLE made_by_the_application (n int)")
    finally:
        await owner.close()
        await application.close()


def test_redis_keeps_a_value(redis_url: str) -> None:
    with redis_client.Redis.from_url(redis_url) as client:
        client.set("test:stack", "kept", ex=60)
        assert client.get("test:stack") == b"kept"


def test_triton_is_ready_and_serves_nothing_until_told() -> None:
    with stack.start_parts("triton") as running:
        triton = running.settings().triton
        client = triton_grpc.InferenceServerClient(triton.grpc)
        assert client.is_server_ready()
        assert not client.get_model_repository_index().models
        assert list(triton.repository.iterdir()) == []
