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
    research: Annotated[bool, typer.Option("--research", help="Instead, how research measurements agree.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Measure the quality gate: the share of good radiographs that it refuses, and of everything else that it finds.

    Exit 1 when of any source more than 0.5 % of the radiographs are refused. `--fit` writes weights for
    adapters/chest_look.json; what is measured are always those that are installed. `--research` says how often the
    research measurements have no value, and how far they agree with a mirrored and a halved picture; truth it has none.

    Example: clinstream quality --data ../shared/data --json
    """
    from rich.console import Console

    from clinstream.gate import fitting, measure

    console = Console(stderr=True, highlight=False)
    told = console.print if console.is_terminal else lambda sentence: None
    if research:
        _show_research(data, as_json)
        return
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


def _show_research(data: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from clinstream.gate.research import agreements

    found = agreements(data)
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    print("| measure | pictures | n | no value | 2.5 %, median, 97.5 % | mirrored: median, 95 % | half the size |")
    print("|---|---|---|---|---|---|---|")
    for each in found:
        none = sum(each.reasons.values())
        spread = ", ".join(f"{value:.2f}" for value in each.spread)
        mirrored, half = (f"{one.median:.3f}, {one.most:.3f}; none {one.none}" for one in (each.mirrored, each.half))
        row = (each.measure, each.source, str(each.n), f"{none} ({none / each.n:.0%})", spread, mirrored, half)
        print(f"| {' | '.join(row)} |")
    for each in found:
        for why, count in sorted(each.reasons.items(), key=lambda reason: -reason[1]):
            print(f"- {each.source}, {count}: {why}")


def _row(share: "Share") -> str:
    value, low, high = (f"{part * 100:.1f}" for part in share.refused)
    codes = ", ".join(f"{code} {count}" for code, count in share.codes.items())
    return f"| {share.gate} | {share.name} | {share.n} | {value} % ({low}–{high}) | {codes} |"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(quality)
