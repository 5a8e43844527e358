"""Where a finding is suspected, in pixels of the source image; drawing and coding that is the forms' part."""

import numpy as np
import numpy.typing as npt

from consumers.exporting.account import Account, Statement
from consumers.exporting.source import SourceImage
from schemas.events import Region

Corners = npt.NDArray[np.float64]


def regions_of(account: Account) -> list[tuple[Statement, int, Region]]:
    """Each region with the statement that it belongs to and its number, of the image that the account speaks of.

    None where the account says that nothing is there.
    """
    return [
        (statement, number, region)
        for statement in account.statements
        if statement.presence != "absent"
        for number, region in enumerate(account.result.answer.regions, 1)
    ]


def told(account: Account) -> list[Region]:
    """The regions alone."""
    return [region for _, _, region in regions_of(account)]


def outline(region: Region, source: SourceImage) -> Corners:
    """The closed outline as rows of (column, row), from the upper left corner of the first pixel; float32 exactly.

    DICOM keeps coordinates in single precision (PS3.3 C.18.6): what is rounded before reads back equal.
    """
    size = (float(source.dataset.Columns), float(source.dataset.Rows))
    corners = np.array([*region.outline, region.outline[0]], dtype=np.float64) * size
    return corners.astype(np.float32).astype(np.float64)


def frames(source: SourceImage) -> list[int] | None:
    """The frame that the model saw, where the image has several."""
    return [1] if int(source.dataset.get("NumberOfFrames") or 1) > 1 else None


def in_words(region: Region, source: SourceImage) -> str:
    """The outline as a list of column and row, separated by spaces; the first pair comes again at the end."""
    return " ".join(f"{value:.6g}" for corner in outline(region, source) for value in corner)
