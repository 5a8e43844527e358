"""The question that `where` asks, with everything opened and closed that it takes."""

import asyncio
import getpass

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.reconciliation import log, positions
from clinstream.whereabouts.identify import identify
from clinstream.whereabouts.way import Way, ways
from schemas import topics
from schemas.errors import SettingsError, UserError

READ = (
    *topics.OBSERVED,
    *topics.WORK.values(),
    topics.ANSWERS,
    topics.OUTCOMES,
    topics.DEAD_FAILED,
    topics.DEAD_UNPROCESSABLE,
)


def find(word: str, issuer: str) -> list[Way]:
    """The ways of all events that `word` means; a lookup in the personal tables is audited under the user's name.

    Raises UserError for an empty word, BrokerUnavailable and DatabaseUnavailable.
    """
    if not word.strip():
        raise UserError("Name what to look for.")
    return asyncio.run(_find(configuration.load(), word.strip(), issuer))


async def _find(settings: Settings, word: str, issuer: str) -> list[Way]:
    try:
        key = bytes.fromhex(settings.pseudonym_key.get_secret_value())
    except ValueError:
        raise SettingsError("The pseudonym key is not hexadecimal; `clinstream up` makes one.") from None
    database = Database.open(settings, SystemClock())
    try:
        meant = await identify(database, key, word, issuer, by_whom=getpass.getuser())
    finally:
        await database.close()
    standing = positions.read(settings)
    models = triton_models.discover()
    follow_ups = {task: each.task for task, each in triton_models.chains(models).items()}
    results = topics.both_results_topics(models)
    return ways(meant, log.read(settings.kafka, [*READ, *results]), standing, follow_ups)
