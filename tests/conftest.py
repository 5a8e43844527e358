"""Servers that tests share, each started on first use and once a session, and which tests run side by side."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from adapters.settings import Settings, TritonSettings
from tests.support import stack

# Folder of tests: what its tests share. Two groups may run side by side, the tests of one never do.
GROUPS = {"contract": "servers", "integration": "servers", "faults": "faults", "e2e": "e2e"}


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    """Gives a group's tests to one process, in their order; of all other tests each file's."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folders = file.split("/")
        return next((GROUPS[folder] for folder in folders if folder in GROUPS), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByGroup:
    """For `-n 3`; xdist's own grouping by marks does not know the node ids of pytest 9."""
    return ByGroup(config, log)


@pytest.fixture(scope="session")
def kafka_settings() -> Iterator[Settings]:
    """Settings whose Kafka is a real broker without topics."""
    with stack.start_parts("kafka") as running:
        yield running.settings()


@pytest.fixture(scope="session")
def kafka(kafka_settings: Settings) -> str:
    """Bootstrap servers of a real broker; topics are the test's own (choose names that nobody else uses)."""
    return kafka_settings.kafka.bootstrap_servers


@pytest.fixture(scope="session")
def database_server() -> Iterator[Settings]:
    """Settings of a real PostgreSQL with an empty database `clinstream`, owner and application role."""
    with stack.start_parts("database") as running:
        yield running.settings()


@pytest.fixture(scope="session")
def database(database_server: Settings) -> Settings:
    """Settings of a migrated database that all tests share: use identities of your own in it."""
    from adapters import database as database_room

    async def make() -> Settings:
        template = await stack.create_database(database_server, "migrated")
        await asyncio.to_thread(database_room.migrate, template)
        return await stack.create_database(database_server, "shared", template="migrated")

    return stack.in_a_loop_of_its_own(make)


@pytest.fixture
def fresh_database(database: Settings, database_server: Settings) -> Iterator[Settings]:
    """Settings of a migrated database of this test's own (a copy of a template: 0.1 s)."""
    name = f"fresh_{uuid.uuid4().hex[:12]}"
    made = stack.in_a_loop_of_its_own(lambda: stack.create_database(database_server, name, template="migrated"))
    yield made
    stack.in_a_loop_of_its_own(lambda: stack.drop_database(database_server, name))


@pytest.fixture
def empty_database(database_server: Settings) -> Iterator[Settings]:
    """Settings of a database of this test's own that nobody has migrated."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    yield stack.in_a_loop_of_its_own(lambda: stack.create_database(database_server, name))
    stack.in_a_loop_of_its_own(lambda: stack.drop_database(database_server, name))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis."""
    with stack.start_parts("redis") as running:
        yield running.settings().redis_url


@pytest.fixture(scope="session")
def triton() -> Iterator[TritonSettings]:
    """A real Triton in explicit mode; its repository folder is empty."""
    with stack.start_parts("triton") as running:
        yield running.settings().triton


@pytest.fixture
def database_settings(fresh_database: Settings) -> Settings:
    """The same as `fresh_database`, for tests of the database's own room."""
    return fresh_database
