"""QIDO-RS (PS3.18 10.6): studies, series and instances that match, as DICOM JSON from the headers of stored objects."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request, Response

from adapters.database.instances import Found, Level, Located, Match
from producers import dicom_json
from producers.dicom_json import Item
from producers.dicomweb_access import Access
from producers.replies import ERROR, Early, answered
from schemas.errors import Unavailable

BY_WHOM = "dicomweb"
LIMIT, MAX_LIMIT = 100, 1000
MAX_VALUE = 256

EXACT = {
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "Modality": "modality",
    "ModalitiesInStudy": "modality",
}
WILD = {"PatientID": "patient_id", "PatientName": "patient_name", "AccessionNumber": "accession_number"}
CONTROL = frozenset({"limit", "offset", "includefield", "fuzzymatching"})

STUDY = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDescription",
)
SERIES = (
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "BodyPartExamined",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)
INSTANCE = ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames")
RETURNED = {"studies": STUDY, "series": (*STUDY, *SERIES), "instances": (*STUDY, *SERIES, *INSTANCE)}


class Archive(Protocol):
    """The part of the database that knows what is stored."""

    async def search(
        self, level: Level, matches: Sequence[Match], *, limit: int, offset: int, by_whom: str
    ) -> list[Found]:
        """What matches at a level; the read is audited."""
        ...

    async def locate(self, matches: Sequence[Match], *, by_whom: str) -> list[Located]:
        """Where what matches lies; the read is audited."""
        ...


def add(app: FastAPI, archive: Archive, access: Access) -> None:
    """Adds the searches to the application."""

    async def search(request: Request, level: Level, **place: str) -> Response:
        access.require_retrieval(request)
        return await _search(request, archive, level, place)

    @app.get("/studies", responses=RESPONSES, summary="Search for studies")
    async def studies(request: Request) -> Response:
        """QIDO-RS."""
        return await answered("dicomweb", search(request, "studies"))

    @app.get("/studies/{study}/series", responses=RESPONSES, summary="Search for series of a study")
    async def series_of(study: str, request: Request) -> Response:
        """QIDO-RS."""
        return await answered("dicomweb", search(request, "series", StudyInstanceUID=study))

    @app.get("/series", responses=RESPONSES, summary="Search for series")
    async def series(request: Request) -> Response:
        """QIDO-RS."""
        return await answered("dicomweb", search(request, "series"))

    @app.get("/studies/{study}/instances", responses=RESPONSES, summary="Search for objects of a study")
    async def instances_of_study(study: str, request: Request) -> Response:
        """QIDO-RS."""
        return await answered("dicomweb", search(request, "instances", StudyInstanceUID=study))

    @app.get("/studies/{study}/series/{series}/instances", responses=RESPONSES, summary="Search for a series' objects")
    async def instances_of_series(study: str, series: str, request: Request) -> Response:
        """QIDO-RS."""
        return await answered(
            "dicomweb", search(request, "instances", StudyInstanceUID=study, SeriesInstanceUID=series)
        )

    @app.get("/instances", responses=RESPONSES, summary="Search for objects")
    async def instances(request: Request) -> Response:
        """QIDO-RS."""
        return await answered("dicomweb", search(request, "instances"))


async def _search(request: Request, archive: Archive, level: Level, place: dict[str, str]) -> Response:
    asked = request.query_params
    unknown: list[str] = []
    matches = [Match(EXACT[name], "exact", (value,)) for name, value in place.items()]
    for name, value in asked.multi_items():
        keyword = dicom_json.TAGS.get(name.upper(), name)
        if keyword in CONTROL:
            continue
        match = _match(keyword, value)
        if match is None:
            unknown.append(name)
        elif value.strip("* "):
            matches.append(match)
    limit = min(_number(asked.get("limit"), LIMIT, "limit"), MAX_LIMIT)
    offset = _number(asked.get("offset"), 0, "offset")
    try:
        rows = await archive.search(level, matches, limit=limit, offset=offset, by_whom=BY_WHOM)
    except Unavailable as away:
        raise Early(503, str(away)) from away
    base = f"{str(request.base_url).rstrip('/')}/studies"
    answer = Response(
        msgspec.json.encode([_told(row, level, base) for row in rows]),
        status_code=200 if rows else 204,
        media_type=dicom_json.MEDIA_TYPE,
    )
    if not rows:
        answer = Response(status_code=204)
    warned = _warnings(unknown, fuzzy=asked.get("fuzzymatching", "").lower() == "true")
    if warned:
        answer.headers["warning"] = f'299 clinstream: "{warned}"'
    return answer


def _warnings(unknown: Iterable[str], *, fuzzy: bool) -> str:
    said = []
    if fuzzy:
        said.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    if list(unknown):
        said.append("Some matching keys are not supported and were ignored.")
    return " ".join(said)


def _match(keyword: str, value: str) -> Match | None:
    """The key as it is asked for; None for one that nobody here searches by."""
    if len(value) > 64 * MAX_VALUE:
        raise Early(400, "a matching key is too long")
    if keyword in EXACT:
        return Match(EXACT[keyword], "exact", tuple(value.replace("\\", ",").split(",")))
    if keyword == "StudyDate":
        low, dash, high = value.partition("-")
        if any(part and not (part.isdecimal() and len(part) == 8) for part in (low, high)):
            raise Early(400, "StudyDate is YYYYMMDD or a range of them")
        return Match("study_date", "range", (low, high if dash else low))
    if keyword not in WILD:
        return None
    if len(value) > MAX_VALUE:
        raise Early(400, "a matching key is too long")
    # Names match without regard to case (PS3.4 C.2.2.2.1 allows it); numbers are compared as they are.
    wild = keyword == "PatientName" or "*" in value or "?" in value
    return Match(WILD[keyword], "wildcard" if wild else "exact", (value,))


def _number(text: str | None, otherwise: int, name: str) -> int:
    if text is None:
        return otherwise
    if not text.isdecimal() or len(text) > 9:
        raise Early(400, f"{name} is a whole number")
    return int(text)


def _told(row: Found, level: Level, base: str) -> Item:
    found: Item = {}
    for keyword in RETURNED[level]:
        tag, vr = dicom_json.KEYWORDS[keyword]
        found[tag] = row.attributes.get(tag, {"vr": vr})
    place = f"{base}/{_first(row, 'StudyInstanceUID')}"
    if level == "studies":
        dicom_json.put(found, "ModalitiesInStudy", row.modalities)
        dicom_json.put(found, "NumberOfStudyRelatedSeries", [row.series])
        dicom_json.put(found, "NumberOfStudyRelatedInstances", [row.instances])
    else:
        place += f"/series/{_first(row, 'SeriesInstanceUID')}"
    if level == "series":
        dicom_json.put(found, "NumberOfSeriesRelatedInstances", [row.instances])
    if level == "instances":
        place += f"/instances/{_first(row, 'SOPInstanceUID')}"
        dicom_json.put(found, "AvailableTransferSyntaxUID", [row.transfer_syntax_uid])
    dicom_json.put(found, "InstanceAvailability", ["ONLINE"])
    dicom_json.put(found, "RetrieveURL", [place])
    return dict(sorted(found.items()))


def _first(row: Found, keyword: str) -> Any:
    return (row.attributes.get(dicom_json.KEYWORDS[keyword][0], {}).get("Value") or [""])[0]


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "What matches", "content": {dicom_json.MEDIA_TYPE: {"schema": {"type": "array"}}}},
    204: {"description": "Nothing matches"},
    400: {"description": "A parameter is malformed", "content": ERROR},
    401: {"description": "The token is missing or wrong", "content": ERROR},
    403: {"description": "Not from other machines without a token", "content": ERROR},
    404: {"description": "Searches and retrievals are closed", "content": ERROR},
    503: {"description": "The database is away: try again after Retry-After", "content": ERROR},
}
