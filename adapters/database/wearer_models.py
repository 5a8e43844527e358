"""What was fitted to wearers, each transaction in the scope of those whom it names; fitting is not done here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database.engine import Transactions
from adapters.database.records import Own, Wearer

DEPLOYED = "deployed"
# wearer-scope: see the policy of the table; pseudonyms hold no comma.
SCOPE = text("SELECT set_config('clinstream.wearers', :subjects, true)")

COLUMNS = (
    "number, version, base_version, outcome, active, vector, trained_at, used_at, data_from, data_until, readings, "
    "features, hyperparameters, metrics"
)
# wearer-models-of: the newest first.
OF = text(
    f"SELECT {COLUMNS} FROM wearer_models WHERE subject_id = :subject AND simulated = :simulated ORDER BY number DESC"
)
RETIRE = text(
    "UPDATE wearer_models SET active = false WHERE subject_id = :subject AND simulated = :simulated AND active"
)
INSERT = text(
    f"INSERT INTO wearer_models (subject_id, simulated, {COLUMNS}) VALUES (:subject, :simulated, :number, :version, "
    ":base_version, :outcome, :active, CAST(:vector AS real[]), :trained_at, NULL, :data_from, :data_until, :readings, "
    "CAST(:features AS jsonb), CAST(:hyperparameters AS jsonb), CAST(:metrics AS jsonb))"
)
# A window with the vector of before must not count as the present one.
MOVE = text(
    "UPDATE glucose_windows SET stamp = gen_random_uuid() WHERE subject_id = :subject AND simulated = :simulated"
)
# One who notes an attempt at a time: of two who fitted the same wearer at once, the later changes nothing.
TURN = text("SELECT pg_advisory_xact_lock(hashtextextended('wearer-model/' || :subject || '/' || :simulated, 0))")
NEWEST = text(
    "SELECT coalesce(max(number), 0) FROM wearer_models WHERE subject_id = :subject AND simulated = :simulated"
)

# wearer-readings: in force, oldest first; new since: how many came in after a moment.
READINGS = text(
    "SELECT measured_at, glucose_mg_dl FROM (SELECT DISTINCT ON (measured_at) measured_at, glucose_mg_dl, deleted "
    "FROM readings WHERE subject_id = :subject AND simulated = :simulated AND measured_at >= :since "
    "ORDER BY measured_at, revision DESC) AS newest WHERE NOT deleted ORDER BY measured_at"
)
NEW_SINCE = text(
    "SELECT count(*) FROM readings WHERE subject_id = :subject AND simulated = :simulated AND recorded_at > :after"
)
EVERYBODY = text("SELECT subject_id, simulated FROM glucose_windows WHERE NOT simulated ORDER BY subject_id")

ASKED = "unnest(CAST(:subjects AS text[]), CAST(:simulated AS bool[])) AS asked(subject_id, simulated)"
# wearer-vectors: of many; used: noted once an hour, and by nobody who would have to wait for another.
VECTORS = text(
    "SELECT m.subject_id, m.simulated, m.base_version, m.vector, "
    "m.used_at IS NULL OR m.used_at < CAST(:now AS timestamptz) - interval '1 hour' "
    f"FROM {ASKED} JOIN wearer_models m USING (subject_id, simulated) WHERE m.active"
)
USED = text(
    "UPDATE wearer_models AS u SET used_at = :now FROM (SELECT m.subject_id, m.simulated, m.number "
    f"FROM {ASKED} JOIN wearer_models m USING (subject_id, simulated) WHERE m.active "
    "FOR UPDATE OF m SKIP LOCKED) AS free "
    "WHERE u.subject_id = free.subject_id AND u.simulated = free.simulated AND u.number = free.number"
)


@dataclass(frozen=True, slots=True)
class WearerModel:
    """One attempt to fit a wearer's vector to a version of the model; `vector` is empty unless it was deployed."""

    number: int
    version: str
    base_version: str
    outcome: str
    active: bool
    vector: Sequence[float]
    trained_at: datetime
    used_at: datetime | None
    data_from: datetime | None
    data_until: datetime | None
    readings: int
    features: Sequence[str]
    hyperparameters: Mapping[str, Any]
    metrics: Mapping[str, Any]


