"""Prometheus' scrape configuration, generated from the process table for the services of docker-compose.yml."""

from collections.abc import Iterable
from pathlib import Path

import clinstream
from clinstream.processes import Process

FILE = Path(clinstream.__file__).resolve().parent.parent / "grafana" / "prometheus" / "prometheus.yml"
PORT = 9100
# Servers that speak Prometheus' format themselves.
SERVERS = {"triton": "triton:8002", "prometheus": "127.0.0.1:9090"}
HEAD = """\
# Made by `clinstream contract containers --write` from the process table; the services are those of docker-compose.yml.
global:
  scrape_interval: 5s
  evaluation_interval: 5s
rule_files: [alerts.yml]
scrape_configs:
"""


def service(process: str, index: int = 0) -> str:
    """The compose service of a process: no dots, so that it is one label of a host name; the first has no number."""
    return process.replace(".", "-") + (f"-{index}" if index else "")


def copies(row: Process) -> range:
    """The numbers of a row's containers: a door has one, because its port can be published once."""
    return range(1 if row.module == "producers" else row.count)


def render(rows: Iterable[Process]) -> str:
    """The configuration as YAML text; one job a process, named as the process table names it."""
    jobs = {row.name: _targets(row) for row in rows}
    jobs |= {name: f"static_configs: [{{targets: {[target]}}}]" for name, target in SERVERS.items()}
    return HEAD + "".join(f"  - job_name: {name}\n    {targets}\n" for name, targets in jobs.items())


def _targets(row: Process) -> str:
    """Where Prometheus finds a process; one that need not run is looked up, and its absence is no alert."""
    names = [service(row.name, index) for index in copies(row)]
    if row.asked_for:
        return f"dns_sd_configs: [{{names: {names}, type: A, port: {PORT}}}]"
    return f"static_configs: [{{targets: {[f'{name}:{PORT}' for name in names]}}}]"
