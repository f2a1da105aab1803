"""Systems weighted by what each is worth: the product of posteriors raised to learned exponents, renormalised.

log P(class) = sharpness x sum over systems of w_s log P_s(class) + constant, the weights w on the simplex. The
exponents sharpness x w_s, not negative, minimise the log loss of validation rows, which is convex in them. This
log-linear mix keeps to the product rule that fuses segments. Without the sharpness, weights that sum to one would go to
the most certain system in place of the most useful; it also tames a product of systems that err alike.
"""

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.evaluation import _validate
from asctool.evaluation._logs import floored_log, log_mix, softmax


def fit(posteriors: np.ndarray, targets: np.ndarray, penalty: float = 1.0) -> dict[str, np.ndarray]:
    """``weights`` (system,) and ``sharpness`` () from validation rows (system, row, class) and their classes (row,).

    ``penalty`` weighs half the squared distance of the exponents from 1 / systems against the summed log loss: it keeps
    them finite where every row is right, and even among twins.
    """
    from scipy.optimize import minimize

    _validate.posteriors(posteriors, ndim=3)
    n_systems, n_rows, n_classes = posteriors.shape
    _validate.targets(targets, n_rows, n_classes)
    if not penalty > 0:
        raise UsageError(f"penalty={penalty}: above 0")
    logs = floored_log(posteriors)
    of_truth = logs[:, np.arange(n_rows), targets]  # (system, row)
    even = np.full(n_systems, 1 / n_systems)

    def loss(exponents: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.tensordot(exponents, logs, 1)
        mixed -= mixed.max(1, keepdims=True)
        total = np.exp(mixed).sum(1)
        value = (np.log(total) - mixed[np.arange(n_rows), targets]).sum()
        expected = np.einsum("rc,src->sr", np.exp(mixed) / total[:, None], logs)
        slope = (expected - of_truth).sum(1)
        off = exponents - even
        return float(value + penalty / 2 * off @ off), slope + penalty * off

    found = minimize(loss, even, jac=True, method="L-BFGS-B", bounds=[(0, None)] * n_systems, options={"ftol": 1e-13})
    sharpness = found.x.sum()
    return {"weights": found.x / sharpness if sharpness > 0 else even, "sharpness": np.array(sharpness)}


def apply(arrays: dict[str, np.ndarray], posteriors: np.ndarray) -> np.ndarray:
    """(row, class) from the same systems (system, row, class), in the order they were fitted in."""
    _validate.posteriors(posteriors, ndim=3)
    if len(arrays["weights"]) != len(posteriors):
        raise DataError(f"{len(posteriors)} systems, weights of {len(arrays['weights'])}")
    return softmax(log_mix(arrays["weights"] * arrays["sharpness"], posteriors))
