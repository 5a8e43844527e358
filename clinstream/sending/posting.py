"""Readings through the HTTP door in posts of many, repeated where the door says "try again"; no file is read here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import httpx
import msgspec

from clinstream.sending.sent import Sent

BATCH = 100
TRIES = 5
FIRST_PAUSE_S = 0.5
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One reading as it is posted, and where it stands: `file:line` of a CSV, `file:number` of a JSON file."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A route of the door at `url` that takes arrays of readings, and what it wants to be told with each post."""

    url: str
    route: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def answers(url: str) -> bool:
    """Whether the door at `url` answers at all."""
    try:
        return httpx.get(f"{url}/healthz", timeout=10.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def send(rows: Iterator[Row | Sent], target: Target, *, pause: Callable[[float], None]) -> Iterator[Sent]:
    """One line for each reading, in order; a post that the door cannot take now is repeated at most TRIES times."""
    headers = {"content-type": "application/json", **target.headers}
    with httpx.Client(base_url=target.url, timeout=TIMEOUT_S, trust_env=False, headers=headers) as client:
        while batch := list(islice(rows, BATCH)):
            posted = iter(_post(client, target.route, [row for row in batch if isinstance(row, Row)], pause))
            for row in batch:
                yield row if isinstance(row, Sent) else next(posted)


def repeated(ask: Callable[[], httpx.Response], pause: Callable[[float], None]) -> httpx.Response | str:
    """The first answer that is not "try again", else why there was none after TRIES."""
    reason = ""
    for attempt in range(TRIES):
        try:
            answer = ask()
        except httpx.TransportError as error:
            reason = f"the door does not answer ({type(error).__name__})"
        else:
            if answer.status_code not in (429, 503):
                return answer
            reason = said(answer)
        pause(FIRST_PAUSE_S * 2**attempt)
    return reason


def said(answer: httpx.Response) -> str:
    """The sentence of an answer that is no success."""
    return str(answer.json().get("error", answer.status_code))


def _post(client: httpx.Client, route: str, rows: list[Row], pause: Callable[[float], None]) -> list[Sent]:
    if not rows:
        return []
    body = msgspec.json.encode([row.body for row in rows])
    answer = repeated(lambda: client.post(route, content=body), pause)
    if isinstance(answer, str):
        return [Sent(row.path, "retry", answer) for row in rows]
    if answer.status_code in (200, 422):
        return [_line(row, result) for row, result in zip(rows, answer.json()["results"], strict=True)]
    return [Sent(row.path, "refused", said(answer)) for row in rows]


def _line(row: Row, result: dict[str, Any]) -> Sent:
    accepted = result["status"] == "accepted"
    return Sent(row.path, "accepted" if accepted else "refused", result["reason"], result["event_id"])
