"""Kafka's client says the same thing once in a while."""

import logging

from adapters import kafka_noise


def record(text: str, *facts: object) -> logging.LogRecord:
    """What a client would log."""
    return logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, facts, None)


def test_each_kind_of_message_comes_through_once_and_another_kind_as_well() -> None:
    noise = kafka_noise.OnceInAWhile(every_s=3600)
    assert noise.filter(record("Unable connect to node with id %s: %s", 1, "refused"))
    assert not noise.filter(record("Unable connect to node with id %s: %s", 2, "refused"))
    assert noise.filter(record("Heartbeat session expired"))


def test_it_comes_again_when_the_while_is_over() -> None:
    noise = kafka_noise.OnceInAWhile(every_s=0)
    assert noise.filter(record("a"))
    assert noise.filter(record("a"))


def test_the_filter_is_put_on_once() -> None:
    kafka_noise.hush()
    kafka_noise.hush()
    filters = [each for each in logging.getLogger("aiokafka").filters if isinstance(each, kafka_noise.OnceInAWhile)]
    assert len(filters) == 1
