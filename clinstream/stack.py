"""One installation's plan: which parts are ours and which external, their ports, and the components to supervise."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream import processes
from clinstream.embedded import claims, kafka, ports, postgres, probes, redis, store, toolchain, triton
from clinstream.embedded.home import Home
from clinstream.supervision.component import Command, Component, Step
from schemas.errors import UserError

Program = TypeVar("Program")

PARTS = ("database", "redis", "kafka", "triton")
PREPARE = "prepare"
# Which field names the server of a section; set from outside, the part is external.
ADDRESS = {"database": "url", "redis": "url", "kafka": "bootstrap_servers", "triton": "grpc", "store": "url"}
PART_PORTS = {
    "database": ("database",),
    "redis": ("redis",),
    "kafka": ("kafka", "kafka-controller"),
    "triton": ("triton-grpc", "triton-http", "triton-metrics"),
}
DOOR_PORTS = ("dicom", "http", "predictions")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to bring up: `notes` are sentences for the user, `external` the parts that somebody else runs."""

    components: Sequence[Component]
    prepare: Step | None
    external: Sequence[str]
    notes: Sequence[str]


def own_parts(wanted: Sequence[str] = PARTS) -> list[str]:
    """The parts that run here: those without an address in the environment."""
    outside = settings_room.from_environment()
    return [part for part in PARTS if part in wanted and ADDRESS[part] not in outside.get(part, {})]


def draw_up(home: Home, wanted: Sequence[str], wished: Mapping[str, int], *, services: bool) -> Plan:
    """Chooses ports, writes `endpoints.json` and the secrets, and returns the plan.

    `wanted` are the parts, `wished` ports by name. Raises UserError for what the user has to change first. The
    caller holds the installation's lock.
    """
    home.make()
    home.secret(settings_room.PSEUDONYM_KEY, n_bytes=32)
    outside = settings_room.from_environment()
    own = own_parts(wanted)
    before = settings_room.load(home.folder)
    rows = processes.table(before)
    names = [name for part in own for name in PART_PORTS[part]]
    if services:
        names += [*DOOR_PORTS, *processes.metrics_ports(rows)]
    remembered = home.endpoints().get("ports", {})
    wished = {**_wished_doors(outside), **wished} if services else dict(wished)
    with claims.held(before.cache) as others:
        chosen, moved = ports.choose(names, remembered, wished, others.taken)
        others.add(chosen.values())
    chosen = {**remembered, **chosen}
    home.write_endpoints(_endpoints(home, own, chosen, services=services), outside)
    settings = settings_room.load(home.folder)
    parts = _parts(home, own, chosen, settings, _bootstrap(home, "--only", "reconcile") if services else None)
    ours = processes.components(rows, settings, home.logs) if services else []
    notes = [f"The remembered port of {name} was taken by another program; it is now {chosen[name]}." for name in moved]
    external = [part for part in PARTS if part in wanted and part not in own]
    prepare = bootstrap_step(home) if services else None
    return Plan([*parts, *ours], prepare, external, notes)


def bootstrap_step(home: Home) -> Step:
    """Everything between parts and services: migrations, topics, models, release rows."""
    return Step(PREPARE, _bootstrap(home), needed=lambda: True, timeout_s=300.0)


def _bootstrap(home: Home, *only: str) -> Command:
    argv = (sys.executable, "-m", "clinstream.bootstrap_stack", *only)
    environment = settings_room.child_environment(home.folder)
    return Command(argv, environment, home.folder, home.logs / f"{PREPARE}.log")


def _wished_doors(outside: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    doors = outside.get("doors", {})
    return {name: doors[f"{name}_port"] for name in DOOR_PORTS if f"{name}_port" in doors}


def _endpoints(home: Home, own: Sequence[str], chosen: Mapping[str, int], *, services: bool) -> dict[str, Any]:
    """What other commands and our processes read to find everything; no secrets."""
    found: dict[str, Any] = {"ports": dict(chosen), "store": {"url": store.make(home)}}
    if "kafka" in own:
        found["kafka"] = {"bootstrap_servers": f"127.0.0.1:{chosen['kafka']}"}
    if "redis" in own:
        found["redis"] = {"url": f"redis://127.0.0.1:{chosen['redis']}/0"}
    if "triton" in own:
        found["triton"] = {name: f"127.0.0.1:{chosen[f'triton-{name}']}" for name in ("grpc", "http", "metrics")}
    if "database" in own:
        found["database"] = {
            "host": "127.0.0.1",
            "port": chosen["database"],
            "name": postgres.DATABASE,
            "owner_role": postgres.OWNER,
            "application_role": postgres.APPLICATION,
        }
    if services:
        found["doors"] = {f"{name}_port": chosen[name] for name in DOOR_PORTS}
    return found


def _parts(
    home: Home, own: Sequence[str], chosen: Mapping[str, int], settings: Settings, reconcile: Command | None
) -> list[Component]:
    lacking = toolchain.missing(settings.cache, own)
    if lacking:
        raise UserError("; ".join(f"{lack.what}: {lack.remedy}" for lack in lacking) + ".")
    makers: dict[str, Callable[[], Component]] = {
        "database": lambda: postgres.component(
            home, chosen, postgres.place(home, _found(toolchain.postgres_programs()))
        ),
        "redis": lambda: redis.component(home, chosen, _found(toolchain.redis_program())),
        "kafka": lambda: kafka.component(home, chosen, _found(toolchain.java()), toolchain.kafka_jars(settings.cache)),
        "triton": lambda: triton.component(home, chosen, _found(toolchain.triton_program(settings.cache)), reconcile),
    }
    return [makers[part]() for part in own]


def _found(program: Program | None) -> Program:
    if program is None:
        raise UserError("A program that was here a moment ago is gone; run `clinstream setup`.")
    return program


def address(settings: Settings, part: str) -> tuple[str, int]:
    """Host and port of a part, ours or external (of the first broker, when there are several)."""
    places = {
        "kafka": settings.kafka.bootstrap_servers.split(",")[0],
        "triton": settings.triton.grpc,
        "database": urlsplit(settings.database.url).netloc.rpartition("@")[2],
        "redis": urlsplit(settings.redis_url).netloc.rpartition("@")[2],
    }
    defaults = {"kafka": 9092, "triton": 8001, "database": 5432, "redis": 6379}
    host, _, port = places[part].rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (places[part], defaults[part])


async def answers(settings: Settings, part: str) -> bool:
    """Whether a part answers now, by the question that only a working one answers; never raises."""
    host, port = address(settings, part)
    if part == "triton":
        host, _, http = settings.triton.http.rpartition(":")
        return await probes.http_ok(host, int(http), "/v2/health/ready")
    ask = {"kafka": probes.kafka_answers, "redis": probes.redis_answers, "database": probes.postgres_answers}
    # Servers that somebody else runs may want TLS or a password before they answer anything.
    ours = ask[part] if part in own_parts() else probes.accepts
    return await ours(host, port)
