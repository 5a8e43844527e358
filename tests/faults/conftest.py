"""The installation that all fault tests of a session share; each test finds it whole and must leave it so."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant, planted

# pynetdicom leaves the socket of an association that was cut off before it was accepted to the garbage collector.
CUT_OFF = pytest.mark.filterwarnings("ignore:unclosed .socket.socket .*laddr=:ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here cut senders off."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(CUT_OFF)


@pytest.fixture(scope="session")
def shared_plant() -> Iterator[Plant]:
    """The installation, up for the whole session."""
    with planted() as plant:
        yield plant


@pytest.fixture
def plant(shared_plant: Plant) -> Iterator[Plant]:
    """The installation, whole: every process is ready before and after."""
    faults.heal(shared_plant)
    yield shared_plant
    faults.heal(shared_plant)
    gc.collect()


@pytest.fixture
def oracle(plant: Plant) -> Oracle:
    """Sees what happens from here on."""
    return Oracle(plant)
