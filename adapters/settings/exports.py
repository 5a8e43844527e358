"""Where results go besides the topics."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from adapters.settings.section import Section
from schemas.routing import Deidentify


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


class ExportSettings(Section):
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
