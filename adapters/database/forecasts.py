"""Tables of forecasts that were asked for and of what then happened to all forecasts; making them is elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.glucose_marks import Mark
from adapters.database.records import Wearer

HORIZONS = (30, 60, 120, 240)
"""Minutes ahead at which forecasts are compared with what the sensor then reported."""
EVERYONE = "*"

SCOPE = text("SELECT set_config('clinstream.wearer', :subject, true)")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A forecast that was asked for, as it was answered; `fallback` says why no model made it, empty where one did.

    `truth` is what the sensor then reported, by minutes ahead, as far as that is known.
    """

    prediction_id: UUID
    wearer: Wearer
    made_at: datetime
    newest_at: datetime | None
    version: str
    fallback: str
    content: dict[str, Any]
    truth: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors in mg/dL of one version at one horizon; `coverage` is the share of truths within the interval.

    `persistence_rmse` is that of "it stays as it is" over the same forecasts; `r2` None where the truth never varied.
    """

    version: str
    horizon_minutes: int
    n: int
    rmse: float
    mae: float
    r2: float | None
    coverage: float
    persistence_rmse: float


KEEP = text(
    "INSERT INTO glucose_predictions SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:subjects AS text[]), "
    "CAST(:simulated AS bool[]), CAST(:made AS timestamptz[]), CAST(:newest AS timestamptz[]), "
    "CAST(:versions AS text[]), CAST(:fallbacks AS text[]), CAST(CAST(:contents AS text[]) AS jsonb[])) "
    "ON CONFLICT DO NOTHING"
)
OF_WEARER = text(
    "SELECT prediction_id, made_at, newest_at, version, fallback, content, coalesce((SELECT "
    "jsonb_object_agg(t.horizon_minutes, round(t.truth::numeric, 1)) FROM glucose_truths t "
    "WHERE t.forecast_id = prediction_id), '{}') AS truth FROM glucose_predictions "
    "WHERE subject_id = :subject AND simulated = :simulated ORDER BY made_at DESC LIMIT :limit"
)

_ASKED = (
    "unnest(CAST(:subjects AS text[]), CAST(:simulated AS bool[]), CAST(:first AS timestamptz[]), "
    "CAST(:last AS timestamptz[])) AS asked(subject_id, simulated, first, last)"
)
# A truth may be this far from the time that was spoken of.
_NEAR = "interval '150 seconds'"
# forget-truths: what stood on readings that changed is looked up anew.
FORGET = text(
    f"DELETE FROM glucose_truths t USING {_ASKED} WHERE t.subject_id = asked.subject_id "
    f"AND t.simulated = asked.simulated AND t.target_at BETWEEN asked.first - {_NEAR} AND asked.last + {_NEAR} "
    "AND t.truth_at BETWEEN asked.first AND asked.last"
)
_TRUTHS = (
    "INSERT INTO glucose_truths SELECT said.forecast_id, f.horizon_minutes, said.subject_id, said.simulated, "
    "said.version, said.at + f.horizon_minutes * interval '1 minute', f.glucose_mg_dl, f.low, f.high, said.newest, "
    "t.glucose_mg_dl, t.measured_at FROM ({said}) AS said, "
    "LATERAL jsonb_to_recordset(said.forecast) "
    "AS f(horizon_minutes int4, glucose_mg_dl float4, low float4, high float4), "
    "LATERAL (SELECT x.measured_at, x.glucose_mg_dl FROM readings x WHERE x.subject_id = said.subject_id "
    "AND x.simulated = said.simulated AND x.measured_at BETWEEN "
    f"said.at + f.horizon_minutes * interval '1 minute' - {_NEAR} "
    f"AND said.at + f.horizon_minutes * interval '1 minute' + {_NEAR} "
    "AND NOT x.deleted "
    "AND NOT EXISTS (SELECT 1 FROM readings h WHERE h.subject_id = x.subject_id AND h.simulated = x.simulated "
    "AND h.measured_at = x.measured_at AND h.revision > x.revision) "
    "ORDER BY abs(extract(epoch FROM x.measured_at - said.at) - f.horizon_minutes * 60), x.measured_at LIMIT 1) AS t "
    "WHERE f.horizon_minutes = ANY(CAST(:horizons AS int4[])) "
    "AND said.at + f.horizon_minutes * interval '1 minute' "
    f"BETWEEN said.first - {_NEAR} AND said.last + {_NEAR} "
    "ON CONFLICT (forecast_id, horizon_minutes) DO UPDATE SET truth = EXCLUDED.truth, truth_at = EXCLUDED.truth_at "
    "WHERE glucose_truths.truth <> EXCLUDED.truth OR glucose_truths.truth_at <> EXCLUDED.truth_at"
)
_LONGEST = f"interval '{max(HORIZONS) + 5} minutes'"
# join-answers, join-predictions: forecasts whose times of speech the changed readings are near to.
JOIN_ANSWERS = text(
    _TRUTHS.format(
        said="SELECT a.answer_id AS forecast_id, a.subject_id, a.simulated, a.version, r.measured_at AS at, "
        f"r.glucose_mg_dl AS newest, a.forecast, asked.first, asked.last FROM {_ASKED} JOIN readings r "
        "ON r.subject_id = asked.subject_id AND r.simulated = asked.simulated "
        f"AND r.measured_at BETWEEN asked.first - {_LONGEST} AND asked.last "
        # Only readings from which a horizon reaches the changed ones: a seventh of those of the two hours.
        "AND EXISTS (SELECT 1 FROM unnest(CAST(:horizons AS int4[])) h WHERE "
        "r.measured_at + h * interval '1 minute' "
        f"BETWEEN asked.first - {_NEAR} AND asked.last + {_NEAR}) "
        "JOIN outcomes o ON o.event_id = r.event_id AND o.fate = 'answered' "
        "JOIN answers a ON a.answer_id = o.answer_id AND a.label = 'forecast'"
    )
)
JOIN_PREDICTIONS = text(
    _TRUTHS.format(
        said="SELECT p.prediction_id AS forecast_id, p.subject_id, p.simulated, "
        "CASE WHEN p.fallback = '' THEN p.version ELSE 'baseline' END AS version, p.newest_at AS at, "
        "(p.content->>'newest_mg_dl')::float4 AS newest, p.content->'forecast' AS forecast, asked.first, asked.last "
        f"FROM {_ASKED} JOIN glucose_predictions p ON p.subject_id = asked.subject_id "
        "AND p.simulated = asked.simulated AND p.made_at > asked.first - interval '1 day' "
        f"AND p.newest_at BETWEEN asked.first - {_LONGEST} AND asked.last"
    )
)
ACCURACY = text(
    "SELECT version, horizon_minutes, count(*) AS n, sqrt(avg((expected - truth) ^ 2)) AS rmse, "
    "avg(abs(expected - truth)) AS mae, "
    "CASE WHEN var_pop(truth) > 0 THEN 1 - avg((expected - truth) ^ 2) / var_pop(truth) END AS r2, "
    "avg((truth BETWEEN low AND high)::int) AS coverage, sqrt(avg((newest - truth) ^ 2)) AS persistence "
    "FROM glucose_truths WHERE simulated = :simulated AND (CAST(:subject AS text) IS NULL OR subject_id = :subject) "
    "GROUP BY version, horizon_minutes ORDER BY version, horizon_minutes"
)


async def keep(connection: AsyncConnection, predictions: Sequence[Prediction]) -> None:
    """Stores forecasts; each is readable in its wearer's scope alone."""
    await connection.execute(SCOPE, {"subject": EVERYONE})
    await connection.execute(
        KEEP,
        {
            "ids": [each.prediction_id for each in predictions],
            "subjects": [each.wearer[0] for each in predictions],
            "simulated": [each.wearer[1] for each in predictions],
            "made": [each.made_at for each in predictions],
            "newest": [each.newest_at for each in predictions],
            "versions": [each.version for each in predictions],
            "fallbacks": [each.fallback for each in predictions],
            "contents": [json.dumps(each.content) for each in predictions],
        },
    )


