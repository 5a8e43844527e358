"""A rehearsal of docker-compose.yml without containers: its own commands and environments on real servers (S8).

Kafka with accounts and rules, PostgreSQL, an S3 server and Triton run on loopback; hosts, ports and the database's
passwords are exchanged, and Triton's profile is `cpu`. Everything else is what the file says.
"""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from adapters.kafka import client_security
from adapters.settings import Settings, TritonSettings
from clinstream.contracts import scrape
from clinstream.embedded import ports
from schemas.access import SUBSCRIBERS
from tests.support import compose, protected_broker, s3_server
from tests.support.protected_broker import as_account

SERVICES = compose.interpolated()["services"]
SAMPLE = Path(__file__).parents[2] / "clinstream" / "samples" / "pack" / "vitals" / "monitor.json"
READY_S = 90


class Rehearsal:
    """Starts services of the file as processes of this machine."""

    def __init__(self, folder: Path, exchanged: Mapping[str, str]) -> None:
        self._folder, self._exchanged = folder, exchanged
        names = ["http", *(f"metrics.{name}" for name in SERVICES)]
        self.ports, _ = ports.choose(names, {}, {})

    def environment(self, name: str) -> dict[str, str]:
        """The service's environment with this machine's addresses."""
        given = SERVICES[name]["environment"]
        assert set(self._exchanged) <= set(given) | {"CLINSTREAM_DATABASE_OWNER_URL"}
        own = {
            "CLINSTREAM_METRICS_HOST": "127.0.0.1",
            "CLINSTREAM_METRICS_PORT": str(self.ports[f"metrics.{name}"]),
            "CLINSTREAM_DOOR_HTTP_HOST": "127.0.0.1",
            "CLINSTREAM_DOOR_HTTP_PORT": str(self.ports["http"]),
        }
        exchanged = {key: value for key, value in self._exchanged.items() if key in given}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CLINSTREAM_")}
        return {**inherited, **given, **exchanged, **own}

    def _command(self, words: list[str]) -> list[str]:
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    def to_its_end(self, name: str) -> None:
        """Runs a service that ends by itself; fails with its last words when it does not end well."""
        command, environment = self._command(SERVICES[name]["command"]), self.environment(name)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """The service, healthy by its own health check when entered; ended in order on leaving."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as file:
            command, environment = self._command(SERVICES[name]["command"]), self.environment(name)
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            self._wait_until_healthy(name, process, log)
            yield
        finally:
            process.terminate()
            process.wait(30)

    def _wait_until_healthy(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        check = [word.replace(f":{scrape.PORT}/", f":{self.ports[f'metrics.{name}']}/") for word in check]
        for _ in range(READY_S):
            assert process.poll() is None, log.read_text()[-3000:]
            if subprocess.run(self._command(check), capture_output=True, check=False).returncode == 0:
                return
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
        raise AssertionError(f"{name} did not become healthy: {log.read_text()[-3000:]}")


@pytest.fixture
def servers(empty_database: Settings, triton: TritonSettings, tmp_path: Path) -> Iterator[tuple[Rehearsal, Settings]]:
    """The rehearsal and the administrator's settings at its broker."""
    with ExitStack() as stack:
        broker = stack.enter_context(protected_broker.serving())
        s3 = stack.enter_context(s3_server.serving())
        s3.make_bucket(SERVICES["s3"]["environment"]["S3_BUCKET"])
        database = empty_database.database
        exchanged = {
            "CLINSTREAM_HOME": str(tmp_path),
            "CLINSTREAM_CACHE": str(broker.cache),
            "CLINSTREAM_KAFKA_URL": broker.kafka.bootstrap_servers,
            "CLINSTREAM_DATABASE_URL": database.url,
            "CLINSTREAM_DATABASE_OWNER_URL": database.migration_url,
            "CLINSTREAM_STORE_ENDPOINT": str(s3.settings.endpoint),
            "CLINSTREAM_TRITON_GRPC": triton.grpc,
            "CLINSTREAM_TRITON_HTTP": triton.http,
            "CLINSTREAM_TRITON_METRICS": triton.metrics,
            "CLINSTREAM_TRITON_REPOSITORY": str(triton.repository),
            "CLINSTREAM_TRITON_PROFILE": "cpu",
        }
        yield Rehearsal(tmp_path, exchanged), broker


async def test_what_a_monitor_sends_comes_out_as_a_result(servers: tuple[Rehearsal, Settings]) -> None:
    """S8, S6: prepared from nothing, each process under its own account, read by a subscriber under its own."""
    rehearsal, broker = servers
    await asyncio.to_thread(rehearsal.to_its_end, "prepare")
    await asyncio.to_thread(rehearsal.to_its_end, "prepare")  # it may run again at any time
    with rehearsal.running("signals"), rehearsal.running("door-http"):
        sample: Any = json.loads(SAMPLE.read_text())
        answer = await asyncio.to_thread(_post, rehearsal.ports["http"], sample)
        assert answer in (200, 201, 202)
        wanted = len(sample) if isinstance(sample, list) else 1
        found = await _results(as_account(broker, SUBSCRIBERS), "results.icu_mortality", wanted)
    assert {each["task"] for each in found} == {"icu_mortality"}
    assert len({each["result_id"] for each in found}) == wanted


def _post(port: int, body: Any) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/vitals",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


async def _results(settings: Settings, topic: str, count: int) -> list[dict[str, Any]]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id="subscriber.ward",
        auto_offset_reset="earliest",
        **client_security(settings.kafka),
    )
    try:
        await consumer.start()
        async with asyncio.timeout(90):
            return [json.loads((await consumer.getone()).value or b"") for _ in range(count)]
    finally:
        await consumer.stop()
