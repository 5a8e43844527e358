"""The loop: pulls events from Kafka through Faust and hands them to a lane. The only file that knows Faust.

Every setting that matters is in `loop_settings`; the traps behind this file are in docs/decisions/0005.
"""

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import faust
from faust.sensors import Monitor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import WaitResults

from adapters import telemetry
from adapters.kafka import ssl_context
from adapters.settings import KafkaSettings
from consumers import bundles, eager, loop_settings
from consumers.lane import Lane
from consumers.ledger import OffsetLedger
from consumers.process import ConsumerProcess, Needs
from consumers.settle import Settler
from consumers.steps import Onlooker, Step
from consumers.watchdog import Standing, Watchdog

LOOK_EVERY_S = 1.0
LAG_EVERY_S = 5.0
DRAIN_S = 10.0  # the supervisor gives 20 s to the whole stop
REVOKE_COMMIT_S = 3.0
EXIT_STALLED = 75

log = telemetry.logger("loop")


class QuietMonitor(Monitor):  # type: ignore[misc]  # Faust's own types are not read here
    """Faust's monitor without what it keeps for every event: 80-91 us of processor time each, with it 97-101."""

    def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
        """Nothing is kept."""

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> None:
        """Nothing is kept."""

    def on_stream_event_out(self, tp: Any, offset: int, stream: Any, event: Any, state: Any = None) -> None:
        """Nothing is kept."""

    def on_message_out(self, tp: Any, offset: int, message: Any) -> None:
        """Nothing is kept."""


class LedgerConsumer(driver.Consumer):  # type: ignore[misc]  # Faust's own types are not read here
    """Faust's consumer, committing what our ledger says instead of what Faust believes was acknowledged.

    It hands on bundles of records: a message of Faust's is the first record of a bundle and carries all as `records`.
    """

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, Sequence[Any]]:  # noqa: ASYNC109  # Faust's signature
        found: Mapping[TP, Sequence[Any]] = await super()._getmany(active_partitions, timeout)
        return {tp: bundles.bundled(records) for tp, records in found.items()}

    def _to_message(self, tp: TP, bundle: Sequence[Any]) -> Any:
        message = super()._to_message(tp, bundle[0])
        message.records = bundle
        return message

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: a full buffer holds fetching back by itself. Faust would take all partitions out of the next fetch,
        and then sleep for a second however fast the buffer empties."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing is kept: what lies between the first records of two bundles came with them, and holes our ledger
        sees."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        # Faust asks its list of acknowledged offsets, which stays empty here: streams are read without acks.
        for topic, partition in self.app.ledger.places():
            place = TP(topic, partition)
            if topics is None or place in topics or topic in topics:
                yield place

    def _new_offset(self, tp: TP) -> int | None:
        for kept in (self._acked, self._acked_index, self._gap):
            kept.pop(tp, None)
        position: int | None = self.app.ledger.position((tp.topic, tp.partition))
        return position

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        done = bool(await super()._commit(offsets))
        if done:
            self.app.committed(offsets)
        return done

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commits what is done, then forgets the partitions; Faust would forget without committing."""
        try:
            await asyncio.wait_for(self.commit(), REVOKE_COMMIT_S)
        except TimeoutError:
            log.warning("could not commit before the partitions went", partitions=len(revoked))
        self.app.ledger.forget((tp.topic, tp.partition) for tp in revoked)
        await super().on_partitions_revoked(revoked)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109  # Faust's signature
        """Hands a message on at once when nothing holds it: 80-91 us an event; with Faust's four tasks each 125-141."""
        handing, *others = coros
        if timeout is not None or not asyncio.iscoroutine(handing):
            return await super().wait_first(*coros, timeout=timeout)
        try:
            held_by = handing.send(None)
        except BaseException as ended:
            for other in others:
                other.close()
            if isinstance(ended, StopIteration):
                return WaitResults([handing], [ended.value], False)
            raise
        return await super().wait_first(eager.rest(handing, held_by), *others)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Left to our watchdog, which knows a parked lane from a stalled one."""


async def _no_wait() -> None:
    """Faust's producer, which we publish nothing with, has room: it reads two settings for each message to know."""


class LedgerTransport(driver.Transport):  # type: ignore[misc]  # Faust's own types are not read here
    """Faust's transport with our consumer in it."""

    Consumer = LedgerConsumer


class LoopApp(faust.App):  # type: ignore[misc]  # Faust's own types are not read here
    """A Faust application with a ledger; one stream, no tables, no web server."""

    ledger: OffsetLedger
    watchdog: Watchdog
    commits: Any

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """The brokers took a commit."""
        self.watchdog.touch()
        self.commits.inc()


def credentials(kafka: KafkaSettings) -> Any:
    """What Faust needs to reach protected brokers; None for plain connections."""
    context = ssl_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
            mechanism=kafka.sasl_mechanism or "PLAIN",
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None


