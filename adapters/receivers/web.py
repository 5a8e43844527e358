"""What the receivers that speak HTTP have in common: the client, and what an answer means for us."""

from collections.abc import Callable

import httpx

from adapters.settings import Destination
from schemas.errors import ReceiverAway, ReceiverRefused

TIMEOUT_S = 60.0
AGAIN = frozenset({408, 425, 429})


def client(destination: Destination) -> httpx.Client:
    """A client at the destination's base URL, with its credentials; no proxy of the environment."""
    headers = {}
    if destination.authorization is not None:
        headers["Authorization"] = destination.authorization.get_secret_value()
    return httpx.Client(base_url=destination.url, timeout=TIMEOUT_S, trust_env=False, headers=headers)


def judged(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer when it is good; raises ReceiverAway for what may pass and ReceiverRefused for what hardly will."""
    try:
        answer = ask()
    except httpx.TransportError as error:
        raise ReceiverAway(f"it does not answer ({type(error).__name__})") from None
    if answer.status_code >= 500 or answer.status_code in AGAIN:
        raise ReceiverAway(f"it answers {answer.status_code}")
    if answer.status_code >= 400:
        raise ReceiverRefused(f"it answers {answer.status_code}")
    return answer
