"""What a glucose forecaster is shown of a wearer: readings as plain sequences; fetching them is not done here."""

from collections.abc import Sequence
from dataclasses import dataclass

SPAN_S = 12_000
"""A window holds the readings of the 200 minutes up to the newest one."""
MOST = 256
"""And no more than so many, the newest: sensors report every 1 to 15 minutes."""


@dataclass(frozen=True, slots=True)
class GlucoseWindow:
    """A wearer's latest readings, oldest first and one a sensor time, ending with the newest known.

    `times_s` are seconds since the epoch (UTC), `glucose_mg_dl` the values in mg/dL; a reading at the sensor's limit
    stands with the limit. Gaps are left as they are: filling them is the model's own `prepare`. `vector` is what was
    fitted to the wearer, empty where nothing was.
    """

    times_s: Sequence[float]
    glucose_mg_dl: Sequence[float]
    vector: Sequence[float] = ()
