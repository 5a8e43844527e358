"""`clinstream quality`: how often the gate before the models is wrong, measured; the work is in `clinstream.gate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clinstream.gate.measure import Measured, Share

ALLOWED = 0.005


def quality(
    data: Annotated[Path, typer.Option(help="The folder with chest.csv, fracture.csv, otoscope.csv and dicom/.")],
    fit: Annotated[Path | None, typer.Option(help="First fit the chest rule and write its weights here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Measure the quality gate: the share of good radiographs that it refuses, and of everything else that it finds.

    Exit 1 when of any source more than 0.5 % of the radiographs are refused. `--fit` writes weights for
    adapters/chest_look.json; what is measured are always those that are installed.

    Example: clinstream quality --data ../shared/data --json
    """
    from rich.console import Console

    from clinstream.gate import fitting, measure

    console = Console(stderr=True, highlight=False)
    told = console.print if console.is_terminal else lambda sentence: None
    if fit is not None:
        fitting.fit(data, fit, told)
    found = measure.measure(data, told)
    if as_json:
        print(json.dumps(found.json()))
    else:
        _show(found)
    raise typer.Exit(1 if any(share.refused[0] > ALLOWED for share in found.usable) else 0)


def _show(found: "Measured") -> None:
    print("| gate | pictures | n | refused (95 %) | codes |\n|---|---|---|---|---|")
    for share in (*found.usable, *found.unusable):
        print(_row(share))
    print(f"\nProcessor time an image: {found.cost_ms:.2f} ms.")


def _row(share: "Share") -> str:
    value, low, high = (f"{part * 100:.1f}" for part in share.refused)
    codes = ", ".join(f"{code} {count}" for code, count in share.codes.items())
    return f"| {share.gate} | {share.name} | {share.n} | {value} % ({low}–{high}) | {codes} |"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(quality)
