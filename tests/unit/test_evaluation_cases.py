"""Labelled cases are prepared exactly as the stream prepares what comes through its doors."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import triton_models
from adapters import dicom_reading, imaging
from clinstream.evaluation import cases
from clinstream.sending.wrap import Wrapping, wrap
from schemas.errors import OutOfRange, Unprocessable, UserError

CHEST = triton_models.discover()["chest_xray"]


def picture(kind: str, mode: str = "L") -> bytes:
    """A small textured picture in a file format and colour mode."""
    grey = np.clip(np.random.default_rng(1).normal(120, 50, (240, 230)), 0, 255).astype(np.uint8)
    made, file = Image.fromarray(grey), io.BytesIO()
    if mode == "I;16":
        made = Image.fromarray(grey.astype(np.uint16) * 200)
    (made if mode in ("L", "I;16") else made.convert(mode)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("JPEG", "L"), ("PNG", "RGB"), ("JPEG", "RGB"), ("PNG", "I;16")]
)
def test_a_picture_gives_the_tensor_that_it_has_as_a_wrapped_dicom_object(tmp_path: Path, kind: str, mode: str) -> None:
    """Evaluate measures the stream: `send` wraps a picture, the door stores it, the lane decodes it."""
    content = picture(kind, mode)
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "wrapped.dcm").write_bytes(wrap(content, Wrapping()))
    (tmp_path / "cases.csv").write_text("path,label\nplain,normal\nwrapped.dcm,pneumonia\n")
    plain, wrapped = cases.from_manifest(CHEST, tmp_path / "cases.csv", tmp_path).judged
    streamed = CHEST.prepare(imaging.to_display(dicom_reading.decode_dicom(wrap(content, Wrapping()))))
    np.testing.assert_array_equal(plain.load(), streamed)
    np.testing.assert_array_equal(wrapped.load(), streamed)
    assert (plain.positive, wrapped.positive) == (False, True)


def test_files_that_are_no_pictures_or_not_there_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "page.dcm").write_bytes(b"<html></html>")
    (tmp_path / "cut.png").write_bytes(picture("PNG")[:200])
    (tmp_path / "cases.csv").write_text("path,label\npage.dcm,normal\ncut.png,normal\nnone.png,normal\n")
    for case in cases.from_manifest(CHEST, tmp_path / "cases.csv", tmp_path).judged:
        with pytest.raises(Unprocessable):
            case.load()


def test_groups_count_only_where_the_data_names_them(tmp_path: Path) -> None:
    """CC31: intervals count people where people are known; a row without a name stands for itself."""
    (tmp_path / "a.csv").write_text("path,label\na,normal\nb,normal\n")
    (tmp_path / "b.csv").write_text("path,label,group\na,normal,p1\nb,normal,p1\nc,normal,\nd,normal,\n")
    assert cases.groups(cases.from_manifest(CHEST, tmp_path / "a.csv", tmp_path).judged) is None
    found = cases.groups(cases.from_manifest(CHEST, tmp_path / "b.csv", tmp_path).judged)
    assert found is not None
    assert found[0] == found[1] == "p1"
    assert len(set(found)) == 3


def test_a_manifest_without_its_columns_names_them(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("file,label\na,normal\n")
    with pytest.raises(UserError, match=r"cases\.csv lacks the columns: path"):
        cases.from_manifest(CHEST, tmp_path / "cases.csv", tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        cases.from_manifest(CHEST, tmp_path / "none.csv", tmp_path)


def test_a_row_that_the_model_refuses_keeps_its_reason(tmp_path: Path) -> None:
    icu = triton_models.discover()["icu_mortality"]
    header = ",".join([*icu.features, "died"])
    rows = ["50" + "," * 61 + ",1", "500" + "," * 61 + ",0", "fifty" + "," * 61 + ",0", "50" + "," * 61 + ",maybe"]
    (tmp_path / "stays.csv").write_text("\n".join([header, *rows]) + "\n")
    good, implausible, *unreadable = cases.from_table(icu, tmp_path / "stays.csv", "died").judged
    assert good.load().shape == (62,)
    with pytest.raises(OutOfRange, match="Age is outside its plausible range"):
        implausible.load()
    for case, said in zip(unreadable, ("Age is not a number", "died is not a number"), strict=True):
        with pytest.raises(Unprocessable, match=said):
            case.load()
