"""Every kernel of the registry keeps the same contract; rbf and sigmoid equal scikit-learn's SVC."""

import numpy as np
import pytest
from sklearn.svm import SVC

from asctool import registry
from asctool.classifiers import rbf, sigmoid
from asctool.errors import DataError

KERNELS = registry.names("classifiers")


def rows(n: int = 120, dim: int = 6, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    targets = random.integers(n_classes, size=n)
    return random.normal(size=(n, dim)) + random.normal(size=(n_classes, dim))[targets], targets


def test_registry_lists_kernels_and_nothing_else() -> None:
    assert KERNELS == ["linear", "rbf", "sigmoid"]


@pytest.mark.parametrize("name", KERNELS)
def test_contract_arrays_in_arrays_out(name: str) -> None:
    x, y = rows()
    kernel = registry.load("classifiers", name)
    arrays = kernel.fit(x, y, 3, kernel.Config(), 0)
    assert all(isinstance(value, np.ndarray) and value.dtype.kind in "fb" for value in arrays.values())
    scores = kernel.decision(arrays, x)
    assert scores.shape == (120, 3) and scores.dtype == np.float64
    assert (scores.argmax(1) == y).mean() > 0.7
    np.testing.assert_allclose(kernel.decision(arrays, x[::-1])[::-1], scores, atol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_absent_class_is_finite_and_most_negative(name: str) -> None:
    x, y = rows()
    kernel = registry.load("classifiers", name)
    scores = kernel.decision(kernel.fit(x, y * 2, 5, kernel.Config(), 0), 100 * x)
    assert np.isfinite(scores).all()
    assert (scores[:, [1, 3]].max(1) < scores[:, [0, 2, 4]].min(1)).all()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda x, y: (x[:, 0], y), "expected .row, dim."),
        (lambda x, y: (x[:0], y[:0]), "at least one of each"),
        (lambda x, y: (x, y[:-1]), "one class index a row"),
        (lambda x, y: (x, y + 1), "expected 0 to 2"),
        (lambda x, y: (x, 0 * y), "two classes at least"),
        (
            lambda x, y: (np.where(np.arange(len(x))[:, None] == 7, np.nan, x), y),
            "features of 1 rows are not finite, row 7",
        ),
    ],
)
def test_bad_input_is_told(name: str, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    kernel = registry.load("classifiers", name)
    with pytest.raises(DataError, match=message):
        kernel.fit(*spoil(*rows()), 3, kernel.Config(), 0)


@pytest.mark.parametrize("name", KERNELS)
def test_other_features_than_fitted_on(name: str) -> None:
    x, y = rows()
    kernel = registry.load("classifiers", name)
    arrays = kernel.fit(x, y, 3, kernel.Config(), 0)
    with pytest.raises(DataError, match="fitted on"):
        kernel.decision(arrays, x[:, :5])


@pytest.mark.parametrize(
    "kernel, config, options",
    [
        (rbf, rbf.Config(), {"kernel": "rbf"}),
        (rbf, rbf.Config(c=10, gamma=0.02), {"kernel": "rbf", "C": 10, "gamma": 0.02}),
        (sigmoid, sigmoid.Config(), {"kernel": "sigmoid"}),
        (
            sigmoid,
            sigmoid.Config(c=3, gamma=0.1, offset=0.5),
            {"kernel": "sigmoid", "C": 3, "gamma": 0.1, "coef0": 0.5},
        ),
    ],
)
def test_decision_is_that_of_svc(kernel, config, options) -> None:  # type: ignore[no-untyped-def]
    x, y = rows()
    ours = kernel.decision(kernel.fit(x, y, 3, config, 0), x + 0.1)
    peers = [SVC(**options).fit(x, y == index).decision_function(x + 0.1) for index in range(3)]
    np.testing.assert_allclose(ours, np.stack(peers, 1), atol=1e-8)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows()
    arrays = rbf.fit(x, y, 3, rbf.Config(), 0)
    whole = rbf.decision(arrays, x)
    monkeypatch.setattr("asctool.classifiers._kernels.BLOCK_VALUES", 7 * len(arrays["support"]))
    np.testing.assert_allclose(rbf.decision(arrays, x), whole, atol=1e-12)
