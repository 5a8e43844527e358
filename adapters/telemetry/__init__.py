"""What a process tells operators: metrics, logs and trace context; dashboards and alert rules live elsewhere."""

from adapters.telemetry.logs import configure_logging, logger
from adapters.telemetry.meters import Meters, MetricsServer, metrics, serve_metrics
from adapters.telemetry.table import METRICS, Metric
from adapters.telemetry.trace import child_traceparent, new_traceparent

__all__ = [
    "METRICS",
    "Meters",
    "Metric",
    "MetricsServer",
    "child_traceparent",
    "configure_logging",
    "logger",
    "metrics",
    "new_traceparent",
    "serve_metrics",
]
