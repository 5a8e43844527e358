"""Brings what is missing into the cache: Kafka's jars and Triton's environment; checked, complete or absent."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clinstream.embedded import toolchain
from schemas.errors import UserError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-reload4j:1.7.36"
STUB_PYTHON = "3.11"

Say = Callable[[str], None]


def bring(cache: Path, parts: set[str], say: Say) -> None:
    """Downloads what the named parts lack; `say` hears one sentence a step. Safe to run twice at once.

    Raises UserError when something cannot be brought, saying what else can be done.
    """
    cache.mkdir(parents=True, exist_ok=True)
    lacking = [lack for lack in toolchain.missing(cache, sorted(parts)) if lack.downloadable]
    if any(lack.part == "kafka" for lack in lacking):
        with _alone(cache, "kafka"):
            _bring_kafka(cache, say)
    if any(lack.part == "triton" for lack in lacking):
        with _alone(cache, "triton"):
            _bring_triton(cache, say)


def _bring_kafka(cache: Path, say: Say) -> None:
    target = toolchain.kafka_jars(cache)
    if toolchain.is_complete(target):
        return
    say("Downloading Apache Kafka (47 jars, 45 MB)")
    # Imported here: jgo is needed once in an installation's life.
    import jgo

    try:
        found = jgo.build(KAFKA, cache_dir=cache / "jgo")
    except Exception as failure:  # jgo raises whatever its HTTP and XML libraries do
        raise UserError(
            f"Kafka's jars could not be downloaded ({type(failure).__name__}: {failure}); "
            "check the network, or set CLINSTREAM_KAFKA_URL to a broker of yours."
        ) from failure
    half = _empty(target.with_suffix(".half"))
    for jar in sorted(found.path.rglob("*.jar")):
        shutil.copy2(jar, half / jar.name)
    _check_jars(half)
    _finish(half, target)
    shutil.rmtree(cache / "jgo", ignore_errors=True)


def _check_jars(folder: Path) -> None:
    """Compares each jar with `requirements/kafka.lock`; UserError names the first that differs."""
    lines = (toolchain.REQUIREMENTS / "kafka.lock").read_text().splitlines()
    pinned = {name: digest for digest, name in (line.split() for line in lines)}
    here = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")}
    if here != pinned:
        odd = sorted(name for name in {*here, *pinned} if here.get(name) != pinned.get(name))
        raise UserError(
            f"Downloaded Kafka jars are not the ones that this version is pinned to ({', '.join(odd[:5])}); "
            "check which Maven repository answers."
        )


def _bring_triton(cache: Path, say: Say) -> None:
    target = toolchain.triton_environment(cache)
    if toolchain.is_complete(target):
        return
    say("Installing NVIDIA Triton into its own environment (370 MB)")
    _make_environment(target, "--python", sys.executable)
    lacking = toolchain.unresolved_libraries(toolchain.packaged_triton(target))
    if lacking:
        # A distribution's Python is often linked statically and its shared library is a package of its own.
        say(f"This Python comes without {lacking[0]}; bringing one that has it")
        try:
            _make_environment(target, "--managed-python", "--python", STUB_PYTHON)
            lacking = toolchain.unresolved_libraries(toolchain.packaged_triton(target))
        except UserError as failure:
            raise UserError(f"{_advice(lacking)} (Bringing one failed: {failure})") from None
    if lacking:
        raise UserError(_advice(lacking))
    _check_packages(target)
    (target / toolchain.COMPLETE).touch()


def _check_packages(environment: Path) -> None:
    """Imports what the models run on: with numpy 2 every output would come back empty, without any error.

    It also compiles those modules, which would otherwise be done while the first stack starts.
    """
    question = "import sys, numpy, onnxruntime; sys.exit(int(numpy.__version__.split('.')[0]) >= 2)"
    asked = subprocess.run(
        [str(environment / "bin" / "python"), "-I", "-c", question], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise UserError(
            f"Triton's environment {environment} does not work (numpy 1 and onnxruntime must import there); "
            "remove it and run `clinstream setup`, or set CLINSTREAM_TRITON_URL."
        )


def _advice(lacking: Sequence[str]) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"Triton's Python backend lacks {', '.join(lacking)}; install the shared library of your Python "
        f"(Debian and Ubuntu: libpython{version}), or set CLINSTREAM_TRITON_URL."
    )


def _make_environment(target: Path, *python: str) -> None:
    shutil.rmtree(target, ignore_errors=True)
    _uv("venv", "--quiet", *python, str(target))
    lock = toolchain.REQUIREMENTS / "triton.lock"
    _uv(
        *("pip", "install", "--quiet", "--python", str(target / "bin" / "python")),
        *("--require-hashes", "--requirements", str(lock)),
    )


def _uv(*arguments: str) -> None:
    # Imported here: only the set-up needs it.
    from uv import find_uv_bin

    done = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            f"Triton's environment could not be made: {' '.join(lines[-3:])[:600]} "
            "Check the network, or set CLINSTREAM_TRITON_URL to a server of yours."
        )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _finish(half: Path, target: Path) -> None:
    (half / toolchain.COMPLETE).touch()
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)


@contextmanager
def _alone(cache: Path, name: str) -> Iterator[None]:
    """Holds the cache's lock of that name: a second set-up waits and then finds the work done."""
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
