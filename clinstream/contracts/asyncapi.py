"""AsyncAPI 3.0 documents of both sides, generated from the topics table and the events; nothing is written here.

The system's side names what each service sends and receives; the subscriber's side holds only what outsiders read.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import clinstream
from clinstream.contracts.examples import Travelling, examples
from schemas import topics
from schemas.compatibility import json_schema
from schemas.envelope import CONTENT_TYPE, REQUIRED, dataschema, event_type
from schemas.events import Base
from schemas.topics import Topic

Side = Literal["system", "subscriber"]
Document = dict[str, Any]

SIDES: tuple[Side, ...] = ("system", "subscriber")
VERSION = "1.0.0"
BINDING = "0.5.0"
SUBSCRIBERS = "subscribers"
SERVERS = ("embedded", "cluster")
FOLDER = Path(clinstream.__file__).resolve().parent.parent / "docs" / "asyncapi"
KEYS = {
    "study": "pseudonym of the study (`stu-` and 32 hexadecimal digits)",
    "wearer": "pseudonym of the wearer (`sub-` and 32 hexadecimal digits)",
    "stay": "pseudonym of the stay (`sub-` and 32 hexadecimal digits)",
    "subject": "pseudonym of the subject (`sub-` and 32 hexadecimal digits); one subject's events keep their order",
    "result": "id of the assessed result",
    "event": "id of the event",
    "task": "name of the task",
}
ABOUT = {
    "system": "Every topic of clinstream with who writes and who reads it.",
    "subscriber": (
        "What a subscriber of clinstream reads. Delivery is at least once: take each event once, by `ce_id`. Events of "
        "one key keep their order; events of different keys do not. Ignore fields and event types that you do not "
        "know: contracts change by addition, a break is a new topic. `simulated.*` carries injected data and must "
        "never reach a patient's record. Results are information for a clinician who reviews them, not a diagnosis."
    ),
}
ATTRIBUTES = {
    "ce_specversion": "CloudEvents version, always 1.0",
    "ce_id": "identity of the event: the same id is the same event, however often it is delivered",
    "ce_source": "process that sent it",
    "ce_type": "type and version of the event",
    "ce_time": "when it was sent, RFC 3339",
    "ce_subject": "pseudonym that the event is about, or the task",
    "ce_dataschema": "URN of the JSON Schema of the value",
    "content-type": "always application/json",
    "traceparent": "W3C trace context",
}
RAW = "raw"


def document(side: Side, tasks: Iterable[str]) -> Document:
    """The document of one side for the installed tasks."""
    rows = [row for row in topics.topics(tasks) if side == "system" or SUBSCRIBERS in row.readers]
    kinds = _kinds(rows)
    shown = examples(sorted(tasks)[0])
    messages = {_message_name(kind): _message(kind, shown[kind]) for kind in kinds}
    if any(not row.events for row in rows):
        messages[RAW] = _raw()
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:clinstream:{side}",
        "info": {
            "title": f"clinstream, the {side}'s side",
            "version": VERSION,
            "description": ABOUT[side],
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": _servers(),
        "channels": {row.name: _channel(row) for row in rows},
        "operations": dict(_operations(side, rows)),
        "components": {
            "messages": messages,
            "schemas": _schemas(kinds),
            "messageTraits": {"cloudevent": {"headers": _headers()}},
            "securitySchemes": {"account": {"type": "plain", "description": "SASL/PLAIN; see `contract acls`"}},
        },
    }


def render(side: Side, tasks: Iterable[str]) -> str:
    """The document as text with a stable order."""
    return json.dumps(document(side, list(tasks)), indent=2, sort_keys=True) + "\n"


def path(side: Side, folder: Path = FOLDER) -> Path:
    """Where the published document of a side lies."""
    return folder / f"{side}.json"


def write(side: Side, tasks: Iterable[str], folder: Path = FOLDER) -> Path:
    """Writes one side's document and returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    target = path(side, folder)
    target.write_text(render(side, tasks), encoding="utf-8")
    return target


def _kinds(rows: Iterable[Topic]) -> tuple[type[Base], ...]:
    return tuple(dict.fromkeys(kind for row in rows for kind in row.events))


def _message_name(kind: type[Base]) -> str:
    return event_type(kind).removeprefix("org.clinstream.")


