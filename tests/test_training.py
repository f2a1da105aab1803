"""Training: what is drawn, what is learned, and that it goes on exactly where it was stopped."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, asctool
from hypothesis import given
from hypothesis import strategies as st
from small import shape_of, small
from torch import Tensor, nn

from asctool import models, registry
from asctool.cli import run as run_command
from asctool.errors import DataError, UsageError
from asctool.models._layers import InputShape
from asctool.storage.run import RunWriter
from asctool.training import capture, checkpoint, epochs, inference
from asctool.training.examples import Examples, normalization_of
from asctool.training.optimizers import kl_divergence
from asctool.training.settings import Settings, learning_rate
from asctool.training.trainer import Trainer

SHAPE = InputShape(1, 64, 8)
CPU = torch.device("cpu")


MONITOR = ("--monitor", "test")


def settings(**changes: object) -> Settings:
    return Settings(**{"epochs": 4, "batch_size": 8, "learning_rate": 0.01, "precision": "float32", **changes})  # type: ignore[arg-type]


def examples(n_rows: int = 40, n_classes: int = 4) -> Examples:
    """Rows whose class is the group of bands that is loud."""
    rng = np.random.default_rng(0)
    classes = np.arange(n_rows) % n_classes
    features = rng.normal(size=(n_rows, 1, 64, 8)).astype(np.float32)
    for row, index in enumerate(classes):
        features[row, 0, 16 * index : 16 * index + 16] += 3
    return Examples(features, np.eye(n_classes, dtype=np.float32)[classes], np.arange(n_rows))


def trainer(data: Examples, **changes: object) -> Trainer:
    torch.manual_seed(0)
    config = {"filters": [4, 8, 8], "hidden": 8, "attention_size": 4, "mask_scale": 0.0}
    network = models.build("att_crnn", config, SHAPE, data.targets.shape[1])
    return Trainer(network, data, normalization_of(data.features), settings(**changes), CPU)


@pytest.mark.parametrize(("mix", "n_epochs"), [("none", 25), ("between_class", 60)])
def test_it_learns_what_is_there_to_learn(mix: str, n_epochs: int) -> None:
    data = examples()
    run = trainer(data, mix=mix, epochs=n_epochs)
    losses = [run.run_epoch().loss for _ in range(n_epochs)]
    posteriors = inference.compute(run.network, data.features, normalization_of(data.features), "posterior", CPU)
    assert losses[-1] < 0.5 * losses[0]
    assert (posteriors.argmax(1) == data.classes).mean() == 1


@pytest.mark.parametrize("mix", ["none", "between_class", "mixup"])
def test_going_on_from_a_checkpoint_is_the_same_to_the_bit(mix: str) -> None:
    data = examples()
    whole, first, second = (trainer(data, mix=mix) for _ in range(3))
    for _ in range(4):
        whole.run_epoch()
    for _ in range(2):
        first.run_epoch()
    torch.manual_seed(99)  # whatever else has happened in the process
    second.restore(checkpoint.decode(checkpoint.encode(first.state()), CPU))
    for _ in range(2):
        second.run_epoch()
    assert checkpoint.weights_hash(second.network) == checkpoint.weights_hash(whole.network)


@pytest.mark.parametrize("part", ["network", "optimizer", "epoch"])
def test_every_part_of_the_state_is_needed(part: str) -> None:
    data = examples()
    whole, first, second = (trainer(data, mix="between_class") for _ in range(3))
    for _ in range(4):
        whole.run_epoch()
    for _ in range(2):
        first.run_epoch()
    second.restore(first.state() | {part: trainer(data).state()[part]})
    for _ in range(2):
        second.run_epoch()
    assert checkpoint.weights_hash(second.network) != checkpoint.weights_hash(whole.network)


@pytest.mark.parametrize("begun", [(), MONITOR])
def test_monitoring_stays_as_it_was_begun(
    begun: tuple[str, ...],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Or the history would have figures of some epochs only."""

    def stopped(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    command = ("train", corpus / "logmel", tmp_path / "run", "--model", "cnn", "--fold", 1, "--epochs", 1, *SMALL[:2])
    first, other = ([str(word) for word in (*command, *more, "--quiet")] for more in (begun, () if begun else MONITOR))
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "finish", stopped)
        assert run_command(first) == 130
    capsys.readouterr()
    assert run_command(other) == 2
    how = ("with", "without") if begun else ("without", "with")
    assert f"was begun {how[0]} --monitor test, and this is {how[1]}" in capsys.readouterr().err
    asctool(*first)


def test_a_checkpoint_with_code_in_it_is_refused() -> None:
    import io

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("this must never run",))

    from asctool.errors import IntegrityError

    buffer = io.BytesIO()
    torch.save({"weights": Payload()}, buffer)
    with pytest.raises(IntegrityError, match="cannot be read"):
        checkpoint.decode(buffer.getvalue(), CPU)
    with pytest.raises(IntegrityError, match="cannot be read"):
        checkpoint.decode(b"no checkpoint", CPU)


