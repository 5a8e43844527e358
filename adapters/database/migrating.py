"""Brings the schema forward with alembic and grants the application role what the services need; never backwards."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.engine import make_engine
from adapters.database.errors import translated
from adapters.settings import DatabaseSettings, Settings
from schemas.errors import Conflict, UserError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent / "migrations"

# "clinstr" in ASCII: one number for all installations, so that two `up` at once take turns.
MIGRATION_LOCK = 0x636C696E737472

SCRATCH = "clinstream_scratch"

PRIVILEGES = {
    "answers": "SELECT, INSERT",
    "visible": "SELECT, INSERT, UPDATE",
    "outcomes": "SELECT, INSERT, UPDATE",
    "images": "SELECT, INSERT",
    "identities": "SELECT, INSERT",
    "studies": "SELECT, INSERT",
    "audit": "SELECT, INSERT",
    "outbox": "SELECT, INSERT, UPDATE",
    "releases": "SELECT, INSERT",
    "readings": "SELECT, INSERT",
    "glucose_windows": "SELECT, INSERT, UPDATE",
    "glucose_marks": "SELECT, INSERT, UPDATE, DELETE",
    "glucose_days": "SELECT, INSERT, UPDATE",
    "glucose_metrics": "SELECT, INSERT, UPDATE",
    "glucose_predictions": "SELECT, INSERT",
    "glucose_truths": "SELECT, INSERT, UPDATE, DELETE",
    "wearers": "SELECT, INSERT, UPDATE",
    "documents": "SELECT, INSERT, UPDATE",
    "wearer_models": "SELECT, INSERT, UPDATE",
    "assessments": "SELECT, INSERT, UPDATE",
    "retrain_counters": "SELECT, INSERT, UPDATE",
    "runs": "SELECT, INSERT, UPDATE",
    "versions": "SELECT, INSERT, UPDATE",
    "release_orders": "SELECT, INSERT, UPDATE",
    "instances": "SELECT, INSERT",
    "study_ledger": "SELECT, INSERT, UPDATE",
    "study_objects": "SELECT, INSERT",
    "commitments": "SELECT, INSERT, UPDATE",
    "rejections": "SELECT, INSERT",
    "exports": "SELECT, INSERT, UPDATE",
    "study_marks": "SELECT, INSERT, UPDATE, DELETE",
    "study_reports": "SELECT, INSERT, UPDATE",
    "door_journal": "SELECT, INSERT",
}
FUNCTIONS = ("prune_door_journal(timestamptz, integer)",)


def migrate(settings: Settings) -> str:
    """Runs the missing migrations under an advisory lock and returns the revision that the schema is at.

    Safe to call from several processes at once, and again. From inside a running event loop call it in a thread.
    Raises DatabaseUnavailable; UserError when the application role would see past row-level security; Conflict when
    the database was migrated by a newer release.
    """
    return asyncio.run(_migrate(settings.database))


def expected_revision() -> str:
    """The newest revision that this release brings."""
    return str(_scripts().get_current_head())


async def restore_tables(connection: AsyncConnection, tables: Sequence[str], role: str) -> list[str]:
    """Makes those of `tables` again that were dropped, as all migrations together leave them; returns which.

    The migrations run once more in a schema of their own, from which the missing tables are moved over.
    """
    missing = []
    for table in tables:
        if (await connection.execute(text("SELECT to_regclass(:name)"), {"name": f"public.{table}"})).scalar() is None:
            missing.append(table)
    if missing:
        await connection.execute(text(f"CREATE SCHEMA {SCRATCH}"))
        await connection.execute(text(f"SET LOCAL search_path = {SCRATCH}"))
        await connection.run_sync(_upgrade)
        for table in missing:
            await connection.execute(text(f"ALTER TABLE {SCRATCH}.{table} SET SCHEMA public"))
        await connection.execute(text("SET LOCAL search_path = public"))
        await connection.execute(text(f"DROP SCHEMA {SCRATCH} CASCADE"))
        await _grant(connection, role)
    return missing


async def _migrate(settings: DatabaseSettings) -> str:
    engine = make_engine(settings.migration_url, pool_size=1, statement_timeout_s=300, name="clinstream migrate")
    try:
        with translated():
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                await _refuse_unsafe_role(connection, settings.application_role)
                await _refuse_newer(connection)
                await connection.run_sync(_upgrade)
                await _grant(connection, settings.application_role)
    finally:
        await engine.dispose()
    return expected_revision()


def _config() -> "Config":
    # Here and not above: every service imports this package, and only one command migrates (alembic: 12 MB).
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _refuse_unsafe_role(connection: AsyncConnection, role: str) -> None:
    query = text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = :role")
    if (await connection.execute(query, {"role": role})).scalar():
        raise UserError(
            f"The database role {role!r} bypasses row-level security, which guards personal data. Connect as a role "
            "without SUPERUSER and BYPASSRLS."
        )


async def _refuse_newer(connection: AsyncConnection) -> None:
    if (await connection.execute(text("SELECT to_regclass('alembic_version')"))).scalar() is None:
        return
    found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
    known = {script.revision for script in _scripts().walk_revisions()}
    unknown = sorted(set(found) - known)
    if unknown:
        raise Conflict(
            f"The database is at revision {unknown[0]}, newer than this release; migrations go forward only."
        )


async def _grant(connection: AsyncConnection, role: str) -> None:
    owner = (await connection.execute(text("SELECT current_user"))).scalar()
    if not role or role == owner:
        return
    name = (await connection.execute(text("SELECT quote_ident(:role)"), {"role": role})).scalar()
    await connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {name}"))
    for table, privileges in PRIVILEGES.items():
        await connection.execute(text(f"GRANT {privileges} ON {table} TO {name}"))
    for function in FUNCTIONS:
        await connection.execute(text(f"GRANT EXECUTE ON FUNCTION {function} TO {name}"))
    await connection.execute(text(f"GRANT SELECT ON alembic_version TO {name}"))
