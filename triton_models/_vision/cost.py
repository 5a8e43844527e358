"""What serving an ONNX file costs on one thread: time of an image and memory; no torch.

`python -m triton_models._vision.cost FILE` prints both numbers; `asked` runs that in a process of its own, because a
process that has served another file before tells nothing about memory.
"""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

ROUNDS = 30


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


def asked(path: Path) -> tuple[float, float]:
    """`cost` in a process of its own."""
    command = [sys.executable, "-m", "triton_models._vision.cost", str(path)]
    milliseconds, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(milliseconds), float(megabytes)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    print(*cost(Path(sys.argv[1])))
