"""Which offsets are being worked on, and how far it is safe to commit; committing itself happens elsewhere.

Faust 0.15.3 commits past events in flight, a fault known to its makers, so the loop keeps its own account.
"""

from collections.abc import Iterable

from schemas.errors import Conflict

Place = tuple[str, int]


class Hole(Conflict):
    """Records between two that came were never handed over; the process must end and read them again.

    A hole that the log itself has (expired records) is not seen again after the restart: reading starts behind it.
    """


class _Partition:
    __slots__ = ("in_flight", "last")

    def __init__(self) -> None:
        self.in_flight: set[int] = set()
        self.last = -1


class OffsetLedger:
    """For each partition: the offsets taken and not done, and the highest one taken.

    The position to commit is the lowest offset in flight, else one past the last taken: everything below it is done.
    An offset counts as taken when its event is pulled from the stream and as done when its outcome is durable.
    """

    def __init__(self) -> None:
        self._partitions: dict[Place, _Partition] = {}

    def took(self, place: Place, offset: int) -> None:
        """An event was pulled; pulling it again (after a rebalance) keeps it in flight once. Raises Hole."""
        self._advance(place, offset).in_flight.add(offset)

    def done(self, place: Place, offset: int) -> None:
        """Its outcome is durable. Unknown offsets are ignored: their partition was revoked in the meantime."""
        found = self._partitions.get(place)
        if found is not None:
            found.in_flight.discard(offset)

    def passed(self, place: Place, offset: int) -> None:
        """Taken and done at once: an event that another group works on. Raises Hole."""
        self._advance(place, offset)

    def _advance(self, place: Place, offset: int) -> _Partition:
        found = self._partitions.get(place)
        if found is None:
            found = self._partitions[place] = _Partition()
        elif offset > found.last + 1:
            raise Hole(f"{place[0]}-{place[1]} went from {found.last} to {offset}")
        if offset > found.last:
            found.last = offset
        return found

    def position(self, place: Place) -> int | None:
        """The offset to commit; None when nothing was taken since the partition was assigned."""
        found = self._partitions.get(place)
        if found is None:
            return None
        return min(found.in_flight) if found.in_flight else found.last + 1

    def places(self) -> list[Place]:
        """The partitions of which something was taken."""
        return list(self._partitions)

    def in_flight(self, place: Place) -> int:
        """How many events of a partition are taken and not done."""
        found = self._partitions.get(place)
        return len(found.in_flight) if found is not None else 0

    def forget(self, places: Iterable[Place]) -> None:
        """The partitions were revoked: their events come again, here or elsewhere, from the committed offset."""
        for place in places:
            self._partitions.pop(place, None)