class WearerModels:
    """The table of fits; every method raises DatabaseUnavailable."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    async def of(self, wearer: Wearer) -> list[WearerModel]:
        """All attempts of a wearer, the newest first."""

        async def work(connection: AsyncConnection) -> list[WearerModel]:
            await scope(connection, [wearer])
            return [WearerModel(*row) for row in await connection.execute(OF, _whose(wearer))]

        return await self._transactions.run(work)

    async def add(self, wearer: Wearer, made: WearerModel) -> bool:
        """Notes an attempt; one that is active takes the place of the one before, from the next reading on.

        False, and nothing is changed, where somebody else noted an attempt of that number first.
        """

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(TURN, {**_whose(wearer), "simulated": str(wearer[1])})
            await scope(connection, [wearer])
            if (await connection.execute(NEWEST, _whose(wearer))).scalar_one() >= made.number:
                return False
            if made.active:
                await connection.execute(RETIRE, _whose(wearer))
                await connection.execute(MOVE, _whose(wearer))
            await connection.execute(INSERT, {**_whose(wearer), **_row(made)})
            return True

        return await self._transactions.run(work)

    async def readings(self, wearer: Wearer, since: datetime) -> list[tuple[datetime, float]]:
        """(sensor time, mg/dL) of the readings in force, oldest first."""

        async def work(connection: AsyncConnection) -> list[tuple[datetime, float]]:
            rows = await connection.execute(READINGS, {**_whose(wearer), "since": since})
            return [(row[0], row[1]) for row in rows]

        return await self._transactions.run(work)

    async def new_since(self, wearer: Wearer, after: datetime) -> int:
        """How many readings of a wearer came in after a moment."""

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(NEW_SINCE, {**_whose(wearer), "after": after})).scalar_one())

        return await self._transactions.run(work)

    async def everybody(self) -> list[Wearer]:
        """Everyone of whom real readings are stored."""

        async def work(connection: AsyncConnection) -> list[Wearer]:
            return [(row[0], row[1]) for row in await connection.execute(EVERYBODY)]

        return await self._transactions.run(work)


async def own(connection: AsyncConnection, wearers: Sequence[Wearer], now: datetime) -> dict[Wearer, Own]:
    """The active vectors of those wearers who have one."""
    await scope(connection, wearers)
    found = list(await connection.execute(VECTORS, {**_asked(wearers), "now": now}))
    unnoted = [(row[0], row[1]) for row in found if row[4]]
    if unnoted:
        await connection.execute(USED, {**_asked(unnoted), "now": now})
    return {(row[0], row[1]): Own(row[2], tuple(row[3])) for row in found}


def _asked(wearers: Sequence[Wearer]) -> dict[str, Any]:
    return {"subjects": [wearer[0] for wearer in wearers], "simulated": [wearer[1] for wearer in wearers]}


async def scope(connection: AsyncConnection, wearers: Sequence[Wearer]) -> None:
    """Names whom the rest of the transaction may read and write."""
    subjects = sorted({subject for subject, _ in wearers if "," not in subject})
    await connection.execute(SCOPE, {"subjects": ",".join(subjects)})


def _whose(wearer: Wearer) -> dict[str, Any]:
    return {"subject": wearer[0], "simulated": wearer[1]}


def _row(made: WearerModel) -> dict[str, Any]:
    return {
        "number": made.number,
        "version": made.version,
        "base_version": made.base_version,
        "outcome": made.outcome,
        "active": made.active,
        "vector": list(made.vector),
        "trained_at": made.trained_at,
        "data_from": made.data_from,
        "data_until": made.data_until,
        "readings": made.readings,
        "features": json.dumps(list(made.features)),
        "hyperparameters": json.dumps(dict(made.hyperparameters)),
        "metrics": json.dumps(dict(made.metrics)),
    }
