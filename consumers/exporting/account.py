"""What is to be said of a study or of one image, once, for every form that it takes; no form is known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID, uuid5

import msgspec

from adapters.database.study_reports import Decision, StudyReport, View
from consumers.exporting.codes import NOTHING_FOUND
from schemas import ids
from schemas.card import NOTICE, ModelCard
from schemas.events import Answer, Origin, ResultPublished

Presence = Literal["present", "absent", "indeterminate"]
PURPOSE = "AI - not for diagnosis"
ANY_MODEL = "imaging"


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding: whether it is there, and how probable the model holds it (0 to 1)."""

    label: str
    presence: Presence
    probability: float


@dataclass(frozen=True, slots=True)
class Account:
    """A result in words: of a study with all its images, or of one image. `changed` is what a clinician said since.

    `result` is that of the image which decides, under the id of the report; its answer has no probabilities where no
    model answered, and `outcome` with `reason` and `code` then says why. `told_at`, in seconds since the epoch, is when
    this telling became due: the result's own time at first. `follows` is the report before, where the same receiver
    has it. `thing` is what stays the same when a later revision replaces this one. `others` are the other images.
    `edition` tells a telling that names nobody from the one with names: they are two objects.
    """

    result: ResultPublished
    title: str
    statements: tuple[Statement, ...]
    told_at: float
    changed: Mapping[str, str] = field(default_factory=dict)
    follows: UUID | None = None
    thing: UUID | None = None
    outcome: Decision | None = None
    reason: str = ""
    code: str = ""
    others: tuple["Account", ...] = ()
    edition: str = ""

    @property
    def identity(self) -> UUID:
        """What stays the same when a later revision replaces this one."""
        same = self.thing or self.result.result_id
        return uuid5(same, self.edition) if self.edition else same

    @property
    def answered(self) -> bool:
        """Whether a model answered at all."""
        return bool(self.statements)

    @property
    def incomplete(self) -> bool:
        """Whether an image has no answer."""
        return any(not each.answered for each in (self, *self.others))

    @property
    def found(self) -> bool:
        """Whether the model holds any finding to be there."""
        return any(each.presence == "present" for each in self.statements)

    @property
    def conclusion(self) -> str:
        """The result in one line."""
        if not self.answered:
            return f"refused ({self.reason})" if self.outcome == "refused" else self.reason
        answer = self.result.answer
        name = answer.label.replace("_", " ")
        if answer.abstained:
            return f"undecided ({name} is likelier)" if answer.label in NOTHING_FOUND else f"undecided (perhaps {name})"
        return name if answer.label not in NOTHING_FOUND else "no finding"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What became of the other images, a line each."""
        return tuple(
            f"image {number} of {len(self.others) + 1}: {each.line}" for number, each in enumerate(self.others, 2)
        )

    @property
    def line(self) -> str:
        """One image in words, with its probabilities."""
        said = ", ".join(f"{s.label.replace('_', ' ')} {100 * s.probability:.1f} %" for s in self.statements)
        return f"{self.conclusion} ({said})" if said else self.conclusion

    @property
    def made_at(self) -> float:
        """When the result was made, in seconds since the epoch."""
        return made_at(self.result)

    def uid(self, what: str) -> str:
        """The DICOM UID of something that tells this: always the same for the same report."""
        return ids.report_uid(what, self.result.result_id, self.edition)


def of_result(
    result: ResultPublished,
    card: ModelCard | None,
    *,
    told_at: float | None = None,
    changed: Mapping[str, str] | None = None,
    follows: UUID | None = None,
) -> Account:
    """The account of a visible result; `card` is that of its task, where the model is still installed."""
    title = card.title if card else result.task.replace("_", " ")
    positive = card.positive_label if card else ""
    when = made_at(result) if told_at is None else told_at
    return Account(result, title, _statements(result, positive), when, dict(changed or {}), follows)


def of_study(
    report: StudyReport,
    results: Mapping[UUID, ResultPublished],
    card: ModelCard | None,
    *,
    follows: UUID | None = None,
    edition: str = "",
) -> Account:
    """The account of a study; `results` holds those of its images that were answered."""
    lead, *others = (_of_view(report, view, results, card) for view in report.views)
    return replace(
        lead,
        result=msgspec.structs.replace(lead.result, result_id=report.report_id),
        told_at=report.made_at.timestamp(),
        changed=dict(report.changed),
        follows=follows,
        thing=uuid5(ids.NAMESPACE, f"told\n{report.study_id}\n{report.task}"),
        outcome=report.decision,
        others=tuple(replace(each, edition=edition) for each in others),
        edition=edition,
    )


def _of_view(
    report: StudyReport, view: View, results: Mapping[UUID, ResultPublished], card: ModelCard | None
) -> Account:
    if view.result is not None:
        return of_result(results[view.result], card)
    account = of_result(_unanswered(report, view, card), card)
    outcome: Decision = "refused" if view.status == "refused" else "not_analysed"
    return replace(account, outcome=outcome, reason=view.reason, code=view.code)


def _unanswered(report: StudyReport, view: View, card: ModelCard | None) -> ResultPublished:
    """What stands where a result would, so that every form has the model, the image and a time: no probability."""
    task = card.name if card else ANY_MODEL
    nowhere = Origin(topic="", partition=0, offset=0)
    moment = report.made_at.timestamp()
    answer = Answer(
        answer_id=uuid5(report.report_id, str(view.event_id)),
        event_id=view.event_id,
        object_id=view.object_id,
        content="",
        subject_id=view.subject_id,
        task=task,
        version=card.version if card else "none",
        preprocessing_version=card.preprocessing_version if card else "none",
        label="",
        score=0.0,
        threshold=card.threshold if card else 0.0,
        probabilities={},
        abstained=False,
        arm="serving",
        release_epoch=0,
        batch_size=0,
        observed=nowhere,
        origin=nowhere,
        hops={"observed": moment},
        notice=card.notice if card else NOTICE,
        use_status="",
    )
    return ResultPublished(
        result_id=answer.answer_id,
        object_id=view.object_id,
        subject_id=view.subject_id,
        task=task,
        revision=report.revision,
        answer=answer,
    )


def made_at(result: ResultPublished) -> float:
    """When a result was made, in seconds since the epoch: the same for each telling of it."""
    hops = result.answer.hops
    return hops.get("recorded") or hops.get("inferred") or hops["observed"]


def _statements(result: ResultPublished, positive: str) -> tuple[Statement, ...]:
    answer = result.answer
    findings = [label for label in answer.probabilities if label not in NOTHING_FOUND] or list(answer.probabilities)
    return tuple(
        Statement(label, _presence(result, label, positive), float(answer.probabilities[label])) for label in findings
    )


def _presence(result: ResultPublished, label: str, positive: str) -> Presence:
    """Undecided where the model abstains about this label: about the positive one, or about the one it names."""
    answer = result.answer
    if answer.abstained and label in (positive or answer.label, answer.label):
        return "indeterminate"
    return "present" if label == answer.label else "absent"
