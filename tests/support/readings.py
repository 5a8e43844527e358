"""Files of made-up glucose readings, as a stranger would hand them over; nothing reads them here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

# Sensors write local times without a zone.
START = datetime(2025, 3, 1, 8, 0, tzinfo=UTC).replace(tzinfo=None)


def wandering(readings: int, seed: int, every_minutes: float = 5.0) -> tuple[list[datetime], list[float]]:
    """Times and values of a wearer whose glucose goes up and down over hours, with a sensor's noise."""
    rng = np.random.default_rng(seed)
    hours = np.arange(readings) * every_minutes / 60
    values = 150 + 45 * np.sin(hours * 1.7 + seed) + 20 * np.sin(hours * 0.4) + rng.normal(0, 2, readings)
    return [START + timedelta(minutes=every_minutes * place) for place in range(readings)], values.round(1).tolist()


def table(people: int = 3, readings: int = 200, every_minutes: float = 5.0) -> pl.DataFrame:
    """Some wearers, with a column that nobody asked for."""
    parts = []
    for number in range(people):
        times, values = wandering(readings, number, every_minutes)
        parts.append(
            pl.DataFrame({"device": "x", "timestamp": times, "subject": f"wearer {number}", "glucose_mg_dl": values})
        )
    return pl.concat(parts)


def write(path: Path, content: pl.DataFrame) -> Path:
    """The table as a Parquet file."""
    content.write_parquet(path)
    return path
