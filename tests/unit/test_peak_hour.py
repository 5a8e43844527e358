"""The peak hour that `bench hospital` sends: mix, arrivals, and objects that the door takes under their names."""

from collections import Counter
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from clinstream.benches import peak_hour
from clinstream.benches.hospital import Sending, Size, _seconds
from clinstream.benches.peak_hour import KINDS, Maker, Study, arrivals
from clinstream.commands.bench import _rates
from producers.store_request import ACCEPTED, StoreRequest, judge
from schemas import ids
from schemas.errors import UserError

PICTURES = [np.arange(200 * 160, dtype=np.uint8).reshape(200, 160)]


def test_an_hour_has_the_hospitals_mix_and_the_same_seed_the_same_arrivals() -> None:
    """The profile: 250 studies, of them 120 X-rays; a stated share is urgent."""
    hour = arrivals(250, 60, seed=3)
    assert Counter(each.kind.name for each in hour) == {kind.name: kind.studies for kind in KINDS}
    assert sum(each.urgent for each in hour) == round(250 * peak_hour.STAT_SHARE)
    assert [each.at_s for each in hour] == sorted(each.at_s for each in hour)
    assert hour[0].at_s >= 0
    assert hour[-1].at_s < 3600
    assert hour == arrivals(250, 60, seed=3)
    assert hour != arrivals(250, 60, seed=4)


def test_gaps_between_arrivals_spread_as_those_of_a_poisson_process_do() -> None:
    """Standard deviation and mean of exponential gaps are equal; a steady pace would have none."""
    gaps = np.diff([each.at_s for each in arrivals(2500, 120, seed=0)])
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.1)


def test_a_short_time_still_has_something_urgent() -> None:
    few = arrivals(250, 1, seed=0)
    assert len(few) == 4
    assert sum(each.urgent for each in few) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_object_is_taken_by_the_door_as_the_event_that_its_sender_names(kind: peak_hour.Kind) -> None:
    """The sender's list is the independent oracle only if its names are right."""
    objects = list(Maker(PICTURES, 0.1).objects(Study(0.0, kind, urgent=False), "study"))
    assert len(objects) == len({each.sop_instance_uid for each in objects}) == kind.images
    now = datetime.now(UTC)
    studies, pixels = set(), set()
    for each in objects[:3]:
        asked = StoreRequest(
            each.data, each.transfer_syntax_uid, each.sop_class_uid, each.sop_instance_uid, 0, "BENCH", "DOOR_SIM"
        )
        verdict = judge(asked, b"key", now)
        assert (verdict.answer.status, verdict.answer.event_id) == (ACCEPTED, each.event_id)
        read = dcmread(BytesIO(verdict.blobs[0][1]))
        assert (read.Modality, read.SOPInstanceUID) == (kind.modality, each.sop_instance_uid)
        assert read.pixel_array.max() < 1 << kind.stored
        studies.add((read.StudyInstanceUID, read.SeriesInstanceUID, read.PatientID))
        pixels.add(ids.sha256_hex(read.PixelData))
    assert len(studies) == 1
    assert len(pixels) == min(3, kind.images)
    assert sum(len(each.data) for each in objects) == pytest.approx(kind.megabytes * 1e5, rel=0.1)


def test_the_objects_of_two_studies_share_nothing() -> None:
    maker, study = Maker(PICTURES, 0.1), Study(0.0, KINDS[0], urgent=False)
    first, second = ({each.event_id for each in maker.objects(study, name)} for name in "ab")
    assert first.isdisjoint(second)


def test_a_studys_time_runs_from_its_last_acknowledgement_to_the_last_thing_told_of_it() -> None:
    routine, urgent = (Study(0.0, KINDS[0], urgent) for urgent in (False, True))
    sendings = [
        Sending(routine, events=["a", "b"], last_at=100.0),
        Sending(routine, events=["c"], last_at=100.0),
        Sending(urgent, events=["d"], last_at=100.0),
    ]
    told = {"a": 103.0, "b": 101.0, "d": 99.5}
    # c was never told: it counts as unfinished or lost, and not as quick.
    assert list(_seconds(sendings, told, lambda study: not study.urgent)) == [3.0]
    assert list(_seconds(sendings, told, lambda study: study.urgent)) == [0.0]


def test_rates_are_numbers_with_commas_between_them() -> None:
    assert _rates("250, 375,2500") == Size().rates
    for wrong in ("", "fast", "250;375", "0"):
        with pytest.raises(UserError, match="--rates"):
            _rates(wrong)
