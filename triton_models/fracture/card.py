"""The card of `fracture`: fractures on radiographs of the upper limb; figures as measured, see MODEL.md."""

from schemas.card import Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from triton_models.fracture.preprocess import COLUMNS, PREPROCESSING_VERSION, ROWS, STRIDE

CARD = ModelCard(
    name="fracture",
    version="1.2.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Fracture on a radiograph of the upper limb",
    consumes="image",
    inputs=(TensorSpec("pixels", "uint8", (1, ROWS, COLUMNS), "display grey 0-255, air dark"),),
    outputs=(
        TensorSpec("probability", "float32", (2,), "probability"),
        TensorSpec("places", "float32", (ROWS // STRIDE, COLUMNS // STRIDE), "score of a place 0-1, not calibrated"),
    ),
    labels=("normal", "fracture"),
    positive_label="fracture",
    operating_point=OperatingPoint(
        threshold=0.1109,
        sensitivity=(0.981, 0.898, 0.997),
        specificity=(0.052, 0.029, 0.094),
        measured_on="191 normal and 54 fractured images of groups held back, FracAtlas",
    ),
    abstention_band=(0.1109, 0.7510),
    intended_use=IntendedUse(
        statement="Radiographs of hand, wrist, forearm, elbow, upper arm and shoulder, any view; one collection only",
        modalities=frozenset({"CR", "DX"}),
        body_parts=frozenset({"ARM", "CLAVICLE", "ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"}),
        body_part_stated=True,
        minimum_matrix=(128, 128),
        shows="limb",
    ),
    limits=(
        "At its operating point it calls nearly every image fractured: specificity 0.05 at a sensitivity of 0.98",
        "Not good enough to rely on: AUROC 0.818 (0.719 to 0.902) on groups held back",
        "Trained on few images of one collection; no evaluation on any other source exists",
        "Fine fissures vanish at the resolution of its training images (about 400 pixels); an answer of normal does "
        "not exclude a fracture",
        "Lower limb, spine, skull, ribs and pelvis were not in its training; old fractures are not told apart",
        "Casts, splints and metal may count as signs of a fracture",
    ),
    train="triton_models.fracture.train.train",
    weights="fracture.onnx",
    serving=Serving(
        max_batch_size=8,
        preferred_batch_sizes=(2, 4),
        max_queue_delay_us=3000,
        max_queue_size=128,
        stat_instance=True,
    ),
    gate=Gate(metric="auroc", floor=0.80),
    retrain_after=200,
    synonyms={"fractured": "fracture"},
    licences={"fracture.onnx": "CC BY 4.0 training data: FracAtlas, figshare 22363012; start: chest_xray 1.0.0"},
)
