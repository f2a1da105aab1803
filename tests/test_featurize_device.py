"""featurize in torch: the same store as on the CPU but for the last bits, from batches of whatever lengths there are.

Tolerance: issue and design ask for 1e-3 of the logarithm above the floor; both transform in float32.
"""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import asctool

from asctool.cli import run
from asctool.errors import UsageError
from asctool.stages import featurize as stage
from asctool.storage.store import Store

RATE = 16000
OPTIONS = {"sample_rate": RATE, "segment_frames": 20, "channels": "own"}
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_CUDA)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two channels; runs of equal lengths, one shorter than a segment, one at another rate, one of silence."""
    base, rng = tmp_path_factory.mktemp("device"), np.random.default_rng(0)
    lengths = (1.0, 1.0, 1.0, 1.7, 0.2, 0.2, 1.0, 1.0)
    for number, seconds in enumerate(lengths):
        rate = 22050 if number == 6 else RATE
        level = 0.0 if number == 7 else 10.0 ** -(number % 4)
        (base / "audio" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        path = base / "audio" / "ab"[number % 2] / f"{number}.wav"
        soundfile.write(path, level * rng.uniform(-1, 1, (round(seconds * rate), 2)), rate, subtype="FLOAT")
    asctool("prep", "folder", base / "audio", base / "data", "--set", "n_folds=2", "--jobs", 1, "--quiet")
    asctool("denoise", base / "data", base / "denoised", "--jobs", 1, "--quiet")
    return base / "data"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("feature", ["logmel", "gammatone"])
def test_torch_makes_the_same_store(
    feature: str, device: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "BATCH_SAMPLES", 5 * RATE)  # two clips of one second at once, not three
    own, config = stage.configure(feature, OPTIONS)
    batches: list[tuple[int, ...]] = []
    batched = config.module.extract_batch
    monkeypatch.setattr(
        config.module, "extract_batch", lambda x, *rest: batches.append(tuple(x.shape)) or batched(x, *rest)
    )
    common = (own, config, data.parent / "denoised", True, 1)
    stage.featurize(data, tmp_path / "numpy", *common)
    assert not batches
    stage.featurize(data, tmp_path / "torch", *common, device=torch.device(device))
    assert max(rows for rows, _ in batches[1:]) == 4  # two clips of two channels would be eight with the denoised
    one, two = Store(tmp_path / "numpy"), Store(tmp_path / "torch")
    assert one.manifest["fingerprint"] == two.manifest["fingerprint"]
    a, b = (store.columns("clip_id", "start", "array") for store in (one, two))
    assert a["clip_id"].tolist() == b["clip_id"].tolist() and a["start"].tolist() == b["start"].tolist()
    assert a["array"].shape == b["array"].shape and a["array"].shape[1:] == (8, 64, 20)
    floor = np.log(config.config.floor_power)
    assert (a["array"][:, :4] > floor + 1).mean() > 0.5
    assert np.abs(a["array"] - b["array"]).max() < 1e-3


@pytest.mark.parametrize(
    ("feature", "more", "message"),
    [
        ("waveform", {}, "waveform has nothing to compute there; use --device cpu"),
        ("gammatone", {"method": "filterbank"}, "'filterbank' runs on the CPU only"),
    ],
)
def test_what_only_numpy_computes_is_refused(
    feature: str, more: dict[str, str], message: str, data: Path, tmp_path: Path
) -> None:
    own, config = stage.configure(feature, OPTIONS | more)
    with pytest.raises(UsageError, match=message):
        stage.featurize(data, tmp_path / "out", own, config, device=torch.device("cpu"))
    assert list(tmp_path.iterdir()) == []


def test_auto_is_cuda_where_it_helps_and_numpy_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    logmel, waves = (stage.configure(name, OPTIONS) for name in ("logmel", "waveform"))
    assert stage.choose_device("cpu", *logmel) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert stage.choose_device("auto", *logmel) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert stage.choose_device("auto", *waves) is None


@pytest.mark.parametrize(("device", "expected", "words"), [("gpu", 2, "cuda:n"), ("cuda:99", 4, "CUDA devices here")])
def test_devices_that_are_not_there(
    device: str, expected: int, words: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--type", "logmel", "--set", f"sample_rate={RATE}", "--device", device]
    assert run(["featurize", str(data), str(tmp_path / "out"), *options]) == expected
    assert words in capsys.readouterr().err and list(tmp_path.iterdir()) == []
