"""Ward vitals: what a posted reading must look like and which event it becomes; no HTTP and no model here.

Whether a value is clinically plausible is the consumer's question: the door knows no model.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec

from adapters import telemetry
from adapters.kafka import Message
from schemas import ids, topics
from schemas.envelope import pack
from schemas.errors import RejectedInput, Unprocessable
from schemas.events import VitalsObserved

MAX_READINGS = 1_000
MAX_FEATURES = 512
SOURCE = "clinstream/door-http"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set of a stay's features at one time. Unknown fields are refused: a misspelt `simulated` must not pass."""

    stay: Name
    measured_at: Annotated[datetime, msgspec.Meta(tz=True)]
    features: Annotated[dict[Name, float | None], msgspec.Meta(min_length=1, max_length=MAX_FEATURES)]
    issuer: Annotated[str, msgspec.Meta(max_length=128)] = ""
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A reading that was not taken, with what is wrong with which field; its values are not quoted."""

    reason: str


_one = msgspec.json.Decoder(Reading)
_many = msgspec.json.Decoder(list[Reading])


class TooMany(RejectedInput):
    """More readings in one post than a door takes."""


def read(body: bytes) -> tuple[list[Reading | Refused], bool]:
    """The readings of a body (one object, or an array of at most 1,000), and whether it was an array.

    Raises Unprocessable when it is not JSON, TooMany; what is wrong with one reading refuses only that one.
    """
    text = body.lstrip()
    if not text.startswith(b"["):
        return [_reading(text)], False
    try:
        readings: list[Reading | Refused] = list(_many.decode(text))
    except msgspec.ValidationError:
        readings = [_reading(bytes(raw)) for raw in _array(text)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unprocessable("the body is not JSON") from error
    if len(readings) > MAX_READINGS:
        raise TooMany(f"a post carries at most {MAX_READINGS} readings")
    return readings, True


def observed(reading: Reading, key: bytes, now: datetime) -> tuple[VitalsObserved, Message]:
    """The event of a reading, and the record for `observed.vitals`, keyed by subject."""
    subject = ids.subject_id(key, reading.issuer, reading.stay)
    object_id = ids.reading_object_id(subject, reading.measured_at)
    if reading.simulated:
        object_id = ids.SIMULATED + object_id
    content = ids.features_content(reading.features)
    event = VitalsObserved(
        event_id=ids.event_id(object_id, content),
        object_id=object_id,
        content=content,
        subject_id=subject,
        features=reading.features,
        measured_at=ids.utc(reading.measured_at),
        observed_at=now,
        sender="http",
        simulated=reading.simulated,
    )
    extensions = {"priority": "routine", "objectid": object_id}
    if reading.simulated:
        extensions["simulated"] = "true"
    headers, value = pack(
        event,
        id=str(event.event_id),
        source=SOURCE,
        subject=subject,
        time=now,
        traceparent=telemetry.new_traceparent(),
        extensions=extensions,
    )
    return event, Message(topics.OBSERVED_VITALS, subject.encode(), headers, value)


def _array(text: bytes) -> list[msgspec.Raw]:
    try:
        found: list[msgspec.Raw] = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unprocessable("the body is not JSON") from error
    return found


def _reading(raw: bytes) -> Reading | Refused:
    try:
        return _one.decode(raw)
    except msgspec.ValidationError as error:
        return Refused(str(error)[:200])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unprocessable("the body is not JSON") from error
