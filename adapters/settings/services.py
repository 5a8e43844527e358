"""The services beside our own processes: Kafka, PostgreSQL, Triton, an S3 store."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.settings.section import Section

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class KafkaSettings(Section):
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


class DatabaseSettings(Section):
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


class TritonSettings(Section):
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


class StoreSettings(Section):
    """How to reach an S3 server; unused where the store is a folder (`CLINSTREAM_STORE_URL` says which)."""

    model_config = SettingsConfigDict(env_prefix="CLINSTREAM_STORE_")

    endpoint: str | None = Field(default=None, description="http(s)://host:port of the S3 server; absent: AWS itself")
    region: str = Field(default="us-east-1", description="region that requests are signed for")
    access_key_id: str | None = Field(default=None, description="account of this service at the S3 server")
    secret_access_key: SecretStr | None = Field(default=None, description="its secret")
    timeout_s: float = Field(default=10.0, gt=0, description="seconds until the store counts as away")
