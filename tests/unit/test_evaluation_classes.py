"""Figures of a question with several answers, and reference labels that are not the card's own (OT9)."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinstream.evaluation import cases
from clinstream.evaluation.cases import Case, Cases
from clinstream.evaluation.classes import class_figures
from clinstream.evaluation.judge import judge
from schemas.card import TensorSpec
from schemas.errors import OutOfRange, UserError
from tests.support import steps
from triton_models import figures
from triton_models.model import Model, class_findings

LABELS = ("a", "b", "c")
EARS = {"normal": "well", "otitis": "ill", "earwax": "ill"}


def test_the_figures_of_each_class_are_those_counted_by_hand() -> None:
    truth, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    probabilities = np.eye(3)[predicted] * 0.8 + 0.2 / 3
    found = class_figures(LABELS, truth, predicted, probabilities, None)
    assert found.confusion == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert found.balanced_accuracy[0] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.per_class["a"].sensitivity[0] == pytest.approx(2 / 3)
    assert found.per_class["a"].specificity[0] == pytest.approx(2 / 3)
    assert found.per_class["b"].specificity[0] == pytest.approx(3 / 4)
    assert found.per_class["c"].n == 1
    assert figures.macro_specificity(truth, predicted, 3)[0] == pytest.approx((2 / 3 + 3 / 4 + 1) / 3)
    said = found.json()
    assert list(said) == ["balanced_accuracy", "per_class", "confusion", "labels"]
    low, high = said["balanced_accuracy"][1:]
    assert 0 <= low <= said["balanced_accuracy"][0] <= high <= 1


def test_a_class_that_does_not_occur_has_no_sensitivity_and_no_area() -> None:
    found = class_figures(LABELS, [0, 1], [0, 1], np.eye(3)[[0, 1]], None).json()
    assert found["per_class"]["c"] == {"n": 0, "auroc": None, "sensitivity": None, "specificity": [1.0, 0.3424, 1.0]}


def test_the_mean_area_is_that_of_each_class_against_the_rest() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet([1, 1, 1], 60) * 0.5 + np.eye(3)[truth] * 0.1
    each = [figures.auroc(truth == kind, probabilities[:, kind])[0] for kind in range(3)]
    value, low, high = figures.macro_auroc(truth, probabilities)
    assert value == pytest.approx(np.mean(each))
    assert 0 < low < value < high < 1
    people = [f"p{row // 10}" for row in range(60)]
    assert figures.macro_auroc(truth, probabilities, people)[0] == value
    assert figures.macro_auroc(truth, probabilities, people)[1:] != (low, high)
    with pytest.raises(ValueError, match="two classes"):
        figures.macro_auroc([1, 1], probabilities[:2])


def colour_model(**changes: Any) -> Model:
    made = steps.card("toy_image", "image", pixels="colour", **changes)
    return Model(made, lambda image: image[0, 0], lambda outputs: class_findings(made, outputs), Path("model.onnx"))


def test_reference_labels_are_read_as_the_cards_or_leave_the_question(tmp_path: Path) -> None:
    """Screening: everything but normal is positive. Diagnosis: normal rows are left out and counted."""
    (tmp_path / "cases.csv").write_text("path,label,source\na,normal,x\nb,otitis,x\nc,earwax,y\nd,ill,y\n")
    screening = cases.from_manifest(colour_model(synonyms=EARS), tmp_path / "cases.csv", tmp_path)
    assert [(case.label, case.positive) for case in screening.judged] == [
        ("well", False),
        ("ill", True),
        ("ill", True),
        ("ill", True),
    ]
    diagnosis = cases.from_manifest(colour_model(synonyms={**EARS, "normal": ""}), tmp_path / "cases.csv", tmp_path)
    assert (len(diagnosis.judged), diagnosis.not_asked) == (3, 1)
    with pytest.raises(UserError, match=r"line 2: the label 'normal' is not one of well, ill, otitis"):
        cases.from_manifest(colour_model(synonyms={"otitis": "ill"}), tmp_path / "cases.csv", tmp_path)


def test_a_model_of_colours_gets_them_and_refuses_greys(tmp_path: Path) -> None:
    (tmp_path / "ear.png").write_bytes(steps.ear_picture(red=200, green=9))
    (tmp_path / "grey.png").write_bytes(steps.ear_picture(red=7, green=7))
    (tmp_path / "cases.csv").write_text("path,label\near.png,ill\ngrey.png,ill\n")
    ear, grey = cases.from_manifest(colour_model(), tmp_path / "cases.csv", tmp_path).judged
    assert ear.load().tolist() == [200, 9, 7]
    with pytest.raises(OutOfRange, match="not a colour image"):
        grey.load()


class Answers:
    """A server that answers each row with the row itself as probabilities."""

    async def infer(self, model: str, inputs: Mapping[str, Any], *, priority: int, deadline_s: float) -> Any:
        (rows,) = inputs.values()
        return {"probability": rows}

    def deadline_s(self, model: str) -> float:
        return 1.0


def case(name: str, label: str, row: list[float]) -> Case:
    return Case(name, False, name[0], partial(np.array, row, np.float32), label)


async def test_a_question_of_several_answers_has_the_published_shape() -> None:
    """Architecture, JSON shapes: the binary keys, and what several classes add."""
    card = steps.card(
        "toy_image", "image", labels=LABELS, positive_label="", operating_point=None, abstention_band=(0.0, 0.55),
        outputs=[TensorSpec("probability", "float32", (3,), "probability")],
    )  # fmt: skip
    model = Model(card, lambda image: image, lambda outputs: class_findings(card, outputs), Path("model.onnx"))
    rows = [
        case("p1", "a", [0.8, 0.1, 0.1]),
        case("p2", "b", [0.1, 0.8, 0.1]),
        case("q1", "c", [0.5, 0.1, 0.4]),
        case("q2", "a", [0.7, 0.2, 0.1]),
    ]
    client: Any = Answers()
    verdict = await judge(model, Cases(rows, not_asked=2), client, "a fake")
    said = verdict.json()
    assert set(said) >= {"model", "version", "n", "positives", "auroc", "sensitivity", "specificity", "threshold"}
    assert (said["n"], said["not_asked"], said["abstained"]) == (4, 2, 1)
    assert said["balanced_accuracy"][0] == pytest.approx(2 / 3, abs=1e-4)
    assert said["confusion"] == [[2, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert said["labels"] == list(LABELS)
    with pytest.raises(UserError, match="figures need two"):
        await judge(model, Cases(rows[:1]), client, "a fake")
