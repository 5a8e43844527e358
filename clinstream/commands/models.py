"""`clinstream models`: the models that are here; what there is to know of them is in `clinstream.catalogue`."""

import json
from typing import Annotated

import typer

app = typer.Typer(help="The models: their cards and releases.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="A JSON array, for machines.")] = False) -> None:
    """Every model with its version, what it looks at, and the state that the release log gives it.

    Example: clinstream models list
    """
    # Imported on use, as every other command would wait for numpy and the database's driver.
    import triton_models
    from clinstream import catalogue

    found, log = list(triton_models.discover().values()), catalogue.release_log()
    if as_json:
        print(json.dumps([catalogue.brief(model, log) for model in found]))
    else:
        catalogue.show_list(found, log)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """One model's whole card: tensors, operating point, intended use, limits, serving; and its release log.

    Example: clinstream models show icu_mortality
    """
    from clinstream import catalogue

    model = catalogue.find(name)
    log = catalogue.release_log()
    if as_json:
        found = {**catalogue.card_of(model), "releases": catalogue.decisions(model, log)}
        print(json.dumps(found, default=catalogue.plain))
    else:
        catalogue.show(model, log)


def register(application: typer.Typer) -> None:
    """Adds the group."""
    application.add_typer(app, name="models")
