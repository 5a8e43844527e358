"""Headers of stored objects: noted behind the log, searched and located for DICOMweb; each read audits itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities
from adapters.database.columns import Column, arrays, names, unnest

Level = Literal["studies", "series", "instances"]
Kind = Literal["exact", "wildcard", "range"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored object. `attributes` is DICOM JSON of what searches return; the personal fields never show."""

    event_id: UUID
    study_id: str
    subject_id: str
    study_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    patient_id: str = field(repr=False)
    patient_name: str = field(repr=False)
    accession_number: str = field(repr=False)
    study_date: str = field(repr=False)
    blob_uri: str
    size_bytes: int
    attributes: Mapping[str, Any] = field(repr=False)
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Match:
    """One matching key: `column` (one of `MATCHED`) against values as PS3.4 C.2.2.2 means them by `kind`."""

    column: str
    kind: Kind
    values: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """One row of a search: the newest object's attributes and what was counted over the study or series."""

    attributes: Mapping[str, Any] = field(repr=False)
    modalities: tuple[str, ...]
    series: int
    instances: int
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Located:
    """Where the newest content of an object lies."""

    study_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    transfer_syntax_uid: str
    blob_uri: str
    size_bytes: int


COLUMNS: tuple[Column[Instance], ...] = (
    Column("event_id", "uuid", lambda i: i.event_id),
    Column("study_id", "text", lambda i: i.study_id),
    Column("subject_id", "text", lambda i: i.subject_id),
    Column("study_instance_uid", "text", lambda i: i.study_instance_uid),
    Column("series_instance_uid", "text", lambda i: i.series_instance_uid),
    Column("sop_instance_uid", "text", lambda i: i.sop_instance_uid),
    Column("sop_class_uid", "text", lambda i: i.sop_class_uid),
    Column("transfer_syntax_uid", "text", lambda i: i.transfer_syntax_uid),
    Column("modality", "text", lambda i: i.modality),
    Column("patient_id", "text", lambda i: i.patient_id),
    Column("patient_name", "text", lambda i: i.patient_name),
    Column("accession_number", "text", lambda i: i.accession_number),
    Column("study_date", "text", lambda i: i.study_date),
    Column("blob_uri", "text", lambda i: i.blob_uri),
    Column("size_bytes", "int8", lambda i: i.size_bytes),
    Column("attributes", "jsonb", lambda i: json.dumps(i.attributes)),
    Column("observed_at", "timestamptz", lambda i: i.observed_at),
)
MATCHED = frozenset(
    {
        "study_instance_uid",
        "series_instance_uid",
        "sop_instance_uid",
        "sop_class_uid",
        "modality",
        "patient_id",
        "patient_name",
        "accession_number",
        "study_date",
    }
)
GROUPED: Mapping[Level, str] = {
    "studies": "study_instance_uid",
    "series": "study_instance_uid, series_instance_uid",
    "instances": "study_instance_uid, series_instance_uid, sop_instance_uid",
}

# insert-instances: what is there already stays as it is.
INSERT = text(f"INSERT INTO instances ({names(COLUMNS)}) SELECT * FROM {unnest(COLUMNS)} ON CONFLICT DO NOTHING")

# Studies in which an object matches; everything of them is counted.
SEARCH = """
SELECT (array_agg(attributes ORDER BY observed_at DESC, event_id))[1] AS attributes,
       array_agg(DISTINCT modality) AS modalities,
       count(DISTINCT series_instance_uid) AS series,
       count(DISTINCT sop_instance_uid) AS instances,
       (array_agg(transfer_syntax_uid ORDER BY observed_at DESC, event_id))[1] AS transfer_syntax_uid
FROM instances
WHERE study_instance_uid <> '' AND ({group}) IN (SELECT {group} FROM instances WHERE {conditions})
GROUP BY {group}
ORDER BY max(study_date) DESC, {group}
LIMIT :limit OFFSET :offset
"""
LOCATE = """
SELECT DISTINCT ON (series_instance_uid, sop_instance_uid) study_instance_uid, series_instance_uid, sop_instance_uid,
       transfer_syntax_uid, blob_uri, size_bytes
FROM instances WHERE {conditions}
ORDER BY series_instance_uid, sop_instance_uid, observed_at DESC, event_id
"""


async def note(connection: AsyncConnection, rows: Sequence[Instance]) -> None:
    """Stores the headers of objects; sorted, so that two writers never wait crosswise."""
    if rows:
        await connection.execute(INSERT, arrays(COLUMNS, sorted(rows, key=lambda i: i.event_id)))


async def search(
    connection: AsyncConnection, level: Level, matches: Sequence[Match], *, limit: int, offset: int, by_whom: str
) -> list[Found]:
    """What matches at a level, the newest study date first; the read is audited without what was asked for."""
    conditions, values = _conditions(matches)
    await _declare(connection, by_whom, f"search of {level}", {"keys": sorted({match.column for match in matches})})
    statement = text(SEARCH.format(group=GROUPED[level], conditions=conditions))
    rows = await connection.execute(statement, {**values, "limit": limit, "offset": offset})
    return [
        Found(row.attributes, tuple(sorted(filter(None, row.modalities))), row.series, row.instances, row[4])
        for row in rows
    ]


async def locate(connection: AsyncConnection, matches: Sequence[Match], *, by_whom: str) -> list[Located]:
    """The objects that match, the newest content of each; the read is audited with the pseudonyms of the studies."""
    conditions, values = _conditions(matches)
    await _declare(connection, by_whom, "retrieval", {})
    rows = [Located(*row) for row in await connection.execute(text(LOCATE.format(conditions=conditions)), values)]
    studies = text(f"SELECT DISTINCT study_id FROM instances WHERE {conditions}")
    found = sorted((await connection.execute(studies, values)).scalars())
    details: dict[str, object] = {"studies": found, "instances": len(rows)}
    await identities.audit(connection, by_whom=by_whom, purpose="retrieval", action="instances.found", details=details)
    return rows


async def _declare(connection: AsyncConnection, by_whom: str, purpose: str, details: dict[str, object]) -> None:
    line = await identities.audit(
        connection, by_whom=by_whom, purpose=purpose, action="instances.read", details=details
    )
    await connection.execute(identities.DECLARE, {"id": str(line)})


def _conditions(matches: Sequence[Match]) -> tuple[str, dict[str, Any]]:
    """SQL with named values; columns come from a fixed set and never from the request."""
    parts, values = ["study_instance_uid <> ''"], dict[str, Any]()
    for number, match in enumerate(matches):
        if match.column not in MATCHED:
            raise ValueError(f"{match.column} is not searched")
        name = f"v{number}"
        if match.kind == "exact":
            parts.append(f"{match.column} = ANY(CAST(:{name} AS text[]))")
            values[name] = list(match.values)
        elif match.kind == "range":
            low, high = match.values
            parts.append(f"{match.column} >= :{name} AND {match.column} <= :{name}h AND {match.column} <> ''")
            values[name], values[f"{name}h"] = low, high or "99999999"
        else:
            parts.append(f"{match.column} ILIKE :{name}")
            values[name] = _like(match.values[0])
    return " AND ".join(parts), values


def _like(pattern: str) -> str:
    """A DICOM wildcard (PS3.4 C.2.2.2.4) as a pattern of LIKE."""
    plain = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%").replace("?", "_")
