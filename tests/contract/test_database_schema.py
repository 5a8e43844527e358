"""Migrations: forward, repeatable, one at a time; dropped projections are made again as they were; a real server."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from adapters.database import expected_revision, migrate
from adapters.database.engine import make_engine
from adapters.database.migrating import restore_tables
from adapters.settings import Settings
from schemas.errors import Conflict

SHAPE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       (SELECT array_agg(d ORDER BY d) FROM pg_index i, pg_get_indexdef(i.indexrelid) d WHERE i.indrelid = c.oid),
       (SELECT array_agg(d ORDER BY d) FROM pg_constraint k, pg_get_constraintdef(k.oid) d WHERE k.conrelid = c.oid),
       (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(c.relacl) x)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1, a.attnum
"""
TABLES = ("answers", "visible", "outcomes", "images")


async def ask(settings: Settings, statement: str) -> list[tuple[object, ...]]:
    """Runs one statement as the owner."""
    engine = make_engine(settings.database.migration_url, pool_size=1, statement_timeout_s=30)
    try:
        async with engine.begin() as connection:
            result = await connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        await engine.dispose()


def test_four_at_once_migrate_an_empty_database_once(empty_database: Settings) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: migrate(empty_database), range(4)))
    assert found == [expected_revision()] * 4
    assert asyncio.run(ask(empty_database, "SELECT version_num FROM alembic_version")) == [(expected_revision(),)]


def test_a_database_of_a_newer_release_is_left_alone(empty_database: Settings) -> None:
    migrate(empty_database)
    asyncio.run(ask(empty_database, "UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="9999"):
        migrate(empty_database)
    assert asyncio.run(ask(empty_database, "SELECT version_num FROM alembic_version")) == [("9999",)]


async def test_dropped_projections_are_made_again_exactly_as_the_migrations_left_them(fresh_database: Settings) -> None:
    before = await ask(fresh_database, SHAPE)
    await ask(fresh_database, "DROP TABLE answers, visible")
    engine = make_engine(fresh_database.database.migration_url, pool_size=1, statement_timeout_s=30)
    async with engine.begin() as connection:
        made = await restore_tables(connection, TABLES, fresh_database.database.application_role)
    await engine.dispose()
    assert made == ["answers", "visible"]
    assert await ask(fresh_database, SHAPE) == before
    assert await ask(fresh_database, "SELECT 1 FROM pg_namespace WHERE nspname = 'clinstream_scratch'") == []
