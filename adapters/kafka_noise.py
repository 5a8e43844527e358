"""Keeps Kafka's client from filling the logs while a broker is away: 25 lines a second and process without this."""

import logging
import threading
import time

EVERY_S = 30.0
TALKATIVE = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
    "kafka.client",
    "kafka.cluster",
    "kafka.net.connection",
    "kafka.net.manager",
    "kafka.net.selector",
)


class OnceInAWhile(logging.Filter):
    """Lets each kind of message (its text before the facts are filled in) through once in `every_s` seconds."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._every_s = every_s
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it; kinds are few, since clients pass the facts as arguments."""
        kind, now = str(record.msg)[:80], time.monotonic()
        with self._lock:
            if now - self._said.get(kind, -self._every_s) < self._every_s:
                return False
            self._said[kind] = now
            return True


_quiet = OnceInAWhile()


def hush() -> None:
    """Puts the filter on the talkative loggers; again is harmless."""
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(_quiet)
