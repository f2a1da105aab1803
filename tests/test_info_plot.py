"""info --plot: what is drawn, over which axes, and that a sound is seen where it is."""

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import asctool

from asctool.cli import run
from asctool.features import _figure
from asctool.stages import info as stage
from asctool.storage.store import Store

RATE = 16000


@pytest.fixture(scope="module")
def beep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, a tone of 2 kHz from 1.0 to 1.5 s, some noise."""
    seconds = np.arange(2 * RATE) / RATE
    tone = np.where((seconds >= 1) & (seconds < 1.5), 0.5 * np.sin(2 * np.pi * 2000 * seconds), 0)
    path = tmp_path_factory.mktemp("beep") / "beep.wav"
    soundfile.write(path, tone + 1e-3 * np.random.default_rng(0).normal(size=2 * RATE), RATE)
    return path


def panels(figure: Any) -> dict[str, Any]:
    """Axes by title; colour bars have none."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def hz_of(axes: Any, place: float) -> float:
    """The frequency at a height, read off the tick labels as a person would."""
    labels = [float(label.get_text()) for label in axes.get_yticklabels()]
    places, labels = zip(*sorted(zip(axes.get_yticks(), labels)))
    return float(np.interp(place, places, labels))


def test_a_recording_is_drawn_in_five_panels(beep: Path) -> None:
    figure = stage.figure_of(beep)
    drawn = panels(figure)
    assert [title.split(" (")[0] for title in drawn] == [
        "waveform", "denoised waveform", "log-mel", "gammatone", "delta of log-mel",
    ]  # fmt: skip
    *upper, lowest = drawn.values()
    assert lowest.get_xlabel() == "time (s)" and not any(axes.get_xlabel() for axes in upper)
    assert all(axes.get_xlim() == (0, 2) for axes in drawn.values())
    labels = [axes.get_ylabel() for axes in drawn.values()]
    assert labels == ["amplitude"] * 2 + ["frequency (Hz)"] * 3
    bars = [axes.get_ylabel() for axes in figure.axes if axes not in drawn.values()]
    assert bars == ["level (dB)"] * 2 + ["dB a frame"]
    assert upper[0].get_ylim() == upper[1].get_ylim()  # levels can be compared


def test_a_tone_is_seen_where_it_is(beep: Path) -> None:
    for title, axes in panels(stage.figure_of(beep)).items():
        if title not in ("log-mel", "gammatone"):
            continue
        image = axes.images[0]
        band, frame = np.unravel_index(np.argmax(image.get_array()), image.get_array().shape)
        left, right, bottom, top = image.get_extent()
        n_bands, n_frames = image.get_array().shape
        place = bottom + (band + 0.5) * (top - bottom) / n_bands
        assert hz_of(axes, place) == pytest.approx(2000, rel=0.05)
        assert 1.0 < left + (frame + 0.5) * (right - left) / n_frames < 1.5
        assert float(image.get_array().max()) == pytest.approx(-12.04, abs=1.5)  # of a sine of half full scale: 1/16


def test_labels_of_frequencies_do_not_run_into_each_other(beep: Path) -> None:
    figure = stage.figure_of(beep)
    figure.canvas.draw()
    for axes in panels(figure).values():
        boxes = sorted((label.get_window_extent().extents for label in axes.get_yticklabels()), key=lambda box: box[1])
        assert all(below[3] <= above[1] for below, above in pairwise(boxes))


