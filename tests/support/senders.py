"""Senders through the real doors, each with its own list of what was acknowledged; nothing is judged."""

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.wearers import Credential, digest, new_secret, salted
from clinstream.sending import store
from clinstream.sending.objects import StorageObject
from schemas.errors import DatabaseUnavailable
from tests.support.plant import Plant
from tests.support.real_events import Observed

VITALS_TASK, IMAGE_TASK, EAR_TASK, GLUCOSE_TASK = "icu_mortality", "chest_xray", "otoscope_screening", "glucose"
VISIBLE_LIGHT = "1.2.840.10008.5.1.4.1.1.77.1."
POST = 50
GIVE_UP_S = 150.0


@dataclass
class Acknowledged:
    """The sender's own list: which task each acknowledged event is for; written by several threads."""

    events: dict[str, str] = field(default_factory=dict)
    tries_again: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, event_id: str | None, task: str) -> None:
        """The door said that it has this event."""
        assert event_id, "a door acknowledged an event without naming it"
        with self.lock:
            self.events[event_id] = task

    def again(self) -> None:
        """The door said "try again", or nothing at all."""
        with self.lock:
            self.tries_again += 1

    def write(self, path: Path) -> Path:
        """As `send --json` prints them."""
        path.write_text("".join(json.dumps({"status": "accepted", "event_id": name}) + "\n" for name in self.events))
        return path


def send_vitals(plant: Plant, todo: Sequence[dict[str, Any]], sent: Acknowledged, *, seconds: float = 0.0) -> None:
    """Posts readings, spread over `seconds`; repeats what the door cannot take until it does."""
    doors = plant.settings.doors
    url = f"http://{doors.http_host}:{doors.http_port}/v1/vitals"
    posts = [todo[start : start + POST] for start in range(0, len(todo), POST)]
    began = time.monotonic()
    with httpx.Client(timeout=30.0) as client:
        for number, post in enumerate(posts):
            time.sleep(max(0.0, began + seconds * number / len(posts) - time.monotonic()))
            for result in _post(client, url, post, sent):
                assert result["status"] == "accepted", result
                sent.note(result["event_id"], VITALS_TASK)


