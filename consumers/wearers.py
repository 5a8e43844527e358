"""What a micro-batch does to one wearer's window, worked out without asking anybody; no database and no model here."""

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from adapters.database import NewReading, Wearer, Window
from adapters.database.readings import EPOCH, MS, time_ms
from schemas import ids
from schemas.events import GlucoseObserved
from schemas.windows import MOST, SPAN_S

SPAN_MS = SPAN_S * 1000
_single = struct.Struct("<f")

TAKEN_BACK = "the reading that it was made from was taken back"
CHANGED = "a reading that it was made from was corrected or taken back"

Contents = Mapping[str, int]
"""The revision of each stored content of a sensor time."""


@dataclass(slots=True)
class Course:
    """One wearer in one batch: `places` of the events, what is new among them, and the window afterwards.

    `newest` is the place of the event that holds the newest reading in force, None when that came in earlier.
    After a removal the window may lack what moved up at its far end: good for one forecast, not to be kept. `fallen`
    are the objects whose forecasts no longer hold, with the reason.
    """

    wearer: Wearer
    before: Window
    places: list[int] = field(default_factory=list)
    new: list[NewReading] = field(default_factory=list)
    times_ms: tuple[int, ...] = ()
    glucose_mg_dl: tuple[float, ...] = ()
    newest: int | None = None
    removed: bool = False
    fallen: dict[str, str] = field(default_factory=dict)


def is_new(window: Window, time_ms: int) -> bool:
    """Whether no reading of that sensor time can be stored, if the window is the present one.

    Not so where one was deleted, which no window shows: writing then fails, and who looks again asks for all.
    """
    times = window.times_ms
    if not times or time_ms > times[-1]:
        return True
    return len(times) < MOST and time_ms > times[-1] - SPAN_MS and time_ms not in times


def follow(
    wearer: Wearer,
    window: Window,
    events: Iterable[tuple[int, int, GlucoseObserved]],
    known: Mapping[int, Contents],
) -> Course:
    """The course of (place, sensor time in ms, event) in the order of the log.

    `known` are the contents stored at those sensor times that have some. Of several contents of a sensor time the
    latest revision counts, and a content that is stored already changes nothing.
    """
    course = Course(wearer, window)
    contents: dict[int, dict[str, int]] = {}
    added: dict[int, float] = {}
    gone: set[int] = set()
    last: dict[tuple[int, str], int] = {}
    for place, time, event in events:
        course.places.append(place)
        here = contents.get(time)
        if here is None:
            here = contents[time] = dict(known.get(time, ()))
        last.setdefault((time, event.content), place)
        if event.content not in here:
            revision = here[event.content] = 1 + max(here.values(), default=0)
            course.new.append(NewReading(event, revision))
            if event.deleted:
                added.pop(time, None)
                gone.add(time)
            else:
                added[time] = single(event.glucose_mg_dl)
                gone.discard(time)
    course.removed = bool(gone)
    course.times_ms, course.glucose_mg_dl = merged(without(window, gone) if gone else window, added)
    newest = course.times_ms[-1] if course.times_ms else None
    course.fallen = _fallen(course, gone)
    if newest in contents:
        in_force = max(contents[newest].items(), key=lambda row: row[1])[0]
        course.newest = last.get((newest, in_force))
    return course


def _fallen(course: Course, gone: Collection[int]) -> dict[str, str]:
    """What was made from a reading that is taken back, and the newest forecast if a reading within it changed.

    Not where the newest reading is new or changed itself: its forecast is then the next one, or a revision.
    """
    changed = {time_ms(row.event) for row in course.new if row.revision > 1}
    if not changed:
        return {}
    found = {_object_id(course.wearer, time): TAKEN_BACK for time in changed if time in gone}
    newest = course.times_ms[-1] if course.times_ms else 0
    within = any(newest - SPAN_MS < time < newest for time in changed)
    if within and all(time_ms(row.event) != newest for row in course.new):
        found[_object_id(course.wearer, newest)] = CHANGED
    return found


def _object_id(wearer: Wearer, time: int) -> str:
    subject, simulated = wearer
    return (ids.SIMULATED if simulated else "") + ids.reading_object_id(subject, EPOCH + time * MS)


def merged(window: Window, added: Mapping[int, float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Times and values of the window with these readings in it, a set by sensor time, cut to its span."""
    times, values = window.times_ms, window.glucose_mg_dl
    if not added:
        return times, values
    if times and min(added) <= times[-1]:
        added = {**dict(zip(times, values, strict=True)), **added}
        times, values = (), ()
    order = sorted(added)
    times += tuple(order)
    values += tuple(added[time] for time in order)
    start = max(bisect_right(times, times[-1] - SPAN_MS), len(times) - MOST)
    return times[start:], values[start:]


def without(window: Window, gone: Collection[int]) -> Window:
    """The window less the readings of these sensor times."""
    kept = [pair for pair in zip(window.times_ms, window.glucose_mg_dl, strict=True) if pair[0] not in gone]
    return Window(window.stamp, tuple(time for time, _ in kept), tuple(value for _, value in kept), window.own)


def single(value: float) -> float:
    """The value in single precision, as the database and the cache give it back."""
    found: float = _single.unpack(_single.pack(value))[0]
    return found
