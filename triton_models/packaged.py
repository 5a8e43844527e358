"""Versions that come with their model folder: whether the weights are those that were measured, and what was measured.

They serve without the gate that trained versions pass, so that their file must be the one that card, `MODEL.md` and
`metadata.json` speak of. `python -m triton_models.packaged` says whether all are, `--write` notes new ones once they
are measured. Nothing is loaded or served here.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from schemas.errors import Conflict
from triton_models.model import Model

HOME: Final = Path(__file__).parent
RECORD: Final = "weights.sha256"
"""Beside the model folders, as `sha256sum --check` reads it."""


def weights_of(model: Model) -> Path:
    """The weights that the folder of a model brings. Raises Conflict for others than were measured.

    A folder of models of somebody's own may be without a record; then nothing is known and nothing checked.
    """
    path = model.weights_path
    home = path.parent.parent
    known = recorded(home)
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file() or (name not in known and home != HOME and not known):
        return path
    if known.get(name) != digest(path):
        raise Conflict(
            f"{name} is not the file that was measured ({home.name}/{RECORD}): bring it back as it was released; new "
            "weights are measured first, and then noted by `python -m triton_models.packaged --write`."
        )
    return path


def weights_for(model: Model, wanted: Iterable[tuple[str, str]]) -> Path:
    """The same where (task, version) pairs include the folder's own version; else its file, whatever that holds."""
    card = model.card
    return weights_of(model) if (card.name, card.version) in set(wanted) else model.weights_path


def reason(model: Model) -> str:
    """Why such a version serves before anybody decided, with what it was measured to do; for the release log."""
    card, path = model.card, model.weights_path
    said = [f"packaged version, weights {digest(path)[:12]}" if path.is_file() else "packaged version"]
    if point := card.operating_point:
        parts = (("sensitivity", point.sensitivity), ("specificity", point.specificity))
        said += [f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in parts]
        said.append(f"measured on {point.measured_on}")
    missed = _metadata(model).get("missed", [])
    return "; ".join([*said, *(f"misses: {each}" for each in missed)])


def recorded(home: Path) -> dict[str, str]:
    """SHA-256 by `<model>/<file>`; empty without a record."""
    try:
        lines = (home / RECORD).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return {}
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def digest(path: Path) -> str:
    """SHA-256 of a file, read again only when it changed: the release manager asks each second."""
    found = path.stat()
    return _digest(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _digest(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _metadata(model: Model) -> Mapping[str, Any]:
    """What the run of these weights wrote; nothing where there is no such file, or it is of another version."""
    try:
        found: Mapping[str, Any] = json.loads((model.weights_path.parent / "metadata.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found if found.get("version") == model.card.version else {}


def _present(home: Path) -> dict[str, str]:
    return {f"{path.parent.name}/{path.name}": digest(path) for path in sorted(home.glob("[a-z]*/*.onnx"))}


def main(home: Path = HOME, *, write: bool = False) -> int:
    """0 where the record is that of the files; names those of which it is not."""
    found = _present(home)
    if write:
        text = "".join(f"{sha256}  {name}\n" for name, sha256 in found.items())
        (home / RECORD).write_text(text, encoding="ascii")
    known = recorded(home)
    wrong = sorted(name for name in {*found, *known} if found.get(name) != known.get(name))
    if wrong:
        print(
            f"{', '.join(wrong)}: not as in {home.name}/{RECORD}. Are new weights measured, and their figures in card "
            "and MODEL.md? Then `python -m triton_models.packaged --write`.",
            file=sys.stderr,
        )
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main(write="--write" in sys.argv[1:]))
