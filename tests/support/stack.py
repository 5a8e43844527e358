"""Real servers for tests: started once, in a temporary home on free ports, gone when the test session is.

They live under the same supervisor as in production; one that loses its test process takes everything down.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from adapters import settings as settings_room
from adapters.settings import DatabaseSettings, Settings
from clinstream import running, stack
from clinstream.embedded import postgres, setup
from clinstream.embedded.home import Home

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that a test started: its `home`, what its components are doing, and ways to look and to stop."""

    home: Path

    def settings(self) -> Settings:
        """The settings that its processes run with."""
        return settings_room.load(self.home)

    def status(self) -> dict[str, Any]:
        """What its supervisor wrote last."""
        return running.read_status(Home(self.home))

    def component(self, name: str) -> dict[str, Any]:
        """State, pid, restarts and last exit of one component; KeyError when there is none of that name."""
        for found in self.status()["components"]:
            if found["name"] == name:
                return dict(found)
        raise KeyError(name)

    def down(self) -> list[str]:
        """Stops it, as `clinstream down` does."""
        return running.take_down(Home(self.home))


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A state folder that an unprivileged server user can reach (pytest's own are for root alone)."""
    folder = Path(tempfile.mkdtemp(prefix="clinstream-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def start_parts(*parts: str) -> Iterator[RunningStack]:
    """The named servers of `stack.PARTS` in a home of their own, without our processes."""
    with temporary_home() as folder, _started(folder, parts or stack.PARTS, services=False) as found:
        yield found


@contextmanager
def start_stack(home: Path) -> Iterator[RunningStack]:
    """The whole stack with all our processes, its state in `home`; ready when entered, stopped on leaving."""
    with _started(home, stack.PARTS, services=True) as found:
        yield found


@contextmanager
def _started(folder: Path, parts: Sequence[str], *, services: bool) -> Iterator[RunningStack]:
    home = Home(folder)
    setup.bring(settings_room.load(folder).cache, set(stack.own_parts(parts)), say=lambda sentence: None)
    process = running.start(home, parts=parts, ports=(), services=services, bound_to_us=True)
    try:
        running.follow(home, process, running.Interrupts(), tell=lambda status: None)
        yield RunningStack(folder)
    finally:
        running.end(process, running.Interrupts())
        running.take_down(home)


def superuser_url(settings: Settings) -> str:
    """`postgresql://` URL of the test server's superuser, to create databases with."""
    home = Home(settings.home)
    place = urlsplit(settings.database.url)
    password = quote(home.secret(postgres.SUPERUSER_PASSWORD), safe="")
    return f"postgresql://{postgres.SUPERUSER}:{password}@{place.hostname}:{place.port}/postgres"


async def create_database(settings: Settings, name: str, template: str | None = None) -> Settings:
    """Creates a database owned by the owner role, empty or a copy, and returns settings that point at it."""
    import asyncpg

    connection = await asyncpg.connect(superuser_url(settings))
    try:
        source = f'TEMPLATE "{template}"' if template else ""
        await connection.execute(f'CREATE DATABASE "{name}" OWNER {postgres.OWNER} {source}')
    finally:
        await connection.close()
    return with_database(settings, name)


async def drop_database(settings: Settings, name: str) -> None:
    """Drops a database, ending whoever is still connected to it."""
    import asyncpg

    connection = await asyncpg.connect(superuser_url(settings))
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def with_database(settings: Settings, name: str) -> Settings:
    """The same settings, pointing at another database of the same server."""
    database = settings.database
    urls = {
        field: getattr(database, field).rpartition("/")[0] + f"/{name}"
        for field in ("url", "owner_url")
        if getattr(database, field)
    }
    changed: DatabaseSettings = database.model_copy(update=urls)
    return settings.model_copy(update={"database": changed})


def in_a_loop_of_its_own(work: Callable[[], Awaitable[T]]) -> T:
    """Runs a coroutine from a synchronous fixture without touching the event loop of the tests."""

    async def run() -> T:
        return await work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()
