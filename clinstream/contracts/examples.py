"""One example of every event, as it would travel: made up, the same each time; which topics there are is the table's.

The examples stand in the AsyncAPI documents, and `play` makes its golden events from those of results.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from schemas import envelope, ids
from schemas.card import NOTICE
from schemas.events import (
    Answer,
    Base,
    BlobRef,
    GlucoseMetricsRevised,
    GlucoseObserved,
    GlycaemicFigures,
    ImageObserved,
    ImagePrepared,
    Origin,
    OutcomeDecided,
    ReleaseChanged,
    ResultAmended,
    ResultAssessed,
    ResultPublished,
    ResultWithdrawn,
    RetrainRequested,
    TensorRef,
    TimesInRanges,
    VitalsObserved,
)

SOURCE = "clinstream/contract"
AT = datetime(2026, 1, 31, 8, 0, 0, tzinfo=UTC)
_KEY = b"example"
SUBJECT = ids.subject_id(_KEY, "example", "1")
OBJECT = "2.25.329800735698586629295641978511506172918"
CONTENT = ids.sha256_hex(b"decoded pixels")
EVENT = ids.event_id(OBJECT, CONTENT)
OBSERVED = Origin(topic="observed.dicom", partition=3, offset=41)
FIGURES = GlycaemicFigures(
    readings=3830,
    clipped=2,
    days_of_wear=14,
    sensor_active_percent=94.97,
    mean_mg_dl=148.2,
    gmi_percent=6.9,
    cv_percent=33.1,
    minutes=TimesInRanges(very_low=95.0, low=480.0, target=13930.0, high=3760.0, very_high=880.0),
    percent=TimesInRanges(very_low=0.5, low=2.51, target=72.76, high=19.64, very_high=4.6),
    representative=True,
)
BLOB = "pixels/{0:.2}/{0}"


@dataclass(frozen=True, slots=True)
class Travelling:
    """An event with the id, subject and key that it travels under."""

    event: Base
    id: str
    subject: str
    key: str

    def packed(self, at: datetime = AT) -> tuple[list[tuple[str, bytes]], bytes]:
        """Headers and value."""
        return envelope.pack(self.event, id=self.id, source=SOURCE, subject=self.subject, time=at)


def answer(
    task: str,
    subject: str = SUBJECT,
    thing: str = OBJECT,
    *,
    labels: tuple[str, str] = ("pneumonia", "normal"),
    score: float = 0.81,
    content: str = CONTENT,
    version: str = "1.0.0",
    simulated: bool = False,
) -> Answer:
    """What a version said to an image."""
    event = ids.event_id(thing, content)
    return Answer(
        answer_id=ids.answer_id(event, task, version, "1"),
        event_id=event,
        object_id=thing,
        content=content,
        subject_id=subject,
        task=task,
        version=version,
        preprocessing_version="1",
        label=labels[0],
        score=score,
        threshold=0.5,
        probabilities={labels[0]: score, labels[1]: round(1.0 - score, 4)},
        abstained=False,
        arm="serving",
        release_epoch=1,
        batch_size=4,
        observed=OBSERVED,
        origin=Origin(topic="work.routine", partition=3, offset=17),
        hops={"observed": AT.timestamp(), "prepared": AT.timestamp() + 0.25, "inferred": AT.timestamp() + 0.5},
        notice=NOTICE,
        use_status="research use only",
        simulated=simulated,
    )


def published(given: Answer, revision: int = 1, supersedes: UUID | None = None) -> ResultPublished:
    """The visible result that an answer became."""
    return ResultPublished(
        result_id=given.answer_id,
        object_id=given.object_id,
        subject_id=given.subject_id,
        task=given.task,
        revision=revision,
        answer=given,
        supersedes=supersedes,
    )


def amended(result: ResultPublished, changed: dict[str, str], reason: str) -> ResultAmended:
    """A later word about a visible result."""
    return ResultAmended(
        result_id=result.result_id,
        object_id=result.object_id,
        subject_id=result.subject_id,
        task=result.task,
        revision=result.revision,
        changed=changed,
        reason=reason,
    )


def withdrawn(result: ResultPublished, reason: str) -> ResultWithdrawn:
    """The last word about a visible result."""
    return ResultWithdrawn(
        result_id=result.result_id,
        object_id=result.object_id,
        subject_id=result.subject_id,
        task=result.task,
        revision=result.revision,
        reason=reason,
    )


def examples(task: str) -> dict[type[Base], Travelling]:
    """One of each event, about `task` where an event is about a task."""
    result = published(answer(task))
    about = str(result.result_id)
    made = (
        *_observed(),
        Travelling(_prepared(task), str(EVENT), SUBJECT, _study()),
        Travelling(result.answer, str(result.answer.answer_id), SUBJECT, SUBJECT),
        Travelling(result, about, SUBJECT, SUBJECT),
        Travelling(amended(result, {"priority": "stat"}, "priority corrected"), _id("amended"), SUBJECT, SUBJECT),
        Travelling(withdrawn(result, "the wrong patient's image"), _id("withdrawn"), SUBJECT, SUBJECT),
        *_learning(task, result.result_id),
        Travelling(_decided(task), f"{EVENT}/{task}/not_applicable", SUBJECT, str(EVENT)),
    )
    return {type(each.event): each for each in made}


def _id(name: str) -> str:
    return str(ids.event_id("example", name))


def _study() -> str:
    return ids.study_id(_KEY, "2.25.1")


def _observed() -> tuple[Travelling, ...]:
    hashed = ids.sha256_hex(b"a data set")
    image = ImageObserved(
        event_id=EVENT,
        object_id=OBJECT,
        subject_id=SUBJECT,
        study_id=_study(),
        blob=BlobRef(uri=BLOB.format(hashed), sha256=hashed, size_bytes=524_288, media_type="application/dicom"),
        priority="routine",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="DX",
        sender="MODALITY1",
        observed_at=AT,
    )
    features: dict[str, float | None] = {"Age": 54.0, "HR_last": 86.0, "Temp_last": 37.8}
    thing = ids.reading_object_id(SUBJECT, AT)
    vitals = VitalsObserved(
        event_id=ids.event_id(thing, ids.features_content(features)),
        object_id=thing,
        content=ids.features_content(features),
        subject_id=SUBJECT,
        features=features,
        measured_at=AT,
        observed_at=AT + timedelta(seconds=2),
        sender="ward-3",
    )
    glucose = GlucoseObserved(
        event_id=ids.event_id(thing, ids.reading_content(104.0)),
        object_id=thing,
        content=ids.reading_content(104.0),
        subject_id=SUBJECT,
        glucose_mg_dl=104.0,
        raw_value=104.0,
        raw_unit="mg/dL",
        measured_at=AT,
        observed_at=AT + timedelta(seconds=2),
        trend="Flat",
        device="sensor",
    )
    return (
        Travelling(image, str(image.event_id), SUBJECT, _study()),
        Travelling(vitals, str(vitals.event_id), SUBJECT, SUBJECT),
        Travelling(glucose, str(glucose.event_id), SUBJECT, SUBJECT),
    )


def _prepared(task: str) -> ImagePrepared:
    hashed = ids.sha256_hex(b"a tensor")
    return ImagePrepared(
        event_id=EVENT,
        object_id=OBJECT,
        content=CONTENT,
        subject_id=SUBJECT,
        task=task,
        tensor=TensorRef(uri=f"tensors/{hashed:.2}/{hashed}", sha256=hashed, dtype="uint8", shape=(1, 224, 224)),
        preprocessing_version="1",
        priority="routine",
        observed=OBSERVED,
        hops={"observed": AT.timestamp()},
    )


def _learning(task: str, result: UUID) -> tuple[Travelling, ...]:
    clinician = ids.clinician_id(_KEY, "example")
    assessed = ResultAssessed(
        override_id=ids.override_id(result, clinician, "supplemented", "normal", "request-1"),
        result_id=result,
        clinician_id=clinician,
        verdict="supplemented",
        label="normal",
        assessed_at=AT,
    )
    request = ids.retrain_request_id(task, 0)
    asked = RetrainRequested(
        request_id=request, task=task, window=0, corrections=500, reason="500 corrections", requested_at=AT
    )
    changed = ReleaseChanged(task=task, version="1.1.0", state="PROMOTED", epoch=7, reason="passed the gate")
    metrics = GlucoseMetricsRevised(
        subject_id=SUBJECT,
        days=14,
        ends_on=AT.date(),
        revision=2,
        figures=FIGURES,
        computed_at=AT,
    )
    revised = ids.metrics_id(SUBJECT, False, metrics.days, metrics.ends_on, metrics.revision)
    return (
        Travelling(metrics, str(revised), SUBJECT, SUBJECT),
        Travelling(assessed, str(assessed.override_id), SUBJECT, str(result)),
        Travelling(asked, str(request), task, task),
        Travelling(changed, f"release/{changed.epoch}", task, task),
    )


def _decided(task: str) -> OutcomeDecided:
    return OutcomeDecided(
        event_id=EVENT,
        task=task,
        fate="not_applicable",
        reason="no model is meant for this body part",
        object_id=OBJECT,
        content=CONTENT,
        subject_id=SUBJECT,
        origin=OBSERVED,
        decided_at=AT.timestamp(),
    )
