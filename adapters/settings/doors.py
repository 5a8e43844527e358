"""The doors that senders reach."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from adapters.settings.section import Section


class DoorSettings(Section):
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
    journal_days: int = Field(default=90, ge=1, description="days that the journal of associations is kept")
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
