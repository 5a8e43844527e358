"""Real door processes for tests, on a real broker: a home of their own, free ports, gone with the test."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from adapters import topics_admin
from adapters.settings import Settings, load
from schemas.envelope import Envelope, open_envelope

KEY = "5e" * 32
AWAY = "postgresql+asyncpg://nobody@127.0.0.1:{}/nothing"


@dataclass
class Doors:
    """Running doors: `home` is for `CLINSTREAM_HOME`, `processes` by name and index."""

    home: Path
    settings: Settings
    processes: dict[tuple[str, int], "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The folder of the object store."""
        return self.home / "store"

    def environment(self) -> dict[str, str]:
        """The environment of a command that uses these doors."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLINSTREAM_")}
        return {**kept, "CLINSTREAM_HOME": str(self.home)}

    def start(self, name: str, index: int = 0, **environment: str) -> None:
        """Starts one process and waits until it says that it is ready (3 s)."""
        log = (self.home / f"{name}.{index}.log").open("ab")
        command = [sys.executable, "-m", "producers", name, "--index", str(index)]
        process = subprocess.Popen(command, env={**self.environment(), **environment}, stdout=log, stderr=log)
        log.close()
        self.processes[name, index] = process
        give_up = time.monotonic() + 60
        while not self.is_ready(name, index):
            assert process.poll() is None, self.log(name, index)
            assert time.monotonic() < give_up, f"{name} did not become ready: {self.log(name, index)}"
            time.sleep(0.05)

    def is_ready(self, name: str, index: int = 0) -> bool:
        """Whether its readiness gauge is 1."""
        return self.metric("clinstream_ready", name, index) == 1.0

    def metric(self, line: str, name: str, index: int = 0) -> float | None:
        """The value behind `line` (name and labels) on its metrics page; None when there is none."""
        url = f"http://127.0.0.1:{self.settings.metrics_port(name, index)}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                text = page.read().decode()
        except OSError:
            return None
        found = [row.rpartition(" ")[2] for row in text.splitlines() if row.rpartition(" ")[0] == line]
        return float(found[0]) if found else None

    def log(self, name: str, index: int = 0) -> str:
        """What it wrote."""
        return (self.home / f"{name}.{index}.log").read_text()

    def stop(self, name: str, index: int = 0, number: int = signal.SIGTERM) -> int:
        """Ends one process; its exit status."""
        process = self.processes.pop((name, index))
        process.send_signal(number)
        try:
            return process.wait(30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def end(self) -> None:
        """Ends all."""
        for name, index in list(self.processes):
            self.stop(name, index)


@contextmanager
def doors_of(broker: Settings, *names: str, database: Settings | None = None) -> Iterator[Doors]:
    """The named doors (index 0 each) on `broker`, with all topics made; without `database` theirs is away."""
    topics_admin.ensure_topics(broker, ["chest_xray", "icu_mortality"])
    home = Path(tempfile.mkdtemp(prefix="clinstream-doors-"))
    ports = free_ports(7)
    database_url = database.database.url if database else AWAY.format(ports[6])
    known = {
        "kafka": {"bootstrap_servers": broker.kafka.bootstrap_servers},
        "doors": {"dicom_port": ports[0], "http_port": ports[1], "ack_deadline_s": 5.0},
        "database": {"url": database_url},
        "ports": {
            "metrics.door-dicom.0": ports[2],
            "metrics.door-dicom.1": ports[3],
            "metrics.door-http.0": ports[4],
            "metrics.door-folder.0": ports[5],
        },
    }
    (home / "endpoints.json").write_text(json.dumps(known))
    (home / "secrets").mkdir()
    (home / "secrets" / "pseudonym.key").write_text(KEY)
    found = Doors(home, load(home))
    try:
        for name in names:
            found.start(name)
        yield found
    finally:
        found.end()
        shutil.rmtree(home, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [int(found.getsockname()[1]) for found in sockets]
    finally:
        for found in sockets:
            found.close()


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of a topic."""

    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes

    @property
    def envelope(self) -> Envelope:
        """Its CloudEvents attributes."""
        return open_envelope(self.headers)


class Log:
    """What came onto some topics since this object was made."""

    def __init__(self, settings: Settings, *topics: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
        )
        self._places = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        self._consumer.assign(self._places)
        self._start = self._consumer.end_offsets(self._places)

    def read(self) -> list[Logged]:
        """Everything that is on the log now, from where this object began."""
        ends = self._consumer.end_offsets(self._places)
        for place in self._places:
            self._consumer.seek(place, self._start[place])
        found: list[Logged] = []
        while any(self._consumer.position(place) < ends[place] for place in self._places):
            for records in self._consumer.poll(timeout_ms=1000).values():
                found += [Logged(record.key, list(record.headers), record.value) for record in records]
        return found

    def close(self) -> None:
        """Gives the connection back."""
        self._consumer.close()


@contextmanager
def log_of(settings: Settings, *topics: str) -> Iterator[Log]:
    """What comes onto `topics` from now on."""
    found = Log(settings, *topics)
    try:
        yield found
    finally:
        found.close()
