"""The metrics table: every metric's name, kind, unit, labels and meaning; `docs/metrics.md` is tested against it.

Labels are bounded sets (lanes, tasks, kinds), never ids of events, objects, studies or people.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: `name` as Prometheus shows it (counters end in `_total`), `buckets` the upper bounds of a histogram."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()

    @property
    def field(self) -> str:
        """The attribute of `Meters` that holds it: the name without prefix and `_total`."""
        return self.name.removeprefix("clinstream_").removesuffix("_total")


METRICS: tuple[Metric, ...] = (
    Metric("clinstream_ready", "gauge", "1", (), "1 while the process can do its work, 0 before and after"),
    Metric("clinstream_lag", "gauge", "events", ("lane", "topic"), "events on the log that the lane has not finished"),
    Metric("clinstream_progress_age_seconds", "gauge", "s", ("lane",), "since the ledger, a commit or a probe moved"),
    Metric("clinstream_in_flight", "gauge", "events", ("lane",), "events taken from the log and not yet finished"),
    Metric("clinstream_events_total", "counter", "events", ("lane",), "events finished: their outcome is durable"),
    Metric("clinstream_skipped_total", "counter", "events", ("lane",), "events left to another lane by their header"),
    Metric("clinstream_retries_total", "counter", "batches", ("lane", "reason"), "batches tried again, by cause"),
    Metric("clinstream_commits_total", "counter", "commits", ("lane",), "offset commits that the broker accepted"),
    Metric("clinstream_batch_events", "histogram", "events", ("lane",), "size of a step's micro-batches", SIZES),
    Metric("clinstream_step_seconds", "histogram", "s", ("lane",), "duration of one call of a step", SECONDS),
    Metric("clinstream_hop_seconds", "histogram", "s", ("lane", "hop"), "latency of one hop of an event", SECONDS),
    Metric("clinstream_decode_cpu_seconds_total", "counter", "s", ("lane",), "processor time of decoding and resizing"),
    Metric("clinstream_inference_rows", "histogram", "rows", ("task",), "rows of one request to Triton", SIZES),
    Metric("clinstream_inference_seconds", "histogram", "s", ("task",), "duration of one request to Triton", SECONDS),
    Metric("clinstream_outcomes_total", "counter", "events", ("task", "fate"), "outcomes decided, by fate"),
    Metric(
        "clinstream_refusals_total", "counter", "events", ("task", "code"), "images that a model did not take, by code"
    ),
    Metric("clinstream_dead_letters_total", "counter", "events", ("lane", "kind"), "events put aside, by kind"),
    Metric("clinstream_parked", "gauge", "1", ("lane", "reason"), "1 while the lane waits for what the reason names"),
    Metric("clinstream_braked", "gauge", "1", ("lane",), "1 while too many failures hold the lane until `resume`"),
    Metric("clinstream_results_published_total", "counter", "results", ("task", "audience"), "results sent out"),
    Metric(
        "clinstream_readings_stored_total", "counter", "readings", ("lane",), "glucose readings new in the database"
    ),
    Metric("clinstream_glucose_metrics_revised_total", "counter", "revisions", (), "windows of days computed anew"),
    Metric("clinstream_glucose_metrics_age_seconds", "gauge", "s", (), "oldest reading that metrics lack"),
    Metric("clinstream_forecasts_joined_total", "counter", "points", (), "forecasts that met what then happened"),
    Metric("clinstream_predictions_total", "counter", "forecasts", ("fate",), "forecasts that were asked for, by fate"),
    Metric(
        "clinstream_stale_answers_total",
        "counter",
        "answers",
        ("task",),
        "no forecast: the newest reading is old or too few are there yet",
    ),
    Metric("clinstream_window_reads_total", "counter", "windows", ("lane", "source"), "wearers' windows, by source"),
    Metric("clinstream_assessments_total", "counter", "assessments", ("task", "kind"), "assessments taken, by kind"),
    Metric("clinstream_retrain_requests_total", "counter", "requests", ("task",), "windows of corrections that filled"),
    Metric("clinstream_runs_total", "counter", "runs", ("task", "state"), "training runs that ended, by state"),
    Metric("clinstream_release_moves_total", "counter", "moves", ("task", "event"), "moves of versions made"),
    Metric("clinstream_release_epoch", "gauge", "1", ("task",), "newest release row that this process serves by"),
    Metric("clinstream_release_stale_seconds", "gauge", "s", (), "since the release table was last read"),
    Metric("clinstream_outbox_sent_total", "counter", "messages", ("topic",), "outbox rows relayed to the log"),
    Metric("clinstream_door_requests_total", "counter", "requests", ("door", "status"), "requests by answered status"),
    Metric("clinstream_door_seconds", "histogram", "s", ("door",), "from a request's arrival to its answer", SECONDS),
    Metric("clinstream_door_journal_total", "counter", "entries", ("fate",), "journal entries written and dropped"),
    Metric(
        "clinstream_glucose_entries_total", "counter", "entries", ("fate",), "entries of glucose uploaders, by fate"
    ),
    Metric("clinstream_wearers_stale_seconds", "gauge", "s", (), "since the door last read uploaders' credentials"),
    Metric("clinstream_exports_total", "counter", "exports", ("destination", "state"), "tries to send, by their end"),
    Metric("clinstream_exports_waiting", "gauge", "exports", (), "results that wait to be sent to a destination"),
)
