"""The command line: which commands there are, and how a mistake of the user is told; no command's own work."""

import importlib
import sys
from collections.abc import Sequence

import typer

from schemas.errors import ClinstreamError, UserError

# A module of clinstream.commands whose `register(app)` adds its command or group, in the order that help shows.
COMMANDS = (
    "setup",
    "up",
    "down",
    "status",
    "demo",
    "send",
    "results",
    "destinations",
    "export",
    "override",
    "wearers",
    "glucose",
    "where",
    "route",
    "door",
    "study",
    "reconcile",
    "dead",
    "resume",
    "models",
    "train",
    "retrain",
    "evaluate",
    "quality",
    "bench",
    "rebuild",
    "backup",
    "restore",
    "contract",
)

FORMER = {"studies": "study"}
"""What a group was called before: its module still registers that name, hidden, for scripts."""

INTERRUPTED = 130
HELP = "Event-driven clinical inference. State lives in .clinstream, or where CLINSTREAM_HOME says."


def build(asked: Sequence[str] = ()) -> typer.Typer:
    """The application; when `asked` names a command, with that one only: all of them take 3 s to import."""
    app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_nothing_in_common)
    first = next((word for word in asked if not word.startswith("-")), "")
    first = FORMER.get(first, first)
    for name in (first,) if first in COMMANDS else COMMANDS:
        importlib.import_module(f"clinstream.commands.{name}").register(app)
    return app


def _nothing_in_common() -> None:
    # A callback keeps the application a group of commands, even when only one is registered.
    return None


def main() -> None:
    """Runs the command line; a mistake or an outage is one sentence on stderr and exit 2 or 1, no stack trace."""
    try:
        build(sys.argv[1:])()
    except UserError as mistake:
        sys.stderr.write(f"{mistake}\n")
        raise SystemExit(2) from None
    except ClinstreamError as failure:
        sys.stderr.write(f"{failure}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
