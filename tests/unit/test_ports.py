"""Ports: the user's wish first, then the remembered one, then a free one; never one twice."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clinstream.embedded import claims, ports
from schemas.errors import UserError

NAMES = ["kafka", "database", "dicom"]


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports.find_free()))
        other.listen()
        yield other.getsockname()[1]


def test_each_name_gets_a_free_port_of_its_own_below_the_range_of_outgoing_connections() -> None:
    chosen, moved = ports.choose(NAMES, {}, {})
    assert list(chosen) == NAMES
    assert len(set(chosen.values())) == len(NAMES)
    assert all(ports.is_free(port) and port < 32768 for port in chosen.values())
    assert moved == []


def test_remembered_ports_are_kept_when_they_are_free() -> None:
    first, _ = ports.choose(NAMES, {}, {})
    second, moved = ports.choose(NAMES, first, {})
    assert second == first
    assert moved == []


def test_a_remembered_port_that_another_program_took_is_replaced_and_reported(occupied: int) -> None:
    chosen, moved = ports.choose(NAMES, {"kafka": occupied}, {})
    assert chosen["kafka"] != occupied
    assert moved == ["kafka"]


def test_a_wish_wins_over_what_is_remembered() -> None:
    wish, before = ports.find_free(), ports.find_free()
    chosen, moved = ports.choose(NAMES, {"dicom": before}, {"dicom": wish})
    assert chosen["dicom"] == wish
    assert moved == []


def test_a_new_port_avoids_those_that_are_remembered_for_others() -> None:
    remembered, _ = ports.choose(["later"], {}, {})
    chosen, _ = ports.choose(NAMES, remembered, {})
    assert remembered["later"] not in chosen.values()


@pytest.mark.parametrize(
    ("wished", "said"),
    [({"kafak": 9092}, "no listener named kafak"), ({"kafka": 70000}, "not a TCP port"), ({"kafka": 0}, "not a TCP")],
)
def test_a_wish_that_cannot_be_is_refused_with_its_reason(wished: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ports.choose(NAMES, {}, wished)


def test_a_wish_for_a_port_in_use_is_refused(occupied: int) -> None:
    with pytest.raises(UserError, match="in use"):
        ports.choose(NAMES, {}, {"dicom": occupied})


def test_the_same_wish_for_two_listeners_is_refused() -> None:
    port = ports.find_free()
    with pytest.raises(UserError, match="twice"):
        ports.choose(NAMES, {}, {"dicom": port, "kafka": port})


def test_a_port_that_somebody_else_chose_and_has_not_bound_yet_is_not_taken() -> None:
    claimed = ports.find_free()
    chosen, moved = ports.choose(NAMES, {"kafka": claimed}, {}, [claimed])
    assert claimed not in chosen.values()
    assert moved == ["kafka"]


def test_claims_of_the_living_count_and_those_of_the_dead_are_forgotten(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from clinstream.embedded import claims\n"
        "with claims.held(pathlib.Path(sys.argv[1])) as others: others.add([int(sys.argv[2])])\n"
        "print('claimed', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), "20001"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"claimed\n"
        with claims.held(tmp_path) as seen:
            assert seen.taken == {20001}
            seen.add([20002])
        other.kill()
    with claims.held(tmp_path) as seen:
        assert seen.taken == frozenset()
    assert not (tmp_path / claims.FOLDER / "20001").exists()
    claims.release(tmp_path)
    assert not (tmp_path / claims.FOLDER / "20002").exists()
