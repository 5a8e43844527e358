"""What the fake database holds, and how its rows are told."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from adapters.clock import Clock
from adapters.database import (
    ImageIdentity,
    Key,
    NewReading,
    OutboxRow,
    Own,
    Recorded,
    Release,
    StoredImage,
    StoredOutcome,
    StoredResult,
    Told,
    Version,
    Wearer,
)
from adapters.database.outcomes import RANK, moment
from adapters.database.recording import Standing, key_of, result_of
from schemas.errors import DatabaseUnavailable
from schemas.events import Answer, OutcomeDecided, ResultPublished


class State:
    """What the fake database holds, and how its rows are told."""

    def __init__(self, clock: Clock) -> None:
        self.down = False
        self.answers: dict[UUID, Answer] = {}
        self.visible: dict[Key, Standing] = {}
        self.visible_at: dict[Key, datetime] = {}
        self.withdrawn_why: dict[Key, str] = {}
        self.outcomes: dict[tuple[UUID, str], StoredOutcome] = {}
        self.left: dict[str, tuple[str, str, Told]] = {}
        self.decided_at: dict[tuple[UUID, str], datetime] = {}
        self.readings: dict[tuple[Wearer, int, str], NewReading] = {}
        self.stamps: dict[Wearer, UUID] = {}
        self.own: dict[Wearer, Own] = {}
        self.images: dict[UUID, ImageIdentity] = {}
        self.log: list[Release] = []
        self.trained: list[Version] = []
        self.outbox: list[OutboxRow] = []
        self.sent: set[int] = set()
        self.audit: list[dict[str, object]] = []
        self._clock = clock

    async def close(self) -> None:
        """Keeps what it holds, for a test to look at."""

    async def probe(self) -> None:
        """See Database.probe."""
        if self.down:
            raise DatabaseUnavailable("PostgreSQL cannot be used right now (taken away)")

    def _standing(self) -> list[Standing]:
        return sorted(self.visible.values(), key=in_order)

    def _recorded(self, answer: Answer, fresh: set[UUID]) -> Recorded:
        first = answer.answer_id in fresh
        fresh.discard(answer.answer_id)
        if answer.arm == "shadow":
            return Recorded(answer, False, None, first)
        winner = self.visible[key_of(answer)]
        withdrawn = winner.withdrawn_at is not None
        return Recorded(answer, winner.event_id == answer.event_id, self._result(winner), first, withdrawn)

    def _result(self, row: Standing) -> ResultPublished:
        return result_of(row, self.answers[row.answer_id])

    def _stored(self, row: Standing) -> StoredResult:
        why = self.withdrawn_why.get(row.key)
        return StoredResult(self._result(row), self.visible_at[row.key], row.withdrawn_at, why)

    def _keep(self, decided: Iterable[OutcomeDecided]) -> None:
        for one in decided:
            before = self.outcomes.get((one.event_id, one.task))
            if before is None or RANK[one.fate] > RANK[before.fate]:
                self.decided_at[one.event_id, one.task] = moment(one, self._clock.now())
                self.outcomes[one.event_id, one.task] = StoredOutcome(
                    one.event_id,
                    one.task,
                    one.fate,
                    one.reason,
                    one.answer_id,
                    one.object_id,
                    one.content,
                    one.subject_id,
                    one.code,
                )


def in_order(row: Standing) -> tuple[str, str, int]:
    return row.key[0], row.key[2], row.revision


def stored_image(image: ImageIdentity) -> StoredImage:
    return StoredImage(
        image.event_id,
        image.object_id,
        image.subject_id,
        image.study_id,
        image.blob_uri,
        image.modality,
        image.sender,
        image.observed_at,
        image.sop_class_uid,
        image.media_type,
        image.laterality,
        image.destinations,
    )
