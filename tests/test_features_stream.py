"""Features of recordings that come in pieces: the rows that the stages write, wherever the cuts fall."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asctool.dsp import noise
from asctool.errors import AsctoolError, DataError
from asctool.features import _plan, _stream
from asctool.storage import audio, settings
from asctool.storage.store import Store

RATE = 16000
DENOISE = {"sample_rate": None, **settings.as_dict(noise.Config())}
SHORT = {"sample_rate": 8000, "segment_frames": 40}


def loud_first(seconds: float, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Coloured noise with gaps (channel, sample); its loudest moment comes first, which fixes the denoiser's scale."""
    rng = np.random.default_rng(seed)
    samples = np.cumsum(rng.normal(size=(channels, round(seconds * rate))), 1, dtype=np.float32)
    samples = np.diff(samples, prepend=0) * (1 + np.sin(np.arange(samples.shape[1]) / rate * 3)) / 30
    samples[:, rate : rate + rate // 2] = 0
    samples[:, :200] = 0.9 * np.sign(rng.normal(size=200))
    return samples.astype(np.float32)


def cut(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Pieces of these sizes, over and over."""
    ends = np.cumsum(np.resize(sizes, samples.shape[-1] // min(sizes) + 1))
    return [part for part in np.split(samples, ends[ends < samples.shape[-1]], axis=-1) if part.shape[-1]]


def rows_of(plan: _plan.Plan, pieces: list[np.ndarray], rate: int) -> tuple[np.ndarray, np.ndarray]:
    waveforms, segments = _stream.channels_of(pieces[0], rate, plan.waveform), _stream.Segments(plan)
    out = [segments.push(waveforms(piece, last := i == len(pieces) - 1), last) for i, piece in enumerate(pieces)]
    return np.concatenate([starts for starts, _ in out]), np.concatenate([rows for _, rows in out])


@pytest.mark.parametrize("sizes", [[4000], [1, 700, 3], [RATE * 2]])
def test_noise_is_subtracted_from_pieces_as_from_the_whole(sizes: list[int]) -> None:
    samples = loud_first(6)[0]
    stream = noise.Subtraction(RATE, noise.Config())
    pieces = cut(samples, [max(1000, sizes[0]), *sizes])
    done = np.concatenate([*(stream.push(piece) for piece in pieces), stream.finish()])
    np.testing.assert_allclose(done, noise.subtract(samples, RATE, noise.Config()), atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 511, 512, 513, 3000])
def test_a_short_recording_comes_back_whole(length: int) -> None:
    samples = loud_first(1)[0][:length]
    stream = noise.Subtraction(RATE, noise.Config())
    done = np.concatenate([stream.push(samples), stream.finish()])
    np.testing.assert_allclose(done, noise.subtract(samples, RATE, noise.Config()), atol=1e-6)


def test_a_louder_piece_changes_only_the_scale() -> None:
    """Minimum statistics know no full scale: later pieces a thousand times as loud leave no trace in earlier ones."""
    samples = np.random.default_rng(0).normal(size=RATE * 4).astype(np.float32)
    power = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(samples, 512)[::256])).astype(np.float32) ** 2
    loud = np.concatenate([power, power * np.float32(1e6), power])
    track = noise.Tracker(0.016)
    pieces = np.concatenate([track(part) for part in np.array_split(loud, 7)])
    whole = noise.minimum_statistics(loud, 0.016)
    assert np.isfinite(pieces).all()
    assert (
        abs(10 * np.log10(pieces.sum(1) / whole.sum(1))).max() < 0.1
    )  # dB; decisions of single bins may fall otherwise


PLANS = {
    "logmel": ({"type": "logmel", **SHORT}, None, 1),
    "denoised": ({"type": "logmel", **SHORT}, DENOISE, 1),
    "denoised at another rate": ({"type": "logmel", **SHORT}, {**DENOISE, "sample_rate": 12000}, 1),
    "delta": ({"type": "logmel", **SHORT, "delta": True, "segment_hop_frames": 13}, DENOISE, 1),
    "weights": ({"type": "gammatone", **SHORT}, DENOISE, 1),
    "filters": ({"type": "gammatone", **SHORT, "method": "filterbank", "n_bands": 8}, None, 1),
    "gaps between segments": ({"type": "logmel", **SHORT, "segment_hop_frames": 57}, None, 1),
    "two channels": ({"type": "logmel", **SHORT, "channels": "own"}, DENOISE, 2),
    "mixed down": ({"type": "logmel", **SHORT}, DENOISE, 2),
    "waveform": ({"type": "waveform", "sample_rate": 8000, "segment_frames": 5000, "dtype": "int16"}, None, 1),
    "pre-emphasis": ({"type": "waveform", "sample_rate": 8000, "pre_emphasis": 0.97}, None, 2),
}


@pytest.mark.parametrize("case", PLANS)
def test_rows_do_not_depend_on_where_a_recording_is_cut(case: str) -> None:
    features, denoise, channels = PLANS[case]
    shape = (1, features.get("n_bands", 64), 40) if features["type"] != "waveform" else (1, 5000)
    plan = _plan.plan_of(features, denoise, shape)
    samples = loud_first(7.3, channels=channels)
    starts, whole = rows_of(plan, [samples], RATE)
    assert len(whole) > 3
    for sizes in ([RATE], [20_011, 300, 7], [50_000]):
        own_starts, rows = rows_of(plan, cut(samples, sizes), RATE)
        np.testing.assert_array_equal(own_starts, starts)
        unit = 1.0 if rows.dtype == np.int16 else 2e-4  # a step of 16 bits, where soxr rounds; log power
        assert rows.dtype == whole.dtype and rows.shape == whole.shape
        assert np.abs(rows.astype(float) - whole).max() <= unit


def test_a_recording_in_one_piece_gives_the_rows_of_the_stages_to_the_bit(corpus: Path) -> None:
    store = Store(corpus / "logmel")
    plan = _plan.plan_of(store.config, store.manifest["denoise"], (2, 64, 40))
    columns = store.columns("clip_id", "start", "array")
    for clip in store.tables.clips[:6]:
        samples, rate = audio.read(Path(clip.path))
        starts, rows = rows_of(plan, [samples], rate)
        own = columns["clip_id"] == clip.clip_id
        np.testing.assert_array_equal(starts, columns["start"][own])
        np.testing.assert_array_equal(rows, columns["array"][own])


def test_real_recordings_in_pieces_are_close_to_the_whole(esc10: Path) -> None:
    """Where the loudest piece comes late, a few bins of the denoised channel are judged otherwise."""
    paths = sorted((esc10 / "audio").iterdir())[:6]
    samples = np.concatenate([audio.read(path)[0] for path in paths], 1)
    rate = audio.read(paths[0])[1]
    plan = _plan.plan_of({"type": "logmel", "sample_rate": 22050}, DENOISE, (2, 64, 80))
    whole = rows_of(plan, [samples], rate)[1]
    pieces = rows_of(plan, cut(samples, [3 * rate]), rate)[1]
    off = np.abs(whole - pieces)
    assert off[:, 0].max() < 1e-4
    assert off[:, 1].mean() < 0.02 and np.quantile(off[:, 1], 0.9) < 0.05


def test_pieces_of_a_file_are_the_file(tmp_path: Path) -> None:
    samples = loud_first(1.7, channels=2)
    for name, subtype in (
        ("a.wav", "PCM_16"),
        ("b.wav", "PCM_24"),
        ("c.wav", "FLOAT"),
        ("d.flac", "PCM_24"),
        ("e.ogg", None),
    ):
        soundfile.write(tmp_path / name, samples.T, RATE, subtype)
        whole, rate = audio.read(tmp_path / name)
        pieces = list(audio.pieces(tmp_path / name, 0.3))
        assert [last for _, _, last in pieces] == [False] * 5 + [True]
        assert {piece_rate for _, piece_rate, _ in pieces} == {rate}
        np.testing.assert_array_equal(np.concatenate([piece for piece, _, _ in pieces], 1), whole)


def test_a_file_whose_end_is_broken_is_told_in_the_end(faults: Path) -> None:
    for name in ("md5_wrong.flac", "trunc50_wav.wav", "inf_one.wav"):
        with pytest.raises(DataError, match=name):
            list(audio.pieces(faults / "audio" / name, 0.1))


@pytest.mark.parametrize(
    "wrong", [{"n_bands": 10**9}, {"sample_rate": 7}, {"frame_seconds": 1e9}, {"type": "os"}, {"hop_samples": 2**40}]
)
def test_plans_that_no_stage_makes_are_refused_before_they_take_memory(wrong: dict[str, object]) -> None:
    with pytest.raises(AsctoolError):
        _plan.plan_of({"type": "logmel", **SHORT, **wrong}, None, (1, 64, 40))
