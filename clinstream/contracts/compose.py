"""The secrets that docker-compose.yml asks of its environment, and the file that holds them; no container is run."""

import os
import re
import secrets
from pathlib import Path

import clinstream
from schemas.errors import UserError

FILE = Path(clinstream.__file__).resolve().parent.parent / "docker-compose.yml"
ASKED = re.compile(r"\$\{([A-Z0-9_]+):\?")


def asked(file: Path = FILE) -> tuple[str, ...]:
    """The variables without which docker compose refuses to start, sorted."""
    try:
        return tuple(sorted(set(ASKED.findall(file.read_text(encoding="utf-8")))))
    except FileNotFoundError:
        raise UserError(f"{file} is missing; run clinstream from a complete checkout.") from None


def complete(path: Path, file: Path = FILE) -> list[str]:
    """Adds a random value (48 hexadecimal digits) for each variable that `path` lacks; returns their names.

    The file is readable by its owner only. A value that is there is never changed: the servers know it already.
    """
    present = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known = {line.partition("=")[0].strip() for line in present}
    missing = [name for name in asked(file) if name not in known]
    if missing:
        lines = [*present, *(f"{name}={secrets.token_hex(24)}" for name in missing)]
        half = path.with_name(f".{path.name}.part")
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as written:
            written.write("\n".join(lines) + "\n")
        half.replace(path)
    return missing
