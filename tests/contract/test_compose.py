"""docker-compose.yml against the Compose specification and against our own tables and settings (S8).

No container is run here; what that leaves open is said in docs/compose.md.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import AliasChoices

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream import processes
from clinstream.contracts import acls, compose, scrape
from clinstream.embedded import kafka, postgres
from schemas.access import ADMIN, account, accounts
from tests.support import compose as file

RAW, DONE = file.raw(), file.interpolated()
SERVICES: dict[str, Any] = DONE["services"]
ROWS = {row.name: row for row in processes.every(Settings(cache=Path("cache")))}
COPIES = {scrape.service(name, i): (row, i) for name, row in ROWS.items() for i in scrape.copies(row)}
OURS = {name: row for name, (row, _) in COPIES.items()}
HELPERS = {"prepare", "folders", "model-keeper", "operator"}
SERVERS = {"kafka", "postgres", "redis", "s3", "triton", "mlflow", "prometheus", "grafana"}


def test_it_fits_the_compose_specification() -> None:
    """S8: by the JSON Schema of the specification, as the package check-jsonschema carries it."""
    carrier = find_spec("check_jsonschema")  # found, not imported: only its data is wanted
    assert carrier is not None
    assert carrier.origin is not None
    path = Path(carrier.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(DONE)] == []
    broken = {**DONE, "services": {**SERVICES, "kafka": {**SERVICES["kafka"], "imagee": "x"}}}
    assert not validator.is_valid(broken)


def test_every_process_of_the_table_has_one_service_and_there_is_no_other() -> None:
    """S8: the process table is the only place that says what runs."""
    assert set(SERVICES) - SERVERS - HELPERS == set(OURS)
    assert set(ROWS) == {row.name for row in OURS.values()}
    for name, (row, index) in COPIES.items():
        assert SERVICES[name]["command"] == ["python", "-m", row.module, *row.args, "--index", str(index)], name


def test_the_file_is_up_to_date_with_the_tables() -> None:
    """S8: a new process or account is one command, and forgetting it fails here."""
    text = file.FILE.read_text(encoding="utf-8")
    assert compose.render(ROWS.values(), text) == text, "run `clinstream contract containers --write` and commit"


def test_what_a_setting_asks_for_waits_behind_a_profile() -> None:
    """S8: `docker compose up` starts what always runs; where results go is no part of the file."""
    asked = {name for name, row in OURS.items() if row.asked_for}
    assert asked == {"exports", "door-folder"}
    assert {name for name in OURS if "profiles" in SERVICES[name]} == asked
    assert all(SERVICES[name]["profiles"] == [name] for name in asked)
    assert not {row.name for row in processes.table(Settings(cache=Path("cache")))} & asked
    for name in ("exports", "operator"):
        assert SERVICES[name]["env_file"] == [{"path": "destinations.env", "required": False}], name
    folder = SERVICES["door-folder"]
    assert f"incoming:{folder['environment']['CLINSTREAM_DOOR_FOLDER']}" in folder["volumes"]


def known_variables() -> set[str]:
    """Every environment variable that a settings class reads."""
    found = {"CLINSTREAM_HOME", "CLINSTREAM_CACHE"}
    sections: list[Any] = [Settings]
    sections += [each.annotation for each in Settings.model_fields.values() if _is_section(each.annotation)]
    for section in sections:
        prefix = section.model_config["env_prefix"]
        for name, field in section.model_fields.items():
            alias = field.validation_alias
            match alias:
                case AliasChoices():
                    found |= {str(choice) for choice in alias.choices}
                case str():
                    found.add(alias)
                case _:
                    found.add(f"{prefix}{name}".upper())
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, settings_room.Section)


@pytest.mark.parametrize("name", sorted({*OURS, *HELPERS}))
def test_a_services_environment_is_read_by_our_settings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: every variable is one that a settings class knows, and together they are usable."""
    environment = SERVICES[name].get("environment", {})
    assert set(environment) <= known_variables()
    for variable, value in environment.items():
        assert isinstance(value, str), f"{variable}: YAML reads {value!r} as something else than text"
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("CLINSTREAM_HOME", str(tmp_path))
    found = settings_room.load()
    if name == "folders":
        return
    assert found.kafka.bootstrap_servers == "kafka:9092"
    assert found.triton.grpc == "triton:8001"
    assert found.triton.profile == "a30"
    assert found.store_url.startswith("s3://" + SERVICES["s3"]["environment"]["S3_BUCKET"])
    assert found.store.endpoint == "http://s3:8333"
    assert found.store.secret_access_key is not None
    assert found.store.secret_access_key.get_secret_value() == SERVICES["s3"]["environment"]["AWS_SECRET_ACCESS_KEY"]
    assert found.database.application_role == postgres.APPLICATION
    assert found.metrics_port(name) == scrape.PORT
    assert len(bytes.fromhex(found.pseudonym_key.get_secret_value())) >= 16
    if name in OURS:
        who = account(OURS[name].name)
        assert found.kafka.sasl_username == (who if who in accounts() else None)
        assert found.database.owner_url is None, "only the preparation may change tables"
        assert not found.kafka.manage_access
    if found.kafka.sasl_username or name not in (*OURS, "model-keeper"):
        assert found.kafka.sasl_username is not None
        assert found.kafka.sasl_password is not None
        assert found.kafka.sasl_password.get_secret_value() == file.secret(compose.variable(found.kafka.sasl_username))


