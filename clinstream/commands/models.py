"""`clinstream models`: the models, their versions and runs, and the moves of a version that a person asks for.

What there is to know of them is in `clinstream.catalogue`; how a move is ordered and awaited in `clinstream.moving`.
"""

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The models: their cards, versions, runs and releases.", no_args_is_help=True)

TASK = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name.")]
VERSION = Annotated[str, typer.Argument(help="One of its versions; see `clinstream models list`.")]
WHY = Annotated[str, typer.Option(help="Why, in words; it is kept in the audit and announced.")]
BY = Annotated[str, typer.Option(help="Who decides; the login name by default.")]
JSON = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


@app.command("list")
def list_(as_json: JSON = False) -> None:
    """Every version of every model with the state that the release log gives it.

    Example: clinstream models list
    """
    # Imported on use, as every other command would wait for numpy and the database's driver.
    import triton_models
    from clinstream import catalogue

    found, known = list(triton_models.discover().values()), catalogue.known()
    if as_json:
        print(json.dumps([row for model in found for row in catalogue.versions_of(model, known)]))
    else:
        catalogue.show_list(found, known)


@app.command()
def show(name: TASK, as_json: JSON = False) -> None:
    """One model's whole card: tensors, operating point, intended use, limits, serving; and its release log.

    Example: clinstream models show icu_mortality
    """
    from clinstream import catalogue

    model = catalogue.find(name)
    known = catalogue.known()
    if as_json:
        found = {**catalogue.card_of(model), "releases": catalogue.decisions(model, known.log)}
        print(json.dumps(found, default=catalogue.plain))
    else:
        catalogue.show(model, known)


@app.command()
def runs(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 20, as_json: JSON = False
) -> None:
    """The training runs: what asked for them, how far they are, and how they ended.

    Example: clinstream models runs --json
    """
    from clinstream import moving

    moving.show_runs(limit, as_json=as_json)


@app.command("register")
def bring(
    name: TASK,
    folder: Annotated[Path, typer.Option("--from", help="A finished run: the ONNX file and metadata.json.")],
    why: WHY,
    by: BY = "",
    as_json: JSON = False,
) -> None:
    """Register a version that was trained elsewhere; it serves nobody until it is approved and promoted.

    Example: clinstream models register icu_mortality --from runs/icu --why "trained on our own stays"
    """
    from clinstream import moving

    moving.register(name, folder, by=by or getpass.getuser(), why=why, as_json=as_json)


@app.command()
def approve(name: TASK, version: VERSION, why: WHY, by: BY = "", as_json: JSON = False) -> None:
    """Approve a registered version: what a person answers for, before it may answer anybody.

    Example: clinstream models approve icu_mortality 1.2.0 --by A.Clinician --why "better on the hold-out"
    """
    from clinstream import moving

    moving.approve(name, version, by=by or getpass.getuser(), why=why, as_json=as_json)


@app.command()
def promote(
    name: TASK,
    version: VERSION,
    why: WHY,
    share: Annotated[float, typer.Option(help="Of the subjects, 0 to 1; below 1 it is a canary.")] = 1.0,
    shadow: Annotated[bool, typer.Option("--shadow", help="Load it beside the serving one; nobody sees it.")] = False,
    by: BY = "",
    as_json: JSON = False,
) -> None:
    """Let a version answer: all subjects, or with --share some of them; loaded and warm before the first.

    Examples: clinstream models promote icu_mortality 1.2.0 --why "approved"
    · clinstream models promote icu_mortality 1.2.0 --share 0.1 --why "a tenth first"
    """
    from clinstream import moving

    event = "shadow" if shadow else "promote" if share >= 1 else "canary"
    moving.order(name, version, event, share=share, by=by or getpass.getuser(), why=why, as_json=as_json)


@app.command()
def rollback(name: TASK, why: WHY, by: BY = "", as_json: JSON = False) -> None:
    """Take back the canary, or else the promoted version: the one before it answers again within two seconds.

    Example: clinstream models rollback icu_mortality --why "worse than the one before"
    """
    from clinstream import moving

    moving.order(name, "", "roll_back", share=1.0, by=by or getpass.getuser(), why=why, as_json=as_json)


@app.command()
def reject(name: TASK, version: VERSION, why: WHY, by: BY = "", as_json: JSON = False) -> None:
    """Turn down a registered version.

    Example: clinstream models reject icu_mortality 1.2.0 --why "fewer of the old are found"
    """
    from clinstream import moving

    moving.order(name, version, "reject", share=0.0, by=by or getpass.getuser(), why=why, as_json=as_json)


def register(application: typer.Typer) -> None:
    """Adds the group."""
    application.add_typer(app, name="models")
