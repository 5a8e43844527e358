"""What a model's decoder returns for one row: a label with its probabilities; lineage is added by the steps."""

from schemas.events import Base, ForecastPoint, Heat, Region


class Finding(Base, frozen=True, kw_only=True):
    """`score` is the probability of the card's positive label in [0, 1]; `probabilities` by label sum to 1.

    Of a task of several classes `score` is the probability of `label` and `threshold` 0. A forecast has the label
    `forecast`, score and threshold 0, no probabilities, and `forecast` holds its points in the order of the horizons.
    `reason` says in words why a finding abstains. `regions` and `heat` are in shares of what the model was given.
    """

    label: str
    score: float
    threshold: float
    probabilities: dict[str, float]
    abstained: bool
    forecast: tuple[ForecastPoint, ...] = ()
    reason: str = ""
    regions: tuple[Region, ...] = ()
    heat: Heat | None = None
