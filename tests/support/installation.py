"""An installation of Kafka and PostgreSQL with our topics and tables and no process of ours; emptied for each test."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kafka import TopicPartition
from sqlalchemy import text
from typer.testing import CliRunner, Result

from adapters import topics_admin
from adapters.database import migrate
from adapters.database.engine import make_engine
from adapters.settings import Settings
from clinstream.__main__ import build
from tests.support import stack

TASKS = ("chest_xray", "icu_mortality")
TABLES = ("glucose_windows", "readings", "answers", "visible", "outcomes", "images", "outbox", "releases")


@dataclass(frozen=True)
class Installation:
    """A running one."""

    running: stack.RunningStack

    @property
    def settings(self) -> Settings:
        """As the services have them."""
        return self.running.settings()

    def command(self, *words: str) -> Result:
        """Runs a command of ours on this installation, in this process."""
        return command(self.settings, *words)

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Runs statements as the owner of the tables; the rows of the last."""

        async def run() -> list[tuple[object, ...]]:
            engine = make_engine(self.settings.database.migration_url, pool_size=1, statement_timeout_s=30)
            try:
                async with engine.begin() as connection:
                    result = None
                    for statement in statements:
                        result = await connection.execute(text(statement))
                    return [tuple(row) for row in result] if result is not None and result.returns_rows else []
            finally:
                await engine.dispose()

        return stack.in_a_loop_of_its_own(run)


def command(settings: Settings, *words: str) -> Result:
    """Runs a command on the installation of `settings`; stdout and stderr are kept apart in the result."""
    before = os.environ.get("CLINSTREAM_HOME")
    os.environ["CLINSTREAM_HOME"] = str(settings.home)
    try:
        return CliRunner().invoke(build(), list(words))
    finally:
        os.environ.pop("CLINSTREAM_HOME") if before is None else os.environ.update(CLINSTREAM_HOME=before)


@pytest.fixture(scope="session")
def session_installation() -> Iterator[Installation]:
    """The session's, with whatever earlier tests left in it."""
    with stack.start_parts("kafka", "database") as running:
        stack.in_a_loop_of_its_own(lambda: asyncio.to_thread(migrate, running.settings()))
        yield Installation(running)


@pytest.fixture
def installation(session_installation: Installation) -> Installation:
    """The session's installation with empty topics and tables; committed offsets stand at the ends of the topics."""
    settings = session_installation.settings
    topics_admin.ensure_topics(settings, TASKS)
    with topics_admin.admin(settings.kafka) as client:
        ours = set(topics_admin.topic_names(TASKS))
        places = [
            TopicPartition(topic["name"], part["partition_index"])
            for topic in client.describe_topics()
            if topic["name"] in ours
            for part in topic["partitions"]
        ]
        ends = client.list_partition_offsets(dict.fromkeys(places, topics_admin.LATEST))
        filled = {place: int(end.offset) for place, end in ends.items() if end.offset}
        if filled:
            client.delete_records(filled)
    session_installation.sql(*(f"DELETE FROM {table}" for table in TABLES))
    return session_installation
