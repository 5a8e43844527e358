"""Collects arrivals into micro-batches and runs them within a bound; what a batch does is handed in.

An own batcher, since Faust's `take` loses timestamps and acknowledges when it raises.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from adapters.clock import Clock
from consumers.delivery import Arrival
from consumers.outcomes import Batch
from schemas.errors import SettingsError

Run = Callable[[Sequence[Arrival]], Awaitable[None]]


class Batcher:
    """A batch goes when it is full or when its first event has waited long enough, and no more run than `at_once`.

    So batches are small while there is little to do and fill by themselves when the step cannot keep up: with the
    timer alone a busy process ran 20 batches of 19 events side by side instead of 2 of 256, at twice the cost.

    With `by_key`, events of one key never run in two batches at once: a later one waits until the batch that holds
    its key has ended, and keeps its place among those of its key. `bound` counts events, waiting ones included.
    """

    def __init__(self, batch: Batch, run: Run, clock: Clock, *, bound: int, by_key: bool) -> None:
        if bound < batch.max_events:
            raise SettingsError(f"in_flight {bound} is less than one batch of {batch.max_events}: it could never fill")
        self._batch, self._run, self._clock = batch, run, clock
        self._bound, self._by_key = bound, by_key
        self._used = 0
        self._changed = asyncio.Event()
        self._open: list[Arrival] = []
        self._timer: asyncio.Task[None] | None = None
        self._due = False
        self._busy: set[bytes] = set()
        self._waiting: dict[bytes, deque[Arrival]] = {}
        self._running: set[asyncio.Task[None]] = set()
        # Told of what a run raised, which it must not: its events stay in flight, and the process should end.
        self.on_fault: Callable[[BaseException], None] | None = None

    @property
    def used(self) -> int:
        """Events taken in and not finished."""
        return self._used

    async def add(self, arrival: Arrival) -> None:
        """Takes one event in; waits while the bound is reached, which is what slows the stream down."""
        while self._used >= self._bound:
            self._changed.clear()
            await self._changed.wait()
        self._used += 1
        self._place(arrival)

    def _place(self, arrival: Arrival) -> None:
        if self._collect(arrival):
            self._go()

    def _collect(self, arrival: Arrival) -> bool:
        """Puts an event into the open batch, or behind the one of its key that is running."""
        if self._by_key and arrival.key is not None and arrival.key in self._busy:
            self._waiting.setdefault(arrival.key, deque()).append(arrival)
            return False
        self._open.append(arrival)
        if self._timer is None and not self._due:
            self._timer = asyncio.ensure_future(self._flush_later())
        return True

    async def _flush_later(self) -> None:
        await self._clock.sleep(self._batch.max_wait_s)
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """What is collected goes as soon as it may, without waiting to be full."""
        self._due = True
        self._go()

    def _go(self) -> None:
        full = self._batch.max_events
        while self._open and len(self._running) < self._batch.at_once and (self._due or len(self._open) >= full):
            self._start()
        if not self._open:
            self._due = False

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        full = self._batch.max_events
        batch, rest, self._open = self._open[:full], self._open[full:], []
        # What is left over has waited for a free place already: it does not wait for the timer as well.
        self._due = bool(rest)
        if self._by_key:
            self._busy.update(each.key for each in batch if each.key is not None)
        task = asyncio.ensure_future(self._work(batch))
        self._running.add(task)
        task.add_done_callback(self._ended)
        for arrival in rest:
            self._collect(arrival)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        fault = task.exception()
        if fault is None:
            self._go()
        elif self.on_fault is not None:
            self.on_fault(fault)

    async def _work(self, batch: list[Arrival]) -> None:
        await self._run(batch)
        self._used -= len(batch)
        if self._by_key:
            self._release({each.key for each in batch if each.key is not None})
        self._changed.set()

    def _release(self, keys: set[bytes]) -> None:
        self._busy -= keys
        for key in keys:
            for arrival in self._waiting.pop(key, ()):
                self._place(arrival)

    async def drain(self, give_up: Callable[[], bool]) -> bool:
        """Starts what was collected and waits until nothing is in flight, or `give_up` says so (asked each 50 ms)."""
        while self._used and not give_up():
            self.flush()
            await self._clock.sleep(0.05)
        return self._used == 0

    async def cancel(self) -> None:
        """Ends the running batches where they stand; their events are not done and come again."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
