"""The ledger of studies for the commands: which study is meant, what a PACS says of it; SQL is in the adapters."""

import getpass
from collections.abc import Sequence
from typing import Any

from adapters.database import Database
from adapters.database.studies import StudyEntry
from adapters.settings import Settings, pseudonym_key
from schemas import ids
from schemas.errors import Conflict, UserError
from schemas.studies import Quiet, Source, expected

TIMEOUT_S = 20.0
NUMBER_OF_INSTANCES = "00201208"


async def entries(database: Database, settings: Settings, which: str) -> list[StudyEntry]:
    """The lines of a study by its pseudonym, Study Instance UID or accession number; the look-up is audited.

    Raises UserError where nothing is known of it.
    """
    studies = {which}
    if not which.startswith("stu-"):
        studies, _ = await database.look_up(which, by_whom=getpass.getuser(), purpose="clinstream study")
        key = pseudonym_key(settings)
        studies = {*studies, ids.study_id(key, which), ids.study_id(key, ids.pseudonymous_uid(key, which))}
    found = await database.archive.study(sorted(studies))
    if not found:
        raise UserError("No such study came in; `clinstream study list` shows what did.")
    return found


async def expect(
    database: Database, settings: Settings, uid: str, sender: str, source: Source, number: int | None, names: list[str]
) -> StudyEntry:
    """Notes what is expected of a study (by its UID) from a sender. Raises UserError where the sender is not clear."""
    key = pseudonym_key(settings)
    study, pseudonym = ids.study_id(key, uid), ids.study_id(key, ids.pseudonymous_uid(key, uid))
    if await database.archive.study([pseudonym]):  # it is kept de-identified
        study, names = pseudonym, [ids.pseudonymous_uid(key, name) for name in names]
    known = sorted(each.sender for each in await database.archive.study([study]))
    if not sender and len(known) != 1:
        raise UserError("Say whose study it is: --sender takes the calling AE title.")
    quiet = Quiet(settings.study_quiet_s, min(settings.study_released_s, settings.study_quiet_s))
    return await database.archive.expect(study, sender or known[0], source, number, names, quiet)


def count_at(url: str, uid: str) -> int:
    """How many objects a PACS holds of a study, asked by QIDO-RS at its DICOMweb root. Raises Conflict."""
    import httpx  # on use, as all that takes time to import

    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/studies",
            params={"StudyInstanceUID": uid, "includefield": NUMBER_OF_INSTANCES},
            headers={"accept": "application/dicom+json"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )
        found: Any = answer.json() if answer.status_code == 200 else []
        answer.raise_for_status()
        return int(found[0][NUMBER_OF_INSTANCES]["Value"][0]) if found else 0
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise Conflict(f"The PACS at {url} does not tell how many objects it has ({type(error).__name__}).") from error


def line(entry: StudyEntry) -> dict[str, Any]:
    """A line of the ledger as JSON."""
    number, source = expected(entry.expectations)
    return {
        "study_id": entry.study_id,
        "sender": entry.sender,
        "state": entry.state,
        "revision": entry.revision,
        "received": entry.received,
        "expected": number if number is not None else (len(entry.listed) or None),
        "expected_by": source or ("list" if entry.listed else ""),
        "missing": entry.missing,
        "why": entry.why,
        "first_at": entry.first_at.isoformat(),
        "last_at": entry.last_at.isoformat(),
        "closed_at": entry.closed_at.isoformat() if entry.closed_at else None,
    }


def names_in(text: str) -> Sequence[str]:
    """SOP Instance UIDs, one a line; raises UserError for a line that is none."""
    names = [each.strip() for each in text.splitlines() if each.strip()]
    for each in names:
        if len(each) > 64 or not set(each) <= set("0123456789."):
            raise UserError("The list holds a line that is no SOP Instance UID.")
    return names
