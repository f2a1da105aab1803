"""Linear one-vs-rest machines by Newton's method, all classes at once; weights are (dim + 1, class).

Each class minimises LinearSVC's objective (liblinear, Fan et al. 2008, solver 2), w holding the intercept as its last
entry, which is regularised like the others:

    |w|^2 / 2 + c sum over rows of max(0, 1 - y w.x)^2,   x ending in a constant 1

It is piecewise quadratic, so Newton's steps end after a dozen, and its curvature is at least one, so |gradient|^2 / 2
bounds what is left to gain: the solver stops on that certificate and not on a guess.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GAP = 1e-5  # share of a class's objective that may be left to gain; what is left is about a hundredth of the bound
INNER_TOLERANCE = 0.1  # share of the gradient that a Newton step may leave
MAX_STEPS = 60  # a dozen in practice, also where a class is separable
MAX_INNER_STEPS = 30  # of conjugate gradients, a Newton step; a class that needs more gets its Hessian factored
MAX_HALVINGS = 20
LADDER = tuple(10.0**power for power in np.arange(-6, 0.5, 0.5))
MAX_PRECONDITIONED_DIM = 2048  # above, the eigenvectors cost more than they save
MAX_ACTIVE_SHARE = 0.7  # below, a copy of the rows that still matter pays for itself

log = logging.getLogger("asctool")

Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass
class Machines:
    """The classes still on their way to the optimum."""

    classes: np.ndarray  # (class,), their indices
    signs: np.ndarray  # (row, class), 1 or -1
    weights: np.ndarray  # (dim + 1, class)
    scores: np.ndarray  # (row, class)

    def keep(self, chosen: np.ndarray) -> "Machines":
        """Some of the classes alone."""
        if chosen.all():
            return self
        return Machines(self.classes[chosen], self.signs[:, chosen], self.weights[:, chosen], self.scores[:, chosen])


def solve(features: np.ndarray, targets: np.ndarray, n_classes: int, c: float) -> np.ndarray:
    """Weights (dim + 1, class) at the optimum, in the precision of the features, or double where that is too coarse."""
    rows = np.concatenate([features, np.ones((len(features), 1), features.dtype)], axis=1)
    if rows.shape[1] > len(rows):
        # The weights lie in the span of the rows: an orthonormal basis of it leaves products and norms as they are.
        basis = np.linalg.qr(rows.T)[0]
        return basis @ _solve(rows @ basis, targets, n_classes, c)
    return _solve(rows, targets, n_classes, c)


def _solve(rows: np.ndarray, targets: np.ndarray, n_classes: int, c: float) -> np.ndarray:
    weights = np.zeros((rows.shape[1], n_classes), rows.dtype)
    weights, done = _newton(rows, targets, c, weights)
    if done:
        return weights
    # A large c on classes that are nearly separable, or features of very unlike scales: single precision is too coarse
    # and Newton's steps come out short. From smaller c upwards each solution starts the next.
    rows, weights = rows.astype(np.float64), np.zeros(weights.shape)
    for easing in LADDER:
        weights, done = _newton(rows, targets, c * easing, weights)
    if not done:
        log.warning(
            "linear SVM, c=%g: not at its optimum after %d steps; standardise the features or lower c", c, MAX_STEPS
        )
    return weights


def _newton(rows: np.ndarray, targets: np.ndarray, c: float, weights: np.ndarray) -> tuple[np.ndarray, bool]:
    """Weights after Newton's steps, and whether every class got within the gap; a class leaves when it has arrived."""
    precondition = _preconditioner(rows, c)
    classes = np.arange(weights.shape[1])
    signs = np.where(targets[:, None] == classes, 1, -1).astype(rows.dtype)
    left, done = Machines(classes, signs, weights, rows @ weights), True
    weights = weights.copy()
    for _ in range(MAX_STEPS):
        slack = _slack(left.signs, left.scores)
        objective = _objective(left.weights, slack, c)
        gradient = left.weights - 2 * c * (rows.T @ (left.signs * slack))
        far = _dots(gradient, gradient) > 2 * GAP * objective
        if not far.any():
            return weights, done
        left = left.keep(far)
        step = _newton_step(rows, slack[:, far] > 0, gradient[:, far], c, precondition)
        moved = _descend(left, step, rows @ step, objective[far], _dots(gradient[:, far], step), c)
        weights[:, left.classes] = left.weights
        done &= bool(moved.all())
        left = left.keep(moved)
    return weights, False