def test_between_class_partners_are_uniform_over_rows_of_other_classes() -> None:
    module = registry.load("transforms", "between_class")
    classes = np.array([0, 1, 1, 2, 2, 2])
    rng = np.random.default_rng(0)
    counts = np.zeros((6, 6))
    n_draws = 4000
    for _ in range(n_draws):
        drawn = module.draw(rng, classes, module.Config())
        counts[np.arange(6), drawn.partners] += 1
        assert ((drawn.ratios >= 0) & (drawn.ratios < 1)).all()
    other = classes[:, None] != classes[None, :]
    assert (counts[~other] == 0).all()
    expected = other / other.sum(1, keepdims=True)
    deviation = np.sqrt(n_draws * expected * (1 - expected))
    assert (np.abs(counts - n_draws * expected) <= 4.5 * deviation + 1e-9).all()


@given(st.floats(0, 1), st.integers(0, 2**16))
def test_between_class_keeps_the_energy_of_unrelated_rows(ratio: float, seed: int) -> None:
    module = registry.load("transforms", "between_class")
    rng = np.random.default_rng(seed)
    first, second = np.linalg.qr(rng.normal(size=(50, 2)))[0].T  # orthonormal: unrelated, of energy one
    assert np.linalg.norm(module.apply(first, second, ratio)) == pytest.approx(1)
    assert module.apply_targets(np.array([1.0, 0]), np.array([0, 1.0]), ratio).sum() == pytest.approx(1)


def test_mixing_needs_two_classes() -> None:
    with pytest.raises(DataError, match="two classes at least"):
        epochs.draw(settings(mix="between_class"), 0, np.zeros(5, int))


def test_an_epoch_has_every_row_once_or_as_many_as_asked() -> None:
    classes = np.arange(10) % 2
    assert sorted(epochs.draw(settings(), 3, classes).rows) == list(range(10))
    rows = epochs.draw(settings(rows_per_epoch=25), 3, classes).rows
    assert len(rows) == 25 and np.bincount(rows).min() >= 2
    assert not np.array_equal(epochs.draw(settings(), 3, classes).rows, epochs.draw(settings(), 4, classes).rows)
    assert epochs.batch_ranges(17, 8) == [(0, 8), (8, 16)]  # a last batch of one row has no statistics


@pytest.mark.parametrize("mix", epochs.MIXES)
def test_a_row_that_comes_again_mixes_anew(mix: str) -> None:
    """And the first time as it does in an epoch of every row once, whatever that leaves out."""
    classes = np.arange(10) % 2
    again = epochs.draw(settings(mix=mix, rows_per_epoch=25), 3, classes)
    assert again.partners is not None and again.ratios is not None and len(set(again.ratios)) == 25
    assert all(len(set(again.partners[again.rows == row])) > 1 for row in (0, 5))
    whole, part = (epochs.draw(settings(mix=mix, rows_per_epoch=n), 3, classes) for n in (0, 7))
    module = registry.load("transforms", mix)
    generator = np.random.default_rng([0, 3])
    rows = generator.permutation(10)
    drawn = module.draw(generator, classes, module.Config())
    for found, n_rows in ((whole, 10), (part, 7)):
        np.testing.assert_array_equal(found.rows, rows[:n_rows])
        np.testing.assert_array_equal(found.partners, drawn.partners[rows[:n_rows]])
        np.testing.assert_array_equal(found.ratios, drawn.ratios[rows[:n_rows]].astype(np.float32))


def test_kl_divergence_is_scipys() -> None:
    from scipy.special import rel_entr

    rng = np.random.default_rng(0)
    targets = rng.dirichlet(np.ones(4), 6)
    targets[0] = [1, 0, 0, 0]
    logits = rng.normal(size=(6, 4))
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = rel_entr(targets, posteriors).sum(1)
    got = kl_divergence(torch.tensor(logits, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_normalization_is_that_of_numpy_and_survives_a_constant_channel() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(300, 2, 5, 7)) * 3 - 15).astype(np.float16)
    features[:, 1] = -23
    found = normalization_of(features)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found.deviation, [exact[:, 0].std(), 1.0], rtol=1e-9)
    with pytest.raises(DataError, match="not finite"):
        normalization_of(np.full((2, 1, 3), np.nan, np.float32))


