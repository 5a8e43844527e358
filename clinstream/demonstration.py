"""The demonstration's clinician: which sent stay a result speaks of, what became of it, and what is wrong then."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clinstream import samples

TASK = "icu_mortality"
DIED, SURVIVED = "died_in_hospital", "survived"
CLINICIAN = "A. Clinician"
PLACE = re.compile(r"(?P<file>.+?)(?::(?P<line>\d+))?$")


@dataclass(frozen=True, slots=True)
class Correction:
    """A result whose label is not what became of the stay, with the label that is."""

    result_id: str
    label: str


def outcomes() -> dict[str, str]:
    """By the stay's number, what became of it; real outcomes of the source, kept apart from what is sent."""
    with samples.VITALS_OUTCOMES.open(newline="", encoding="utf-8") as file:
        return {row["recordid"]: DIED if row["In-hospital_death"] == "1" else SURVIVED for row in csv.DictReader(file)}


def corrections(sent: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> list[Correction]:
    """Of the lines that `send vitals --json` said and what `results --json` shows: the results that were wrong."""
    stays = {str(line["event_id"]): stay for line in sent if (stay := _stay(str(line["path"])))}
    truth = outcomes()
    wrong = []
    for result in results:
        stay = stays.get(str(result["answer"]["event_id"]), "")
        right = truth.get(stay, "")
        if right and right != result["answer"]["label"]:
            wrong.append(Correction(str(result["result_id"]), right))
    return sorted(wrong, key=lambda correction: correction.result_id)


def measured_now(folder: Path) -> Path:
    """A file in `folder` with the packaged monitor's readings, as measured now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    readings = json.loads((samples.VITALS / "monitor.json").read_text(encoding="utf-8"))
    target = folder / "monitor-now.json"
    target.write_text(json.dumps([{**reading, "measured_at": now} for reading in readings]), encoding="utf-8")
    return target


def _stay(path: str) -> str:
    """The stay that a line of `send` names: `stays.csv:7` is the seventh line, `monitor.json:2` the second reading."""
    found = PLACE.match(path)
    if found is None or found["line"] is None:
        return ""
    return _stays(Path(found["file"])).get(int(found["line"]), "")


def _stays(path: Path) -> dict[int, str]:
    return dict(_numbered(path))


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                yield number, row["recordid"]
    else:
        for number, item in enumerate(json.loads(path.read_text(encoding="utf-8")), start=1):
            yield number, str(item["stay"])
