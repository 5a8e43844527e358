"""Documents of apps beside readings: how one is named, of which time it speaks, how it is given back; no HTTP.

They are kept as they came and never read: what an app writes into them is for other apps of the same wearer.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid5

import msgspec

from adapters.database.shelf import Document, NewDocument
from producers import finding
from schemas import ids
from schemas.errors import Unprocessable

COLLECTIONS = ("devicestatus", "treatments", "profile", "food", "activity")
NAMES = ("identifier", "_id", "syncIdentifier", "uuid")
TIMES = ("date", "created_at", "startDate", "timestamp", "mills")
MAX_BYTES = 1_000_000
MAX_NAME = 128
NUL = b"\\u0000"


def new(item: Any, now: datetime) -> NewDocument:
    """A document of interface v1: named by itself, else by its content; raises Unprocessable."""
    checked, encoded = _checked(item)
    name = _own_name(checked) or hashlib.sha256(encoded).hexdigest()[:24]
    return NewDocument(name, _time(checked, now), checked)


def new_v3(collection: str, item: Any, now: datetime) -> NewDocument:
    """A document of interface v3: named by itself, else by device, time and kind, as that interface has it."""
    checked, _ = _checked(item)
    parts = (collection, *(str(checked.get(field, "")) for field in ("device", "date", "created_at", "eventType")))
    name = _own_name(checked) or str(uuid5(ids.NAMESPACE, "document\n" + "\n".join(parts)))
    return NewDocument(name, _time(checked, now), checked)


def v1(found: Document) -> dict[str, Any]:
    """As interface v1 gives it back."""
    return {**found.body, "_id": found.body.get("_id", found.identifier)}


def v3(found: Document) -> dict[str, Any]:
    """As interface v3 gives it back."""
    known = {
        "identifier": found.identifier,
        "srvCreated": found.created_ms,
        "srvModified": found.modified_ms,
        "isValid": not found.deleted,
    }
    return known if found.deleted else {**found.body, **known}


def _checked(item: Any) -> tuple[Mapping[str, Any], bytes]:
    if not isinstance(item, Mapping):
        raise Unprocessable("a document is a JSON object")
    encoded = msgspec.json.encode(item, order="sorted")
    if len(encoded) > MAX_BYTES:
        raise Unprocessable(f"a document has at most {MAX_BYTES:,} bytes")
    if NUL in encoded:
        raise Unprocessable("a document holds no NUL characters")
    return item, encoded


def _own_name(item: Mapping[str, Any]) -> str:
    name = next((item[field] for field in NAMES if isinstance(item.get(field), str) and item[field]), "")
    if len(name) > MAX_NAME:
        raise Unprocessable(f"a document's name has at most {MAX_NAME} characters")
    return str(name)


def _time(item: Mapping[str, Any], now: datetime) -> datetime:
    for field in TIMES:
        moment = finding.when(item[field]) if item.get(field) is not None else None
        if moment is not None and 1900 < moment.year < 2200:
            return moment
    return now
