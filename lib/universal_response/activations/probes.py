"""Linear probes: what can be read off the residual stream by a linear classifier."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True)
class Probe:
    """Held-out accuracy of a probe, and of the same probe on shuffled labels."""

    accuracy: float
    shuffled: float


def probe(
    states: Float[np.ndarray, "row d_model"],
    labels: Int[np.ndarray, " row"],
    held_out: Bool[np.ndarray, " row"],
    seed: int = 0,
) -> Probe:
    """Fit a multinomial logistic regression and test it on rows that were held out.

    Args:
        states: vectors that are read.
        labels: what is to be read off them.
        held_out: whether a row is left out of the fit; whole sequences, so that nothing else than
            the label is shared.
        seed: of the shuffling of labels, among fitted rows.
    """
    shuffled = np.random.default_rng(seed).permutation(labels[~held_out])

    def accuracy(fitted_to: np.ndarray) -> float:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.01))
        classifier.fit(states[~held_out], fitted_to)
        return float(classifier.score(states[held_out], labels[held_out]))

    return Probe(accuracy(labels[~held_out]), accuracy(shuffled))
