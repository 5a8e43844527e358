"""What `clinstream evaluate` does with readings once its words are understood: reads, runs, shows the verdict."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapters.repository import Entry
from adapters.settings import Settings
from clinstream.evaluation import forecasting
from clinstream.evaluation.forecasting import ForecastVerdict, Plan
from clinstream.evaluation.server import serving
from schemas.errors import UserError
from triton_models import Model, series
from triton_models.forecasts import Figure


def plan(model: Model, readings: Path | None, stride_minutes: float) -> Plan:
    """The windows to ask for; raises UserError for a file that cannot be used, with what is wrong with it."""
    if readings is None:
        raise UserError(f"{model.card.name} takes readings: name them with --readings FILE.parquet.")
    return forecasting.plan(model, series.read(readings), stride_minutes)


async def run(settings: Settings, plan: Plan) -> ForecastVerdict:
    """The verdict over the windows, with a bar on stderr where that is a terminal."""
    console, model = Console(stderr=True), plan.model
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{model.card.name}: {len(plan)} windows", total=len(plan))
        async with serving(settings, [Entry(model.card, model.weights_path)]) as (client, served_by):
            return await forecasting.judge(plan, client, served_by, lambda done: bar.advance(task, done))


def show(model: Model, verdict: ForecastVerdict) -> None:
    """Prints the verdict for a person."""
    console = Console(highlight=False)
    rows = Table(
        "ahead", "RMSE", "MAE", "R²", "/ persist.", "/ linear", title=f"{verdict.model} {verdict.version}, mg/dL"
    )
    rows.add_column(f"in {verdict.nominal:.0%}")
    for minutes in forecasting.REPORTED_MINUTES:
        rows.add_row(
            f"{minutes} min",
            _words(verdict.rmse[minutes], 1),
            f"{verdict.mae[minutes][0]:.1f}",
            f"{verdict.r2[minutes][0]:.2f}",
            _words(verdict.ratios["persistence"][minutes], 3),
            _words(verdict.ratios["linear"][minutes], 3),
            _words(verdict.coverage_by_horizon[minutes], 3),
        )
    console.print(rows)
    for name, figures in (("Persistence", verdict.persistence_rmse), ("Linear", verdict.linear_rmse)):
        said = ", ".join(f"{figure[0]:.1f} at {minutes} min" for minutes, figure in figures.items())
        console.print(f"{name}: RMSE {said}.")
    ranges = "; ".join(f"{name} {figure[0]:.3f}" for name, figure in verdict.by_range.items())
    console.print(
        f"{verdict.windows} windows of {verdict.people} people, {verdict.refused} refused; {verdict.served_by}. "
        "Second lines are 95 % intervals over people."
    )
    console.print(f"In the intervals: {verdict.coverage[0]:.3f}; by the newest reading in mg/dL: {ranges}.")
    hours = "; ".join(f"{name} {figure[0]:.3f}" for name, figure in verdict.by_hour.items())
    console.print(f"By the hour of the file's times: {hours}.")
    console.print(model.card.notice)


def _words(figure: Figure, digits: int) -> str:
    """Value and, on a second line, its interval: narrow enough for a table on 80 columns."""
    value, low, high = (f"{part:.{digits}f}" for part in figure)
    return value if low == "nan" else f"{value}\n{low}-{high}"
