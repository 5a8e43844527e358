"""What can be set and where it comes from: environment, then `endpoints.json` of the home, then defaults.

The only room that reads the environment. No connection is opened here and nothing is written.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as MalformedSetting

from schemas.errors import SettingsError
from schemas.routing import Deidentify

ENDPOINTS = "endpoints.json"
SECRETS = "secrets"
OWNER_PASSWORD = "database-owner.password"
APPLICATION_PASSWORD = "database-application.password"
PSEUDONYM_KEY = "pseudonym.key"
EXTERNAL_URLS = "external.json"

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class _Section(BaseSettings):
    """A frozen group of settings; the environment wins over what `load` passes in from `endpoints.json`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


class KafkaSettings(_Section):
    """Where the brokers are and how to speak to them (`CLINSTREAM_KAFKA_URL` = `host:port[,host:port]`)."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_KAFKA_")

    bootstrap_servers: str = Field(
        default="127.0.0.1:9092",
        validation_alias=AliasChoices("CLINSTREAM_KAFKA_URL", "CLINSTREAM_KAFKA_BOOTSTRAP_SERVERS"),
        description="host:port, several separated by commas",
    )
    security_protocol: SecurityProtocol = Field(default="PLAINTEXT", description="how the connection is protected")
    sasl_mechanism: str | None = Field(default=None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    sasl_username: str | None = Field(default=None, description="account of this service at the brokers")
    sasl_password: SecretStr | None = Field(default=None, description="its password")
    ssl_cafile: Path | None = Field(default=None, description="PEM file of the authority that signed the brokers")
    ssl_certfile: Path | None = Field(default=None, description="PEM file of this service's certificate")
    ssl_keyfile: Path | None = Field(default=None, description="PEM file of this service's key")
    manage_access: bool = Field(
        default=False, description="whether the start makes the brokers' access rules those of the topics table"
    )
    request_timeout_s: float = Field(default=20.0, gt=0, description="seconds until one request counts as failed")


class DatabaseSettings(_Section):
    """PostgreSQL, as the application role (no SUPERUSER, no BYPASSRLS) and, for migrations, as the owner."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_DATABASE_")

    url: str = Field(
        default="postgresql+asyncpg://clinstream_app@127.0.0.1:5432/clinstream",
        repr=False,
        description="postgresql+asyncpg://user:password@host:port/database of the application role",
    )
    owner_url: str | None = Field(default=None, repr=False, description="the same for the owner role; absent: url")
    pool_size: int = Field(default=5, ge=1, description="connections a process keeps open")
    statement_timeout_s: float = Field(default=30.0, gt=0, description="seconds until the server ends a statement")

    @property
    def migration_url(self) -> str:
        """The URL that may create tables: the owner's, else the application's."""
        return self.owner_url or self.url

    @property
    def application_role(self) -> str:
        """The role that the services connect as, which migrations grant to."""
        return urlsplit(self.url).username or ""


class TritonSettings(_Section):
    """NVIDIA Triton: addresses without scheme (`CLINSTREAM_TRITON_URL` is the gRPC one)."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_TRITON_")

    grpc: str = Field(
        default="127.0.0.1:8001",
        validation_alias=AliasChoices("CLINSTREAM_TRITON_URL", "CLINSTREAM_TRITON_GRPC"),
        description="host:port of inference and model control",
    )
    http: str = Field(default="127.0.0.1:8000", description="host:port of the HTTP endpoint")
    metrics: str = Field(default="127.0.0.1:8002", description="host:port of the Prometheus endpoint")
    repository: Path = Field(default=Path("repository"), description="folder of the generated model repository")
    deadline_s: float = Field(default=10.0, gt=0, description="least seconds that a client waits for an answer")
    profile: Literal["cpu", "a30"] = Field(default="cpu", description="which configuration is generated from a card")


class StoreSettings(_Section):
    """How to reach an S3 server; unused where the store is a folder (`CLINSTREAM_STORE_URL` says which)."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_STORE_")

    endpoint: str | None = Field(default=None, description="http(s)://host:port of the S3 server; absent: AWS itself")
    region: str = Field(default="us-east-1", description="region that requests are signed for")
    access_key_id: str | None = Field(default=None, description="account of this service at the S3 server")
    secret_access_key: SecretStr | None = Field(default=None, description="its secret")
    timeout_s: float = Field(default=10.0, gt=0, description="seconds until the store counts as away")


