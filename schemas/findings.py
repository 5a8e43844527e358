"""What a model's decoder returns for one row: a label with its probabilities; lineage is added by the steps."""

from schemas.events import Base


class Finding(Base, frozen=True, kw_only=True):
    """`score` is the probability of the card's positive label in [0, 1]; `probabilities` by label sum to 1."""

    label: str
    score: float
    threshold: float
    probabilities: dict[str, float]
    abstained: bool
