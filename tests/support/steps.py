"""Fakes that the steps are tested with: a ledger, a model server and two toy models; no server is started here."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from adapters.clock import Clock
from adapters.database import Recorded
from adapters.fakes.clock import FakeClock
from adapters.fakes.database import FakeDatabase
from adapters.releases import Choice
from consumers.delivery import Delivery
from schemas import envelope, ids
from schemas.card import FollowUp, Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from schemas.errors import OutOfRange, Unprocessable
from schemas.events import (
    Answer,
    Base,
    BlobRef,
    ImageObserved,
    ImagePrepared,
    Origin,
    TensorRef,
    VitalsObserved,
)
from triton_models.model import Model, binary_findings

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
KEY = b"a key for tests"
Tensor = npt.NDArray[Any]


def card(name: str, kind: str, **changes: Any) -> ModelCard:
    """A small card: two labels, threshold 0.5, batches of at most 4."""
    image = kind == "image"
    values: dict[str, Any] = {
        "name": name,
        "version": "1.0.0",
        "preprocessing_version": f"{name}.1",
        "title": name,
        "consumes": kind,
        "inputs": [TensorSpec("pixels" if image else "features", "uint8" if image else "float32", (4,), "value")],
        "outputs": [TensorSpec("probability", "float32", (2,), "probability")],
        "labels": ("well", "ill"),
        "positive_label": "ill",
        "operating_point": OperatingPoint(0.5, (0.9, 0.8, 1.0), (0.9, 0.8, 1.0), "nothing"),
        "abstention_band": (0.49, 0.51),
        "intended_use": IntendedUse("tests", modalities=frozenset({"DX"})) if image else IntendedUse("tests"),
        "limits": ("for tests",),
        "train": "tests.support.steps.card",
        "weights": "model.onnx",
        "serving": Serving(4, (4,), 1000, 64, stat_instance=image),
        "gate": Gate("auroc", 0.5),
        "retrain_after": 10,
    }
    return ModelCard(**{**values, **changes})


def vitals_model(**changes: Any) -> Model:
    """Reads one feature `risk` in 0..1; a `risk` above 1 is out of range, `broken` is unprocessable."""
    made = card("toy_risk", "vitals", **changes)

    def prepare(features: Mapping[str, float | None]) -> Tensor:
        if "broken" in features:
            raise Unprocessable("the features cannot be read")
        risk = features.get("risk") or 0.0
        if risk > 1:
            raise OutOfRange("risk is outside its plausible range")
        return np.array([risk, 0, 0, 0], dtype=np.float32)

    return Model(made, prepare, lambda outputs, card=made: binary_findings(card, outputs), Path("model.onnx"))


def image_model(prepare: Any = None, **changes: Any) -> Model:
    """Takes four bytes as they are."""
    made = card("toy_image", "image", **changes)
    return Model(
        made,
        prepare or (lambda image: np.array([128, 0, 0, 0], dtype=np.uint8)),
        lambda outputs, card=made: binary_findings(card, outputs),
        Path("model.onnx"),
    )


EARS = IntendedUse(
    "ears in colour",
    modalities=frozenset({"ES", "XC"}),
    body_parts=frozenset({"EAR"}),
    sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.4"}),
    minimum_matrix=(8, 8),
)


def chained_models() -> dict[str, Model]:
    """A screening of colour pictures, "ill" where the first pixel's red is at least 128, and its diagnosis by green."""

    def take(channel: int) -> Any:
        return lambda image: np.array([image[0, 0, channel], 0, 0, 0], dtype=np.uint8)

    common: dict[str, Any] = {"intended_use": EARS, "pixels": "colour"}
    cards = (
        card("toy_screening", "image", follow_up=FollowUp("toy_diagnosis", "ill"), **common),
        card("toy_diagnosis", "image", **common),
    )
    return {
        made.name: Model(made, take(channel), lambda outputs, card: binary_findings(card, outputs), Path("model.onnx"))
        for channel, made in enumerate(cards)
    }