async def of_wearer(connection: AsyncConnection, wearer: Wearer, limit: int) -> list[Prediction]:
    """The newest forecasts that a wearer asked for."""
    await connection.execute(SCOPE, {"subject": wearer[0]})
    rows = await connection.execute(OF_WEARER, {"subject": wearer[0], "simulated": wearer[1], "limit": limit})
    return [Prediction(row[0], wearer, *row[1:]) for row in rows]


async def join(connection: AsyncConnection, marks: Sequence[Mark]) -> int:
    """Notes what then happened to the forecasts that spoke of the times of these marks; returns how many changed."""
    await connection.execute(SCOPE, {"subject": EVERYONE})
    spans: dict[str, Any] = {
        "subjects": [mark.wearer[0] for mark in marks],
        "simulated": [mark.wearer[1] for mark in marks],
        "first": [mark.from_at for mark in marks],
        "last": [mark.to_at for mark in marks],
    }
    await connection.execute(FORGET, spans)
    joined = 0
    for statement in (JOIN_ANSWERS, JOIN_PREDICTIONS):
        joined += (await connection.execute(statement, {**spans, "horizons": list(HORIZONS)})).rowcount
    return joined


async def accuracy(connection: AsyncConnection, simulated: bool, subject: str | None) -> list[Accuracy]:
    """Errors by version and horizon, of all wearers or of one."""
    rows = await connection.execute(ACCURACY, {"simulated": simulated, "subject": subject})
    return [
        Accuracy(
            row.version,
            row.horizon_minutes,
            row.n,
            float(row.rmse),
            float(row.mae),
            None if row.r2 is None else float(row.r2),
            float(row.coverage),
            float(row.persistence),
        )
        for row in rows
    ]
