"""How Faust is set up for a process; none that matters to delivery is left to its default by accident."""

from typing import Any

from consumers.process import ConsumerProcess

COMMIT_EVERY_S = 0.5


def chosen(process: ConsumerProcess, topics: tuple[str, ...]) -> dict[str, Any]:
    """All settings of Faust that matter to delivery, except credentials, which are objects of Faust's."""
    kafka = process.settings.kafka
    home = process.settings.home / "faust" / f"{process.name}.{process.index}"
    return {
        "id": process.group,
        "version": 1,
        "datadir": str(home),
        "broker": [f"kafka://{place}" for place in kafka.bootstrap_servers.split(",")],
        "broker_client_id": process.group,
        "broker_commit_interval": COMMIT_EVERY_S,
        "broker_commit_every": 1_000_000,  # by time only
        "broker_commit_livelock_soft_timeout": 86_400.0,
        "broker_heartbeat_interval": 2.0,
        "broker_session_timeout": 10.0,
        "broker_rebalance_timeout": 30.0,
        "broker_request_timeout": max(20.0, kafka.request_timeout_s),
        "broker_max_poll_interval": 86_400.0,  # idle longer than this, aiokafka leaves the group and never returns
        "broker_max_poll_records": 2_000,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": process.instance_id(topics),
        "consumer_max_fetch_size": 1_048_576,
        "consumer_metadata_max_age_ms": 60_000,
        "producer_request_timeout": kafka.request_timeout_s,
        "producer_acks": -1,
        "processing_guarantee": "at_least_once",
        "stream_buffer_maxsize": 16,  # bundles of records
        "stream_wait_empty": False,  # a rebalance would wait for every event in flight, without bound
        "stream_processing_timeout": 86_400.0,
        "stream_recovery_delay": 0.0,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "store": "memory://",
        "autodiscover": False,
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
