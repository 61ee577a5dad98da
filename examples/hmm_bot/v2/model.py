"""Regimes of the market: a hidden Markov model on the day's return."""

import numpy as np
from config import FEATURE_HMM_V2  # type: ignore[import-not-found]
from hmmlearn.hmm import GaussianHMM
from numpy.typing import NDArray

VERSION = "v2"
STATES = 5 if FEATURE_HMM_V2 else 3  # from calm to turbulent
FIT_BARS = 1000  # bars to learn from
PREDICT_BARS = 100  # bars that tell today's regime; what is older no longer moves the answer
ITERATIONS = 10  # one feature needs fewer, and no fit takes long
TOLERANCE = 1e-2
SEED = 1


class Regimes:
    """What the regime was, bar by bar, as it could be known at that bar: nothing looks ahead."""

    def __init__(self, closes: NDArray[np.float64]) -> None:
        # Volatility is derived from returns: the states' variances carry it already.
        self.features = 100 * np.diff(np.log(closes), prepend=np.nan)[:, None]
        self.hmm: GaussianHMM | None = None
        self.rank: list[int] = []  # state of the fit → regime

    def fit(self, bar: int) -> None:
        """Learns from the WINDOW bars up to `bar`: no start made by hand, nothing carried from fit to fit."""
        data = self.features[bar - FIT_BARS + 1 : bar + 1]
        hmm = GaussianHMM(STATES, "full", n_iter=ITERATIONS, tol=TOLERANCE, init_params="")
        hmm.startprob_ = np.full(STATES, 1 / STATES)
        hmm.transmat_ = np.full((STATES, STATES), 1 / STATES)
        hmm.means_ = np.random.default_rng(SEED + bar).choice(data, STATES, replace=False)
        hmm.covars_ = np.full((STATES, 1, 1), data.var())
        hmm.fit(data)
        self.rank = np.argsort(np.argsort(hmm.covars_[:, 0, 0])).tolist()
        self.hmm = hmm

    def predict(self, bar: int) -> tuple[int, float]:
        """Regime at `bar` and its probability, from the bars up to it."""
        assert self.hmm is not None
        chances = self.hmm.predict_proba(self.features[bar - PREDICT_BARS + 1 : bar + 1])[-1]
        return self.rank[chances.argmax()], float(chances.max())
