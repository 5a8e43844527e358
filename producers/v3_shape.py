"""How Nightscout's interface v3 asks and answers: pages, cursors, dates, statuses; nothing is fetched or kept here."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from fastapi import Request, Response

from adapters.database.shelf import EPOCH, in_ms
from producers import finding
from producers.glucose_routes import decoded
from producers.nightscout_v1 import ENTRY_TIMES, MOST
from producers.replies import Early, body, reply

LIMIT, MOST_AT_ONCE = 100, 1_000
RESERVED = frozenset(("limit", "skip", "sort", "sort$desc", "fields", "token", "now", "count"))
EARLIEST_MS = 946_684_800_000
ZONES = 1440


class Page:
    """Which part of what was found is answered, in which order, with which fields."""

    def __init__(self, request: Request, default: int = LIMIT) -> None:
        asked = request.query_params
        self.limit = _whole(asked.get("limit", str(default)), "limit", 1, MOST_AT_ONCE)
        self.skip = _whole(asked.get("skip", "0"), "skip", 0, MOST)
        self._descending = "sort$desc" in asked
        self._sort = asked.get("sort$desc") or asked.get("sort") or ""
        if self._sort and "sort" in asked and "sort$desc" in asked:
            raise Early(400, "sort and sort$desc cannot be combined")
        self.newest_first = not self._sort or (self._descending and self._sort in ENTRY_TIMES)
        wanted = asked.get("fields", "_all")
        self._fields = None if wanted == "_all" else frozenset(wanted.split(","))

    def answer(self, found: list[dict[str, Any]]) -> Response:
        """The page."""
        if not self.newest_first:
            held = [each for each in found if each.get(self._sort) is not None]
            held.sort(key=lambda each: _orderly(each[self._sort]), reverse=self._descending)
            found = held + [each for each in found if each.get(self._sort) is None]
        return result(self.projected(found[self.skip : self.skip + self.limit]))

    def projected(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Only the fields that were asked for."""
        if self._fields is None:
            return found
        return [{name: value for name, value in each.items() if name in self._fields} for each in found]


async def document(request: Request) -> dict[str, Any]:
    """One document as interface v3 demands it."""
    item = fields(decoded(await body(request)))
    moment = finding.when(item.get("date")) if item.get("date") is not None else finding.when(item.get("created_at"))
    if moment is None or in_ms(moment) <= EARLIEST_MS:
        raise Early(400, "Bad or missing date field")
    if not isinstance(item.get("app"), str) or not item["app"].strip():
        raise Early(400, "Bad or missing app field")
    zone = item.get("utcOffset", 0)
    if isinstance(zone, bool) or not isinstance(zone, (int, float)) or abs(zone) > ZONES:
        raise Early(400, "Bad or missing utcOffset field")
    return item


def fields(item: Any) -> dict[str, Any]:
    """The fields of a body that is an object."""
    if not isinstance(item, dict) or not item:
        raise Early(400, "Bad or missing request body")
    return item


def dated(item: Mapping[str, Any]) -> dict[str, Any]:
    """With a time in milliseconds where the app wrote another form."""
    moment = finding.when(item["date"]) if item.get("date") is not None else finding.when(item.get("created_at"))
    return {**item, "date": None if moment is None else in_ms(moment)}


def cursor(request: Request) -> int:
    """The cursor of a follower, from the path or else the header, in milliseconds."""
    given = request.path_params.get("since")
    try:
        if given is None:
            return in_ms(parsedate_to_datetime(request.headers["last-modified"])) - 1
        moment = finding.when(given)
    except (KeyError, ValueError, OverflowError, TypeError):
        moment = None
    if moment is None:
        raise Early(400, "Bad or missing Last-Modified header/parameter")
    return in_ms(moment)


def history(found: list[dict[str, Any]], since: int, page: Page) -> Response:
    """What changed, with the cursor to ask with next time."""
    newest = max((each["srvModified"] for each in found), default=since)
    answer = result(page.projected(found))
    answer.headers["etag"] = f'W/"{newest}"'
    answer.headers["last-modified"] = _http_date(newest)
    return answer


def one(found: dict[str, Any], request: Request) -> Response:
    """One document, or only that it is what the client has."""
    modified = found["srvModified"]
    try:
        since = parsedate_to_datetime(request.headers["if-modified-since"])
        unchanged = modified // 1000 <= int(since.timestamp())
    except (KeyError, ValueError, TypeError):
        unchanged = False
    answer = Response(status_code=304) if unchanged else result(found)
    answer.headers["last-modified"] = _http_date(modified)
    return answer


def require_unmodified(request: Request, modified_ms: int) -> None:
    """Ends the request where the document changed since the client saw it."""
    try:
        since = parsedate_to_datetime(request.headers["if-unmodified-since"])
    except (KeyError, ValueError, TypeError):
        return
    if modified_ms // 1000 > int(since.timestamp()):
        raise Early(412, "the document changed since")


def created(collection: str, name: str, modified_ms: int, *, again: bool) -> Response:
    """What a post came to."""
    status = 200 if again else 201
    found: dict[str, Any] = {"status": status, "identifier": name, "lastModified": modified_ms}
    if again:
        found |= {"isDeduplication": True, "deduplicatedIdentifier": name}
    answer = reply(status, found)
    answer.headers["location"] = f"/api/v3/{collection}/{name}"
    answer.headers["last-modified"] = _http_date(modified_ms)
    return answer


def result(found: Any) -> Response:
    """An answer with content."""
    return reply(200, {"status": 200, "result": found})


def _http_date(ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(ms // 1000, EPOCH.tzinfo), usegmt=True)


def _whole(text: str, name: str, least: int, most: int) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise Early(400, f"Parameter {name} out of tolerance")
    return min(int(text), most)


def _orderly(value: Any) -> tuple[int, float, str]:
    """Numbers before texts, so that a mixture can be sorted."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, str(value))
