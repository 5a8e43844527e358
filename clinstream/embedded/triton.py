"""NVIDIA Triton in an environment of its own: how it is started; models are not its matter."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clinstream.embedded import probes
from clinstream.embedded.home import Home
from clinstream.supervision.component import Command, Component
from schemas.errors import UserError

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class TritonProgram:
    """A Triton server: `backends` and `environment` are None for one found on PATH, which brings its own.

    `environment` is the Python environment that its Python backend imports from, `library_path` what it needs
    on LD_LIBRARY_PATH, in order; `stub` is the python_backend_stub of that environment's Python version.
    """

    binary: Path
    backends: Path | None = None
    environment: Path | None = None
    stub: Path | None = None
    library_path: tuple[Path, ...] = ()


def component(home: Home, ports: Mapping[str, int], program: TritonProgram, reconcile: Command | None) -> Component:
    """The server on three ports of 127.0.0.1, without models until somebody loads them.

    `reconcile` runs after each restart: in explicit mode nobody else loads what was loaded before.
    """
    repository = home.folder / "repository"
    backends = home.folder / "triton" / "backends"
    argv = [
        str(program.binary),
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        "--strict-readiness=false",
    ]
    for protocol in ("http", "grpc", "metrics"):
        argv += [f"--{protocol}-address=127.0.0.1", f"--{protocol}-port={ports[f'triton-{protocol}']}"]
    if program.backends is not None:
        argv.append(f"--backend-directory={backends}")
        argv.append(f"--backend-config=python,shm-region-prefix-name={_shared_memory(home)}")

    def prepare() -> None:
        sweep(home)
        repository.mkdir(mode=0o700, exist_ok=True)
        if program.backends is not None and program.stub is not None:
            _install_backends(program.backends, program.stub, backends)

    return Component(
        name="triton",
        kind="part",
        command=Command(tuple(argv), _environment(program), home.folder, home.logs / "triton.log"),
        ready=lambda: probes.http_ok("127.0.0.1", ports["triton-http"], "/v2/health/ready"),
        before_start=prepare,
        after_restart=reconcile,
        stop_timeout_s=30.0,
    )


def sweep(home: Home) -> None:
    """Removes the shared memory that a killed server of this installation left behind; it must not be running."""
    for left in SHARED_MEMORY.glob(f"{_shared_memory(home)}*"):
        left.unlink(missing_ok=True)


def _shared_memory(home: Home) -> str:
    return f"clinstream-{hashlib.sha256(str(home.folder).encode()).hexdigest()[:12]}-"


def _environment(program: TritonProgram) -> dict[str, str]:
    """What the server inherits: the interpreter of its environment first, so that the stub finds its packages."""
    if program.environment is None:
        return {"PATH": os.defpath, "LD_LIBRARY_PATH": ":".join(map(str, program.library_path))}
    return {
        "PATH": f"{program.environment / 'bin'}:{os.defpath}",
        "VIRTUAL_ENV": str(program.environment),
        "LD_LIBRARY_PATH": ":".join(map(str, program.library_path)),
        "PYTHONNOUSERSITE": "1",
        # One thread a model instance unless its configuration says otherwise: instances are the parallelism.
        "OMP_NUM_THREADS": "1",
    }


def _install_backends(source: Path, stub: Path, target: Path) -> None:
    """Copies the backends to a folder of ours and puts the stub where the Python backend looks for it."""
    placed = target / "python" / stub.name
    if placed.exists() and placed.stat().st_size == stub.stat().st_size:
        return
    shutil.rmtree(target, ignore_errors=True)
    try:
        shutil.copytree(source, target)
        shutil.copy2(stub, placed)
    except OSError as refused:
        raise UserError(f"Triton's backends cannot be copied to {target}: {refused.strerror}.") from None
