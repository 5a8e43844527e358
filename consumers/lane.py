"""What happens to a micro-batch between the log and the ledger: read, run the step, settle; nothing here knows Faust.

An event leaves this room done (its outcome is durable) or still in flight (the process ends), never forgotten.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters import telemetry
from adapters.clock import Clock
from consumers import crash_points, delivery
from consumers.batching import Batcher
from consumers.brake import Brake
from consumers.delivery import Arrival, Delivery
from consumers.ledger import OffsetLedger
from consumers.outcomes import DeadLetter, Outcome
from consumers.parking import Parking, back_off, reason_of
from consumers.settle import Handled, Settlement, Settler
from consumers.steps import Chooses, Onlooker, Step
from consumers.watchdog import Watchdog
from schemas.errors import ClinstreamError, Overloaded, RejectedInput, StepFailed, Unavailable, Unprocessable

TRIES = 3
PAUSE_S = 0.1
# A settlement that takes longer than this is shown as parked; it goes on by itself when the broker is back.
PATIENCE_S = 5.0
WAITS_FOR = ("broker", "database", "broker")

log = telemetry.logger("lane")


class Lane:
    """One process's part of a lane: takes arrivals in, and marks them done in the ledger."""

    def __init__(
        self,
        name: str,
        step: Step,
        *,
        ledger: OffsetLedger,
        settler: Settler,
        watchdog: Watchdog,
        clock: Clock,
        home: Path,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name, self.ledger, self.watchdog = name, ledger, watchdog
        self._step, self._settler, self._clock, self._chance = step, settler, clock, chance
        self._accepts_headers = step.accepts_headers if isinstance(step, Chooses) else None
        self._leaves_poison = isinstance(step, Onlooker) and step.leaves_poison
        self.parking = Parking(name, clock, watchdog.touch)
        self.brake = Brake(name, home, clock, watchdog.touch)
        self.batcher = Batcher(step.batch, self._finish, clock, bound=step.in_flight, by_key=step.order == "key")
        self._stopping = False
        meters = telemetry.metrics()
        self._skipped = meters.skipped.labels(lane=name)
        self._events = meters.events.labels(lane=name)
        self._sizes = meters.batch_events.labels(lane=name)
        self._seconds = meters.step_seconds.labels(lane=name)

    async def take(self, arrival: Arrival) -> None:
        """One event pulled from the stream; returns when the next one may be pulled."""
        place = (arrival.topic, arrival.partition)
        if self._accepts_headers is not None and not self._accepts_headers(arrival.headers):
            self.ledger.passed(place, arrival.offset)
            self._skipped.inc()
            return
        self.ledger.took(place, arrival.offset)
        if self.parking.parked or self.brake.engaged:
            await self.passable()
        if self._stopping:
            await asyncio.Event().wait()  # taken and never done: it comes again after the restart
        await self.batcher.add(arrival)

    async def passable(self) -> None:
        """Returns when the lane is neither parked nor braked."""
        while self.parking.parked or self.brake.engaged:
            await self.parking.passable()
            await self.brake.released()

    async def drain(self, seconds: float) -> bool:
        """Finishes what is in flight, for at most `seconds` and not while the lane is held; whether all is done."""
        self._stopping = True
        until = self._clock.monotonic() + seconds
        done = await self.batcher.drain(
            lambda: self.parking.parked or self.brake.engaged or self._clock.monotonic() > until
        )
        await self.batcher.cancel()
        return done

    async def _finish(self, batch: Sequence[Arrival]) -> None:
        """Works on a batch until every outcome is durable; only cancelling ends it earlier."""
        self._sizes.observe(len(batch))
        handled = await self._handle(batch)
        while self.brake.note(each.failed for each in handled) and any(each.failed for each in handled):
            # Nothing of this batch was written: after `clinstream resume` its events are worked on from the start.
            await self.brake.released()
            handled = await self._handle(batch)
        await crash_points.reach("after-step")
        await self._settle(handled)
        await crash_points.reach("before-ack")
        done = self.ledger.done
        for arrival in batch:
            done((arrival.topic, arrival.partition), arrival.offset)
        self._events.inc(len(batch))

    async def _handle(self, batch: Sequence[Arrival]) -> list[Handled]:
        handled: list[Handled | None] = []
        readable: list[Delivery] = []
        for arrival in batch:
            try:
                readable.append(delivery.read(arrival, self._step.accepts))
                handled.append(None)
            except Unprocessable as error:
                letter = DeadLetter("unprocessable", str(error), type(error).__name__)
                handled.append(Handled(arrival, None, [] if self._leaves_poison else [letter]))
        await crash_points.reach("after-decode")
        outcomes = iter(await self._run(readable) if readable else [])
        deliveries = iter(readable)
        return [
            found or Handled(arrival, next(deliveries), next(outcomes))
            for arrival, found in zip(batch, handled, strict=True)
        ]

    async def _run(self, deliveries: Sequence[Delivery]) -> list[Sequence[Outcome]]:
        """The step's outcomes; one event at a time when the batch as a whole fails."""
        try:
            return await self._patiently(deliveries)
        except Exception as error:  # a step may raise anything; each event is then judged by itself
            if len(deliveries) == 1:
                return [await self._alone(deliveries[0], error)]
            self._retried(type(error).__name__, error)
        return [await self._alone(each) for each in deliveries]

    async def _alone(self, only: Delivery, error: Exception | None = None) -> Sequence[Outcome]:
        """The outcomes of one event; `error` is what its first try ended with, if that is over."""
        tries = 0 if error is None else 1
        while True:
            if isinstance(error, RejectedInput):
                return [DeadLetter("unprocessable", str(error), type(error).__name__)]
            if isinstance(error, StepFailed):
                return [DeadLetter("failed", str(error), type(error).__name__)]
            if error is not None:
                self._retried(type(error).__name__, error)
                if tries >= TRIES:
                    # The text of a foreign error may quote the data, so only its class is kept.
                    reason = f"the step ended {TRIES} times with an unexpected {type(error).__name__}"
                    return [DeadLetter("failed", reason, type(error).__name__)]
                await self._clock.sleep(PAUSE_S * 2**tries)
            try:
                return (await self._patiently([only]))[0]
            except Exception as again:  # as in _run
                error = again
                tries += 1

    async def _patiently(self, deliveries: Sequence[Delivery]) -> list[Sequence[Outcome]]:
        """The step's outcomes, however long what it needs is away; raises what is not an outage."""
        me = object()
        refused = 0
        well = False
        try:
            while True:
                started = self._clock.monotonic()
                try:
                    outcomes = list(await self._step(deliveries))
                except Overloaded as error:
                    refused += 1
                    self._retried(reason_of(error), None)
                    self.watchdog.touch()
                    await self._clock.sleep(back_off(refused, self._chance))
                    continue
                except Unavailable as error:
                    self._retried(reason_of(error), None)
                    await self.parking.wait(me, reason_of(error))
                    continue
                self._seconds.observe(self._clock.monotonic() - started)
                if len(outcomes) != len(deliveries):
                    raise RuntimeError(f"the step answered {len(outcomes)} of {len(deliveries)} events")
                well = True
                return outcomes
        except Exception:  # raised again: what it needs answered, even if the step then failed
            well = True
            raise
        finally:
            self.parking.over(me, well=well)

    async def _settle(self, handled: Sequence[Handled]) -> None:
        """Makes all outcomes durable, whatever it takes; what cannot be written is put aside by itself."""
        try:
            await self._persist(self._settler.plan(handled))
            return
        except Exception as error:  # not an outage: a record that is too large, or a fault of ours
            self._retried(type(error).__name__, error)
            if len(handled) == 1:
                reason = str(error) if isinstance(error, ClinstreamError) else "its outcome could not be written"
                letter = DeadLetter("failed", reason, type(error).__name__)
                aside = Handled(handled[0].arrival, handled[0].delivery, [letter])
                await self._persist(self._settler.plan([aside]), stubborn=True)
                return
        for each in handled:
            await self._settle([each])

    async def _persist(self, plan: Settlement, *, stubborn: bool = False) -> None:
        """Settles a plan through outages; raises what is not one, unless `stubborn`: then it is waited for, too."""
        me = object()
        well = False
        try:
            while True:
                try:
                    await self._with_patience(plan)
                    break
                except Unavailable as error:
                    self._retried(reason_of(error), None)
                    await self.parking.wait(me, reason_of(error))
                except Exception as error:  # losing the event is the one thing that must not happen
                    if not stubborn:
                        raise
                    self._retried(type(error).__name__, error)
                    await self.parking.wait(me, "settling")
            well = True
        except Exception:  # raised again: what was away answered
            well = True
            raise
        finally:
            self.parking.over(me, well=well)
        self._settler.count(plan)

    async def _with_patience(self, plan: Settlement) -> None:
        task = asyncio.ensure_future(self._settler.settle(plan))
        shown = False
        try:
            while not (await asyncio.wait({task}, timeout=PATIENCE_S))[0]:
                self.parking.park(WAITS_FOR[min(plan.stage, 2)])
                self.watchdog.touch()
                shown = True
        except asyncio.CancelledError:
            task.cancel()
            raise
        if shown:
            self.parking.resume()
        task.result()

    def _retried(self, reason: str, error: Exception | None) -> None:
        telemetry.metrics().retries.labels(lane=self.name, reason=reason).inc()
        if error is not None:
            log.warning("tried again", lane=self.name, reason=reason, exc_info=error)
