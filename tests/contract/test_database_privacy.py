"""Who may see what in PostgreSQL: personal tables, the audit, the role; on a real server."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from adapters.clock import SystemClock
from adapters.database import Database, ImageIdentity, migrate
from adapters.database.engine import make_engine
from adapters.settings import DatabaseSettings, Settings
from schemas import ids
from schemas.errors import UserError
from tests.support import stack

WHO = {"by_whom": "tester", "purpose": "a test"}


def image(name: str = "Doe^Jane", number: str = "1") -> ImageIdentity:
    """An image with its person."""
    return ImageIdentity(
        event_id=ids.event_id(f"1.2.{number}", "content"),
        object_id=f"1.2.{number}",
        subject_id=f"sub-{number}",
        study_id=f"stu-{number}",
        blob_uri="pixels/aa/aa",
        study_instance_uid=f"1.9.{number}",
        accession_number=f"A{number}",
        patient_id=f"P{number}",
        patient_name=name,
        birth_date="19700101",
        sex="F",
    )


@pytest.fixture
async def application(fresh_database: Settings) -> AsyncIterator[Database]:
    """As the services have it."""
    opened = Database.open(fresh_database, SystemClock())
    yield opened
    await opened.close()


async def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Runs statements in one transaction of their own; the rows of the last."""
    engine = make_engine(url, pool_size=1, statement_timeout_s=10)
    try:
        async with engine.begin() as connection:
            result = None
            for statement in statements:
                result = await connection.execute(text(statement))
            return [tuple(row) for row in result] if result is not None and result.returns_rows else []
    finally:
        await engine.dispose()


async def test_a_read_that_is_not_audited_finds_nobody_for_application_and_owner_alike(
    application: Database, fresh_database: Settings
) -> None:
    """CC28: FORCE ROW LEVEL SECURITY holds for the owner of the table too."""
    await application.note_images([image()])
    for url in (fresh_database.database.url, fresh_database.database.migration_url):
        assert await run(url, "SELECT * FROM identities") == []
        assert await run(url, "SELECT * FROM studies") == []


async def test_naming_an_audit_line_of_another_transaction_does_not_open_the_table(
    application: Database, fresh_database: Settings
) -> None:
    await application.note_images([image()])
    await application.look_up("P1", **WHO)
    url = fresh_database.database.url
    (line,) = await run(url, "SELECT max(id) FROM audit")
    assert await run(url, f"SET LOCAL clinstream.audit = '{line[0]}'", "SELECT * FROM identities") == []


async def test_a_lookup_by_accession_study_uid_or_patient_finds_the_pseudonyms_and_is_audited(
    application: Database, fresh_database: Settings
) -> None:
    await application.note_images([image(number="1"), image(number="2")])
    assert await application.look_up("A1", **WHO) == ({"stu-1"}, set())
    assert await application.look_up("1.9.2", **WHO) == ({"stu-2"}, set())
    assert await application.look_up("P2", **WHO) == (set(), {"sub-2"})
    assert await application.look_up("nobody", **WHO) == (set(), set())
    lines = await run(
        fresh_database.database.url, "SELECT by_whom, purpose, action, details::text FROM audit ORDER BY id"
    )
    assert [line[:3] for line in lines] == [
        ("tester", "a test", action) for _ in range(4) for action in ("identities.look_up", "identities.found")
    ]
    assert "sub-2" in str(lines[5][3])
    assert not any(word in str(lines) for word in ("Doe", "P2", "A1")), "the audit names pseudonyms only"


async def test_the_audit_can_be_added_to_and_not_changed_or_emptied(
    application: Database, fresh_database: Settings
) -> None:
    await application.look_up("anybody", **WHO)
    for statement in ("UPDATE audit SET by_whom = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        for url in (fresh_database.database.url, fresh_database.database.migration_url):
            with pytest.raises(DBAPIError) as refused:
                await run(url, statement)
            assert any(word in str(refused.value) for word in ("append-only", "permission denied"))


async def test_the_first_name_of_a_patient_stays_and_broken_text_does_not_stop_the_batch(application: Database) -> None:
    """The same image from two senders with another form of the name; NUL cannot be stored by PostgreSQL."""
    await application.note_images([image("Doe^Jane"), image("JANE DOE"), image("broken\x00name", number="3")])
    await application.note_images([image("J. Doe")])
    assert await application.look_up("P3", **WHO) == (set(), {"sub-3"})
    assert len((await application.trail(subjects=["sub-1"])).images) == 1


async def test_the_application_cannot_delete_results_or_change_answers(fresh_database: Settings) -> None:
    for statement in (
        "DELETE FROM visible",
        "UPDATE answers SET score = 1",
        "DROP TABLE outcomes",
        "DELETE FROM releases",
    ):
        with pytest.raises(ProgrammingError):
            await run(fresh_database.database.url, statement)


async def test_an_error_of_the_database_does_not_quote_the_values_of_a_statement(fresh_database: Settings) -> None:
    engine = make_engine(fresh_database.database.url, pool_size=1, statement_timeout_s=10)
    try:
        async with engine.begin() as connection:
            with pytest.raises(DBAPIError) as broken:
                await connection.execute(text("SELECT CAST(:name AS text) FROM nowhere"), {"name": "Doe^Jane"})
        assert "Doe" not in str(broken.value)
    finally:
        await engine.dispose()


def test_migrating_for_a_role_that_bypasses_row_level_security_is_refused(database_server: Settings) -> None:
    """CC28."""
    superuser = stack.superuser_url(database_server).replace("postgresql://", "postgresql+asyncpg://")
    unsafe = database_server.model_copy(update={"database": DatabaseSettings(url=superuser)})
    with pytest.raises(UserError, match="row-level security"):
        migrate(unsafe)
