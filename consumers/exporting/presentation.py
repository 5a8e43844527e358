"""A result's regions over the source image itself: a Grayscale Softcopy Presentation State with graphic annotations."""

import copy

import numpy as np
from highdicom import PresentationLUTTransformation, pr
from pydicom.dataset import Dataset

from consumers.exporting import places
from consumers.exporting.account import PURPOSE, Account
from consumers.exporting.report import MANUFACTURER, date
from consumers.exporting.source import SourceImage

SERIES_NUMBER = 9703
LAYER = "AI"
GREYS = (
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
)
"""What a presentation state has to repeat of the image, so that it shows as it did without one."""


def possible(account: Account, source: SourceImage) -> bool:
    """Whether there is something to mark, on an image of one channel and one frame."""
    one = source.dataset.get("SamplesPerPixel", 1) == 1 and places.frames(source) is None
    return one and bool(places.told(account))


def build(account: Account, source: SourceImage) -> Dataset:
    """The presentation state; only where it is `possible`."""
    image = _image(source)
    layer = pr.GraphicLayer(LAYER, order=1, description=f"{PURPOSE}: {account.title}"[:64])
    answer = account.result.answer
    made = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=account.uid("pr series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=account.uid("pr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=answer.task,
        software_versions=f"{answer.task} {answer.version}",
        device_serial_number=answer.version,
        content_label="AI_REGIONS",
        content_description=f"{PURPOSE}: {account.title}"[:64],
        graphic_layers=[layer],
        graphic_annotations=[_annotation(account, source, image, layer)],
        presentation_lut_transformation=PresentationLUTTransformation(presentation_lut_shape=_shape(source)),
        series_description=f"{PURPOSE}: {account.title}"[:64],
    )
    made.Laterality = source.text("Laterality")
    date(made, account, ("PresentationCreationDate", "PresentationCreationTime"))
    source.lend(made)
    return made


def _annotation(account: Account, source: SourceImage, image: Dataset, layer: pr.GraphicLayer) -> pr.GraphicAnnotation:
    outlines = [places.outline(region, source) for region in places.told(account)]
    first = np.minimum(outlines[0].min(axis=0) + 1.0, (float(image.Columns), float(image.Rows)))
    return pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=[pr.GraphicObject("POLYLINE", each, units="PIXEL") for each in outlines],
        text_objects=[
            pr.TextObject(f"{PURPOSE}: {account.title}: {account.conclusion}", units="PIXEL", anchor_point=tuple(first))
        ],
    )


def _image(source: SourceImage) -> Dataset:
    """The stand-in with what the library reads of an image."""
    image = copy.deepcopy(source.stand_in)
    image.SamplesPerPixel = 1
    for keyword in GREYS:
        if source.dataset.get(keyword) not in (None, ""):
            image[keyword] = copy.deepcopy(source.dataset[keyword])
    return image


def _shape(source: SourceImage) -> str:
    """Which end is white, since a presentation state is not told by the photometric interpretation."""
    stated = source.text("PresentationLUTShape").upper()
    if stated in ("IDENTITY", "INVERSE"):
        return stated
    return "INVERSE" if source.text("PhotometricInterpretation") == "MONOCHROME1" else "IDENTITY"
