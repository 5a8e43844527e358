"""PostgreSQL in memory, sitting the same exam as `adapters.database.Database`; it can be taken away with `down`."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import numpy as np

from adapters.clock import Clock
from adapters.database import (
    Followable,
    ImageIdentity,
    Key,
    NewReading,
    OutboxRow,
    Own,
    Recorded,
    Refusal,
    Release,
    ResultFilter,
    Shown,
    State,
    StoredImage,
    StoredOutcome,
    StoredReading,
    StoredResult,
    Taking,
    Told,
    Trail,
    Version,
    Visible,
    Wearer,
    Window,
    WindowsMoved,
    Withdrawal,
)
from adapters.database.outcomes import RANK, moment
from adapters.database.readings import time_ms
from adapters.database.recording import Standing, key_of, newcomers, outcomes_of, result_of
from adapters.database.records import NOTHING_OWN
from adapters.database.releases import announcement, check_share
from adapters.database.results_changes import ORPHANED
from adapters.database.results_changes import announcement as announcement_of_change
from schemas import ids
from schemas.card import ModelCard
from schemas.errors import DatabaseUnavailable, UserError
from schemas.events import Answer, OutcomeDecided, ResultPublished, ResultWithdrawn
from schemas.windows import MOST, SPAN_S


class FakeDatabase:
    """`Database` in dictionaries; with `down = True` every call raises DatabaseUnavailable and changes nothing."""

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

    async def record(self, answers: Sequence[Answer]) -> list[Recorded]:
        """See Database.record."""
        await self.probe()
        now = self._clock.now()
        fresh = {answer.answer_id for answer in answers} - self.answers.keys()
        for answer in answers:
            self.answers.setdefault(answer.answer_id, answer)
        shown = [answer for answer in answers if answer.arm != "shadow"]
        for row in newcomers(shown, self._standing()):
            self.visible[row.key], self.visible_at[row.key] = row, now
            asked_by = self.answers[row.answer_id].follows
            if any(each.answer_id == asked_by and each.withdrawn_at for each in self.visible.values()):
                await self._take_back(row, ORPHANED)
        recorded = [self._recorded(answer, fresh) for answer in answers]
        self._keep(outcomes_of(recorded, now))
        return recorded

    async def decide(self, decided: Sequence[OutcomeDecided]) -> None:
        """See Database.decide."""
        await self.probe()
        self._keep(decided)

    async def already_visible(self, keys: Sequence[Key]) -> dict[Key, Visible]:
        """See Database.already_visible."""
        await self.probe()
        rows = [self.visible[key] for key in dict.fromkeys(keys) if key in self.visible]
        return {row.key: Visible(row.key, row.event_id, self._result(row), row.withdrawn_at) for row in rows}

    async def windows(self, wearers: Sequence[Wearer]) -> dict[Wearer, Window]:
        """See Database.windows."""
        await self.probe()
        return {wearer: self._window(wearer) for wearer in wearers}

    async def readings_at(self, places: Sequence[tuple[Wearer, int]]) -> list[StoredReading]:
        """See Database.readings_at."""
        await self.probe()
        wanted = set(places)
        return [
            StoredReading(wearer, time, content, row.revision)
            for (wearer, time, content), row in self.readings.items()
            if (wearer, time) in wanted
        ]

    async def take(self, taking: Taking) -> list[Recorded]:
        """See Database.take."""
        await self.probe()
        moved = {wearer for wearer, before in taking.stamps.items() if self.stamps.get(wearer) != before}
        keys = [(_wearer(row), time_ms(row.event), row.event.content) for row in taking.readings]
        places = {(wearer, time, row.revision) for (wearer, time, _), row in self.readings.items()}
        for (wearer, time, content), row in zip(keys, taking.readings, strict=True):
            if (wearer, time, content) in self.readings or (wearer, time, row.revision) in places:
                moved.add(wearer)
        if moved:
            raise WindowsMoved(moved)
        self.stamps.update(dict.fromkeys(taking.stamps, taking.stamp))
        self.readings.update(zip(keys, taking.readings, strict=True))
        recorded = await self.record(taking.answers)
        for each in sorted((r for r in self.visible.values() if r.key[0] in taking.fallen), key=_in_order):
            if each.withdrawn_at is None:
                await self._take_back(each, taking.fallen[each.key[0]])
        self._keep(taking.decided)
        return recorded

    def _window(self, wearer: Wearer) -> Window:
        latest: dict[int, NewReading] = {}
        for (owner, time, _), row in self.readings.items():
            if owner == wearer and (time not in latest or latest[time].revision < row.revision):
                latest[time] = row
        latest = {time: row for time, row in latest.items() if not row.event.deleted}
        newest = max(latest, default=0)
        times = sorted(time for time in latest if time > newest - SPAN_S * 1000)[-MOST:]
        values = np.array([latest[time].event.glucose_mg_dl for time in times], dtype=np.float32)
        return Window(self.stamps.get(wearer), tuple(times), tuple(values.tolist()), self.own.get(wearer, NOTHING_OWN))

    async def note_images(self, rows: Sequence[ImageIdentity]) -> None:
        """See Database.note_images."""
        await self.probe()
        for row in rows:
            self.images.setdefault(row.event_id, row)

    async def releases(self, since: int = 0) -> list[Release]:
        """See Database.releases."""
        await self.probe()
        return [release for release in self.log if release.epoch > since]

    async def versions(self) -> list[Version]:
        """See Database.versions."""
        await self.probe()
        return list(self.trained)

    async def add_version(self, version: Version, *, by_whom: str, why: str) -> bool:
        """See Database.add_version; without its row of the release log."""
        await self.probe()
        if any((each.task, each.version) == (version.task, version.version) for each in self.trained):
            return False
        self.trained.append(version)
        return True

    async def ensure_starters(self, cards: Iterable[ModelCard]) -> None:
        """See Database.ensure_starters."""
        await self.probe()
        known = {release.task for release in self.log}
        for card in cards:
            if card.name not in known:
                self._release(card.name, card.version, "PROMOTED", 1.0, "clinstream", "starter version of the card")

    async def set_release(
        self, task: str, version: str, state: State, *, share: float = 0.0, by_whom: str, why: str
    ) -> Release:
        """See Database.set_release."""
        await self.probe()
        check_share(state, share)
        if state == "PROMOTED":
            newest = {release.version: release for release in self.log if release.task == task}
            for before in [r for r in newest.values() if r.state == "PROMOTED" and r.version != version]:
                self._release(task, before.version, "RETIRED", 0.0, by_whom, why)
        made = self._release(task, version, state, share, by_whom, why)
        await self.enqueue(*announcement(made))
        return made

    async def outcomes_of(self, event_ids: Sequence[UUID]) -> list[StoredOutcome]:
        """See Database.outcomes_of."""
        await self.probe()
        return [row for (event, _), row in sorted(self.outcomes.items()) if event in set(event_ids)]

    async def all_outcomes(self) -> list[tuple[UUID, str, str]]:
        """See Database.all_outcomes."""
        await self.probe()
        return [(event, task, row.fate) for (event, task), row in self.outcomes.items()]

    async def results(self, wanted: ResultFilter) -> list[StoredResult]:
        """See Database.results."""
        await self.probe()
        found = [
            self._stored(row)
            for row in self.visible.values()
            if (wanted.since is None or self.visible_at[row.key] >= wanted.since)
            and wanted.model in (None, row.key[2])
            and wanted.subject in (None, row.subject_id)
            and (wanted.simulated or not row.simulated)
        ]
        found.sort(key=lambda r: (-r.visible_at.timestamp(), r.result.object_id, r.result.task, -r.result.revision))
        return found[: wanted.limit]

    async def result(self, result_id: UUID) -> StoredResult | None:
        """See Database.result."""
        await self.probe()
        return next((self._stored(row) for row in self.visible.values() if row.answer_id == result_id), None)

    async def refused(self, wanted: ResultFilter) -> list[Refusal]:
        """See Database.refused."""
        await self.probe()
        found = [
            Refusal(row, self.decided_at[key])
            for key, row in self.outcomes.items()
            if row.fate == "refused"
            and (wanted.since is None or self.decided_at[key] >= wanted.since)
            and wanted.model in (None, row.task)
            and wanted.subject in (None, row.subject_id)
            and (wanted.simulated or not row.object_id.startswith(ids.SIMULATED))
        ]
        found.sort(key=lambda one: (-one.decided_at.timestamp(), str(one.outcome.event_id), one.outcome.task))
        return found[: wanted.limit]

    async def followable(self, result_ids: Sequence[UUID]) -> dict[UUID, Followable]:
        """See Database.followable."""
        await self.probe()
        last = {(row.key[0], row.key[2]): row.revision for row in self._standing()}
        return {
            row.answer_id: Followable(
                row.answer_id,
                row.withdrawn_at is not None,
                row.revision < last[row.key[0], row.key[2]],
                _stored_image(self.images[row.event_id]) if row.event_id in self.images else None,
            )
            for row in self.visible.values()
            if row.answer_id in result_ids
        }

    async def told(self, uids: Sequence[str], subject: str, study: str) -> list[Told]:
        """See Database.told; `left` says whose each object is that left, and what it tells."""
        await self.probe()
        left = [self.left[uid] for uid in uids if uid in self.left]
        found = {each.result_id: each for of, where, each in left if of == subject or where == study}
        return [found[each] for each in sorted(found)]

    async def withdraw(self, result_id: UUID, *, by_whom: str, why: str) -> Withdrawal:
        """See Database.withdraw."""
        await self.probe()
        row = next((row for row in self.visible.values() if row.answer_id == result_id), None)
        if row is None:
            raise UserError(f"There is no result {result_id}; `clinstream results --json` shows the ids.")
        if row.withdrawn_at is not None:
            return Withdrawal(_shown(row), [], again=True)
        self.audit.append({"by_whom": by_whom, "purpose": why, "action": "results.withdraw"})
        asked = [r for r in self.visible.values() if self.answers[r.answer_id].follows == result_id]
        followed = sorted((r for r in asked if r.withdrawn_at is None), key=_in_order)
        await self._take_back(row, why)
        for each in followed:
            await self._take_back(each, ORPHANED)
        return Withdrawal(_shown(row), [_shown(each) for each in followed], again=False)

    async def _take_back(self, row: Standing, why: str) -> None:
        now = self._clock.now()
        self.visible[row.key], self.withdrawn_why[row.key] = replace(row, withdrawn_at=now), why
        shown = _shown(row)
        event = ResultWithdrawn(
            result_id=shown.result_id,
            object_id=shown.object_id,
            subject_id=shown.subject_id,
            task=shown.task,
            revision=shown.revision,
            reason=why,
        )
        await self.enqueue(*announcement_of_change(shown, event, f"{shown.result_id}/withdrawn", now))

    async def trail(
        self,
        *,
        events: Sequence[UUID] = (),
        objects: Sequence[str] = (),
        studies: Sequence[str] = (),
        subjects: Sequence[str] = (),
    ) -> Trail:
        """See Database.trail."""
        await self.probe()
        images = [
            image
            for image in self.images.values()
            if image.event_id in events
            or image.object_id in objects
            or image.study_id in studies
            or image.subject_id in subjects
        ]
        things = {*objects, *(image.object_id for image in images)}
        things |= {row.key[0] for row in self.visible.values() if row.subject_id in subjects}
        known = {*events, *(image.event_id for image in images)}
        known |= {row.event_id for row in self.visible.values() if row.key[0] in things}
        outcomes = [row for row in self.outcomes.values() if row.event_id in known or row.subject_id in subjects]
        known |= {row.event_id for row in outcomes}
        answers = [answer for answer in self.answers.values() if answer.event_id in known]
        things |= {answer.object_id for answer in answers}
        shown = sorted((r for r in self.visible.values() if r.key[0] in things), key=_in_order)
        return Trail([_stored_image(image) for image in images], answers, [self._stored(r) for r in shown], outcomes)

    async def look_up(self, number: str, *, by_whom: str, purpose: str) -> tuple[set[str], set[str]]:
        """See Database.look_up."""
        await self.probe()
        rows = self.images.values()
        studies = {row.study_id for row in rows if number in (row.accession_number, row.study_instance_uid)}
        subjects = {row.subject_id for row in rows if number == row.patient_id}
        self.audit.append({"by_whom": by_whom, "purpose": purpose, "action": "identities.look_up"})
        return studies, subjects

    async def unsent(self, limit: int = 100) -> list[OutboxRow]:
        """See Database.unsent."""
        await self.probe()
        return [row for row in self.outbox if row.id not in self.sent][:limit]

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """See Database.mark_sent."""
        await self.probe()
        self.sent |= set(ids)

    async def relay(self, send: Callable[[Sequence[OutboxRow]], Awaitable[None]], limit: int = 100) -> int:
        """See Database.relay."""
        rows = await self.unsent(limit)
        if rows:
            await send(rows)
            await self.mark_sent([row.id for row in rows])
        return len(rows)

    async def enqueue(self, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes) -> int:
        """See Database.enqueue."""
        await self.probe()
        self.outbox.append(OutboxRow(len(self.outbox) + 1, topic, key, list(headers), value))
        return len(self.outbox)

    def _standing(self) -> list[Standing]:
        return sorted(self.visible.values(), key=_in_order)

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

    def _release(self, task: str, version: str, state: State, share: float, by_whom: str, why: str) -> Release:
        release = Release(len(self.log) + 1, task, version, state, share, self._clock.now(), by_whom, why)
        self.log.append(release)
        return release


def _shown(row: Standing) -> Shown:
    thing, _, task = row.key
    return Shown(row.answer_id, thing, row.subject_id, task, row.revision, row.simulated, row.withdrawn_at)


def _wearer(row: NewReading) -> Wearer:
    return row.event.subject_id, row.event.simulated


def _in_order(row: Standing) -> tuple[str, str, int]:
    return row.key[0], row.key[2], row.revision


def _stored_image(image: ImageIdentity) -> StoredImage:
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
