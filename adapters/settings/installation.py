"""All settings of one installation."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.settings.doors import DoorSettings
from adapters.settings.exports import ExportSettings
from adapters.settings.section import Section
from adapters.settings.services import DatabaseSettings, KafkaSettings, StoreSettings, TritonSettings


class Settings(Section):
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
    research_measurements: bool = Field(
        default=False, description="measure radiographs for research; not validated, never in a patient's record"
    )
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
