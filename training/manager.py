"""The release manager: makes the moves that were ordered, and keeps the servers holding what the release log wants.

A version is loaded, ready and warm before the row that lets it answer; a rollback writes the row first.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from adapters import repository, telemetry, versions
from adapters.clock import Clock
from adapters.database import Order, Release, State, Version
from adapters.pixels import BlobStore
from adapters.repository import Entry
from adapters.settings import Settings
from schemas.errors import ClinstreamError, Conflict, MissingObject, Unavailable, UserError
from training import release
from triton_models import packaged
from triton_models.model import Model

log = telemetry.logger("releases")

POLL_S = 0.5
AWAY_S = 1.0
UNLOAD_AFTER_S = 30.0
# Whoever starts a server has it load what it served before; only what is still lacking then is this process's business.
PATIENCE_S = 20.0
FOLDER = "versions"


class Book(Protocol):
    """The part of the database that knows versions, orders and decisions."""

    async def releases(self, since: int = 0) -> list[Release]: ...
    async def versions(self) -> list[Version]: ...
    async def open_orders(self) -> list[Order]: ...
    async def end_order(self, number: int, refused: str = "") -> None: ...
    async def order(self, wanted: Order) -> Order: ...
    async def move_versions(
        self, task: str, rows: Sequence[tuple[str, State, float]], *, by_whom: str, why: str
    ) -> list[Release]: ...


class Servers(Protocol):
    """The model servers; `adapters.triton.TritonClient` is one."""

    async def reconcile(self, wanted: Sequence[str]) -> list[str]: ...
    async def loaded(self) -> set[str]: ...
    async def unload(self, model: str) -> None: ...


class Manager:
    """One of it works for an installation."""

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, Model],
        book: Book,
        store: BlobStore,
        servers: Servers,
        clock: Clock,
    ) -> None:
        self._settings, self._models, self._book = settings, models, book
        self._store, self._servers, self._clock = store, servers, clock
        self._leaving: dict[str, float] = {}
        self._lacking: dict[str, float] = {}

    async def run(self) -> None:
        """Works for ever; waits while the database, the store or the servers are away. Ends by cancellation."""
        parked, reason = telemetry.metrics().parked, ""
        while True:
            try:
                await self.once()
            except Unavailable as error:
                reason = type(error).__name__
                self._lacking.clear()  # a server that is away and comes back has its time to load anew
                parked.labels(lane="release-manager", reason=reason).set(1)
                log.warning("the release manager waits", reason=reason)
                await self._clock.sleep(AWAY_S)
                continue
            if reason:
                parked.labels(lane="release-manager", reason=reason).set(0)
                reason = ""
            await self._clock.sleep(POLL_S)

    async def once(self) -> None:
        """Makes the waiting moves, promotes what needs no person, and loads or unloads what the log asks for."""
        for order in await self._book.open_orders():
            await self._follow(order)
        log_rows, known = await self._book.releases(), await self._book.versions()
        await self._promote_automatic(log_rows, known)
        await self._settle(log_rows, known)

    async def _follow(self, order: Order) -> None:
        try:
            await self._move(order)
        except Unavailable:
            raise
        except ClinstreamError as refused:
            log.warning("a move was refused", task=order.task, version=order.version, why=str(refused))
            await self._book.end_order(order.id, str(refused))
            return
        telemetry.metrics().release_moves.labels(task=order.task, event=order.event).inc()
        await self._book.end_order(order.id)

    async def _move(self, order: Order) -> None:
        known = await self._book.versions()
        now = release.standing(await self._book.releases(), order.task)
        event = cast(release.Event, order.event)
        if order.version == "" and event == "roll_back":
            version = next((v for v, state in now.states.items() if state == "CANARY"), "") or now.serving()
        else:
            version = order.version
        if _was_made(now, version, event):
            return  # this order was carried out before a crash kept it from being marked
        rows = release.advance(
            now, version, event, approved=self._approved(order.task, version, known), share=order.share
        )
        incoming = [v for v, state, _ in rows if state in {"SHADOW", "CANARY", "PROMOTED"}]
        if event != "roll_back":
            await self._load(order.task, incoming, known)
        await self._book.move_versions(order.task, rows, by_whom=order.by_whom, why=order.why)
        if event == "roll_back":
            await self._load(order.task, incoming, known)

    def _approved(self, task: str, version: str, known: Sequence[Version]) -> bool:
        model = self._models.get(task)
        if model is None:
            raise UserError(f"There is no model {task} here; choose from: {', '.join(self._models)}.")
        if version == model.card.version or model.card.approval == "automatic":
            return True
        found = next((each for each in known if (each.task, each.version) == (task, version)), None)
        return found is not None and bool(found.approved_by)

    async def _promote_automatic(self, log_rows: Sequence[Release], known: Sequence[Version]) -> None:
        for task, model in self._models.items():
            if model.card.approval != "automatic":
                continue
            now = release.standing(log_rows, task)
            for each in known:
                if each.task == task and now.state(each.version) == "REGISTERED":
                    why = "passed the gate; the card asks for no approval"
                    await self._book.order(Order(task, each.version, "promote", 1.0, "clinstream", why))

    async def _settle(self, log_rows: Sequence[Release], known: Sequence[Version]) -> None:
        """Has the servers hold what the log wants, and lets go what it has not wanted for 30 s."""
        wanted = {task: release.to_keep_loaded(release.standing(log_rows, task)) for task in self._models}
        keep: set[str] = set()
        for task, numbers in wanted.items():
            try:
                entries = await self._entries(task, numbers, known)
            except Conflict as error:  # one version's weights are gone; the other tasks' servers are kept all the same
                log.error("weights are missing", task=task, why=str(error))
                return
            keep.update(name for entry in entries for name in repository.names(entry.card))
        loaded = await self._servers.loaded()
        now = self._clock.monotonic()
        self._lacking = {name: self._lacking.get(name, now) for name in keep - loaded}
        missing = sorted(name for name, since in self._lacking.items() if now - since >= PATIENCE_S)
        if missing:
            await self._build_all(wanted, known)
            await self._servers.reconcile(missing)
            self._lacking.clear()
        ours = {name for name in loaded if any(name.startswith(f"{task}-") for task in self._models)}
        self._leaving = {name: self._leaving.get(name, now) for name in ours - keep}
        for name, since in list(self._leaving.items()):
            if now - since >= UNLOAD_AFTER_S:
                await self._servers.unload(name)
                del self._leaving[name]
                log.info("unloaded", model=name)

    async def _load(self, task: str, numbers: Sequence[str], known: Sequence[Version]) -> None:
        entries = await self._entries(task, numbers, known)
        missing = set(numbers) - {entry.card.version for entry in entries}
        if missing:
            raise Conflict(f"{task} {', '.join(sorted(missing))} has no weights here.")
        names = await asyncio.to_thread(repository.build, self._settings.triton, entries)
        await self._servers.reconcile(names)

    async def _build_all(self, wanted: Mapping[str, Sequence[str]], known: Sequence[Version]) -> None:
        for task, numbers in wanted.items():
            entries = await self._entries(task, numbers, known)
            await asyncio.to_thread(repository.build, self._settings.triton, entries)

    async def _entries(self, task: str, numbers: Sequence[str], known: Sequence[Version]) -> list[Entry]:
        model = self._models[task]
        pairs = [(task, number) for number in numbers]
        folder = self._settings.home / FOLDER
        try:
            own = (model.card, await asyncio.to_thread(packaged.weights_for, model, pairs))
            return await versions.entries([own], known, pairs, self._store, folder)
        except MissingObject as error:
            raise Conflict(str(error)) from error


def _was_made(now: release.Standing, version: str, event: release.Event) -> bool:
    """Whether a version stands where a move would bring it; a canary may be given another share, so it moves again."""
    where: dict[str, State] = {
        "promote": "PROMOTED",
        "roll_back": "ROLLED_BACK",
        "shadow": "SHADOW",
        "reject": "REJECTED",
    }
    return bool(version) and where.get(event) == now.state(version)