class Loop:
    """One consumer process while it runs."""

    def __init__(self, process: ConsumerProcess, step: Step, services: Needs, overrides: Mapping[str, Any]) -> None:
        self._process, self._step, self._clock = process, step, services.clock
        self.ledger = OffsetLedger()
        self.watchdog = Watchdog(services.clock)
        self.lane = Lane(
            process.name,
            step,
            ledger=self.ledger,
            settler=Settler(
                process.name,
                services.database,
                services.publisher,
                services.clock,
                onlooker=isinstance(step, Onlooker),
            ),
            watchdog=self.watchdog,
            clock=services.clock,
            home=process.settings.home,
        )
        self.ended = False
        self._fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lane.batcher.on_fault = self._break
        self._lag = 0
        self._lag_at = -LAG_EVERY_S
        self.app = self._build({**loop_settings.chosen(process, step.topics), **overrides})

    def _build(self, settings: dict[str, Any]) -> LoopApp:
        Path(settings["datadir"]).mkdir(parents=True, exist_ok=True)
        kafka = self._process.settings.kafka
        app = LoopApp(**settings, broker_credentials=credentials(kafka), Monitor=QuietMonitor)
        app.ledger, app.watchdog = self.ledger, self.watchdog
        app.commits = telemetry.metrics().commits.labels(lane=self._process.name)
        app.transport = LedgerTransport(app.conf.broker_consumer, app, loop=app.loop)
        app.producer.buffer.wait_until_ebb = _no_wait
        topic = app.topic(
            *self._step.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        async def pull(stream: Any) -> None:
            take = self.lane.take
            try:
                unacknowledged = stream.noack()
                async for _ in unacknowledged:
                    message = unacknowledged.current_event.message
                    for record in message.records:
                        # As Faust itself asks for each message: after a rebalance what is left comes again, perhaps
                        # elsewhere, from the committed offset.
                        if message.generation_id != app.consumer_generation_id or not app.flow_control.is_active():
                            break
                        await take(bundles.read(record))
            except Exception as error:  # raised into Faust it would acknowledge the event and start the agent anew
                self._break(error)
                await asyncio.Event().wait()

        app.agent(topic, name=self._process.name)(pull)
        return app

    def _break(self, fault: BaseException) -> None:
        if not self._fault.done():
            self._fault.set_exception(fault)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set or something breaks, which is raised."""
        works: tuple[Coroutine[Any, Any, Any], ...] = (
            self._start(),
            self.lane.brake.watch(),
            self._look(),
            stop.wait(),
        )
        running = [asyncio.ensure_future(work) for work in works]
        watched: list[asyncio.Future[Any]] = [*running, self._fault]
        try:
            ended, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ended = True
            telemetry.metrics().ready.set(0)
            await self._close(running)
        for each in ended:
            each.result()

    async def _start(self) -> None:
        await self.app.start()
        telemetry.metrics().ready.set(1)
        log.info("reads", lane=self._process.name)
        await asyncio.Event().wait()

    async def _close(self, running: list[asyncio.Task[Any]]) -> None:
        finished = await self.lane.drain(DRAIN_S)
        log.info("stops", lane=self._process.name, finished=finished, in_flight=self.lane.batcher.used)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # Faust's last commit does nothing while another, which knows less, is on its way.
        with suppress(faust.exceptions.ConsumerNotStarted, TimeoutError):
            await asyncio.wait_for(self.app.consumer.maybe_wait_for_commit_to_finish(), REVOKE_COMMIT_S)
        await self.app.stop()

    async def _look(self) -> None:
        """Each second: metrics, and whether the process still gets anywhere."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            if self.app.crashed:
                raise RuntimeError("Faust stopped") from self.app.crash_reason
            await self._measure_lag()
            standings = [
                Standing(place, self.ledger.position(place), self.ledger.in_flight(place))
                for place in self.ledger.places()
            ]
            verdict = self.watchdog.see(standings, lag=self._lag, assigned=len(self._assignment()))
            meters, name = telemetry.metrics(), self._process.name
            meters.in_flight.labels(lane=name).set(self.lane.batcher.used)
            meters.progress_age_seconds.labels(lane=name).set(self.watchdog.age_s())
            if verdict:
                log.error("no progress, starting anew", lane=name, why=verdict)
                logging.shutdown()
                os._exit(EXIT_STALLED)  # what hangs would hang an orderly stop as well; nothing is lost by this

    def _assignment(self) -> set[TP]:
        with suppress(faust.exceptions.ConsumerNotStarted):
            found: set[TP] = self.app.consumer.assignment()
            return found
        return set()

    async def _measure_lag(self) -> None:
        now = self._clock.monotonic()
        assigned = self._assignment()
        if now - self._lag_at < LAG_EVERY_S or not assigned:
            return
        self._lag_at = now
        consumer = self.app.consumer
        try:
            ends = await asyncio.wait_for(consumer.highwaters(*assigned), LAG_EVERY_S)
        except Exception as error:  # no broker, or a rebalance in between: measured again in five seconds
            if not await self._reachable():
                self.watchdog.touch()
            log.warning("the lag is not known", reason=type(error).__name__)
            return
        by_topic = dict.fromkeys(self._step.topics, 0)
        for place, end in ends.items():
            position = self.ledger.position((place.topic, place.partition))
            if position is None:
                position = consumer._committed_offset[TP(place.topic, place.partition)] or 0
            by_topic[place.topic] += max(0, end - position)
        for topic, events in by_topic.items():
            telemetry.metrics().lag.labels(lane=self._process.name, topic=topic).set(events)
        self._lag = sum(by_topic.values())

    async def _reachable(self) -> bool:
        """Whether any broker accepts a connection: if none does, standing still is not this process's fault."""
        for place in self._process.settings.kafka.bootstrap_servers.split(","):
            host, _, port = place.strip().rpartition(":")
            with suppress(OSError, TimeoutError):
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 2.0)
                writer.close()
                return True
        return False


async def run(
    process: ConsumerProcess,
    step: Step,
    services: Needs,
    stop: asyncio.Event,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Runs `step` until `stop` is set; `overrides` replace Faust settings, which only contract tests do."""
    await Loop(process, step, services, overrides or {}).run(stop)
