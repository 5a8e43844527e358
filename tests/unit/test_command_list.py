"""What the documents and the Makefile tell people to type exists."""

import re
from pathlib import Path

from clinstream.__main__ import COMMANDS
from clinstream.commands.bench import Bench

ROOT = Path(__file__).resolve().parents[2]


def test_every_command_module_is_on_the_command_line() -> None:
    """A command that is written but not listed can never be typed."""
    modules = {path.stem for path in (ROOT / "clinstream" / "commands").glob("*.py") if path.stem != "__init__"}
    assert sorted(COMMANDS) == sorted(modules)


def test_make_bench_names_every_bench() -> None:
    """`make bench` measures all that can be measured without a file of the user's own."""
    named = re.search(r"for name in ([\w ]+); do \$\(BIN\)/clinstream bench", (ROOT / "Makefile").read_text())
    assert named is not None
    assert set(named[1].split()) == {bench.value for bench in Bench} - {Bench.GLUCOBENCH.value}


def test_commands_in_the_readme_exist() -> None:
    """The README's daily use can be typed as it stands."""
    typed = re.findall(r"^clinstream (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(typed) >= 8
    assert set(typed) <= set(COMMANDS)
