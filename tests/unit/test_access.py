"""Access rules follow the topics table (S6); at a real broker they are tested in tests/integration."""

import shlex
from pathlib import Path

import triton_models
from adapters.settings import Settings
from clinstream import processes
from clinstream.contracts import acls
from schemas import topics
from schemas.access import ADMIN, OPERATORS, SUBSCRIBERS, Rule, account, accounts, rules

TASKS = sorted(triton_models.discover())
RULES = rules(TASKS)


def may(who: str, operation: str, topic: str) -> bool:
    """Whether some rule allows it."""
    return any((r.principal, r.operation, r.resource, r.name) == (who, operation, "topic", topic) for r in RULES)


def test_only_the_tables_writers_write_and_its_readers_read() -> None:
    """S6: everything else is refused by having no rule."""
    for row in topics.topics(TASKS):
        writers = {rule.principal for rule in RULES if (rule.name, rule.operation) == (row.name, "Write")}
        readers = {rule.principal for rule in RULES if (rule.name, rule.operation) == (row.name, "Read")}
        assert writers - {OPERATORS} == {account(who) for who in row.writers} - {OPERATORS}
        assert readers - {OPERATORS} == {account(who) for who in row.readers} - {OPERATORS}


def test_operators_never_write_results_and_nobody_is_the_administrator() -> None:
    """S6: a person at the command line cannot publish a result by hand."""
    assert not any(may(OPERATORS, "Write", topics.results_topic(task)) for task in TASKS)
    assert ADMIN not in {rule.principal for rule in RULES}
    assert {rule.principal for rule in RULES} == set(accounts())


def test_every_process_may_read_its_topics_in_its_own_group_and_no_other() -> None:
    """S6: the process table and the topics table agree."""
    for row in processes.table(Settings(cache=Path("cache"))):
        who = account(row.name)
        for topic in row.topics:
            assert may(who, "Read", topic), (row.name, topic)
        if row.topics:
            groups = [r for r in RULES if r.resource == "group" and r.operation == "Read" and _covers(r, row.group)]
            assert {r.principal for r in groups} == {who}, row.group


def _covers(rule: Rule, group: str) -> bool:
    return group.startswith(rule.name) if rule.pattern == "prefixed" else group == rule.name


def test_subscribers_have_groups_of_their_own() -> None:
    """S6: many subscribers share an account and no group with a service."""
    mine = [rule for rule in RULES if rule.principal == SUBSCRIBERS and rule.resource == "group"]
    assert [(rule.name, rule.pattern, rule.operation) for rule in mine] == [("subscriber.", "prefixed", "Read")]


def test_each_rule_stands_in_one_command_of_kafkas_tool() -> None:
    """S6: what is printed is what is applied."""
    found = set()
    for line in acls.lines(RULES):
        words = shlex.split(line)
        resource = "topic" if "--topic" in words else "group"
        name = words[words.index(f"--{resource}") + 1]
        pattern = "prefixed" if "--resource-pattern-type" in words else "literal"
        who = words[words.index("--allow-principal") + 1].removeprefix("User:")
        operations = [words[i + 1] for i, word in enumerate(words) if word == "--operation"]
        found |= {(who, resource, name, pattern, operation) for operation in operations}
    assert found == {(r.principal, r.resource, r.name, r.pattern, r.operation) for r in RULES}
