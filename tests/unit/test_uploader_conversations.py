"""What xDrip+, Loop and AAPS say to a server, played against the door on fakes; GL3, S of the doors."""

import httpx
import pytest

from schemas import topics
from schemas.events import GlucoseObserved
from tests.support.conversations import NAMES, Conversation
from tests.support.http_door import at_the_door

SECRET, SUBJECT = "a secret of the wearer", "sub-wearer"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_recorded_conversation_passes_and_said_twice_adds_no_row(name: str, times: int) -> None:
    async with at_the_door() as app:
        app.wearers.add(SECRET, SUBJECT)
        await app.clock.advance(1)
        talk = Conversation(name, SECRET, app.clock.now())

        async def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> httpx.Response:
            for number in range(times if method in ("POST", "PUT") else 1):
                answer = await app.client.request(method, path, headers=headers, content=body)
                await app.clock.advance(0.01)
                for topic in topics.OBSERVED_GLUCOSE.values():
                    app.shelf.record(*app.events(topic, GlucoseObserved))
                if not number:
                    first = answer
            return first

        async def rows() -> int:
            return len(app.shelf.rows.get(SUBJECT, ()))

        await talk.play(ask, rows)
        assert topics.DEAD_UNPROCESSABLE not in app.publisher.topics
