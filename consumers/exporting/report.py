"""A result as a DICOM structured report: Comprehensive 3D SR after TID 1500 (PS3.16), unverified and preliminary."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage

from adapters.deidentifying_walk import DUMMIES
from consumers.exporting import codes, places
from consumers.exporting.account import PURPOSE, Account, Presence, Statement
from consumers.exporting.source import SourceImage, stamp
from schemas import ids

MANUFACTURER = "clinstream"
SERIES_NUMBER = 9700
PRESENCES: dict[Presence, Code] = {
    "present": codes.PRESENT,
    "absent": codes.ABSENT,
    "indeterminate": codes.INDETERMINATE,
}
CONCLUSION = Code("121077", "DCM", "Conclusion")


def build(account: Account, source: SourceImage, others: Sequence[SourceImage] = ()) -> Dataset:
    """The report of a study; one of a later revision names its predecessor. `others` are its other images."""
    observed = sr.ObservationContext(observer_device_context=_device(account))
    image = source.stand_in
    content = sr.MeasurementReport(
        observation_context=observed,
        procedure_reported=_procedure(source),
        imaging_measurements=[
            group
            for each, shown in zip((account, *account.others), (source, *others), strict=True)
            for group in (*_groups(each, shown.stand_in, account), *_regions(each, shown))
        ],
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    made = sr.Comprehensive3DSR(
        evidence=[image, *(each.stand_in for each in others)],
        content=content,
        series_instance_uid=account.uid("sr series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=account.uid("sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=f"{PURPOSE}: {account.title}"[:64],
        software_versions=_software(account),
        manufacturer_model_name=account.result.task,
        device_serial_number=account.result.answer.version,
    )
    if account.follows is not None:
        made.PredecessorDocumentsSequence = [_predecessor(account, account.follows, source)]
    date(made, account)
    source.lend(made)
    return made


def date(made: Dataset, account: Account, *others: tuple[str, str]) -> None:
    """Dates of the result and not of the telling: a second telling is the same object. `others` are further pairs of
    date and time that its kind demands.

    A telling that names nobody has the profile's dummies instead, as its images have: the day of the analysis is as a
    rule that of the study, which is gone there (PS3.15 E.1, without an option that retains dates).
    """
    pairs = [(f"{what}Date", f"{what}Time") for what in ("Content", "InstanceCreation", "Series")]
    equipment = made.get("ContributingEquipmentSequence", [])
    if account.edition:
        day, time = DUMMIES["DA"], DUMMIES["TM"]
        made.LongitudinalTemporalInformationModified = "REMOVED"
        for each in equipment:
            each.pop("ContributionDateTime", None)
    else:
        moment = stamp(account.told_at)
        day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
        for each in equipment:
            each.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f%z")
    for date_name, time_name in (*pairs, *others):
        setattr(made, date_name, day)
        setattr(made, time_name, time)


def _groups(account: Account, image: Dataset, whole: Account) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """What is said of one image of the study: a group a finding, or one that says why there is none."""
    if not account.answered:
        return [_unanswered(account, image)]
    if whole.incomplete:
        summary = codes.PARTLY_WITH if account.found else codes.PARTLY_WITHOUT
    else:
        summary = codes.SUCCEEDED_WITH if account.found else codes.SUCCEEDED_WITHOUT
    return [_group(account, statement, image, summary) for statement in account.statements]


def _unanswered(account: Account, image: Dataset) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501 without a measurement: the run's outcome, and the reason as a code of ours with the sentence as text."""
    answer = account.result.answer
    code = (account.code or account.outcome or "refused").upper()[:16]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=UID(ids.own_uid("tracking", str(account.result.result_id), "")), identifier=account.result.task
        ),
        algorithm_id=sr.AlgorithmIdentification(
            name=account.result.task,
            version=answer.version,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer=MANUFACTURER,
        ),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.OUTCOME, codes.NONE_SUCCEEDED),
            sr.QualitativeEvaluation(codes.REASON, Code(code, codes.OWN_SCHEME, account.reason[:64])),
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=image.SOPClassUID, referenced_sop_instance_uid=image.SOPInstanceUID
            )
        ],
    )