def test_the_picture_is_a_png_and_the_facts_are_told(
    beep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asctool("info", beep, "--plot", tmp_path / "out.png", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["sample_rate"], told["duration"], told["channels"]) == ("audio", RATE, 2.0, 1)
    data = (tmp_path / "out.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and width > 800 and height > 800


def test_digital_silence_is_drawn(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros((RATE, 2)), RATE)
    asctool("info", tmp_path / "silence.wav", "--plot", tmp_path / "out.svg", "--quiet")
    assert b"<svg" in (tmp_path / "out.svg").read_bytes()


def test_a_clip_of_a_data_directory(corpus: Path) -> None:
    tables = Store(corpus / "logmel").tables
    first, last = tables.clips[0], tables.clips[-1]
    assert stage.figure_of(corpus / "data").get_suptitle().startswith(f"{first.clip_id}: {first.labels[0]}")
    figure = stage.figure_of(corpus / "data", last.clip_id)
    assert figure.get_suptitle() == f"{last.clip_id}: {last.labels[0]} (16000 Hz)"
    assert len(panels(figure)) == 5


def test_a_store_shows_its_channels_where_its_segments_lie(corpus: Path) -> None:
    store = Store(corpus / "logmel")
    clip = store.tables.clips[-1].clip_id
    columns = store.columns("clip_id", "start", "array")
    own = columns["clip_id"] == clip
    drawn = panels(stage.figure_of(corpus / "logmel", clip))
    assert list(drawn) == ["logmel, recording", "logmel, denoised"]
    for channel, axes in enumerate(drawn.values()):
        assert len(axes.images) == own.sum() == 3
        for image, start, array in zip(axes.images, columns["start"][own], columns["array"][own]):
            assert image.get_extent()[0] == pytest.approx(start - 0.0125)
            np.testing.assert_allclose(image.get_array(), array[channel] * 10 / np.log(10), rtol=1e-5)


def test_a_store_of_waveforms(corpus: Path) -> None:
    drawn = panels(stage.figure_of(corpus / "denoised"))
    assert list(drawn) == ["denoised waveform"]
    assert drawn["denoised waveform"].get_xlim() == (0, 2.5)


def labels(axes: Any) -> list[str]:
    """What the legend of a panel says."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_overlapping_segments_are_drawn_as_their_mean() -> None:
    weights = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    panel = _figure.Attention("attention", weights, [0.0, 0.5, 3.0], piece_seconds=1.0)
    axes = panels(_figure.draw("a clip", [panel], 5.0, "left out"))["attention"]
    assert axes.get_xlim() == (0, 5)
    assert labels(axes) == ["left out", "each of 3 segments", "mean over segments", "equal weights"]
    *segments, mean = (patch for patch in axes.patches if hasattr(patch, "get_data"))
    np.testing.assert_allclose(mean.get_data().edges, [0, 0.5, 1, 1.5, 3, 3.5, 4])
    np.testing.assert_allclose(mean.get_data().values, [0.2, 0.7, 0.4, np.nan, 0.9, 0.1])
    assert [patch.get_data().values.tolist() for patch in segments] == weights.tolist()
    assert all(patch.get_linewidth() < mean.get_linewidth() for patch in segments)
    gaps = [patch for patch in axes.patches if hasattr(patch, "get_x")]
    assert [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in gaps] == [(1.5, 3), (4, 5)]
    for patch in (*segments, mean):  # none falls to zero where it ends
        assert patch.get_path().vertices[:, 1].min() >= 0.1


@pytest.mark.parametrize("starts", [[0.5], [0.0, 1.0], [0.3, 1.3 - 1e-15]])  # the last two meet but for rounding
def test_segments_that_do_not_overlap_are_one_line(starts: list[float]) -> None:
    weights = np.full((len(starts), 4), 0.25)
    axes = panels(_figure.draw("a clip", [_figure.Attention("attention", weights, starts, 1.0)], 2.0))["attention"]
    assert labels(axes)[-2:] == ["weights", "equal weights"]
    assert len([patch for patch in axes.patches if hasattr(patch, "get_data")]) == 1
    assert ("no segment" in labels(axes)) == (starts[0] > 0)


def test_attention_of_a_store_is_drawn_below_what_the_network_saw(trained: Path, corpus: Path, tmp_path: Path) -> None:
    words = ("--kind", "attention", "--system", "a name, fold 1")
    asctool("extract", trained, corpus / "logmel", tmp_path / "attention", *words)
    store = Store(tmp_path / "attention")
    clip = store.tables.clips[-1]
    figure = stage.figure_of(tmp_path / "attention", clip.clip_id)
    assert figure.get_suptitle() == f"attention of a name, fold 1\n{clip.clip_id}: {clip.labels[0]}, 3 segments"
    above, below = panels(figure).values()
    assert above.get_title(loc="left") == "logmel, recording" and above.get_xlim() == below.get_xlim() == (0, 2.5)
    assert labels(below) == ["each of 3 segments", "mean over segments", "equal weights"]
    columns = store.columns("clip_id", "start", "array")
    first, second, third = columns["array"][columns["clip_id"] == clip.clip_id]  # from 0, 1 and 1.5 s
    n_half = len(first) // 2
    expected = [*first, *second[:n_half], *(second[n_half:] + third[:n_half]) / 2, *third[n_half:]]
    np.testing.assert_allclose(below.patches[-1].get_data().values, expected, rtol=1e-5)


def test_silence_that_was_left_out_is_told_and_the_whole_clip_is_shown(tmp_path: Path) -> None:
    """Of 5 s with a tone from 2.1 to 2.9 s, segments of 1 s are left that begin at 1.5, 2 and 2.5 s."""
    seconds = np.arange(5 * RATE) / RATE
    lines = ["filename,label,split"]
    for hz in (500, 600, 1000, 1200):
        tone = np.where((seconds >= 2.1) & (seconds < 2.9), 0.5 * np.sin(2 * np.pi * hz * seconds), 0)
        soundfile.write(tmp_path / f"{hz}.wav", tone, RATE)
        lines.append(f"{hz}.wav,{'low' if hz < 900 else 'high'},{'train' if hz in (500, 1000) else 'test'}")
    (tmp_path / "table.csv").write_text("\n".join([*lines, ""]))
    asctool("prep", "table", tmp_path / "table.csv", tmp_path / "data", "--root", tmp_path, "--jobs", 1, "--quiet")
    values = ("segment_frames=40", "segment_hop_frames=20", "silence_db=-80", f"sample_rate={RATE}")
    settings = [word for value in values for word in ("--set", value)]
    asctool("featurize", tmp_path / "data", tmp_path / "logmel", "--type", "logmel", *settings, "--jobs", 1, "--quiet")
    figure = stage.figure_of(tmp_path / "logmel", "500")
    assert figure.get_suptitle() == "500: low, 3 of 9 segments (silent ones are left out)"
    (axes,) = panels(figure).values()
    assert axes.get_xlim() == (0, 5) and labels(axes) == ["silent, left out"]
    gaps = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    np.testing.assert_allclose(gaps, [(0, 1.5), (3.5, 5)])


BAD = {
    "no such clip": (2, "holds no such clip; the first one is", "{data} --plot {tmp}/o.png --clip nothing"),
    "no such clip in a store": (2, "holds no such clip", "{logmel} --plot {tmp}/o.png --clip nothing"),
    "a clip and no plot": (2, "--plot FILE.png", "{data} --clip nothing"),
    "a clip of a recording": (2, "is one clip", "{beep} --plot {tmp}/o.png --clip 3"),
    "no picture": (2, ".pdf, .png, .svg", "{data} --plot {tmp}/o.wav"),
    "a run": (2, "is of kind 'run'", "{run} --plot {tmp}/o.png"),
    "no parent": (4, "No such file", "{beep} --plot {tmp}/none/o.png"),
    "no audio": (3, "is no audio", "{text} --plot {tmp}/o.png"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_drawn_is_one_line(
    case: str, corpus: Path, trained: Path, beep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, words, arguments = BAD[case]
    (beep.parent / "text.wav").write_text("no audio")
    names = {"data": corpus / "data", "logmel": corpus / "logmel", "run": trained, "beep": beep}
    names |= {"text": beep.parent / "text.wav", "tmp": tmp_path}
    capsys.readouterr()
    assert run(["info", *(word.format(**names) for word in arguments.split())]) == expected
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
