"""What a receiver is given and what it gives back; no protocol is known here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Parcel:
    """One result in every form that it takes: DICOM objects (data sets with their file meta) and a FHIR Bundle."""

    study_instance_uid: str
    objects: Sequence[Any]
    bundle: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What left, by id; `confirmed`: the receiver, asked, said that it has all of it. `note` says why it did not."""

    ids: tuple[str, ...]
    confirmed: bool
    note: str = ""


class Receiver(Protocol):
    """All calls block. Sending the same parcel again is harmless: its objects keep their ids."""

    def probe(self) -> None:
        """Returns when the receiver answers; raises ReceiverAway when it does not."""

    def deliver(self, parcel: Parcel) -> Receipt:
        """Sends all of the parcel that this kind of receiver takes.

        Raises ReceiverAway where repeating it later can help, ReceiverRefused where it hardly can.
        """
        ...
