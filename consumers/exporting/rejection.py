"""The rejection note of a withdrawn result: a Key Object Selection (IHE IOCM) that names what is not to be used."""

import copy
from collections.abc import Collection, Sequence
from uuid import UUID

from highdicom import ko
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from consumers.exporting import codes
from consumers.exporting.account import PURPOSE, Account
from consumers.exporting.report import MANUFACTURER, date
from consumers.exporting.source import SourceImage
from schemas import ids

SERIES_NUMBER = 9702
KINDS = (
    ("sr", Comprehensive3DSRStorage),
    ("sc", SecondaryCaptureImageStorage),
    ("pr", GrayscaleSoftcopyPresentationStateStorage),
)


def build(account: Account, source: SourceImage, told: Sequence[UUID], sent: Collection[str] = ()) -> Dataset:
    """The note over report and picture of each revision in `told`, and its presentation state if it was `sent`."""
    rejected = [each for report in told for each in _told(account, report, source, sent)]
    made = ko.KeyObjectSelectionDocument(
        evidence=rejected,
        content=ko.KeyObjectSelection(
            document_title=codes.REJECTED,
            referenced_objects=rejected,
            description="The result was withdrawn and must not be used.",
        ),
        series_instance_uid=account.uid("ko series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=account.uid("ko"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        series_description=f"{PURPOSE}: withdrawn"[:64],
        manufacturer_model_name=account.result.task,
        software_versions=f"{account.result.task} {account.result.answer.version}",
        device_serial_number=account.result.answer.version,
    )
    date(made, account)
    source.lend(made)
    return made


def _told(account: Account, report: UUID, source: SourceImage, sent: Collection[str]) -> list[Dataset]:
    """Stand-ins for the objects of one revision."""
    found = []
    for what, sop_class in KINDS:
        name = ids.report_uid(what, report, account.edition)
        if what == "pr" and name not in sent:
            continue
        each = copy.deepcopy(source.stand_in)
        each.SOPClassUID = sop_class
        each.SOPInstanceUID = name
        each.SeriesInstanceUID = ids.report_uid(f"{what} series", report, account.edition)
        found.append(each)
    return found
