"""What became of one file, object or reading that was sent: the line that `send` prints."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["accepted", "refused", "unreadable", "retry"]


@dataclass(frozen=True, slots=True)
class Sent:
    """`retry`: nothing is wrong with it, the door could not take it now. `event_id` only where it was accepted."""

    path: str
    status: Status
    reason: str = ""
    event_id: str | None = None

    def line(self) -> dict[str, str | None]:
        """The JSON line of `send --json`."""
        return {"path": self.path, "status": self.status, "reason": self.reason, "event_id": self.event_id}
