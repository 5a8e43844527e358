"""Runs cases through a served model and sums up how well its answers agree with the labels; prints nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.repository import PRIORITIES, triton_name
from adapters.triton import Inference
from clinstream.evaluation.cases import Case, Cases, Tensor, groups
from clinstream.evaluation.classes import ClassFigures, class_figures
from schemas.errors import OutOfRange, Overloaded, Unprocessable, UserError
from schemas.findings import Finding
from triton_models import figures
from triton_models.figures import Figure
from triton_models.model import Model

ATTEMPTS = 8

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case without an answer: `refused` by the model's own rules, or not readable at all."""

    name: str
    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `evaluate` reports; figures are (value, low, high) of 95 % intervals at the card's threshold.

    Of a task of several classes they are means over the classes, `positives` counts all rows, and `classes` has more.
    """

    model: str
    version: str
    n: int
    positives: int
    auroc: Figure
    sensitivity: Figure
    specificity: Figure
    threshold: float
    abstained: int
    left_out: Sequence[LeftOut]
    served_by: str
    not_asked: int = 0
    classes: ClassFigures | None = None

    @property
    def unreadable(self) -> list[LeftOut]:
        """What could not be read: a fault of the data that the caller has to hear of."""
        return [case for case in self.left_out if not case.refused]

    def json(self) -> dict[str, Any]:
        """For machines; figures rounded to four digits."""
        return {
            "model": self.model,
            "version": self.version,
            "n": self.n,
            "positives": self.positives,
            "auroc": figures.rounded(self.auroc),
            "sensitivity": figures.rounded(self.sensitivity),
            "specificity": figures.rounded(self.specificity),
            "threshold": self.threshold,
            "abstained": self.abstained,
            "refused": len(self.left_out) - len(self.unreadable),
            "unreadable": len(self.unreadable),
            "not_asked": self.not_asked,
            "served_by": self.served_by,
            **(self.classes.json() if self.classes else {}),
        }


async def judge(
    model: Model, given: Cases, client: Inference, served_by: str, advance: Advance = lambda done: None
) -> Verdict:
    """The verdict over all cases that have an answer; `advance` hears how many cases were finished.

    Raises UserError unless cases of two kinds were answered, and ServerDown when the server goes.
    """
    cases = given.judged
    findings: dict[int, Finding] = {}
    left_out: list[LeftOut] = []
    async for places, tensors, rejected in _prepared(model, cases):
        left_out += rejected
        if tensors:
            answered = await ask(model, client, tensors)
            findings |= dict(zip(places, answered, strict=True))
        advance(len(tensors) + len(rejected))
    of_kind = _of_two if model.card.operating_point is not None else _of_many
    return of_kind(model, given, findings, left_out, served_by)


async def _prepared(
    model: Model, cases: Sequence[Case]
) -> AsyncIterator[tuple[list[int], list[Tensor], list[LeftOut]]]:
    """Cases in bites of the model's batch size; the next bite is prepared while the last one is answered."""
    size = model.card.serving.max_batch_size
    bites = [range(start, min(start + size, len(cases))) for start in range(0, len(cases), size)]
    ahead = [asyncio.ensure_future(asyncio.to_thread(_load, cases, bite)) for bite in bites[:1]]
    for place in range(len(bites)):
        ready = await ahead[place]
        if place + 1 < len(bites):
            ahead.append(asyncio.ensure_future(asyncio.to_thread(_load, cases, bites[place + 1])))
        yield ready


def _load(cases: Sequence[Case], bite: Sequence[int]) -> tuple[list[int], list[Tensor], list[LeftOut]]:
    places, tensors, left_out = [], [], []
    for place in bite:
        try:
            tensors.append(cases[place].load())
            places.append(place)
        except OutOfRange as error:
            left_out.append(LeftOut(cases[place].name, str(error), refused=True))
        except Unprocessable as error:
            left_out.append(LeftOut(cases[place].name, str(error), refused=False))
    return places, tensors, left_out


async def ask(model: Model, client: Inference, tensors: Sequence[Tensor]) -> Sequence[Finding]:
    """One request for all rows, in the routine lane, behind whatever the stack is doing."""
    card = model.card
    name = triton_name(card.name, card.version)
    inputs = {card.inputs[0].name: np.stack(tensors)}
    for attempt in range(ATTEMPTS):
        try:
            outputs = await client.infer(
                name, inputs, priority=PRIORITIES["routine"], deadline_s=client.deadline_s(name)
            )
            return model.decode(outputs)
        except Overloaded:
            if attempt + 1 == ATTEMPTS:
                raise
            await asyncio.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


def _of_two(
    model: Model, given: Cases, findings: dict[int, Finding], left_out: list[LeftOut], served_by: str
) -> Verdict:
    """The verdict on a question of yes or no."""
    answered = sorted(findings)
    kept = [given.judged[place] for place in answered]
    truth = np.array([case.positive for case in kept], dtype=np.bool_)
    if truth.all() or not truth.any():
        raise _too_few(f"{int(truth.sum())} of them positive: figures need positive and negative ones", given, left_out)
    scores = np.array([findings[place].score for place in answered])
    people = groups(kept)
    threshold = model.card.threshold
    return Verdict(
        model=model.card.name,
        version=model.card.version,
        n=len(kept),
        positives=int(truth.sum()),
        auroc=figures.auroc(truth, scores, people),
        sensitivity=figures.sensitivity(truth, scores, threshold, people),
        specificity=figures.specificity(truth, scores, threshold, people),
        threshold=threshold,
        abstained=sum(findings[place].abstained for place in answered),
        left_out=left_out,
        served_by=served_by,
        not_asked=given.not_asked,
    )


def _of_many(
    model: Model, given: Cases, findings: dict[int, Finding], left_out: list[LeftOut], served_by: str
) -> Verdict:
    """The verdict on a question with several answers."""
    labels = list(model.card.labels)
    answered = sorted(findings)
    kept = [given.judged[place] for place in answered]
    truth = [labels.index(case.label) for case in kept]
    if len(set(truth)) < 2:
        raise _too_few(f"{len(set(truth))} different labels among them: figures need two", given, left_out)
    probabilities = np.array([[findings[place].probabilities[label] for label in labels] for place in answered])
    predicted = [labels.index(findings[place].label) for place in answered]
    people = groups(kept)
    found = class_figures(labels, truth, predicted, probabilities, people)
    return Verdict(
        model=model.card.name,
        version=model.card.version,
        n=len(kept),
        positives=len(kept),
        auroc=figures.macro_auroc(truth, probabilities, people),
        sensitivity=found.balanced_accuracy,
        specificity=figures.macro_specificity(truth, predicted, len(labels), people),
        threshold=model.card.threshold,
        abstained=sum(findings[place].abstained for place in answered),
        left_out=left_out,
        served_by=served_by,
        not_asked=given.not_asked,
        classes=found,
    )


def _too_few(said: str, given: Cases, left_out: Sequence[LeftOut]) -> UserError:
    total = len(given.judged)
    problem = f" First problem: {left_out[0].reason}" if left_out else ""
    return UserError(f"Of {total} cases {total - len(left_out)} could be answered, {said}.{problem}")
