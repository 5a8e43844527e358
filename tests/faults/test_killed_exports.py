"""SIGKILL of `exports` while it files and while it sends: each study is at its destination exactly once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from adapters.settings import Destination
from schemas import topics
from tests.support import results_out
from tests.support.oracle import Oracle
from tests.support.plant import ROOT, Plant, await_condition
from tests.support.real_events import xrays
from tests.support.senders import IMAGE_TASK, Acknowledged, send_images

IMAGES = 10
DESTINATION = "pacs-of-the-test"
TOPIC = topics.results_topic(IMAGE_TASK)


def test_each_study_is_at_its_destination_exactly_once_when_exports_is_killed(
    plant: Plant, oracle: Oracle, tmp_path: Path
) -> None:
    """CC20, S4: killed before an offset is noted, then in the middle of sending; repeats are the same objects.

    Each image is a study of its own here.
    """
    pass_over(plant)
    sent = Acknowledged()
    send_images(plant, xrays(IMAGES, tmp_path), sent)
    assert oracle.judge(sent).faults == []
    with results_out.orthanc(tmp_path / "pacs") as pacs:
        with exporting(plant, pacs.destination, CLINSTREAM_CRASH_POINT="before-ack:1") as filing:
            assert filing.wait(60.0) == -signal.SIGKILL
        let_leases_end(plant)
        with exporting(plant, pacs.destination) as sending:
            await_condition(lambda: half_way(rows(plant, sent)), 300.0, "some studies left and some did not")
            os.kill(sending.pid, signal.SIGKILL)
            sending.wait(10.0)
        let_leases_end(plant)
        with exporting(plant, pacs.destination):
            done = [("publish", "confirmed")] * IMAGES
            await_condition(lambda: [row[:2] for row in rows(plant, sent)] == done, 300.0, "every study left")
        told = [uid for row in rows(plant, sent) for uid in json.loads(row[2])]
        held = [uid for each in pacs.tags("instances") if (uid := each["SOPInstanceUID"]) in told]
    assert len(set(told)) == 2 * IMAGES, "a report and a picture for each"
    assert sorted(held) == sorted(told)


@contextmanager
def exporting(plant: Plant, pacs: Destination, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The process `exports` beside the installation, which names no destination of its own."""
    there = {DESTINATION: pacs.model_dump(exclude={"authorization"})}
    environment = {**plant.environment(), "CLINSTREAM_CRASH_POINT": "", **more}
    environment["CLINSTREAM_EXPORT_DESTINATIONS"] = json.dumps(there)
    log = (plant.home.logs / "exports.test.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "consumers", "exports", "--index", "0"],
        env=environment,
        cwd=ROOT,
        stdout=log,
        stderr=log,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)
        log.close()


def pass_over(plant: Plant) -> None:
    """The group of `exports` begins after what other tests left on the topic, and with no study of theirs."""
    plant.sql("DELETE FROM study_marks")
    consumer = KafkaConsumer(
        bootstrap_servers=plant.settings.kafka.bootstrap_servers.split(","),
        group_id="clinstream.exports",
        enable_auto_commit=False,
    )
    try:
        places = [TopicPartition(TOPIC, number) for number in consumer.partitions_for_topic(TOPIC) or ()]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        consumer.commit({place: OffsetAndMetadata(end, "", -1) for place, end in ends.items()})
    finally:
        consumer.close()


def rows(plant: Plant, of: Acknowledged) -> list[tuple[str, str, str]]:
    """(action, state, what was sent as JSON) of the exports of these images' studies; others may leave meanwhile."""
    found = plant.sql(
        "SELECT e.action, e.state, e.sent::text FROM exports e JOIN study_reports r ON r.report_id = e.result_id "
        "JOIN study_objects o ON o.study_id = r.study_id "
        "WHERE e.destination = $1 AND o.event_id = ANY(CAST($2::text[] AS uuid[])) ORDER BY e.filed",
        DESTINATION,
        list(of.events),
    )
    return [(str(action), str(state), str(sent)) for action, state, sent in found]


def half_way(exports: list[tuple[str, str, str]]) -> bool:
    """Whether some have left and others wait."""
    return {"waiting"} < {state for _, state, _ in exports}


def let_leases_end(plant: Plant) -> None:
    """What the killed process had in its hands is due at once, not in the minutes that a lease lasts."""
    plant.sql("UPDATE exports SET next_at = now() WHERE state = 'waiting' AND destination = $1", DESTINATION)
