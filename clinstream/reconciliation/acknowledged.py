"""The sender's own list of what was acknowledged, the independent oracle: how its lines are read."""

import json
from collections.abc import Iterable

from schemas.errors import UserError

ACCEPTED = frozenset({"accepted", "success"})
NAMES = ("event_id", "object_id", "sop_instance_uid")


def names(lines: Iterable[str]) -> list[str]:
    """Event or object ids, each once: of JSON lines as `send --json` prints them, or ids alone on their lines.

    Lines whose status says that the sender was refused do not count. Raises UserError for a line that names nothing.
    """
    found: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        name = _of_json(text, number) if text.startswith("{") else text
        if name:
            found[name] = None
    return list(found)


def _of_json(text: str, number: int) -> str:
    try:
        line = json.loads(text)
    except ValueError:
        raise UserError(f"Line {number} of the acknowledged list is not JSON.") from None
    if line.get("status", "accepted") not in ACCEPTED:
        return ""
    for key in NAMES:
        if line.get(key):
            return str(line[key])
    raise UserError(f"Line {number} of the acknowledged list names no {', '.join(NAMES[:-1])} or {NAMES[-1]}.")
