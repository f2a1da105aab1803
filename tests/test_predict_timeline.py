"""A long recording's time line: told while it is read, and the same as when it is told at the end."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import asctool

from asctool.stages import predict as stage
from asctool.storage.bundle import Step
from asctool.training import portable
from asctool.training.hearing import Heard, Recording, Stretch
from asctool.training.predictor import Piece, Predictor

RATE = 16000
SMALL = ("--set", "filters=[4, 8, 8]", "--set", "hidden=8", "--set", "attention_size=4", "--set", "learning_rate=0.01")


@pytest.fixture(scope="module")
def models(corpus: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two networks whose segments differ in length and hop."""
    base = tmp_path_factory.mktemp("timeline")
    cut = ("--set", "segment_frames=56", "--set", "segment_hop_frames=24")
    options = ("--type", "gammatone", "--set", "sample_rate=16000", *cut, "--jobs", 1, "--quiet")
    asctool("featurize", corpus / "data", base / "gammatone", *options)
    words = ("--model", "att_crnn", "--fold", 2, "--epochs", 1, *SMALL, "--quiet")
    asctool("train", base / "gammatone", base / "run", *words)
    return [trained, base / "run"]


def pieces(seconds: int, seed: int, at_once: int = 8) -> Iterator[Piece]:
    samples = np.random.default_rng(seed).normal(size=(1, RATE * seconds)).astype(np.float32) / 9
    samples[:, : RATE * seconds // 2] *= 0.05
    for first in range(0, seconds, at_once):
        yield samples[:, first * RATE : (first + at_once) * RATE], RATE, first + at_once >= seconds


def told(predictor: Predictor, recordings: list[tuple[int, int]]) -> list[list[Heard | Stretch]]:
    """What comes of each recording (seconds, seed), in order."""
    out: list[list[Heard | Stretch]] = [[]]
    for part in predictor.hear_each([pieces(*one) for one in recordings], in_stretches=True):
        assert isinstance(part, Stretch)
        out[-1].append(part)
        if isinstance(part, Heard):
            out.append([])
    return out[:-1]


@pytest.mark.parametrize("which", [[0], [1], [0, 1], [1, 0]])
def test_stretches_are_the_line_of_the_whole(which: list[int], models: list[Path]) -> None:
    predictor = stage.open_models([models[i] for i in which], "cpu")
    recordings = [(3, 0), (150, 1), (2, 2), (5, 3), (90, 4)]
    found = told(predictor, recordings)
    assert [len(parts) > 1 for parts in found] == [seconds > 80 for seconds, _ in recordings]
    for parts, recording in zip(found, recordings):
        expected = predictor.hear(pieces(*recording))
        np.testing.assert_array_equal(np.concatenate([part.starts for part in parts]), expected.starts)
        np.testing.assert_allclose(np.concatenate([part.ends for part in parts]), expected.ends)
        np.testing.assert_allclose(np.concatenate([part.timeline for part in parts]), expected.timeline, atol=2e-5)
        whole = parts[-1]
        assert isinstance(whole, Heard)
        np.testing.assert_allclose(whole.posterior, expected.posterior, atol=1e-3)


def unlike(kind: str, rows: np.ndarray) -> np.ndarray:
    """Posteriors in which any two segments differ much: what is behind the point of their level."""
    share = rows.mean((1, 2, 3), dtype=float) % 0.1 * 10
    return np.stack([share, 1 - share, *[np.zeros(len(rows))] * 4], 1).astype(np.float32)


TWO = (Step("network", "a", 0, 1), Step("network", "b", 1, 1))
FUSED = (*TWO, Step("network", "c", 0, 1), Step("fuse", "b + c", of=(1, 2), rule="product", level="clip"))


@pytest.mark.parametrize(("deaf", "steps", "results"), [(1, TWO, (0, 1)), (0, TWO, (1, 0)), (1, FUSED, (0, 3))])
def test_a_silence_that_a_network_leaves_out_is_told_when_its_end_is_known(
    deaf: int, steps: tuple[Step, ...], results: tuple[int, ...], models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second half is nearer to what comes then. Of what is fused, neighbours have neighbours of their own."""
    monkeypatch.setattr("asctool.training.predictor.BATCH_ROWS", 8)  # told more often
    predictor = Predictor(replace(portable.gather(models), steps=steps, results=results), "cpu")
    for number, network in enumerate(predictor.networks):
        monkeypatch.setattr(network, "compute", unlike)
        if number == deaf:
            network.plan = replace(network.plan, silence_db=-60.0)
    samples = np.random.default_rng(0).normal(size=(1, 100 * RATE)).astype(np.float32) / 9
    samples[:, 3 * RATE : 90 * RATE] *= 1e-4
    cut = [(samples[:, 8 * i * RATE : 8 * (i + 1) * RATE], RATE, i == 12) for i in range(13)]
    expected = predictor.hear(cut)
    parts = list(predictor.hear_each([cut], in_stretches=True))
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([part.starts for part in parts]), expected.starts)
    np.testing.assert_allclose(np.concatenate([part.timeline for part in parts]), expected.timeline, atol=2e-5)


def test_the_first_segments_come_before_the_second_piece_is_read(models: list[Path]) -> None:
    read = []

    def watched() -> Iterator[Piece]:
        for number, piece in enumerate(pieces(64, 0)):
            read.append(number)
            yield piece

    stretches = stage.open_models(models, "cpu").hear_each([watched()], in_stretches=True)
    first = next(stretches)
    assert isinstance(first, Stretch) and len(first.starts) and read == [0]
    assert max(first.ends) <= 8


def test_what_waits_to_be_told_does_not_grow(models: list[Path]) -> None:
    """The window of rows that later segments may need, while all that was told is behind it."""
    predictor = stage.open_models(models, "cpu")
    recording = Recording(predictor)
    waiting = []
    for samples, rate, is_last in pieces(120, 0):
        recording.push(samples, rate, is_last)
        predictor._compute_waiting([recording])
        list(recording.stretch())
        waiting.append(max(len(part.rows) for part in recording._leaves(recording.told.of_leaf).values()))
    assert max(waiting) <= 4
