"""A subscriber with a plain Kafka client and a file of its own: each event once, the newest word about each object.

    python examples/subscribe_results.py 127.0.0.1:9092 results.chest_xray --state ward.sqlite

`clinstream contract play --expect` sends what a subscriber must cope with and prints what it should end with. An
account is taken from KAFKA_USERNAME and KAFKA_PASSWORD where the brokers ask for one.
"""

import argparse
import json
import os
import sqlite3

from kafka import KafkaConsumer

TABLES = """
CREATE TABLE IF NOT EXISTS seen (ce_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS results (
    object_id TEXT, task TEXT, result_id TEXT, subject_id TEXT, revision INTEGER, status TEXT, label TEXT, score REAL,
    changed TEXT, PRIMARY KEY (object_id, task));
"""
PUBLISHED, AMENDED, WITHDRAWN = (f"org.clinstream.result.{word}.v1" for word in ("published", "amended", "withdrawn"))


def take(state, headers, value):
    """One delivery: what it says and that it was seen go into the file together, or neither does."""
    kind, event_id = headers["ce_type"], headers["ce_id"]
    if kind not in (PUBLISHED, AMENDED, WITHDRAWN):
        return None  # a later version may add types of events
    event = json.loads(value)  # only the fields used below are read: a later version may add some
    with state:
        if not state.execute("INSERT OR IGNORE INTO seen VALUES (?)", (event_id,)).rowcount:
            return None  # delivery is at least once
        if kind == PUBLISHED:
            return _published(state, event)
        # Amended or withdrawn: about a result that was published before, under the same key.
        result, said = event["result_id"], f"{event['subject_id']} {event['task']} {kind} {event['reason']}"
        if kind == WITHDRAWN:
            state.execute("UPDATE results SET status = 'withdrawn' WHERE result_id = ?", (result,))
        else:
            row = state.execute("SELECT changed FROM results WHERE result_id = ?", (result,)).fetchone()
            changed = {**json.loads(row[0]), **event["changed"]} if row else {}
            state.execute("UPDATE results SET changed = ? WHERE result_id = ?", (json.dumps(changed), result))
        return said


def _published(state, event):
    place, answer = (event["object_id"], event["task"]), event["answer"]
    known = state.execute("SELECT revision FROM results WHERE object_id = ? AND task = ?", place).fetchone()
    if known and known[0] >= event["revision"]:
        return None  # an older word about this object
    row = (*place, event["result_id"], event["subject_id"], event["revision"], answer["label"], answer["score"])
    state.execute("REPLACE INTO results VALUES (?, ?, ?, ?, ?, 'current', ?, ?, '{}')", row)
    held = " (abstained)" if answer["abstained"] else ""
    return (
        f"{event['subject_id']} {event['task']} revision {event['revision']} {answer['label']} {answer['score']}{held}"
    )


def main():
    """Until it is stopped, or until nothing came for `--idle` seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", help="host:port of the brokers")
    parser.add_argument("topics", nargs="+", help="results.<task>, never simulated.<task> for patients")
    parser.add_argument("--state", default=":memory:", help="SQLite file that survives a restart")
    parser.add_argument("--group", default="subscriber.example", help="consumer group")
    parser.add_argument("--idle", type=float, default=float("inf"), help="seconds without an event, then it ends")
    chosen = parser.parse_args()
    account = {}
    if "KAFKA_USERNAME" in os.environ:
        account = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        account |= {f"sasl_plain_{part}": os.environ[f"KAFKA_{part.upper()}"] for part in ("username", "password")}
    state = sqlite3.connect(chosen.state)
    state.executescript(TABLES)
    consumer = KafkaConsumer(
        *chosen.topics,
        bootstrap_servers=chosen.servers,
        group_id=chosen.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # committed by hand, after the file holds what was said
        consumer_timeout_ms=chosen.idle * 1000,
        **account,
    )
    for record in consumer:
        # Headers are text by contract; one of a later version that is not is no reason to stop.
        said = take(state, {name: content.decode(errors="replace") for name, content in record.headers}, record.value)
        consumer.commit()
        if said:
            print(said)
    consumer.close()
    state.close()


if __name__ == "__main__":
    main()
