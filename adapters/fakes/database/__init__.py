"""PostgreSQL in memory, sitting the same exam as `adapters.database.Database`; it can be taken away with `down`."""

from adapters.fakes.database.readings import Readings
from adapters.fakes.database.releases import Releases
from adapters.fakes.database.trails import Trails


class FakeDatabase(Readings, Trails, Releases):
    """`Database` in dictionaries; with `down = True` every call raises DatabaseUnavailable and changes nothing."""
