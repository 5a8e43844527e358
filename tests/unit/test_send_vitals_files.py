"""Readings out of CSV and JSON files as people have them, for `clinstream send vitals`."""

import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from clinstream.sending import posting, vitals
from clinstream.sending.posting import Row
from clinstream.sending.sent import Sent
from clinstream.sending.vitals import Defaults

FEATURES = ("Age", "HR_first", "Height")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def load(tmp_path: Path, content: str | bytes, **changes: bool) -> list[Row | Sent]:
    file = tmp_path / "file"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(vitals.load(file, FEATURES, Defaults(NOW, **changes)))


def bodies(rows: list[Row | Sent]) -> list[dict[str, object]]:
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.body for row in rows if isinstance(row, Row)]


CSV = "recordid,Age,HR_first,In-hospital_death\n132539,54.0,,0\n132540,76,80.5,1\n"


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_gives_one_reading_a_row_without_the_outcome_that_a_model_is_to_predict(
    tmp_path: Path, packed: bool
) -> None:
    rows = load(tmp_path, gzip.compress(CSV.encode()) if packed else CSV)
    first, second = bodies(rows)
    assert first == {
        "stay": "132539",
        "issuer": "",
        "measured_at": NOW.isoformat(),
        "features": {"Age": 54.0, "HR_first": None},
        "simulated": False,
    }
    assert second["features"] == {"Age": 76.0, "HR_first": 80.5}
    assert [row.path.rpartition(":")[2] for row in rows] == ["2", "3"]


def test_a_table_may_state_issuer_and_time_itself(tmp_path: Path) -> None:
    (body,) = bodies(load(tmp_path, "stay,issuer,measured_at,Age\ns,ward 3,2026-01-31T08:00:00Z,1\n", simulated=True))
    assert (body["issuer"], body["measured_at"], body["simulated"]) == ("ward 3", "2026-01-31T08:00:00Z", True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Age,HR_first\n1,2\n", "no column named"),
        ("recordid,Shoe size\n1,2\n", "no column named"),
        ("", "no column named"),
        (b"\xff\xfe\x00", "neither CSV nor JSON"),
        (gzip.compress(CSV.encode(), mtime=0)[:20], "neither CSV nor JSON|cannot be read"),
        ("{broken", "not JSON"),
        ("[1", "not JSON"),
    ],
)
def test_a_file_that_holds_no_readings_gets_one_line_that_says_why(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    (line,) = load(tmp_path, content)
    assert isinstance(line, Sent)
    assert line.status == "unreadable"
    assert re.search(reason, line.reason)


@pytest.mark.parametrize("value", ["high", "inf", "-Infinity"])
def test_a_row_with_a_value_that_is_no_number_gets_a_line_and_its_neighbours_are_read(
    tmp_path: Path, value: str
) -> None:
    rows = load(tmp_path, f"stay,Age\na,1\nb,{value}\nc,3\n")
    assert [isinstance(row, Row) for row in rows] == [True, False, True]
    line = rows[1]
    assert isinstance(line, Sent)
    assert "Age" in line.reason
    assert value not in line.reason


@pytest.mark.parametrize("form", ["object", "array", "lines"])
def test_json_comes_as_an_object_an_array_or_lines(tmp_path: Path, form: str) -> None:
    one = {"stay": "a", "measured_at": "2026-01-31T08:00:00Z", "features": {"Age": 1}}
    other = {"stay": "b", "features": {"Age": None}}
    texts = {
        "object": json.dumps(one, indent=1),
        "array": json.dumps([one, other]),
        "lines": json.dumps(one) + "\n" + json.dumps(other) + "\n",
    }
    found = bodies(load(tmp_path, texts[form]))
    assert found[0] == one
    if form != "object":
        assert found[1] == {**other, "measured_at": NOW.isoformat()}


class Ward:
    """A door that answers what a test tells it to."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.posts = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.posts += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def send(ward: Ward, monkeypatch: pytest.MonkeyPatch, rows: list[Row | Sent]) -> tuple[list[Sent], list[float]]:
    pauses: list[float] = []
    real = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **options: real(transport=httpx.MockTransport(ward), base_url="http://door")
    )
    return list(posting.send(iter(rows), posting.Target("http://door", vitals.ROUTE), pause=pauses.append)), pauses


OK = {"results": [{"event_id": "e1", "status": "accepted", "reason": ""}]}
ROW = Row("file:2", {"stay": "a"})


def test_a_door_that_says_try_again_is_asked_again_until_it_takes_the_post(monkeypatch: pytest.MonkeyPatch) -> None:
    ward = Ward(httpx.Response(503, json={"error": "full"}), httpx.ConnectError("gone"), httpx.Response(200, json=OK))
    lines, pauses = send(ward, monkeypatch, [ROW])
    assert lines == [Sent("file:2", "accepted", "", "e1")]
    assert pauses == sorted(pauses)
    assert len(pauses) == 2


def test_a_door_that_never_takes_the_post_is_given_up_after_five_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    ward = Ward(*(httpx.Response(503, json={"error": "full"}) for _ in range(9)))
    lines, _ = send(ward, monkeypatch, [ROW])
    assert lines == [Sent("file:2", "retry", "full")]
    assert ward.posts == 5


def test_lines_come_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"results": [{"event_id": None, "status": "refused", "reason": "stay is missing"}]}
    bad = Sent("file:1", "unreadable", "Age is not a number")
    lines, _ = send(Ward(httpx.Response(422, json=refused)), monkeypatch, [bad, ROW])
    assert lines == [bad, Sent("file:2", "refused", "stay is missing")]
