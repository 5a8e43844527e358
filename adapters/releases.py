"""Which version of a model answers a subject: the release log as a serving process knows it, polled each second."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog

from adapters import versions
from adapters.clock import Clock
from adapters.database import Release, State, Version
from schemas.card import ModelCard
from schemas.errors import ClinstreamError, DatabaseUnavailable, Unavailable

log = structlog.get_logger(__name__)

POLL_S = 1.0


class ReleaseLog(Protocol):
    """Where decisions are read; `Database` is one."""

    async def releases(self, since: int = 0) -> list[Release]:
        """The decisions after an epoch, oldest first."""
        ...

    async def versions(self) -> list[Version]:
        """All trained versions."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The version that answers a subject, on which arm, by the decision of which epoch (0: the card's own version)."""

    version: str
    arm: Literal["serving", "canary"]
    epoch: int


@dataclass(frozen=True, slots=True)
class TaskRelease:
    """The decisions of one task folded together: the state and share of each version, and the newest epoch."""

    epoch: int = 0
    states: Mapping[str, tuple[State, float]] = field(default_factory=dict)

    def after(self, release: Release) -> "TaskRelease":
        """This, with one more decision."""
        others = {version: known for version, known in self.states.items() if version != release.version}
        return TaskRelease(release.epoch, {**others, release.version: (release.state, release.share)})

    def in_state(self, state: State) -> list[str]:
        """The versions in a state, the one that came into the log last at the end."""
        return [version for version, (found, _) in self.states.items() if found == state]


def position(task: str, subject_id: str) -> float:
    """Where a subject stands in 0..1 for a task: the same in every process, for ever, and another for each task."""
    digest = hashlib.sha256(f"canary\n{task}\n{subject_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class ReleaseBook:
    """The release log, at most two seconds old while PostgreSQL answers, and the last known one while it does not."""

    def __init__(
        self, database: ReleaseLog, clock: Clock, cards: Iterable[ModelCard] = (), *, poll_s: float = POLL_S
    ) -> None:
        self._database = database
        self._clock = clock
        self._starters = {card.name: card.version for card in cards}
        self._poll_s = poll_s
        self._tasks: dict[str, TaskRelease] = {}
        self._versions: dict[tuple[str, str], Version] = {}
        self._read_at: float | None = None
        self._poller: asyncio.Task[None] | None = None
        self.epoch = 0

    async def start(self) -> None:
        """Reads the log once, if PostgreSQL answers, and goes on polling until `stop`."""
        with contextlib.suppress(Unavailable):
            await self.refresh()
        self._poller = asyncio.create_task(self._poll(), name="release-book")

    async def stop(self) -> None:
        """Ends the polling; what is known stays."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None

    async def refresh(self) -> None:
        """Reads what was decided since the last time; raises DatabaseUnavailable and then changes nothing."""
        new = await self._database.releases(self.epoch)
        if any(self._is_trained(release) for release in new):
            self._versions = {(each.task, each.version): each for each in await self._database.versions()}
        for release in new:
            self._tasks[release.task] = self._tasks.get(release.task, TaskRelease()).after(release)
            self.epoch = release.epoch
        self._read_at = self._clock.monotonic()

    def card(self, card: ModelCard, version: str) -> ModelCard:
        """The card of a task as it holds for a version: threshold and abstention band are the version's own.

        Raises DatabaseUnavailable for a version that is neither the card's nor registered: the next read may bring it.
        """
        if version == card.version:
            return card
        trained = self._versions.get((card.name, version))
        if trained is None:
            raise DatabaseUnavailable(f"version {version} of {card.name} is released but not known yet")
        return versions.card_of(card, trained)

    def _is_trained(self, release: Release) -> bool:
        return (
            self._starters.get(release.task) != release.version
            and (release.task, release.version) not in self._versions
        )

    def age_s(self) -> float | None:
        """Seconds since the log was last read; None before the first time."""
        return None if self._read_at is None else self._clock.monotonic() - self._read_at

    def choose(self, task: str, subject_id: str) -> Choice:
        """The version for a subject: a canary for its share of the subjects, else the promoted one.

        A task without decisions is served by its card's version, as epoch 0. Raises DatabaseUnavailable until the
        log was read once, since the card's own version may long be rolled back, and while neither a decision nor a
        card names a version: the starters are written when the stack comes up.
        """
        if self._read_at is None:
            raise DatabaseUnavailable("the release table was not read yet")
        known = self._tasks.get(task, TaskRelease())
        for version in known.in_state("CANARY"):
            if position(task, subject_id) < known.states[version][1]:
                return Choice(version, "canary", known.epoch)
        promoted = known.in_state("PROMOTED")
        if not promoted and task not in self._starters:
            raise DatabaseUnavailable(f"no version of {task} is promoted")
        return Choice(promoted[-1] if promoted else self._starters[task], "serving", known.epoch)

    def shadows(self, task: str) -> list[str]:
        """The versions that answer beside the serving one and are never shown."""
        return self._tasks.get(task, TaskRelease()).in_state("SHADOW")

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(self._poll_s)
            try:
                await self.refresh()
            except ClinstreamError as error:
                log.warning("releases.not_read", reason=str(error), epoch=self.epoch)
