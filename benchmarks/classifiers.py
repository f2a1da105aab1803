"""The linear SVM against scikit-learn's LinearSVC, one thread each."""

import time

import numpy as np
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from asctool.classifiers import linear
from benchmarks.rows import Line, interleaved, times

ROWS, DIM, CLASSES, C = 36_000, 256, 19, 0.1  # segments of LITIS Rouen, an embedding of Att-CRNN
AT_LEAST, WITHIN = 15, 1e-4


def linear_svm(repeats: int, n_rows: int = ROWS) -> list[Line]:
    """Overlapping clouds, standardised; both solve the same 19 problems, one after the other on one core."""
    random = np.random.default_rng(0)
    targets = np.arange(n_rows) % CLASSES
    features = random.standard_normal((n_rows, DIM)) + 0.15 * random.standard_normal((CLASSES, DIM))[targets]
    features = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    config, found = linear.Config(C), {}

    def ours() -> None:
        arrays = linear.fit(features, targets, CLASSES, config, 0)
        found["ours"] = arrays["weights"], arrays["intercepts"]

    def theirs() -> None:
        peer = LinearSVC(C=C).fit(features.astype(np.float64), targets)
        found["theirs"] = peer.coef_.T, peer.intercept_

    with threadpool_limits(1):
        # One fit of the peer takes half a minute, so that its repeats are few. Processor time: there is one thread.
        own, peer = interleaved((ours, theirs), max(1, repeats // 3), time.process_time)
    values = {name: _objective(*weights, features, targets) for name, weights in found.items()}
    apart = values["ours"] / values["theirs"] - 1
    return [
        Line(
            f"linear SVM, {n_rows} x {DIM}, {CLASSES} classes, C {C:g}",
            "scikit-learn's LinearSVC",
            **times(own, peer, AT_LEAST),
            rate=f"{own:.2f} s",
            more=f"LinearSVC {peer:.1f} s",
        ),
        Line(
            "its objective, relative to",
            "scikit-learn's LinearSVC",
            f"{apart:+.1e}",
            f"at most {WITHIN:g} above",
            holds=apart <= WITHIN,
        ),
    ]


def _objective(weights: np.ndarray, intercepts: np.ndarray, features: np.ndarray, targets: np.ndarray) -> float:
    """LinearSVC's, summed over the classes; in double precision."""
    signs = np.where(targets[:, None] == np.arange(CLASSES), 1, -1)
    slack = np.maximum(0, 1 - signs * (features.astype(np.float64) @ weights + intercepts))
    return float(0.5 * (weights**2).sum() + 0.5 * (intercepts**2).sum() + C * (slack**2).sum())


LINES = (linear_svm,)
