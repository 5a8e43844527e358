"""The one map from SQLAlchemy, asyncpg and operating-system errors to `schemas.errors`; nothing is retried here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy import exc

from schemas.errors import DatabaseUnavailable

# SQLSTATE classes and codes (PostgreSQL 16, appendix A) that say "not now" and never "not this": connection
# trouble (08), insufficient resources such as a full disk (53), operator intervention (57), a standby (25006),
# an idle transaction ended by the server (25P03), a lock not granted in time (55P03). And what only an operator can
# put right, which is no event's fault either: a refused password (28), a missing database (3D) or table (42P01), a
# missing grant (42501).
AWAY_CLASSES = ("08", "28", "3D", "53", "57")
AWAY_CODES = frozenset({"25006", "25P03", "55P03", "42P01", "42501"})
SAID = {
    "28P01": "it refuses the password",
    "3D000": "the database does not exist",
    "42P01": "a table is missing; `clinstream rebuild` makes projections again",
    "42501": "the role lacks a grant; `clinstream up` gives it",
    "53100": "its disk is full",
    "57014": "a statement took too long",
    "57P03": "it is starting up",
}

# Serialization failure and deadlock: the same transaction, run again, can succeed.
RACE_CODES = frozenset({"40001", "40P01"})


def sqlstate(error: BaseException) -> str:
    """The five-character SQLSTATE of a database error, empty when it did not come from the server."""
    seen: BaseException | None = error
    while seen is not None:
        code = getattr(seen, "sqlstate", None)
        if isinstance(code, str):
            return code
        seen = getattr(seen, "orig", None) or seen.__cause__
    return ""


def is_away(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL cannot be reached or used right now."""
    if isinstance(error, (OSError, asyncio.TimeoutError, exc.TimeoutError)):
        return True
    if isinstance(error, exc.DBAPIError):
        code = sqlstate(error)
        if code:
            return code.startswith(AWAY_CLASSES) or code in AWAY_CODES
        # Without a code the client library gave up: a closed or broken connection, or a timeout of its own.
        return error.connection_invalidated or isinstance(error, (exc.InterfaceError, exc.OperationalError))
    return sqlstate(error).startswith(AWAY_CLASSES)


def is_race(error: BaseException) -> bool:
    """Whether another transaction stood in the way, so that the same transaction should simply be run again.

    A change of the schema counts too: statements prepared before it are refused once and then prepared anew.
    """
    if not isinstance(error, exc.DBAPIError):
        return False
    stale = isinstance(getattr(error.orig, "__cause__", None), asyncpg.InvalidCachedStatementError)
    return stale or sqlstate(error) in RACE_CODES


@contextmanager
def translated() -> Iterator[None]:
    """Turns an outage into `DatabaseUnavailable`; the text names the kind of trouble and never a value."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, OSError, TimeoutError) as error:
        if not is_away(error):
            raise
        kind = sqlstate(error) or type(getattr(error, "orig", None) or error).__name__
        kind = SAID.get(kind, kind)
        raise DatabaseUnavailable(f"PostgreSQL cannot be used right now ({kind})") from error
