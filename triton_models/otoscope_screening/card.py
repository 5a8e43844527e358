"""The card of `otoscope_screening`: whether an eardrum photograph shows a trained condition; figures as measured."""

from schemas.card import FollowUp, Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from triton_models.otoscope_screening.preprocess import PREPROCESSING_VERSION, SIDE

CARD = ModelCard(
    name="otoscope_screening",
    version="1.0.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Screening of an otoscope photograph",
    consumes="image",
    inputs=(TensorSpec("pixels", "uint8", (3, SIDE, SIDE), "sRGB 0-255 inside the circle of view, 0 outside"),),
    outputs=(TensorSpec("probability", "float32", (2,), "probability"),),
    labels=("none_of_trained_conditions", "abnormal"),
    positive_label="abnormal",
    operating_point=OperatingPoint(
        threshold=0.0343,
        sensitivity=(0.9873, 0.9279, 0.9979),
        specificity=(0.3500, 0.0730, 0.7863),
        measured_on="20 normal and 79 abnormal photographs of ears held back, Viscaino 2020",
    ),
    abstention_band=(0.0293, 0.7147),
    intended_use=IntendedUse(
        statement="Otoscope photographs of the eardrum in colour, the circle of view in the picture; one camera only",
        modalities=frozenset({"ES", "XC"}),
        body_parts=frozenset({"EAR"}),
        sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.4"}),
        minimum_matrix=(128, 128),
    ),
    limits=(
        "Knows chronic otitis media, earwax plug and myringosclerosis only; it never says that an ear is normal",
        "Acute otitis media, effusion, perforation alone, foreign bodies and tumours were not in its training",
        "Photographs of one hospital and one camera; no evaluation on any other source exists",
        "Few normal ears: its specificity is known within wide limits only",
        "Image quality is not judged beyond blank, colourless and too small photographs",
    ),
    train="triton_models.otoscope_screening.train.train",
    weights="otoscope_screening.onnx",
    serving=Serving(
        max_batch_size=16,
        preferred_batch_sizes=(4, 8),
        max_queue_delay_us=3000,
        max_queue_size=128,
        stat_instance=True,
    ),
    gate=Gate(metric="auroc", floor=0.92),
    retrain_after=200,
    pixels="colour",
    synonyms={
        "normal": "none_of_trained_conditions",
        "chronic_otitis_media": "abnormal",
        "earwax_plug": "abnormal",
        "myringosclerosis": "abnormal",
    },
    follow_up=FollowUp("otoscope_diagnosis", "abnormal"),
    licences={"otoscope_screening.onnx": "CC0 training data: Viscaino et al. 2020, figshare 11886630"},
)
