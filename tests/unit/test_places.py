"""From a map of places to heat map and regions, and from there onto the image (ME5)."""

from typing import Any

import numpy as np
import pytest

from adapters.onnx_outputs import output_names
from adapters.releases import Choice
from consumers import answers
from consumers.ask import Told
from schemas import ids
from schemas.events import Heat, ImagePrepared, Origin, Region, TensorRef
from schemas.findings import Finding
from triton_models import places
from triton_models.chest_xray.card import CARD

FOUND = Finding(
    label="pneumonia",
    score=0.9,
    threshold=0.5,
    probabilities={"normal": 0.1, "pneumonia": 0.9},
    abstained=False,
    heat=Heat(rows=1, columns=2, percent=(0, 100), view=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    regions=(Region(score=0.8, outline=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))),),
)


def answered(view: tuple[float, ...]) -> Any:
    """What the lane makes of that finding about an image of which the model was given `view`."""
    here = Origin(topic="observed.dicom", partition=0, offset=1)
    event = ImagePrepared(
        event_id=ids.event_id("image", "content"),
        object_id="image",
        content="content",
        subject_id="sub",
        task="chest_xray",
        tensor=TensorRef(uri="file:///t", sha256="0", dtype="uint8", shape=(1, 128, 128)),
        preprocessing_version="1.0.0",
        priority="routine",
        observed=here,
        hops={"observed": 1.0},
        view=view,
    )
    told = Told(FOUND, Choice("1.0.0", "serving", 1), 1, 2.0)
    return answers.build(CARD, event, told, preprocessing_version="1.0.0", observed=here, origin=here, hops=event.hops)


def test_a_region_is_told_in_shares_of_the_image() -> None:
    """ME5: an image whose right half was cut to its middle rows; and one that was stood upright."""
    cut = answered((0.5, 0.0, 0.5, 0.0, 0.8, 0.1))
    assert cut.regions[0].outline == ((0.5, 0.1), (0.75, 0.1), (0.75, 0.9), (0.5, 0.9))
    assert cut.heat.view == (0.5, 0.0, 0.5, 0.0, 0.8, 0.1)
    turned = answered((0.0, -1.0, 1.0, 1.0, 0.0, 0.0))
    assert turned.regions[0].outline == ((1.0, 0.0), (1.0, 0.5), (0.0, 0.5), (0.0, 0.0))


def test_a_region_ends_at_the_edge_and_is_left_out_where_nobody_knows_its_place() -> None:
    """ME5: a canvas may reach beyond the image; an event of before says nothing of its part."""
    assert answered((2.0, 0.0, -0.5, 0.0, 1.0, 0.0)).regions[0].outline[0] == (0.0, 0.0)
    unknown = answered(())
    assert (unknown.regions, unknown.heat, unknown.label) == ((), None, "pneumonia")


@pytest.mark.parametrize(
    ("drawn", "boxes"),
    [
        (["#...", "#..#", "...#"], {(0, 0, 1, 2), (3, 1, 4, 3)}),
        (["#.#", "###", "..."], {(0, 0, 3, 2)}),
        (["#..", ".#.", "..#"], {(0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)}),
        (["..#", "#..", "..."], {(2, 0, 3, 1), (0, 1, 1, 2)}),
        (["####", "#..#", "####"], {(0, 0, 4, 3)}),
    ],
)
def test_what_is_connected_is_one_region(drawn: list[str], boxes: set[tuple[int, ...]]) -> None:
    """ME5: by sides, not by corners, and not from the end of one row to the start of the next."""
    grid = np.array([[0.9 if each == "#" else 0.1 for each in row] for row in drawn])
    grid[0, 0] += 0.05
    rows, columns = grid.shape
    found = places.located(CARD, FOUND, grid, grid, peak=0.9, begins=0.5).regions
    corners = [(each.outline[0], each.outline[2]) for each in found]
    shown = {(round(x * columns), round(y * rows), round(r * columns), round(b * rows)) for (x, y), (r, b) in corners}
    assert shown == boxes
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_finer_steps_keep_the_middles_and_coarser_ones_the_worst() -> None:
    grid = np.array([[0.0, 4.0], [8.0, 12.0]])
    finer = places.enlarged(grid, 2)
    assert finer.shape == (4, 4)
    assert (finer[0, 0], finer[0, 1], finer[3, 3], finer.mean()) == (0.0, 1.0, 12.0, 6.0)
    assert places.worst_of(grid, 2).tolist() == [[12.0]]


@pytest.mark.parametrize("damaged", [b"not read here", b"\x3a\xff", b"\x3a\x7f\x00", b"\xff" * 80])
def test_what_is_no_onnx_file_has_no_outputs_but_an_error(damaged: bytes) -> None:
    """S9: the server's configuration is not made from rubbish."""
    with pytest.raises(ValueError, match="not an ONNX file"):
        output_names(damaged)
