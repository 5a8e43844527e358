"""A result as a picture that every viewer shows: a secondary capture of the image with the result burned in."""

from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import sc
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from consumers.exporting import places
from consumers.exporting.account import PURPOSE, Account
from consumers.exporting.report import MANUFACTURER, date
from consumers.exporting.source import SourceImage, stamp
from schemas.events import Heat

SERIES_NUMBER = 9701
CAPTURED = ("DateOfSecondaryCapture", "TimeOfSecondaryCapture")
WIDTH = 768
MAX_HEIGHT = 1024
PAD = 14
LINE = 1.35
MAX_REMARKS = 8
INK, SHADE, WARNING, HOT = (235, 235, 235), (24, 24, 24), (255, 196, 0), (255, 80, 0)
STRONGEST = 90
"""How strongly, of 255, the most suspicious place is coloured: what is under it stays readable."""

Colours = npt.NDArray[np.uint8]


def build(account: Account, source: SourceImage, shown: npt.NDArray[np.uint8]) -> Dataset:
    """The capture; `shown` is the image as a person would see it, grey or sRGB."""
    made = sc.SCImage(
        pixel_array=draw(account, shown),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.stand_in.StudyInstanceUID,
        series_instance_uid=account.uid("sc series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=account.uid("sc"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),
        series_description=f"{PURPOSE}: {account.title}"[:64],
        software_versions=f"{account.result.task} {account.result.answer.version}",
        manufacturer_model_name=account.result.task,
    )
    made["PatientOrientation"].value = ""  # the drawing has none of its own
    made.Laterality = source.text("Laterality")
    made.BurnedInAnnotation = "YES"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ConversionType = "WSD"
    date(made, account, CAPTURED)
    if account.edition:  # which this kind can do without
        del made[CAPTURED[0]], made[CAPTURED[1]]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.stand_in.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.stand_in.SOPInstanceUID
    made.SourceImageSequence = [reference]
    source.lend(made)
    return made


def draw(account: Account, shown: npt.NDArray[np.uint8]) -> Colours:
    """The image, at most 768 wide and 1024 high, above what is to be said of it: RGB, rows x columns x 3."""
    picture = Image.fromarray(shown).convert("RGB")
    scale = min(WIDTH / picture.width, MAX_HEIGHT / picture.height)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    picture = _marked(picture, account)
    lines = _lines(account)
    height = PAD * 2 + sum(round(size * LINE) for _, size, _ in lines)
    sheet = Image.new("RGB", (WIDTH, picture.height + height), SHADE)
    sheet.paste(picture, ((WIDTH - picture.width) // 2, 0))
    pen = ImageDraw.Draw(sheet)
    top = picture.height + PAD
    for text, size, ink in lines:
        pen.text((PAD, top), text, fill=ink, font=ImageFont.load_default(size))
        top += round(size * LINE)
    return np.asarray(sheet, dtype=np.uint8)


def _marked(picture: Image.Image, account: Account) -> Image.Image:
    """The picture with the heat map laid over it and the regions outlined; as it was where there is neither."""
    answer, regions = account.result.answer, places.told(account)
    if answer.heat is not None and regions:
        strength = Image.fromarray(np.asarray(_spread(answer.heat, picture.size), dtype=np.uint8))
        picture = Image.composite(Image.new("RGB", picture.size, HOT), picture, strength)
    pen = ImageDraw.Draw(picture)
    for number, region in enumerate(regions):
        corners = [(x * (picture.width - 1), y * (picture.height - 1)) for x, y in region.outline]
        pen.line([*corners, corners[0]], fill=WARNING, width=1 if number else 3)
    return picture


def _spread(heat: Heat, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """How strongly each pixel of a picture (width, height) is coloured, 0 to 255: what is above half of the map."""
    grid = np.array(heat.percent, dtype=np.uint8).reshape(heat.rows, heat.columns)
    a, b, c, d, e, f = heat.view
    back = np.linalg.inv(np.array([[a, b, c], [d, e, f], [0.0, 0.0, 1.0]]))
    onto = (
        np.array([[heat.columns, 0.0, 1.0], [0.0, heat.rows, 1.0], [0.0, 0.0, 1.0]])
        @ back
        @ np.diag([1 / size[0], 1 / size[1], 1.0])
    )
    seen: Any = Image.fromarray(np.pad(grid, 1, mode="edge")).transform(
        size,
        Image.Transform.AFFINE,
        tuple(onto[:2].ravel()),
        resample=Image.Resampling.BILINEAR,
    )
    found: npt.NDArray[np.float64] = np.clip(np.asarray(seen, dtype=np.float64) - 50.0, 0.0, 50.0) * (STRONGEST / 50.0)
    return found


def _lines(account: Account) -> list[tuple[str, int, tuple[int, int, int]]]:
    """(text, size in pixels, colour) of each line; none names the patient, nor the day where nobody is named."""
    answer = account.result.answer
    moment = "" if account.edition else f"  |  {stamp(account.made_at):%Y-%m-%d %H:%M:%S}"
    lines = [
        (PURPOSE.upper(), 22, WARNING),
        (f"{account.title}: {account.conclusion}"[:64], 26, INK),
    ]
    for each in account.statements:
        name = each.label.replace("_", " ")
        lines.append((f"{name}: {each.presence}, model probability {100 * each.probability:.1f} %", 18, INK))
    if places.told(account):
        lines.append(("coloured, outlined: where the model's suspicion is highest; no segmentation", 14, INK))
    if not account.answered:
        lines.append((account.reason[:90], 18, INK))
    if account.changed:
        said = account.changed.get("label") or account.changed.get("assessment", "")
        lines.append((f"assessed by a clinician: {said.replace('_', ' ')}"[:80], 18, WARNING))
    lines += [(remark[:90], 18, INK) for remark in account.remarks[:MAX_REMARKS]]
    lines += [
        (f"threshold {answer.threshold:g}  |  {answer.task} {answer.version}{moment}", 14, INK),
        (answer.notice[:110], 14, INK),
    ]
    return lines
