"""What can be done to a running installation: kill, stop, hang, arm, take the store away; nothing is judged here."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.support.plant import Plant, await_condition


def kill(plant: Plant, name: str) -> int:
    """SIGKILL to the component, as a power cut or the kernel short of memory would; returns its pid."""
    pid = plant.pid(name)
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_replaced(plant: Plant, name: str, pid: int, seconds: float = 60.0) -> float:
    """Waits until another process than `pid` is the component, and is ready; the seconds that it took."""

    def replaced() -> bool:
        seen = plant.components()[name]
        return seen.pid not in (None, pid) and seen.state == "ready"

    return await_condition(replaced, seconds, f"{name} runs again")


def kill_and_wait(plant: Plant, name: str, seconds: float = 60.0) -> float:
    """SIGKILL, and the seconds until the supervisor has it ready again."""
    return wait_replaced(plant, name, kill(plant, name), seconds)


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants: PostgreSQL's backends are no members of its process group."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def signal_family(pid: int, number: int) -> None:
    """Signals all of them."""
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@contextmanager
def hanging(plant: Plant, name: str) -> Iterator[None]:
    """SIGSTOP: the component accepts connections (the kernel does) and never answers; SIGCONT at the end."""
    pid = plant.pid(name)
    signal_family(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_family(pid, signal.SIGCONT)


@contextmanager
def stopped(plant: Plant, name: str) -> Iterator[None]:
    """Stopped in an orderly way: connections are refused until the end, when the supervisor starts it again.

    The supervisor itself is held meanwhile, or it would start the component at once.
    """
    pid = plant.pid(name)
    number = signal.SIGINT if name == "database" else signal.SIGTERM
    os.kill(plant.supervisor, signal.SIGSTOP)
    try:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            children = process.children(recursive=True)
            process.send_signal(number)
            until = time.monotonic() + 20.0
            # Its parent is held and cannot collect it, so a zombie is what gone looks like.
            while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
                time.sleep(0.05)
            for each in (process, *children):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        yield
    finally:
        os.kill(plant.supervisor, signal.SIGCONT)


@contextmanager
def store_away(plant: Plant) -> Iterator[None]:
    """The folder of the object store is gone, as a file system that is not mounted; back at the end."""
    elsewhere = plant.store.with_name("store-away")
    plant.store.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(plant.store)


def arm(plant: Plant, process: str, point: str) -> None:
    """Has a consumer process die at `point` (`name:N`) in its next life, once; takes effect when it starts again."""
    folder = plant.home.run / "crash"
    folder.mkdir(exist_ok=True)
    (folder / process).write_text(point)


def is_armed(plant: Plant, process: str) -> bool:
    """Whether no life of the process has taken the order yet."""
    return (plant.home.run / "crash" / process).exists()


def heal(plant: Plant, seconds: float = 90.0) -> None:
    """Undoes what a failed test may have left: held processes go on, the store is back, everything is ready."""
    away = plant.store.with_name("store-away")
    if away.exists() and not plant.store.exists():
        away.rename(plant.store)
    for order in (plant.home.run / "crash").glob("*"):
        order.unlink()
    with suppress(ProcessLookupError, KeyError):
        os.kill(plant.supervisor, signal.SIGCONT)
    for seen in plant.components().values():
        if seen.pid:
            signal_family(seen.pid, signal.SIGCONT)
    plant.wait_ready(seconds=seconds)
