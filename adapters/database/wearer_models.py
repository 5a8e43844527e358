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

DEPLOYED, ON_TRIAL = "deployed", "on trial"
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

# wearer-zone: as the newest credential of the wearer says it.
ZONE = text(
    "SELECT zone FROM wearers WHERE subject_id = :subject AND zone <> '' "
    "ORDER BY created_at DESC, credential_id LIMIT 1"
)

# wearer-readings: in force, oldest first; new since: how many came in after a moment.
READINGS = text(
    "SELECT measured_at, glucose_mg_dl FROM (SELECT DISTINCT ON (measured_at) measured_at, glucose_mg_dl, deleted "
    "FROM readings WHERE subject_id = :subject AND simulated = :simulated AND measured_at >= :since "
    "ORDER BY measured_at, revision DESC) AS newest WHERE NOT deleted ORDER BY measured_at"
)

# wearer-page, wearer-standings: real readings only. Readings of more than two weeks before an attempt that came in
# after it are not counted, so that a look at a wearer stays cheap; the schedule takes them up.
PAGE = text(
    "SELECT subject_id FROM glucose_windows WHERE NOT simulated AND subject_id > :after "
    "ORDER BY subject_id LIMIT :limit"
)
STANDINGS = text(
    "SELECT asked.subject_id, a.trained_at, coalesce(a.base_version, ''), coalesce(a.outcome, '') = 'on trial', "
    "n.many, coalesce(f.rmse, 0), t.many, coalesce(t.rmse, 0) "
    "FROM unnest(CAST(:subjects AS text[])) AS asked(subject_id) "
    "LEFT JOIN LATERAL (SELECT trained_at, base_version, outcome FROM wearer_models m "
    "WHERE m.subject_id = asked.subject_id AND NOT m.simulated ORDER BY m.number DESC LIMIT 1) AS a ON true "
    "LEFT JOIN LATERAL (SELECT CAST(m.metrics->>'rmse_60_after' AS float8) AS rmse FROM wearer_models m "
    "WHERE m.subject_id = asked.subject_id AND NOT m.simulated AND m.active) AS f ON true "
    "CROSS JOIN LATERAL (SELECT count(*) AS many FROM (SELECT 1 FROM readings r WHERE r.subject_id = asked.subject_id "
    "AND NOT r.simulated AND (a.trained_at IS NULL OR "
    "r.recorded_at > a.trained_at AND r.measured_at > a.trained_at - interval '14 days') LIMIT :enough) AS x) AS n "
    "CROSS JOIN LATERAL (SELECT count(*) AS many, sqrt(avg((g.expected - g.truth) ^ 2)) AS rmse FROM glucose_truths g "
    "WHERE g.subject_id = asked.subject_id AND NOT g.simulated AND g.horizon_minutes = 60 "
    "AND g.version = a.base_version AND g.target_at > a.trained_at + interval '1 hour') AS t ORDER BY asked.subject_id"
)
# end-trial: only of one that is still on trial.
END_TRIAL = text(
    "UPDATE wearer_models SET outcome = :outcome, active = :active, metrics = metrics || CAST(:metrics AS jsonb) "
    "WHERE subject_id = :subject AND simulated = :simulated AND number = :number AND outcome = 'on trial'"
)
SUPERSEDE = text(
    "UPDATE wearer_models SET outcome = 'superseded' "
    "WHERE subject_id = :subject AND simulated = :simulated AND outcome = 'on trial'"
)

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
    """One attempt to fit a wearer's vector to a version of the model; `vector` is empty where it was not better."""

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


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a wearer's own vector: the newest attempt, and what came in since.

    `rmse_at_fit` is what the vector in force was judged by (mg/dL at 60 minutes, 0 without one), `rmse` that of the
    `truths` forecasts of the attempt's version that have met their truth since.
    """

    wearer: Wearer
    attempted_at: datetime | None
    base_version: str
    on_trial: bool
    new_readings: int
    rmse_at_fit: float
    truths: int
    rmse: float


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
            await connection.execute(SUPERSEDE, _whose(wearer))
            if made.active:
                await connection.execute(RETIRE, _whose(wearer))
                await connection.execute(MOVE, _whose(wearer))
            await connection.execute(INSERT, {**_whose(wearer), **_row(made)})
            return True

        return await self._transactions.run(work)

    async def zone(self, wearer: Wearer) -> str:
        """The zone of the wearer's clock, as it was said with a credential; empty where nobody did."""

        async def work(connection: AsyncConnection) -> str:
            return (await connection.execute(ZONE, {"subject": wearer[0]})).scalar() or ""

        return await self._transactions.run(work)

    async def readings(self, wearer: Wearer, since: datetime) -> list[tuple[datetime, float]]:
        """(sensor time, mg/dL) of the readings in force, oldest first."""

        async def work(connection: AsyncConnection) -> list[tuple[datetime, float]]:
            rows = await connection.execute(READINGS, {**_whose(wearer), "since": since})
            return [(row[0], row[1]) for row in rows]

        return await self._transactions.run(work)

    async def end_trial(self, wearer: Wearer, number: int, outcome: str, metrics: Mapping[str, Any]) -> bool:
        """Ends the trial of an attempt: `deployed` puts it in the place of the one in force, which is kept.

        False, and nothing is changed, where it is on trial no more.
        """

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(TURN, {**_whose(wearer), "simulated": str(wearer[1])})
            await scope(connection, [wearer])
            active = outcome == DEPLOYED
            newest = {row.number: row.outcome for row in await connection.execute(OF, _whose(wearer))}
            if newest.get(number) != ON_TRIAL:
                return False
            if active:
                await connection.execute(RETIRE, _whose(wearer))
                await connection.execute(MOVE, _whose(wearer))
            values = {"number": number, "outcome": outcome, "active": active, "metrics": json.dumps(dict(metrics))}
            await connection.execute(END_TRIAL, {**_whose(wearer), **values})
            return True

        return await self._transactions.run(work)

    async def standings(self, after: str, limit: int, enough: int) -> list[Standing]:
        """How it stands with the next so many wearers of whom real readings are stored, in the order of pseudonyms.

        New readings are counted to `enough`.
        """

        async def work(connection: AsyncConnection) -> list[Standing]:
            subjects = [row[0] for row in await connection.execute(PAGE, {"after": after, "limit": limit})]
            await scope(connection, [(subject, False) for subject in subjects])
            rows = await connection.execute(STANDINGS, {"subjects": subjects, "enough": enough})
            return [Standing((row[0], False), *row[1:]) for row in rows]

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
