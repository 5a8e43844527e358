"""The metrics of this process as typed objects, and the endpoint that Prometheus reads; the table is in `table`."""

from dataclasses import dataclass
from functools import cache
from threading import Thread
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.process_collector import ProcessCollector

from adapters.telemetry.table import METRICS, Metric

M = TypeVar("M", Gauge, Counter, Histogram)
_CLASSES: dict[str, type[Gauge] | type[Counter] | type[Histogram]] = {
    "gauge": Gauge,
    "counter": Counter,
    "histogram": Histogram,
}


class Meters:
    """One attribute for each row of the table, for example `metrics().in_flight.labels(lane="record").set(3)`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._rows = {row.field: row for row in METRICS}
        self.ready = self._make("ready", Gauge)
        self.lag = self._make("lag", Gauge)
        self.progress_age_seconds = self._make("progress_age_seconds", Gauge)
        self.in_flight = self._make("in_flight", Gauge)
        self.events = self._make("events", Counter)
        self.skipped = self._make("skipped", Counter)
        self.retries = self._make("retries", Counter)
        self.commits = self._make("commits", Counter)
        self.batch_events = self._make("batch_events", Histogram)
        self.step_seconds = self._make("step_seconds", Histogram)
        self.hop_seconds = self._make("hop_seconds", Histogram)
        self.decode_cpu_seconds = self._make("decode_cpu_seconds", Counter)
        self.inference_rows = self._make("inference_rows", Histogram)
        self.inference_seconds = self._make("inference_seconds", Histogram)
        self.outcomes = self._make("outcomes", Counter)
        self.refusals = self._make("refusals", Counter)
        self.dead_letters = self._make("dead_letters", Counter)
        self.parked = self._make("parked", Gauge)
        self.braked = self._make("braked", Gauge)
        self.results_published = self._make("results_published", Counter)
        self.readings_stored = self._make("readings_stored", Counter)
        self.glucose_metrics_revised = self._make("glucose_metrics_revised", Counter)
        self.glucose_metrics_age_seconds = self._make("glucose_metrics_age_seconds", Gauge)
        self.forecasts_joined = self._make("forecasts_joined", Counter)
        self.predictions = self._make("predictions", Counter)
        self.stale_answers = self._make("stale_answers", Counter)
        self.window_reads = self._make("window_reads", Counter)
        self.assessments = self._make("assessments", Counter)
        self.retrain_requests = self._make("retrain_requests", Counter)
        self.runs = self._make("runs", Counter)
        self.release_moves = self._make("release_moves", Counter)
        self.release_epoch = self._make("release_epoch", Gauge)
        self.release_stale_seconds = self._make("release_stale_seconds", Gauge)
        self.outbox_sent = self._make("outbox_sent", Counter)
        self.door_requests = self._make("door_requests", Counter)
        self.door_seconds = self._make("door_seconds", Histogram)
        self.door_journal = self._make("door_journal", Counter)
        self.glucose_entries = self._make("glucose_entries", Counter)
        self.wearers_stale_seconds = self._make("wearers_stale_seconds", Gauge)
        self.exports = self._make("exports", Counter)
        self.exports_waiting = self._make("exports_waiting", Gauge)

    def _make(self, field: str, kind: type[M]) -> M:
        row: Metric = self._rows[field]
        if _CLASSES[row.kind] is not kind:
            raise TypeError(f"{row.name} is a {row.kind} in the metrics table")
        more: dict[str, Any] = {"buckets": row.buckets} if row.buckets else {}
        return kind(row.name, row.meaning, row.labels, registry=self.registry, **more)


@cache
def metrics() -> Meters:
    """The meters of this process; the same object at every call."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return Meters(registry)


@dataclass(slots=True)
class MetricsServer:
    """A running endpoint: `port` is the one it got, `close` gives it back."""

    port: int
    _server: WSGIServer
    _thread: Thread

    def close(self) -> None:
        """Stops answering and waits until the socket is closed."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(port: int, meters: Meters | None = None, *, host: str = "127.0.0.1") -> MetricsServer:
    """Serves this process's metrics at `http://<host>:<port>/metrics`; port 0 takes any free one.

    Raises OSError when another process holds the port.
    """
    server, thread = start_http_server(port, addr=host, registry=(meters or metrics()).registry)
    return MetricsServer(server.server_port, server, thread)
