"""Which folders hold an installation's state, by the name that a backup gives them; nothing is copied here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters import settings as settings_room
from clinstream import stack
from clinstream.embedded import postgres, toolchain
from clinstream.embedded.home import Home
from schemas.errors import UserError

POSTGRES = "postgres"
# Made anew by `up`, true only while it runs, or a cache (Redis) of what lies in the database.
LEFT_OUT = frozenset({"run", "logs", "repository", "faust", "redis", POSTGRES})
# The place of root's PostgreSQL outside the home is drawn anew by the installation that is restored.
NEVER = frozenset({f"{settings_room.SECRETS}/database-folder"})
# A socket is no file, and the folder is made at each start.
SOCKETS = f"{POSTGRES}/socket"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder: where it is, and its name in the backup."""

    path: Path
    name: str
    is_folder: bool


def refuse_external(home: Home) -> None:
    """Raises UserError when a server that holds state is not one that `up` runs here."""
    try:
        outside = json.loads((home.secrets / settings_room.EXTERNAL_URLS).read_text())
    except (FileNotFoundError, ValueError):
        outside = {}
    for part in ("database", "kafka", "store"):
        if stack.ADDRESS[part] in outside.get(part, {}):
            raise UserError(
                f"The {part} of {home.folder} is an external server; back it up with its own tools. "
                "This command copies what `clinstream up` runs here."
            )


def entries(home: Home) -> Iterator[Entry]:
    """All state of the installation, folders before what they hold."""
    for path in sorted(home.folder.iterdir()):
        if path.name not in LEFT_OUT and not path.name.startswith("."):
            yield from _below(path, path.name)
    yield from _below(database_folder(home).folder, POSTGRES)


def database_folder(home: Home) -> postgres.Place:
    """Where PostgreSQL's files are or will be, and who owns them."""
    programs = toolchain.postgres_programs()
    if programs is None:
        raise UserError("The programs of PostgreSQL are missing; `clinstream setup` says what to do.")
    return postgres.place(home, programs)


def _below(path: Path, name: str) -> Iterator[Entry]:
    if name in NEVER or name == SOCKETS or path.is_symlink():
        return
    if path.is_dir():
        yield Entry(path, name, True)
        for child in sorted(path.iterdir()):
            yield from _below(child, f"{name}/{child.name}")
    elif path.is_file():
        yield Entry(path, name, False)
