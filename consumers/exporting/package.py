"""Everything that leaves for one study and model, put together from the stored images and the account of it."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from adapters import dicom_reading, imaging
from adapters.receivers import Parcel
from consumers.exporting import picture, presentation, rejection, report, resources, source
from consumers.exporting.account import Account


def told(account: Account, data: bytes, others: Sequence[bytes] = (), *, presentation_state: bool = False) -> Parcel:
    """Report, picture and resources of a study; `others` are the files of its other images, or how they begin.

    A presentation state, where that is asked for and there is a region to show, is of the image that decides. Raises
    Unprocessable for an image that cannot be read any more.
    """
    image, beside = source.read(data), [source.read(each) for each in others]
    made = [
        report.build(account, image, beside),
        picture.build(account, image, _shown(data)),
    ]
    if presentation_state and presentation.possible(account, image):
        made.append(presentation.build(account, image))
    return _parcel(image, made, resources.bundle(account, image, beside))


def taken_back(account: Account, data: bytes, told: Sequence[UUID], sent: Collection[str] = ()) -> Parcel:
    """The rejection note of a withdrawn result and its resources, entered in error; `told`: the reports that left.

    `sent` are the SOP Instance UIDs that are known to have left: a presentation state is named only where it did.
    """
    image = source.read(data)
    made = [rejection.build(account, image, told, sent)]
    return _parcel(image, made, resources.bundle(account, image, withdrawn=True))


def _parcel(image: source.SourceImage, made: list[Any], bundle: dict[str, Any]) -> Parcel:
    return Parcel(str(image.stand_in.StudyInstanceUID), tuple(made), bundle)


def _shown(data: bytes) -> npt.NDArray[np.uint8]:
    decoded = dicom_reading.decode(dicom_reading.open_dicom(data))
    colour = imaging.to_colour(decoded)
    return imaging.to_display(decoded) if colour is None else colour
