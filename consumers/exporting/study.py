"""What is told of a whole study: which image decides, and whether it is told at all by now; nothing is read or sent."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID, uuid5

from adapters.database.study_reports import Decision, Ended, Known, Said, Status, StudyFacts, StudyReport, View
from consumers.exporting.codes import NOTHING_FOUND
from schemas import ids
from schemas.card import ModelCard, StudyRule
from schemas.events import Answer

ANY_TASK = "*"
DICOM = "application/dicom"
FAILED = "the analysis failed"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an image may be without an outcome until that is what is told of it."""

    analysis: timedelta

    @property
    def late(self) -> str:
        """The reason, in words."""
        return f"not analysed in {self.analysis.total_seconds() / 60:g} minutes"


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be told of a study by a model, before it has a revision; `urgent` and `changed_at` of any image."""

    task: str
    decision: Decision
    views: tuple[View, ...]
    changed: Mapping[str, str]
    urgent: bool
    changed_at: datetime | None

    @property
    def digest(self) -> str:
        """The same for the same facts: the images, how each ended, and what was said of it since."""
        lines = sorted(
            f"{each.object_id}\n{each.status}\n{each.result}\n{each.code}\n{sorted(each.changed.items())}"
            for each in self.views
        )
        return ids.sha256_hex("\n\n".join([self.decision, *lines]).encode())


def pending(facts: StudyFacts) -> list[Known]:
    """The objects that have no outcome of any task yet."""
    ended = {each.object_id for each in facts.ended} | {each.object_id for each in facts.said}
    return [each for each in facts.objects if each.object_id not in ended]


def told(
    facts: StudyFacts,
    late: Iterable[Known],
    answers: Mapping[UUID, Answer],
    cards: Mapping[str, ModelCard],
    patience: Patience,
) -> list[Told]:
    """What is to be told of a study, one a model; `late` are the objects that were waited for in vain."""
    objects = {each.object_id: each for each in facts.objects if each.media_type == DICOM}
    groups: dict[str, list[View]] = defaultdict(list)
    said: dict[str, list[Said]] = defaultdict(list)
    for each in facts.said:
        if each.object_id in objects and each.task in cards:
            said[each.task].append(each)
            if each.withdrawn_at is None:
                groups[each.task].append(_answered(objects[each.object_id], each))
    answered = {(each.object_id, each.task) for each in facts.said}
    for ended in _unanswered(facts.ended, answered):
        if ended.object_id in objects and (ended.task in cards or ended.task == ANY_TASK):
            groups[ended.task].append(_turned(objects[ended.object_id], ended))
    waited = [
        View(k.object_id, k.event_id, k.subject_id, k.blob_uri, "not_analysed", None, patience.late) for k in late
    ]
    loose = [*groups.pop(ANY_TASK, []), *waited]
    # What nobody can ascribe to a model stands in the report of each model that speaks, else in one of its own.
    for task in list(groups) or [ANY_TASK]:
        groups[task] += loose
    return [_told(task, views, said[task], answers, cards) for task, views in sorted(groups.items()) if views]


def report(study: str, what: Told, before: StudyReport | None, now: datetime) -> StudyReport:
    """The next revision; its id, and so every UID that it is told under, follows from what it says."""
    revision = 1 if before is None else before.revision + 1
    digest = what.digest
    name = f"study report\n{study}\n{what.task}\n{revision}\n{digest}"
    return StudyReport(
        report_id=uuid5(ids.NAMESPACE, name),
        study_id=study,
        task=what.task,
        revision=revision,
        digest=digest,
        decision=what.decision,
        views=what.views,
        changed=what.changed,
        follows=before.report_id if before else None,
        made_at=now,
    )


def decide(rule: StudyRule, views: Sequence[View], answers: Mapping[UUID, Answer]) -> tuple[Decision, View]:
    """The study's decision and the image that decides it.

    `highest`: of the images above their threshold the most probable one; where there is none, the most probable one of
    those on which the model abstains; else nothing is found. Without any answer, what refused or held up the first.
    """
    match rule:
        case "highest":
            spoken = sorted(
                ((answers[each.result], each) for each in views if each.result is not None),
                key=lambda pair: (-probability(pair[0]), pair[1].object_id),
            )
        case _:
            assert_never(rule)
    for answer, each in spoken:
        if answer.label not in NOTHING_FOUND and not answer.abstained:
            return "finding", each
    for answer, each in spoken:
        if answer.abstained:
            return "abstained", each
    if spoken:
        return "no_finding", spoken[0][1]
    first = min(views, key=lambda each: (each.status != "not_analysed", each.object_id))
    return ("not_analysed" if first.status == "not_analysed" else "refused"), first


def probability(answer: Answer) -> float:
    """How probable the model holds it that there is anything."""
    found = [value for label, value in answer.probabilities.items() if label not in NOTHING_FOUND]
    return max(found, default=0.0)


def _told(
    task: str,
    views: Sequence[View],
    said: Sequence[Said],
    answers: Mapping[UUID, Answer],
    cards: Mapping[str, ModelCard],
) -> Told:
    card = cards.get(task)
    decision, lead = decide(card.study_rule if card else "highest", views, answers)
    rest = sorted((each for each in views if each != lead), key=lambda each: each.object_id)
    return Told(
        task=task,
        decision=decision,
        views=(lead, *rest),
        changed=lead.changed,
        urgent=any(each.urgent for each in said),
        changed_at=max((each.changed_at for each in said if each.changed_at), default=None),
    )


def _answered(known: Known, said: Said) -> View:
    view = View(known.object_id, known.event_id, known.subject_id, known.blob_uri, "answered", said.result_id)
    return replace(view, changed=said.changed)


def _turned(known: Known, ended: Ended) -> View:
    status: Status = "refused" if ended.fate == "refused" else "not_analysed"
    reason = ended.reason if ended.fate == "refused" else FAILED
    view = View(known.object_id, known.event_id, known.subject_id, known.blob_uri, status, None, reason)
    return replace(view, code=ended.code)


def _unanswered(ended: Iterable[Ended], answered: set[tuple[str, str]]) -> list[Ended]:
    """One a model and object: refusals and failures of what has no answer; a refusal says more than a failure."""
    found: dict[tuple[str, str], Ended] = {}
    for each in ended:
        key = (each.object_id, each.task)
        if each.fate in ("refused", "dead") and key not in answered and (key not in found or each.fate == "refused"):
            found[key] = each
    return list(found.values())
