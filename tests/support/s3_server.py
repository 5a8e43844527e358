"""A local S3 server (moto's) for tests, in a Python environment of its own: its dependencies are older than ours."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from uv import find_uv_bin

from adapters import settings as settings_room
from adapters.settings import StoreSettings
from clinstream.embedded import ports, toolchain

READY_S = 60.0


@dataclass
class S3Server:
    """One server on loopback whose objects live in its memory; `settings` reach it."""

    python: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def settings(self) -> StoreSettings:
        """Account and address."""
        return StoreSettings(
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id="test",
            secret_access_key=SecretStr("test-secret"),
            timeout_s=5.0,
        )

    def start(self) -> None:
        """Starts it, empty, and returns when it answers."""
        command = [str(self.python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + READY_S
        while time.monotonic() < give_up:
            assert self.process.poll() is None, "the S3 server ended at once"
            try:
                urllib.request.urlopen(f"{self.settings.endpoint}/moto-api/data.json", timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError("the S3 server did not answer")

    def stop(self) -> None:
        """Ends it; what it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def make_bucket(self, name: str) -> str:
        """Makes a bucket and returns its URL with a prefix."""
        request = urllib.request.Request(f"{self.settings.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        return f"s3://{name}/some/prefix"


@contextmanager
def serving() -> Iterator[S3Server]:
    """A started server; skips where its packages cannot be had."""
    chosen, _ = ports.choose(["s3"], {}, {})
    server = S3Server(_python(), chosen["s3"])
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _python() -> Path:
    """The interpreter of an environment made from `requirements/s3.lock`, once a machine."""
    lock = toolchain.REQUIREMENTS / "s3.lock"
    cache = settings_room.load().cache
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"s3-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with (cache / ".s3.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not (target / toolchain.COMPLETE).exists():
            shutil.rmtree(target, ignore_errors=True)
            _uv("venv", "--quiet", "--python", sys.executable, str(target))
            python = str(target / "bin" / "python")
            _uv("pip", "install", "--quiet", "--python", python, "--require-hashes", "--requirements", str(lock))
            (target / toolchain.COMPLETE).touch()
    return target / "bin" / "python"


def _uv(*arguments: str) -> None:
    done = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode != 0:
        pytest.skip(f"the S3 server's packages cannot be installed here: {done.stderr.strip()[-200:]}")
