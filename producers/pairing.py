"""The pairing page: what to type into each app, as text and as a QR code, and whether readings arrive; plain HTML.

The credential stays in the page and in the form that asks for it: it is never part of the page's own address unless the
wearer wrote it there, and nothing is loaded from elsewhere.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from statistics import median
from urllib.parse import parse_qs, quote

import segno
from fastapi import FastAPI, Request, Response

from adapters.database.shelf import Uploaded
from producers import wearer_files
from producers.replies import answered, body, plainly
from producers.site import Site

PATH = "/pair"
RECENT = 12
MAX_FORM = 4_096
AGAIN_S = 15
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'",
    "x-content-type-options": "nosniff",
}
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em}code{overflow-wrap:anywhere}"
    "section{border-top:1px solid #999;padding:1em 0;overflow:hidden}img{float:right;margin:0 0 1em 1em}"
    "input{font:inherit;width:100%;max-width:24em}.good{color:#060}.wait{color:#850}"
)


@dataclass(frozen=True, slots=True)
class App:
    """How one app is told of this server: `lines` are (field of the app, what to type); `code` is for its scanner."""

    name: str
    lines: tuple[tuple[str, str], ...]
    code: str
    note: str = ""


def apps(base: str, secret: str) -> tuple[App, ...]:
    """What each app wants to know; `base` is scheme, host and port."""
    scheme, _, place = base.partition("://")
    named = f"{scheme}://{quote(secret, safe='')}@{place}"
    token = f"{base}?token={quote(secret, safe='')}"
    xdrip = {"rest": {"endpoint": [f"{named}/api/v1/"]}}
    return (
        App(
            "xDrip+",
            (("Settings, Cloud Upload, Nightscout Sync (REST-API), Base URL", f"{named}/api/v1/"),),
            json.dumps(xdrip, separators=(",", ":")),
            "Or scan the code with Settings, Auto configure.",
        ),
        App(
            "AAPS",
            (("NSClient v3, Nightscout URL", base), ("NSClient v3, NS access token", secret)),
            base,
            "Leave the websocket off: this server has none. NSClient v1, which has no other way, is not supported.",
        ),
        App("Loop, Trio, iAPS", (("Nightscout, URL", base), ("Nightscout, API Secret", secret)), base),
        App("Spike, xDrip4iOS, Juggluco", (("Nightscout URL", base), ("API_SECRET", secret)), base),
        App("Nightguard, Sugarmate and other followers", (("URL with token", token),), token),
        App(
            "FHIR senders",
            (("Base", f"{base}/fhir"), ("Authorization", f"Bearer {secret}")),
            f"{base}/fhir",
            "They post to $submit-cgm-bundle.",
        ),
    )


def add(app: FastAPI, site: Site) -> None:
    """Adds the routes to the application."""

    async def ask(request: Request) -> Response:
        """With `?token=` the page, else the form that asks for the credential."""
        secret = request.query_params.get("token", "")
        return await answered("glucose", _page(request, site, secret) if secret else _form(), plainly)

    async def answer(request: Request) -> Response:
        return await answered("glucose", _posted(request, site), plainly)

    for method, work in (("GET", ask), ("POST", answer)):
        app.add_api_route(PATH, work, methods=[method], summary="Pairing page", name=f"pair {method}")


def arrivals(rows: Sequence[Uploaded], now: datetime) -> str:
    """One sentence about the newest readings: how long ago, how often, and how the uploader's clock stands."""
    if not rows:
        return "No reading has been received yet."
    ago = _span(now - rows[0].observed_at)
    gaps = [new.measured_at - old.measured_at for new, old in itertools.pairwise(rows)]
    every = f", every {_span(timedelta(seconds=median(gap.total_seconds() for gap in gaps)))}" if gaps else ""
    device = f" from {rows[0].device}" if rows[0].device else ""
    count = "Newest" if len(rows) > 1 else "First"
    return f"{count} reading received{device} {ago} ago{every}, clock {_clock(rows)}."


def _clock(rows: Sequence[Uploaded]) -> str:
    """How long readings take at least: a wrong clock of the phone makes that negative or large."""
    least = min((row.observed_at - row.measured_at for row in rows), key=abs)
    seconds = -round(least.total_seconds())
    return f"{seconds:+d} s" if abs(seconds) < 120 else f"{seconds / 60:+.0f} min"


async def _form() -> Response:
    return _html(
        "<h1>Connect an app</h1><p>The credential that <code>clinstream wearers add</code> has shown:</p>"
        f'<form method="post" action="{PATH}"><input name="token" type="password" autocomplete="off" required> '
        "<button>Show</button></form>"
    )


async def _posted(request: Request, site: Site) -> Response:
    fields = parse_qs((await body(request, MAX_FORM)).decode(errors="replace"))
    return await _page(request, site, fields.get("token", [""])[0])


async def _page(request: Request, site: Site, secret: str) -> Response:
    wearer = await site.access.named(secret, request, "pairing page")
    rows = await site.kept(site.shelf.readings(wearer.subject_id, limit=RECENT))
    base = f"{request.url.scheme}://{request.url.netloc}"
    parts = [f"<h1>Connect an app of {escape(wearer.label)}</h1>"]
    kind = "good" if rows else "wait"
    parts.append(f'<p class="{kind}"><strong>{escape(arrivals(rows, site.clock.now()))}</strong></p>')
    if request.method == "GET":
        parts.append(f"<p>This page asks again every {AGAIN_S} s.</p>")
    else:
        form = f'<form method="post" action="{PATH}"><input name="token" type="hidden" value="{escape(secret)}">'
        parts.append(form + "<button>Look again</button></form>")
    parts += [_section(each) for each in apps(base, secret.strip())]
    parts.append(_file(secret.strip()))
    parts.append("<p>Readings are for information only, not medical advice. Keep this page to yourself.</p>")
    return _html("".join(parts), again=request.method == "GET")


def _section(each: App) -> str:
    lines = "".join(f"<p>{escape(name)}<br><code>{escape(value)}</code></p>" for name, value in each.lines)
    note = f"<p>{escape(each.note)}</p>" if each.note else ""
    image = f'<img alt="QR code for {escape(each.name)}" width="180" height="180" src="{_code(each.code)}">'
    return f"<section>{image}<h2>{escape(each.name)}</h2>{lines}{note}</section>"


def _file(secret: str) -> str:
    """Where a file can be handed in; the zone must be said, since such files tell local times."""
    return (
        "<section><h2>A file</h2>"
        "<p>An export (CSV) of Dexcom Clarity or LibreView. Handing it in again adds nothing.</p>"
        f'<form method="post" action="{wearer_files.PATH}" enctype="multipart/form-data">'
        f'<input name="token" type="hidden" value="{escape(secret)}">'
        '<p><input name="file" type="file" accept=".csv,text/csv" required></p>'
        '<p>Time zone of the file<br><input name="zone" placeholder="Europe/Berlin" required></p>'
        "<button>Hand in</button></form></section>"
    )


def _code(text: str) -> str:
    """A QR code as an image in the page itself."""
    return str(segno.make(text, micro=False).svg_data_uri(scale=4, border=2))


def _html(content: str, *, again: bool = False) -> Response:
    refresh = f'<meta http-equiv="refresh" content="{AGAIN_S}">' if again else ""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>clinstream: connect an app</title>{refresh}'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>{content}</body></html>'
    )
    return Response(page, media_type="text/html; charset=utf-8", headers=HEADERS)


def _span(length: timedelta) -> str:
    seconds = max(round(length.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
