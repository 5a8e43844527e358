"""The cache of windows in memory, sitting the same exam as the one in Redis; `away` takes it down."""

from collections.abc import Mapping, Sequence

from adapters.database import Wearer, Window
from adapters.windows import decode, encode


class FakeWindows:
    """Keeps what Redis would keep, in its encoding."""

    def __init__(self) -> None:
        self.away = False
        self.kept: dict[Wearer, bytes] = {}

    async def get(self, wearers: Sequence[Wearer]) -> dict[Wearer, Window] | None:
        """See WindowCache.get."""
        if self.away:
            return None
        found = ((wearer, decode(self.kept[wearer])) for wearer in wearers if wearer in self.kept)
        return {wearer: window for wearer, window in found if window is not None}

    async def put(self, windows: Mapping[Wearer, Window]) -> None:
        """See WindowCache.put."""
        if not self.away:
            self.kept.update({wearer: encode(window) for wearer, window in windows.items()})

    async def clear(self) -> bool:
        """See WindowCache.clear."""
        if not self.away:
            self.kept.clear()
        return not self.away

    async def close(self) -> None:
        """Keeps what it holds, for a test to look at."""
