"""Waiting for what became of sent events: asks PostgreSQL until every event has its outcomes, within a bound."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.clock import Clock
from adapters.database import Database
from adapters.database.records import StoredOutcome
from clinstream.told import told

ANY_TASK = "*"
ASKS = "answered"
"""The fate of a first task after which the follow-up has one as well."""

Chain = Sequence[str]
"""A task that events are routed to, and the follow-ups that its result may ask for."""

ASK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Ending:
    """How one event ended for one task; `label` and `score` of the visible result where there is one, and
    what it says in words if it is a forecast."""

    event_id: str
    task: str
    fate: str
    reason: str = ""
    label: str = ""
    score: float | None = None
    said: str = ""
    abstained: bool = False
    result_id: str = ""

    def line(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "task": self.task,
            "fate": self.fate,
            "reason": self.reason,
            "label": self.label,
            "score": self.score,
            "abstained": self.abstained,
            "result_id": self.result_id,
        }


async def endings(
    database: Database,
    event_ids: Iterable[str],
    chains: Collection[Chain],
    clock: Clock,
    *,
    seconds: float,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Ending]]:
    """The endings by event id; after `seconds`, an event that has not ended as `is_complete` has it is incomplete.

    Raises DatabaseUnavailable.
    """
    open_ids = {UUID(name) for name in event_ids}
    total = len(open_ids)
    found: dict[UUID, list[StoredOutcome]] = {}
    until = clock.monotonic() + seconds
    while open_ids:
        for outcome in await database.outcomes_of(sorted(open_ids)):
            known = found.setdefault(outcome.event_id, [])
            known[:] = [*(row for row in known if row.task != outcome.task), outcome]
        open_ids -= {event for event, rows in found.items() if is_complete(rows, chains)}
        progress(total - len(open_ids))
        if clock.monotonic() >= until:
            break
        if open_ids:
            await clock.sleep(ASK_EVERY_S)
    return await _with_results(database, found)


def is_complete(rows: Sequence[StoredOutcome], chains: Collection[Chain]) -> bool:
    """Whether an event has ended: for `*`, which stands for all tasks, or in every chain that claimed it.

    Which tasks claim an image is in its header, so a chain counts once one of its tasks has ended; its other tasks are
    owed only after an answer, which may ask for them.
    """
    fates = {row.task: row.fate for row in rows}
    if ANY_TASK in fates:
        return True
    claimed = [chain for chain in chains if any(task in fates for task in chain)]
    return bool(claimed) and all(
        all(task in fates for task in chain) or fates.get(chain[0], ASKS) != ASKS for chain in claimed
    )


async def _with_results(database: Database, found: dict[UUID, list[StoredOutcome]]) -> dict[str, list[Ending]]:
    keys = [
        (row.object_id, row.content, row.task)
        for rows in found.values()
        for row in rows
        if row.fate in ("answered", "duplicate_of")
    ]
    visible = await database.already_visible(keys) if keys else {}
    ended: dict[str, list[Ending]] = {}
    for event, rows in found.items():
        for row in rows:
            shown = visible.get((row.object_id, row.content, row.task))
            answer = shown.result.answer if shown else None
            ending = Ending(
                str(event),
                row.task,
                row.fate,
                row.reason,
                label=answer.label if answer else "",
                score=answer.score if answer else None,
                said=told(answer) if answer and answer.forecast else "",
                abstained=bool(answer and answer.abstained),
                result_id=str(shown.result.result_id) if shown else "",
            )
            ended.setdefault(str(event), []).append(ending)
    return ended
