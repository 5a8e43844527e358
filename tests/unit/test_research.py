"""Research measurements on drawn pictures of known widths, and where they may be seen (CC12)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from PIL import Image

from adapters import cortex, measurements
from adapters.cardiothoracic import cardiothoracic_ratio
from adapters.cortex import cortical_ratio
from adapters.database import StoredResult
from adapters.imaging import Grey8, ImageHeader
from adapters.measuring import NotMeasured
from adapters.settings import Settings
from clinstream import samples
from clinstream.commands.results import line
from clinstream.comparison import lines, research_as_json
from schemas.envelope import to_json
from schemas.events import Answer, ImagePrepared, ResearchMeasurement
from tests.support.answers import answer
from tests.support.results_out import chest as chest_file
from tests.support.results_out import chest_result
from tests.unit.test_exporting import file, told
from tests.unit.test_prepare import USE, Lane, dicom

MEASURED = ResearchMeasurement(
    name="cardiothoracic_ratio",
    value=0.443,
    unit="1",
    method="how",
    method_version="1",
    notice=measurements.NOTICE,
    range=measurements.ADULTS,
)


def chest(scale: int = 1, heart: float = 70.0) -> Grey8:
    """Two half ellipses of lung from 50 to 350, a heart of twice `heart` around 210, a spine, air beside it all."""
    down, across = np.mgrid[: 400 * scale, : 400 * scale] / scale
    greys = 140 + down / 20
    for middle in (110, 290):
        greys[((across - middle) / 60) ** 2 + ((down - 250) / 190) ** 2 <= 1] = 60
    greys[down > 250] = 170
    greys[((across - 210) / heart) ** 2 + ((down - 230) / 60) ** 2 <= 1] = 170
    greys[abs(across - 200) < 10] = 190
    greys[abs(across - 200) > 170] = 5
    drawn: Grey8 = greys.astype(np.uint8)
    return drawn


def shaft(scale: int = 1, slant: float = 0.0, cortex: float = 10.0) -> Grey8:
    """A bone 40 wide with cortices of `cortex` in soft tissue 160 wide, `slant` columns to the right a row."""
    down, across = np.mgrid[: 300 * scale, : 240 * scale] / scale
    away = abs(across - 120 - slant * (down - 150))
    greys = np.full(away.shape, 10.0)
    for within, grey in ((80, 70), (20, 200), (20 - cortex, 130)):
        greys[away <= within] = grey
    return greys.astype(np.uint8)


@pytest.mark.parametrize("heart", [60.0, 70.0, 80.0])
def test_a_drawn_chest_has_the_ratio_of_its_widths_at_any_size_and_mirrored(heart: float) -> None:
    """CC12: a heart of 120, 140 or 160 between lungs 300 apart at most."""
    found = cardiothoracic_ratio(chest(heart=heart))
    assert found == pytest.approx(2 * heart / 300, abs=0.03)
    assert cardiothoracic_ratio(chest(2, heart)) == pytest.approx(found, abs=0.01)
    assert cardiothoracic_ratio(np.ascontiguousarray(chest(heart=heart)[:, ::-1])) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("cortex", [6.0, 10.0, 14.0])
def test_a_drawn_shaft_has_the_share_of_its_cortices_however_it_lies(cortex: float) -> None:
    """CC12: two cortices of 6, 10 or 14 on a bone of 40; slanting, lying, mirrored and twice as large."""
    upright = shaft(cortex=cortex)
    for seen in (upright, upright.T, shaft(slant=0.2, cortex=cortex), shaft(2, cortex=cortex)):
        found = cortical_ratio(np.ascontiguousarray(seen))
        assert found == pytest.approx(2 * cortex / 40, abs=0.05)
        assert cortical_ratio(np.ascontiguousarray(seen[:, ::-1])) == pytest.approx(found, abs=0.01)


def test_nothing_is_measured_where_there_is_nothing_of_the_kind() -> None:
    """CC12: noise, an ear's disc, one grey, a strip, a chest turned or halved, a bone too narrow or without a canal."""
    noise = np.random.default_rng(7).integers(0, 256, (300, 300)).astype(np.uint8)
    down, across = np.mgrid[:380, :420]
    ear = np.where((down - 190) ** 2 + (across - 210) ** 2 < 180**2, 150 - (down + across) // 8, 0).astype(np.uint8)
    flat, narrow = np.full((200, 200), 90, np.uint8), np.full((4, 300), 9, np.uint8)
    turned = np.ascontiguousarray(np.rot90(chest()))
    for picture in (noise, ear, flat, narrow, turned, np.ascontiguousarray(chest()[::-1]), chest()[:, :200], shaft()):
        with pytest.raises(NotMeasured, match=r"\w+ \w+"):
            cardiothoracic_ratio(picture)
    for picture in (noise, ear, flat, narrow, shaft()[::3, ::3], shaft(cortex=21), chest()):
        with pytest.raises(NotMeasured, match=r"\w+ \w+"):
            cortical_ratio(picture)


@pytest.mark.parametrize(
    ("age", "view", "high"),
    [(40, "PA", 0.5), (18, "PA", 0.5), (40, "AP", None), (0.5, "AP", 0.6), (1, "PA", None), (None, "PA", None)],
)
def test_a_range_is_told_only_of_a_known_age_that_has_one(age: float | None, view: str, high: float | None) -> None:
    """CC12."""
    header = ImageHeader(patient_age_years=age, view_position=view)
    (found,) = measurements.measured("chest", chest(), header)
    assert (found.value is not None, found.reason, found.range and found.range.high) == (True, "", high)
    (bone,) = measurements.measured("limb", shaft(), header)
    assert (bone.name, bone.range, bone.value is None) == ("cortical_ratio", None, False)
    (none,) = measurements.measured("chest", shaft(), header)
    assert (none.value, none.range, bool(none.reason)) == (None, None, True)
    assert measurements.measured("", chest(), header) == ()


def test_a_measurement_that_breaks_is_none_and_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CC12: the image gets its answer all the same; sizes and greys at the limits break nothing."""
    for shape in ((1, 1), (12, 900), (81, 80), (160, 160), (512, 20)):
        for greys in (np.zeros(shape, np.uint8), np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)):
            for shows in ("chest", "limb"):
                (found,) = measurements.measured(shows, greys, ImageHeader())
                assert found.value is None
                assert "failed" not in found.reason
    monkeypatch.setattr(cortex, "cortical_ratio", lambda _: 1 // 0)
    (found,) = measurements.measured("limb", shaft(), ImageHeader())
    assert (found.value, found.reason) == (None, "the measurement failed (ZeroDivisionError)")


def test_it_is_off_by_default_and_then_no_event_has_the_field() -> None:
    """CC12."""
    assert Settings.model_fields["research_measurements"].default is False
    assert b"research" not in to_json(answer(use_status=""))
    assert "research" not in msgspec.json.schema(ImagePrepared)["$defs"]["ImagePrepared"]["required"]
    with_it = answer(research=(MEASURED,))
    assert msgspec.json.decode(to_json(with_it), type=Answer) == with_it


@pytest.fixture
def decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize("on", [False, True])
async def test_preparation_measures_a_chest_only_where_it_is_switched_on(
    on: bool, decoders: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CC12: a packaged chest radiograph; off, no measurement is even begun."""
    if not on:
        monkeypatch.setattr(measurements, "measured", lambda *_: pytest.fail("measured although it is off"))
    greys = np.asarray(Image.open(samples.IMAGES / "chest-09-normal.jpeg").convert("L"))
    lane = Lane(decoders, research=on, use=replace(USE, shows="chest"))
    rows, columns = greys.shape
    event = lane.observed(dicom(Rows=rows, Columns=columns, PixelData=greys.tobytes(), ViewPosition="PA"))
    ((publish,),) = await lane.run(event)
    if not on:
        assert publish.event.research is msgspec.UNSET
        return
    (found,) = publish.event.research
    assert 0.3 < found.value < 0.6
    assert (found.range, found.notice) == (measurements.ADULTS, measurements.NOTICE)


def test_it_is_shown_apart_of_one_result_alone_and_never_leaves_the_house() -> None:
    """CC12, CC20: neither report, picture and FHIR bundle nor the list of results differ by it."""
    without, with_it = told(chest_file()), told(chest_file(), research=(MEASURED,))
    assert [file(each) for each in without[:2]] == [file(each) for each in with_it[:2]]
    assert without[2] == with_it[2]
    stored = StoredResult(chest_result(research=(MEASURED,)), datetime(2026, 5, 1, tzinfo=UTC), None, None)
    assert "research" not in line(stored)["answer"]
    assert research_as_json(stored)["research_not_validated"][0]["value"] == 0.443
    said = lines(stored, None)
    assert said[-4] == "research, not validated: cardiothoracic_ratio 0.443"
    assert said[-1].strip() == measurements.NOTICE
    assert "up to about 0.50" in said[-2]
    assert "cardiothoracic" not in " ".join(said[:-4])
