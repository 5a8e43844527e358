"""The table of contents of a backup: every file with its SHA-256, size and mode; written last, read first."""

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from clinstream.embedded.home import write_private
from schemas.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 1
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """One file of a backup; `mode` are its permission bits."""

    sha256: str
    size: int
    mode: int


@dataclass(slots=True)
class Manifest:
    """All of a backup: folders with their modes, files with their sums; `made_at` is RFC 3339 in UTC."""

    made_at: str
    release: str
    folders: dict[str, int] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def write(self, folder: Path) -> None:
        """Puts it into the backup, which is complete from then on."""
        write_private(folder / MANIFEST, json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True))


def read(folder: Path) -> Manifest:
    """The table of contents of the backup in `folder`; UserError when there is none, or not of this format."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise UserError(f"{folder} holds no complete backup: there is no {MANIFEST}.") from None
    except ValueError:
        raise UserError(f"{folder / MANIFEST} is damaged; this backup cannot be trusted.") from None
    if found.get("format") != FORMAT:
        raise UserError(f"The backup has format {found.get('format')}; this release reads format {FORMAT}.")
    for name in (*found["folders"], *found["files"]):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"The backup names {name!r}, which lies outside of it; it is not one of ours.")
    files = {name: File(**file) for name, file in found["files"].items()}
    return Manifest(found["made_at"], found["release"], found["folders"], files)


def damaged(folder: Path, contents: Manifest) -> list[str]:
    """The files that are missing or are not what the manifest says."""
    wrong = []
    for name, file in contents.files.items():
        path = folder / "files" / name
        if not path.is_file() or path.stat().st_size != file.size or digest(path) != file.sha256:
            wrong.append(name)
    return wrong


def copy(source: Path, target: Path, mode: int) -> File:
    """Copies one file, on disk when this returns, and says what was copied; holes stay holes."""
    sha, size = hashlib.sha256(), 0
    with (
        source.open("rb") as reader,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer,
    ):
        while block := reader.read(BLOCK):
            sha.update(block)
            size += len(block)
            if block.count(0) == len(block):
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate(size)
        writer.flush()
        os.fsync(writer.fileno())
        os.fchmod(writer.fileno(), mode)
    return File(sha.hexdigest(), size, stat.S_IMODE(source.stat().st_mode))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as reader:
        while block := reader.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()
