"""What a glucose forecaster is shown of a wearer: readings as plain sequences; fetching them is not done here."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GlucoseWindow:
    """A wearer's latest readings, oldest first and one a sensor time, ending with the newest known.

    `times_s` are seconds since the epoch (UTC), `glucose_mg_dl` the values in mg/dL; a reading at the sensor's limit
    stands with the limit. Gaps are left as they are: filling them is the model's own `prepare`.
    """

    times_s: Sequence[float]
    glucose_mg_dl: Sequence[float]
