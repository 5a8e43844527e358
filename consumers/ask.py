"""Asking a released model about many rows: choose the version by subject, batch, call Triton, decode.

Shared by every step that infers; what is asked and what becomes of the answer is the step's business.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from adapters import telemetry
from adapters.clock import Clock
from adapters.releases import Choice
from adapters.triton import BATCH_SIZE, PRIORITIES, Inference, triton_name
from schemas.card import ModelCard
from schemas.errors import InvalidForModel
from schemas.findings import Finding
from triton_models.model import Model

Tensor = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What a version said to one row; `batch_size` is the number of rows that Triton ran together."""

    finding: Finding
    choice: Choice
    batch_size: int
    inferred_at: float


class Releases(Protocol):
    """Who is answered by which version; `adapters.releases.ReleaseBook` is one."""

    def choose(self, task: str, subject_id: str) -> Choice:
        """The version for a subject; raises DatabaseUnavailable until the release log was read once."""
        ...

    def card(self, card: ModelCard, version: str) -> ModelCard:
        """The card as it holds for a version; raises DatabaseUnavailable for one that is not known yet."""
        ...


class Ask:
    """Puts rows of one task before the version that serves their subject, in requests as large as the card allows."""

    def __init__(self, inference: Inference, releases: Releases, clock: Clock) -> None:
        self._inference, self._releases, self._clock = inference, releases, clock

    def choose(self, model: Model, subject: str) -> Choice:
        """The version that answers a subject, for whoever makes a row for it or an answer that needs no inference.

        Raises DatabaseUnavailable until the release log was read once.
        """
        return self._releases.choose(model.card.name, subject)

    async def __call__(
        self,
        model: Model,
        subjects: Sequence[str],
        tensors: Sequence[Tensor],
        *,
        priority: str = "routine",
        choices: Sequence[Choice] | None = None,
    ) -> list[Told]:
        """One answer a row, in the order of the rows (tensors without batch axis).

        `choices` are those by which the rows were made, where a row is made for a version; else they are made here.
        Raises Overloaded or ServerDown when Triton cannot answer now, InvalidForModel when it refuses a tensor.
        """
        groups: dict[Choice, list[int]] = {}
        chosen = choices or [self._releases.choose(model.card.name, subject) for subject in subjects]
        for index, choice in enumerate(chosen):
            groups.setdefault(choice, []).append(index)
        newest = max((choice.epoch for choice in groups), default=0)
        telemetry.metrics().release_epoch.labels(task=model.card.name).set(newest)
        most = model.card.serving.max_batch_size
        chunks = [
            (choice, rows[start : start + most])
            for choice, rows in groups.items()
            for start in range(0, len(rows), most)
        ]
        calls = [
            self._call(model, choice, [tensors[row] for row in rows], priority=priority) for choice, rows in chunks
        ]
        # All calls end before the first error is raised: none is left running behind the step's back.
        ended = [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls, return_exceptions=True)
        told: dict[int, Told] = {}
        for (_, rows), answers in zip(chunks, ended, strict=True):
            if isinstance(answers, BaseException):
                raise answers
            told.update(zip(rows, answers, strict=True))
        return [told[index] for index in range(len(subjects))]

    async def _call(self, model: Model, choice: Choice, tensors: list[Tensor], *, priority: str) -> list[Told]:
        card = model.card
        stat = priority == "stat" and card.serving.stat_instance
        before = self._clock.monotonic()
        name = triton_name(card.name, choice.version, stat)
        outputs = await self._inference.infer(
            name,
            {card.inputs[0].name: np.stack(tensors)},
            priority=PRIORITIES[priority],
            deadline_s=self._inference.deadline_s(name),
        )
        meters = telemetry.metrics()
        meters.inference_seconds.labels(task=card.name).observe(self._clock.monotonic() - before)
        meters.inference_rows.labels(task=card.name).observe(len(tensors))
        findings = model.decode(outputs, self._releases.card(card, choice.version))
        if len(findings) != len(tensors):
            raise InvalidForModel(f"{card.name} answered {len(findings)} rows to {len(tensors)}")
        now = self._clock.time()
        sizes = _batch_sizes(outputs, len(tensors))
        return [Told(finding, choice, size, now) for finding, size in zip(findings, sizes, strict=True)]


def _batch_sizes(outputs: Mapping[str, Tensor], rows: int) -> list[int]:
    """Rows of the batch that each row ran in; a profile that does not tell counts the request's own rows."""
    found = outputs.get(BATCH_SIZE)
    return [rows] * rows if found is None else [int(size) for size in found.reshape(-1)]
