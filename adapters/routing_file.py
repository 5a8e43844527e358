"""The routing table's file, TOML, read and checked; how rows decide is in `schemas.routing`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydicom.datadict import tag_for_keyword

from schemas.errors import SettingsError
from schemas.events import Priority
from schemas.routing import ASSOCIATION, BUILT_IN, COLUMNS, DECIDED, TAG, Condition, Deidentify, Row, Table

FILE = "routing.toml"


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(_several)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    when: dict[str, Any] = {}
    lane: Priority | None = None
    tasks: Patterns | None = None
    destinations: Patterns | None = None
    deidentify: Deidentify | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    built_in: bool = True
    rule: tuple[_Row, ...] = ()


def routing_table(home: Path, named: Path | None = None) -> Table:
    """The table of the installation in `home`: the file that is named, else `routing.toml` of the home, else built in.

    The built-in rows stand behind those of the file unless it says `built_in = false`. Raises SettingsError naming what
    is wrong with the file.
    """
    path = named or home / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named is None:
            return Table()
        raise SettingsError(f"The routing table {path} is not there.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The routing table {path} cannot be read ({type(error).__name__}).") from error
    return parsed(text, str(path))


def parsed(text: str, where: str) -> Table:
    """The table that a file's text describes; raises SettingsError, `where` naming the file."""
    try:
        found = _File(**tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The routing table {where} is not TOML: {error}.") from None
    except ValidationError as broken:
        first = broken.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"The routing table {where}: {name}: {first['msg']}.") from None
    names = [row.name for row in found.rule]
    if double := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"The routing table {where} has two rows called {min(double)}.")
    rows = tuple(_row(row, where) for row in found.rule)
    return Table(rows + (BUILT_IN if found.built_in else ()))


def _row(row: _Row, where: str) -> Row:
    made = Row(row.name, tuple(_conditions(row, where)), row.lane, row.tasks, row.destinations, row.deidentify)
    if not made.says():
        raise SettingsError(f"The routing table {where}: row {row.name} decides none of {', '.join(DECIDED)}.")
    return made


def _conditions(row: _Row, where: str) -> list[Condition]:
    found = []
    for column, value in row.when.items():
        if column == "tags":
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"The routing table {where}: row {row.name}: tags is a table of keyword to pattern."
                )
            found += [
                Condition(_tag(str(name), row, where), _patterns(each, row, where)) for name, each in value.items()
            ]
        elif column in ASSOCIATION or column in COLUMNS:
            found.append(Condition(column, _patterns(value, row, where)))
        else:
            known = ", ".join((*ASSOCIATION, *COLUMNS, "tags"))
            raise SettingsError(f"The routing table {where}: row {row.name}: no column {column}; there are {known}.")
    return found


def _tag(name: str, row: _Row, where: str) -> str:
    """Eight hexadecimal digits, from a keyword (InstitutionName), `0008,0080` or `00080080`."""
    plain = name.strip("() ").replace(",", "").upper()
    if TAG.fullmatch(plain):
        return plain
    number = tag_for_keyword(name)
    if number is None:
        raise SettingsError(f"The routing table {where}: row {row.name}: no element is called {name}.")
    return f"{number:08X}"


def _patterns(value: Any, row: _Row, where: str) -> tuple[str, ...]:
    several = _several(value)
    if not isinstance(several, list) or not several or not all(isinstance(each, str) for each in several):
        raise SettingsError(f"The routing table {where}: row {row.name}: a pattern is a text, or a list of texts.")
    return tuple(several)
