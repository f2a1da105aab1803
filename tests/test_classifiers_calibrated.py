"""Folds, calibration and choice inside the training rows: no group on two sides, no class forgotten."""

import io

import numpy as np
import pytest

from asctool import registry
from asctool.classifiers import _folds, calibrated, linear, platt, rbf, tuning
from asctool.errors import DataError, UsageError
from asctool.evaluation import metrics


def clips(
    n_groups: int = 60, rows_a_group: int = 5, n_classes: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes, groups: rows of one group are much alike, as segments of one recording are."""
    random = np.random.default_rng(seed)
    classes = np.arange(n_groups) % n_classes
    centres = 0.7 * random.normal(size=(n_classes, 6))[classes] + random.normal(size=(n_groups, 6))
    features = np.repeat(centres, rows_a_group, 0) + 0.2 * random.normal(size=(n_groups * rows_a_group, 6))
    return features, np.repeat(classes, rows_a_group), np.repeat(np.arange(n_groups), rows_a_group)


def test_folds_keep_groups_whole_and_classes_even() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 20, size=90)
    targets, groups = np.repeat(np.arange(90) % 3, sizes), np.repeat(np.arange(90), sizes)
    folds = _folds.assign(targets, groups, 3, 3, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(90))
    shares = np.array([np.bincount(targets[folds == fold], minlength=3) for fold in range(3)]) / np.bincount(targets)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)


def test_folds_depend_on_the_seed_alone() -> None:
    _, targets, groups = clips()
    first, again, other = (_folds.assign(targets, groups, 4, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_fewer_groups_than_folds_make_fewer_folds() -> None:
    folds = _folds.assign(np.array([0, 1, 0, 1]), np.array(["a", "a", "b", "b"]), 2, 5, seed=0)
    assert sorted(set(folds)) == [0, 1]


@pytest.mark.parametrize(
    "groups, n_folds, error, message",
    [
        ([0, 0], 3, DataError, "one group"),
        ([0, 1, 2], 3, DataError, "3 groups for 2 rows"),
        ([0, 1], 1, UsageError, "two"),
    ],
)
def test_folds_refuse(groups: list[int], n_folds: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _folds.assign(np.array([0, 1]), np.array(groups), 2, n_folds, 0)


@pytest.mark.parametrize("kernel", registry.names("classifiers"))
def test_posteriors_of_every_kernel_survive_as_plain_arrays(kernel: str) -> None:
    features, targets, groups = clips()
    config = registry.load("classifiers", kernel).Config()
    model = calibrated.fit(features, targets, groups, 4, kernel, config, seed=0)
    file = io.BytesIO()
    np.savez(file, **model)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        kept = dict(loaded)
    posteriors = calibrated.predict(kept, features)
    np.testing.assert_array_equal(posteriors, calibrated.predict(model, features))
    np.testing.assert_allclose(posteriors.sum(1), 1)
    assert (posteriors.argmax(1) == targets).mean() > 0.45  # chance is 0.25; sigmoid is no kernel for such clouds


def test_held_out_calibration_is_honest_where_that_of_training_rows_is_not() -> None:
    """Many features, few recordings: scores of the training rows give posteriors too sure for new ones."""
    random = np.random.default_rng(0)
    classes = np.arange(400) % 3
    centres = 0.3 * random.normal(size=(3, 40))[classes] + random.normal(size=(400, 40))
    features = np.repeat(centres, 3, 0) + 0.1 * random.normal(size=(1200, 40))
    targets, groups = np.repeat(classes, 3), np.repeat(np.arange(400), 3)
    train, new = slice(0, 240), slice(240, None)
    model = calibrated.fit(features[train], targets[train], groups[train], 3, "linear", linear.Config(), 0)
    careless = calibrated.fit(features[train], targets[train], np.zeros(240), 3, "linear", linear.Config(), 0)
    errors = [
        metrics.reliability(calibrated.predict(arrays, features[new]), targets[new]).expected_calibration_error
        for arrays in (model, careless)
    ]
    assert errors[0] < 0.1 < errors[1] - 0.1


def test_sigmoids_are_platts_of_the_held_out_scores() -> None:
    features, targets, groups = clips()
    model = calibrated.fit(features, targets, groups, 4, "linear", linear.Config(), seed=3)
    rows = (features - features.mean(0)) / features.std(0)
    folds = _folds.assign(targets, groups, 4, 3, seed=3)
    scores = np.empty((len(rows), 4))
    for fold in range(3):
        machine = linear.fit(rows[folds != fold], targets[folds != fold], 4, linear.Config(), 0)
        scores[folds == fold] = linear.decision(machine, rows[folds == fold])
    a, b = platt.fit(scores, targets, 4)
    np.testing.assert_allclose(model["a"], a, rtol=1e-6)
    np.testing.assert_allclose(model["b"], b, rtol=1e-6)


def test_class_of_one_group_takes_the_sigmoid_of_the_others() -> None:
    features, targets, groups = clips()
    keep = (targets != 3) | (groups == groups[targets == 3][0])
    model = calibrated.fit(features[keep], targets[keep], groups[keep], 4, "linear", linear.Config(), 0)
    assert model["a"][3] < 0  # fitted on its own held-out rows, which no machine knew, it would point the wrong way
    assert model["a"][:3].min() <= model["a"][3] <= model["a"][:3].max()


@pytest.mark.parametrize("seed", range(2))
def test_of_a_few_rows_the_sigmoids_keep_the_order_of_the_scores(seed: int) -> None:
    """Two recordings of each of two classes: machines of the others judge the held-out ones wrong by chance."""
    features, targets, groups = clips(n_groups=4, rows_a_group=3, n_classes=2, seed=seed)
    model = calibrated.fit(features, targets, groups, 2, "rbf", rbf.Config(), 0)
    machine = rbf.fit((features - features.mean(0)) / features.std(0), targets, 2, rbf.Config(), 0)
    scores = rbf.decision(machine, (features - features.mean(0)) / features.std(0))
    assert (model["a"] < 0).all()
    np.testing.assert_array_equal(calibrated.predict(model, features).argmax(1), scores.argmax(1))


@pytest.mark.parametrize("groups_a_class", [0, 1])
def test_one_group_in_all_or_one_a_class_still_gives_posteriors(groups_a_class: int) -> None:
    features, targets, _ = clips(n_groups=8)
    model = calibrated.fit(features, targets, targets * groups_a_class, 4, "linear", linear.Config(), 0)
    posteriors = calibrated.predict(model, features)
    assert (model["a"] < 0).all()
    assert (posteriors.argmax(1) == targets).mean() > 0.9


def test_absent_class_is_never_predicted() -> None:
    features, targets, groups = clips()
    model = calibrated.fit(features, targets, groups, 6, "linear", linear.Config(), 0)
    posteriors = calibrated.predict(model, 1e6 * features)
    assert (posteriors[:, 4:] == 0).all()
    np.testing.assert_allclose(posteriors.sum(1), 1)


def test_constant_and_tiny_features_are_standardised() -> None:
    """Phan 2019's attended feature is tiny in scale, and a dead unit does not vary at all."""
    features, targets, groups = clips()
    tiny = np.hstack([features * 1e-6, np.full((len(features), 2), 0.1)]).astype(np.float32)
    model = calibrated.fit(tiny, targets, groups, 4, "linear", linear.Config(), 0)
    plain = calibrated.fit(features.astype(np.float32), targets, groups, 4, "linear", linear.Config(), 0)
    np.testing.assert_array_equal(model["scale"][6:], 1)
    np.testing.assert_allclose(
        calibrated.predict(model, tiny), calibrated.predict(plain, features.astype(np.float32)), atol=2e-3
    )


def test_order_of_rows_hardly_matters() -> None:
    features, targets, groups = clips()
    order = np.random.default_rng(1).permutation(len(features))
    plain = calibrated.fit(features, targets, groups, 4, "linear", linear.Config(), 0)
    mixed = calibrated.fit(features[order], targets[order], groups[order], 4, "linear", linear.Config(), 0)
    np.testing.assert_allclose(calibrated.predict(mixed, features), calibrated.predict(plain, features), atol=1e-6)


def test_tuning_prefers_what_solves_the_problem() -> None:
    """A ring around a disc: no plane divides them, a radial kernel does."""
    random = np.random.default_rng(0)
    targets = np.arange(200) % 2
    angle, radius = random.uniform(0, 2 * np.pi, 200), 1 + 2 * targets + 0.2 * random.normal(size=200)
    features = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    candidates = [tuning.Candidate("linear", linear.Config()), tuning.Candidate("rbf", rbf.Config())]
    inside = tuning.tune(features, targets, np.arange(200), 2, candidates, seed=0)
    given = tuning.tune(
        features[:100], targets[:100], np.arange(100), 2, candidates, 0, validation=(features[100:], targets[100:])
    )
    for choice in (inside, given):
        assert choice.best == candidates[1]
        assert choice.accuracies[0] < 0.75 < 0.97 < choice.accuracies[1]


def test_tuning_takes_the_first_among_equals() -> None:
    features, targets, groups = clips(n_groups=12)
    candidates = [tuning.Candidate("linear", linear.Config(c)) for c in (0.1, 0.1)]
    assert tuning.tune(features, targets, groups, 4, candidates, 0).best is candidates[0]


def test_tuning_of_nothing() -> None:
    with pytest.raises(UsageError, match="one candidate at least"):
        tuning.tune(np.zeros((2, 1)), np.array([0, 1]), np.arange(2), 2, [], 0)
