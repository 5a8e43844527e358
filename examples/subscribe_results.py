"""A subscriber in twenty lines: any Kafka client does; what matters is to take each result once, by its `ce_id`.

python examples/subscribe_results.py 127.0.0.1:9092 results.chest_xray
"""

import json
import sys

from kafka import KafkaConsumer

servers, *topics = sys.argv[1:]
seen: set[str] = set()  # a real subscriber keeps this beside its own data, in the same transaction
consumer = KafkaConsumer(*topics, bootstrap_servers=servers, group_id="example", auto_offset_reset="earliest")
for record in consumer:
    headers = {name: value.decode() for name, value in record.headers}
    event, kind = json.loads(record.value), headers["ce_type"]
    if headers["ce_id"] in seen:  # delivery is at least once
        continue
    seen.add(headers["ce_id"])
    if kind.startswith("org.clinstream.result.published"):
        answer = event["answer"]
        print(event["subject_id"], event["task"], f"revision {event['revision']}", answer["label"], answer["score"])
    else:  # amended or withdrawn: about a result that was published before
        print(event["subject_id"], event["task"], kind, event["reason"])
