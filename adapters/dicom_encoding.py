"""How the bytes of a data set are encoded (PS3.5 10, Annex A), told from the bytes and its transfer syntax."""

import zlib
from typing import Final

from schemas.errors import Unprocessable

BIG_ENDIAN: Final = frozenset({"1.2.840.10008.1.2.2"})
DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
DEFLATED_HEADER_BYTES: Final = 16 << 20
"""How much of a deflated data set is inflated to find the header: a bound, since 1 MB can inflate to 1 GB."""


def is_explicit(data: bytes | memoryview) -> bool:
    """Whether the first element states its value representation: some senders encode other than they negotiated."""
    return all(0x40 < letter < 0x5B for letter in data[4:6])


def is_little_endian(transfer_syntax_uid: str) -> bool:
    """Whether numbers begin with their lowest byte."""
    return transfer_syntax_uid not in BIG_ENDIAN


def inflated(data: bytes | memoryview, most_bytes: int = DEFLATED_HEADER_BYTES) -> bytes:
    """A deflated data set, at most so many bytes of it; raises Unprocessable."""
    try:
        # PS3.5 A.5: raw deflate, without zlib's header.
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most_bytes)
    except zlib.error as error:
        raise Unprocessable("the deflated data set cannot be inflated") from error


def deflated(data: bytes) -> bytes:
    """The opposite, padded to an even length."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)
