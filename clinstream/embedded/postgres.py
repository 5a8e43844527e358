"""PostgreSQL 16: where its files live, under which user it runs, its first roles; tables are not its matter.

The server refuses to run as root. Root therefore drops to an existing unprivileged user; where that user cannot
reach the installation (a clone under /root), the data and a copy of the programs live in /var/lib/clinstream.
"""

import os
import pwd
import shutil
import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from adapters import settings as settings_room
from clinstream.embedded import probes
from clinstream.embedded.home import Home, write_private
from clinstream.supervision.component import Command, Component, Step
from schemas.errors import UserError

DATABASE = "clinstream"
OWNER = "clinstream_owner"
APPLICATION = "clinstream_app"
SUPERUSER = "postgres"
SUPERUSER_PASSWORD = "database-superuser.password"
UNPRIVILEGED = ("postgres", "nobody")
ROOTS_PLACE = Path("/var/lib/clinstream")
ROOTS_FOLDER = "database-folder"
"""The secret that names the folder in there."""

# sun_path of a Unix socket holds 107 bytes and PostgreSQL appends /.s.PGSQL.<port>.lock.
LONGEST_SOCKET_FOLDER = 80

BOOTSTRAP = """\
CREATE ROLE {owner} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE PASSWORD '{owner_password}';
CREATE ROLE {application} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD '{app_password}';
CREATE DATABASE {database} OWNER {owner};
REVOKE CONNECT ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO {application};
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this installation's server lives: `programs` holds initdb and postgres; `user` is (uid, gid)."""

    folder: Path
    programs: Path
    user: tuple[int, int] | None

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"

    @property
    def complete(self) -> Path:
        """Exists once initdb and the roles are done; without it the cluster is made anew."""
        return self.folder / "complete"


def place(home: Home, programs: Path) -> Place:
    """Finds user and folders, and makes the folders; as root a reachable copy of the programs where needed."""
    folder = home.folder / "postgres"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o700, exist_ok=True)
        return Place(folder, programs, None)
    account = _unprivileged()
    user = (account.pw_uid, account.pw_gid)
    if not _reachable(home.folder, user):
        folder = ROOTS_PLACE / home.secret(ROOTS_FOLDER, n_bytes=8)
    if not _reachable(programs, user):
        programs = _copy_programs(programs)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(folder, *user)
    return Place(folder, programs, user)


def forget(home: Home) -> None:
    """Removes what lies outside of a home that is about to be removed; nothing may run there any more."""
    named = home.secrets / ROOTS_FOLDER
    if named.exists():
        shutil.rmtree(ROOTS_PLACE / home.secret(ROOTS_FOLDER), ignore_errors=True)


def component(home: Home, ports: Mapping[str, int], where: Place) -> Component:
    """The server on `ports["database"]`, with an owner role and an application role made before its first start."""
    log = home.logs / "database.log"

    def command(*argv: str, stdin: str = "") -> Command:
        # SIGINT is PostgreSQL's fast shutdown: clients are disconnected, nothing is lost.
        return Command(argv, {"LC_ALL": "C"}, where.folder, log, where.user, 0, signal.SIGINT, stdin)

    password_file = where.folder / ".password"
    initdb = command(
        str(where.programs / "initdb"),
        *("-D", str(where.data), "-U", SUPERUSER, "-E", "UTF8", "--locale=C", "--data-checksums"),
        *("--auth=scram-sha-256", f"--pwfile={password_file}"),
    )
    careful = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic")
    single = (str(where.programs / "postgres"), "--single", "-D", str(where.data), *careful, "postgres")
    roles = command(*single, stdin=_bootstrap(home))

    def needs_cluster() -> bool:
        if where.complete.exists():
            return False
        shutil.rmtree(where.data, ignore_errors=True)
        write_private(password_file, home.secret(SUPERUSER_PASSWORD) + "\n")
        if where.user is not None:
            os.chown(password_file, *where.user)
        return True

    def write_configuration() -> None:
        password_file.unlink(missing_ok=True)
        where.complete.touch()
        _write_configuration(where, ports["database"])

    return Component(
        name="database",
        kind="part",
        command=command(str(where.programs / "postgres"), "-D", str(where.data)),
        ready=lambda: probes.postgres_answers("127.0.0.1", ports["database"]),
        steps=(
            Step("database-initdb", initdb, needs_cluster),
            Step("database-roles", roles, lambda: not where.complete.exists()),
        ),
        before_start=write_configuration,
    )


def _bootstrap(home: Home) -> str:
    return BOOTSTRAP.format(
        owner=OWNER,
        application=APPLICATION,
        database=DATABASE,
        owner_password=home.secret(settings_room.OWNER_PASSWORD),
        app_password=home.secret(settings_room.APPLICATION_PASSWORD),
    )


def _write_configuration(where: Place, port: int) -> None:
    socket = where.folder / "socket"
    socket.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "listen_addresses": "'127.0.0.1'",
        "port": str(port),
        "unix_socket_directories": f"'{socket}'" if len(str(socket)) <= LONGEST_SOCKET_FOLDER else "''",
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "max_connections": "100",
        # Identities are random, so each insertion into an index meets another page. With few buffers those are evicted
        # before they are met again, and with checkpoints close to each other most of the log is whole pages.
        "shared_buffers": f"'{_buffers_mb()}MB'",
        "wal_buffers": "'16MB'",
        "max_wal_size": "'8GB'",
        "checkpoint_timeout": "'15min'",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "idle_in_transaction_session_timeout": "'60s'",
        # A container's /dev/shm may hold 64 MB only; plain files hold as much as the disk.
        "dynamic_shared_memory_type": "mmap",
        "jit": "off",
        "log_line_prefix": "'%m [%p] '",
        # Statements and values may name people; only the error itself is logged.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
    path = where.data / "clinstream.conf"
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    main = where.data / "postgresql.conf"
    include = "include = 'clinstream.conf'"
    if include not in main.read_text():
        with main.open("a") as file:
            file.write(f"\n{include}\n")
    if where.user is not None:
        for made in (socket, path):
            os.chown(made, *where.user)


def _buffers_mb() -> int:
    """A sixteenth of the machine's memory, 128 MB to 1 GB; what is never used is never taken."""
    memory = int(psutil.virtual_memory().total)
    return min(max(memory // 16 >> 20, 128), 1024)


def _unprivileged() -> pwd.struct_passwd:
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise UserError(
        "PostgreSQL does not run as root, and there is neither a user 'postgres' nor 'nobody' to run it as; "
        "create one, start clinstream as another user, or set CLINSTREAM_DATABASE_URL."
    )


def _reachable(path: Path, user: tuple[int, int]) -> bool:
    """Whether the user may pass through every folder down to `path`, and into it (mode bits only)."""
    for folder in (path, *path.parents):
        if not folder.exists():
            continue
        found = folder.stat()
        bit = stat.S_IXOTH
        if found.st_uid == user[0]:
            bit = stat.S_IXUSR
        elif found.st_gid == user[1]:
            bit = stat.S_IXGRP
        if not found.st_mode & bit:
            return False
    return True


def _copy_programs(programs: Path) -> Path:
    """Copies the installation around `programs` (34 MB) to where an unprivileged user can run it."""
    source = programs.parent
    target = ROOTS_PLACE / f"programs-{int((programs / 'postgres').stat().st_mtime)}"
    if not (target / programs.name / "postgres").exists():
        ROOTS_PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
        half = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copytree(source, half, symlinks=True)
        half.chmod(0o755)
        try:
            half.rename(target)
        except OSError:
            shutil.rmtree(half)
    return target / programs.name
