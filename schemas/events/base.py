"""What all records have in common, and where bytes and events lie."""

from typing import ClassVar, Literal

from msgspec import Struct

Priority = Literal["stat", "routine"]


class Base(Struct, frozen=True, kw_only=True):
    """Common manners of all records: immutable, named fields only; `TYPE` is the CloudEvents type of an event."""

    TYPE: ClassVar[str] = ""


class BlobRef(Base, frozen=True, kw_only=True):
    """A claim check: where bytes lie in the object store and what they must hash to."""

    uri: str
    sha256: str
    size_bytes: int
    media_type: str


class TensorRef(Base, frozen=True, kw_only=True):
    """A tensor in the object store: raw C-ordered little-endian elements of `dtype`, without the batch axis."""

    uri: str
    sha256: str
    dtype: str
    shape: tuple[int, ...]


class Origin(Base, frozen=True, kw_only=True):
    """Where on the log an event was read: the lineage of what follows from it."""

    topic: str
    partition: int
    offset: int
