"""The linear SVM against scikit-learn's LinearSVC (liblinear), which minimises the same objective."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from asctool.classifiers import _squared_hinge, linear
from asctool.classifiers.linear import Config
from asctool.errors import DataError, UsageError


def blobs(n: int, dim: int, n_classes: int, seed: int = 0, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds; the first rows make sure that every class is there."""
    random = np.random.default_rng(seed)
    targets = random.integers(n_classes, size=n)
    targets[:n_classes] = np.arange(n_classes)
    return random.normal(size=(n, dim)) + spread * random.normal(size=(n_classes, dim))[targets], targets


def objectives(weights: np.ndarray, intercepts: np.ndarray, x: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
    """LinearSVC's objective of each class, in double precision; weights (dim, class)."""
    signs = np.where(y[:, None] == np.arange(len(intercepts)), 1, -1)
    slack = np.maximum(0, 1 - signs * (x.astype(np.float64) @ weights + intercepts))
    return 0.5 * (weights**2).sum(0) + 0.5 * intercepts**2 + c * (slack**2).sum(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "n, dim, n_classes, c",
    [
        (300, 10, 3, 0.1),
        (60, 150, 5, 0.1),
        (800, 40, 10, 0.1),
        (400, 20, 4, 0.001),
        (400, 20, 4, 10.0),
        (90, 1, 3, 1.0),
    ],
)
def test_same_objective_as_linear_svc(n: int, dim: int, n_classes: int, c: float, dtype: type) -> None:
    x, y = blobs(n, dim, n_classes)
    x = x.astype(dtype)
    peer = LinearSVC(C=c, tol=1e-8, max_iter=100_000).fit(x.astype(np.float64), y)
    arrays = linear.fit(x, y, n_classes, Config(c), 0)
    best = objectives(peer.coef_.T, peer.intercept_, x, y, c)
    ours = objectives(arrays["weights"], arrays["intercepts"], x, y, c)
    np.testing.assert_allclose(ours, best, rtol=5e-6)  # GAP bounds it by 1e-5


def test_decision_is_that_of_linear_svc() -> None:
    x, y = blobs(500, 12, 4)
    peer = LinearSVC(C=0.1, tol=1e-10, max_iter=100_000).fit(x, y)
    ours = linear.decision(linear.fit(x, y, 4, Config(), 0), x)
    np.testing.assert_allclose(ours, peer.decision_function(x), atol=5e-3)  # sqrt of what is left of the objective


def test_class_of_one_row_is_fitted_like_the_others() -> None:
    x, y = blobs(200, 8, 3)
    y[y == 2] = 0
    y[0] = 2
    peer = LinearSVC(C=0.1, tol=1e-8, max_iter=100_000).fit(x, y)
    arrays = linear.fit(x, y, 3, Config(), 0)
    best = objectives(peer.coef_.T, peer.intercept_, x, y, 0.1)
    np.testing.assert_allclose(objectives(arrays["weights"], arrays["intercepts"], x, y, 0.1), best, rtol=5e-6)


def test_two_classes_are_mirror_images() -> None:
    x, y = blobs(100, 5, 2)
    scores = linear.decision(linear.fit(x, y, 2, Config(), 0), x)
    np.testing.assert_allclose(scores[:, 0], -scores[:, 1], atol=1e-3)


@pytest.mark.parametrize("scale, c", [(1.0, 1e4), (100.0, 1.0), (1e-3, 1e4)])
def test_hard_margins_and_odd_scales_still_reach_the_optimum(scale: float, c: float) -> None:
    """Separable rows at a large c: the certificate |gradient|^2 / 2 <= gap holds for the weights that come out."""
    x, y = blobs(600, 30, 4, spread=1.0)
    x *= scale
    arrays = linear.fit(x, y, 4, Config(c), 0)
    weights = np.vstack([arrays["weights"], arrays["intercepts"]])
    rows = np.hstack([x, np.ones((len(x), 1))])
    signs = np.where(y[:, None] == np.arange(4), 1, -1)
    gradient = weights - 2 * c * rows.T @ (signs * np.maximum(0, 1 - signs * (rows @ weights)))
    bound = (gradient**2).sum(0) / 2 / objectives(arrays["weights"], arrays["intercepts"], x, y, c)
    assert (bound <= 1.01 * _squared_hinge.GAP).all()


def test_scale_of_one_feature_that_dwarfs_the_rest() -> None:
    x, y = blobs(300, 6, 3)
    x[:, 0] *= 1000
    peer = LinearSVC(C=0.1, tol=1e-10, max_iter=1_000_000).fit(x, y)
    best = objectives(peer.coef_.T, peer.intercept_, x, y, 0.1)
    arrays = linear.fit(x.astype(np.float32), y, 3, Config(), 0)
    assert (objectives(arrays["weights"], arrays["intercepts"], x, y, 0.1) <= best * (1 + 1e-4)).all()


def test_fit_is_deterministic_and_leaves_its_input_alone() -> None:
    x, y = blobs(300, 20, 4)
    before = x.copy()
    first, second = (linear.fit(x, y, 4, Config(), seed) for seed in (0, 1))
    np.testing.assert_array_equal(first["weights"], second["weights"])
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("c", [0.0, -1.0, float("nan")])
def test_c_must_be_positive(c: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Config(c)


def test_one_hot_targets_are_recognised() -> None:
    x, y = blobs(20, 3, 2)
    with pytest.raises(DataError, match="did you supply one-hot targets"):
        linear.fit(x, np.eye(2)[y], 2, Config(), 0)