def _servers() -> Document:
    bootstrap = {"default": "127.0.0.1:9092", "description": "host:port, as `clinstream status` prints it"}
    place = {"host": "{bootstrap}", "protocolVersion": "4.3"}
    account = [{"$ref": "#/components/securitySchemes/account"}]
    return {
        "embedded": {
            **place,
            "protocol": "kafka",
            "description": "the embedded stack, on loopback",
            "variables": {"bootstrap": bootstrap},
        },
        "cluster": {
            **place,
            "protocol": "kafka-secure",
            "description": "an installation with accounts and access rules",
            "variables": {"bootstrap": {**bootstrap, "description": "host:port of any broker"}},
            "security": account,
        },
    }


def _channel(row: Topic) -> Document:
    names = [_message_name(kind) for kind in row.events] or [RAW]
    config = {name: _typed(name, value) for name, value in row.settings().items()}
    kept = "for ever" if row.retention_ms == topics.FOR_EVER else f"{row.retention_ms} ms"
    return {
        "address": row.name,
        "summary": f"Key: {row.key}. Kept {kept}.",
        "servers": [{"$ref": f"#/servers/{name}"} for name in SERVERS],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": row.name,
                "partitions": row.partitions,
                "topicConfiguration": config,
                "bindingVersion": BINDING,
            }
        },
        "x-key": {"name": row.key, "description": KEYS[row.key]},
    }


def _typed(name: str, value: str) -> object:
    return value.split(",") if name == "cleanup.policy" else int(value)


def _operations(side: Side, rows: Iterable[Topic]) -> Iterator[tuple[str, Document]]:
    for row in rows:
        if side == "subscriber":
            yield _operation("receive", SUBSCRIBERS, row)
            continue
        for writer in row.writers:
            yield _operation("send", writer, row)
        for reader in row.readers:
            yield _operation("receive", reader, row)


def _operation(action: Literal["send", "receive"], who: str, row: Topic) -> tuple[str, Document]:
    channel = f"#/channels/{row.name}"
    names = [_message_name(kind) for kind in row.events] or [RAW]
    verb = {"send": "sends", "receive": "receives"}[action]
    return re.sub(r"[^a-zA-Z0-9_.-]", "_", f"{who}.{verb}.{row.name}"), {
        "action": action,
        "title": f"{who} {verb} {row.name}",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in names],
    }


def _message(kind: type[Base], example: Travelling) -> Document:
    headers, value = example.packed()
    return {
        "name": event_type(kind),
        "title": kind.__name__,
        "summary": (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " "),
        "contentType": CONTENT_TYPE,
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING}},
        "examples": [
            {
                "name": "example",
                "headers": {name: content.decode() for name, content in headers},
                "payload": json.loads(value),
            }
        ],
        "x-dataschema": dataschema(kind),
    }


def _raw() -> Document:
    return {
        "name": RAW,
        "title": "A message as it came",
        "summary": "What was put aside, with why and where it came from in `dead_*` headers; its own headers are kept.",
        "headers": {
            "type": "object",
            "required": ["dead_topic", "dead_partition", "dead_offset", "dead_reason"],
            "properties": {
                f"dead_{name}": {"type": "string"}
                for name in ("topic", "partition", "offset", "error_class", "reason", "attempt", "first_seen")
            },
        },
        "contentType": "application/octet-stream",
        "payload": {"description": "any bytes"},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING}},
    }


def _headers() -> Document:
    return {
        "type": "object",
        "required": [*REQUIRED, "content-type"],
        "properties": {
            **{name: {"type": "string", "description": about} for name, about in ATTRIBUTES.items()},
            "ce_specversion": {"type": "string", "const": "1.0", "description": ATTRIBUTES["ce_specversion"]},
        },
    }


def _schemas(kinds: Iterable[type[Base]]) -> Document:
    """Every record by name, its references turned to where the document keeps records."""
    found: Document = {}
    for kind in kinds:
        found.update(json_schema(kind)["$defs"])
    return {name: _moved(found[name]) for name in sorted(found)}


def _moved(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _moved(value)
            for name, value in schema.items()
        }
    return [_moved(item) for item in schema] if isinstance(schema, list) else schema
