"""The AsyncAPI documents as generated: from the table, every reference resolved, every example valid (S6)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import triton_models
from clinstream.contracts import asyncapi
from clinstream.contracts.examples import examples
from schemas import topics
from schemas.events import EVENTS

TASKS = list(triton_models.discover())
DOCUMENTS = {side: json.loads(asyncapi.render(side, TASKS)) for side in asyncapi.SIDES}


def references(node: Any) -> Iterator[str]:
    """Every $ref of a document."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def at(document: Any, pointer: str) -> Any:
    """What a local reference names; KeyError when nothing is there."""
    for name in pointer.removeprefix("#/").split("/"):
        document = document[name]
    return document


@pytest.mark.parametrize("side", asyncapi.SIDES)
def test_every_reference_names_something(side: asyncapi.Side) -> None:
    """S6."""
    found = set(references(DOCUMENTS[side]))
    assert len(found) > 15
    for pointer in found:
        assert at(DOCUMENTS[side], pointer)


@pytest.mark.parametrize("side", asyncapi.SIDES)
def test_every_example_fits_the_schema_of_its_value_and_headers(side: asyncapi.Side) -> None:
    """S6: an integrator builds against the examples."""
    document = DOCUMENTS[side]
    headers = document["components"]["messageTraits"]["cloudevent"]["headers"]
    shown = 0
    for message in document["components"]["messages"].values():
        whole = {**message["payload"], "components": document["components"]}
        for example in message.get("examples", []):
            Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(example["payload"])
            Draft202012Validator(headers).validate(example["headers"])
            assert not Draft202012Validator(whole).is_valid({"not": "this"})
            shown += 1
    assert shown == len(document["components"]["messages"]) - (side == "system")


def test_there_is_an_example_of_every_event() -> None:
    """S6: a new event cannot be forgotten."""
    assert set(examples("some_task")) == set(EVENTS)


def test_the_systems_side_holds_every_topic_with_its_writers_and_readers() -> None:
    """S6."""
    rows = {row.name: row for row in topics.topics(TASKS)}
    document = DOCUMENTS["system"]
    assert set(document["channels"]) == set(rows)
    for name, row in rows.items():
        kafka = document["channels"][name]["bindings"]["kafka"]
        assert (kafka["partitions"], kafka["topicConfiguration"]["retention.ms"]) == (row.partitions, row.retention_ms)
    operations = {(each["action"], each["title"]) for each in document["operations"].values()}
    wanted = {("send", f"{who} sends {row.name}") for row in rows.values() for who in row.writers}
    wanted |= {("receive", f"{who} receives {row.name}") for row in rows.values() for who in row.readers}
    assert operations == wanted


def test_a_subscriber_sees_results_metrics_and_releases_and_sends_nothing() -> None:
    """S6: candidates' answers, work and observations stay inside."""
    document = DOCUMENTS["subscriber"]
    wanted = {topics.results_topic(task, simulated=made) for task in TASKS for made in (False, True)}
    metrics = {topics.METRICS_GLUCOSE, topics.METRICS_GLUCOSE_SIMULATED}
    assert set(document["channels"]) == {*wanted, *metrics, topics.RELEASES_CHANGED}
    assert {each["action"] for each in document["operations"].values()} == {"receive"}
    assert "ImageObserved" not in document["components"]["schemas"]
    assert set(document["channels"]["results.chest_xray"]["messages"]) == {
        "result.published.v1",
        "result.amended.v1",
        "result.withdrawn.v1",
    }
