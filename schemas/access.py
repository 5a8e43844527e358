"""Who may do what at the brokers, derived from the topics table's writers and readers; no client here.

One account a service: the part of a process's name before its first dot. What no rule allows is refused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from schemas import topics

Operation = Literal["Read", "Write", "Describe", "DescribeConfigs"]
Resource = Literal["topic", "group"]
Pattern = Literal["literal", "prefixed"]

ADMIN = "admin"
OPERATORS = "operators"
SUBSCRIBERS = "subscribers"
GROUPS = "clinstream."
SUBSCRIBER_GROUPS = "subscriber."
# Commands of a person who runs the system work under one account.
SAME = {"rebuild": OPERATORS}


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One permission: `principal` (an account) may do `operation` to what `name` says, exactly or as a prefix."""

    principal: str
    resource: Resource
    name: str
    pattern: Pattern
    operation: Operation


def account(process: str) -> str:
    """The account of a process of the process table (`imaging-infer.stat` works as `imaging-infer`)."""
    service = process.partition(".")[0]
    return SAME.get(service, service)


def accounts() -> tuple[str, ...]:
    """Every account that the table knows, the operators' and subscribers' included; the administrator's is not."""
    named = {account(who) for row in topics.FIXED for who in (*row.writers, *row.readers)}
    return tuple(sorted({*named, *map(account, topics.RESULT_WRITERS), OPERATORS, SUBSCRIBERS}))


def rules(tasks: Iterable[str]) -> tuple[Rule, ...]:
    """Every permission for the given tasks, sorted; nothing beyond the table but what operators' commands need."""
    rows = topics.topics(tasks)
    found: set[Rule] = set()
    for row in rows:
        for writer in row.writers:
            found.update(_topic(account(writer), row.name, "Write"))
        for reader in row.readers:
            found.update(_topic(account(reader), row.name, "Read"))
            found.update(_groups(account(reader)))
    found.update(_operators(rows))
    return tuple(sorted(found))


def _topic(who: str, name: str, operation: Operation) -> Iterator[Rule]:
    yield Rule(who, "topic", name, "literal", operation)
    yield Rule(who, "topic", name, "literal", "Describe")


def _groups(who: str) -> Iterator[Rule]:
    """A service's own groups: `clinstream.<service>` and `clinstream.<service>.*`, never its neighbour's."""
    if who == SUBSCRIBERS:
        yield Rule(who, "group", SUBSCRIBER_GROUPS, "prefixed", "Read")
        return
    yield Rule(who, "group", f"{GROUPS}{who}", "literal", "Read")
    yield Rule(who, "group", f"{GROUPS}{who}.", "prefixed", "Read")


def _operators(rows: Iterable[topics.Topic]) -> Iterator[Rule]:
    """`status`, `reconcile` and `rebuild` read every topic and every group's place; `dead replay` writes anew."""
    yield Rule(OPERATORS, "group", GROUPS, "prefixed", "Describe")
    for row in rows:
        yield from _topic(OPERATORS, row.name, "Read")
        yield Rule(OPERATORS, "topic", row.name, "literal", "DescribeConfigs")
        if row.name in topics.OBSERVED or row.name.startswith("simulated."):
            yield from _topic(OPERATORS, row.name, "Write")
