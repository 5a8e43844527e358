"""Documents from a reading room become assessments of the results behind our reports, as the review door makes them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from adapters.database import Told
from adapters.dicom_assessment import Finding, Said
from consumers.outcomes import Decide, Outcome, Publish
from consumers.tensors import ANY_TASK
from schemas import ids, topics
from schemas.assessing import assessment
from schemas.card import ModelCard
from schemas.events import ImageObserved, OutcomeDecided, ResultAssessed, Verdict

SENDER = "dicom"
NO_WORD = "it names a report of this system and says nothing that would be an assessment"
UNKNOWN = "it names a report of this system that is not known here for this patient"


class Reports(Protocol):
    """The part of the database that knows which results left as which objects."""

    async def told(self, uids: Sequence[str], subject: str, study: str) -> list[Told]:
        """The results of a patient or a study that these objects tell; raises DatabaseUnavailable."""
        ...


class Assessing:
    """What a document says goes onto `overrides`, once: the SOP Instance UID is the idempotency key of a repeat.

    The document itself ends as `not_applicable`, since no model reads it. `key` makes the readers' pseudonyms.
    """

    def __init__(self, cards: Iterable[ModelCard], reports: Reports, key: bytes) -> None:
        self._labels: Mapping[str, tuple[str, ...]] = {card.name: tuple(card.labels) for card in cards}
        self._reports, self._key = reports, key

    async def outcomes(self, event: ImageObserved, said: Said) -> list[Outcome]:
        """An assessment for each result that is told, and how the document ends; raises DatabaseUnavailable."""
        if said.agrees is None:
            return [_ends(event, NO_WORD)]
        told = await self._reports.told(said.reports, event.subject_id, event.study_id)
        if not told and said.study:
            # Of a study that was de-identified; the reader knows the original, and another row routed the document.
            study = ids.study_id(self._key, ids.pseudonymous_uid(self._key, said.study))
            told = await self._reports.told(said.reports, event.subject_id, study)
        if not told:
            return [_ends(event, UNKNOWN)]
        made = [self._assessment(event, said, each) for each in told]
        verdicts = ", ".join(sorted({each.verdict for each in made}))
        return [*(_publish(each) for each in made), _ends(event, f"it is an assessment of a result: {verdicts}")]

    def _assessment(self, event: ImageObserved, said: Said, told: Told) -> ResultAssessed:
        verdict, label = _verdict(said, told, self._labels.get(told.task, ()))
        return assessment(
            told.result_id,
            verdict,
            label,
            said.reader or f"reader at {event.sender}",
            idempotency_key=event.object_id,
            key=self._key,
            when=event.observed_at,
            sender=SENDER,
        )


def _verdict(said: Said, told: Told, labels: Collection[str]) -> tuple[Verdict, str]:
    """Another label than the answered one supplements where the reader agrees, and is the right one where not."""
    label = _label(said.finding, labels)
    if label == told.label:
        label = ""
    if not said.agrees:
        return "rejected", label
    return ("supplemented", label) if label else ("accepted", "")


def _label(finding: Finding, labels: Collection[str]) -> str:
    """The task's label that is meant, by its code or its words; empty for everything else, which is not kept."""
    # On use: the tables of codes behind it cost memory and time that a process without assessments need not pay.
    from consumers.exporting import codes

    words = _plain(finding.words)
    for label in labels:
        code = codes.of_label(label)
        if finding.value and (finding.value, finding.scheme) == (code.value, code.scheme_designator):
            return label
        if words and words in (_plain(label), _plain(code.meaning)):
            return label
    return ""


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").strip(" .:;!").casefold().split())


def _publish(made: ResultAssessed) -> Publish:
    result = str(made.result_id)
    name = str(made.override_id)
    return Publish(topics.OVERRIDES, result.encode(), made, name, result, {"priority": "routine"})


def _ends(event: ImageObserved, reason: str) -> Decide:
    return Decide(
        OutcomeDecided(
            event_id=event.event_id,
            task=ANY_TASK,
            fate="not_applicable",
            reason=reason,
            object_id=event.object_id,
            subject_id=event.subject_id,
        )
    )
