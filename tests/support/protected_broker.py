"""A real Kafka on loopback with accounts and the authorizer, set as `contracts.acls.broker_properties` says."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from adapters import settings as settings_room
from adapters import topics_admin
from adapters.settings import KafkaSettings, Settings
from clinstream.contracts import acls, compose
from clinstream.embedded import kafka, ports, setup, toolchain
from schemas.access import ADMIN, accounts
from schemas.errors import ClinstreamError
from tests.support import compose as compose_file
from tests.support.stack import temporary_home

READY_S = 120.0


def password(account: str) -> str:
    """The password of an account of the test's broker: the one that stands in for docker-compose.yml's."""
    return compose_file.secret(compose.variable(account))


def as_account(settings: Settings, account: str) -> Settings:
    """The same installation, connecting as another account."""
    changed = settings.kafka.model_copy(
        update={"sasl_username": account, "sasl_password": SecretStr(password(account))}
    )
    return settings.model_copy(update={"kafka": changed})


@contextmanager
def serving() -> Iterator[Settings]:
    """Settings of the administrator at a broker that refuses what no rule allows; no topic and no rule is there."""
    known = settings_room.load()
    setup.bring(known.cache, {"kafka"}, say=lambda sentence: None)
    java = toolchain.java()
    assert java is not None
    chosen, _ = ports.choose(["kafka", "kafka-controller"], {}, {})
    with temporary_home() as home:
        config = _configure(home, chosen)
        start = [str(java), *kafka.JVM, *kafka.QUIET, f"-Dlog4j.configuration=file:{home / 'log4j.properties'}"]
        start += ["-cp", f"{toolchain.kafka_jars(known.cache)}/*"]
        formatted = ["kafka.tools.StorageTool", "format", "-t", kafka.new_cluster_id(), "-c", str(config)]
        subprocess.run([*start, *formatted], check=True, capture_output=True)
        with (home / "kafka.log").open("wb") as log:
            process = subprocess.Popen([*start, "kafka.Kafka", str(config)], stdout=log, stderr=log)
        section = KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{chosen['kafka']}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            request_timeout_s=10,
        )
        settings = as_account(known.model_copy(update={"home": home, "kafka": section}), ADMIN)
        try:
            _wait(settings, process, home / "kafka.log")
            yield settings
        finally:
            process.terminate()
            process.wait(30)


def _configure(home: Path, chosen: dict[str, int]) -> Path:
    place = f"127.0.0.1:{chosen['kafka']}"
    lines = {
        **kafka.properties(home / "data", chosen["kafka"], chosen["kafka-controller"]),
        **acls.broker_properties({name: password(name) for name in (ADMIN, *accounts())}),
        "listeners": f"CLIENTS://{place},CONTROLLER://127.0.0.1:{chosen['kafka-controller']}",
        "advertised.listeners": f"CLIENTS://{place}",
    }
    config = home / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    (home / "log4j.properties").write_text(kafka.LOGGING)
    return config


def _wait(settings: Settings, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + READY_S
    while True:
        assert process.poll() is None, f"the broker ended: {log.read_text()[-2000:]}"
        try:
            topics_admin.missing_topics(settings.kafka, [])
            return
        except ClinstreamError:
            assert time.monotonic() < give_up, f"the broker is not ready: {log.read_text()[-2000:]}"
            time.sleep(0.3)
