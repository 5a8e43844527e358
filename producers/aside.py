"""What a door writes to `dead.unprocessable`: where the bytes are kept and why they were refused, never the bytes."""

from datetime import datetime

from adapters.kafka import Message
from adapters.pixels import blob_uri
from schemas import ids, topics
from schemas.envelope import to_json


def put_aside(
    data: bytes, *, door: str, sender: str, media_type: str, error_class: str, reason: str, now: datetime
) -> tuple[Message, tuple[str, bytes]]:
    """The message for the dead-letter topic and the blob (uri, bytes) that it refers to.

    The headers are those of every dead letter; topic names the door and partition and offset are -1, since what a
    door refuses was never on the log.
    """
    sha256 = ids.sha256_hex(data)
    uri = blob_uri("quarantine", sha256)
    event = ids.event_id("quarantine", sha256)
    headers = {
        "topic": door,
        "partition": "-1",
        "offset": "-1",
        "error_class": error_class,
        "reason": reason,
        "attempt": "1",
        "first_seen": now.isoformat(),
        "model_version": "",
        "event_id": str(event),
    }
    value = to_json({"uri": uri, "sha256": sha256, "size_bytes": len(data), "media_type": media_type, "sender": sender})
    pairs = [(f"dead_{name}", text.encode()) for name, text in headers.items()]
    return Message(topics.DEAD_UNPROCESSABLE, str(event).encode(), pairs, value), (uri, data)
