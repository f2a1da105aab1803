"""What several tests share: a small corpus made once, and the chain run over it through the command line."""

import os
import signal
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # networks this small wait longer for a second thread than it helps

from asctool.cli import run

# A shell that runs the tests in the background has them ignore SIGINT, and what they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def esc10() -> Path:
    """The real ESC-10, where it lies beside the checkout."""
    if not (SHARED / "esc10" / "meta" / "esc50.csv").is_file():
        pytest.skip("ESC-10 does not lie in ../shared/esc10")
    return SHARED / "esc10"


@pytest.fixture(scope="session")
def faults() -> Path:
    """Examples of broken audio and tables, where they lie beside the checkout."""
    if not (SHARED / "faults").is_dir():
        pytest.skip("examples of faults do not lie in ../shared/faults")
    return SHARED / "faults"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one chain come first: two workers begin with a half each, and one of them alone then makes the chain."""
    items.sort(key=lambda item: "chain" not in getattr(item, "fixturenames", ()))


def asctool(*arguments: object) -> None:
    """Run a command line that must succeed."""
    assert run([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of a small synthetic corpus, its denoised store and log-mel features of two channels."""
    base = tmp_path_factory.mktemp("corpus")
    settings = ("n_clips_per_class=4", "n_recordings_per_class=4", "seconds=2.5", "sample_rate=16000", "n_folds=2")
    given = [word for setting in settings for word in ("--set", setting)]
    asctool("prep", "synthetic", base / "audio", base / "data", *given, "--jobs", 1, "--quiet")
    asctool("denoise", base / "data", base / "denoised", "--jobs", 1, "--quiet")
    asctool(
        *("featurize", base / "data", base / "logmel", "--type", "logmel", "--denoised", base / "denoised"),
        *("--set", "sample_rate=16000", "--set", "segment_frames=40", "--jobs", 1, "--quiet"),
    )
    return base


SMALL = ("--set", "filters=[4, 8, 8]", "--set", "hidden=8", "--set", "attention_size=4", "--set", "learning_rate=0.01")


@pytest.fixture(scope="session")
def trained(corpus: Path) -> Path:
    """A small Att-CRNN trained on fold 1 of the corpus for two epochs."""
    asctool("train", corpus / "logmel", corpus / "run", "--model", "att_crnn", "--fold", 1, "--epochs", 2, *SMALL)
    return corpus / "run"