def _group(
    account: Account, statement: Statement, image: Dataset, summary: Code
) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: one finding of the whole image, with what found it, how sure it is, and what became of the run."""
    evaluations = [
        sr.QualitativeEvaluation(codes.PRESENCE, PRESENCES[statement.presence]),
        sr.QualitativeEvaluation(codes.OUTCOME, summary),
    ]
    if label := account.changed.get("label", ""):
        evaluations.append(sr.QualitativeEvaluation(codes.ASSESSMENT, codes.of_label(label)))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=UID(ids.own_uid("tracking", str(account.result.result_id), statement.label)),
            identifier=f"{account.result.task}/{statement.label}",
        ),
        finding_type=codes.of_label(statement.label),
        algorithm_id=_algorithm(account),
        measurements=[sr.Measurement(name=codes.CERTAINTY, value=percent(statement.probability), unit=codes.PERCENT)],
        qualitative_evaluations=evaluations,
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=image.SOPClassUID, referenced_sop_instance_uid=image.SOPInstanceUID
            )
        ],
    )


def _regions(account: Account, source: SourceImage) -> Iterator[sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    """TID 1410: a group for each region of a finding, on the source image, with how suspicious it is."""
    image = source.stand_in
    for statement, number, region in places.regions_of(account):
        name = f"{statement.label}/{number}"
        yield sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uid=UID(ids.own_uid("tracking", str(account.result.result_id), name)),
                identifier=f"{account.result.task}/{name}",
            ),
            referenced_region=sr.ImageRegion(
                graphic_type="POLYLINE",
                graphic_data=places.outline(region, source),
                source_image=sr.SourceImageForRegion(
                    image.SOPClassUID, image.SOPInstanceUID, referenced_frame_numbers=places.frames(source)
                ),
            ),
            finding_type=codes.of_label(statement.label),
            algorithm_id=_algorithm(account),
            measurements=[sr.Measurement(name=codes.SUSPICION, value=region.score, unit=codes.RATIO)],
        )


def _algorithm(account: Account) -> sr.AlgorithmIdentification:
    answer = account.result.answer
    return sr.AlgorithmIdentification(
        name=account.result.task,
        version=answer.version,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
        parameters=[f"threshold={answer.threshold:g}", f"preprocessing={answer.preprocessing_version}"],
    )


def percent(probability: float) -> float:
    """A probability as the report says it: percent, to four decimals."""
    return round(100.0 * probability, 4)


def _device(account: Account) -> sr.ObserverContext:
    answer = account.result.answer
    return sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=UID(ids.own_uid("device", answer.task, answer.version)),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=answer.task,
            serial_number=answer.version,
        ),
    )


def _software(account: Account) -> str:
    return f"{account.result.task} {account.result.answer.version}"


def _procedure(source: SourceImage) -> Code:
    """The imaging procedure that the image names, else that it is imaging."""
    for item in source.dataset.get("ProcedureCodeSequence") or []:
        value, scheme, meaning = (
            str(item.get(k) or "") for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        )
        if value and scheme and meaning and (value + scheme + meaning).isascii():
            return Code(value, scheme, meaning)
    return codes.PROCEDURE


def _predecessor(account: Account, report: UUID, source: SourceImage) -> Dataset:
    """A reference to the report that told a result of the same study at first."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = Comprehensive3DSRStorage
    reference.ReferencedSOPInstanceUID = ids.report_uid("sr", report, account.edition)
    series = Dataset()
    series.SeriesInstanceUID = ids.report_uid("sr series", report, account.edition)
    series.ReferencedSOPSequence = [reference]
    study = Dataset()
    study.StudyInstanceUID = source.stand_in.StudyInstanceUID
    study.ReferencedSeriesSequence = [series]
    return study
