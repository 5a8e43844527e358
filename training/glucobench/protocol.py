"""How a set of readings is divided and judged: segments, the parts of each subject, windows; no model here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import UserError
from triton_models.series import Series

STEP_S = 300.0
# What is forecast: 12 steps of 5 minutes, one hour. Test windows are half of that apart.
AHEAD, STRIDE = 12, 6
OUTSIDE_SHARE = 0.10
# The longest look back of a linear model; every forecaster is judged on the windows that have as much.
LOOK_BACK = 84

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The numbers of a data set: gap in minutes, the others in steps of 5 minutes."""

    gap_min: float
    min_segment: int
    test_segment: int
    max_input: int

    def __post_init__(self) -> None:
        if self.gap_min <= 0 or self.min_segment < 1 or self.test_segment < AHEAD or self.max_input < AHEAD:
            raise UserError(
                f"The gap must be above 0 minutes, a segment at least 1 step, and the test and the longest input at "
                f"least {AHEAD} steps each."
            )

    @property
    def needed(self) -> int:
        """Steps that must lie before a window: as many as the longest linear model looks back, where allowed."""
        return min(LOOK_BACK, self.max_input)


@dataclass(frozen=True, slots=True)
class Segment:
    """Readings of one subject on an even grid of 5 minutes from `start_s` on, no gap within."""

    start_s: float
    glucose_mg_dl: Floats

    def __len__(self) -> int:
        return len(self.glucose_mg_dl)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a segment: what is forecast lies in [first, stop), what may be seen begins at `start`."""

    segment: Segment
    start: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class Division:
    """What of one subject is learnt from, chosen by and tested on."""

    train: Sequence[Piece]
    validation: Sequence[Piece]
    test: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Windows:
    """`rows` float32 [n, max_input]: mg/dL, oldest first, NaN before the piece begins; `truth` [n, 12] after it.

    `subject` numbers the subjects; `newest_s` is the time of the newest value, in seconds of the subject's clock.
    """

    rows: Rows
    truth: Rows
    subject: Places
    newest_s: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, places: npt.NDArray[np.int64]) -> "Windows":
        """Some of the windows."""
        return Windows(self.rows[places], self.truth[places], self.subject[places], self.newest_s[places])


@dataclass(frozen=True, slots=True)
class Parts:
    """The windows of a set: `inside` and `outside` are the tests in and out of distribution."""

    train: Windows
    validation: Windows
    inside: Windows
    outside: Windows
    subjects: int
    subjects_outside: int


def segments(series: Series, protocol: Protocol) -> list[Segment]:
    """The series cut where readings are more than the gap apart, interpolated linearly, short ones left out."""
    cuts = np.flatnonzero(np.diff(series.times_s) > protocol.gap_min * 60.0) + 1
    found = []
    for times, values in zip(np.split(series.times_s, cuts), np.split(series.glucose_mg_dl, cuts), strict=True):
        steps = int((times[-1] - times[0]) // STEP_S) + 1
        if steps >= protocol.min_segment:
            grid = times[0] + STEP_S * np.arange(steps)
            found.append(Segment(float(times[0]), np.interp(grid, times, values)))
    return found


def divide(found: Sequence[Segment], protocol: Protocol) -> Division:
    """One subject's segments, oldest first and at least one, by time.

    The last T steps of the last segment are the test, with up to M steps before them to be seen, and the T before those
    validation. A last segment shorter than M + 2T is the test as a whole, if there is an earlier one: then the last T
    steps of that one are validation.
    """
    most, held = protocol.max_input, protocol.test_segment
    last, earlier = found[-1], list(found[:-1])
    if len(last) < most + 2 * held and earlier:
        test = Piece(last, 0, 0, len(last))
        chosen_by, stop = earlier.pop(), None
    else:
        first = max(0, len(last) - held)
        test = Piece(last, max(0, first - most), first, len(last))
        chosen_by, stop = last, first
    stop = len(chosen_by) if stop is None else stop
    first = max(0, stop - held)
    validation = Piece(chosen_by, max(0, first - most), first, stop)
    train = [Piece(each, 0, 0, len(each)) for each in earlier]
    if first:
        train.append(Piece(chosen_by, 0, 0, first))
    return Division(train, [validation], [test])


def outside(subjects: int, seed: int) -> frozenset[int]:
    """A tenth of the subjects by number, one at least where there are two."""
    many = max(1, round(OUTSIDE_SHARE * subjects)) if subjects > 1 else 0
    return frozenset(np.random.default_rng(seed).permutation(subjects)[:many].tolist())


def parts(everyone: Sequence[Sequence[Segment]], protocol: Protocol, seed: int, most_train: int) -> Parts:
    """The windows of all subjects; of those to learn from at most `most_train`, drawn by the seed.

    Of a subject out of distribution every segment is tested and nothing is learnt. Raises UserError where a part that
    is needed stays empty.
    """
    away = outside(len(everyone), seed)
    mine = [(number, divide(found, protocol)) for number, found in enumerate(everyone) if number not in away]
    train = [(number, piece) for number, division in mine for piece in division.train]
    windows = {
        "train": cut(train, protocol, 1, most_train, seed),
        "validation": cut([(n, piece) for n, d in mine for piece in d.validation], protocol, STRIDE),
        "inside": cut([(n, piece) for n, d in mine for piece in d.test], protocol, STRIDE),
        "outside": cut(
            [(n, Piece(each, 0, 0, len(each))) for n in sorted(away) for each in everyone[n]], protocol, STRIDE
        ),
    }
    for name in ("train", "inside"):
        if not len(windows[name]):
            raise UserError(
                f"No window is left for the part '{name}' of {len(everyone)} subjects: the segments are too short for "
                f"{protocol.max_input} steps of input and {protocol.test_segment} of test."
            )
    return Parts(**windows, subjects=len(everyone), subjects_outside=len(away))


def origins(piece: Piece, needed: int, stride: int) -> Places:
    """The places of the first forecast step of each window that lies in the piece with `needed` steps before it."""
    return np.arange(max(piece.first, piece.start + needed), piece.stop - AHEAD + 1, stride)


def cut(
    listed: Sequence[tuple[int, Piece]], protocol: Protocol, stride: int, most: int | None = None, seed: int = 0
) -> Windows:
    starts = [origins(piece, protocol.needed, stride) for _, piece in listed]
    total = sum(len(each) for each in starts)
    keep = np.ones(total, dtype=bool)
    if most is not None and total > most:
        keep[:] = False
        keep[np.random.default_rng(seed).choice(total, most, replace=False)] = True
    rows, truths, subjects, newest = [], [], [], []
    for (number, piece), places in zip(listed, starts, strict=True):
        places, keep = places[keep[: len(places)]], keep[len(places) :]
        back = places[:, None] + np.arange(-protocol.max_input, 0)
        values = piece.segment.glucose_mg_dl
        rows.append(np.where(back >= piece.start, values[np.maximum(back, 0)], np.nan).astype(np.float32))
        truths.append(values[places[:, None] + np.arange(AHEAD)].astype(np.float32))
        subjects.append(np.full(len(places), number, dtype=np.int64))
        newest.append(piece.segment.start_s + STEP_S * (places - 1))
    if not listed:
        return Windows(
            np.empty((0, protocol.max_input), np.float32),
            np.empty((0, AHEAD), np.float32),
            np.empty(0, np.int64),
            np.empty(0),
        )
    return Windows(*(np.concatenate(each) for each in (rows, truths, subjects, newest)))
