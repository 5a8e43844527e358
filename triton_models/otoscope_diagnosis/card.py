"""The card of `otoscope_diagnosis`: which condition an abnormal eardrum photograph shows; figures are in MODEL.md."""

from schemas.card import Gate, IntendedUse, ModelCard, Serving, TensorSpec
from triton_models.otoscope_diagnosis.preprocess import PREPROCESSING_VERSION, SIDE

CARD = ModelCard(
    name="otoscope_diagnosis",
    version="1.0.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Condition on an abnormal otoscope photograph",
    consumes="image",
    inputs=(TensorSpec("pixels", "uint8", (3, SIDE, SIDE), "sRGB 0-255 inside the circle of view, 0 outside"),),
    outputs=(TensorSpec("probability", "float32", (3,), "probability"),),
    labels=("chronic_otitis_media", "earwax_plug", "myringosclerosis"),
    positive_label="",
    operating_point=None,
    abstention_band=(0.0, 0.8258),
    intended_use=IntendedUse(
        statement="Otoscope photographs of the eardrum in colour that the screening answered as abnormal",
        modalities=frozenset({"ES", "XC"}),
        body_parts=frozenset({"EAR"}),
        sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.4"}),
        minimum_matrix=(128, 128),
    ),
    limits=(
        "Chooses among three conditions, also where the ear has another one or none",
        "Two conditions in one ear are answered as one",
        "Photographs of one hospital and one camera; no evaluation on any other source exists",
        "Image quality is not judged beyond blank, colourless and too small photographs",
    ),
    train="triton_models.otoscope_diagnosis.train.train",
    weights="otoscope_diagnosis.onnx",
    serving=Serving(
        max_batch_size=16,
        preferred_batch_sizes=(4, 8),
        max_queue_delay_us=3000,
        max_queue_size=128,
        stat_instance=True,
    ),
    gate=Gate(metric="balanced_accuracy", floor=0.70),
    retrain_after=200,
    pixels="colour",
    synonyms={"normal": ""},
    licences={"otoscope_diagnosis.onnx": "CC0 training data: Viscaino et al. 2020, figshare 11886630"},
)
