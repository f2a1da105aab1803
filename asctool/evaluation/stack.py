"""Stacking: multinomial logistic regression on the log posteriors of all systems.

The weights are drawn by a quadratic penalty not to zero but to the rule ``weighted``, so that few validation rows leave
that rule as it is. A class that has none among them keeps it altogether: learning would only find that it never occurs.
"""

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import _validate, weighted
from asctool.evaluation._logs import floored_log, softmax


def fit(posteriors: np.ndarray, targets: np.ndarray, penalty: float = 1.0) -> dict[str, np.ndarray]:
    """``weights`` (system x class + 1, class), the last row the intercepts, from validation rows (system, row, class).

    ``penalty`` weighs half the squared distance of all weights from those of ``weighted`` against the summed log loss.
    """
    simple = weighted.fit(posteriors, targets, penalty)  # and its checks
    n_classes = posteriors.shape[2]
    exponents = simple["weights"] * simple["sharpness"]
    weights = np.concatenate([np.kron(exponents[:, None], np.eye(n_classes)), np.zeros((1, n_classes))])
    known, index = np.unique(targets, return_inverse=True)
    weights[:, known] = regress(_inputs(posteriors), index, weights[:, known], penalty)
    return {"weights": weights}


def apply(arrays: dict[str, np.ndarray], posteriors: np.ndarray) -> np.ndarray:
    """(row, class) from the same systems (system, row, class), in the order they were fitted in."""
    _validate.posteriors(posteriors, ndim=3)
    inputs = _inputs(posteriors)
    if len(arrays["weights"]) != inputs.shape[1]:
        raise DataError(
            f"{inputs.shape[1] - 1} log posteriors a row, weights of {len(arrays['weights']) - 1}: other systems"
        )
    return softmax(inputs @ arrays["weights"])


def regress(inputs: np.ndarray, targets: np.ndarray, start: np.ndarray, penalty: float) -> np.ndarray:
    """Weights (input, class) that minimise the log loss + penalty / 2 |weights - start|^2, the one optimum."""
    from scipy.optimize import minimize

    rows = np.arange(len(inputs))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(start.shape)
        logits = inputs @ weights
        logits -= logits.max(1, keepdims=True)
        total = np.exp(logits).sum(1)
        value = (np.log(total) - logits[rows, targets]).sum() + penalty / 2 * ((weights - start) ** 2).sum()
        errors = np.exp(logits) / total[:, None]
        errors[rows, targets] -= 1
        return float(value), (inputs.T @ errors + penalty * (weights - start)).ravel()

    found = minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-6}
    )
    return found.x.reshape(start.shape)


def _inputs(posteriors: np.ndarray) -> np.ndarray:
    """Log posteriors of all systems beside each other and a constant: (row, system x class + 1)."""
    logs = floored_log(posteriors).transpose(1, 0, 2).reshape(posteriors.shape[1], -1)
    return np.concatenate([logs, np.ones((len(logs), 1))], axis=1)
