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


def service(process: str) -> str:
    """The compose service of a process: no dots, so that it is one label of a host name."""
    return process.replace(".", "-")


def render(rows: Iterable[Process]) -> str:
    """The configuration as YAML text; one job a process, named as the process table names it."""
    jobs = {**{row.name: f"{service(row.name)}:{PORT}" for row in rows}, **SERVERS}
    return HEAD + "".join(
        f"  - job_name: {name}\n    static_configs: [{{targets: ['{target}']}}]\n" for name, target in jobs.items()
    )
