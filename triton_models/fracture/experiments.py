"""What other families of networks would cost to serve at this model's size; imports torch, trains nothing.

`python -m triton_models.fracture.experiments` prints the table of MODEL.md: parameters, file as served, time of one
image on one thread, and memory that serving takes. Accuracy is not measured: the families are untrained.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torchvision import models

from triton_models.fracture.framing import COLUMNS, ROWS
from triton_models.fracture.learning import Recipe
from triton_models.fracture.network import BoneNet
from triton_models.half import halve_weights

SQUARE = 208
"""The side of a square with about as many pixels as the canvas: a transformer of torchvision takes no other shape."""
ROUNDS = 30


class Grey(nn.Module):
    """A network of colour images on one grey channel, one logit."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        answer: Tensor = self.network((pixels.float() / 255.0 - 0.5).expand(-1, 3, -1, -1))
        return answer


def families() -> Mapping[str, Callable[[], nn.Module]]:
    """The families by name, with weights of chance."""
    recipe = Recipe()
    return {
        "this model": lambda: BoneNet(recipe.width, recipe.pyramid),
        "DenseNet-121": lambda: Grey(models.densenet121(num_classes=1)),
        "InceptionV3": lambda: Grey(models.inception_v3(num_classes=1, aux_logits=False, init_weights=False)),
        "MobileNetV3-small": lambda: Grey(models.mobilenet_v3_small(num_classes=1)),
        "MobileNetV3-large": lambda: Grey(models.mobilenet_v3_large(num_classes=1)),
        "ViT, 12 layers of 192": lambda: Grey(models.VisionTransformer(SQUARE, 16, 12, 3, 192, 768, num_classes=1)),
    }


def export(network: nn.Module, size: tuple[int, int], path: Path) -> None:
    """The network as ONNX with half-precision weights, as models are served here."""
    example = torch.zeros((1, 1, *size), dtype=torch.uint8)
    torch.onnx.export(network.eval(), (example,), str(path), input_names=["pixels"], opset_version=17, dynamo=False)
    model = onnx.load(str(path))
    halve_weights(model)
    onnx.save(model, str(path))


def cost(path: Path) -> tuple[float, float]:
    """Milliseconds of one image on one thread (median), and MB that the process grew by; to be asked once a process."""
    before = _resident_mb()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    pixels = np.random.default_rng(0).integers(0, 255, [1, *given.shape[1:]]).astype(np.uint8)
    taken = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        session.run(None, {given.name: pixels})
        taken.append((time.thread_time() - began) * 1e3)
    return statistics.median(taken), _resident_mb() - before


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Prints one line a family; each is measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, build in families().items():
            path, network = Path(folder) / "model.onnx", build()
            export(network, (SQUARE, SQUARE) if name.startswith("ViT") else (ROWS, COLUMNS), path)
            asked = [sys.executable, "-m", "triton_models.fracture.experiments", str(path)]
            found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
            many = sum(parameter.numel() for parameter in network.parameters()) / 1e6
            size = path.stat().st_size / 1e6
            print(f"| {name} | {many:.1f} | {size:.1f} | {float(found[0]):.1f} | {float(found[1]):.0f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*cost(Path(sys.argv[1])))
    else:
        main()
