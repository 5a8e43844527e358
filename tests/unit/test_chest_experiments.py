"""The comparison of families on `chest_xray`'s parts, on invented images (CC1, CC30, ME1)."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torchvision import models

from triton_models._vision.families import Family, Grey, families
from triton_models.chest_xray import experiments
from triton_models.chest_xray.collection import read_index
from triton_models.chest_xray.learning import Recipe
from triton_models.chest_xray.measure import prepared
from triton_models.chest_xray.subtypes import Inside

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own TorchScript exporter
    pytest.mark.usefixtures("one_thread"),
]

RECIPE = Recipe(side=64, width=8, epochs=2, batch=8, average=0.5, mixup=0.0)
SERVED = Path(str(files("triton_models.chest_xray") / "chest_xray.onnx"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 people of each class, the ill with a bright patch, and four normals of another source."""
    made = tmp_path_factory.mktemp("chest")
    rng = np.random.default_rng(9)
    rows = ["path,label,subtype,patient,source,licence"]
    for person in range(64):
        ill, source = person % 2 == 1 and person < 60, "kermany" if person < 60 else experiments.FOREIGN
        grey = rng.normal(100, 25, (96, 96))
        if ill:
            grey[40:70, 20:50] += 90
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(made / f"{person}.png")
        rows.append(f"{person}.png,{'pneumonia,bacteria' if ill else 'normal,normal'},{person},{source},CC BY 4.0")
    (made / "chest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


def test_every_family_answers_one_grey_channel_whatever_its_brightness() -> None:
    """CC30: a transformer is among them."""
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 200, (2, 1, 96, 96)).astype(np.uint8))
    assert {"DenseNet-121", "InceptionV3", "MobileNetV3-small", "ViT, 12 layers of 192"} <= set(families(96, 12))
    for family in families(96, 12).values():
        torch.manual_seed(0)
        network = family.build().eval()
        with torch.inference_mode():
            plain, brighter = network(pixels), network(pixels + 40)
        assert plain.shape == (2, 1)
        assert torch.allclose(plain, brighter, atol=1e-4)


def test_a_killed_comparison_goes_on_and_ends_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ME1, ME8: the same images, batches and changes for each family; what is finished is not learned again."""
    small = {"small": Family(lambda: Grey(models.mobilenet_v3_small(num_classes=1)))}
    monkeypatch.setattr(experiments, "families", lambda side, patch: small)
    whole = experiments.compare(folder, tmp_path / "whole", RECIPE, None, lambda line: None)["families"]

    def dies(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiments.compare(folder, tmp_path / "cut", RECIPE, None, dies)
    told: list[str] = []
    again = experiments.compare(folder, tmp_path / "cut", RECIPE, None, told.append)["families"]
    assert "going on after epoch 1" in told
    for name in (experiments.OURS, "small"):
        assert again[name]["auroc"] == whole[name]["auroc"]
        assert again[name]["processor seconds"] > 0.0
        for figure in (again[name]["auroc"], again[name]["recall 0.98"]["specificity"]):
            assert 0.0 <= figure[1] <= figure[0] <= figure[2] <= 1.0
    told.clear()
    assert experiments.compare(folder, tmp_path / "cut", RECIPE, None, told.append)["families"] == again
    assert not told
    assert len(experiments.table(again).splitlines()) == 2 + 2


def test_what_is_inside_the_served_file_comes_out_beside_its_answer(folder: Path) -> None:
    """The first of the two logits inside is the one that the served answer is made of."""
    pictures = read_index(folder)[:5]
    inside = Inside(SERVED)
    channels, odds = inside(pictures)
    assert channels.shape == (5, 3 * 256)
    assert np.isfinite(odds).all()
    pixels = prepared(pictures, "as delivered")
    (places,) = onnxruntime.InferenceSession(SERVED, providers=["CPUExecutionProvider"]).run(
        ["places"], {"pixels": pixels}
    )
    logits = inside.logits(pixels)
    slope = np.polyfit(logits[:, 0], places.mean(axis=(1, 2)), 1)
    assert np.polyval(slope, logits[:, 0]) == pytest.approx(places.mean(axis=(1, 2)), abs=1e-3)
    assert np.array_equal(logits[:, 1], odds)
