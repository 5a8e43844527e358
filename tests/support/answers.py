"""Answers and outcomes for tests, made from as little as a test wants to say."""

from typing import Any
from uuid import UUID

from schemas import ids
from schemas.events import Answer, Fate, Origin, OutcomeDecided

TASK = "icu_mortality"


def answer(thing: str = "thing", content: str = "content", *, sender: str = "", **changes: Any) -> Answer:
    """An answer to (thing, content); another `sender` makes it another event of the same content."""
    event = changes.pop("event_id", ids.event_id(thing, content + sender))
    version, task = changes.get("version", "1.0.0"), changes.get("task", TASK)
    values: dict[str, Any] = {
        "answer_id": ids.answer_id(event, task, version, "p1"),
        "event_id": event,
        "object_id": thing,
        "content": content,
        "subject_id": f"sub-{thing}",
        "task": task,
        "version": "1.0.0",
        "preprocessing_version": "p1",
        "label": "died",
        "score": 0.625,
        "threshold": 0.5,
        "probabilities": {"survived": 0.375, "died": 0.625},
        "abstained": False,
        "arm": "serving",
        "release_epoch": 3,
        "batch_size": 17,
        "observed": Origin(topic="observed.vitals", partition=2, offset=41),
        "origin": Origin(topic="observed.vitals", partition=2, offset=41),
        "hops": {"observed": 1_700_000_000.0, "prepared": 1_700_000_000.25, "inferred": 1_700_000_000.5},
        "notice": "for tests",
        "use_status": "research use only",
        "simulated": False,
    }
    return Answer(**{**values, **changes})


def outcome(event: UUID, fate: Fate, task: str = TASK, **changes: Any) -> OutcomeDecided:
    """An outcome of one event."""
    return OutcomeDecided(**{"event_id": event, "task": task, "fate": fate, "reason": f"because {fate}", **changes})
