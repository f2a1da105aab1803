"""Tallies and confusion matrices against scikit-learn and by hand; adding equals counting everything at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from asctool.errors import DataError
from asctool.evaluation.tally import Confusion, Tally, confusion, tally, tally_by

N_CLASSES = 5
labels = st.lists(st.tuples(st.integers(0, N_CLASSES - 1), st.integers(0, N_CLASSES - 1)), min_size=1, max_size=60)


@given(labels)
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Short lists leave classes without clips or without predictions: the conventions must agree there too."""
    targets, predicted = np.array(pairs).T
    options = {"labels": list(range(N_CLASSES)), "zero_division": 0}
    ours = confusion(targets, predicted, N_CLASSES)
    np.testing.assert_array_equal(ours.counts, sk.confusion_matrix(targets, predicted, labels=options["labels"]))
    assert ours.accuracy == pytest.approx(sk.accuracy_score(targets, predicted))
    peer = sk.precision_recall_fscore_support  # all three at once: it is slow
    each, macro = (peer(targets, predicted, average=average, **options)[:3] for average in (None, "macro"))
    for name, of_classes, mean in zip(("precision", "recall", "f1"), each, macro):
        np.testing.assert_allclose(getattr(ours, name), of_classes, atol=1e-12)
        assert getattr(ours, f"macro_{name}") == pytest.approx(mean)


@given(labels, labels)
@settings(max_examples=30, deadline=None)
def test_adding_folds_equals_counting_all_clips(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    a, b, both = (np.array(pairs).T for pairs in (first, second, first + second))
    assert confusion(*a, N_CLASSES) + confusion(*b, N_CLASSES) == confusion(*both, N_CLASSES)
    assert tally(*a) + tally(*b) == tally(*both)


def test_accuracy_of_added_folds_is_no_mean_of_percentages() -> None:
    assert (Tally(1, 1) + Tally(0, 3)).accuracy == 0.25


def test_macro_f1_is_the_mean_of_f1_by_hand() -> None:
    """Class 0: precision 2/3, recall 1, F1 0.8; class 1: 1, 1/2, 2/3; class 2 never occurs: 0."""
    figures = confusion(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 3)
    np.testing.assert_allclose(figures.f1, [0.8, 2 / 3, 0])
    assert figures.macro_f1 == pytest.approx((0.8 + 2 / 3) / 3)


def test_tally_by_city() -> None:
    cities, right = np.array(["Rouen", "Wien", "Rouen"]), np.array([0, 1, 1])
    assert tally_by(cities, np.array([0, 1, 2]), right) == {"Rouen": Tally(1, 2), "Wien": Tally(1, 1)}


def test_nothing_has_no_accuracy() -> None:
    assert np.isnan(Tally().accuracy)


def test_values_cannot_be_changed() -> None:
    figures = Confusion(np.eye(2, dtype=int))
    with pytest.raises(ValueError, match="read-only"):
        figures.counts[0, 0] = 7


def test_counts_are_copied() -> None:
    counts = np.eye(2, dtype=int)
    figures = Confusion(counts)
    counts[0, 0] = 9
    assert figures.counts[0, 0] == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Tally(3, 2), "3 right of 2"),
        (lambda: Confusion(np.zeros((2, 3), int)), r"expected \(class, class\)"),
        (lambda: Confusion(np.eye(2)), "counts"),
        (lambda: Confusion(np.eye(2, dtype=int)) + Confusion(np.eye(3, dtype=int)), "do not add"),
        (lambda: confusion(np.array([1, 2]), np.array([1, 1]), 2), "do they count from one"),
        (lambda: confusion(np.array([0, 1]), np.array([0.5, 1.0]), 2), "one class index a row"),
        (lambda: tally(np.array([0, 1]), np.array([0])), "one value of each a row"),
    ],
)
def test_refusals(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        make()
