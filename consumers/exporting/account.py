"""What is to be said of a result, once, for every form that it takes; no form is known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from consumers.exporting.codes import NOTHING_FOUND
from schemas import ids
from schemas.card import ModelCard
from schemas.events import ResultPublished

Presence = Literal["present", "absent", "indeterminate"]
PURPOSE = "AI - not for diagnosis"


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding: whether it is there, and how probable the model holds it (0 to 1)."""

    label: str
    presence: Presence
    probability: float


@dataclass(frozen=True, slots=True)
class Account:
    """A result in words. `changed` is what a clinician said since, empty at first; `change` which assessment it was.

    `told_at`, in seconds since the epoch, is when this telling became due: the result's own time at first.
    `follows` is the result whose report the same receiver has and that this one comes after: the first telling of the
    same result, or the result of the object's content before.
    """

    result: ResultPublished
    title: str
    statements: tuple[Statement, ...]
    told_at: float
    change: str = ""
    changed: Mapping[str, str] = field(default_factory=dict)
    follows: UUID | None = None

    @property
    def found(self) -> bool:
        """Whether the model holds any finding to be there."""
        return any(each.presence == "present" for each in self.statements)

    @property
    def conclusion(self) -> str:
        """The result in one line."""
        answer = self.result.answer
        name = answer.label.replace("_", " ")
        if answer.abstained:
            return f"undecided ({name} is likelier)" if answer.label in NOTHING_FOUND else f"undecided (perhaps {name})"
        return name if answer.label not in NOTHING_FOUND else "no finding"

    @property
    def made_at(self) -> float:
        """When the result was made, in seconds since the epoch."""
        return made_at(self.result)

    def uid(self, what: str) -> str:
        """The DICOM UID of something that tells this result: always the same for the same result and amendment."""
        return ids.own_uid(what, str(self.result.result_id), self.change)


def of_result(
    result: ResultPublished,
    card: ModelCard | None,
    *,
    told_at: float | None = None,
    change: str = "",
    changed: Mapping[str, str] | None = None,
    superseded: UUID | None = None,
) -> Account:
    """The account of a visible result; `card` is that of its task, where the model is still installed.

    `superseded` is the result before, where the receiver has its report.
    """
    title = card.title if card else result.task.replace("_", " ")
    positive = card.positive_label if card else ""
    when = made_at(result) if told_at is None else told_at
    follows = result.result_id if change else superseded
    return Account(result, title, _statements(result, positive), when, change, dict(changed or {}), follows)


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
