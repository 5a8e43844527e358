"""Labelled cases from a manifest of pictures or a table of measurements, prepared exactly as the stream does it."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from adapters import dicom_reading, imaging
from schemas.errors import OutOfRange, Unprocessable, UserError
from triton_models import tables
from triton_models.model import Model

Tensor = npt.NDArray[Any]
PREAMBLE = 128


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled thing. `name` is for people, `group` keeps together what belongs to one person ("" without).

    `load` gives the tensor, or raises OutOfRange (the model must not see it) or Unprocessable (it cannot be read).
    `label` is the truth as one of the card's labels, "" where the data only says whether it is the positive one.
    """

    name: str
    positive: bool
    group: str
    load: Callable[[], Tensor]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Cases:
    """What is to be judged; `not_asked` counts rows whose label lies outside the model's question."""

    judged: list[Case]
    not_asked: int = 0


def from_manifest(model: Model, manifest: Path, root: Path) -> Cases:
    """The rows of a CSV `path,label[,group]`, paths relative to `root`; other columns are ignored.

    Labels are those of the card or its synonyms, of which some mean that the model is not asked. Raises UserError for
    columns that are missing and labels that the model does not know, naming the line.
    """
    card, found, not_asked = model.card, [], 0
    for line, record in _rows(manifest):
        stated = (record["label"] or "").strip()
        label = card.synonyms.get(stated, stated)
        if label == "" and stated in card.synonyms:
            not_asked += 1
            continue
        if label not in card.labels:
            known = ", ".join(dict.fromkeys([*card.labels, *card.synonyms]))
            raise UserError(f"{manifest.name} line {line}: the label {stated!r} is not one of {known}.")
        path = (record["path"] or "").strip()
        group = (record.get("group") or "").strip()
        found.append(Case(path, label == card.positive_label, group, partial(_image, model, root / path), label))
    return Cases(found, not_asked)


def from_table(model: Model, table: Path, target: str) -> Cases:
    """The rows of a CSV (or .csv.gz) with a column for each feature and `target` (0 or 1); other columns are ignored.

    Raises UserError naming the columns that are missing.
    """
    found = tables.read(table, model.features, target, model.prepare)
    cases = [
        Case(f"line {line}", bool(positive), "", partial(_ready, row))
        for line, positive, row in zip(found.lines, found.positive, found.rows, strict=True)
    ]
    left_out = [(OutOfRange, found.refused), (Unprocessable, found.unreadable)]
    for kind, lines in left_out:
        cases += [Case(f"line {line}", False, "", partial(_fail, kind, why)) for line, why in lines.items()]
    return Cases(cases)


def groups(cases: Sequence[Case]) -> list[str] | None:
    """The groups of the cases, each its own where none is named; None when the data names no groups at all."""
    if not any(case.group for case in cases):
        return None
    return [case.group or f"alone {place}" for place, case in enumerate(cases)]


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{manifest} cannot be read: {error}") from None
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in ("path", "label") if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{manifest.name} lacks the columns: {', '.join(missing)}.")
    for record in reader:
        yield reader.line_num, record


def _image(model: Model, path: Path) -> Tensor:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unprocessable(f"cannot be read: {error.strerror}") from None
    dicom = data[PREAMBLE : PREAMBLE + 4] == b"DICM"
    image = dicom_reading.decode_dicom(data) if dicom else imaging.decode_picture(data)
    if model.card.pixels == "grey":
        return model.prepare(imaging.to_display(image))
    shown = imaging.to_colour(image)
    if shown is None:
        raise OutOfRange("not a colour image")
    return model.prepare(shown)


def _ready(row: Tensor) -> Tensor:
    return row


def _fail(kind: type[Exception], why: str) -> Tensor:
    raise kind(why)
