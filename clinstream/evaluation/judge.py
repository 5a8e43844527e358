"""Runs cases through a served model and sums up how well its answers agree with the labels; prints nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.repository import PRIORITIES, triton_name
from adapters.triton import Inference
from clinstream.evaluation.cases import Case, Tensor, groups
from schemas.errors import OutOfRange, Overloaded, Unprocessable, UserError
from schemas.findings import Finding
from triton_models import figures
from triton_models.figures import Figure
from triton_models.model import Model

ATTEMPTS = 8
DIGITS = 4

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case without an answer: `refused` by the model's own rules, or not readable at all."""

    name: str
    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `evaluate` reports; figures are (value, low, high) of 95 % intervals at the card's threshold."""

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
            "auroc": _rounded(self.auroc),
            "sensitivity": _rounded(self.sensitivity),
            "specificity": _rounded(self.specificity),
            "threshold": self.threshold,
            "abstained": self.abstained,
            "refused": len(self.left_out) - len(self.unreadable),
            "unreadable": len(self.unreadable),
            "served_by": self.served_by,
        }


async def judge(
    model: Model, cases: Sequence[Case], client: Inference, served_by: str, advance: Advance = lambda done: None
) -> Verdict:
    """The verdict over all cases that have an answer; `advance` hears how many cases were finished.

    Raises UserError unless both a positive and a negative case were answered, and ServerDown when the server goes.
    """
    findings: dict[int, Finding] = {}
    left_out: list[LeftOut] = []
    async for places, tensors, rejected in _prepared(model, cases):
        left_out += rejected
        if tensors:
            answered = await ask(model, client, tensors)
            findings |= dict(zip(places, answered, strict=True))
        advance(len(tensors) + len(rejected))
    return _sum_up(model, cases, findings, left_out, served_by)


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


def _sum_up(
    model: Model, cases: Sequence[Case], findings: dict[int, Finding], left_out: list[LeftOut], served_by: str
) -> Verdict:
    answered = sorted(findings)
    kept = [cases[place] for place in answered]
    truth = np.array([case.positive for case in kept], dtype=np.bool_)
    if truth.all() or not truth.any():
        raise UserError(
            f"Of {len(cases)} cases {len(kept)} could be answered, {int(truth.sum())} of them positive: figures need "
            "positive and negative ones." + (f" First problem: {left_out[0].reason}" if left_out else "")
        )
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
    )


def _rounded(figure: Figure) -> list[float]:
    return [round(value, DIGITS) for value in figure]
