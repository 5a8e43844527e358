"""A first, weaker version, trained on a tenth of the training rows, for a learning loop to begin with; not the card's.

`python -m triton_models.icu_mortality.starter DATA` writes `starter/` anew: the weights and the metadata of their run.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.train import train
from triton_models.trained import TrainedModel

FOLDER = Path(__file__).parent / "starter"
VERSION = "0.1.0"
RECIPE = Recipe(share=0.1, folds=0)


def make(data: Path, folder: Path = FOLDER) -> TrainedModel:
    """Trains on a tenth of the training rows of `data`; writes icu_mortality.onnx and metadata.json to `folder`.

    Threshold, band and calibration come from all validation rows, the figures from all held-back rows.
    """
    with tempfile.TemporaryDirectory() as run:
        trained = train(data, Path(run), recipe=RECIPE)
        folder.mkdir(parents=True, exist_ok=True)
        started = replace(trained, version=VERSION, onnx=folder / trained.onnx.name)
        shutil.copyfile(trained.onnx, started.onnx)
    started.write_metadata(folder / "metadata.json")
    return started


def main() -> None:
    """Makes it again and prints its held-back AUROC."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("--out", type=Path, default=FOLDER)
    given = asked.parse_args()
    value, low, high = make(given.data, given.out).figures["test_auroc"]
    print(f"{given.out}: held-back AUROC {value:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
