"""What 8-bit weights would cost: `python -m triton_models.glucose.int8 DATA` prints Markdown; nothing is served."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from triton_models import forecasts
from triton_models.glucose import collection
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.preprocess import anybody
from triton_models.glucose.train import served

STRIDE_MINUTES, BATCH, RUNS = 60.0, 256, 200
SHOWN = (30, 60, 120)


def main() -> None:
    """Error on held-back people, size and time a row of the served file and of its quantised copy."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    windows = collection.load(asked.parse_args().data, STRIDE_MINUTES).parts["test"]
    whole = Path(__file__).parent / "glucose.onnx"
    print("| weights | kB | µs a row, batches of 256 | RMSE 30 | RMSE 60 | RMSE 120 | coverage |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "int8.onnx"
        quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
        for name, path in (("float32, as served", whole), ("INT8, dynamic", small)):
            said = served(path, windows.rows)
            errors = []
            for minutes in SHOWN:
                at = HORIZONS_MINUTES.index(minutes)
                value, low, high = forecasts.rmse(windows.truth[:, at], said[:, at, 1], windows.person)
                errors.append(f"{value:.2f} ({low:.1f} to {high:.1f})")
            known = np.isfinite(windows.truth)
            inside = ((windows.truth >= said[:, :, 0]) & (windows.truth <= said[:, :, 2]))[known].mean()
            cells = [f"{path.stat().st_size / 1e3:.0f}", f"{_microseconds(path, windows.rows):.2f}", *errors]
            print(f"| {name} | {' | '.join(cells)} | {inside:.3f} |")


def _microseconds(path: Path, rows: np.ndarray) -> float:
    """The fastest of many runs, for a row."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batch, best = anybody(rows[:BATCH]), float("inf")
    for _ in range(RUNS):
        started = time.perf_counter()
        session.run(None, {"glucose": batch})
        best = min(best, time.perf_counter() - started)
    return best / BATCH * 1e6


if __name__ == "__main__":
    main()
