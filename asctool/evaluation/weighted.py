"""Systems weighted by what each is worth: the product of posteriors raised to weights on the simplex, renormalised.

log P(class) = sum over systems of w_s log P_s(class) + constant, the weights not negative and summing to one, chosen to
minimise the log loss of validation rows. This log-linear mix keeps to the product rule that fuses segments; its loss is
convex in w, so there is one optimum. As weights sum to one, it cannot sharpen: two equal systems fuse to themselves.
"""

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import _validate
from asctool.evaluation._logs import floored_log, log_mix, softmax


def fit(posteriors: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """``weights`` (system,) from validation rows (system, row, class) and their classes (row,)."""
    from scipy.optimize import minimize

    _validate.posteriors(posteriors, ndim=3)
    n_systems, n_rows, n_classes = posteriors.shape
    _validate.targets(targets, n_rows, n_classes)
    logs = floored_log(posteriors)
    of_truth = logs[:, np.arange(n_rows), targets]  # (system, row)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = softmax(np.einsum("s,src->rc", weights, logs))
        expected = np.einsum("rc,src->sr", mixed, logs)
        return _log_loss(weights, logs, of_truth), (expected - of_truth).mean(1)

    found = minimize(
        loss,
        np.full(n_systems, 1 / n_systems),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n_systems,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    weights = np.maximum(found.x, 0)
    return {"weights": weights / weights.sum()}


def apply(arrays: dict[str, np.ndarray], posteriors: np.ndarray) -> np.ndarray:
    """(row, class) from the same systems (system, row, class), in the order they were fitted in."""
    _validate.posteriors(posteriors, ndim=3)
    if len(arrays["weights"]) != len(posteriors):
        raise DataError(f"{len(posteriors)} systems, weights of {len(arrays['weights'])}")
    return softmax(log_mix(arrays["weights"], posteriors))


def _log_loss(weights: np.ndarray, logs: np.ndarray, of_truth: np.ndarray) -> float:
    mixed = np.einsum("s,src->rc", weights, logs)
    top = mixed.max(1)
    total = top + np.log(np.exp(mixed - top[:, None]).sum(1))
    return float((total - weights @ of_truth).mean())
