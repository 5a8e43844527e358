"""Images and who they are of; the personal tables are readable only in a transaction that wrote its audit line."""

import json
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.columns import Column, arrays, names, unnest
from adapters.database.records import ImageIdentity

IMAGES: tuple[Column[ImageIdentity], ...] = (
    Column("event_id", "uuid", lambda i: i.event_id),
    Column("object_id", "text", lambda i: i.object_id),
    Column("subject_id", "text", lambda i: i.subject_id),
    Column("study_id", "text", lambda i: i.study_id),
    Column("blob_uri", "text", lambda i: i.blob_uri),
    Column("modality", "text", lambda i: i.modality),
    Column("sender", "text", lambda i: i.sender),
    Column("simulated", "bool", lambda i: i.simulated),
    Column("wrapped", "bool", lambda i: i.wrapped),
    Column("observed_at", "timestamptz", lambda i: i.observed_at),
    Column("sop_class_uid", "text", lambda i: i.sop_class_uid),
    Column("transfer_syntax_uid", "text", lambda i: i.transfer_syntax_uid),
    Column("media_type", "text", lambda i: i.media_type),
    Column("laterality", "text", lambda i: i.laterality),
    Column("destinations", "jsonb", lambda i: None if i.destinations is None else json.dumps(i.destinations)),
)
STUDIES: tuple[Column[ImageIdentity], ...] = (
    Column("study_id", "text", lambda i: i.study_id),
    Column("subject_id", "text", lambda i: i.subject_id),
    Column("study_instance_uid", "text", lambda i: _plain(i.study_instance_uid)),
    Column("accession_number", "text", lambda i: _plain(i.accession_number)),
)
IDENTITIES: tuple[Column[ImageIdentity], ...] = (
    Column("subject_id", "text", lambda i: i.subject_id),
    Column("issuer", "text", lambda i: _plain(i.issuer)),
    Column("patient_id", "text", lambda i: _plain(i.patient_id)),
    Column("patient_name", "text", lambda i: _plain(i.patient_name)),
    Column("birth_date", "text", lambda i: _plain(i.birth_date)),
    Column("sex", "text", lambda i: _plain(i.sex)),
)


def _insert(table: str, columns: Sequence[Column[ImageIdentity]]) -> str:
    # No conflict target: naming one would need the right to read the row that is there.
    return f"INSERT INTO {table} ({names(columns)}) SELECT * FROM {unnest(columns)} ON CONFLICT DO NOTHING"


# insert-images, insert-studies, insert-identities: what is there already stays as it is.
INSERT_IMAGES = text(_insert("images", IMAGES))
INSERT_STUDIES = text(_insert("studies", STUDIES))
INSERT_IDENTITIES = text(_insert("identities", IDENTITIES))

# audit-add: one line; its id opens the personal tables for the rest of this transaction.
AUDIT = text(
    "INSERT INTO audit (by_whom, purpose, action, details) "
    "VALUES (:by_whom, :purpose, :action, CAST(:details AS jsonb)) RETURNING id"
)
DECLARE = text("SELECT set_config('clinstream.audit', :id, true)")

# studies-by-number: by accession number or Study Instance UID.
STUDIES_BY_NUMBER = text(
    "SELECT study_id, subject_id FROM studies WHERE accession_number = :number OR study_instance_uid = :number"
)

# subjects-by-patient: by the patient's id, of whichever issuer.
SUBJECTS_BY_PATIENT = text("SELECT subject_id FROM identities WHERE patient_id = :number")


async def note(connection: AsyncConnection, rows: Sequence[ImageIdentity]) -> None:
    """Stores images, their studies and their patients; sorted, so that two writers never wait crosswise."""
    if not rows:
        return
    await note_events(connection, rows)
    named = [row for row in reversed(rows) if row.named]
    if not named:
        return
    studies = {row.study_id: row for row in named}
    await connection.execute(INSERT_STUDIES, arrays(STUDIES, (studies[key] for key in sorted(studies))))
    people = {row.subject_id: row for row in named}
    await connection.execute(INSERT_IDENTITIES, arrays(IDENTITIES, (people[key] for key in sorted(people))))


async def note_events(connection: AsyncConnection, rows: Sequence[ImageIdentity]) -> None:
    """Stores images by pseudonym, and nothing of whose they are."""
    await connection.execute(INSERT_IMAGES, arrays(IMAGES, sorted(rows, key=lambda i: i.event_id)))


async def audit(
    connection: AsyncConnection, *, by_whom: str, purpose: str, action: str, details: dict[str, object]
) -> int:
    """Adds a line to the audit and returns its id."""
    values = {"by_whom": by_whom, "purpose": purpose, "action": action, "details": json.dumps(details)}
    return int((await connection.execute(AUDIT, values)).scalar_one())


async def look_up(connection: AsyncConnection, number: str, *, by_whom: str, purpose: str) -> tuple[set[str], set[str]]:
    """(study ids, subject ids) behind an accession number, Study Instance UID or patient id; the read is audited.

    The audit line carries the pseudonyms that were found, not the number that was typed.
    """
    line = await audit(connection, by_whom=by_whom, purpose=purpose, action="identities.look_up", details={})
    await connection.execute(DECLARE, {"id": str(line)})
    studies = list(await connection.execute(STUDIES_BY_NUMBER, {"number": number}))
    people = list(await connection.execute(SUBJECTS_BY_PATIENT, {"number": number}))
    study_ids = {row.study_id for row in studies}
    subjects = {row.subject_id for row in people}
    details: dict[str, object] = {"line": line, "studies": sorted(study_ids), "subjects": sorted(subjects)}
    await audit(connection, by_whom=by_whom, purpose=purpose, action="identities.found", details=details)
    return study_ids, subjects


def _plain(value: str) -> str:
    """PostgreSQL text cannot hold NUL, which broken headers do."""
    return value.replace("\x00", "")
