"""Alert rules and dashboards ask only for metrics and labels that the processes export (S7)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import triton_models
from adapters.telemetry.table import METRICS

GRAFANA = Path(__file__).parents[2] / "grafana"
RULES: list[dict[str, Any]] = yaml.safe_load((GRAFANA / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
TABLE = {metric.name: metric for metric in METRICS}
SCRAPED = {"job", "instance", "le"}


def metric(name: str) -> Any:
    """The row of a series' name, histograms' parts included; None when there is none."""
    for stem in (name, *(name.removesuffix(end) for end in ("_bucket", "_sum", "_count"))):
        if stem in TABLE and (stem == name or TABLE[stem].kind == "histogram"):
            return TABLE[stem]
    return None


def complaints(expression: str) -> Iterator[str]:
    """What an expression asks for that no process exports."""
    names = set(re.findall(r"clinstream_\w+", expression))
    if not names:
        yield "it names no metric of ours"
    labels: set[str] = set(SCRAPED)
    for name in names:
        row = metric(name)
        if row is None:
            yield f"{name} is not exported"
        else:
            labels |= set(row.labels)
    asked = {word.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for word in group.split(",")}
    asked |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
    for label in sorted(asked - labels):
        yield f"no metric of the expression has the label {label}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_can_fire(rule: dict[str, Any]) -> None:
    """S7: an alert on a renamed metric would stay silent for ever."""
    assert list(complaints(rule["expr"])) == []
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]
    told = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    kept = {word.strip() for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for word in group.split(",")}
    assert told <= kept | SCRAPED


def test_what_delivery_promises_to_be_alerted_on_is() -> None:
    """Rules 8, 9, 10 and 12: the brake, a parked lane, standing still, stale releases; and what was put aside."""
    asked = " ".join(rule["expr"] for rule in RULES)
    for name in ("progress_age_seconds", "parked", "braked", "dead_letters_total", "release_stale_seconds", "ready"):
        assert f"clinstream_{name}" in asked
    assert 'clinstream_hop_seconds_bucket{lane=~".*stat"}' in asked


@pytest.mark.parametrize(
    "wrong", ["clinstream_lagg", "sum by (patient) (clinstream_lag)", 'clinstream_lag{task="x"}', "up == 0"]
)
def test_a_wrong_expression_is_complained_about(wrong: str) -> None:
    """The check itself can fail."""
    assert list(complaints(wrong))


@pytest.mark.parametrize("path", sorted((GRAFANA / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_dashboards_ask_for_exported_labels_and_name_no_model(path: Path) -> None:
    """S7, ME10: rows follow from the labels, so that another model needs no edit."""
    text = path.read_text(encoding="utf-8")
    expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", ())]
    for expression in expressions:
        assert list(complaints(expression)) == [], expression
    assert not [task for task in triton_models.discover() if f'"{task}"' in text or f'\\"{task}' in text]


def test_the_models_dashboard_repeats_its_row_for_each_task() -> None:
    """ME10: a new model gets its row by existing."""
    board = json.loads((GRAFANA / "dashboards" / "models.json").read_text())
    variable = board["templating"]["list"][0]
    assert variable["name"] == "task"
    assert re.fullmatch(r"label_values\((\w+), task\)", variable["definition"])
    assert "task" in TABLE[variable["definition"][len("label_values(") :].partition(",")[0]].labels
    assert [panel["repeat"] for panel in board["panels"] if panel["type"] == "row"] == ["task"]
    assert all("$task" in target["expr"] for panel in board["panels"] for target in panel.get("targets", ()))
