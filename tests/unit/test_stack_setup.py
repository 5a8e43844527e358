"""What `setup` brings is checked and complete, or absent; what cannot be had is said with a way out."""

from pathlib import Path

import pytest

from clinstream.embedded import postgres, setup, toolchain
from clinstream.embedded.home import Home
from clinstream.embedded.triton import TritonProgram
from schemas.errors import UserError


def said_nothing(sentence: str) -> None:
    del sentence


def lack(monkeypatch: pytest.MonkeyPatch, *found: list[str]) -> list[tuple[str, ...]]:
    """Has the library check find `found`, one after the other; returns the environments that were asked for."""
    made: list[tuple[str, ...]] = []
    answers = iter(found)

    def make(target: Path, *python: str) -> None:
        target.mkdir(exist_ok=True)
        made.append(python)

    monkeypatch.setattr(setup, "_make_environment", make)
    monkeypatch.setattr(setup, "_check_packages", lambda environment: None)
    monkeypatch.setattr(toolchain, "packaged_triton", lambda environment: TritonProgram(Path("/bin/true")))
    monkeypatch.setattr(toolchain, "unresolved_libraries", lambda program: next(answers))
    return made


def test_a_python_without_shared_library_is_replaced_by_one_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lack(monkeypatch, ["libpython3.11.so.1.0"], [])
    setup.bring(tmp_path, {"triton"}, said_nothing)
    assert ["--managed-python" in python for python in made] == [False, True]
    assert toolchain.is_complete(toolchain.triton_environment(tmp_path))


def test_a_library_that_cannot_be_had_is_named_with_the_package_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lack(monkeypatch, ["libpython3.11.so.1.0"], ["libpython3.11.so.1.0"])
    with pytest.raises(UserError, match=r"lacks libpython3\.11\.so\.1\.0; install .*libpython"):
        setup.bring(tmp_path, {"triton"}, said_nothing)
    assert not toolchain.is_complete(toolchain.triton_environment(tmp_path))


def test_an_installation_that_was_interrupted_is_made_anew_and_a_complete_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lack(monkeypatch, [], [])
    environment = toolchain.triton_environment(tmp_path)
    environment.mkdir(parents=True)
    setup.bring(tmp_path, {"triton"}, said_nothing)
    assert len(made) == 1
    assert toolchain.missing(tmp_path, ["kafka"])[0].downloadable


@pytest.mark.parametrize(("answer", "works"), [("exit 0", True), ("exit 1", False)])
def test_an_environment_with_the_wrong_numpy_is_refused(tmp_path: Path, answer: str, works: bool) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    if works:
        setup._check_packages(tmp_path)
        return
    with pytest.raises(UserError, match="numpy 1"):
        setup._check_packages(tmp_path)


def test_jars_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "kafka-clients-4.3.1.jar").write_bytes(b"something else")
    with pytest.raises(UserError, match="not the ones that this version is pinned to"):
        setup._check_jars(tmp_path)


def test_the_pinned_jars_are_those_of_the_version_that_is_downloaded() -> None:
    lines = (toolchain.REQUIREMENTS / "kafka.lock").read_text().splitlines()
    names = [line.split()[1] for line in lines]
    assert "kafka_2.13-4.3.1.jar" in names
    assert len(set(names)) == len(names) == 47
    assert all(len(line.split()[0]) == 64 for line in lines)


def test_what_is_missing_comes_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("postgres_programs", "redis_program", "java"):
        monkeypatch.setattr(toolchain, program, lambda: None)
    found = toolchain.missing(tmp_path, ["database", "redis", "kafka", "triton"])
    assert [lack.part for lack in found] == ["database", "redis", "kafka", "triton"]
    assert [lack.downloadable for lack in found] == [False, False, False, True]
    for part in found[:3]:
        assert f"CLINSTREAM_{part.part.upper()}_URL" in part.remedy


def test_an_old_server_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("postgres", "echo 'postgres (PostgreSQL) 15.18'"), ("initdb", "true")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = toolchain.postgres_programs()
    assert found is None or found != tmp_path
    (tmp_path / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17.2'\n")
    assert toolchain.postgres_programs() == tmp_path


def test_a_home_that_is_forgotten_leaves_nothing_outside_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's database may lie where its unprivileged user reaches it; another home's stays."""
    monkeypatch.setattr(postgres, "ROOTS_PLACE", tmp_path / "root")
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    for home in homes:
        home.make()
        (tmp_path / "root" / home.secret(postgres.ROOTS_FOLDER, n_bytes=8) / "data").mkdir(parents=True)
    postgres.forget(homes[0])
    assert [path.name for path in (tmp_path / "root").iterdir()] == [homes[1].secret(postgres.ROOTS_FOLDER)]
    bare = Home(tmp_path / "three")
    bare.make()
    postgres.forget(bare)
    assert not list(bare.secrets.iterdir())
