"""Bytes that lie in the object store and may be read by this installation alone: sealed with a key made of its key."""

import hmac
from typing import Any, Final

from schemas.errors import Unprocessable

MARK: Final = b"clinstream sealed 1\n"
MEDIA_TYPE_SUFFIX: Final = "; sealed"
QUARANTINE: Final = "quarantine"
"""The place of what was put aside: its name in the store follows from the sealed bytes."""


def seal(key: bytes, place: str, data: bytes) -> bytes:
    """`data` (not empty), encrypted and authenticated for `place`; the same again for the same input.

    AES-SIV (RFC 5297) needs no nonce, so that a repeat is the same object in the store.
    """
    return MARK + bytes(_cipher(key).encrypt(data, [place.encode()]))


def unseal(key: bytes, place: str, sealed: bytes) -> bytes:
    """What was sealed for `place`; raises Unprocessable for another key or place, or damage."""
    from cryptography.exceptions import InvalidTag

    if not sealed.startswith(MARK):
        raise Unprocessable("these bytes are not sealed")
    try:
        return bytes(_cipher(key).decrypt(sealed[len(MARK) :], [place.encode()]))
    except InvalidTag as error:
        raise Unprocessable("the seal was made with another key, for another place, or is damaged") from error


def _cipher(key: bytes) -> Any:
    # On use: most installations seal nothing, and the library costs each process memory.
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(hmac.digest(key, b"clinstream sealing", "sha512"))
