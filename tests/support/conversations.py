"""Conversations of apps with a server, played against a door: requests as the apps write them, and what they expect."""

import gzip
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

FOLDER = Path(__file__).parent.parent / "conversations"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))

Ask = Callable[[str, str, dict[str, str], bytes | None], Awaitable[httpx.Response]]


class Conversation:
    """One recording: `{ms-N}` and `{iso-N}` stand for N seconds before `now`, other names for what was kept."""

    def __init__(self, name: str, secret: str, now: datetime) -> None:
        self.steps: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())["steps"]
        self.kept = {"secret": secret, "sha1": hashlib.sha1(secret.encode()).hexdigest()}
        self.now = now

    async def play(self, ask: Ask, rows: Callable[[], Awaitable[int]]) -> None:
        """Asks step by step; `rows` counts the wearer's stored contents of readings."""
        for number, step in enumerate(self.steps):
            said = f"step {number}: {step['do']} {step['path']}"
            headers = {name: self.filled(value) for name, value in step["headers"].items()}
            body = json.dumps(self.filled(step["body"])).encode() if "body" in step else None
            if body is not None and headers.get("content-encoding") == "gzip":
                body = gzip.compress(body)
            answer = await ask(step["do"], self.filled(step["path"]), headers, body)
            assert answer.status_code == step["status"], f"{said}: {answer.status_code} {answer.text[:300]}"
            self._compare(step, answer, said)
            if "rows" in step:
                assert await rows() == step["rows"], said

    def _compare(self, step: dict[str, Any], answer: httpx.Response, said: str) -> None:
        found = answer.json()
        for name, field in step.get("keep", {}).items():
            self.kept[name] = found[field]
        if "keep_etag" in step:
            self.kept[step["keep_etag"]] = re.fullmatch(r'W/"(\d+)"', answer.headers["etag"])[1]  # type: ignore[index]
        if "count" in step:
            assert len(found) == step["count"], f"{said}: {found}"
        if "results" in step:
            assert len(found["result"]) == step["results"], f"{said}: {found}"
        if "each" in step:
            assert all(item[step["each"]] for item in found), said
        for name in ("has", "first", "result", "result0"):
            if name in step:
                wanted, where = self.filled(step[name]), _part(name, found)
                assert {key: where.get(key) for key in wanted} == wanted, said
        if "location" in step:
            assert answer.headers["location"] == self.filled(step["location"]), said

    def filled(self, value: Any) -> Any:
        """A value with what stands for something else put in."""
        if isinstance(value, dict):
            return {name: self.filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if not isinstance(value, str):
            return value
        if match := re.fullmatch(r"\{ms-(\d+)\}", value):
            return self._ms(int(match[1]))
        value = re.sub(r"\{ms-(\d+)\}", lambda match: str(self._ms(int(match[1]))), value)
        value = re.sub(r"\{iso-(\d+)\}", lambda match: self._iso(int(match[1])), value)
        return re.sub(r"\{(\w+)\}", lambda match: self.kept[match[1]], value)

    def _ms(self, ago_s: int) -> int:
        return round((self.now - timedelta(seconds=ago_s)).timestamp() * 1000)

    def _iso(self, ago_s: int) -> str:
        moment = (self.now - timedelta(seconds=ago_s)).astimezone(UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _part(name: str, found: Any) -> Any:
    """Which part of an answer a step speaks of."""
    if name == "first":
        return found[0]
    if name == "has":
        return found
    return found["result"][0] if name == "result0" else found["result"]
