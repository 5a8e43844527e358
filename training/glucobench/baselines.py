"""The forecasters that ours is compared with and that need no network: persistence, least squares, boosted trees."""

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor

from training.glucobench.protocol import AHEAD, Windows

Forecast = npt.NDArray[np.float64]
TREES, TREE_WINDOWS, TREE_LAGS = 80, 40_000, 24


def persistence(windows: Windows) -> Forecast:
    """The newest value stays."""
    return np.repeat(windows.rows[:, -1:].astype(np.float64), AHEAD, axis=1)


class Linear:
    """Least squares of the twelve steps on the last `lags` values and a constant."""

    def __init__(self, lags: int, train: Windows) -> None:
        self._lags = min(lags, train.rows.shape[1])
        self._coefficients = np.linalg.lstsq(self._design(train), train.truth.astype(np.float64), rcond=None)[0]

    def __call__(self, windows: Windows) -> Forecast:
        """mg/dL [windows, 12]."""
        found: Forecast = self._design(windows) @ self._coefficients
        return found

    def _design(self, windows: Windows) -> Forecast:
        last = windows.rows[:, -self._lags :].astype(np.float64)
        return np.concatenate([last, np.ones((len(last), 1))], axis=1)


class Boosting:
    """Boosted trees for each step, of the change from the newest value, on the changes of the last two hours."""

    def __init__(self, train: Windows, seed: int) -> None:
        picked = np.random.default_rng(seed).permutation(len(train))[:TREE_WINDOWS]
        some = train.pick(picked)
        seen, change = self._seen(some), some.truth - some.rows[:, -1:]
        self._trees = [
            HistGradientBoostingRegressor(max_iter=TREES, learning_rate=0.1, random_state=seed).fit(
                seen, change[:, step]
            )
            for step in range(AHEAD)
        ]

    def __call__(self, windows: Windows) -> Forecast:
        """mg/dL [windows, 12]."""
        seen = self._seen(windows)
        change = np.stack([tree.predict(seen) for tree in self._trees], axis=1)
        found: Forecast = persistence(windows) + change
        return found

    @staticmethod
    def _seen(windows: Windows) -> Forecast:
        last = windows.rows[:, -TREE_LAGS:].astype(np.float64)
        found: Forecast = np.concatenate([last[:, -1:], last[:, -1:] - last[:, :-1]], axis=1, dtype=np.float64)
        return found
