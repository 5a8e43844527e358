"""Who may have an association with the DICOM door: calling AE title, address, called AE title; no network here."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from schemas.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_CALLING, NOT_CALLED = 0x03, 0x07
"""Reasons of a permanent rejection by the service user (PS3.8 table 9-21): calling, called AE title not recognised."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an association is rejected for good: the reason's code, and a sentence for the journal."""

    code: int
    why: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """One sender: AE titles by a pattern (`CT_*`), from one network or (None) from anywhere."""

    ae_title: str
    network: Network | None

    def takes(self, ae_title: str, address: str) -> bool:
        """Whether it is this sender."""
        if not fnmatchcase(ae_title, self.ae_title):
            return False
        return self.network is None or _address(address) in self.network


@dataclass(frozen=True, slots=True)
class Admission:
    """The allow-list; empty lists let everybody in."""

    senders: tuple[Allowed, ...] = ()
    called: tuple[str, ...] = ()

    def refusal(self, calling_ae_title: str, called_ae_title: str, address: str) -> Refusal | None:
        """Why this association is none of the door's; None when it is welcome."""
        if self.senders and not any(each.takes(calling_ae_title, address) for each in self.senders):
            return Refusal(NOT_CALLING, "the calling AE title and address are not on the allow-list")
        if self.called and not any(fnmatchcase(called_ae_title, pattern) for pattern in self.called):
            return Refusal(NOT_CALLED, "the called AE title is not one of this door's")
        return None


def admission(senders: Sequence[str], called: Sequence[str]) -> Admission:
    """From settings: `AE_TITLE`, `AE_TITLE@10.0.0.5`, `*@10.1.0.0/16`. Raises SettingsError for what is neither."""
    return Admission(tuple(_sender(text) for text in senders), tuple(called))


def _sender(text: str) -> Allowed:
    title, at, place = text.strip().rpartition("@") if "@" in text else (text.strip(), "", "")
    try:
        network = ipaddress.ip_network(place, strict=False) if at else None
    except ValueError:
        network = None
    if not title or (at and network is None):
        raise SettingsError(f"The allowed sender {text!r} is not AE_TITLE, AE_TITLE@address or AE_TITLE@network/bits.")
    return Allowed(title, network)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text.partition("%")[0] or "0.0.0.0")
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else found
