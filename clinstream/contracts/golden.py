"""Writes and checks the golden JSON Schemas of the events; the schemas themselves come from `schemas.events`."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from schemas.compatibility import breaks, json_schema
from schemas.envelope import SCHEMA_ROOT, event_type
from schemas.events import EVENTS, Base


@dataclass(frozen=True, slots=True)
class Verdict:
    """One event's contract: `state` is `same`, `added` (compatible change not yet written), `new` or `broken`."""

    event: str
    state: str
    breaks: tuple[str, ...] = ()


def golden_folder() -> Path:
    """Where the golden schemas lie in the installed tree."""
    return Path(str(files("schemas"))) / "golden"


def render(kind: type[Base]) -> str:
    """The published schema of one event, as text with a stable order."""
    schema = {"$id": SCHEMA_ROOT + event_type(kind), "$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(schema | json_schema(kind), indent=2, sort_keys=True) + "\n"


def judge(folder: Path | None = None) -> list[Verdict]:
    """Every event held against its golden schema."""
    folder = folder or golden_folder()
    return [_judge_one(kind, folder / f"{event_type(kind)}.json") for kind in EVENTS]


def _judge_one(kind: type[Base], path: Path) -> Verdict:
    if not path.exists():
        return Verdict(event_type(kind), "new")
    golden = path.read_text(encoding="utf-8")
    found = tuple(breaks(json.loads(golden), json_schema(kind)))
    if found:
        return Verdict(event_type(kind), "broken", found)
    return Verdict(event_type(kind), "same" if golden == render(kind) else "added")


def write(folder: Path | None = None) -> list[Path]:
    """Writes the golden schemas of new events and compatible additions; leaves a broken one as it is."""
    folder = folder or golden_folder()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in EVENTS:
        path = folder / f"{event_type(kind)}.json"
        if _judge_one(kind, path).state in ("new", "added"):
            path.write_text(render(kind), encoding="utf-8")
            written.append(path)
    return written
