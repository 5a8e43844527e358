"""docker-compose.yml as a tree, with its interpolation done the way docker compose does it; nothing is run."""

import re
from pathlib import Path
from typing import Any

import yaml

TREE = Path(__file__).parents[2]
FILE = TREE / "docker-compose.yml"
ASKED = re.compile(r"\$\{([A-Z0-9_]+):\?[^}]*\}")


def secret(name: str) -> str:
    """A stand-in for the secret of that name: hexadecimal, as the real ones are."""
    return name.encode().hex()[-48:].rjust(48, "0")


def raw() -> dict[str, Any]:
    """The file with merges done and variables left as they stand."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def interpolated() -> dict[str, Any]:
    """The file with every required variable replaced by its stand-in."""
    text = ASKED.sub(lambda match: secret(match[1]), FILE.read_text(encoding="utf-8"))
    found: dict[str, Any] = yaml.safe_load(text)
    return found
