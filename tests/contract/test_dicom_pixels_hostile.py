"""Damaged, lying and hostile DICOM bytes end in `Unprocessable` with a reason, in bounded time and memory."""

import io
import random
import resource
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from adapters import dicom_reading
from adapters.dicom_reading import decode_dicom
from adapters.imaging import pixel_hash, to_display
from schemas.errors import Unprocessable
from tests.contract.test_dicom_pixels_values import dicom

GREYS = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def refusal(data: bytes) -> str:
    with pytest.raises(Unprocessable) as caught:
        decode_dicom(data)
    return str(caught.value)


def test_truncated_pixels_are_counted() -> None:
    assert refusal(dicom(GREYS, Rows=65)) == "the pixel data holds 8192 bytes, the header promises 8320"


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"])
def test_a_missing_element_is_named(name: str) -> None:
    if name == "BitsAllocated":
        data = dicom(GREYS).replace(b"\x28\x00\x00\x01US", b"\x28\x00\x01\x09US")
    else:
        data = dicom(GREYS, ExplicitVRLittleEndian, **{name: None})
    assert name in refusal(data)


def test_an_object_without_pixels_is_refused_as_such() -> None:
    assert refusal(dicom(GREYS, PixelData=None)) == "the object holds no pixel data"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the object is empty"),
        (b"<!DOCTYPE html><html><body>Session expired</body></html>", "web page"),
        (b"\n  <html>", "web page"),
        (b'{"error": "no such study"}', "JSON"),
        (b"\xff\xd8\xff\xe0 JFIF", "picture"),
        (b"\0" * 500, "DICM prefix"),
        (b"\0" * 128 + b"DICM", "transfer syntax|no pixel data|not a readable"),
    ],
)
def test_what_is_no_dicom_file_says_what_it_is(data: bytes, why: str) -> None:
    with pytest.raises(Unprocessable, match=why):
        decode_dicom(data)


def test_values_that_are_not_numbers_are_refused() -> None:
    values = np.zeros((8, 8), np.float32)
    values[3, 3] = np.nan
    data = dicom(np.zeros((8, 8), np.uint32), PixelData=None, FloatPixelData=values.tobytes(), BitsAllocated=32)
    assert "not numbers" in refusal(data)


def test_finite_float_pixels_are_read() -> None:
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    data = dicom(np.zeros((8, 8), np.uint32), PixelData=None, FloatPixelData=values.tobytes(), BitsAllocated=32)
    shown = to_display(decode_dicom(data))
    assert (shown.min(), shown.max()) == (0, 255)


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({"Rows": 60000, "Columns": 60000}, "more than the limit"),
        ({"Rows": 0}, "0 x 64"),
        ({"SamplesPerPixel": 4}, "4 samples"),
        ({"PhotometricInterpretation": "YBR_FULL"}, "do not go with"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(elements: dict[str, object], why: str) -> None:
    with pytest.raises(Unprocessable, match=why):
        decode_dicom(dicom(GREYS, ExplicitVRLittleEndian, **elements))


def test_an_unknown_transfer_syntax_is_named() -> None:
    data = dicom(GREYS).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0")
    assert "1.2.840.10008.1.9.9" in refusal(data)


def test_a_codestream_of_another_size_than_the_header_is_refused_unread() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(GREYS.astype(np.uint8))))
    siz = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + (60000).to_bytes(4, "big") * 2 + b"\0" * 40
    dataset.PixelData = pydicom.encaps.encapsulate([siz])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert "announces 60000 x 60000 pixels" in refusal(buffer.getvalue())


def test_a_deflated_bomb_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_reading, "MAX_INFLATED_BYTES", 1 << 27)
    plain = dicom(GREYS).split(b"\x08\x00\x16\x00UI")[0].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    head = bytearray(plain)
    length_of_uid = head.index(b"\x02\x00\x10\x00UI") + 6
    head[length_of_uid : length_of_uid + 2] = (22).to_bytes(2, "little")
    head[140:144] = (len(head) - 144).to_bytes(4, "little")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    chunk = b"\0" * (1 << 24)
    body = b"".join(squeeze.compress(chunk) for _ in range(12)) + squeeze.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "grows beyond" in refusal(bytes(head) + body)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes, of 200 MB inflated


def test_a_damaged_compressed_frame_is_refused_with_its_syntax() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(GREYS.astype(np.uint8))))
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xdb" + b"\x00" * 300])
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert refusal(buffer.getvalue()) == "the JPEG Baseline (Process 1) pixel data is damaged or cut off"


def test_any_cut_and_any_flipped_byte_is_read_or_refused() -> None:
    """400 random damages to one file; nothing but an image or `Unprocessable` may come out."""
    whole = dicom(GREYS, WindowCenter=[2000, 1], WindowWidth=[4000, 2], PatientAge="045Y", PixelPaddingValue=0)
    dice = random.Random(20261120)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        data = bytearray(whole)
        if dice.random() < 0.3:
            data = data[: dice.randrange(len(data))]
        for _ in range(dice.randrange(1, 4)):
            if data:
                data[dice.randrange(min(len(data), 700))] = dice.randrange(256)
        try:
            image = decode_dicom(bytes(data))
            pixel_hash(image)
            to_display(image)
            outcomes["read"] += 1
        except Unprocessable:
            outcomes["refused"] += 1
    assert outcomes["read"] > 20
    assert outcomes["refused"] > 20


def test_reasons_hold_nothing_of_the_patient() -> None:
    broken = dicom(GREYS, Rows=65, PatientName="Secret^Person", PatientID="4711-X", AccessionNumber="ACC-99")
    reason = refusal(broken)
    assert not any(private in reason for private in ("Secret", "Person", "4711", "ACC-99"))
