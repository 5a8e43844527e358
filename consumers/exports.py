"""Something happened to a result of an image: its study is marked, and `study_reports` looks at it."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol
from uuid import UUID

from adapters.database import Followable
from adapters.stored_image import DICOM
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome
from schemas import topics
from schemas.card import ModelCard
from schemas.events import Base, ResultAmended, ResultPublished, ResultWithdrawn


class Marks(Protocol):
    """The part of the database that is used here; every call raises DatabaseUnavailable."""

    async def mark_studies(self, studies: Iterable[str]) -> None:
        """Has what is to be told of these studies looked at."""
        ...

    async def followable(self, result_ids: Sequence[UUID]) -> dict[UUID, Followable]:
        """How these results stand now, each with its image, by id."""
        ...


class Exports:
    """From `results.<task>` of every task that reads images to marks; injected results are on other topics.

    A mark says nothing of what happened: what is told follows from the rows, however often and late an event is read.
    """

    name = "exports"
    onlooker: Literal[True] = True
    # Of most of these topics it is the only reader that decodes.
    leaves_poison = False
    accepts: tuple[type[Base], ...] = (ResultPublished, ResultAmended, ResultWithdrawn)
    order: Literal["key", "none"] = "none"
    batch = Batch(max_events=32, max_wait_s=0.05, at_once=1)
    in_flight = 64

    def __init__(self, cards: Iterable[ModelCard], marks: Marks) -> None:
        self.topics = topics_of(cards)
        self._marks = marks

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """Marks the studies; nothing more is to do for an event. Raises what parks the lane."""
        standing = await self._marks.followable([_result_id(each.event) for each in batch])
        images = [each.image for each in standing.values() if each.image is not None]
        # A picture from an upload door belongs to no study that a report could go into.
        studies = {image.study_id for image in images if image.media_type == DICOM}
        if studies:
            await self._marks.mark_studies(studies)
        return [[] for _ in batch]


def _result_id(event: Base) -> UUID:
    assert isinstance(event, ResultPublished | ResultAmended | ResultWithdrawn)  # what `accepts` names
    return event.result_id


def topics_of(cards: Iterable[ModelCard]) -> tuple[str, ...]:
    """Where results of images are published, without the injected ones."""
    return tuple(topics.results_topic(card.name) for card in cards if card.consumes == "image")
