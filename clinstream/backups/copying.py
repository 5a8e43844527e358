"""A stopped installation into a folder, and such a folder into an empty home; starting and stopping are elsewhere."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from adapters import settings as settings_room
from adapters.clock import Clock
from clinstream import running
from clinstream.backups import manifest, places
from clinstream.backups.manifest import Manifest
from clinstream.embedded.home import Home, write_private
from schemas.errors import Conflict, UserError

FILES = "files"
ROOM = 1.05

Tell = Callable[[str], None]


def back_up(home: Home, target: Path, clock: Clock, release: str) -> Manifest:
    """Copies all state of the stopped installation into `target`, readable by its owner only, and returns the list.

    Raises UserError for a target that is not empty or has no room, Conflict while the installation runs.
    """
    if running.is_running(home):
        raise Conflict(f"The installation in {home.folder} is running; its files change under the copy.")
    check_target(home, target)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.chmod(0o700)
    found = list(places.entries(home))
    contents = Manifest(clock.now().astimezone(UTC).isoformat(), release)
    (target / FILES).mkdir(mode=0o700)
    for entry in found:
        copied = target / FILES / entry.name
        if entry.is_folder:
            copied.mkdir(mode=0o700, parents=True)
            contents.folders[entry.name] = stat.S_IMODE(entry.path.stat().st_mode)
        else:
            contents.files[entry.name] = manifest.copy(entry.path, copied, 0o600)
    contents.write(target)
    return contents


def check_target(home: Home, target: Path) -> None:
    """Raises UserError unless `target` is empty, lies outside of the home, and has room for the copy."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not an empty folder; a backup is never mixed with anything else.")
    if target.is_relative_to(home.folder):
        raise UserError(f"{target} lies inside of {home.folder}, which it would be a copy of; choose another folder.")
    _refuse_without_room(target, sum(e.path.stat().st_size for e in places.entries(home) if not e.is_folder))


def restore(source: Path, home: Home) -> Manifest:
    """Checks every file of the backup, then puts all into the empty home, with the permissions that they had.

    Raises UserError for a home that is not empty, a backup that is damaged, or a disk without room; nothing is
    written then.
    """
    contents = manifest.read(source)
    if home.folder.exists() and any(home.folder.iterdir()):
        raise UserError(f"{home.folder} is not empty; name an empty folder with CLINSTREAM_HOME or --home.")
    if wrong := manifest.damaged(source, contents):
        raise UserError(f"The backup is damaged: {len(wrong)} files are not what they were, the first is {wrong[0]}.")
    _refuse_without_room(home.folder, contents.size)
    home.make()
    database = places.database_folder(home)
    _put(source / FILES, contents, home, database.folder)
    if database.user is not None:
        _give(database.folder, database.user)
    _forget_old_places(home)
    return contents


def _put(files: Path, contents: Manifest, home: Home, database: Path) -> None:
    def target(name: str) -> Path:
        top, _, rest = name.partition("/")
        return database / rest if top == places.POSTGRES else home.folder / name

    for name in contents.folders:
        target(name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, file in contents.files.items():
        target(name).unlink(missing_ok=True)
        manifest.copy(files / name, target(name), file.mode)
    for name, mode in contents.folders.items():
        target(name).chmod(mode)


def _give(folder: Path, user: tuple[int, int]) -> None:
    os.chown(folder, *user)
    for path in folder.rglob("*"):
        os.chown(path, *user)


def _forget_old_places(home: Home) -> None:
    """Absolute paths of the old home go; the next `up` writes them anew. Ports stay, where they are free."""
    path = home.folder / settings_room.ENDPOINTS
    if path.exists():
        known = json.loads(path.read_text())
        known.pop("store", None)
        write_private(path, json.dumps(known, indent=1, sort_keys=True))


def _refuse_without_room(folder: Path, size: int) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size * ROOM:
        raise UserError(f"{folder} has room for {free >> 20} MB, and {size >> 20} MB are needed.")
