"""The installation that all fault tests of a session share; each test finds it whole and must leave it so."""

from collections.abc import Iterator

import pytest

from tests.support import faults
from tests.support.oracle import Oracle
from tests.support.plant import Plant, planted


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


@pytest.fixture
def oracle(plant: Plant) -> Oracle:
    """Sees what happens from here on."""
    return Oracle(plant)
