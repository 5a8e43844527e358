"""The model registry: runs, figures and versions in MLflow; the only room that knows it. Releases are not its matter.

Offline and on this machine by default: a SQLite file and a folder under the home; or a server by its URL.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.settings import Settings
from schemas.errors import Unavailable

FOLDER = "mlflow"
REQUEST = "clinstream.request_id"
# MLflow reads these when it is imported: nothing is reported to anybody, and no progress is printed into our logs.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


class RegistryUnavailable(Unavailable):
    """The MLflow server cannot be reached."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be registered of one run; `files` become artefacts, `figures` are (value, low, high) by name."""

    task: str
    version: str
    request_id: str
    snapshot: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    figures: Mapping[str, tuple[float, float, float]]
    tags: Mapping[str, str]
    folder: Path


def url(settings: Settings) -> str:
    """Where runs are tracked: the configured server, else a file under the home."""
    return settings.mlflow_url or f"sqlite:///{settings.home / FOLDER / 'mlflow.db'}"


def register(settings: Settings, entry: Entry) -> str:
    """Tracks the run and registers its model; returns `models:/<task>/<number>`.

    A run of the same request that was registered before is found again and not registered twice. Raises
    RegistryUnavailable when the server cannot be reached.
    """
    client = _client(settings)
    from mlflow.exceptions import MlflowException

    try:
        return _register(client, settings, entry)
    except (MlflowException, OSError) as error:
        raise RegistryUnavailable(f"the model registry does not answer ({type(error).__name__})") from error


def _client(settings: Settings) -> Any:
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    (settings.home / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow.MlflowClient(tracking_uri=url(settings), registry_uri=url(settings))


def _register(client: Any, settings: Settings, entry: Entry) -> str:
    known = _registered(client, entry)
    if known:
        return known
    experiment = client.get_experiment_by_name(entry.task)
    if experiment is None:
        place = None if settings.mlflow_url else (settings.home / FOLDER / "artifacts" / entry.task).as_uri()
        number = client.create_experiment(entry.task, artifact_location=place)
    else:
        number = experiment.experiment_id
    tracked = client.create_run(number, run_name=f"{entry.task} {entry.version}", tags=dict(entry.tags))
    run_id = tracked.info.run_id
    for name, value in entry.parameters.items():
        client.log_param(run_id, name, str(value)[:500])
    client.log_param(run_id, "snapshot", entry.snapshot)
    for name, value in entry.metrics.items():
        client.log_metric(run_id, name, float(value))
    for name, (value, low, high) in entry.figures.items():
        for end, number_ in (("", value), (".low", low), (".high", high)):
            client.log_metric(run_id, f"holdout.{name}{end}", float(number_))
    client.log_artifacts(run_id, str(entry.folder))
    client.set_terminated(run_id)
    _ensure_model(client, entry.task)
    source = f"{tracked.info.artifact_uri}"
    made = client.create_model_version(
        entry.task, source, run_id, tags={REQUEST: entry.request_id, "version": entry.version}
    )
    return f"models:/{entry.task}/{made.version}"


def _registered(client: Any, entry: Entry) -> str:
    for found in client.search_model_versions(f"name = '{entry.task}'"):
        if found.tags.get(REQUEST) == entry.request_id:
            return f"models:/{entry.task}/{found.version}"
    return ""


def _ensure_model(client: Any, task: str) -> None:
    if not any(model.name == task for model in client.search_registered_models(f"name = '{task}'")):
        client.create_registered_model(task)
