"""A second opinion for training: the risk that boosted trees give each training row without having seen it."""

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold

FOLDS = 5


def risks(rows: npt.NDArray[np.float32], died: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.float32]:
    """Out-of-fold probability of death, float32 [rows], of training rows [rows, 62] (NaN: missing).

    Each fifth of the rows is judged by trees grown on the other four. Learning from these risks beside the labels
    tells the network that a death at low risk is chance: in five-fold cross-validation the mean AUROC of the same
    network rose from 0.817 to 0.831 (logistic regression 0.819, the trees themselves 0.829).
    """
    found = np.zeros(len(died), dtype=np.float32)
    for fitted, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, died):
        columns = _varying(rows[fitted])
        grown = trees(seed).fit(rows[fitted][:, columns], died[fitted])
        found[judged] = grown.predict_proba(rows[judged][:, columns])[:, 1]
    return found


def _varying(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which columns have two different values: scikit-learn cannot bin the others, and they tell nothing."""
    low, high = np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)
    varying: npt.NDArray[np.bool_] = low < high
    return varying


def trees(seed: int) -> HistGradientBoostingClassifier:
    """Small, strongly regularised trees: 200 steps of at most 8 leaves."""
    return HistGradientBoostingClassifier(
        learning_rate=0.04, max_iter=200, max_leaf_nodes=8, l2_regularization=1.0, random_state=seed
    )
