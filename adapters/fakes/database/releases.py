"""The release log and trained versions, in lists."""

from collections.abc import Iterable, Mapping

from adapters.database import Release, State, Version
from adapters.database.releases import STARTER, announcement, check_share
from adapters.fakes.database.messages import Messages
from schemas.card import ModelCard


class Releases(Messages):
    """The release log and trained versions, in lists."""

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

    async def ensure_starters(self, cards: Iterable[ModelCard], why: Mapping[str, str] | None = None) -> None:
        """See Database.ensure_starters."""
        await self.probe()
        known = {release.task for release in self.log}
        for card in cards:
            if card.name not in known:
                said = (why or {}).get(card.name, STARTER)
                self._release(card.name, card.version, "PROMOTED", 1.0, "clinstream", said)

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

    def _release(self, task: str, version: str, state: State, share: float, by_whom: str, why: str) -> Release:
        release = Release(len(self.log) + 1, task, version, state, share, self._clock.now(), by_whom, why)
        self.log.append(release)
        return release
