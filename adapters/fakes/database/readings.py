"""Readings of wearers and their windows, in dictionaries."""

from collections.abc import Sequence

import numpy as np

from adapters.database import NewReading, Recorded, StoredReading, Taking, Wearer, Window, WindowsMoved
from adapters.database.readings import time_ms
from adapters.database.records import NOTHING_OWN
from adapters.fakes.database.results import Results
from adapters.fakes.database.state import in_order
from schemas.windows import MOST, SPAN_S


class Readings(Results):
    """Readings of wearers and their windows, in dictionaries."""

    async def windows(self, wearers: Sequence[Wearer]) -> dict[Wearer, Window]:
        """See Database.windows."""
        await self.probe()
        return {wearer: self._window(wearer) for wearer in wearers}

    async def readings_at(self, places: Sequence[tuple[Wearer, int]]) -> list[StoredReading]:
        """See Database.readings_at."""
        await self.probe()
        wanted = set(places)
        return [
            StoredReading(wearer, time, content, row.revision)
            for (wearer, time, content), row in self.readings.items()
            if (wearer, time) in wanted
        ]

    async def take(self, taking: Taking) -> list[Recorded]:
        """See Database.take."""
        await self.probe()
        moved = {wearer for wearer, before in taking.stamps.items() if self.stamps.get(wearer) != before}
        keys = [(_wearer(row), time_ms(row.event), row.event.content) for row in taking.readings]
        places = {(wearer, time, row.revision) for (wearer, time, _), row in self.readings.items()}
        for (wearer, time, content), row in zip(keys, taking.readings, strict=True):
            if (wearer, time, content) in self.readings or (wearer, time, row.revision) in places:
                moved.add(wearer)
        if moved:
            raise WindowsMoved(moved)
        self.stamps.update(dict.fromkeys(taking.stamps, taking.stamp))
        self.readings.update(zip(keys, taking.readings, strict=True))
        recorded = await self.record(taking.answers)
        for each in sorted((r for r in self.visible.values() if r.key[0] in taking.fallen), key=in_order):
            if each.withdrawn_at is None:
                await self._take_back(each, taking.fallen[each.key[0]])
        self._keep(taking.decided)
        return recorded

    def _window(self, wearer: Wearer) -> Window:
        latest: dict[int, NewReading] = {}
        for (owner, time, _), row in self.readings.items():
            if owner == wearer and (time not in latest or latest[time].revision < row.revision):
                latest[time] = row
        latest = {time: row for time, row in latest.items() if not row.event.deleted}
        newest = max(latest, default=0)
        times = sorted(time for time in latest if time > newest - SPAN_S * 1000)[-MOST:]
        values = np.array([latest[time].event.glucose_mg_dl for time in times], dtype=np.float32)
        return Window(self.stamps.get(wearer), tuple(times), tuple(values.tolist()), self.own.get(wearer, NOTHING_OWN))


def _wearer(row: NewReading) -> Wearer:
    return row.event.subject_id, row.event.simulated
