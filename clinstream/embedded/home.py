"""The folders of one installation: who may read them, its secrets and its `endpoints.json`; nothing is started."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import settings as settings_room
from schemas.errors import UserError


@dataclass(frozen=True, slots=True)
class Home:
    """One installation's state folder. Everything in it survives a restart; `run/` is true only while it runs."""

    folder: Path

    @property
    def run(self) -> Path:
        """Locks, process records and the supervisor's status."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.folder / "logs"

    @property
    def secrets(self) -> Path:
        """Passwords and keys, the only place that holds any."""
        return self.folder / settings_room.SECRETS

    def make(self) -> None:
        """Creates the folders: the home can be passed through (PostgreSQL may run as another user), not listed."""
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                self.folder.chmod(0o711)
            for private in (self.run, self.logs, self.secrets):
                private.mkdir(exist_ok=True)
                private.chmod(0o700)
        except OSError as refused:
            raise UserError(
                f"The state folder {self.folder} cannot be written ({refused.strerror}); "
                "set CLINSTREAM_HOME to a folder of yours."
            ) from None

    def secret(self, name: str, *, n_bytes: int = 24) -> str:
        """The secret of that name, made (hex of `n_bytes` random bytes) when it is not there yet."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_hex(n_bytes) + "\n")
        return path.read_text().strip()

    def endpoints(self) -> dict[str, Any]:
        """What the last start wrote; empty before the first."""
        try:
            found = json.loads((self.folder / settings_room.ENDPOINTS).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_endpoints(self, endpoints: dict[str, Any], external: dict[str, Any]) -> None:
        """Replaces the endpoints; `external` URLs may hold passwords, so they go to `secrets/`."""
        write_private(self.secrets / settings_room.EXTERNAL_URLS, json.dumps(external, indent=1))
        write_private(self.folder / settings_room.ENDPOINTS, json.dumps(endpoints, indent=1, sort_keys=True))


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step, readable by its owner only, on disk when this returns."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
