"""The contract of model folders, held by every model that is installed (S3, ME10)."""

from pathlib import Path

import pytest

import triton_models
from adapters import repository
from tests.support import model_contract
from triton_models import Model

MODELS = triton_models.discover()
GOLDEN = Path(__file__).parents[1] / "unit" / "golden"


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    """Each model in turn."""
    return MODELS[request.param]


def test_rubbish_is_refused_and_nothing_else_is_raised(model: Model) -> None:
    """Bad input gets a specific answer: anything but RejectedInput would count as the step's own failure."""
    model_contract.refuses_rubbish(model)


def test_the_weights_take_and_give_what_the_card_says(model: Model) -> None:
    """S3: the card is what everything else is generated from."""
    model_contract.weights_are_those_of_the_card(model)


def test_an_answer_that_is_not_the_cards_becomes_no_finding(model: Model) -> None:
    """A wrong file in the repository must not become a result."""
    model_contract.refuses_malformed_answers(model)


def test_it_has_a_configuration_for_triton_and_topics(model: Model) -> None:
    """S3, S6."""
    model_contract.has_a_triton_configuration(model)
    model_contract.has_topics(model)


def test_its_description_shows_the_figures_of_its_card(model: Model) -> None:
    """ME10: what people read is what was measured."""
    model_contract.figures_are_those_of_the_description(model)


@pytest.mark.parametrize("profile", ["cpu", "a30"])
def test_its_configurations_are_golden(model: Model, profile: repository.Profile) -> None:
    """S3: no packaged model is served by a configuration that nobody has looked at."""
    for name in repository.names(model.card):
        lane = "stat" if name.endswith("-stat") else "routine"
        assert (GOLDEN / f"{model.card.name}.{lane}.{profile}.pbtxt").is_file()