def test_the_broker_is_the_embedded_one_with_accounts_and_rules() -> None:
    """S8, S6: the settings that tests run for real, spelt as the image reads them."""
    passwords = {name: file.secret(compose.variable(name)) for name in (ADMIN, *accounts())}
    wanted = {
        **kafka.properties(Path("/var/lib/kafka/data"), 9092, 9093),
        **acls.broker_properties(passwords, clients=compose.LISTENERS),
        "controller.quorum.voters": "1@kafka:9093",
        "listeners": "CLIENTS://:9092,OUTSIDE://:9094,CONTROLLER://:9093",
        "advertised.listeners": "CLIENTS://kafka:9092,OUTSIDE://127.0.0.1:9094",
    }
    assert SERVICES["kafka"]["environment"] == {_as_variable(name): value for name, value in wanted.items()}


def _as_variable(name: str) -> str:
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def test_the_database_gets_the_roles_of_the_embedded_one() -> None:
    """S8: an owner that migrates, an application that cannot."""
    wanted = postgres.BOOTSTRAP.format(
        owner=postgres.OWNER,
        application=postgres.APPLICATION,
        database=postgres.DATABASE,
        owner_password=file.secret("CLINSTREAM_DATABASE_OWNER_PASSWORD"),
        app_password=file.secret("CLINSTREAM_DATABASE_APPLICATION_PASSWORD"),
    )
    assert DONE["configs"]["roles"]["content"] == wanted


def test_ports_are_published_on_loopback_and_once() -> None:
    """S8: nothing of a hospital's is open to its network by default."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) >= 12
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)
    assert len(published) == len(set(published))
    defaults = Settings(cache=Path("cache")).doors
    assert f"127.0.0.1:{defaults.dicom_port}:{defaults.dicom_port}" in SERVICES["door-dicom"]["ports"]
    assert f"127.0.0.1:{defaults.http_port}:{defaults.http_port}" in SERVICES["door-http"]["ports"]


def test_no_secret_is_written_down_and_none_has_a_default() -> None:
    """S8: whatever looks like a secret comes from the environment, and its absence stops the start."""
    text = file.FILE.read_text(encoding="utf-8")
    assert "${" in text
    assert re.findall(r"\$\{[A-Z0-9_]+(?!:\?|[A-Z0-9_])", text) == []
    for name, service in RAW["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY$|DATABASE_.*URL", variable):
                assert "${" in str(value), f"{name}: {variable}"


def test_what_a_service_waits_for_says_when_it_is_there() -> None:
    """S8: health checks gate the order, and nobody waits in a circle."""
    waits = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    for name, others in waits.items():
        for other, how in others.items():
            service = SERVICES[other]
            if how["condition"] == "service_healthy":
                assert service["healthcheck"]["test"], (name, other)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert service["restart"] == "no", (name, other)
    assert all("prepare" in waits[name] for name in OURS)
    assert {"kafka", "postgres", "redis", "s3", "triton"} <= set(waits["prepare"])
    done: set[str] = set()
    while len(done) < len(waits):
        ready = {name for name, others in waits.items() if name not in done and set(others) <= done}
        assert ready, f"a circle among {set(waits) - done}"
        done |= ready


def test_images_are_pinned_volumes_declared_and_folders_there() -> None:
    """S8."""
    named = set(DONE["volumes"])
    for name, service in SERVICES.items():
        tag = service["image"].rpartition(":")[2]
        assert tag[:1].isdigit() or tag[:1] == "v", f"{name}: {service['image']}"
        assert "minio" not in service["image"]
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in named or (file.TREE / source).is_dir(), f"{name}: {volume}"


def test_our_processes_run_without_privileges() -> None:
    """S8: no root, no capabilities, no writing outside their state."""
    for name in (*OURS, "prepare", "operator", "model-keeper"):
        service = SERVICES[name]
        assert (service["user"], service["cap_drop"], service["read_only"]) == ("10001:10001", ["ALL"], True), name


def test_one_dockerfile_builds_from_hash_pinned_packages_and_runs_as_nobody_special() -> None:
    """S8: no registry's address besides the images' names."""
    text = (file.TREE / "Dockerfile").read_text(encoding="utf-8")
    stages = dict(re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE))
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= set(
        re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    )
    assert stages
    assert "://" not in text
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)
    assert "USER 10001:10001" in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for each in source.split():
            assert (file.TREE / each).exists(), each


def test_prometheus_asks_every_process_and_its_file_is_the_tables() -> None:
    """S8, S7: a new process is watched without anybody thinking of it."""
    assert scrape.FILE.read_text(encoding="utf-8") == scrape.render(ROWS.values()), (
        "run `clinstream contract containers --write` and commit grafana/prometheus"
    )


def test_the_file_of_secrets_is_made_whole_and_never_changed(tmp_path: Path) -> None:
    """S8: a password that a server was started with must not be replaced."""
    path = tmp_path / ".env"
    assert compose.complete(path) == list(compose.asked())
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    assert compose.complete(path) == []
    assert path.read_text() == before
    first, *rest = before.splitlines()
    path.write_text("\n".join(rest) + "\n")
    assert compose.complete(path) == [first.partition("=")[0]]
    assert rest == path.read_text().splitlines()[:-1]
