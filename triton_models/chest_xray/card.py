"""The card of `chest_xray`: pneumonia on frontal chest radiographs of children; figures as measured, see MODEL.md."""

from schemas.card import Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from triton_models.chest_xray.preprocess import PREPROCESSING_VERSION, SIDE

CARD = ModelCard(
    name="chest_xray",
    version="1.0.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Pneumonia on a chest radiograph",
    consumes="image",
    inputs=(TensorSpec("pixels", "uint8", (1, SIDE, SIDE), "display grey 0-255, air dark"),),
    outputs=(TensorSpec("probability", "float32", (2,), "probability"),),
    labels=("normal", "pneumonia"),
    positive_label="pneumonia",
    operating_point=OperatingPoint(
        threshold=0.0991,
        sensitivity=(0.0, 0.0, 1.0),
        specificity=(0.0, 0.0, 1.0),
        measured_on="not measured yet",
    ),
    abstention_band=(0.0479, 0.12),
    intended_use=IntendedUse(
        statement="Frontal (AP or PA) chest radiographs of children aged 1 to 5; adults are tolerated, not validated",
        modalities=frozenset({"CR", "DX"}),
        body_parts=frozenset({"CHEST", "THORAX"}),
        views=frozenset({"AP", "PA"}),
        minimum_matrix=(128, 128),
    ),
    limits=(),
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
    licences={"chest_xray.onnx": "CC BY 4.0 training data: Kermany, Zhang, Goldbaum 2018, Mendeley Data rscbjbr9sj"},
)
