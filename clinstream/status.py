"""What an installation is doing now: its supervisor's word, each process's own metrics and the brokers' offsets."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from adapters import topics_admin
from adapters.settings import Settings
from clinstream import processes, running, stack
from clinstream.embedded import probes
from clinstream.embedded.home import Home
from clinstream.processes import Process
from schemas import topics
from schemas.errors import ClinstreamError

READY = "ready"
SILENT = "silent"
OPERATORS = "clinstream.operators"
DEAD = {"failed": topics.DEAD_FAILED, "unprocessable": topics.DEAD_UNPROCESSABLE}


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one process says of itself; `answered` is False when its endpoint did not."""

    answered: bool
    values: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    def total(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it has none."""
        return sum(value for (found, _), value in self.values.items() if found == name)

    def largest(self, name: str) -> float | None:
        """The largest value of a metric over its labels; None when it has none."""
        return max((value for (found, _), value in self.values.items() if found == name), default=None)

    def labels(self, name: str, label: str) -> list[str]:
        """The values of a label where the metric is not 0."""
        found = (
            dict(labels).get(label, "") for (known, labels), value in self.values.items() if known == name and value
        )
        return sorted(found)


def collect(settings: Settings) -> dict[str, Any]:
    """The status in the shape that `clinstream status --json` prints. Never raises for what is down."""
    home = Home(settings.home)
    if not home.run.exists() or not running.is_running(home):
        return {"ready": False, "parts": {}, "lanes": {}, "dead": dict.fromkeys(DEAD, None)}
    written = running.read_status(home)
    rows = processes.table(settings)
    scrapes = asyncio.run(_scrape(settings, rows))
    parts = _parts(settings, written, scrapes)
    lags = _lags(settings, rows)
    return {
        "ready": written.get("phase") == READY and all(part["state"] == READY for part in parts.values()),
        "parts": parts,
        "lanes": {row.name: _lane(row, scrapes, lags) for row in rows if row.topics} if _serves(written) else {},
        "dead": {kind: lags.get(topic) for kind, topic in DEAD.items()},
    }


def message(settings: Settings) -> str:
    """What the supervisor says in words: why a start failed, or which phase it is in; empty when it is not there."""
    written = running.read_status(Home(settings.home))
    return str(written.get("message") or written.get("phase") or "")


def _serves(written: Mapping[str, Any]) -> bool:
    return any(part["kind"] == "service" for part in written.get("components", []))


def _parts(settings: Settings, written: Mapping[str, Any], scrapes: Mapping[str, Scrape]) -> dict[str, dict[str, str]]:
    found = {}
    for component in written.get("components", []):
        name, state = component["name"], component["state"]
        details = [f"pid {component['pid']}"] if component["pid"] else []
        if component["restarts"]:
            times = "once" if component["restarts"] == 1 else f"{component['restarts']} times"
            details.append(f"restarted {times}, last exit {component['last_exit']}")
        if name in stack.PARTS:
            details.insert(0, "{}:{}".format(*stack.address(settings, name)))
            if state == READY and not asyncio.run(stack.answers(settings, name)):
                state = SILENT
        elif state == READY:
            state = _state_of_service(scrapes.get(name), details)
        found[name] = {"state": state, "detail": ", ".join(details)}
    for name in stack.PARTS:
        if name not in found and _serves(written):
            found[name] = _external(settings, name)
    found["store"] = {"state": READY, "detail": settings.store_url.split("?")[0]}
    return found


def _state_of_service(scrape: Scrape | None, details: list[str]) -> str:
    """What a running process says of itself: ready, parked or braked with the reason, or not ready."""
    if scrape is None or not scrape.answered:
        return SILENT
    braked = scrape.labels("clinstream_braked", "lane")
    if braked:
        details.append("too many failures; `clinstream resume` lets it go on")
        return "braked"
    parked = scrape.labels("clinstream_parked", "reason")
    if parked:
        details.append(f"waits for {', '.join(parked)}")
        return "parked"
    return READY if scrape.total("clinstream_ready") else "starting"


def _external(settings: Settings, name: str) -> dict[str, str]:
    host, port = stack.address(settings, name)
    answers = asyncio.run(stack.answers(settings, name))
    return {"state": READY if answers else "away", "detail": f"{host}:{port}, external"}


def _lane(row: Process, scrapes: Mapping[str, Scrape], lags: Mapping[str, int | None]) -> dict[str, float | None]:
    mine = [scrapes[f"{row.name}.{index}"] for index in range(row.count)]
    ages = [age for age in (scrape.largest("clinstream_progress_age_seconds") for scrape in mine) if age is not None]
    return {
        "lag": lags.get(row.group),
        "age_s": round(max(ages), 1) if ages else None,
        "in_flight": int(sum(scrape.total("clinstream_in_flight") for scrape in mine)),
    }


def _lags(settings: Settings, rows: Iterable[Process]) -> dict[str, int | None]:
    """Events not finished, by consumer group, and events in each dead-letter topic; empty when Kafka is away."""
    groups = {row.group: row.topics for row in rows if row.topics}
    hurried = settings.kafka.model_copy(update={"request_timeout_s": min(5.0, settings.kafka.request_timeout_s)})
    try:
        asked = {**groups, OPERATORS: tuple(DEAD.values())}
        found = topics_admin.lags(settings.model_copy(update={"kafka": hurried}), asked)
    except ClinstreamError:
        return {}
    lags: dict[str, int | None] = {group: sum(part.events for part in found[group]) for group in groups}
    for topic in DEAD.values():
        lags[topic] = sum(part.end - part.start for part in found[OPERATORS] if part.topic == topic)
    return lags


async def _scrape(settings: Settings, rows: Iterable[Process]) -> dict[str, Scrape]:
    names = [(row.name, index) for row in rows for index in range(row.count)]
    found = await asyncio.gather(*(_scrape_one(settings.metrics_port(*name)) for name in names))
    return {f"{name}.{index}": scrape for (name, index), scrape in zip(names, found, strict=True)}


async def _scrape_one(port: int) -> Scrape:
    status, body = await probes.http_get("127.0.0.1", port, "/metrics") if port else (0, b"")
    if status != 200:
        return Scrape(answered=False, values={})
    families = text_string_to_metric_families(body.decode())
    samples = (sample for family in families for sample in family.samples)
    return Scrape(True, {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})
