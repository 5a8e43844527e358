"""Apache Kafka as one KRaft node: its properties, its first format and how it is started; topics are not its matter."""

import base64
import uuid
from collections.abc import Mapping
from pathlib import Path

from clinstream.embedded import probes
from clinstream.embedded.home import Home
from clinstream.supervision.component import Command, Component, Step

# Processor time until ready: 5.4 s by default, 3.4 s with the quick compiler only, which then costs no more a message
# (8,000 of 800 bytes, flushed one by one: 1.6 s either way). 300 to 340 MB resident with the serial collector.
JVM = (
    *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"),
)
QUIET = ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED")

LOGGING = """\
log4j.rootLogger=WARN, console
log4j.logger.kafka=WARN
log4j.logger.org.apache.kafka=WARN
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n
"""


def properties(data: Path, port: int, controller_port: int) -> dict[str, str]:
    """The broker's settings: nothing is deleted by age and no offset is forgotten unless a topic says so.

    The defaults (7 days for both) would delete what a parked lane has not read and forget where it stood.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "log.retention.ms": "-1",
        "offsets.retention.minutes": "5256000",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "10",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "group.min.session.timeout.ms": "3000",
        # Rolled segments of an idle laptop need no more cleaning than this.
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def new_cluster_id() -> str:
    """A random id as Kafka writes it: 16 bytes, base64url; no leading dash, which its tool takes for an option."""
    while (cluster := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return cluster


def component(home: Home, ports: Mapping[str, int], java: Path, jars: Path) -> Component:
    """The broker on `ports["kafka"]`, formatted with a cluster id of its own before its first start."""
    folder = home.folder / "kafka"
    data = folder / "data"
    config, logging = folder / "server.properties", folder / "log4j.properties"

    def write_configuration() -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        lines = properties(data, ports["kafka"], ports["kafka-controller"])
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        logging.write_text(LOGGING)

    def needs_format() -> bool:
        write_configuration()
        return not (data / "meta.properties").exists()

    start = (str(java), *JVM, *QUIET, f"-Dlog4j.configuration=file:{logging}", "-cp", f"{jars}/*")
    log = home.logs / "kafka.log"
    format_ = (*start, "kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", str(config))
    return Component(
        name="kafka",
        kind="part",
        command=Command((*start, "kafka.Kafka", str(config)), {}, home.folder, log),
        ready=lambda: probes.kafka_answers("127.0.0.1", ports["kafka"]),
        steps=(Step("kafka-format", Command(format_, {}, home.folder, log), needs_format),),
        before_start=write_configuration,
        ready_timeout_s=120.0,
        stop_timeout_s=30.0,
    )
