"""Readings of wearers, their windows and what was fitted to them, and the metrics that follow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from schemas.events import Answer, GlucoseObserved, GlycaemicFigures, OutcomeDecided

Wearer = tuple[str, bool]
"""(subject_id, simulated): whose window; injected readings have one of their own."""


@dataclass(frozen=True, slots=True)
class Own:
    """A wearer's own vector and the version of the model whose errors it was fitted to; empty where nothing was."""

    base_version: str = ""
    vector: tuple[float, ...] = ()

    def to(self, version: str) -> tuple[float, ...]:
        """The vector as a version may be given it: empty, so the model as for everybody, for any but its own."""
        return self.vector if version == self.base_version else ()


NOTHING_OWN = Own()


@dataclass(frozen=True, slots=True)
class Window:
    """A wearer's newest readings, one a sensor time, oldest first (`schemas.windows` says how many).

    `times_ms` are milliseconds since the epoch, values mg/dL in single precision, as they are stored. `own` is what was
    fitted to the wearer. `stamp` changes with every change of the readings and of what was fitted; None for a wearer
    of whom nothing is stored.
    """

    stamp: UUID | None
    times_ms: tuple[int, ...] = ()
    glucose_mg_dl: tuple[float, ...] = ()
    own: Own = NOTHING_OWN


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading to be stored as this revision of its sensor time."""

    event: GlucoseObserved
    revision: int


@dataclass(frozen=True, slots=True)
class StoredReading:
    """One stored content of a wearer's sensor time."""

    wearer: Wearer
    time_ms: int
    content: str
    revision: int


@dataclass(frozen=True, slots=True)
class Taking:
    """Everything that one micro-batch of readings changes, in one transaction.

    `stamps` are those of the windows that it was worked out from, by wearer; `stamp` is their next one. `fallen` says
    of which objects the visible results are withdrawn, and why.
    """

    stamp: UUID
    stamps: Mapping[Wearer, UUID | None]
    readings: Sequence[NewReading]
    answers: Sequence[Answer]
    decided: Sequence[OutcomeDecided]
    fallen: Mapping[str, str] = field(default_factory=dict)


class WindowsMoved(Exception):
    """The readings of these wearers are not what the windows said: nothing was written, look again."""

    def __init__(self, wearers: Iterable[Wearer]) -> None:
        super().__init__("windows changed meanwhile")
        self.wearers = frozenset(wearers)


class PlainReading(NamedTuple):
    """A reading in force: sensor time in milliseconds since the epoch, mg/dL, and whether it is a sensor's bound."""

    time_ms: int
    glucose_mg_dl: float
    clipped: str = ""


class DaySums(NamedTuple):
    """Whole sums of a wearer's day: readings, milliseconds in each range, and of value and its square by weight.

    `weighted` is in ms times tenths of mg/dL, `squared` in ms times hundredths of their square.
    """

    readings: int = 0
    clipped: int = 0
    very_low: int = 0
    low: int = 0
    target: int = 0
    high: int = 0
    very_high: int = 0
    weighted: int = 0
    squared: int = 0


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """Glycaemic metrics of a wearer's `days` days up to and with `ends_on`; `revision` 0 is not stored yet."""

    wearer: Wearer
    ends_on: date
    days: int
    figures: GlycaemicFigures
    revision: int = 0
    computed_at: datetime | None = None
