"""Settings: the environment wins over `endpoints.json`, that over the defaults; a mistake is named, a secret never."""

import json
from pathlib import Path

import pytest

from adapters import settings
from schemas.errors import SettingsError

VARIABLES = ("KAFKA_URL", "DATABASE_URL", "REDIS_URL", "TRITON_URL", "STORE_URL", "DOOR_DICOM_PORT", "CACHE")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"CLINSTREAM_{name}", raising=False)


def write(home: Path, endpoints: dict[str, object], **secrets: str) -> None:
    (home / "secrets").mkdir(exist_ok=True)
    (home / "endpoints.json").write_text(json.dumps(endpoints))
    for name, text in secrets.items():
        (home / "secrets" / name.replace("_", "-").replace("-key", ".key").replace("-json", ".json")).write_text(text)


def test_an_empty_home_gives_the_defaults(tmp_path: Path) -> None:
    found = settings.load(tmp_path)
    assert found.home == tmp_path
    assert found.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert found.store_url == (tmp_path / "store").as_uri()
    assert found.triton.repository == tmp_path / "repository"
    assert found.metrics_port("record", 0) == 0


def test_what_up_wrote_wins_over_the_defaults(tmp_path: Path) -> None:
    ports = {"metrics.record.1": 20123}
    write(tmp_path, {"kafka": {"bootstrap_servers": "127.0.0.1:20001"}, "ports": ports, "doors": {"dicom_port": 104}})
    found = settings.load(tmp_path)
    assert found.kafka.bootstrap_servers == "127.0.0.1:20001"
    assert found.doors.dicom_port == 104
    assert found.metrics_port("record", 1) == 20123


def test_the_environment_wins_over_what_up_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"kafka": {"bootstrap_servers": "127.0.0.1:20001"}, "redis": {"url": "redis://127.0.0.1:1/0"}})
    monkeypatch.setenv("CLINSTREAM_KAFKA_URL", "broker.example:9093")
    monkeypatch.setenv("CLINSTREAM_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CLINSTREAM_REDIS_URL", "redis://cache.example:6379/1")
    found = settings.load(tmp_path)
    assert found.kafka.bootstrap_servers == "broker.example:9093"
    assert found.kafka.security_protocol == "SASL_SSL"
    assert found.redis_url == "redis://cache.example:6379/1"


def test_passwords_come_from_the_secrets_folder_and_are_never_shown(tmp_path: Path) -> None:
    place = {"host": "127.0.0.1", "port": 5433, "name": "clinstream", "owner_role": "own", "application_role": "app"}
    write(tmp_path, {"database": place}, pseudonym_key="00ff")
    (tmp_path / "secrets" / settings.APPLICATION_PASSWORD).write_text("a/b@c\n")
    (tmp_path / "secrets" / settings.OWNER_PASSWORD).write_text("ownerword\n")
    found = settings.load(tmp_path)
    assert found.database.url == "postgresql+asyncpg://app:a%2Fb%40c@127.0.0.1:5433/clinstream"
    assert found.database.migration_url == "postgresql+asyncpg://own:ownerword@127.0.0.1:5433/clinstream"
    assert found.database.application_role == "app"
    assert found.pseudonym_key.get_secret_value() == "00ff"
    assert not any(secret in repr(found) for secret in ("a%2Fb", "ownerword", "00ff"))


def test_external_addresses_of_the_last_up_are_known_to_later_commands(tmp_path: Path) -> None:
    outside = {"kafka": {"bootstrap_servers": "broker.example:9093", "sasl_password": "word"}}
    write(tmp_path, {}, external_json=json.dumps(outside))
    found = settings.load(tmp_path)
    assert found.kafka.bootstrap_servers == "broker.example:9093"
    assert found.kafka.sasl_password is not None
    assert found.kafka.sasl_password.get_secret_value() == "word"
    assert "'word'" not in repr(found)


def test_only_what_the_environment_sets_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.from_environment() == {}
    monkeypatch.setenv("CLINSTREAM_KAFKA_URL", "broker.example:9093")
    monkeypatch.setenv("CLINSTREAM_KAFKA_SASL_PASSWORD", "word")
    monkeypatch.setenv("CLINSTREAM_DOOR_DICOM_PORT", "11112")
    assert settings.from_environment() == {
        "kafka": {"bootstrap_servers": "broker.example:9093", "sasl_password": "word"},
        "doors": {"dicom_port": 11112},
    }


def test_a_malformed_setting_is_named_without_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINSTREAM_DOOR_DICOM_PORT", "secretword")
    with pytest.raises(SettingsError, match="dicom_port") as refused:
        settings.load(tmp_path)
    assert "secretword" not in str(refused.value)


def test_destinations_are_remembered_for_other_commands_with_their_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` writes what the environment said into `secrets/`; a shell without it sends to the same places."""
    ehr = {"kind": "fhir", "url": "https://x/r4", "authorization": "Bearer word"}
    said = {"pacs": {"port": 4242, "ae_title": "ORTHANC"}, "ehr": ehr}
    monkeypatch.setenv("CLINSTREAM_EXPORT_DESTINATIONS", json.dumps(said))
    monkeypatch.setenv("CLINSTREAM_EXPORT_DEFAULT", '["pacs"]')
    written = settings.from_environment()
    monkeypatch.delenv("CLINSTREAM_EXPORT_DESTINATIONS")
    monkeypatch.delenv("CLINSTREAM_EXPORT_DEFAULT")
    write(tmp_path, {}, external_json=json.dumps(written))
    found = settings.load(tmp_path).exports
    assert found.chosen == ("pacs",)
    assert found.destinations["pacs"].place == "ORTHANC@127.0.0.1:4242"
    token = found.destinations["ehr"].authorization
    assert token is not None
    assert token.get_secret_value() == "Bearer word"
    assert "word" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("DESTINATIONS", '{"pacs": secretword', "is not JSON"),
        ("DESTINATIONS", '{"pacs": {"kind": "fhir", "authorization": "secretword"}}', "needs a url"),
        ("DEFAULT", '["nowhere"]', "no destination is called nowhere"),
    ],
)
def test_destinations_that_make_no_sense_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"CLINSTREAM_EXPORT_{name}", value)
    with pytest.raises(SettingsError, match=why) as refused:
        settings.load(tmp_path)
    assert "secretword" not in str(refused.value)


def test_endpoints_that_are_no_json_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("{")
    with pytest.raises(SettingsError, match="not readable JSON"):
        settings.load(tmp_path)
