"""The card of `chest_xray`: pneumonia on frontal chest radiographs of children; figures as measured, see MODEL.md."""

from schemas.card import Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from triton_models.chest_xray.preprocess import PREPROCESSING_VERSION, SIDE, STRIDE

CARD = ModelCard(
    name="chest_xray",
    version="1.0.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Pneumonia on a chest radiograph",
    consumes="image",
    inputs=(TensorSpec("pixels", "uint8", (1, SIDE, SIDE), "display grey 0-255, air dark"),),
    outputs=(
        TensorSpec("probability", "float32", (2,), "probability"),
        TensorSpec("places", "float32", (SIDE // STRIDE, SIDE // STRIDE), "log odds of a place", optional=True),
    ),
    labels=("normal", "pneumonia"),
    positive_label="pneumonia",
    operating_point=OperatingPoint(
        threshold=0.0995,
        sensitivity=(0.9726, 0.9572, 0.9826),
        specificity=(0.9579, 0.9141, 0.9799),
        measured_on="190 normal and 694 pneumonia images of people held back, Kermany 2018",
    ),
    abstention_band=(0.0393, 0.3901),
    intended_use=IntendedUse(
        statement="Frontal (AP or PA) chest radiographs of children, mostly aged 1 to 5; adults are not validated",
        modalities=frozenset({"CR", "DX"}),
        body_parts=frozenset({"CHEST", "THORAX"}),
        views=frozenset({"AP", "PA"}),
        minimum_matrix=(128, 128),
        shows="chest",
    ),
    limits=(
        "Trained on children of one hospital; sensitivity in adults is unknown",
        "Normal images of other machines score higher: specificity falls before sensitivity does (MODEL.md)",
        "Does not look for tuberculosis or anything but pneumonia; an answer of normal excludes nothing else",
        "Bacterial and viral pneumonia are not told apart",
        "Badly exposed, cut, turned and foreign images are refused by a gate that misses some (docs/quality.md)",
    ),
    train="triton_models.chest_xray.train.train",
    weights="chest_xray.onnx",
    serving=Serving(
        max_batch_size=16,
        preferred_batch_sizes=(4, 8),
        max_queue_delay_us=3000,
        max_queue_size=256,
        stat_instance=True,
        warm_up_rows=4,
    ),
    gate=Gate(metric="auroc", floor=0.96),
    retrain_after=500,
    synonyms={"tuberculosis": ""},
    licences={"chest_xray.onnx": "CC BY 4.0 training data: Kermany, Zhang, Goldbaum 2018, Mendeley Data rscbjbr9sj"},
)
