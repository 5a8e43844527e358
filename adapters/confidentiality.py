"""Which action PS3.15's Basic Application Level Confidentiality Profile wants for an element; nothing is changed here.

The table (PS3.15 E.1-1, edition 2026c) is that of `dicomanonymizer`. Its options that are offered are told beside it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final, Literal

from pydicom.datadict import dictionary_VR

EDITION: Final = "2026c"
Action = Literal["keep", "remove", "empty", "dummy", "uid", "items"]

ACTIONS: Final[Mapping[str, Action]] = {
    "D_TAGS": "dummy",
    "Z_TAGS": "empty",
    "X_TAGS": "remove",
    "U_TAGS": "uid",
    "Z_D_TAGS": "dummy",
    "X_Z_TAGS": "empty",
    "X_D_TAGS": "dummy",
    "X_Z_D_TAGS": "dummy",
    "X_Z_U_STAR_TAGS": "items",
}
"""Of an either-or the one that keeps an object valid whatever its kind, since nobody looks up which attribute its kind
demands. `items`: the sequence stays, with the UIDs in it replaced."""

CHARACTERISTICS: Final = frozenset(
    {0x00100040, 0x00101010, 0x00101020, 0x00101030, 0x00102160, 0x001021A0, 0x001021C0, 0x00102203}
)
"""What the Retain Patient Characteristics Option (PS3.15 E.3.7) keeps as it is: sex, age, size, weight, ethnic group,
smoking status, pregnancy status, neutered."""

PATIENT_AGE: Final = 0x00101010
PIXEL_GROUP: Final = 0x7FE0
FIRST_GROUP: Final = 0x0008


class Profile:
    """The basic profile, perhaps with the option that keeps patient characteristics."""

    def __init__(self, *, characteristics: bool = False) -> None:
        self._single, self._repeating = _table()
        self._kept = CHARACTERISTICS if characteristics else frozenset[int]()

    @property
    def keeps_age(self) -> bool:
        """Whether Patient's Age (0010,1010) stays."""
        return PATIENT_AGE in self._kept

    def codes(self, content: bool) -> list[tuple[str, str]]:
        """What is to be said of what was done (CID 7050, scheme DCM); `content`: to an object with content items."""
        return [BASIC, *([CLEAN_CONTENT] if content else []), *([RETAIN_CHARACTERISTICS] if self._kept else [])]

    def action(self, tag: int) -> Action:
        """For one element, also within a sequence. What no public dictionary knows is removed, as private elements are:
        nobody can tell what it holds."""
        group, element = tag >> 16, tag & 0xFFFF
        if group % 2 or not element or group < FIRST_GROUP:
            return "remove"
        if tag in self._kept:
            return "keep"
        if found := self._single.get(tag):
            return found
        for value, mask, action in self._repeating:
            if tag & mask == value:
                return action
        return "keep" if _known(tag) else "remove"


BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
CLEAN_CONTENT: Final = ("113104", "Clean Structured Content Option")
RETAIN_CHARACTERISTICS: Final = ("113108", "Retain Patient Characteristics Option")
"""Codes of CID 7050, scheme DCM."""


@cache
def _table() -> tuple[dict[int, Action], list[tuple[int, int, Action]]]:
    """By tag; and by tag under a mask, for repeating groups."""
    # On use: the package brings a command line of its own along.
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    single: dict[int, Action] = {}
    repeating: list[tuple[int, int, Action]] = []
    for name, tags in dicom_anonymization_database_selector(f"dicomfields_{EDITION}").items():
        for tag in tags if name in ACTIONS else ():
            value = (tag[0] << 16) + tag[1]
            if len(tag) == 2:
                single[value] = ACTIONS[name]
            else:
                mask = (tag[2] << 16) + tag[3]
                repeating.append((value & mask, mask, ACTIONS[name]))
    return single, repeating


def _known(tag: int) -> bool:
    try:
        dictionary_VR(tag)
    except KeyError:
        return False
    return True
