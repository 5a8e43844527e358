"""The dashboard asks only for metrics that the processes export (S7)."""

import json
import re
from pathlib import Path

import pytest

from adapters.telemetry.table import METRICS

DASHBOARDS = sorted((Path(__file__).parents[2] / "grafana" / "dashboards").glob("*.json"))
EXPORTED = {metric.name for metric in METRICS} | {
    metric.name + suffix for metric in METRICS if metric.kind == "histogram" for suffix in ("_bucket", "_sum", "_count")
}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_expression_names_metrics_and_labels_of_the_table(path: Path) -> None:
    """S7: a renamed metric would leave an empty panel that nobody notices."""
    panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(expressions) >= 8
    for expression in expressions:
        names = set(re.findall(r"clinstream_\w+", expression))
        assert names, expression
        assert names <= EXPORTED, expression


def test_panels_do_not_overlap() -> None:
    """S7: a dashboard that a person can read."""
    for path in DASHBOARDS:
        places = [tuple(panel["gridPos"].values()) for panel in json.loads(path.read_text())["panels"]]
        assert len(places) == len(set(places))
