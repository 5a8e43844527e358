"""Prometheus' own judgement of its configuration and of the alert rules: they parse, fire and keep still (S7, S8)."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "grafana" / "prometheus"
QUIET = "0x30"
# What is fed in each 15 s (value, how often), which alert is expected after five minutes, and with which labels.
CASES = {
    "LaneParked": ('clinstream_parked{lane="record", reason="database"}', "1x30", {"lane": "record"}),
    "LaneBraked": ('clinstream_braked{lane="imaging-infer.stat"}', "1x30", {"lane": "imaging-infer.stat"}),
    "DeadLetters": ('clinstream_dead_letters_total{lane="signals", kind="failed"}', "0+1x30", {"lane": "signals"}),
    "ResultsNotDelivered": (
        'clinstream_exports_total{destination="pacs", state="failed"}',
        "0+1x30",
        {"destination": "pacs"},
    ),
    "ReleasesStale": ('clinstream_release_stale_seconds{job="signals"}', "9x30", {}),
    "ProcessDown": ('up{job="record"}', QUIET, {"job": "record"}),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' checker; skips where it is not installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool (Debian's prometheus) is not here")
    return found


def test_prometheus_accepts_its_configuration_and_rules(promtool: str) -> None:
    """S8."""
    done = subprocess.run(
        [promtool, "check", "config", str(FOLDER / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 rules found" in done.stdout


def rules_test(alert: str, series: str, values: str, labels: dict[str, str], fires: bool) -> dict[str, object]:
    """One promtool test: whether `alert` with these labels stands after five minutes."""
    expected = f'ALERTS{{alertname="{alert}", alertstate="firing"' + "".join(f', {k}="{v}"' for k, v in labels.items())
    return {
        "interval": "15s",
        "input_series": [{"series": series, "values": values}],
        "promql_expr_test": [
            {
                "expr": f"count({expected}}}) or vector(0)",
                "eval_time": "5m",
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_should_and_only_then(promtool: str, tmp_path: Path, alert: str) -> None:
    """S7: rules 8 to 10 and 12 are heard."""
    series, values, labels = CASES[alert]
    still = "1x30" if values == QUIET else QUIET
    tests = [rules_test(alert, series, values, labels, True), rules_test(alert, series, still, labels, False)]
    path = tmp_path / "tests.yml"
    whole = {"rule_files": [str(FOLDER / "alerts.yml")], "evaluation_interval": "15s", "tests": tests}
    path.write_text(json.dumps(whole))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_standing_still_is_an_alert_only_while_events_wait(promtool: str, tmp_path: Path) -> None:
    """Rule 10: an idle lane makes no progress and that is fine."""
    alert, lane = "NoProgress", 'lane="record"'
    tests = []
    for waiting, fires in (("40x30", True), (QUIET, False)):
        test = rules_test(alert, f"clinstream_lag{{{lane}}}", waiting, {"lane": "record"}, fires)
        age = {"series": f"clinstream_progress_age_seconds{{{lane}}}", "values": "0+15x30"}
        tests.append({**test, "input_series": [*list(test["input_series"]), age]})  # type: ignore[call-overload]
    path = tmp_path / "tests.yml"
    whole = {"rule_files": [str(FOLDER / "alerts.yml")], "evaluation_interval": "15s", "tests": tests}
    path.write_text(json.dumps(whole))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
