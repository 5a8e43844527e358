"""Credentials of uploaders made, listed and revoked for the commands; how they open the door is in `adapters`."""

import getpass
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adapters import wearers
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import SECRETS, Settings, pseudonym_key
from adapters.wearers import Credential
from schemas import ids
from schemas.errors import UserError

T = TypeVar("T")
MAX_NAME = 128
KEPT = "wearers.json"
"""Secrets of the wearers whose recordings `send cgm` sends, in the home's folder of secrets."""


async def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """The result of `work` on an opened database; raises DatabaseUnavailable."""
    database = Database.open(settings, SystemClock())
    try:
        return await work(database)
    finally:
        await database.close()


async def add(
    database: Database, settings: Settings, name: str, issuer: str = "", zone: str = ""
) -> tuple[Credential, str]:
    """A new credential of a wearer, and its secret, which is kept nowhere."""
    name = name.strip()
    check_zone(zone)
    if not 0 < len(name) <= MAX_NAME:
        raise UserError(f"A wearer's name has 1 to {MAX_NAME} characters.")
    secret = wearers.new_secret()
    salt = os.urandom(16)
    made = Credential(
        credential_id=uuid4(),
        subject_id=ids.subject_id(pseudonym_key(settings), issuer, name),
        label=name,
        salt=salt,
        secret_hash=wearers.salted(salt, wearers.digest(secret) or ""),
        created_at=SystemClock().now(),
        zone=zone,
    )
    await database.add_credential(made, by_whom=getpass.getuser())
    return made, secret


def check_zone(zone: str) -> None:
    """Raises UserError where there is no such time zone."""
    try:
        if zone:
            ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UserError(f"There is no time zone {zone[:64]!r}; write it like Europe/Berlin.") from None


async def set_zone(database: Database, which: str, zone: str) -> str:
    """Notes the zone of a wearer's clock; the wearer's pseudonym. Raises UserError for an unknown wearer or zone."""
    check_zone(zone)
    subject = await subject_of(database, which)
    if not await database.set_zone(subject, zone, by_whom=getpass.getuser()):
        raise UserError(f"The wearer {which!r} has no credential; `clinstream wearers add` makes one.")
    return subject


async def subject_of(database: Database, which: str) -> str:
    """The pseudonym of a wearer, given it or the name of a credential; raises UserError for an unknown name."""
    if which.startswith("sub-"):
        return which
    found = {each.subject_id for each in await database.credentials(revoked=True) if each.label == which}
    if len(found) != 1:
        how = "Several wearers are" if found else "No wearer is"
        raise UserError(f"{how} called {which!r}; name one by the pseudonym that `clinstream wearers list` shows.")
    return found.pop()


async def revoke(database: Database, which: str) -> list[UUID]:
    """Revokes the credential with this id, or all of the wearer with this name; raises UserError when none is live."""
    live = [each for each in await database.credentials() if which in (str(each.credential_id), each.label)]
    if not live:
        raise UserError(f"No credential that opens the door is called {which!r}; `clinstream wearers list` shows them.")
    return await database.revoke_credentials([each.credential_id for each in live], by_whom=getpass.getuser())


async def secret_for(database: Database, settings: Settings, name: str) -> str:
    """The secret of a wearer that this home keeps, made where there is none that opens the door."""
    file = settings.home / SECRETS / KEPT
    kept = _kept(file)
    subject = ids.subject_id(pseudonym_key(settings), "", name.strip())
    live = [each for each in await database.credentials() if each.subject_id == subject]
    sha1 = wearers.digest(kept.get(subject, ""))
    if sha1 and any(each.opens(sha1) for each in live):
        return kept[subject]
    _, secret = await add(database, settings, name)
    _keep(file, {**kept, subject: secret})
    return secret


def _kept(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(f"{file} is not readable JSON; remove it, and `send cgm` makes new credentials.") from None
    return {str(name): str(value) for name, value in found.items()}


def _keep(file: Path, kept: dict[str, str]) -> None:
    """Replaced as a whole, readable by its owner only."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(kept, out)
    fresh.replace(file)