def ear_picture(red: int = 250, green: int = 20, side: int = 16) -> bytes:
    """A PNG of one colour, which otoscopes do not send, but whose pixels survive."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (red, green, 7)).save(stream, "PNG")
    return stream.getvalue()


def ear_observed(data: bytes, uid: str = "upload", **changes: Any) -> ImageObserved:
    """An uploaded picture of an ear as its door announces it."""
    digest = ids.sha256_hex(data)
    blob = BlobRef(uri=f"pixels/{digest[:2]}/{digest}", sha256=digest, size_bytes=len(data), media_type="image/png")
    values: dict[str, Any] = {"blob": blob, "sop_class_uid": "", "transfer_syntax_uid": "", "laterality": "left"}
    return image_observed(data, uid, **{**values, "modality": "XC", **changes})


@dataclass
class FakeInference:
    """Answers the first element of each row as the probability of the positive label; notes what it was asked."""

    asked: list[tuple[str, int, int]] = field(default_factory=list)
    error: Exception | None = None

    async def infer(self, model: str, inputs: Mapping[str, Tensor], *, priority: int, deadline_s: float) -> Any:
        """See adapters.triton.Inference."""
        (rows,) = inputs.values()
        self.asked.append((model, len(rows), priority))
        if self.error:
            raise self.error
        first = rows[:, 0].astype(np.float64) / (255 if rows.dtype == np.uint8 else 1)
        return {
            "probability": np.stack([1 - first, first], axis=1).astype(np.float32),
            "batch_size": np.full((len(rows), 1), len(rows), dtype=np.int32),
        }

    async def ready(self, model: str) -> bool:
        """Always."""
        return True

    def deadline_s(self, model: str) -> float:
        """Ten seconds."""
        return 10.0


@dataclass
class FakeReleases:
    """Serves `versions[subject]`, else 1.0.0."""

    versions: dict[str, str] = field(default_factory=dict)

    def choose(self, task: str, subject_id: str) -> Choice:
        """See adapters.releases.ReleaseBook."""
        return Choice(version=self.versions.get(subject_id, "1.0.0"), arm="serving", epoch=7)

    def card(self, card: ModelCard, version: str) -> ModelCard:
        """The model's own card, whatever the version."""
        return card


class FakeLedger(FakeDatabase):
    """The database in memory, noting the size of each transaction."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock or FakeClock(NOW.timestamp()))
        self.batches: list[int] = []

    async def record(self, answers: Sequence[Answer]) -> list[Recorded]:
        """See Database.record."""
        self.batches.append(len(answers))
        return await super().record(answers)


def delivery(
    event: Base, topic: str = "observed.vitals", offset: int = 0, priority: str = "routine", attempt: int = 1
) -> Delivery:
    """`event` as the loop hands it over."""
    headers, value = envelope.pack(
        event, id=str(getattr(event, "event_id", offset)), source="/tests", subject="", time=NOW,
        extensions={"priority": priority},
    )  # fmt: skip
    return Delivery(
        origin=Origin(topic=topic, partition=0, offset=offset),
        key=b"key",
        headers=headers,
        value=value,
        envelope=envelope.open_envelope(headers),
        event=event,
        timestamp=NOW.timestamp(),
        attempt=attempt,
    )


def vitals(stay: str = "1", features: Mapping[str, float | None] | None = None, **changes: Any) -> VitalsObserved:
    """One observation of a stay."""
    values = {"risk": 0.9} if features is None else dict(features)
    subject = ids.subject_id(KEY, "", stay)
    thing, content = ids.reading_object_id(subject, NOW), ids.features_content(values)
    return VitalsObserved(
        **{
            "event_id": ids.event_id(thing, content),
            "object_id": thing,
            "content": content,
            "subject_id": subject,
            "features": values,
            "measured_at": NOW,
            "observed_at": NOW,
            **changes,
        }
    )


def image_observed(data: bytes, uid: str = "1.2.3", modality: str = "DX", **changes: Any) -> ImageObserved:
    """One image at the door, its bytes addressed by content."""
    digest = ids.sha256_hex(data)
    values: dict[str, Any] = {
        "event_id": ids.event_id(uid, digest),
        "object_id": uid,
        "subject_id": ids.subject_id(KEY, "", "patient"),
        "study_id": ids.study_id(KEY, "1.2"),
        "blob": BlobRef(
            uri=f"pixels/{digest[:2]}/{digest}", sha256=digest, size_bytes=len(data), media_type="application/dicom"
        ),
        "priority": "routine",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": modality,
        "sender": "TEST",
        "observed_at": NOW,
    }
    return ImageObserved(**{**values, **changes})


def image_prepared(tensor: Tensor, uid: str = "1.2.3", **changes: Any) -> ImagePrepared:
    """One tensor on its way; its content is the tensor's hash."""
    raw = tensor.tobytes()
    digest = ids.sha256_hex(raw)
    values: dict[str, Any] = {
        "event_id": ids.event_id(uid, digest),
        "object_id": uid,
        "content": digest,
        "subject_id": ids.subject_id(KEY, "", uid),
        "task": "toy_image",
        "tensor": TensorRef(
            uri=f"tensors/{digest[:2]}/{digest}", sha256=digest, dtype=tensor.dtype.name, shape=tensor.shape
        ),
        "preprocessing_version": "toy_image.1",
        "priority": "routine",
        "observed": Origin(topic="observed.dicom", partition=0, offset=1),
        "hops": {"observed": NOW.timestamp(), "prepared": NOW.timestamp() + 1},
    }
    return ImagePrepared(**{**values, **changes})
