"""What docker-compose.yml takes from our tables and asks of its environment; no container is run.

Between its two marks the file holds one service a process, and in one place the broker's accounts: both are rewritten
from the tables. The rest is written by hand.
"""

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import clinstream
from clinstream.contracts import acls
from clinstream.contracts.scrape import copies, service
from clinstream.processes import Process
from schemas.access import ADMIN, account, accounts
from schemas.errors import UserError

FILE = Path(clinstream.__file__).resolve().parent.parent / "docker-compose.yml"
ASKED = re.compile(r"\$\{([A-Z0-9_]+):\?")
HINT = "run clinstream contract secrets"
LISTENERS = ("CLIENTS", "OUTSIDE")
BEGIN = "  # From here on: the process table (clinstream/processes.py), one service a process.\n"
END = "\nconfigs:\n"
JAAS = re.compile(r"&jaas '[^']*'")
# What a door opens to this machine: (variable, value) beside the common ones, and its published port.
DOORS: Mapping[str, tuple[Mapping[str, str], int]] = {
    "door-dicom": ({"CLINSTREAM_DOOR_DICOM_HOST": "0.0.0.0", "CLINSTREAM_DOOR_DICOM_PROCESSES": '"1"'}, 11112),
    "predictions": ({"CLINSTREAM_DOOR_PREDICTIONS_HOST": "0.0.0.0"}, 8081),
    "door-http": ({"CLINSTREAM_DOOR_HTTP_HOST": "0.0.0.0"}, 8080),
    "door-folder": ({"CLINSTREAM_DOOR_FOLDER": "/incoming"}, 0),
}
# What training processes have beside the common: the models' volume to write to, base data, the registry.
TRAINING = {"CLINSTREAM_MLFLOW_URL": "http://mlflow:5000", "CLINSTREAM_TRAINING_DATA": "/training-data"}
TRAINING_VOLUMES = ("state:/var/lib/clinstream", "models:/models", "training-data:/training-data:ro")
# What processes have that only a setting asks for, each in a profile of its name: where results go is in a file that
# docker compose leaves aside where it is absent, the watched folder is a volume.
ASKED_FOR: Mapping[str, str] = {
    "exports": "    env_file: [{path: destinations.env, required: false}]\n",
    "door-folder": '    volumes: ["state:/var/lib/clinstream", "models:/models:ro", "incoming:/incoming"]\n',
}


def variable(name: str) -> str:
    """The environment variable that holds the broker's password of an account."""
    return f"CLINSTREAM_KAFKA_PASSWORD_{name}".upper().replace("-", "_")


def render(rows: Iterable[Process], text: str) -> str:
    """`text` with its services of the process table and its accounts as the tables have them now.

    Raises UserError when the marks are not there.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end and JAAS.search(head)):
        raise UserError("docker-compose.yml has lost its marks; take the file of this version.")
    passwords = {name: _required(variable(name)) for name in (ADMIN, *accounts())}
    key = f"listener.name.{LISTENERS[0].lower()}.plain.sasl.jaas.config"
    jaas = acls.broker_properties(passwords, clients=LISTENERS)[key]
    head = JAAS.sub(lambda _: f"&jaas '{jaas}'", head)
    return head + begin + "".join(_service(row, index) for row in rows for index in copies(row)) + end + tail


def write(rows: Iterable[Process], file: Path = FILE) -> Path:
    """Rewrites what the tables give and returns the file's path."""
    file.write_text(render(rows, _text(file)), encoding="utf-8")
    return file


def _service(row: Process, index: int) -> str:
    more, port = DOORS.get(row.name, ({}, 0))
    command = ", ".join(f'"{word}"' for word in ("python", "-m", row.module, *row.args, "--index", str(index)))
    larger = ""
    if _trains(row):
        volumes = ", ".join(f'"{volume}"' for volume in TRAINING_VOLUMES)
        larger = (
            f"    build: {{context: ., target: train}}\n    image: clinstream-train:0.2\n    volumes: [{volumes}]\n"
        )
        more = TRAINING
    if row.asked_for:
        larger = f"    profiles: [{row.name}]\n" + ASKED_FOR[row.name]
    who = account(row.name)
    lines = [f"\n  {service(row.name, index)}:\n", "    <<: *process\n", larger, f"    command: [{command}]\n"]
    if port:
        lines.append(f'    ports: ["127.0.0.1:{port}:{port}"]\n')
    lines += ["    environment:\n", "      <<: *environment\n"]
    lines += [f"      {name}: {value}\n" for name, value in more.items()]
    if who in accounts():
        lines.append(f"      CLINSTREAM_KAFKA_SASL_USERNAME: {who}\n")
        lines.append(f"      CLINSTREAM_KAFKA_SASL_PASSWORD: {_required(variable(who))}\n")
    return "".join(lines)


def _trains(row: Process) -> bool:
    """Whether the process needs torch, which only the larger image has."""
    return row.module.split(".")[0] == "training"


def _required(name: str) -> str:
    return "${" + name + ":?" + HINT + "}"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file} is missing; run clinstream from a complete checkout.") from None


def asked(file: Path = FILE) -> tuple[str, ...]:
    """The variables without which docker compose refuses to start, sorted."""
    return tuple(sorted(set(ASKED.findall(_text(file)))))


def complete(path: Path, file: Path = FILE) -> list[str]:
    """Adds a random value (48 hexadecimal digits) for each variable that `path` lacks; returns their names.

    The file is readable by its owner only. A value that is there is never changed: the servers know it already.
    """
    present = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known = {line.partition("=")[0].strip() for line in present}
    missing = [name for name in asked(file) if name not in known]
    if missing:
        lines = [*present, *(f"{name}={secrets.token_hex(24)}" for name in missing)]
        half = path.with_name(f".{path.name}.part")
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as written:
            written.write("\n".join(lines) + "\n")
        half.replace(path)
    return missing
