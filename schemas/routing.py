"""The routing table: which lane, tasks and destinations an image object gets, from what its sender and header say, and
whether its identity is taken off.

Rows are read in order, and each of these is decided by the first matching row that says something about it. Where
the rows are written down, and how a header is read, is elsewhere.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from typing import Literal

from schemas.events import Priority

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "modality": ("00080060",),
    "station": ("00081010",),
    "institution": ("00080080",),
    "manufacturer": ("00080070",),
    "body_part": ("00180015",),
    "description": ("00181030", "0008103E", "00081030", "00321060"),
    "anatomy": ("00180015", "00181030", "0008103E", "00081030", "00321060"),
}
"""Columns that are elements of the header, by tag. Body Part Examined (0018,0015) is often wrong or missing: `anatomy`
also looks at the protocol's name (0018,1030) and the descriptions of series, study and requested procedure."""

ASSOCIATION = ("calling_ae", "called_ae", "request_priority", "order_priority", "sop_class")
"""Columns that are no plain element: what the association and the request say, and the order's priority
(0040,1003), which may stand in the data set or in its Request Attributes Sequence (0040,0275)."""

UNREAD = ("calling_ae", "called_ae")
"""What is known of an object whose header cannot be read."""

Deidentify = Literal["no", "basic", "characteristics"]
"""By the basic confidentiality profile of PS3.15, or that and the option that keeps sex, age, size and weight."""

TAG = re.compile(r"[0-9A-F]{8}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an object, by column; `elements` holds header values by tag and may be personal."""

    calling_ae: str = ""
    called_ae: str = ""
    request_priority: str = ""
    order_priority: tuple[str, ...] = ()
    sop_class: str = ""
    elements: Mapping[str, str] = field(default_factory=dict, repr=False)

    def of(self, column: str) -> tuple[str, ...]:
        """The values of a column or tag, without empty ones."""
        if column in ASSOCIATION:
            value = getattr(self, column)
            return tuple(text for text in ((value,) if isinstance(value, str) else value) if text)
        tags = COLUMNS.get(column, (column,))
        return tuple(text for tag in tags if (text := self.elements.get(tag, "")))


@dataclass(frozen=True, slots=True)
class Condition:
    """A column (or tag) with patterns (`CT_*`), of which one must fit one of its values; case does not matter."""

    column: str
    patterns: tuple[str, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether it is so."""
        fits = [_compiled(pattern) for pattern in self.patterns]
        return any(each.match(value) for value in facts.of(self.column) for each in fits)

    def told(self, facts: Facts) -> str:
        """In words, with the values that were found."""
        found = ", ".join(facts.of(self.column)) or "not stated"
        return f"{self.column} is {found}, asked for is {' or '.join(self.patterns)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row; what is None is left to later rows. No `tasks` (an empty tuple) means that no model is asked."""

    name: str
    when: tuple[Condition, ...] = ()
    lane: Priority | None = None
    tasks: tuple[str, ...] | None = None
    destinations: tuple[str, ...] | None = None
    deidentify: Deidentify | None = None

    def says(self) -> tuple[str, ...]:
        """What the row decides, by name."""
        return tuple(name for name in DECIDED if getattr(self, name) is not None)


DECIDED = ("lane", "tasks", "destinations", "deidentify")


@dataclass(frozen=True, slots=True)
class Route:
    """Where an object goes. `tasks` None: what the models' cards claim; `destinations` None: the usual ones. `rows` are
    the names of the rows that decided any of it."""

    lane: Priority
    tasks: tuple[str, ...] | None
    destinations: tuple[str, ...] | None
    rows: tuple[str, ...]
    deidentify: Deidentify = "no"


@dataclass(frozen=True, slots=True)
class Read:
    """What became of one row: `decided` names what it decided; else `why` says what kept it from that."""

    row: Row
    matched: bool
    decided: tuple[str, ...]
    why: str


BUILT_IN: tuple[Row, ...] = (
    Row("called as urgent", (Condition("called_ae", ("*_STAT",)),), lane="stat"),
    Row("request of high priority", (Condition("request_priority", ("HIGH",)),), lane="stat"),
    Row("urgent order", (Condition("order_priority", ("STAT", "HIGH")),), lane="stat"),
    Row("everything", lane="routine"),
)
"""Behind the rows of an installation: urgent by called AE title, C-STORE priority or order, never by the image."""


class Table:
    """Rows in their order."""

    def __init__(self, rows: Iterable[Row] = BUILT_IN) -> None:
        self.rows = tuple(rows)
        self.tags = tuple(sorted({tag for row in self.rows for each in row.when for tag in _tags(each.column)}))
        """The header elements, by tag, that deciding needs."""
        self.deidentifies = any(row.deidentify not in (None, "no") for row in self.rows)
        """Whether any row takes identities off."""

    def route(self, facts: Facts) -> Route:
        """Where an object of these facts goes; `read` tells why."""
        by: dict[str, Row] = {}
        for row in self.rows:
            new = [name for name in row.says() if name not in by]
            if new and all(each.holds(facts) for each in row.when):
                by.update(dict.fromkeys(new, row))
        return _route(by)

    def may_deidentify(self, facts: Facts) -> bool:
        """Whether a row might take its identity off an object of which nothing is known but who sends it to whom."""
        rows = [row for row in self.rows if row.deidentify not in (None, "no")]
        return any(all(each.holds(facts) for each in row.when if each.column in UNREAD) for row in rows)

    def read(self, facts: Facts) -> Sequence[Read]:
        """Row by row, what was decided and why not."""
        left = set(DECIDED)
        found = []
        for row in self.rows:
            broken = next((each for each in row.when if not each.holds(facts)), None)
            says = row.says()
            decided = () if broken else tuple(name for name in says if name in left)
            left.difference_update(decided)
            found.append(Read(row, broken is None, decided, _why(row, facts, broken, decided)))
        return found


def _route(by: Mapping[str, Row]) -> Route:
    return Route(
        lane=(by["lane"].lane if "lane" in by else None) or "routine",
        tasks=by["tasks"].tasks if "tasks" in by else None,
        destinations=by["destinations"].destinations if "destinations" in by else None,
        rows=tuple(dict.fromkeys(row.name for row in by.values())),
        deidentify=(by["deidentify"].deidentify if "deidentify" in by else None) or "no",
    )


def _why(row: Row, facts: Facts, broken: Condition | None, decided: tuple[str, ...]) -> str:
    if broken is not None:
        return broken.told(facts)
    if not decided:
        return f"an earlier row decided {', '.join(row.says())}"
    return "; ".join(each.told(facts) for each in row.when) or "it asks for nothing"


def _tags(column: str) -> tuple[str, ...]:
    return () if column in ASSOCIATION else COLUMNS.get(column, (column,))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern), re.IGNORECASE)
