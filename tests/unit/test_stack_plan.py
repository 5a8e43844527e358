"""What is known of the embedded servers before any of them runs."""

from pathlib import Path

import pytest

from adapters import settings as settings_room
from adapters.settings import DoorSettings, Settings
from clinstream import processes, stack
from clinstream.embedded import kafka, postgres
from clinstream.embedded.home import Home


def test_a_cluster_id_never_begins_like_an_option_of_the_tool_that_reads_it() -> None:
    ids = {kafka.new_cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert not any(cluster.startswith("-") for cluster in ids)
    assert {len(cluster) for cluster in ids} == {22}


def test_kafka_deletes_nothing_by_age_and_forgets_no_offset_unless_a_topic_says_so() -> None:
    found = kafka.properties(Path("/data"), 9092, 9093)
    assert found["log.retention.ms"] == "-1"
    assert found["offsets.retention.minutes"] == "5256000"
    assert found["auto.create.topics.enable"] == "false"
    assert found["group.initial.rebalance.delay.ms"] == "0"
    assert {value for name, value in found.items() if name.endswith("replication.factor")} == {"1"}
    assert all(place.startswith("127.0.0.1:") for place in _places(found))


def test_both_database_roles_are_made_without_special_rights() -> None:
    made = [line for line in postgres.BOOTSTRAP.splitlines() if line.startswith("CREATE ROLE")]
    assert len(made) == 2
    assert all("NOSUPERUSER NOBYPASSRLS" in line for line in made)


def _places(properties: dict[str, str]) -> list[str]:
    return [part.partition("://")[2] for part in properties["listeners"].split(",")]


def test_a_plan_gives_every_listener_a_port_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_parts", lambda *_: [])
    home = Home(tmp_path / "home")
    plan = stack.draw_up(home, stack.PARTS, {}, services=True)
    first = home.endpoints()
    rows = processes.table(settings_room.load(home.folder))
    assert set(first["ports"]) == {
        *(name for names in stack.PART_PORTS.values() for name in names),
        *stack.DOOR_PORTS,
        *processes.metrics_ports(rows),
    }
    assert len(set(first["ports"].values())) == len(first["ports"])
    assert [component.kind for component in plan.components] == ["service"] * sum(row.count for row in rows)
    assert plan.prepare is not None
    again = stack.draw_up(home, stack.PARTS, {}, services=True)
    assert home.endpoints() == first
    assert again.notes == []


def test_parts_with_an_address_of_their_own_are_not_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINSTREAM_KAFKA_URL", "broker.example:9093")
    monkeypatch.setattr(stack, "_parts", lambda _home, own, *_: [])
    home = Home(tmp_path / "home")
    plan = stack.draw_up(home, stack.PARTS, {}, services=False)
    assert plan.external == ["kafka"]
    assert plan.prepare is None
    assert "kafka" not in home.endpoints()
    assert not {"kafka", "kafka-controller"} & set(home.endpoints()["ports"])
    assert stack.address(settings_room.load(home.folder), "kafka") == ("broker.example", 9093)


@pytest.mark.parametrize(
    ("part", "field", "url", "expected"),
    [
        ("redis", "CLINSTREAM_REDIS_URL", "redis://:word@cache.example/0", ("cache.example", 6379)),
        ("database", "CLINSTREAM_DATABASE_URL", "postgresql+asyncpg://a:b@db.example:5433/c", ("db.example", 5433)),
        ("kafka", "CLINSTREAM_KAFKA_URL", "one.example:9093,two.example:9094", ("one.example", 9093)),
        ("triton", "CLINSTREAM_TRITON_URL", "gpu.example:8001", ("gpu.example", 8001)),
    ],
)
def test_an_external_address_is_read_from_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, field: str, url: str, expected: tuple[str, int]
) -> None:
    monkeypatch.setenv(field, url)
    assert stack.address(settings_room.load(tmp_path), part) == expected


def test_the_folder_door_runs_where_a_folder_is_watched() -> None:
    def names(doors: DoorSettings) -> set[str]:
        return {row.name for row in processes.table(Settings(cache=Path("cache"), doors=doors))}

    plain = names(DoorSettings())
    assert "door-folder" not in plain
    assert names(DoorSettings(folder=Path("inbox"))) - plain == {"door-folder"}
