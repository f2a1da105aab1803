"""Fusion rules by hand, by invariants, and the learned ones by their optimality."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion, stack, weighted
from asctool.evaluation.metrics import log_loss

seeds = st.integers(0, 10_000)


def rows(seed: int, *shape: int, n_classes: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.7), size=shape)


def noisy_systems(n_rows: int = 300, noise: tuple[float, ...] = (0.5, 0.7, 2.0)) -> tuple[np.ndarray, np.ndarray]:
    """Systems that see the class through noise of their own, and know how much: (system, row, class), and the classes.

    Each is the true posterior of what it sees, so that their plain product is the best there is.
    """
    random = np.random.default_rng(0)
    targets = random.integers(4, size=n_rows)
    seen = [np.eye(4)[targets] + level * random.normal(size=(n_rows, 4)) for level in noise]
    logits = np.stack([values / level**2 for values, level in zip(seen, noise)])
    values = np.exp(logits - logits.max(2, keepdims=True))
    return values / values.sum(2, keepdims=True), targets


HAND = np.array([[0.6, 0.4, 0.0], [0.2, 0.7, 0.1]])


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("product", np.array([0.12, 0.28, 1e-13]) / (0.4 + 1e-13)),  # 0.0 counts as the floor, 1e-12
        ("mean", np.array([0.4, 0.55, 0.05])),
        ("max", np.array([0.6, 0.7, 0.1]) / 1.4),
        ("vote", np.array([0.5, 0.5, 0.0])),
    ],
)
def test_rules_by_hand(rule: str, expected: np.ndarray) -> None:
    of_segments = fusion.segments_to_clips(HAND, np.array([0, 0]), 1, rule)
    of_systems = fusion.combine(HAND[:, None], rule)
    atol = 2e-6 if rule == "vote" else 1e-15
    np.testing.assert_allclose(of_segments[0], expected, atol=atol)
    np.testing.assert_allclose(of_systems, of_segments, atol=1e-15)


def test_tied_vote_goes_to_the_larger_mean() -> None:
    assert fusion.combine(HAND[:, None], "vote").argmax() == 1


def test_split_vote_within_a_row() -> None:
    voted = fusion.combine(np.array([[[0.5, 0.5]], [[0.1, 0.9]], [[0.9, 0.1]]]), "vote")
    np.testing.assert_allclose(voted, [[0.5, 0.5]], atol=1e-6)


def test_one_rounded_zero_is_no_veto() -> None:
    segments = np.array([[0.0, 1.0]] + [[0.999, 0.001]] * 10)
    assert fusion.segments_to_clips(segments, np.zeros(11, int), 1, "product").argmax() == 0


def test_product_of_a_thousand_segments_does_not_underflow() -> None:
    segments = np.tile([0.01, 0.0101, 0.9799], (1000, 1))
    np.testing.assert_allclose(fusion.segments_to_clips(segments, np.zeros(1000, int), 1, "product"), [[0, 0, 1]])


@pytest.mark.parametrize("rule", fusion.RULES)
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_clips_are_posteriors_whatever_the_order_of_rows(rule: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    posteriors, clip_index = rows(seed, 30), np.concatenate([np.arange(7), random.integers(7, size=23)])
    clips = fusion.segments_to_clips(posteriors, clip_index, 7, rule)
    order = random.permutation(30)
    np.testing.assert_allclose(
        fusion.segments_to_clips(posteriors[order], clip_index[order], 7, rule), clips, atol=1e-12
    )
    np.testing.assert_allclose(clips.sum(1), 1)
    for clip in range(7):
        alone = fusion.combine(posteriors[clip_index == clip][:, None], rule)[0]
        np.testing.assert_allclose(clips[clip], alone, atol=1e-12)


@pytest.mark.parametrize("rule", ["product", "mean", "max"])
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_one_system_and_clips_of_one_segment_are_left_as_they_are(rule: str, seed: int) -> None:
    posteriors = rows(seed, 8)
    np.testing.assert_allclose(fusion.combine(posteriors[None], rule), posteriors, atol=1e-9)
    np.testing.assert_allclose(fusion.segments_to_clips(posteriors, np.arange(8), 8, rule), posteriors, atol=1e-9)


@pytest.mark.parametrize("rule", fusion.RULES)
def test_uniform_rows_stay_uniform(rule: str) -> None:
    np.testing.assert_allclose(fusion.combine(np.full((3, 5, 4), 0.25), rule), 0.25)


@pytest.mark.parametrize("rule", fusion.RULES)
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_order_of_systems_and_of_classes_is_free(rule: str, seed: int) -> None:
    systems = rows(seed, 3, 9)
    fused = fusion.combine(systems, rule)
    np.testing.assert_allclose(fusion.combine(systems[[2, 0, 1]], rule), fused, atol=1e-12)
    np.testing.assert_allclose(fusion.combine(systems[:, :, [3, 1, 0, 2]], rule), fused[:, [3, 1, 0, 2]], atol=1e-12)


@pytest.mark.parametrize("rule", ["product", "mean", "vote"])
def test_weight_of_two_is_a_system_given_twice(rule: str) -> None:
    systems = rows(0, 2, 9)
    twice = fusion.combine(systems[[0, 1, 1]], rule)
    np.testing.assert_allclose(fusion.combine(systems, rule, np.array([1, 2])), twice, atol=1e-12)


@pytest.mark.parametrize("rule", ["product", "mean"])
def test_single_precision_gives_the_same(rule: str) -> None:
    systems = rows(0, 3, 50)
    np.testing.assert_allclose(
        fusion.combine(systems.astype(np.float32), rule), fusion.combine(systems, rule), atol=1e-6
    )


def test_weighted_finds_the_optimum_of_a_grid() -> None:
    systems, targets = noisy_systems(noise=(0.5, 0.7))
    systems[1] = fusion.combine(systems[1:], "product", np.array([3]))  # three times too sure
    model = weighted.fit(systems, targets, penalty=1e-6)
    grid = np.linspace(0, 2, 81)
    losses = [[log_loss(fusion.combine(systems, "product", np.array([v, w])), targets) for w in grid] for v in grid[1:]]
    first, second = np.unravel_index(np.argmin(losses), (80, 81))
    np.testing.assert_allclose(model["weights"] * model["sharpness"], [grid[1 + first], grid[second]], atol=0.025)


def test_weighted_finds_the_product_where_nothing_beats_it() -> None:
    systems, targets = noisy_systems(n_rows=20_000)
    model = fusion.learn("weighted", systems, targets)
    assert model["weights"].sum() == pytest.approx(1)
    np.testing.assert_allclose(model["weights"], 1 / 3, atol=0.03)
    assert model["sharpness"] == pytest.approx(3, abs=0.1)


def test_weighted_leaves_out_a_system_that_knows_nothing() -> None:
    systems, targets = noisy_systems(n_rows=2000)
    systems[2] = rows(1, 2000)
    model = weighted.fit(systems, targets)
    assert model["weights"][2] < 0.02
    fused = log_loss(weighted.apply(model, systems), targets)
    assert fused < min(log_loss(system, targets) for system in systems)


def test_weighted_of_twins_is_even_and_leaves_them_as_they_are() -> None:
    systems, targets = noisy_systems(n_rows=5000, noise=(0.7,))
    twins = np.concatenate([systems, systems])
    model = weighted.fit(twins, targets)
    np.testing.assert_allclose(model["weights"], 0.5)
    np.testing.assert_allclose(weighted.apply(model, twins), systems[0], atol=0.02)  # their product is too sure


def test_weighted_stays_finite_where_every_row_is_right() -> None:
    posteriors = np.tile([[[0.6, 0.4]], [[0.7, 0.3]]], (1, 50, 1))
    model = weighted.fit(posteriors, np.zeros(50, int))
    assert 1 < model["sharpness"] < 100 and np.isfinite(model["weights"]).all()


def test_weighted_of_systems_that_are_wrong_is_uniform() -> None:
    posteriors = np.tile([[[0.1, 0.9]], [[0.2, 0.8]]], (1, 50, 1))
    model = weighted.fit(posteriors, np.zeros(50, int))
    np.testing.assert_array_equal(model["weights"], 0.5)
    np.testing.assert_allclose(weighted.apply(model, posteriors), 0.5)


def test_stack_solver_is_scikit_learns_logistic_regression() -> None:
    systems, targets = noisy_systems()
    inputs = stack._inputs(systems)
    ours = stack.regress(inputs, targets, np.zeros((inputs.shape[1], 4)), penalty=2.0)
    peer = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(inputs, targets)
    np.testing.assert_allclose(ours, peer.coef_.T, atol=1e-4)


def test_stack_of_little_evidence_is_the_even_product() -> None:
    systems, targets = noisy_systems()
    model = stack.fit(systems, targets, penalty=1e9)
    even = fusion.combine(systems, "product", np.full(3, 1 / 3))
    np.testing.assert_allclose(stack.apply(model, systems), even, atol=1e-5)


def test_stack_does_not_forget_a_class_that_validation_lacks() -> None:
    systems, targets = noisy_systems()
    model = fusion.learn("stack", systems[:, targets != 3], targets[targets != 3])
    predicted = fusion.apply_learned("stack", model, systems[:, targets == 3]).argmax(1)
    assert (predicted == 3).mean() > 0.6  # the product finds 0.89 of them, learning on all columns none


def test_stack_learns_what_no_weights_can() -> None:
    """A system that takes each class for the next is no use to a product, but says everything."""
    systems, targets = noisy_systems(noise=(0.3,))
    crooked = np.roll(systems, 1, axis=2)
    model = stack.fit(crooked[:, :150], targets[:150])
    assert (stack.apply(model, crooked[:, 150:]).argmax(1) == targets[150:]).mean() > 0.9
    assert (crooked[0].argmax(1) == targets).mean() < 0.1


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: fusion.combine(rows(0, 2, 3), "prodct"), UsageError, "did you mean 'product'"),
        (lambda: fusion.learn("mean", rows(0, 2, 3), np.zeros(3, int)), UsageError, "unknown learned rule 'mean'"),
        (lambda: fusion.combine(rows(0, 3), "mean"), DataError, r"expected \(system, row, class\)"),
        (lambda: fusion.combine(rows(0, 2, 3) * 5 - 1, "mean"), DataError, "did you supply logits"),
        (lambda: fusion.combine(rows(0, 2, 3), "max", np.ones(2)), UsageError, "takes no weights"),
        (lambda: fusion.combine(rows(0, 2, 3), "mean", np.ones(3)), DataError, "for 2 systems"),
        (lambda: fusion.combine(rows(0, 2, 3), "mean", np.array([1, -1])), DataError, "not negative"),
        (
            lambda: fusion.segments_to_clips(rows(0, 3), np.array([0, 0, 2]), 3, "mean"),
            DataError,
            "1 of 3 clips have no",
        ),
        (lambda: fusion.segments_to_clips(rows(0, 3), np.array([0, 1, 2]), 2, "mean"), DataError, "from 0 to 2 for 2"),
        (lambda: fusion.segments_to_clips(rows(0, 3), np.array([0, 1]), 2, "mean"), DataError, "expected 3 integers"),
        (lambda: fusion.apply_learned("weighted", {"weights": np.ones(2)}, rows(0, 3, 4)), DataError, "3 systems"),
        (
            lambda: fusion.apply_learned("stack", {"weights": np.ones((9, 4))}, rows(0, 3, 4)),
            DataError,
            "other systems",
        ),
        (lambda: stack.fit(rows(0, 2, 3), np.array([0, 1, 2]), penalty=0), UsageError, "above 0"),
        (lambda: weighted.fit(rows(0, 2, 3), np.array([0, 1])), DataError, "for 3 rows"),
        (lambda: weighted.fit(rows(0, 2, 3), np.array([0, 1, 2]), penalty=-1), UsageError, "above 0"),
    ],
)
def test_refusals(call, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()


def test_importing_the_rules_is_light() -> None:
    code = "import sys, asctool.evaluation.fusion; print(*{'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
