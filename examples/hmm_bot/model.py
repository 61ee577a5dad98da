"""Regimes of the market: a hidden Markov model on the day's return and the last ten days' volatility."""

import numpy as np
from hmmlearn.hmm import GaussianHMM
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

VERSION = "v1"
STATES = 3  # 0 calm, 1 uneasy, 2 turbulent
FIT_BARS = 1000  # bars to learn from
PREDICT_BARS = 100  # bars that tell today's regime; what is older no longer moves the answer
VOLATILITY = 10  # bars
ITERATIONS = 30
TOLERANCE = 1e-2
STAY_PROBABILITY = 0.95  # chance to stay in a regime from one bar to the next, before anything is learnt


class Regimes:
    """What the regime was, bar by bar, as it could be known at that bar: nothing looks ahead."""

    def __init__(self, closes: NDArray[np.float64]) -> None:
        returns = 100 * np.diff(np.log(closes), prepend=np.nan)  # in percent, where hmmlearn's priors fit
        volatility = np.full(len(closes), np.nan)
        volatility[VOLATILITY:] = sliding_window_view(returns[1:], VOLATILITY).std(axis=1)
        self.features = np.column_stack([returns, volatility])
        self.hmm: GaussianHMM | None = None
        self.rank: list[int] = []  # state of the fit → regime

    def fit(self, bar: int) -> None:
        """Learns from the WINDOW bars up to `bar`. When it raises (ValueError), the last fit stays."""
        data = self.features[bar - FIT_BARS + 1 : bar + 1]
        hmm = GaussianHMM(STATES, "full", n_iter=ITERATIONS, tol=TOLERANCE, init_params="")
        if self.hmm is None:
            _start(hmm, data)
        else:  # from where the last fit ended: close to the answer, and regimes keep their meaning
            hmm.startprob_, hmm.transmat_ = self.hmm.startprob_, self.hmm.transmat_
            hmm.means_, hmm.covars_ = self.hmm.means_, self.hmm.covars_
        hmm.fit(data)
        # The fit numbers its states as it likes: the variance of returns puts them in order.
        self.rank = np.argsort(np.argsort(hmm.covars_[:, 0, 0])).tolist()
        self.hmm = hmm

    def predict(self, bar: int) -> tuple[int, float]:
        """Regime at `bar` and its probability, from the bars up to it."""
        assert self.hmm is not None
        chances = self.hmm.predict_proba(self.features[bar - PREDICT_BARS + 1 : bar + 1])[-1]
        return self.rank[chances.argmax()], float(chances.max())


def _start(hmm: GaussianHMM, data: NDArray[np.float64]) -> None:
    """A calm, an uneasy and a turbulent third of the days; k-means leads to poor optima at some bars."""
    thirds = np.array_split(data[data[:, 1].argsort()], STATES)
    hmm.startprob_ = np.full(STATES, 1 / STATES)
    hmm.transmat_ = np.full((STATES, STATES), (1 - STAY_PROBABILITY) / (STATES - 1))
    np.fill_diagonal(hmm.transmat_, STAY_PROBABILITY)
    hmm.means_ = np.array([third.mean(axis=0) for third in thirds])
    hmm.covars_ = np.array([np.cov(third.T) for third in thirds])
