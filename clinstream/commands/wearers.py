"""`clinstream wearers`: who may send glucose readings, as whom; the work is in `clinstream.uploaders`."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from adapters import settings as settings_room

if TYPE_CHECKING:
    from adapters.wearers import Credential

JSON = Annotated[bool, typer.Option("--json", help="For machines.")]
GROUP_HELP = "Credentials of glucose uploaders, each of which selects one wearer; wearers' own models."

ZONE_HELP = "The wearer's time zone, like Europe/Berlin: intervals of forecasts then fit the hour from the first day."


def add(
    name: Annotated[str, typer.Argument(help="The wearer; kept in the database only, events carry a pseudonym.")],
    issuer: Annotated[str, typer.Option(help="Whose name it is: two issuers' wearers are two subjects.")] = "",
    zone: Annotated[str, typer.Option(help=ZONE_HELP)] = "",
    as_json: JSON = False,
) -> None:
    """Make a credential for a wearer's app. The secret is shown once and kept nowhere.

    Example: clinstream wearers add W-017
    """
    from clinstream import uploaders  # on use: the database's client costs a second of start

    settings = settings_room.load()
    made, secret = asyncio.run(
        uploaders.with_database(settings, lambda database: uploaders.add(database, settings, name, issuer, zone))
    )
    place = f"{settings.doors.http_host}:{settings.doors.http_port}"
    facts = {
        "credential_id": str(made.credential_id),
        "name": made.label,
        "subject_id": made.subject_id,
        "secret": secret,
        "url": f"http://{place}",
        "url_with_secret": f"http://{secret}@{place}/api/v1/",
        "pairing_page": f"http://{place}/pair",
    }
    if as_json:
        print(json.dumps(facts))
        return
    print(f"Wearer {made.label} ({made.subject_id})")
    print(f"  secret, shown only now   {secret}")
    print(f"  URL of a Nightscout app  {facts['url']}")
    print(f"  xDrip+ wants both in one {facts['url_with_secret']}")
    print(f"  every app, with QR codes {facts['pairing_page']}")


def list_credentials(as_json: JSON = False) -> None:
    """List the credentials, oldest first, revoked ones included.

    Example: clinstream wearers list
    """
    from clinstream import uploaders

    found = asyncio.run(
        uploaders.with_database(settings_room.load(), lambda database: database.credentials(revoked=True))
    )
    if as_json:
        print(json.dumps([_line(each) for each in found]))
        return
    if not found:
        print("No uploader has a credential yet; `clinstream wearers add NAME` makes one.")
        return
    columns = (Column(name, overflow="fold") for name in ("name", "subject", "credential", "since", "revoked"))
    table = Table(*columns, box=None, pad_edge=False)
    for each in found:
        revoked = f"{each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else ""
        table.add_row(each.label, each.subject_id, str(each.credential_id), f"{each.created_at:%Y-%m-%d}", revoked)
    Console(highlight=False).print(table)


def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="A wearer's name, or one credential's id.")],
    as_json: JSON = False,
) -> None:
    """Revoke a credential, or all of a wearer; the door forgets it within a few seconds.

    Example: clinstream wearers revoke W-017
    """
    from clinstream import uploaders

    done = asyncio.run(
        uploaders.with_database(settings_room.load(), lambda database: uploaders.revoke(database, which))
    )
    if as_json:
        print(json.dumps({"revoked": [str(each) for each in done]}))
    else:
        print(f"Revoked {len(done)}.")


def clock(
    which: Annotated[str, typer.Argument(metavar="NAME|PSEUDONYM", help="The wearer.")],
    zone: Annotated[str, typer.Argument(metavar="ZONE", help=ZONE_HELP)],
) -> None:
    """Note the zone of a wearer's clock; it takes effect with the next fit.

    Example: clinstream wearers clock W-017 Europe/Berlin
    """
    from clinstream import uploaders

    subject = asyncio.run(
        uploaders.with_database(settings_room.load(), lambda database: uploaders.set_zone(database, which, zone))
    )
    print(f"{subject}: {zone}")


def personalise(
    which: Annotated[str, typer.Argument(metavar="NAME|PSEUDONYM", help="One wearer; without it, everybody.")] = "",
    due: Annotated[bool, typer.Option("--due", help="Only what is due; the trainer does that anyway.")] = False,
    as_json: JSON = False,
) -> None:
    """Fit wearers' own vectors from their readings; one that does not lower the wearer's error is not used.

    Whose readings are too few gets everybody's ends of the interval by the clock, told (`wearers clock`) or learned.
    Each attempt ends as on trial, skipped: insufficient data, or rejected: no improvement. A trial takes six hours of
    readings: what is in force goes on answering, and the new one is deployed or rolled back: worse then.

    Examples: clinstream wearers personalise W-017 · clinstream wearers personalise --due
    """
    from clinstream import personalising

    lines = asyncio.run(personalising.fit(settings_room.load(), which, due=due))
    _show_attempts(lines, as_json)


def models(
    which: Annotated[str, typer.Argument(metavar="NAME|PSEUDONYM", help="The wearer.")],
    as_json: JSON = False,
) -> None:
    """List the attempts to fit a wearer's own vector, the newest first, with data range, features and metrics in JSON.

    Example: clinstream wearers models W-017 --json
    """
    from clinstream import personalising

    _show_attempts(asyncio.run(personalising.attempts(settings_room.load(), which)), as_json)


def _show_attempts(lines: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(lines))
        return
    names = ("subject", "version", "outcome", "in use", "trained", "readings", "gain")
    table = Table(*(Column(name, overflow="fold") for name in names), box=None, pad_edge=False)
    for line in lines:
        gain = line["metrics"].get("gain")
        shown = "" if gain is None else f"{gain:.1%}"
        table.add_row(
            line["subject_id"],
            line["version"],
            line["outcome"],
            "yes" if line["active"] else "",
            line["trained_at"][:16],
            str(line["readings"]),
            shown,
        )
    Console(highlight=False).print(table)


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_credentials)
    group.command()(revoke)
    group.command()(clock)
    group.command()(personalise)
    group.command()(models)
    app.add_typer(group, name="wearers")


def _line(each: "Credential") -> dict[str, Any]:
    return {
        "credential_id": str(each.credential_id),
        "name": each.label,
        "subject_id": each.subject_id,
        "created_at": each.created_at.isoformat(),
        "revoked_at": each.revoked_at.isoformat() if each.revoked_at else None,
        "zone": each.zone,
    }
