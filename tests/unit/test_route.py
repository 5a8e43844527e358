"""Which tasks claim an image, by the cards' intended use."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from adapters.imaging import ImageHeader
from consumers import route
from consumers.route import Claimed, NotClaimed, Refused
from schemas.card import IntendedUse
from tests.support import steps

USE = IntendedUse(
    "adult chest",
    modalities=frozenset({"CR", "DX"}),
    body_parts=frozenset({"CHEST"}),
    views=frozenset({"PA", "AP"}),
    age_years=(18, 120),
    minimum_matrix=(200, 200),
)
EVENT = steps.image_observed(b"data")


def header(**changes: Any) -> ImageHeader:
    values = {"modality": "DX", "body_part": "CHEST", "view_position": "PA", "rows": 500, "columns": 400}
    return ImageHeader(**{**values, "patient_age_years": 40.0, "has_pixels": True, **changes})


def ask(**changes: Any) -> route.Claim:
    return route.claims(steps.card("toy_image", "image", intended_use=USE), header(**changes), EVENT)


def test_an_image_inside_the_intended_use_is_claimed() -> None:
    assert ask() == Claimed("toy_image")


@pytest.mark.parametrize("absent", [{"body_part": ""}, {"view_position": ""}])
def test_what_is_not_stated_does_not_refuse(absent: dict[str, Any]) -> None:
    assert ask(**absent) == Claimed("toy_image")


def test_an_unknown_age_is_answered_with_an_abstention_where_the_card_limits_the_age() -> None:
    """CC26."""
    answer = ask(patient_age_years=None)
    assert answer == Claimed("toy_image", "the patient's age is not known, and the model is meant for 18 to 120 years")


def test_a_card_that_wants_the_body_part_stated_does_not_claim_an_image_that_is_silent() -> None:
    """CC1: a chest without a body part must not be read for fractures of the arm."""
    use = replace(USE, body_part_stated=True)
    asked = steps.card("toy_limb", "image", intended_use=use)
    silent, stated = (route.claims(asked, header(body_part=part), EVENT) for part in ("", "CHEST"))
    assert silent == NotClaimed("toy_limb", "the body part is not stated")
    assert stated == Claimed("toy_limb")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"modality": "US"}, "modality US"),
        ({"body_part": "HAND"}, "body part HAND"),
    ],
)
def test_another_kind_of_image_is_not_claimed(changes: dict[str, Any], word: str) -> None:
    answer = ask(**changes)
    assert isinstance(answer, NotClaimed)
    assert word in answer.reason


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"frames": 3}, "3 frames"),
        ({"presentation_intent": "FOR PROCESSING"}, "raw detector data"),
        ({"view_position": "LL"}, "view LL"),
        ({"patient_age_years": 7.0}, "age is outside 18 to 120"),
        ({"rows": 100}, "100 x 400"),
        ({"columns": 100}, "500 x 100"),
    ],
)
def test_the_right_kind_outside_the_intended_use_is_refused_with_the_limit(changes: dict[str, Any], word: str) -> None:
    answer = ask(**changes)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith("out of intended use: ")
    assert word in answer.reason


def test_a_report_holds_no_pixels_and_is_not_claimed() -> None:
    report = steps.image_observed(b"data", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11")
    answer = route.claims(steps.card("toy_image", "image", intended_use=USE), header(has_pixels=False), report)
    assert answer == NotClaimed("toy_image", "the object holds no pixels")


def test_an_image_that_lost_its_pixels_is_claimed_so_that_decoding_can_say_so() -> None:
    assert ask(has_pixels=False) == Claimed("toy_image")


def test_a_refusal_does_not_tell_the_age() -> None:
    answer = ask(patient_age_years=7.25)
    assert isinstance(answer, Refused)
    assert "7" not in answer.reason.replace("120", "").replace("18", "")


@pytest.mark.parametrize("age", [18.0, 120.0])
def test_the_bounds_of_the_age_are_inside(age: float) -> None:
    assert ask(patient_age_years=age) == Claimed("toy_image")


def test_an_ultrasound_that_nobody_claims_says_so_once() -> None:
    cards = [steps.card(name, "image", intended_use=USE) for name in ("one", "two")]
    assert route.route(cards, header(modality="US"), EVENT) == [NotClaimed("*", "no model claims modality US")]


def test_an_image_may_be_claimed_by_several_and_refused_by_others() -> None:
    children = IntendedUse("children", modalities=frozenset({"DX"}), age_years=(0, 17))
    cards = [steps.card("adults", "image", intended_use=USE), steps.card("children", "image", intended_use=children)]
    adults, other = route.route(cards, header(), EVENT)
    assert adults == Claimed("adults")
    assert isinstance(other, Refused)


def test_a_model_of_vitals_is_never_asked_about_images() -> None:
    assert route.route([steps.card("toy_risk", "vitals")], header(), EVENT) == [
        NotClaimed("*", "no model reads images")
    ]


def test_our_own_object_sent_back_by_an_archive_is_not_applicable() -> None:
    cards = [steps.card("toy_image", "image", intended_use=USE)]
    assert route.route(cards, header(manufacturer="clinstream"), EVENT) == [
        NotClaimed("*", "the object was made by this system")
    ]


def test_a_picture_that_our_sender_wrapped_is_somebodys_picture() -> None:
    cards = [steps.card("toy_image", "image", intended_use=USE)]
    wrapped = steps.image_observed(b"data", wrapped=True)
    assert route.route(cards, header(manufacturer="clinstream"), wrapped) == [Claimed("toy_image")]


ENDOSCOPIC, PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.4"
MICROSCOPIC, VIDEO = "1.2.840.10008.5.1.4.1.1.77.1.2", "1.2.840.10008.5.1.4.1.1.77.1.1.1"


@pytest.mark.parametrize(
    ("modality", "body_part", "sop_class", "expected"),
    [
        ("ES", "EAR", ENDOSCOPIC, Claimed),
        ("XC", "EAR", PHOTOGRAPHIC, Claimed),
        ("ES", "", ENDOSCOPIC, Claimed),
        ("XC", "EAR", "", Claimed),
        ("ES", "STOMACH", ENDOSCOPIC, NotClaimed),
        ("ES", "REGION 69695003", ENDOSCOPIC, NotClaimed),
        ("XC", "SKIN", PHOTOGRAPHIC, NotClaimed),
        ("ES", "EAR", VIDEO, NotClaimed),
        ("XC", "", MICROSCOPIC, NotClaimed),
        ("GM", "EAR", PHOTOGRAPHIC, NotClaimed),
        ("DX", "EAR", "1.2.840.10008.5.1.4.1.1.1.1", NotClaimed),
    ],
)
def test_pictures_of_ears_are_claimed_by_class_modality_and_region(
    modality: str, body_part: str, sop_class: str, expected: type[route.Claim]
) -> None:
    """OT1: endoscopic and photographic objects, and uploads, which have no class."""
    upload = steps.ear_observed(steps.ear_picture(), modality=modality)
    (answer,) = route.route(
        [model.card for model in steps.chained_models().values()],
        header(modality=modality, body_part=body_part, sop_class_uid=sop_class),
        upload,
    )
    assert isinstance(answer, expected)
    assert answer.task == ("toy_screening" if expected is Claimed else "*")


def test_a_follow_up_is_never_routed_by_its_intended_use_alone() -> None:
    """OT3: the diagnosis looks at what the screening found."""
    cards = [model.card for model in steps.chained_models().values()]
    ear = steps.ear_observed(steps.ear_picture())
    answers = route.route(cards, header(modality="XC", body_part="EAR"), ear)
    assert answers == [Claimed("toy_screening")]


def test_a_routing_table_that_names_the_task_counts_more_than_the_stated_body_part() -> None:
    """BodyPartExamined is unreliable: the hospital knows what its hand clinic sends."""
    card = steps.card("toy_image", "image", intended_use=USE)
    hand = header(body_part="HAND")
    named = msgspec.structs.replace(EVENT, tasks=("toy_image",))
    assert route.route([card], hand, EVENT) == [NotClaimed("*", "no model claims body part HAND of modality DX")]
    assert route.route([card], hand, named) == [Claimed("toy_image")]
    assert isinstance(route.route([card], header(body_part="HAND", rows=9), named)[0], Refused)


def test_a_routing_table_that_names_no_task_or_one_that_is_not_here_gets_a_reasoned_answer() -> None:
    card = steps.card("toy_image", "image", intended_use=USE)
    assert route.route([card], header(), msgspec.structs.replace(EVENT, tasks=())) == [
        NotClaimed("*", "the routing table names no model")
    ]
    (answer,) = route.route([card], header(), msgspec.structs.replace(EVENT, tasks=("elsewhere",)))
    assert isinstance(answer, Refused)
    assert answer.task == "elsewhere"
