"""A result as a picture that every viewer shows: a secondary capture of the image with the result burned in."""

import numpy as np
import numpy.typing as npt
from highdicom import sc
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from consumers.exporting.account import PURPOSE, Account
from consumers.exporting.report import MANUFACTURER, date
from consumers.exporting.source import SourceImage, stamp

SERIES_NUMBER = 9701
WIDTH = 768
MAX_HEIGHT = 1024
PAD = 14
LINE = 1.35
MAX_REMARKS = 8
INK, SHADE, WARNING = (235, 235, 235), (24, 24, 24), (255, 196, 0)

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
    moment = stamp(account.told_at)
    date(made, moment)
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
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


def _lines(account: Account) -> list[tuple[str, int, tuple[int, int, int]]]:
    """(text, size in pixels, colour) of each line; nothing in it names the patient."""
    answer = account.result.answer
    moment = stamp(account.made_at)
    lines = [
        (PURPOSE.upper(), 22, WARNING),
        (f"{account.title}: {account.conclusion}"[:64], 26, INK),
    ]
    for each in account.statements:
        name = each.label.replace("_", " ")
        lines.append((f"{name}: {each.presence}, model probability {100 * each.probability:.1f} %", 18, INK))
    if account.changed:
        said = account.changed.get("label") or account.changed.get("assessment", "")
        lines.append((f"assessed by a clinician: {said.replace('_', ' ')}"[:80], 18, WARNING))
    lines += [(remark[:90], 18, INK) for remark in account.remarks[:MAX_REMARKS]]
    lines += [
        (f"threshold {answer.threshold:g}  |  {answer.task} {answer.version}  |  {moment:%Y-%m-%d %H:%M:%S}", 14, INK),
        (answer.notice[:110], 14, INK),
    ]
    return lines
