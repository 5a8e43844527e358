"""Which events a word of the user's means: an event or result id, an object, a study, a stay or a patient."""

from dataclasses import dataclass, field
from uuid import UUID

from adapters.database import Database, Trail
from schemas import ids

PURPOSE = "where: a person follows one thing"


@dataclass(frozen=True, slots=True)
class Meant:
    """What to look for on the log; `trail` is what the database knows of it already."""

    events: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    trail: Trail = field(default_factory=Trail)


async def identify(database: Database, key: bytes, word: str, issuer: str, *, by_whom: str) -> Meant:
    """What `word` means, also where its objects were de-identified.

    Numbers of studies and patients are looked up in the personal tables only when nothing pseudonymous fits, and that
    read is audited. Raises DatabaseUnavailable.
    """
    if (event := _uuid(word)) is not None:
        shown = await database.result(event)
        return await _meant(database, events=[shown.result.answer.event_id if shown else event])
    if word.startswith("sub-") and "@" not in word:
        return await _meant(database, subjects=[word])
    if word.startswith("stu-"):
        return await _meant(database, studies=[word])
    uid, accession, patient = ids.pseudonyms_of(key, issuer, word)
    objects = [name for each in dict.fromkeys((word, uid)) for name in (each, ids.SIMULATED + each)]
    people = [ids.subject_id(key, issuer, word), ids.subject_id(key, "", patient)]
    meant = await _meant(database, objects=objects, subjects=people)
    if meant.trail.images or meant.trail.results or meant.trail.outcomes:
        return meant
    for name in dict.fromkeys((word, uid, accession)):
        studies, subjects = await database.look_up(name, by_whom=by_whom, purpose=PURPOSE)
        if studies or subjects:
            return await _meant(database, studies=sorted(studies), subjects=sorted(subjects))
    return meant


async def _meant(
    database: Database,
    *,
    events: list[UUID] | None = None,
    objects: list[str] | None = None,
    studies: list[str] | None = None,
    subjects: list[str] | None = None,
) -> Meant:
    trail = await database.trail(
        events=events or (), objects=objects or (), studies=studies or (), subjects=subjects or ()
    )
    known = {*(image.event_id for image in trail.images), *(outcome.event_id for outcome in trail.outcomes)}
    return Meant(
        events=frozenset(str(event) for event in (known | set(events or ()))),
        objects=frozenset(objects or ()),
        subjects=frozenset(subjects or ()),
        trail=trail,
    )


def _uuid(word: str) -> UUID | None:
    try:
        return UUID(word)
    except ValueError:
        return None
