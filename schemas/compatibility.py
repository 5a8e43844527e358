"""Judges whether a change of an event's JSON Schema breaks readers or stored messages; compares, nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Schema = Mapping[str, Any]


def json_schema(kind: type) -> dict[str, Any]:
    """JSON Schema (2020-12) of a record class, with `$defs` of the records inside it."""
    return msgspec.json.schema(kind)


def breaks(old: Schema, new: Schema) -> list[str]:
    """What in `new` would break readers or stored messages of `old`, in plain words; empty when only additions.

    Broken by: a field removed, a field's type changed, a field made required, a required field no longer
    guaranteed, an allowed value removed. Allowed: new optional fields, new values of an enumeration, new records.
    """
    found: list[str] = []
    new_defs = new.get("$defs", {})
    for name, definition in old.get("$defs", {}).items():
        if name not in new_defs:
            found.append(f"{name}: record removed")
            continue
        found.extend(f"{name}.{what}" for what in _record_breaks(definition, new_defs[name]))
    return found


def _record_breaks(old: Schema, new: Schema) -> Iterator[str]:
    old_fields: Mapping[str, Any] = old.get("properties", {})
    new_fields: Mapping[str, Any] = new.get("properties", {})
    for name, before in old_fields.items():
        if name not in new_fields:
            yield f"{name}: field removed"
        elif (why := _type_break(before, new_fields[name])) is not None:
            yield f"{name}: {why}"
    required_before, required_now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(required_now - required_before):
        yield f"{name}: newly required, so stored messages can no longer be read"
    for name in sorted(required_before - required_now):
        if name in new_fields:
            yield f"{name}: no longer guaranteed, so subscribers may miss it"


def _type_break(before: Schema, now: Schema) -> str | None:
    if "enum" in before:
        gone = set(map(str, before["enum"])) - set(map(str, now.get("enum", ())))
        return f"values removed: {', '.join(sorted(gone))}" if gone else None
    shape_before = {k: v for k, v in before.items() if k not in ("default", "description", "title")}
    shape_now = {k: v for k, v in now.items() if k not in ("default", "description", "title")}
    return None if shape_before == shape_now else "type changed"
