"""Readings whose time is cut to the minute, as LibreView's are: which of them an app has told with the second.

Only a sender that says so of its readings is looked at, one read of the shelf a post; nothing is asked of live ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.database.shelf import Uploaded
from producers.site import Site

MINUTE: Final = timedelta(minutes=1)
MOST: Final = 60_000
WITH_SECONDS: Final = "an app had uploaded this minute's reading"
MAKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Abbott": ("libre", "abbott"),
    "Dexcom": ("dexcom",),
    "Medtronic": ("medtronic", "minimed", "guardian", "enlite"),
    "Senseonics": ("eversense", "senseonics"),
}
"""Words in the names that apps and exports give to a sensor."""


class Minutes:
    """What a wearer's apps told with seconds, by minute."""

    def __init__(self, rows: Iterable[Uploaded] = ()) -> None:
        self._rows: dict[datetime, list[Uploaded]] = defaultdict(list)
        for row in rows:
            minute = _minute(row.measured_at)
            if minute != row.measured_at:  # one that is itself of a whole minute has the same identity
                self._rows[minute].append(row)

    def told(self, measured_at: datetime, device: str) -> Uploaded | None:
        """The app's reading of that minute, unless another maker's sensor is known to have measured it."""
        return next((row for row in self._rows.get(_minute(measured_at), ()) if _may_be_one(row.device, device)), None)


async def of(site: Site, subject: str, times: Sequence[datetime]) -> Minutes:
    """The minutes of a wearer around readings that are cut to theirs; ends the request while the shelf is away."""
    if not times:
        return Minutes()
    since, until = _minute(min(times)), _minute(max(times)) + MINUTE
    return Minutes(await site.kept(site.shelf.readings(subject, since=since, until=until, limit=MOST)))


def _minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _may_be_one(one: str, other: str) -> bool:
    makers, others = _makers(one), _makers(other)
    return not makers or not others or bool(makers & others)


def _makers(device: str) -> set[str]:
    name = device.lower()
    return {maker for maker, words in MAKERS.items() if any(word in name for word in words)}
