"""What a DIMSE service of the DICOM door is: the contexts that it adds and what answers its requests; none of them.

A service lives in a module of its own and is handed to `DicomDoor`, which knows associations only.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Handler = tuple[Any, Callable[[Any], Any]]
"""A pynetdicom event and the function that it calls, in the thread of the association."""


class DicomService(Protocol):
    """One DIMSE service (C-STORE, storage commitment)."""

    def contexts(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Abstract syntaxes with the transfer syntaxes that are taken for them."""

    def handlers(self) -> Sequence[Handler]:
        """What to call for which event."""