class DoorSettings(_Section):
    """The doors that senders reach: addresses, how long they wait for the broker, when they refuse."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_DOOR_")

    dicom_host: str = Field(default="127.0.0.1", description="address that the DICOM door listens on")
    dicom_port: int = Field(default=11112, ge=1, le=65535, description="TCP port shared by its processes")
    dicom_ae_title: str = Field(default="CLINSTREAM", min_length=1, max_length=16, description="called AE title")
    dicom_processes: int = Field(default=2, ge=1, description="processes that accept associations")
    dicom_allowed: tuple[str, ...] = Field(
        default=(), description="JSON, senders: AE_TITLE, AE_TITLE@address or AE_TITLE@network/bits; empty: everybody"
    )
    dicom_called: tuple[str, ...] = Field(
        default=(), description="JSON, called AE titles that are taken (CLINSTREAM*); empty: any"
    )
    dicom_associations: int = Field(default=32, ge=1, description="associations at once, in each process")
    dicom_pdu_bytes: int = Field(default=1 << 18, ge=4096, le=1 << 24, description="longest PDU that is offered")
    dicom_object_bytes: int = Field(default=1 << 30, ge=1 << 16, description="largest object that is taken")
    dicom_tls_certificate: Path | None = Field(default=None, description="PEM file; with it the port speaks TLS only")
    dicom_tls_key: Path | None = Field(default=None, description="PEM file of the certificate's key")
    dicom_tls_ca: Path | None = Field(default=None, description="PEM file: senders must show a certificate of it")
    routing: Path | None = Field(
        default=None, description="TOML file of routing rows; absent: routing.toml of the home"
    )
    http_host: str = Field(default="127.0.0.1", description="address that the HTTP door listens on")
    http_port: int = Field(default=8080, ge=1, le=65535, description="TCP port of every HTTP route")
    predictions_host: str = Field(default="127.0.0.1", description="address that forecasts are asked for at")
    predictions_port: int = Field(default=8081, ge=1, le=65535, description="its TCP port")
    predictions_a_minute: float = Field(
        default=6000.0, gt=0, description="forecasts that one credential may ask for, in the long run"
    )
    folder: Path | None = Field(default=None, description="folder watched for pictures of ears; absent: none is")
    dicomweb_token: SecretStr = Field(
        default=SecretStr(""), description="bearer token of DICOMweb callers; empty: only callers on this machine"
    )
    retrieval: bool = Field(default=True, description="whether stored objects can be searched and retrieved (DICOMweb)")
    client_requests_per_s: float = Field(
        default=50.0, ge=0, description="requests a second of one wearer's client, bursts of ten seconds' worth; 0: any"
    )
    storage_commitment: bool = Field(
        default=False, description="whether storage commitment is promised; needs retention_days and retrieval"
    )
    retention_days: int | None = Field(default=None, ge=1, description="days that committed objects are kept at least")
    commitment_peers: dict[str, str] = Field(
        default_factory=dict, description="JSON, calling AE title to host:port that takes its commitment reports"
    )
    ack_deadline_s: float = Field(default=10.0, gt=0, description="seconds for the broker's ack, then 'try again'")
    disk_watermark_bytes: int = Field(
        default=1 << 30, ge=0, description="free bytes on the state's file system below which doors refuse"
    )

    @model_validator(mode="after")
    def _promise_what_can_be_kept(self) -> "DoorSettings":
        if self.storage_commitment and self.retention_days is None:
            raise ValueError("storage commitment promises that objects are kept: set CLINSTREAM_DOOR_RETENTION_DAYS")
        if self.storage_commitment and not self.retrieval:
            raise ValueError("storage commitment promises that objects can be retrieved: leave retrieval on")
        for title, place in self.commitment_peers.items():
            host, colon, port = place.rpartition(":")
            if not 0 < len(title) <= 16 or not host or not colon or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError("a commitment peer is an AE title with host:port")
        return self


class Destination(BaseModel):
    """Where results are sent: a DICOM application entity, or a DICOMweb or FHIR server by its base URL.

    `confirm` asks the receiver afterwards whether it has them (C-FIND, QIDO-RS), where it answers such questions.
    `presentation_state` adds a Grayscale Softcopy Presentation State that outlines the regions of a result.
    `deidentify`: what is told there names nobody, whatever the routing table says of the images.
    `tls` of a DICOM node: its certificate must be for `host`, by an authority of `tls_ca` (absent: of the system);
    `tls_certificate` with `tls_key` is ours, where the node wants one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dicom", "dicomweb", "fhir"] = "dicom"
    host: str = "127.0.0.1"
    port: int = Field(default=104, ge=1, le=65535)
    ae_title: str = Field(default="ANY-SCP", min_length=1, max_length=16)
    calling_ae_title: str = Field(default="CLINSTREAM", min_length=1, max_length=16)
    url: str = ""
    authorization: SecretStr | None = None
    confirm: bool = True
    presentation_state: bool = False
    deidentify: Deidentify = "no"
    tls: bool = False
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def place(self) -> str:
        """Address in words, without credentials."""
        return f"{self.ae_title}@{self.host}:{self.port}" if self.kind == "dicom" else self.url

    @model_validator(mode="after")
    def _reachable(self) -> "Destination":
        if self.kind != "dicom" and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"a destination of kind {self.kind} needs a url that begins with http:// or https://")
        files = self.tls_ca, self.tls_certificate, self.tls_key
        if (self.tls or any(files)) and self.kind != "dicom":
            raise ValueError(f"a destination of kind {self.kind} has TLS by a url that begins with https://")
        if any(files) and not self.tls:
            raise ValueError("certificates are used with tls only")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self


