"""`clinstream study`: what a person may ask for one study that waits; the work is in `clinstream.expediting`."""

import getpass
import json
from typing import Annotated

import typer

GROUP_HELP = "One study: put it before the others."


def expedite(
    which: Annotated[str, typer.Argument(metavar="ACCESSION|STUDY_UID|SOP_UID", help="Which study or image.")],
    issuer: Annotated[str, typer.Option(help="Of a patient id, where one is meant.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Put the images of a study that wait before the others: they go through the STAT lane; a second time is harmless.

    Example: clinstream study expedite 1.2.840.113619.2.55.3
    """
    from adapters import settings
    from clinstream import expediting  # on use: the database's client costs a second of start

    found = expediting.expedite(settings.load(), which, issuer, by_whom=getpass.getuser())
    if as_json:
        print(json.dumps({"expedited": found.expedited, "urgent": found.urgent, "ended": found.ended}))
        return
    for line in expediting.told(found):
        print(line)


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, pretty_exceptions_enable=False, no_args_is_help=True)
    group.callback()(lambda: None)
    group.command()(expedite)
    app.add_typer(group, name="study")
