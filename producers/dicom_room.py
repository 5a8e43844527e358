"""Where an association collects a data set: memory that the next one finds again, with room for group 0002 before it.

The bytes come from the socket to where they are hashed and written from, and lie nowhere else.
"""

import mmap
from typing import Final

HEADROOM: Final = 1 << 10
"""Bytes kept free before a data set: the preamble, the prefix and group 0002 of a PS3.10 file have 500 at most."""

FIRST_BYTES: Final = 1 << 16
KEPT_BYTES: Final = 1 << 25
"""What an association keeps for its next object; the pages of more are given back."""


class Room:
    """Grows by doubling, up to what an object may have; anonymous memory costs nothing until it is written."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, FIRST_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._filled = 0

    @property
    def size(self) -> int:
        """Bytes of the data set so far."""
        return self._filled

    def begin(self) -> None:
        """Empties it for the next data set. Where somebody still has the last one, such as a store that is late, it
        stays theirs."""
        self._filled = 0
        if len(self._memory) > KEPT_BYTES or not self._resized(len(self._memory)):
            self._memory = mmap.mmap(-1, FIRST_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def clear(self) -> None:
        """Gives back what is kept for a next data set that does not come."""
        if len(self._memory) > FIRST_BYTES:
            self._memory = mmap.mmap(-1, FIRST_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._filled = 0

    def next(self, count: int) -> memoryview:
        """The next `count` bytes, to be written by the caller, who releases the view before asking again."""
        start = HEADROOM + self._filled
        while start + count > len(self._memory):
            self._grow()
        self._filled += count
        return memoryview(self._memory)[start : start + count]

    def whole(self) -> memoryview:
        """Headroom and data set."""
        return memoryview(self._memory)[: HEADROOM + self._filled]

    def _grow(self) -> None:
        size = 2 * len(self._memory)
        if not self._resized(size):
            old, self._memory = self._memory, mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self._memory[: len(old)] = old[:]

    def _resized(self, size: int) -> bool:
        """Whether nobody else has a view of the memory, which now has `size` bytes."""
        try:
            self._memory.resize(size)
        except BufferError:
            return False
        return True