def _post(
    client: httpx.Client,
    url: str,
    post: Sequence[dict[str, Any]],
    sent: Acknowledged,
    headers: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    until = time.monotonic() + GIVE_UP_S
    while True:
        try:
            answer = client.post(url, json=post, headers=headers)
            if answer.status_code == 200:
                return list(answer.json()["results"])
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
        except httpx.TransportError:
            pass  # the door's process is being killed and started again
        sent.again()
        assert time.monotonic() < until, "the HTTP door took nothing for too long"
        time.sleep(0.3)


def send_images(
    plant: Plant, todo: Iterable[StorageObject], sent: Acknowledged, *, seconds: float = 0.0, urgent_every: int = 4
) -> None:
    """Stores objects, spread over `seconds`, every fourth as STAT; repeats what the door cannot take."""
    waiting = list(todo)
    size = max(1, len(waiting) // 6) if seconds else max(1, len(waiting))
    lots = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    began = time.monotonic()
    for number, lot in enumerate(lots):
        time.sleep(max(0.0, began + seconds * number / len(lots) - time.monotonic()))
        urgent = lot[::urgent_every] if urgent_every else []
        for stat, part in ((True, urgent), (False, [item for item in lot if item not in urgent])):
            _store(plant, part, sent, urgent=stat)


def _store(plant: Plant, todo: Sequence[StorageObject], sent: Acknowledged, *, urgent: bool) -> None:
    until = time.monotonic() + GIVE_UP_S
    waiting = list(todo)
    while waiting:
        for item, line in zip(waiting, dispatch(plant, waiting, urgent=urgent), strict=True):
            assert line.status in ("accepted", "retry"), line
            if line.status == "accepted":
                sent.note(line.event_id, EAR_TASK if item.sop_class_uid.startswith(VISIBLE_LIGHT) else IMAGE_TASK)
                assert line.event_id == item.event_id
            else:
                sent.again()
        waiting = [item for item in waiting if item.event_id not in sent.events]
        assert time.monotonic() < until, "the DICOM door took nothing for too long"


def dispatch(plant: Plant, todo: Sequence[StorageObject], *, urgent: bool = False, **target: str) -> Iterator[Any]:
    """One line an object, in order, as `clinstream send dicom` has them."""
    doors = plant.settings.doors
    title = target.pop("called_ae_title", doors.dicom_ae_title)
    where = store.Target(doors.dicom_host, doors.dicom_port, title, urgent=urgent, **target)
    return store.send(todo, where, associations=2, pause=time.sleep)


def send_glucose(plant: Plant, todo: Sequence[Observed], sent: Acknowledged, *, seconds: float = 0.0) -> None:
    """Posts each wearer's readings with the wearer's credential, spread over `seconds`; repeats what is not taken."""
    by_wearer: dict[str, list[Observed]] = {}
    for each in todo:
        by_wearer.setdefault(each.event.subject_id, []).append(each)
    keys = {wearer: credential(plant, wearer) for wearer in by_wearer}
    doors = plant.settings.doors
    url = f"http://{doors.http_host}:{doors.http_port}/v1/glucose"
    began = time.monotonic()
    with httpx.Client(timeout=30.0) as client:
        for number, (wearer, readings) in enumerate(by_wearer.items()):
            time.sleep(max(0.0, began + seconds * number / len(by_wearer) - time.monotonic()))
            post = [
                {"measured_at": each.event.measured_at.isoformat(), "value": each.event.raw_value, "unit": "mg/dL"}
                for each in readings
            ]
            results = _post(client, url, post, sent, {"api-secret": keys[wearer]})
            for each, result in zip(readings, results, strict=True):
                assert result == {"event_id": str(each.event.event_id), "status": "accepted", "reason": ""}, result
                sent.note(result["event_id"], GLUCOSE_TASK)


_credentials: dict[tuple[str, str], str] = {}


def credential(plant: Plant, subject: str) -> str:
    """The secret of a wearer, whose credential is made the first time, however long the database is away."""
    known = _credentials.get((str(plant.home.folder), subject))
    if known:
        return known
    secret, salt = new_secret(), b"salt of a test"
    sha1 = digest(secret)
    assert sha1
    made = Credential(uuid4(), subject, "a wearer", salt, salted(salt, sha1), datetime.now(UTC))
    asyncio.run(_keep(plant, made))
    return _credentials.setdefault((str(plant.home.folder), subject), secret)


async def _keep(plant: Plant, made: Credential) -> None:
    until = time.monotonic() + GIVE_UP_S
    while True:
        database = Database.open(plant.settings, SystemClock())
        try:
            return await database.add_credential(made, by_whom="a test")
        except DatabaseUnavailable:
            assert time.monotonic() < until, "PostgreSQL was away for too long"
            await asyncio.sleep(0.3)
        finally:
            await database.close()


class Flow:
    """Vitals, images and glucose on their way while a test does its worst; `wait` ends when all is sent."""

    def __init__(
        self,
        plant: Plant,
        vitals: Sequence[dict[str, Any]],
        images: Sequence[StorageObject],
        glucose: Sequence[Observed] = (),
        *,
        seconds: float,
    ) -> None:
        self.sent = Acknowledged()
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="flow")
        self._works = [
            self._pool.submit(send_vitals, plant, vitals, self.sent, seconds=seconds),
            self._pool.submit(send_images, plant, images, self.sent, seconds=seconds),
            self._pool.submit(send_glucose, plant, glucose, self.sent, seconds=seconds),
        ]

    def acknowledged(self, task: str) -> int:
        """How many events for this task are on the list now."""
        with self.sent.lock:
            return list(self.sent.events.values()).count(task)

    def wait(self) -> Acknowledged:
        """The sender's list, once everything is on it."""
        try:
            for work in self._works:
                work.result(timeout=GIVE_UP_S * 2)
        finally:
            self._pool.shutdown(wait=True)
        return self.sent
