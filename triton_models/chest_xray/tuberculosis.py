"""Whether what the served network sees tells tuberculosis across sources, and how much without the lungs; not served.

`python -m triton_models.chest_xray.tuberculosis DATA` learns from the sources whose licence lets weights ship and is
judged on the two that serve evaluation alone: one half of those chooses the strength, the other is reported.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from triton_models import figures
from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.collection import Picture, read_index
from triton_models.chest_xray.fields import PLAIN, local_contrast, lungs
from triton_models.chest_xray.measure import prepared
from triton_models.chest_xray.subtypes import Inside, tell

ILL, CHILDREN, ADULTS = "tuberculosis", "kermany", "kiran_jabeen"
JUDGING = frozenset({"rahman_tb_db", "covid19_radiography_db"})
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
THUMBNAIL = 32
FOLDS = 5
Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def alone(grey: Grey) -> Grey:
    """Local contrast inside the lungs' box, nothing around it."""
    where, _ = lungs(grey)
    made = np.full_like(grey, PLAIN)
    made[where] = local_contrast(grey)[where]
    return made


def covered(grey: Grey) -> Grey:
    """Local contrast around the lungs' box, nothing inside it."""
    where, _ = lungs(grey)
    made = local_contrast(grey)
    made[where] = PLAIN
    return made


VIEWS: Mapping[str, Callable[[Grey], Grey]] = {
    "as served": lambda grey: grey,
    "local contrast": local_contrast,
    "local contrast, lungs alone": alone,
    "local contrast, lungs covered": covered,
}


def thumbnails(pixels: Grey) -> Floats:
    """Each image at 32 x 32, without its own brightness and contrast: [n, 1024]."""
    small = [np.asarray(Image.fromarray(one[0]).resize((THUMBNAIL,) * 2, Image.Resampling.BOX)) for one in pixels]
    flat = np.stack(small).reshape(len(small), -1).astype(np.float64)
    evened: Floats = (flat - flat.mean(axis=1, keepdims=True)) / (flat.std(axis=1, keepdims=True) + 1.0)
    return evened


def chooses(picture: Picture) -> bool:
    """Whether a picture of the judging sources is in the half that chooses: a hash of its name decides."""
    return int(hashlib.sha256(picture.path.name.encode()).hexdigest(), 16) % 2 == 0


def measure(data: Path) -> dict[str, dict[str, list[float]]]:
    """AUROC by what told tuberculosis from normal; intervals count images, since people are not known."""
    pictures = read_index(data)
    taught = [one for one in pictures if one.source == ADULTS or (one.source == CHILDREN and one.label == "normal")]
    judging = [one for one in pictures if one.source in JUDGING]
    parts = {
        "taught": taught,
        "choosing": [one for one in judging if chooses(one)],
        "across": [one for one in judging if not chooses(one)],
    }
    ill = {name: np.array([one.label == ILL for one in part]) for name, part in parts.items()}
    pixels = {name: prepared(part, "as delivered") for name, part in parts.items()}
    inside = Inside(Path(__file__).with_name(CARD.weights))
    found = {}
    for view, change in VIEWS.items():
        channels = {
            name: inside.channels(np.stack([change(one[0]) for one in part])[:, None]) for name, part in pixels.items()
        }
        found[f"frozen channels, {view}"] = _judged(channels, ill)
    small = {name: thumbnails(part) for name, part in pixels.items()}
    found["thumbnails"] = _judged(small, ill)
    found["thumbnails, learned from the judging sources themselves"] = {
        name: figures.rounded(figures.auroc(ill[name], _folded(small[name], ill[name])))
        for name in ("choosing", "across")
    }
    return found


def _judged(seen: Mapping[str, Floats], ill: Mapping[str, Flags]) -> dict[str, list[float]]:
    fitted = {strength: _readout(strength).fit(seen["taught"], ill["taught"]) for strength in STRENGTHS}
    told = {strength: each.decision_function(seen["choosing"]) for strength, each in fitted.items()}
    best = max(STRENGTHS, key=lambda strength: figures.rank_auroc(ill["choosing"], told[strength]))
    return {
        "strength": [best],
        "choosing": figures.rounded(figures.auroc(ill["choosing"], told[best])),
        "across": figures.rounded(figures.auroc(ill["across"], fitted[best].decision_function(seen["across"]))),
    }


def _readout(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))


def _folded(seen: Floats, ill: Flags) -> Floats:
    return np.asarray(cross_val_predict(_readout(1e-3), seen, ill, cv=FOLDS, method="decision_function"))


def main() -> None:
    """Prints the figures."""
    tell(measure, __doc__)


if __name__ == "__main__":
    main()
