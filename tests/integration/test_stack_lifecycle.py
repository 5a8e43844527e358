"""`up`, `status` and `down` as a user types them: they say what is, keep the state and leave no process behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import redis as redis_client

from adapters import settings as settings_room
from clinstream import running
from clinstream.embedded import ports
from clinstream.embedded.home import Home
from clinstream.supervision import records
from tests.support import stack

QUICK_PARTS = ("--only-parts", "--part", "redis", "--part", "database")
DEADLINE_S = 120.0


@pytest.fixture
def home() -> Iterator[Path]:
    """A state folder of this test's own; whatever the test started in it is stopped."""
    with stack.temporary_home() as folder:
        yield folder
        running.take_down(Home(folder))


def start(home: Path, *words: str, more: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "clinstream", *words],
        env={**settings_room.child_environment(home), **(more or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def clinstream(home: Path, *words: str, more: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit status and output of a command that ends by itself."""
    with start(home, *words, more=more) as command:
        out, err = command.communicate(timeout=DEADLINE_S * 2)
    return command.returncode, out + err


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that mention the home, whoever started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(home) in words and int(folder.name) != os.getpid():
            found.append(words)
    return found


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


def test_a_second_up_says_so_and_down_leaves_nothing_and_the_state_survives(home: Path) -> None:
    code, said = clinstream(home, "up", *QUICK_PARTS)
    assert code == 0, said
    first = settings_room.load(home)
    with redis_client.Redis.from_url(first.redis_url) as client:
        client.set("kept", "over a restart")

    code, said = clinstream(home, "up", *QUICK_PARTS)
    assert (code, "Already running" in said) == (0, True)

    code, said = clinstream(home, "down")
    assert (code, said) == (0, "Stopped 2 processes.\n")
    assert processes_of(home) == []
    assert clinstream(home, "down") == (0, "Nothing was running.\n")

    code, said = clinstream(home, "up", *QUICK_PARTS)
    assert code == 0, said
    again = settings_room.load(home)
    assert again.redis_url == first.redis_url
    assert again.database.url == first.database.url
    with redis_client.Redis.from_url(again.redis_url, decode_responses=True) as client:
        assert client.get("kept") == "over a restart"


def test_status_tells_of_a_part_that_was_killed_and_is_back(home: Path) -> None:
    clinstream(home, "up", *QUICK_PARTS)
    running_stack = stack.RunningStack(home)
    os.kill(running_stack.component("redis")["pid"], signal.SIGKILL)
    until(lambda: running_stack.component("redis")["restarts"] == 1)
    until(lambda: running_stack.component("redis")["state"] == "ready")
    code, said = clinstream(home, "status", "--json")
    found = json.loads(said)
    assert (code, found["ready"]) == (0, True)
    assert set(found) == {"ready", "parts", "lanes", "dead"}
    assert found["parts"]["redis"]["state"] == "ready"
    assert "restarted once, last exit SIGKILL" in found["parts"]["redis"]["detail"]


def test_status_of_nothing_says_how_to_start(home: Path) -> None:
    code, said = clinstream(home, "status")
    assert (code, said) == (1, "Not running; `clinstream up` starts it.\n")


def test_after_the_supervisor_was_killed_nothing_lives_on_and_up_works(home: Path) -> None:
    clinstream(home, "up", *QUICK_PARTS)
    recorded = records.read_all(Home(home).run)
    os.kill(stack.RunningStack(home).status()["pid"], signal.SIGKILL)
    until(lambda: not any(record.alive() for record in recorded))
    code, said = clinstream(home, "up", *QUICK_PARTS)
    assert code == 0, said


@pytest.mark.parametrize("after_s", [0.3, 0.9, 1.5, 2.2])
def test_ctrl_c_at_any_moment_of_the_start_leaves_nothing_behind(home: Path, after_s: float) -> None:
    with start(home, "up", "--foreground", *QUICK_PARTS) as command:
        time.sleep(after_s)  # the moment itself is what is tested
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=DEADLINE_S)
    # By the signal itself when it came before our first line ran.
    assert command.returncode in {130, -signal.SIGINT}
    assert processes_of(home) == []
    assert records.read_all(Home(home).run) == []


def test_ctrl_c_after_the_start_stops_everything(home: Path) -> None:
    with start(home, "up", "--foreground", *QUICK_PARTS) as command:
        until(lambda: stack.RunningStack(home).status().get("phase") == "ready")
        command.send_signal(signal.SIGINT)
        out, _ = command.communicate(timeout=DEADLINE_S)
    assert "nothing is left running" in out
    assert processes_of(home) == []


def test_an_external_server_is_used_and_not_started(home: Path, redis_url: str) -> None:
    outside = {"CLINSTREAM_REDIS_URL": redis_url}
    code, said = clinstream(home, "up", *QUICK_PARTS, more=outside)
    assert code == 0, said
    assert settings_room.load(home).redis_url == redis_url
    assert [part["name"] for part in stack.RunningStack(home).status()["components"]] == ["database"]


def test_an_external_server_that_is_away_is_named_with_what_to_do(home: Path) -> None:
    nobody = f"redis://127.0.0.1:{ports.find_free()}/0"
    code, said = clinstream(home, "up", *QUICK_PARTS, more={"CLINSTREAM_REDIS_URL": nobody})
    assert code == 2
    assert said.startswith("The external redis at 127.0.0.1:")
    assert "does not answer" in said
    assert "CLINSTREAM_REDIS_URL" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--port", "redis"), "is not NAME=NUMBER"),
        (("--port", "nobody=2000"), "There is no listener named nobody"),
        (("--part", "oracle"), "There is no part named oracle"),
    ],
)
def test_a_mistake_is_one_plain_sentence(home: Path, words: tuple[str, ...], expected: str) -> None:
    code, said = clinstream(home, "up", *QUICK_PARTS, *words)
    assert code == 2
    assert expected in said
    assert len(said.strip().splitlines()) == 1
    assert processes_of(home) == []


def test_the_user_chooses_a_port_and_it_is_remembered(home: Path) -> None:
    wish = ports.find_free()
    clinstream(home, "up", *QUICK_PARTS, "--port", f"redis={wish}")
    clinstream(home, "down")
    clinstream(home, "up", *QUICK_PARTS)
    assert settings_room.load(home).redis_url == f"redis://127.0.0.1:{wish}/0"


def test_a_chosen_port_in_use_is_refused_before_anything_starts(home: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", ports.find_free()))
        other.listen()
        taken = other.getsockname()[1]
        code, said = clinstream(home, "up", *QUICK_PARTS, "--port", f"redis={taken}")
    assert code == 2
    assert f"Port {taken}, asked for redis, is in use" in said


def test_secrets_are_readable_by_their_owner_only_and_nowhere_else(home: Path) -> None:
    clinstream(home, "up", *QUICK_PARTS)
    folder = Home(home).secrets
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert "pseudonym.key" in {path.name for path in files}
    assert len(settings_room.load(home).pseudonym_key.get_secret_value()) == 64
    secrets = [path.read_text().strip() for path in files if path.suffix in {".password", ".key"}]
    readable = [home / "endpoints.json", *Home(home).run.glob("*.json"), *Home(home).logs.iterdir()]
    for path in readable:
        text = path.read_text(errors="replace")
        assert not any(secret in text for secret in secrets), path
