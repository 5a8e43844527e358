"""A broker that hangs and comes back, as both doors tell it to their senders (S1, delivery rule 1)."""

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from PIL import Image

from adapters.settings import Settings
from clinstream.sending import objects, store
from clinstream.sending.objects import StorageObject
from clinstream.sending.sent import Sent
from clinstream.sending.wrap import Wrapping
from schemas import topics
from tests.support.dicom_objects import data_set, part_10
from tests.support.doors import Doors, doors_of, log_of


@pytest.fixture
def doors(kafka_settings: Settings) -> Iterator[Doors]:
    """Both doors, which wait 1.5 s for the broker."""
    with doors_of(kafka_settings) as found:
        for name in ("door-dicom", "door-http"):
            found.start(name, CLINSTREAM_DOOR_ACK_DEADLINE_S="1.5")
        yield found


@contextmanager
def hanging(settings: Settings) -> Iterator[None]:
    """The broker accepts connections and answers nothing."""
    port = int(settings.kafka.bootstrap_servers.rpartition(":")[2])
    pids = {
        found.pid
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid
    }
    (pid,) = pids
    psutil.Process(pid).send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        psutil.Process(pid).send_signal(signal.SIGCONT)


def post(doors: Doors) -> httpx.Response:
    body: dict[str, Any] = {"stay": str(uuid4()), "measured_at": "2026-01-31T08:00:00Z", "features": {"Age": 1}}
    url = f"http://127.0.0.1:{doors.settings.doors.http_port}/v1/vitals"
    return httpx.post(url, json=body, timeout=60, trust_env=False)


def assess(doors: Doors) -> httpx.Response:
    url = f"http://127.0.0.1:{doors.settings.doors.http_port}/v1/results/{uuid4()}/assessments"
    body = {"verdict": "accepted", "clinician": "c", "idempotency_key": "once"}
    return httpx.post(url, json=body, timeout=60, trust_env=False)


def upload(doors: Doors) -> httpx.Response:
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    url = f"http://127.0.0.1:{doors.settings.doors.http_port}/v1/otoscope"
    form = {"subject": "s", "laterality": "left"}
    return httpx.post(url, data=form, files={"image": ("p", file.getvalue())}, timeout=60, trust_env=False)


def new_object(tmp_path: Path) -> StorageObject:
    path = tmp_path / f"{uuid4()}.dcm"
    path.write_bytes(part_10(data_set(SOPInstanceUID=f"2.25.{uuid4().int}")))
    item = objects.load(path, Wrapping())
    assert isinstance(item, StorageObject)
    return item


def send(doors: Doors, item: StorageObject) -> Sent:
    """One try: what the door says first is what is asked here."""
    target = store.Target("127.0.0.1", doors.settings.doors.dicom_port, "CLINSTREAM")
    (line,) = store.send([item], target, tries=1, pause=lambda seconds: None)
    return line


def test_a_broker_that_does_not_acknowledge_makes_both_doors_say_try_again_and_a_repeat_is_the_same_event(
    doors: Doors, kafka_settings: Settings, tmp_path: Path
) -> None:
    with log_of(doors.settings, topics.OBSERVED_DICOM, topics.OBSERVED_VITALS) as log:
        assert send(doors, new_object(tmp_path)).status == "accepted"
        assert post(doors).status_code == 200
        item = new_object(tmp_path)
        with hanging(kafka_settings):
            line = send(doors, item)
            answers = [post(doors), assess(doors), upload(doors)]
        assert line.status == "retry"
        assert line.reason.startswith("0xA700")
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        again = _until_taken(doors, item)
        assert again.event_id == item.event_id
        assert post(doors).status_code == 200
        landed = [record for record in log.read() if record.envelope.id == item.event_id]
        assert landed, "what was acknowledged is on the log, perhaps twice: once late, once repeated"


def _until_taken(doors: Doors, item: StorageObject) -> Sent:
    """The line of the first try that the door takes, a few tries after the broker woke up."""
    for _ in range(8):
        line = send(doors, item)
        if line.status == "accepted":
            return line
    raise AssertionError(line)