def _newton_step(
    rows: np.ndarray, active: np.ndarray, gradient: np.ndarray, c: float, precondition: Solver
) -> np.ndarray:
    """Conjugate gradients on (I + 2c X'AX) step = -gradient, each class by its own coefficients."""
    share = active.mean(0)
    some = active.any(1)
    if some.mean() < MAX_ACTIVE_SHARE:
        rows, active = rows[some], active[some]
    curvature = active * rows.dtype.type(2 * c)
    step, residual = np.zeros_like(gradient), -gradient
    target = INNER_TOLERANCE**2 * _dots(gradient, gradient)
    direction = preconditioned = precondition(residual, share)
    power = _dots(residual, preconditioned)
    for _ in range(MAX_INNER_STEPS):
        curved = direction + rows.T @ (curvature * (rows @ direction))
        length = _ratio(power, _dots(direction, curved)).astype(rows.dtype)
        step = step + length * direction
        residual = residual - length * curved
        late = _dots(residual, residual) > target
        if not late.any():
            return step
        preconditioned = precondition(residual, share)
        last, power = power, _dots(residual, preconditioned)
        direction = preconditioned + _ratio(power, last).astype(rows.dtype) * direction
    for index in np.flatnonzero(late):
        step[:, index] = _exact_step(rows[active[:, index]], gradient[:, index], c)
    return step


def _exact_step(active_rows: np.ndarray, gradient: np.ndarray, c: float) -> np.ndarray:
    """Newton's step of one class from its Hessian: the support is small where conjugate gradients are slow."""
    exact = active_rows.astype(np.float64)
    return np.linalg.solve(np.eye(len(gradient)) + 2 * c * (exact.T @ exact), -gradient)


def _descend(
    machines: Machines, step: np.ndarray, along: np.ndarray, objective: np.ndarray, slope: np.ndarray, c: float
) -> np.ndarray:
    """Move each class by its step, halved until Armijo's condition holds; False for a class that cannot descend."""
    share = np.ones(len(slope), step.dtype)
    for _ in range(MAX_HALVINGS):
        weights, scores = machines.weights + share * step, machines.scores + share * along
        bad = _objective(weights, _slack(machines.signs, scores), c) > objective + 1e-4 * share * slope
        if not bad.any():
            break
        share[bad] /= 2
    share[bad] = 0
    machines.weights = machines.weights + share * step
    machines.scores = machines.scores + share * along
    return ~bad


def _preconditioner(rows: np.ndarray, c: float) -> Solver:
    """The inverse of I + 2c share X'X, as if active rows were a random share of all; none for wide features."""
    if rows.shape[1] > MAX_PRECONDITIONED_DIM:
        return lambda residual, share: residual
    powers, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    powers = 2 * c * np.maximum(powers, 0)[:, None]
    vectors = vectors.astype(rows.dtype)

    def solve(residual: np.ndarray, share: np.ndarray) -> np.ndarray:
        return vectors @ ((vectors.T @ residual) / (1 + share * powers).astype(rows.dtype))

    return solve


def _slack(signs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What each row lacks to the margin, zero where it lies beyond."""
    slack = signs * scores
    return np.maximum(np.subtract(1, slack, out=slack), 0, out=slack)


def _objective(weights: np.ndarray, slack: np.ndarray, c: float) -> np.ndarray:
    return 0.5 * _dots(weights, weights) + c * _dots(slack, slack)


def _ratio(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of numbers not negative; 0 / 0, where a class has arrived at its step exactly, is 0."""
    return left / np.maximum(right, np.finfo(np.float64).tiny)


def _dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Products of columns, summed in double precision."""
    return np.einsum("rc,rc->c", left, right, dtype=np.float64)
