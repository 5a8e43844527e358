"""`bench door`: glucose readings through the HTTP door, one and ten a post, beside bare requests to that process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from clinstream.benches import cgm, load
from clinstream.benches.asker import Asker
from clinstream.benches.askers import connected
from clinstream.benches.figures import Report, figure, p95, ratio
from clinstream.benches.plant import Plant, total
from schemas.errors import UserError

AT_ONCE = 64
"""A client may ask 50 times a second and has ten seconds' worth at once: more clients, so that no limit is reached."""
TEN = 10
FEWER = 5
"""Posts of ten are so many times fewer."""
PATH, BARE = "/v1/glucose", "/healthz"
DOOR = "door-http.0"
APART = timedelta(milliseconds=100)
EVENTS = "clinstream_events_total"
BY = "bench door"

Ask = Callable[[Asker, bytes], Awaitable[tuple[int, bytes]]]


async def run(plant: Plant, *, repeats: int, count: int) -> Report:
    """`count` posts of one reading a repeat, a fifth of that of ten; what was taken is then seen through the lane."""
    subjects, doors = load.wearers(AT_ONCE), plant.settings.doors
    async with connected(plant, subjects, doors.http_host, doors.http_port, BY) as askers:
        await _through(plant, askers, posts=AT_ONCE, size=1)  # the door knows the credentials now
        single, ten, bare, late, cpu_single, cpu_ten = [], [], [], [], [], []
        for _ in range(repeats):
            took, _ = await _asked(plant, askers, [[b""] * _each(count)] * AT_ONCE, _bare)
            bare.append(_each(count) * AT_ONCE / took)
            rate, cpu_ms, seconds = await _through(plant, askers, posts=count, size=1)
            single.append(rate)
            cpu_single.append(cpu_ms)
            late.append(p95(seconds) * 1000)
            rate, cpu_ms, _seconds = await _through(plant, askers, posts=count // FEWER, size=TEN)
            ten.append(rate * TEN)
            cpu_ten.append(cpu_ms)
    return Report(
        "door",
        {"posts_over_bare_requests": ratio(single, bare), "readings_in_tens_over_single": ratio(ten, single)},
        {
            "single_posts": figure(single, "posts/s"),
            "readings_in_posts_of_ten": figure(ten, "readings/s"),
            "p95_single_64_at_once": figure(late, "ms"),
            "bare_requests": figure(bare, "requests/s"),
            "cpu_door_single": figure(cpu_single, "ms/post"),
            "cpu_door_ten": figure(cpu_ten, "ms/post"),
        },
    )


async def _through(
    plant: Plant, askers: Sequence[Asker], *, posts: int, size: int
) -> tuple[float, float, Sequence[float]]:
    """Posts a second, the door's processor time of one in ms, seconds of each; returns once the lane has seen all."""
    bodies = [_bodies(_each(posts), size) for _ in askers]
    before = total(await plant.counters(cgm.PROCESS), EVENTS, lane=cgm.PROCESS)
    cpu_s = plant.cpu_s([DOOR])
    took, seconds = await _asked(plant, askers, bodies, _post)
    cpu_ms = (plant.cpu_s([DOOR]) - cpu_s) * 1000 / len(seconds)
    await plant.until(cgm.PROCESS, EVENTS, before + len(seconds) * size, lane=cgm.PROCESS)
    return len(seconds) / took, cpu_ms, seconds


async def _asked(
    plant: Plant, askers: Sequence[Asker], bodies: Sequence[Sequence[bytes]], ask: Ask
) -> tuple[float, list[float]]:
    """Seconds of all together and of each request; UserError where one is not taken."""

    async def one_after_the_other(asker: Asker, mine: Sequence[bytes]) -> list[float]:
        found = []
        for body in mine:
            began = plant.clock.monotonic()
            status, answer = await ask(asker, body)
            found.append(plant.clock.monotonic() - began)
            if status != 200:
                raise UserError(f"The door answered {status}: {answer[:200].decode(errors='replace')}")
        return found

    began = plant.clock.monotonic()
    each = await asyncio.gather(*(one_after_the_other(*pair) for pair in zip(askers, bodies, strict=True)))
    return plant.clock.monotonic() - began, [seconds for some in each for seconds in some]


def _bodies(posts: int, size: int) -> list[bytes]:
    """Posts of a wearer with different sensor times of the last minutes, made before anything is measured."""
    now = datetime.now(UTC)
    readings = [
        {"measured_at": now - APART * n, "value": 100 + n % 90, "unit": "mg/dL", "simulated": True}
        for n in range(posts * size)
    ]
    parts = [readings[start : start + size] for start in range(0, len(readings), size)]
    return [msgspec.json.encode(part[0] if size == 1 else part) for part in parts]


def _each(posts: int) -> int:
    return max(1, -(-posts // AT_ONCE))


async def _post(asker: Asker, body: bytes) -> tuple[int, bytes]:
    return await asker.post(PATH, body)


async def _bare(asker: Asker, _: bytes) -> tuple[int, bytes]:
    return await asker.get(BARE)
