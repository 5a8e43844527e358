"""What each association with the DICOM door did: who, what came, what was answered, and why anything was refused.

Counts, codes and sentences of ours; nothing that a data set says. Where the entries are kept is in `journal`.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from producers.store_request import Answer

MOST_KINDS = 32
"""Different reasons or SOP classes that one entry tells apart: a sender must not make an entry grow without end."""

OTHER = "other"


@dataclass(slots=True)
class Journal:
    """One association from its request on; `statuses`, `reasons`, `classes` and `syntaxes` count stored objects."""

    sender: str
    called: str
    address: str
    began: datetime
    started_s: float
    association_id: UUID = field(default_factory=uuid4)
    ended: str = ""
    seconds: float = 0.0
    received_bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    syntaxes: Counter[str] = field(default_factory=Counter)

    def note(self, answer: Answer, size: int, sop_class_uid: str, transfer_syntax_uid: str) -> None:
        """Counts one answer to an object of `size` bytes."""
        count(self.statuses, f"{answer.status:04X}")
        count(self.classes, sop_class_uid)
        count(self.syntaxes, transfer_syntax_uid)
        self.received_bytes += size
        if answer.reason:
            count(self.reasons, answer.reason)

    def refuse(self, why: str) -> None:
        """The association itself was not taken."""
        count(self.reasons, why)


def count(counter: Counter[str], what: str) -> None:
    """Counts `what`, or `other` once a counter tells enough things apart."""
    counter[what if what in counter or len(counter) < MOST_KINDS else OTHER] += 1


class Journals:
    """The open entries by association; called from the threads of all associations."""

    def __init__(self) -> None:
        self._open: dict[Any, Journal] = {}
        self._lock = threading.Lock()

    def open(self, association: Any, entry: Journal) -> None:
        """Begins the entry of an association."""
        with self._lock:
            self._open[association] = entry

    def of(self, association: Any) -> Journal | None:
        """The entry of an association that asked properly; None of one that did not."""
        with self._lock:
            return self._open.get(association)

    def close(self, association: Any) -> Journal | None:
        """Takes the entry out; None the second time."""
        with self._lock:
            return self._open.pop(association, None)
