"""Which TCP port each listener of an installation gets: the user's, else the remembered, else a free one."""

import random
import socket
from collections.abc import Collection, Iterable, Mapping

from schemas.errors import UserError

# Below Linux's range for outgoing connections (32768-60999), so that no client takes a chosen port.
FREE_RANGE = range(20000, 32000)
TRIES = 400


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nothing listens on the TCP port of `host`; a closed connection in TIME_WAIT does not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def find_free(taken: Iterable[int] = ()) -> int:
    """A free TCP port of 127.0.0.1 that is not in `taken`; UserError when there is none to be found."""
    avoid = set(taken)
    chooser = random.SystemRandom()
    for _ in range(TRIES):
        port = chooser.choice(FREE_RANGE)
        if port not in avoid and is_free(port):
            return port
    raise UserError(
        f"No free TCP port between {FREE_RANGE.start} and {FREE_RANGE.stop - 1} of 127.0.0.1 was found; "
        "stop what occupies them, or set ports with `clinstream up --port NAME=NUMBER`."
    )


def choose(
    names: Iterable[str], remembered: Mapping[str, int], wished: Mapping[str, int], claimed: Collection[int] = ()
) -> tuple[dict[str, int], list[str]]:
    """One port for each of `names`, and the names whose remembered port was taken by another program.

    `claimed` ports belong to somebody who has not bound them yet.
    Raises UserError for a wish that names no listener, is out of range, repeats another or is not free.
    """
    wanted = list(names)
    _refuse_bad_wishes(wanted, wished)
    chosen: dict[str, int] = dict(wished)
    moved: list[str] = []
    for name in wanted:
        if name in chosen:
            continue
        before = remembered.get(name)
        if before is not None and before not in [*chosen.values(), *claimed] and is_free(before):
            chosen[name] = before
            continue
        if before is not None:
            moved.append(name)
        chosen[name] = find_free([*chosen.values(), *remembered.values(), *claimed])
    return chosen, moved


def _refuse_bad_wishes(names: list[str], wished: Mapping[str, int]) -> None:
    for name, port in wished.items():
        if name not in names:
            raise UserError(f"There is no listener named {name}; choose from: {', '.join(sorted(names))}.")
        if not 1 <= port <= 65535:
            raise UserError(f"{port} is not a TCP port (1 to 65535), asked for {name}.")
        if list(wished.values()).count(port) > 1:
            raise UserError(f"Port {port} was asked for twice; give each listener its own.")
        if not is_free(port):
            raise UserError(f"Port {port}, asked for {name}, is in use; stop what listens there or name another.")
