"""Certificates for tests of DICOM TLS: an authority of the test's own, made by the `openssl` program."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pki:
    """PEM files: an authority, the door's certificate for `localhost` and 127.0.0.1, a sender's certificate."""

    authority: Path
    door: Path
    door_key: Path
    sender: Path
    sender_key: Path


def make(folder: Path) -> Pki:
    """Makes all of it in `folder`."""
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority -keyout ca.key -out ca.pem")
    for name in ("door", "sender"):
        _openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {name}.key -out {name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        _openssl(
            folder,
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext "
            f"-out {name}.pem",
        )
    return Pki(*(folder / name for name in ("ca.pem", "door.pem", "door.key", "sender.pem", "sender.key")))


def _openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True, timeout=60)
