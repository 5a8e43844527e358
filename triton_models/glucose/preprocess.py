"""From a wearer's readings to the model's row: an even grid, gaps left open, and the wearer's own vector.

Scaling and clamping are in the graph.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import OutOfRange, TooFewYet
from schemas.windows import GlucoseWindow

PREPROCESSING_VERSION = "glucose-grid.2"

STEP_S = 300.0
SLOTS = 36
# A wearer's vector: for the start and for the slope of a correction six numbers and four that turn with the time of
# day. With the time put in twelve are left, which stand behind the slots; zeros for whoever has none.
PERSONAL, CLOCK = 12, 4
VECTOR = PERSONAL + 2 * CLOCK
# Behind them, where they are known, how far the ends of the interval are from the middle by the time of day: the lower
# ends' factors for eight times of three hours, then the upper ends'. They are no part of the row.
TIMES_OF_DAY = 8
WITH_ENDS = VECTOR + 2 * TIMES_OF_DAY
# And behind those, in a vector that was measured on everybody, the factors by the range that the newest reading is in:
# below these limits (mg/dL), and above the last; the lower ends', then the upper ends'.
RANGE_LIMITS = (70.0, 180.0, 250.0)
WITH_RANGES = WITH_ENDS + 2 * (len(RANGE_LIMITS) + 1)
WIDTH = SLOTS + PERSONAL
DAY_S = 86_400.0
# A slot between two readings that are no further apart is interpolated (sensors report every 5 or 15 minutes); beyond
# that only a reading this near to the slot fills it.
BRIDGE_S = 1200.0
NEAR_S = 150.0
LOOKBACK_S = (SLOTS - 1) * STEP_S + BRIDGE_S

LEAST_READINGS = 3
LEAST_SPAN_S = 600.0
RECENT_S = 3600.0
# Sensors report 39 or 40 to 400 or 501 mg/dL. Below 20 stands what is another unit (mmol/L) or an artefact.
LOWEST, HIGHEST = 20.0, 600.0

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

UNIT = f"the newest reading is not within {LOWEST:g} to {HIGHEST:g} mg/dL; check the value and its unit"
FEW = (
    f"a forecast needs {LEAST_READINGS} readings over {LEAST_SPAN_S / 60:g} minutes or more within the hour up to the "
    "newest"
)
EMPTY = "a forecast needs readings, as many values as times"


def prepare(window: GlucoseWindow) -> Rows:
    """One row, float32 [48]: mg/dL at 0, 5, ... 175 minutes before the newest reading, NaN where there is a gap,
    then the wearer's vector as it holds at that time of day, zeros without one.

    A slot between two readings at most 20 minutes apart is interpolated linearly; another takes the reading within 2.5
    minutes of it. Readings outside 20 to 600 mg/dL (another unit, an artefact) count as not there, as do those older
    than 195 minutes. Order does not matter; of two readings of one time the later in the window counts. But for the
    vector the time of day is left out: an event knows it in UTC only, not what a wearer's clock shows. Raises
    OutOfRange when the newest reading is implausible, TooFewYet where fewer than 3 readings or less than 10 minutes are
    known of the last hour.
    """
    rows, refused = prepare_many([window])
    if refused:
        raise refused[0]
    row: Rows = rows[0]
    return row


def prepare_many(windows: Sequence[GlucoseWindow]) -> tuple[Rows, Mapping[int, OutOfRange]]:
    """Rows of many windows, float32 [windows, 48], and by place what `prepare` would raise; such rows are NaN.

    One call for a batch is several times as fast as a call for each window.
    """
    counts = np.array([_length(window) for window in windows], dtype=np.int64)
    owner = np.repeat(np.arange(len(windows)), counts)
    times = _joined([window.times_s for window, count in zip(windows, counts, strict=True) if count])
    values = _joined([window.glucose_mg_dl for window, count in zip(windows, counts, strict=True) if count])
    if np.any((np.diff(times) <= 0) & (np.diff(owner) == 0)):
        owner, times, values = _in_order(owner, times, values)
        counts = np.bincount(owner, minlength=len(windows))
    rows = np.full((len(windows), WIDTH), np.nan, dtype=np.float32)
    rows[:, SLOTS:] = 0.0
    there = np.flatnonzero(counts)
    refused = {int(place): OutOfRange(EMPTY) for place in np.flatnonzero(counts == 0)}
    if not len(there):
        return rows, refused
    newest = np.zeros(len(windows), dtype=np.int64)
    newest[there] = np.cumsum(counts)[there] - 1
    age = times[newest][owner] - times
    sound = _plausible(values) & (age <= LOOKBACK_S)
    implausible = ~_plausible(values[newest]) & (counts > 0)
    recent = sound & (age <= RECENT_S)
    many = np.bincount(owner[recent], minlength=len(windows))
    span = np.zeros(len(windows))
    np.maximum.at(span, owner[recent], age[recent])
    few = (counts > 0) & ~implausible & ((many < LEAST_READINGS) | (span < LEAST_SPAN_S))
    refused |= {int(place): OutOfRange(UNIT) for place in np.flatnonzero(implausible)}
    refused |= {int(place): TooFewYet(FEW) for place in np.flatnonzero(few)}
    fine = np.flatnonzero((counts > 0) & ~implausible & ~few)
    # All windows on one axis, further apart than any bridge: one search serves them all.
    apart = 2 * LOOKBACK_S
    rows[fine, :SLOTS] = on_grid((owner * apart - age)[sound], values[sound], fine * apart)
    own = [place for place in fine.tolist() if len(windows[place].vector) in {VECTOR, WITH_ENDS, WITH_RANGES}]
    if own:
        vectors = np.array([windows[place].vector[:VECTOR] for place in own], dtype=np.float64)
        rows[own, SLOTS:] = effective(vectors, times[newest][own])
    return rows, refused


def effective(vectors: Floats, times_s: Floats) -> Floats:
    """Vectors [n, 20] as they hold at these times (s since the epoch, UTC) [n, 12]: starts, then slopes."""
    turn = 2 * np.pi * (times_s % DAY_S) / DAY_S
    clock = np.stack([np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)], axis=1)
    parts = vectors.reshape(len(vectors), 2, PERSONAL // 2 + CLOCK)
    now = parts[:, :, : PERSONAL // 2].copy()
    now[:, :, 0] += np.einsum("nkc,nc->nk", parts[:, :, PERSONAL // 2 :], clock)
    return now.reshape(len(vectors), PERSONAL)


def on_grid(times: Floats, values: Floats, newest: npt.NDArray[Any]) -> Rows:
    """Rows float32 [newest, 36] of one ascending axis of readings (s, mg/dL); each `newest` is one of the times."""
    times = np.concatenate([[-np.inf], times])
    values = np.concatenate([[0.0], values])
    grid = np.asarray(newest, dtype=np.float64)[:, None] - np.arange(SLOTS) * STEP_S
    right = np.searchsorted(times, grid)
    to_right, to_left = times[right] - grid, grid - times[right - 1]
    apart = to_right + to_left
    bridged = apart <= BRIDGE_S
    share = np.where(bridged, to_right / apart, to_left < to_right)
    at = values[right] + (values[right - 1] - values[right]) * share
    known = bridged | (np.minimum(to_left, to_right) <= NEAR_S)
    found: Rows = np.where(known, at, np.nan).astype(np.float32)
    return found


def anybody(grid: Rows) -> Rows:
    """Rows [n, 36] with the zeros of whoever has no vector, as the served graph takes them [n, 48]."""
    return np.concatenate([grid, np.zeros((len(grid), PERSONAL), dtype=np.float32)], axis=1)


def enough(times: Floats, newest: Places) -> npt.NDArray[np.bool_]:
    """Which of the `newest` (places in ascending plausible times) have the readings that `prepare` asks for."""
    first = np.searchsorted(times, times[newest] - RECENT_S)
    fine: npt.NDArray[np.bool_] = (newest - first + 1 >= LEAST_READINGS) & (
        times[newest] - times[first] >= LEAST_SPAN_S
    )
    return fine


def _plausible(values: Floats) -> npt.NDArray[np.bool_]:
    fine: npt.NDArray[np.bool_] = (values >= LOWEST) & (values <= HIGHEST)
    return fine


def _length(window: GlucoseWindow) -> int:
    count = len(window.times_s)
    return count if count == len(window.glucose_mg_dl) else 0


def _joined(parts: Sequence[Sequence[float]]) -> Floats:
    return np.array([number for part in parts for number in part], dtype=np.float64)


def _in_order(owner: Places, times: Floats, values: Floats) -> tuple[Places, Floats, Floats]:
    """Ascending within each owner, of equal times the last given."""
    order = np.lexsort((np.arange(len(times)), times, owner))
    owner, times, values = owner[order], times[order], values[order]
    last = np.append((np.diff(owner) != 0) | (np.diff(times) != 0), True)
    return owner[last], times[last], values[last]