class ExportSettings(_Section):
    """Where results of images go besides the topics; nowhere unless destinations are named."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_EXPORT_")

    destinations: dict[str, Destination] = Field(
        default_factory=dict,
        description="JSON, name to kind, host, port, ae_title, calling_ae_title, url, confirm, presentation_state, "
        "deidentify, tls, tls_ca, tls_certificate, tls_key",
    )
    default: tuple[str, ...] | None = Field(
        default=None, description="JSON, names that results go to where nothing says otherwise; absent: all of them"
    )
    deliver_within_h: float = Field(default=24.0, gt=0, description="hours after its arrival that a result may leave")
    analysed_within_min: float = Field(
        default=15.0,
        gt=0,
        description="minutes after the last image of a study until one without outcome is told as such",
    )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the destinations that a result goes to where nothing says otherwise."""
        return tuple(sorted(self.destinations)) if self.default is None else self.default

    @field_validator("default")
    @classmethod
    def _known(cls, default: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if unknown := sorted(set(default or ()) - set(info.data.get("destinations", ()))):
            raise ValueError(f"no destination is called {', '.join(unknown)}")
        return default


class Settings(_Section):
    """All settings of one installation; `home` holds its state, `cache` what several homes share."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_")

    home: Path = Field(default=Path(".clinstream"), description="folder of data, logs, secrets and endpoints")
    cache: Path = Field(description="folder of the Kafka jars and of Triton's environment")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        description="redis://[:password@]host:port/n, or rediss:// over TLS",
    )
    store_url: str = Field(default="", description="file:///folder (or s3://bucket/prefix) of pixels and tensors")
    pseudonym_key: SecretStr = Field(default=SecretStr(""), description="hex key of the pseudonyms; made by `up`")
    crash_point: str = Field(default="", description="`name:N` or `file`: a consumer dies there, for fault tests only")
    retrain_after: dict[str, int] = Field(
        default_factory=dict, description="JSON, task to number of corrections: instead of the card's number"
    )
    glucose_metrics_every_s: float = Field(
        default=60.0, gt=0, description="seconds that a wearer's new readings wait until glycaemic metrics follow"
    )
    training_data: Path | None = Field(default=None, description="folder with one folder of base data a task")
    study_quiet_s: float = Field(
        default=60.0, gt=0, description="seconds without a new object after which a study is closed, as a last resort"
    )
    study_released_s: float = Field(
        default=10.0, gt=0, description="the same once its sender ended the association in order"
    )
    quick_training: bool = Field(default=False, description="runs are rehearsals of a few steps, for tests only")
    mlflow_url: str = Field(default="", repr=False, description="MLflow server; absent: a file under the home")
    kafka: KafkaSettings = Field(default_factory=lambda: KafkaSettings())
    database: DatabaseSettings = Field(default_factory=lambda: DatabaseSettings())
    triton: TritonSettings = Field(default_factory=lambda: TritonSettings())
    store: StoreSettings = Field(default_factory=lambda: StoreSettings())
    doors: DoorSettings = Field(default_factory=lambda: DoorSettings())
    exports: ExportSettings = Field(default_factory=lambda: ExportSettings())
    ports: dict[str, int] = Field(default_factory=dict, description="TCP port by name, as `up` chose them")
    metrics_host: str = Field(default="127.0.0.1", description="address that Prometheus endpoints listen on")
    metrics_port_alone: int = Field(
        default=0,
        ge=0,
        le=65535,
        validation_alias="CLINSTREAM_METRICS_PORT",
        description="port of the Prometheus endpoint of a process that has its address for itself, in a container",
    )

    def metrics_port(self, process: str, index: int = 0) -> int:
        """The TCP port of a process's Prometheus endpoint, as `up` chose it; else `metrics_port_alone` (0: any)."""
        return self.ports.get(f"metrics.{process}.{index}", self.metrics_port_alone)


def load(home: Path | None = None) -> Settings:
    """Reads the settings of `home` (else CLINSTREAM_HOME, else `.clinstream`).

    Raises SettingsError naming the setting that is malformed; never its value, which may be a secret.
    """
    folder = (home or Path(os.environ.get("CLINSTREAM_HOME") or ".clinstream")).expanduser().resolve()
    known = _known(folder)
    try:
        return Settings(
            home=folder,
            cache=_cache(),
            store_url=known.get("store", {}).get("url") or (folder / "store").as_uri(),
            kafka=KafkaSettings(**known.get("kafka", {})),
            database=DatabaseSettings(**known.get("database", {})),
            triton=TritonSettings(**{"repository": folder / "repository", **known.get("triton", {})}),
            store=StoreSettings(**known.get("store", {})),
            doors=DoorSettings(**known.get("doors", {})),
            exports=ExportSettings(**known.get("exports", {})),
            **_optional(
                redis_url=known.get("redis", {}).get("url"),
                ports=known.get("ports"),
                pseudonym_key=_secret(folder, PSEUDONYM_KEY),
            ),
        ).model_copy(update={"home": folder})
    except ValidationError as broken:
        first = broken.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"The setting {name} of {folder} is not usable: {first['msg']}.") from None
    except MalformedSetting as broken:  # of a setting that must be JSON; the text names the field and no value
        raise SettingsError(f"A setting in the environment is not JSON: {broken}.") from None


