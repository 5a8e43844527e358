"""What a door put aside, opened for a person: from the store, unsealed, audited, written where only they can read it.

Which letters there are is told elsewhere. Nothing of what is opened is shown, logged or quoted in an error.
"""

import asyncio
import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from adapters import sealing
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.pixels import BlobStore, open_store
from adapters.settings import Settings, pseudonym_key
from consumers.dead_letters import Letter
from schemas import ids
from schemas.errors import Unprocessable, UserError

OWNER_ONLY = 0o600


class Kept(msgspec.Struct, frozen=True):
    """Where the bytes of a letter lie: what a door writes as its value (`producers.aside`)."""

    uri: str
    sha256: str
    size_bytes: int
    media_type: str
    sender: str = ""

    @property
    def sealed(self) -> bool:
        """Whether only this installation's key opens them."""
        return self.media_type.endswith(sealing.MEDIA_TYPE_SUFFIX)

    @property
    def clear_type(self) -> str:
        """What they are once opened."""
        return self.media_type.removesuffix(sealing.MEDIA_TYPE_SUFFIX)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants to open a letter, in their own words and as the operating system knows them, and why."""

    by_whom: str
    why: str
    user: str


def asked(by: str, why: str) -> Asked:
    """Raises UserError where it is not said why."""
    if not why.strip():
        raise UserError("Say why: --why is kept in the audit.")
    user = getpass.getuser()
    return Asked(by.strip() or user, why.strip(), user)


def kept(letter: Letter) -> Kept | None:
    """What a door kept of something that it refused; None for an event that a step put aside."""
    if letter.note.observed.topic:
        return None
    try:
        found = msgspec.json.decode(letter.value, type=Kept)
    except msgspec.DecodeError:
        return None
    return found if found.uri.startswith(f"{sealing.QUARANTINE}/") else None


def opened(settings: Settings, letter: Letter, target: Path, who: Asked) -> Kept:
    """Writes the letter's bytes to `target`, a new file that its owner alone may read; audited before they are there.

    Raises UserError for a letter without such bytes and a file that is there or cannot be made, SettingsError without
    the key, MissingObject, Unprocessable for another key's seal, StoreUnavailable, DatabaseUnavailable: then there is
    no file.
    """
    found = kept(letter)
    if found is None:
        raise UserError(
            f"{letter.id} is an event of the log and lies nowhere else; `clinstream dead show` tells of it."
        )
    key = pseudonym_key(settings) if found.sealed else b""
    with _new(target) as file:
        try:
            file.write(asyncio.run(_audited(settings, letter, found, key, who)))
            file.flush()
        except BaseException:  # raised again, Ctrl-C too: what was not audited and written whole leaves no file
            target.unlink()
            raise
    return found


async def _audited(settings: Settings, letter: Letter, found: Kept, key: bytes, who: Asked) -> bytes:
    """The bytes, once the audit has it."""
    store = open_store(settings.store_url, settings.store)
    database = Database.open(settings, SystemClock())
    details: dict[str, object] = {"letter": letter.id, "uri": found.uri, "sealed": found.sealed, "user": who.user}
    try:
        data = await clear(store, found, key)
        await database.note_opening(details, by_whom=who.by_whom, purpose=who.why)
        return data
    finally:
        await database.close()
        await store.close()


async def clear(store: BlobStore, found: Kept, key: bytes) -> bytes:
    """The bytes as they came; raises Unprocessable where the store holds others, or the seal is not this key's."""
    data = await store.get(found.uri)
    if ids.sha256_hex(data) != found.sha256:
        raise Unprocessable(f"{found.uri} in the store is not what was put aside")
    return sealing.unseal(key, sealing.QUARANTINE, data) if found.sealed else data


def _new(target: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb")
    except OSError as error:
        raise UserError(f"{target} cannot be made ({error.strerror}); name a file that is not there yet.") from None
