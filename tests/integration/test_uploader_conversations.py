"""What apps say to a server, played against the door's own process, a real broker and PostgreSQL; each post twice."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.fakes.windows import FakeWindows
from adapters.settings import Settings
from clinstream import uploaders
from consumers.ask import Ask
from consumers.glucose import Glucose
from consumers.outcomes import Decide
from schemas import envelope, topics
from schemas.events import GlucoseObserved
from tests.support import steps
from tests.support.conversations import NAMES, Conversation
from tests.support.doors import Doors, doors_of, log_of

GLUCOSE = tuple(topics.OBSERVED_GLUCOSE.values())


@pytest.fixture(scope="module")
def doors(kafka_settings: Settings, database: Settings) -> Iterator[Doors]:
    """One process of the HTTP door, which knows a database."""
    with doors_of(kafka_settings, "door-http", database=database) as found:
        yield found


class Step:
    """The glucose step without a model, run over what is on the log whenever it is told to."""

    def __init__(self, database: Database) -> None:
        clock = SystemClock()
        ask = Ask(steps.FakeInference(), steps.FakeReleases(), clock)
        self.database = database
        self.done = 0
        self._step = Glucose("live", {}, database=database, windows=FakeWindows(), ask=ask, clock=clock)

    async def follow(self, events: list[GlucoseObserved]) -> None:
        """Takes what is new among these."""
        new, self.done = events[self.done :], len(events)
        if new:
            found = await self._step([steps.delivery(event, GLUCOSE[0], place) for place, event in enumerate(new)])
            await self.database.decide([o.outcome for each in found for o in each if isinstance(o, Decide)])


@pytest.mark.parametrize("name", NAMES)
async def test_a_recorded_conversation_passes_unchanged_and_a_second_post_adds_no_row(doors: Doors, name: str) -> None:
    """GL3, GL15: through the log; a read right after a post sees it."""
    database = Database.open(doors.settings, SystemClock())
    made, secret = await uploaders.add(database, doors.settings, f"W {uuid4()}")
    step = Step(database)
    url = f"http://{doors.settings.doors.http_host}:{doors.settings.doors.http_port}"
    with log_of(doors.settings, *GLUCOSE) as log:

        def logged() -> list[GlucoseObserved]:
            events = [envelope.read(GlucoseObserved, record.value) for record in log.read()]
            return sorted(events, key=lambda event: event.observed_at)

        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:

            async def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> httpx.Response:
                answer = await client.request(method, path, headers=headers, content=body)
                if method == "GET":
                    return answer
                if method in ("POST", "PUT"):
                    again = await client.request(method, path, headers=headers, content=body)
                    assert again.status_code in (answer.status_code, 200)
                await step.follow(await asyncio.to_thread(logged))
                return answer

            async def rows() -> int:
                found = await database.shelf.readings(made.subject_id, limit=1000)
                times = [row.time_ms for row in found]
                times += [row.time_ms for row in await database.shelf.readings_after(made.subject_id, 0, 1000)]
                return len(await database.shelf.contents_at(made.subject_id, sorted(set(times))))

            talk = Conversation(name, secret, datetime.now(UTC).replace(microsecond=0))
            await talk.play(ask, rows)
    await database.close()