def pseudonym_key(settings: Settings) -> bytes:
    """The key of the pseudonyms; raises SettingsError when it is missing, short or not hexadecimal."""
    text = settings.pseudonym_key.get_secret_value()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise SettingsError("The pseudonym key (CLINSTREAM_PSEUDONYM_KEY) is not hexadecimal.") from None
    if len(key) < 16:
        raise SettingsError("The pseudonym key is missing or shorter than 16 bytes; `clinstream up` makes one.")
    return key


def from_environment() -> dict[str, dict[str, Any]]:
    """What the environment itself sets, by section, secrets in clear: for `secrets/` and nowhere else.

    Only addresses and credentials of external servers, which other commands need to know after `up`.
    """
    found: dict[str, dict[str, Any]] = {}
    sections: dict[str, type[_Section]] = {
        "kafka": KafkaSettings,
        "database": DatabaseSettings,
        "triton": TritonSettings,
        "store": StoreSettings,
        "doors": DoorSettings,
        "exports": ExportSettings,
    }
    for name, section in sections.items():
        given = section()
        values = {field: _plain(getattr(given, field)) for field in sorted(given.model_fields_set)}
        if values:
            found[name] = values
    for name in ("redis", "store"):
        url = os.environ.get(f"CLINSTREAM_{name.upper()}_URL")
        if url:
            found.setdefault(name, {})["url"] = url
    return found


def child_environment(home: Path) -> dict[str, str]:
    """The environment of a process of ours: the caller's, pointed at `home`, with output that is not held back.

    Compiled modules are kept even where the caller's shell asks not to: each start without them compiles 460 modules
    anew (3 s of one core, for each of ten processes).
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "CLINSTREAM_HOME": str(home),
        "CLINSTREAM_CACHE": str(_cache()),
        "PYTHONUNBUFFERED": "1",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(each) for name, each in value}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CLINSTREAM_CACHE") or f"{base}/clinstream").expanduser().resolve()


def _optional(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _secret(folder: Path, name: str) -> str | None:
    try:
        return (folder / SECRETS / name).read_text().strip()
    except FileNotFoundError:
        return None


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """What `up` wrote, one mapping a section, with the passwords of `secrets/` put into the URLs."""
    known = _json(folder / ENDPOINTS)
    database = known.get("database", {})
    if "host" in database:
        place = f"{database['host']}:{database['port']}/{database['name']}"
        for role, field, file in (
            ("application_role", "url", APPLICATION_PASSWORD),
            ("owner_role", "owner_url", OWNER_PASSWORD),
        ):
            password = quote(_secret(folder, file) or "", safe="")
            known["database"][field] = f"postgresql+asyncpg://{database[role]}:{password}@{place}"
    for section, values in _json(folder / SECRETS / EXTERNAL_URLS).items():
        known[section] = {**known.get(section, {}), **values}
    return known


def _json(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise SettingsError(f"{path} is not readable JSON; remove it and run `clinstream up` again.") from None
    return found if isinstance(found, dict) else {}
