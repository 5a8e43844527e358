"""`clinstream evaluate`: how a model, as served, does on labelled data; the work is in `clinstream.evaluation`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adapters.settings import Settings
    from triton_models import Model

SHOWN = 20


def evaluate(
    model: Annotated[str, typer.Argument(help="A model's name; see `clinstream models list`.")],
    manifest: Annotated[Path | None, typer.Option(help="Pictures: a CSV with path,label[,group].")] = None,
    root: Annotated[Path | None, typer.Option(help="The folder that the paths start from.")] = None,
    table: Annotated[Path | None, typer.Option(help="Measurements: a CSV or .csv.gz with a column a feature.")] = None,
    target: Annotated[str | None, typer.Option(help="The column of the table that holds 0 or 1.")] = None,
    readings: Annotated[Path | None, typer.Option(help="Glucose: Parquet, subject,timestamp,glucose_mg_dl.")] = None,
    stride_minutes: Annotated[float, typer.Option(help="Glucose: least distance of two windows; 0 takes all.")] = 15.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    home: Annotated[Path | None, typer.Option(help="The installation's state folder.")] = None,
) -> None:
    """Run a model as served over labelled data: sensitivity, specificity and AUROC with 95 % intervals.

    Uses the running stack's Triton where there is one, else starts one for the while. Rows that the model refuses are
    counted; rows that cannot be read are named, and the exit code is then 1.

    A forecaster is judged on readings: a window ends with every reading at least the stride after the one before; the
    truth is the reading within 2.5 minutes of 30, 60 and 120 minutes later. RMSE and MAE in mg/dL stand beside
    persistence (the newest reading stays) and linear (least squares on the last 12 five-minute values, fitted on the
    training data and kept in the model's linear.json). Repeats and implausible readings are left out, and it says so.

    Examples: clinstream evaluate chest_xray --manifest cases.csv --root pictures ·
    clinstream evaluate icu_mortality --table stays.csv.gz --target In-hospital_death --json ·
    clinstream evaluate glucose --readings cgm.parquet --json
    """
    # Imported on use: every other command would wait a second for numpy, gRPC and the decoders.
    from adapters import settings as configuration
    from clinstream.evaluation import front

    chosen = front.model(model)
    if chosen.card.consumes == "glucose":
        _forecasts(chosen, readings, stride_minutes, as_json, configuration.load(home))
        return
    found = front.cases(chosen, manifest, root, table, target)
    verdict = asyncio.run(front.run(configuration.load(home), chosen, found))
    for case in verdict.unreadable[:SHOWN]:
        sys.stderr.write(f"not readable: {case.name}: {case.reason}\n")
    if len(verdict.unreadable) > SHOWN:
        sys.stderr.write(f"... and {len(verdict.unreadable) - SHOWN} more rows that cannot be read\n")
    if as_json:
        print(json.dumps(verdict.json()))
    else:
        front.show(chosen, verdict)
    raise typer.Exit(1 if verdict.unreadable else 0)


def _forecasts(
    model: "Model", readings: Path | None, stride_minutes: float, as_json: bool, settings: "Settings"
) -> None:
    from clinstream.evaluation import forecast_front

    planned = forecast_front.plan(model, readings, stride_minutes)
    for sentence in planned.readings.left_out():
        sys.stderr.write(f"left out: {sentence}\n")
    verdict = asyncio.run(forecast_front.run(settings, planned))
    if as_json:
        print(json.dumps(verdict.json()))
    else:
        forecast_front.show(model, verdict)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(evaluate)
