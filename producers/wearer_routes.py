"""All routes of wearers' apps put together on one site; what each does is in its own module."""

from dataclasses import dataclass

from fastapi import FastAPI

from adapters.clock import Clock
from adapters.database.shelf import Shelves
from adapters.wearers import WearerBook
from producers import fhir_routes, glucose_routes, nightscout_v1, nightscout_v3, pairing, wearer_files
from producers.bearer import Bearers
from producers.client_limits import ClientLimits
from producers.door import Door
from producers.guesses import Guesses
from producers.pending import Pending
from producers.site import Site
from producers.wearer_access import Access


@dataclass(frozen=True, slots=True)
class Wearers:
    """What the routes of wearers' apps need: credentials, what is kept of a wearer, and how often a client may ask.

    A read waits at most `hold_s` for what the same wearer has just sent.
    """

    book: WearerBook
    shelf: Shelves
    requests_per_s: float = 50.0
    hold_s: float = 2.0


def add(app: FastAPI, door: Door, key: bytes, clock: Clock, wearers: Wearers) -> None:
    """Adds the routes to the application; `key` signs tokens."""
    limits = ClientLimits(clock, wearers.requests_per_s)
    access = Access(wearers.book, Guesses(clock), limits, Bearers(key), clock)
    site = Site(door, clock, access, wearers.shelf, Pending(clock, wearers.hold_s))
    glucose_routes.add(app, site)
    nightscout_v1.add(app, site)
    nightscout_v3.add(app, site)
    fhir_routes.add(app, site)
    wearer_files.add(app, site)
    pairing.add(app, site)
