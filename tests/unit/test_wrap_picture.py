"""A plain X-ray picture as a DX object: what the door and the decoder see of it (CC8, S1)."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters import imaging
from adapters.dicom_reading import decode_dicom, read_header
from clinstream.sending import objects
from clinstream.sending.objects import StorageObject
from clinstream.sending.sent import Sent
from clinstream.sending.wrap import Wrapping, is_picture, wrap
from producers import dicom_identity


def _picture(form: str = "PNG", mode: str = "L", size: tuple[int, int] = (31, 20)) -> bytes:
    noise = np.random.default_rng(7).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    picture = Image.fromarray(noise)
    if mode == "I;16":
        picture = Image.fromarray((noise.astype(np.uint16) << 8) + 7)
    elif mode == "RGB":
        picture = Image.merge("RGB", [picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), picture])
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(("form", "mode"), [("PNG", "L"), ("PNG", "I;16"), ("JPEG", "L")])
def test_the_wrapped_greys_are_the_picture_greys(form: str, mode: str) -> None:
    picture = _picture(form, mode)
    image = decode_dicom(wrap(picture, Wrapping()))
    expected = imaging.decode_picture(picture)
    assert np.array_equal(image.stored, expected.stored)
    assert image.bits_stored == expected.bits_stored
    assert np.array_equal(imaging.to_display(image), imaging.to_display(expected))


def test_a_colour_picture_becomes_its_luma() -> None:
    picture = _picture(mode="RGB")
    image = decode_dicom(wrap(picture, Wrapping()))
    assert image.photometric == "MONOCHROME2"
    assert np.array_equal(image.stored, imaging.to_display(imaging.decode_picture(picture)))


def test_the_object_is_a_dx_of_the_chest_marked_as_wrapped() -> None:
    file = wrap(_picture(), Wrapping(subject="volunteer 3", view="PA"))
    header = read_header(file)
    assert (header.modality, header.body_part, header.view_position) == ("DX", "CHEST", "PA")
    assert header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.1.1"
    seen = dicom_identity.read_header(file[file.index(b"\x08\x00\x08\x00CS") :], "1.2.840.10008.1.2.1")
    assert seen.wrapped
    assert not seen.simulated
    assert seen.patient_id == "volunteer 3"


def test_the_same_picture_always_becomes_the_same_object_and_another_one_another() -> None:
    assert wrap(_picture(), Wrapping()) == wrap(_picture(), Wrapping())
    first, second = (read_header(wrap(_picture(size=size), Wrapping())) for size in ((31, 20), (31, 21)))
    assert first.sop_instance_uid != second.sop_instance_uid


def test_pictures_without_a_subject_are_subjects_of_their_own() -> None:
    key = b"k" * 32
    subjects = set()
    for size in ((10, 10), (10, 11)):
        item = _load(_picture(size=size))
        subjects.add(dicom_identity.subject_of(key, dicom_identity.read_header(item.data, item.transfer_syntax_uid)))
    assert len(subjects) == 2


def _load(content: bytes) -> StorageObject:
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, "picture")
        path.write_bytes(content)
        found = objects.load(path, Wrapping())
    assert isinstance(found, StorageObject)
    return found


def test_a_picture_is_known_by_its_bytes_and_not_by_its_name() -> None:
    assert is_picture(_picture("JPEG"))
    assert is_picture(_picture("PNG"))
    assert not is_picture(b"GIF89a")
    assert not is_picture(b"\0" * 128 + b"DICM")


def test_a_picture_that_is_cut_off_gets_a_line_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "half.jpg"
    file.write_bytes(_picture("JPEG", size=(400, 400))[:900])
    line = objects.load(file, Wrapping())
    assert isinstance(line, Sent)
    assert line.status == "unreadable"
    assert "damaged" in line.reason