def test_learning_rates_by_epoch() -> None:
    step = settings(epochs=300, schedule="step", drop_at=(1 / 3, 2 / 3))
    assert [learning_rate(step, epoch) for epoch in (0, 99, 100, 200)] == pytest.approx([0.01, 0.01, 0.001, 0.0001])
    cosine = settings(epochs=10, schedule="cosine")
    assert learning_rate(cosine, 0) == 0.01 and learning_rate(cosine, 5) == pytest.approx(0.005)
    assert learning_rate(settings(), 3) == 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0: must be above 0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"batch_size": 1}, "needs two rows"),
        ({"patience": 3}, "needs --select valid"),
        ({"drop_at": (1.5,)}, "between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(**changes)


def test_weight_decay_is_that_of_weights_alone() -> None:
    run = trainer(examples(), weight_decay=0.1)
    decays = {p.ndim > 1: group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
    assert decays == {True: 0.1, False: 0.0}


def test_bfloat16_stays_near_float32() -> None:
    data = examples()
    run = trainer(data)
    run.run_epoch()
    statistics = normalization_of(data.features)
    exact, rounded = (
        inference.compute(run.network, data.features, statistics, "posterior", CPU, bfloat16)
        for bfloat16 in (False, True)
    )
    assert np.abs(exact - rounded).max() < 2e-2


@pytest.mark.parametrize("name", registry.names("models"))
def test_posteriors_of_one_network_agree_however_they_are_computed(name: str) -> None:
    """Few rows at a time or all together, channels last or not: within 1e-5; in bfloat16 within 2e-2."""
    torch.manual_seed(0)
    shape = shape_of(name)
    network = models.build(name, small(name), shape, 5).eval()
    rows = np.random.default_rng(0).normal(size=(6, *shape.row)).astype(np.float32)
    rows *= np.geomspace(0.2, 20, 6, dtype=np.float32).reshape(6, *[1] * len(shape.row))  # or all would look alike
    statistics = normalization_of(rows)
    whole = inference.compute(network, rows, statistics, "posterior", CPU)
    one_by_one = [inference.compute(network, rows[i : i + 1], statistics, "posterior", CPU) for i in range(6)]
    np.testing.assert_allclose(np.concatenate(one_by_one), whole, atol=1e-5)
    last = inference.compute(network.to(memory_format=torch.channels_last), rows, statistics, "posterior", CPU)
    np.testing.assert_allclose(last, whole, atol=1e-5)
    rounded = inference.compute(network, rows, statistics, "posterior", CPU, bfloat16=True)
    np.testing.assert_allclose(rounded, whole, atol=2e-2)
    assert np.ptp(whole, 0).max() > 1e-4


def statistics_of(network: nn.Module) -> list[Tensor]:
    return [value.clone() for name, value in network.named_buffers() if "running" in name]


def test_frozen_batch_normalisation_keeps_its_statistics_and_still_learns() -> None:
    data = examples()
    frozen, free = (trainer(data, freeze_batchnorm=freeze) for freeze in (True, False))
    before, weights = statistics_of(frozen.network), [p.detach().clone() for p in frozen.network.parameters()]
    losses = [frozen.run_epoch().loss for _ in range(4)]
    free.run_epoch()
    assert all(map(torch.equal, before, statistics_of(frozen.network)))
    assert not any(map(torch.equal, before, statistics_of(free.network)))
    assert not any(map(torch.equal, weights, frozen.network.parameters()))  # its scales and shifts among them
    assert losses[-1] < losses[0]


# A captured step. What a graph would do is done by functions here: graphs are CUDA's alone.


def slower(plain: capture.Compute, tensors: tuple[Tensor, ...]) -> capture.Compute:
    """A way that gives the same, from copies at fixed places, as a graph does."""
    places = tuple(tensor.clone() for tensor in tensors)
    plain(*places)  # as warming up does: it moves batch statistics and draws dropout

    def replay(*given: Tensor) -> Tensor:
        for place, tensor in zip(places, given):
            place.copy_(tensor)
        return plain(*places)

    return replay


def broken(plain: capture.Compute, tensors: tuple[Tensor, ...]) -> capture.Compute:
    plain(*tensors)
    raise RuntimeError("operation not permitted when stream is capturing\nand a long story")


def stale(plain: capture.Compute, tensors: tuple[Tensor, ...]) -> capture.Compute:
    """A way that forgets to look at the batch, as one without copies would."""
    return lambda *given: plain(given[0].flip(0), *given[1:])


def captured_run(way: Callable[..., capture.Compute] | None, **changes: object) -> Trainer:
    run = trainer(examples(), mix="between_class", **changes)
    if way is not None:
        run.gradients = capture.Captured(run.gradients, way, run.network, CPU)
    for _ in range(2):
        run.run_epoch()
    return run


def test_a_captured_step_trains_the_same_network(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def counted(plain: capture.Compute, tensors: tuple[Tensor, ...]) -> capture.Compute:
        fast = slower(plain, tensors)
        return lambda *given: calls.append(len(given[0])) or fast(*given)

    plain, run = captured_run(None, rows_per_epoch=20), captured_run(counted, rows_per_epoch=20)
    assert calls == [8] + [8, 8] * 2  # one to compare; the last batch of an epoch, of four rows, goes the plain way
    assert checkpoint.weights_hash(run.network) == checkpoint.weights_hash(plain.network)
    assert not caplog.records


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (broken, r"\(operation not permitted when stream is capturing\)"),
        (stale, r"\(its gradient is \S+ of the norm away\)"),
        (None, r"\(graphs are CUDA's\)"),
    ],
)
def test_a_step_that_cannot_be_captured_is_computed_plainly_and_says_why(
    way: Callable[..., capture.Compute] | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = captured_run(None)
    run = captured_run(way or capture.recorded(plain.network, CPU))
    assert checkpoint.weights_hash(run.network) == checkpoint.weights_hash(plain.network)
    (record,) = caplog.records  # once, not at every step
    assert record.levelname == "WARNING" and re.search(reason, record.getMessage())
