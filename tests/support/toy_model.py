"""A toy model folder as a stranger would write it: two vitals in, a risk out, a graph made here; for tests only."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAME = "toy_risk"

CARD = '''
"""The card of `toy_risk`."""

from schemas.card import Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from triton_models.toy_risk.preprocess import FEATURES

CARD = ModelCard(
    name="toy_risk",
    version="0.1.0",
    preprocessing_version="toy-2.1",
    title="A toy",
    consumes="vitals",
    inputs=(TensorSpec("features", "float32", (len(FEATURES),), "as measured"),),
    outputs=(TensorSpec("probability", "float32", (2,), "probability"),),
    labels=("calm", "alarmed"),
    positive_label="alarmed",
    operating_point=OperatingPoint(0.5, (0.9, 0.8, 0.95), (0.9, 0.8, 0.95), "nothing: a toy"),
    abstention_band=(0.45, 0.55),
    intended_use=IntendedUse(statement="Tests"),
    limits=("A toy",),
    train="triton_models.toy_risk.train.train",
    weights="toy_risk.onnx",
    serving=Serving(max_batch_size=8, preferred_batch_sizes=(4,), max_queue_delay_us=500, max_queue_size=64),
    gate=Gate(metric="auroc", floor=0.5),
    retrain_after=10,
)
'''

PREPROCESS = '''
"""Two vitals as a row."""

import numpy as np

from schemas.errors import OutOfRange

FEATURES = ("HR_last", "Temp_last")


def prepare(features):
    """float32 [2]; raises OutOfRange for a name that is unknown, missing or implausible."""
    if set(features) != set(FEATURES):
        raise OutOfRange("the toy takes HR_last and Temp_last")
    row = np.array([features[name] for name in FEATURES], dtype=np.float32)
    if not ((row > 0) & (row < 300)).all():
        raise OutOfRange("the toy takes values between 0 and 300")
    return row
'''

DECODE = '''
"""Probabilities to findings."""

from triton_models.model import binary_findings
from triton_models.toy_risk.card import CARD


def decode(outputs, card=CARD):
    """One finding a row."""
    return binary_findings(CARD, outputs)
'''

TRAIN = '"""The toy is not trained."""\n\n\ndef train(**_):\n    """Nothing to learn."""\n'

MODEL = """# toy_risk 0.1.0

Research use only. Threshold 0.5; sensitivity 0.900 (0.800 to 0.950), specificity 0.900 (0.800 to 0.950).
Answers `calm` or `alarmed`; abstains from 0.45 to 0.55.
"""


def write(models: Path) -> Path:
    """Makes `models/toy_risk` and returns it."""
    home = models / NAME
    home.mkdir(parents=True)
    parts = {"__init__": "", "card": CARD, "preprocess": PREPROCESS, "decode": DECODE, "train": TRAIN}
    for stem, text in parts.items():
        (home / f"{stem}.py").write_text(text.lstrip())
    (home / "MODEL.md").write_text(MODEL)
    onnx.save(_graph(), home / f"{NAME}.onnx")
    return home


def _graph() -> onnx.ModelProto:
    """softmax(features @ weights + bias): alarmed from about 100 beats a minute on."""
    weights = np.array([[-0.05, 0.05], [0.0, 0.0]], dtype=np.float32)
    bias = np.array([5.0, -5.0], dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made
