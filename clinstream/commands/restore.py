"""`clinstream restore`: a backup into an empty home; how is in `clinstream.backups`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder that `backup` wrote.", exists=True, file_okay=False)],
    home: Annotated[Path | None, typer.Option(help="Where to; else CLINSTREAM_HOME, else .clinstream.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Check every file of a backup, then put all of it into an empty home; `clinstream up` goes on from there.

    Example: CLINSTREAM_HOME=/srv/clinstream clinstream restore /backup/2026-01-31
    """
    # On use: every other command would wait for these.
    from adapters import settings as configuration
    from clinstream.backups import copying
    from clinstream.embedded.home import Home

    place = Home(configuration.load(home).home)
    contents = copying.restore(folder.expanduser().resolve(), place)
    if as_json:
        print(json.dumps({"home": str(place.folder), "files": len(contents.files), "made_at": contents.made_at}))
    else:
        print(f"{len(contents.files)} files of {contents.made_at} are in {place.folder}. Next: `clinstream up`.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(restore)
