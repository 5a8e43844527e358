"""What `bench dicom` sends and how it reports; the measurement itself is run by hand."""

from io import BytesIO

import pytest
from pydicom import dcmread

from clinstream.benches import dicom


@pytest.mark.parametrize("size", [8 << 10, 512 << 10])
def test_its_objects_have_the_size_they_are_named_for_and_a_uid_of_their_own(size: int) -> None:
    pattern = dicom._pattern(size)
    made = [pattern.replace(dicom.PLACE.encode(), dicom._uid().encode()) for _ in range(3)]
    read = [dcmread(BytesIO(each)) for each in made]
    assert len({str(each.SOPInstanceUID) for each in read}) == 3
    assert all(each.SOPInstanceUID == each.file_meta.MediaStorageSOPInstanceUID for each in read)
    assert all(size * 0.9 < len(each) < size * 1.2 for each in made)
    assert read[0].pixel_array.shape == (size // 1024, 512)


def test_ratios_are_ours_over_each_receiver_that_was_there() -> None:
    cases = {(size, count): 10.0 for size in ("8KB",) for count in dicom.ASSOCIATIONS}
    rates = {(dicom.OURS, *case): [value, value * 2] for case, value in cases.items()}
    rates |= {(dicom.ORTHANC, *case): [value / 2, value / 2] for case, value in cases.items()}
    report = dicom._report(rates, {"8KB": 8192})
    assert report.ratios["over_orthanc_8KB_1"] == 3.0
    assert not [name for name in report.ratios if "storescp" in name]
    assert report.figures["door_8KB_16"].unit == "objects/s"
    assert report.figures["door_8KB_16_bytes"].value == pytest.approx(15 * 8192 / 1e6)
