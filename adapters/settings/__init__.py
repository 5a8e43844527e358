"""What can be set and where it comes from: environment, then `endpoints.json` of the home, then defaults.

The only room that reads the environment. No connection is opened here and nothing is written.
"""

from adapters.settings.doors import DoorSettings
from adapters.settings.exports import Destination, ExportSettings
from adapters.settings.home import (
    APPLICATION_PASSWORD,
    ENDPOINTS,
    EXTERNAL_URLS,
    OWNER_PASSWORD,
    PSEUDONYM_KEY,
    SECRETS,
    child_environment,
    from_environment,
    load,
    pseudonym_key,
)
from adapters.settings.installation import Settings
from adapters.settings.section import Section
from adapters.settings.services import DatabaseSettings, KafkaSettings, SecurityProtocol, StoreSettings, TritonSettings

__all__ = [
    "APPLICATION_PASSWORD",
    "ENDPOINTS",
    "EXTERNAL_URLS",
    "OWNER_PASSWORD",
    "PSEUDONYM_KEY",
    "SECRETS",
    "DatabaseSettings",
    "Destination",
    "DoorSettings",
    "ExportSettings",
    "KafkaSettings",
    "Section",
    "SecurityProtocol",
    "Settings",
    "StoreSettings",
    "TritonSettings",
    "child_environment",
    "from_environment",
    "load",
    "pseudonym_key",
]
