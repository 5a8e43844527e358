"""Which documents a query asks for: conditions of both Nightscout interfaces, read and applied; nothing is fetched."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.database.shelf import EPOCH
from producers.replies import Early

FIND = re.compile(r"find\[([\w.]+)\](?:\[\$(\w+)\])?(?:\[\d*\])?")
OPERATORS = frozenset(("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists"))
TIMES = frozenset(("date", "dateString", "created_at", "mills", "sysTime", "timestamp", "startDate", "srvModified"))


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a field; `value` is text as it came, several for `in` and `nin`."""

    field: str
    operator: str
    value: tuple[str, ...]

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Whether a document satisfies it."""
        found: Any = document
        for name in self.field.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if self.operator == "exists":
            return (found is not None) == (self.value[0].lower() in ("true", "1"))
        if self.operator in ("in", "nin"):
            there = any(_compare(self.field, found, each) == 0 for each in self.value)
            return there == (self.operator == "in")
        order = _compare(self.field, found, self.value[0])
        if order is None:
            return self.operator == "ne"
        return {"eq": order == 0, "ne": order != 0, "gt": order > 0, "gte": order >= 0, "lt": order < 0}.get(
            self.operator, order <= 0
        )


def v1(pairs: Iterable[tuple[str, str]]) -> list[Condition]:
    """Conditions written as `find[field][$op]=value`; ends the request for what is not understood."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, value in pairs:
        if not name.startswith("find["):
            continue
        match = FIND.fullmatch(name)
        if match is None or (match[2] or "eq") not in OPERATORS:
            raise Early(400, f"find with {', '.join(sorted(OPERATORS))} is understood, and no other")
        found.setdefault((match[1], match[2] or "eq"), []).extend(_values(match[2] or "eq", value))
    return [Condition(field, operator, tuple(values)) for (field, operator), values in found.items()]


def v3(pairs: Iterable[tuple[str, str]], reserved: frozenset[str]) -> list[Condition]:
    """Conditions written as `field$op=value` or `field=value`."""
    found: list[Condition] = []
    for name, value in pairs:
        if name in reserved:
            continue
        field, _, operator = name.partition("$")
        if not field or (operator or "eq") not in OPERATORS:
            raise Early(400, "Bad or missing filter operator")
        values = value.split("|") if operator in ("in", "nin") else [value]
        found.append(Condition(field, operator or "eq", tuple(values)))
    return found


def span(
    conditions: Sequence[Condition], fields: frozenset[str], margin: timedelta = timedelta()
) -> tuple[datetime | None, datetime | None]:
    """The earliest and latest time that conditions on these fields leave, both belonging to it."""
    first: datetime | None = None
    last: datetime | None = None
    for each in conditions:
        moment = when(each.value[0]) if each.field in fields else None
        if moment is None:
            continue
        if each.operator in ("eq", "gt", "gte"):
            first = max(first or moment, moment)
        if each.operator in ("eq", "lt", "lte"):
            last = min(last or moment, moment)
    return first and first - margin, last and last + margin


def when(value: Any) -> datetime | None:
    """A time as apps write it: milliseconds (or seconds) since 1970, or ISO 8601, without a zone in UTC."""
    number = _number(value)
    try:
        if number is not None:
            return EPOCH + timedelta(milliseconds=number if abs(number) >= 1e11 else number * 1000)
        found = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _values(operator: str, value: str) -> list[str]:
    return value.split(",") if operator in ("in", "nin") else [value]


def _compare(field: str, found: Any, value: str) -> int | None:
    """-1, 0 or 1 for a field below, at or above a value; None where they cannot be compared."""
    if found is None:
        return None
    if isinstance(found, bool):
        return None if value not in ("true", "false") else int(found) - int(value == "true")
    if field in TIMES:
        left, right = when(found), when(value)
        if left is not None and right is not None:
            return (left > right) - (left < right)
    if isinstance(found, (int, float)):
        number = _number(value)
        return None if number is None else (found > number) - (found < number)
    text = str(found)
    return (text > value) - (text < value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < 1e300 else None
