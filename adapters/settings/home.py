"""From the environment and the files of a home to settings, and back to what commands and children need."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError as MalformedSetting

from adapters.settings.doors import DoorSettings
from adapters.settings.exports import ExportSettings
from adapters.settings.installation import Settings
from adapters.settings.section import Section
from adapters.settings.services import DatabaseSettings, KafkaSettings, StoreSettings, TritonSettings
from schemas.errors import SettingsError

ENDPOINTS = "endpoints.json"
SECRETS = "secrets"
OWNER_PASSWORD = "database-owner.password"
APPLICATION_PASSWORD = "database-application.password"
PSEUDONYM_KEY = "pseudonym.key"
EXTERNAL_URLS = "external.json"


def load(home: Path | None = None) -> Settings:
    """Reads the settings of `home` (else CLINSTREAM_HOME, else `.clinstream`).

    Raises SettingsError naming the setting that is malformed; never its value, which may be a secret.
    """
    folder = (home or Path(os.environ.get("CLINSTREAM_HOME") or ".clinstream")).expanduser().resolve()
    known = _known(folder)
    try:
        return Settings(
            home=folder,
            cache=_cache(),
            store_url=known.get("store", {}).get("url") or (folder / "store").as_uri(),
            kafka=KafkaSettings(**known.get("kafka", {})),
            database=DatabaseSettings(**known.get("database", {})),
            triton=TritonSettings(**{"repository": folder / "repository", **known.get("triton", {})}),
            store=StoreSettings(**known.get("store", {})),
            doors=DoorSettings(**known.get("doors", {})),
            exports=ExportSettings(**known.get("exports", {})),
            **_optional(
                redis_url=known.get("redis", {}).get("url"),
                ports=known.get("ports"),
                pseudonym_key=_secret(folder, PSEUDONYM_KEY),
            ),
        ).model_copy(update={"home": folder})
    except ValidationError as broken:
        first = broken.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"The setting {name} of {folder} is not usable: {first['msg']}.") from None
    except MalformedSetting as broken:  # of a setting that must be JSON; the text names the field and no value
        raise SettingsError(f"A setting in the environment is not JSON: {broken}.") from None


def pseudonym_key(settings: Settings) -> bytes:
    """The key of the pseudonyms; raises SettingsError when it is missing, short or not hexadecimal."""
    text = settings.pseudonym_key.get_secret_value()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise SettingsError("The pseudonym key (CLINSTREAM_PSEUDONYM_KEY) is not hexadecimal.") from None
    if len(key) < 16:
        raise SettingsError("The pseudonym key is missing or shorter than 16 bytes; `clinstream up` makes one.")
    return key


def from_environment() -> dict[str, dict[str, Any]]:
    """What the environment itself sets, by section, secrets in clear: for `secrets/` and nowhere else.

    Only addresses and credentials of external servers, which other commands need to know after `up`.
    """
    found: dict[str, dict[str, Any]] = {}
    sections: dict[str, type[Section]] = {
        "kafka": KafkaSettings,
        "database": DatabaseSettings,
        "triton": TritonSettings,
        "store": StoreSettings,
        "doors": DoorSettings,
        "exports": ExportSettings,
    }
    for name, section in sections.items():
        given = section()
        values = {field: _plain(getattr(given, field)) for field in sorted(given.model_fields_set)}
        if values:
            found[name] = values
    for name in ("redis", "store"):
        url = os.environ.get(f"CLINSTREAM_{name.upper()}_URL")
        if url:
            found.setdefault(name, {})["url"] = url
    return found


def child_environment(home: Path) -> dict[str, str]:
    """The environment of a process of ours: the caller's, pointed at `home`, with output that is not held back.

    Compiled modules are kept even where the caller's shell asks not to: each start without them compiles 460 modules
    anew (3 s of one core, for each of ten processes).
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "CLINSTREAM_HOME": str(home),
        "CLINSTREAM_CACHE": str(_cache()),
        "PYTHONUNBUFFERED": "1",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(each) for name, each in value}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CLINSTREAM_CACHE") or f"{base}/clinstream").expanduser().resolve()


def _optional(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _secret(folder: Path, name: str) -> str | None:
    try:
        return (folder / SECRETS / name).read_text().strip()
    except FileNotFoundError:
        return None


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """What `up` wrote, one mapping a section, with the passwords of `secrets/` put into the URLs."""
    known = _json(folder / ENDPOINTS)
    database = known.get("database", {})
    if "host" in database:
        place = f"{database['host']}:{database['port']}/{database['name']}"
        for role, field, file in (
            ("application_role", "url", APPLICATION_PASSWORD),
            ("owner_role", "owner_url", OWNER_PASSWORD),
        ):
            password = quote(_secret(folder, file) or "", safe="")
            known["database"][field] = f"postgresql+asyncpg://{database[role]}:{password}@{place}"
    for section, values in _json(folder / SECRETS / EXTERNAL_URLS).items():
        known[section] = {**known.get(section, {}), **values}
    return known


def _json(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise SettingsError(f"{path} is not readable JSON; remove it and run `clinstream up` again.") from None
    return found if isinstance(found, dict) else {}
