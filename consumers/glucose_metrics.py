"""Keeps glycaemic metrics up with readings, at leisure: recompute what is marked, announce revisions; no arithmetic.

A wearer is computed at most once in `every_s`, however many readings came. Under a load that is more than its share of
a core allows, metrics are late and nothing else is: the marks of a wearer's day are one row, so they do not pile up.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import GlucoseViews, MetricsRow, Recomputed
from adapters.kafka import Message, Publisher
from consumers import glycaemia
from schemas import envelope, ids, topics
from schemas.errors import Unavailable
from schemas.events import GlucoseMetricsRevised

log = telemetry.logger("glucose-metrics")

SOURCE = "clinstream/glucose-metrics"
DEADLINE_S = 10.0
IDLE_S = 1.0
AWAY_S = 2.0
REST, BUSY_REST = 1.0, 8.0
"""Rests so many times as long as it worked: half of a core at most, a ninth on a busy machine."""
BUSY = 0.6
"""Share of the cores' or a quota's time in which somebody worked, us included, since the last round: a load average
looks back a minute, so that work which began half a minute ago had half a core taken from it."""


class GlucoseMetrics:
    """The work beside the lanes; there may be several, of which one computes at a time."""

    def __init__(
        self,
        views: GlucoseViews,
        publisher: Publisher,
        clock: Clock,
        *,
        every_s: float,
        load: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._load = load
        self._views, self._publisher, self._clock = views, publisher, clock
        self._waited = timedelta(seconds=every_s)
        self._idle_s = min(IDLE_S, every_s / 4)

    async def once(self) -> Recomputed:
        """One round over the wearers who have waited longest; raises Unavailable, and then the marks stay."""
        done = await self._views.recompute(glycaemia, waited=self._waited, longest=max(glycaemia.SIZES))
        while await self._views.publish(self._send):
            pass
        meters = telemetry.metrics()
        meters.glucose_metrics_revised.inc(done.revised)
        meters.forecasts_joined.inc(done.joined)
        return done

    async def run(self) -> None:
        """Goes on for ever; waits while the broker or the database is away. Ends by cancellation."""
        while True:
            began = self._clock.monotonic()
            try:
                done = await self.once()
                await self._tell_age()
            except Unavailable as error:
                log.warning("glycaemic metrics wait", reason=type(error).__name__)
                await self._clock.sleep(AWAY_S)
                continue
            worked = self._clock.monotonic() - began
            rest = BUSY_REST if self._load() > BUSY else REST
            await self._clock.sleep(max(rest * worked, self._idle_s * (done.days == 0)))

    async def _tell_age(self) -> None:
        since = await self._views.oldest()
        age = (self._clock.now() - since).total_seconds() if since else 0.0
        telemetry.metrics().glucose_metrics_age_seconds.set(max(0.0, age))

    async def _send(self, rows: Sequence[MetricsRow]) -> None:
        await self._publisher.publish_many([message(row) for row in rows], deadline_s=DEADLINE_S)


def message(row: MetricsRow) -> Message:
    """The event of one revision, keyed by the wearer."""
    subject, simulated = row.wearer
    assert row.computed_at is not None  # what is announced is stored
    event = GlucoseMetricsRevised(
        subject_id=subject,
        days=row.days,
        ends_on=row.ends_on,
        revision=row.revision,
        figures=row.figures,
        computed_at=row.computed_at,
        simulated=simulated,
    )
    headers, value = envelope.pack(
        event,
        id=str(ids.metrics_id(subject, simulated, row.days, row.ends_on, row.revision)),
        source=SOURCE,
        subject=subject,
        time=row.computed_at,
        extensions={"simulated": "true"} if simulated else {},
    )
    topic = topics.METRICS_GLUCOSE_SIMULATED if simulated else topics.METRICS_GLUCOSE
    return Message(topic, subject.encode(), headers, value)
