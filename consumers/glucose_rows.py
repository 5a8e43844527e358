"""Rows for a glucose model of many windows at once, and what it told as it holds for the wearer; it asks nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from consumers.ask import Told
from schemas.errors import RejectedInput
from schemas.windows import GlucoseWindow
from triton_models.model import Model


def prepared(
    model: Model, windows: Sequence[GlucoseWindow]
) -> tuple[Sequence[npt.NDArray[Any]] | npt.NDArray[Any], Mapping[int, RejectedInput]]:
    """A row for each window, at once where the model can do that, and by place why it must not see one."""
    if not windows:
        return [], {}
    if model.prepare_many is not None:
        return model.prepare_many(windows)
    rows: list[Any] = []
    refused: dict[int, RejectedInput] = {}
    for number, window in enumerate(windows):
        try:
            rows.append(model.prepare(window))
        except RejectedInput as error:
            rows.append(None)
            refused[number] = error
    return rows, refused


def owned(model: Model, told: Told, window: GlucoseWindow) -> Told:
    """What was told, as it holds for the wearer where something of the wearer's own went along."""
    if model.own is None or not window.vector:
        return told
    return replace(told, finding=model.own(told.finding, window))
