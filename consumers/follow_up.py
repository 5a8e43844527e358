"""Results that ask for a second task on the same image: a screening's finding becomes work for the diagnosis.

The card of the first task names the second and the label that asks for it. No model runs here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Literal, Protocol
from uuid import UUID

import triton_models
from adapters.clock import Clock
from adapters.database import Followable, StoredImage, StoredOutcome, StoredResult
from adapters.pixels import BlobStore, blob_uri
from adapters.stored_image import open_image
from consumers import route, tensors
from consumers.delivery import Delivery
from consumers.outcomes import Batch, DeadLetter, Decide, Outcome
from consumers.tensors import Aside, Ready, Source, Turned, Verdict
from schemas import ids, topics
from schemas.card import FollowUp
from schemas.errors import RejectedInput, StepFailed
from schemas.events import Answer, Base, ResultAmended, ResultPublished, ResultWithdrawn
from triton_models.model import Model

# Files in memory at once, as in `prepare`.
OPEN = 4
WITHDRAWN = "the screening result was withdrawn"
SUPERSEDED = "a newer image of the object was screened since"


class Results(Protocol):
    """The part of the database that knows how results stand; every call raises DatabaseUnavailable."""

    async def followable(self, result_ids: Sequence[UUID]) -> dict[UUID, Followable]:
        """How these results stand now, each with its image, by id."""
        ...

    async def result(self, result_id: UUID) -> StoredResult | None:
        """The visible result with this id."""
        ...

    async def outcomes_of(self, event_ids: Sequence[UUID]) -> list[StoredOutcome]:
        """The outcomes of these events."""
        ...


class FollowUps:
    """From `results.<task>` of every task with a follow-up to the work lane of the answer's priority.

    Every screened event ends for the second task too: by its answer, or here with the reason why it was not asked.
    The second task is asked about the image of the visible result as it stands when the result is read: what was
    withdrawn or superseded by then is not followed. An answer that abstains is followed when its label says so.
    Reading a result twice prepares the same tensor, which the inferring step knows.
    """

    name = "imaging-follow-up"
    accepts: tuple[type[Base], ...] = (ResultPublished, ResultAmended, ResultWithdrawn)
    # A result before its withdrawal.
    order: Literal["key", "none"] = "key"
    batch = Batch(max_events=16, max_wait_s=0.01, at_once=3)
    in_flight = 48

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        store: BlobStore,
        database: Results,
        decoders: Executor,
        clock: Clock,
    ) -> None:
        self._models, self._chains = models, triton_models.chains(models)
        self.topics = topics.both_results_topics(self._chains)
        self._store, self._database = store, database
        self._decoders, self._clock = decoders, clock
        self._room = asyncio.Semaphore(OPEN)

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """One list of outcomes a delivery; raises what parks the lane (store or database away)."""
        standing = await self._database.followable([_result_id(delivery.event) for delivery in batch])
        return await asyncio.gather(*(self._follow(delivery.event, standing) for delivery in batch))

    async def _follow(self, event: Base, standing: Mapping[UUID, Followable]) -> list[Outcome]:
        match event:
            case ResultPublished() if event.task in self._chains:
                return await self._published(event.result_id, event.answer, standing.get(event.result_id))
            case ResultWithdrawn() if event.task in self._chains:
                return await self._withdrawn(event)
            case _:
                return []

    async def _published(self, result_id: UUID, answer: Answer, now: Followable | None) -> list[Outcome]:
        follow_up = self._chains[answer.task]
        source = _source(answer, result_id, now.image if now else None)
        ended = _ended(answer, follow_up, now)
        if ended is not None:
            return [Decide(tensors.decision(source, ended, self._clock))]
        if now is None or now.image is None:
            reason = "the database does not know the image of this result; `clinstream rebuild` makes it anew"
            return [DeadLetter("failed", reason, "StepFailed", task=follow_up.task)]
        return [await self._outcome(source, await self._prepare(now.image, answer, follow_up.task))]

    async def _withdrawn(self, event: ResultWithdrawn) -> list[Outcome]:
        """A result that was withdrawn before anybody saw it was never read here: its event must end all the same."""
        task = self._chains[event.task].task
        stored = await self._database.result(event.result_id)
        if stored is None:
            return []
        answer = stored.result.answer
        if any(row.task == task for row in await self._database.outcomes_of([answer.event_id])):
            return []
        turned = Turned(task, "not_applicable", WITHDRAWN, answer.content)
        return [Decide(tensors.decision(_source(answer, event.result_id, None), turned, self._clock))]

    async def _prepare(self, image: StoredImage, answer: Answer, task: str) -> Verdict:
        async with self._room:
            try:
                data = await self._store.get(image.blob_uri)
            except StepFailed as error:
                return Aside(DeadLetter("failed", str(error), type(error).__name__, task=task))
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(
                    self._decoders, lambda: tensors.judged(self.name, lambda: self._judge(image, answer, task, data))
                )
            except Exception as error:  # as the loop does it, but for the second task: the first one has its answer
                reason = f"preparing ended with an unexpected {type(error).__name__}"
                return Aside(DeadLetter("failed", reason, type(error).__name__, task=task))

    def _judge(self, image: StoredImage, answer: Answer, task: str, data: bytes) -> Verdict:
        """The second task's own header checks and pixels; runs in a thread and touches nothing shared."""
        if blob_uri("pixels", ids.sha256_hex(data)) != image.blob_uri:
            return Aside(DeadLetter("failed", "the stored object does not match its checksum", "StepFailed", task=task))
        try:
            opened = open_image(data, image.media_type, laterality=image.laterality)
        except RejectedInput as error:
            return tensors.unprocessable(error, task)
        model = self._models[task]
        match route.claims(model.card, opened.header, image):
            case route.Refused(_, reason):
                return Turned(task, "refused", reason, answer.content)
            case route.NotClaimed(_, reason):
                return Turned(task, "not_applicable", reason, answer.content)
        (verdict,) = tensors.decoded([model], opened, task)
        if isinstance(verdict, Ready) and verdict.content != answer.content:
            reason = "the image decodes to other pixels than when it was screened"
            return Aside(DeadLetter("failed", reason, "StepFailed", task=task))
        return verdict

    async def _outcome(self, source: Source, verdict: Verdict) -> Outcome:
        match verdict:
            case Aside(letter):
                return letter
            case Turned():
                return Decide(tensors.decision(source, verdict, self._clock))
            case Ready():
                model = self._models[verdict.task]
                return await tensors.hand_on(
                    source, verdict, model, lane=self.name, store=self._store, clock=self._clock
                )


def _result_id(event: Base) -> UUID:
    assert isinstance(event, ResultPublished | ResultAmended | ResultWithdrawn)  # what `accepts` names
    return event.result_id


def _ended(answer: Answer, follow_up: FollowUp, now: Followable | None) -> Turned | None:
    """Why the second task is not asked; None when it is."""
    task, content = follow_up.task, answer.content
    if now is not None and now.withdrawn:
        return Turned(task, "not_applicable", WITHDRAWN, content)
    if answer.label != follow_up.when_label:
        return Turned(task, "not_applicable", f"the screening answered {answer.label.replace('_', ' ')}", content)
    if now is not None and now.superseded:
        return Turned(task, "superseded", SUPERSEDED, content)
    return None


def _source(answer: Answer, result_id: UUID, image: StoredImage | None) -> Source:
    return Source(
        event_id=answer.event_id,
        object_id=answer.object_id,
        subject_id=answer.subject_id,
        study_id=image.study_id if image else "",
        priority=answer.priority,
        simulated=answer.simulated,
        origin=answer.observed,
        observed_at=answer.hops["observed"],
        follows=result_id,
    )
