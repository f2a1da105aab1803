"""info: what an artifact is, what it holds, what it was made from up to the audio; a figure of one of its clips."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asctool.errors import DataError, IntegrityError, UsageError
from asctool.storage import atomic, audio, explanation, manifest
from asctool.storage.data_directory import DataDirectory, check_audio
from asctool.storage.dataset import Clip, Tables
from asctool.storage.shards import Columns
from asctool.storage.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from asctool.features import _figure

SHOWN = 12  # entries of a long list or mapping
PICTURES = (".pdf", ".png", ".svg")
DPI = 110


def info(artifact: Path) -> dict[str, Any]:
    """The manifest of an artifact, what it is in words, what it was made from; of an audio file what decoding tells."""
    if artifact.is_file() and explanation.is_bundle(artifact):
        with _understood(str(artifact)):
            return explanation.explain_bundle(artifact)
    if artifact.is_file():
        facts = audio.inspect(artifact)
        return {"kind": "audio", "duration": facts.duration, **vars(facts), "warnings": list(facts.warnings)}
    with _understood(str(artifact)):
        return explanation.explain(artifact)


def readable(found: dict[str, Any]) -> Any:
    """The same for people: in words, without hashes, long lists cut."""
    with _understood("an artifact"):
        return shortened(found if found["kind"] == "audio" else explanation.for_people(found))


@contextlib.contextmanager
def _understood(artifact: str) -> Iterator[None]:
    """What nobody but a hostile hand writes into a manifest is told as such: info alone reads all of it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
        raise IntegrityError(f"{artifact}: its manifest does not hold together ({error!r}); make it again") from error


def shortened(value: Any) -> Any:
    """The same with long lists and mappings cut, for people."""
    if isinstance(value, dict):
        items = list(value.items())
        cut = {key: shortened(entry) for key, entry in items[:SHOWN]} if len(items) > 3 * SHOWN else None
        if cut is not None:
            return cut | {"...": f"{len(items) - SHOWN} more"}
        return {key: shortened(entry) for key, entry in items}
    if isinstance(value, list) and len(value) > SHOWN:
        return [*map(shortened, value[:SHOWN]), f"... {len(value) - SHOWN} more"]
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    return value


def draw(artifact: Path, picture: Path | None, clip_id: str | None = None) -> None:
    """Write the figure of a clip as png, pdf or svg, by the name of the file."""
    if picture is None:
        raise UsageError("--clip says what to draw; say where to with --plot FILE.png")
    if picture.suffix.lower() not in PICTURES:
        raise UsageError(f"--plot {picture}: its name must end in {', '.join(PICTURES)}")
    file = io.BytesIO()
    figure_of(artifact, clip_id).savefig(file, format=picture.suffix.lower().lstrip("."), dpi=DPI)
    atomic.write_bytes(picture, file.getvalue())


def figure_of(artifact: Path, clip_id: str | None = None) -> "Figure":
    """An audio file, a clip of a data directory (the first where none is named), or what a store holds of a clip."""
    if artifact.is_file():
        if clip_id is not None:
            raise UsageError(f"--clip {clip_id}: {artifact} is an audio file, which is one clip")
        return _figure_of_samples(artifact.name, *audio.read(artifact))
    kind = manifest.read(artifact)["kind"]
    if kind == "data":
        data = DataDirectory(artifact)
        clip = _chosen(data.tables, clip_id, artifact)
        samples, rate = audio.read(check_audio(data, clip), clip.start, clip.duration)
        return _figure_of_samples(_title(clip), samples, rate)
    if kind == "attention":
        return _figure_of_attention(Store(artifact), clip_id)
    if kind not in ("waveform", "feature"):
        raise UsageError(
            f"--plot: {artifact} is of kind {kind!r}; give an audio file, data, waveforms, features or attention"
        )
    return _figure_of_store(Store(artifact), clip_id)


def _figure_of_samples(title: str, samples: np.ndarray, rate: int) -> "Figure":
    """Every step from (channel, sample) to features, each with its default settings at the recording's own rate."""
    from asctool.dsp import noise
    from asctool.dsp.delta import delta
    from asctool.features import _figure, gammatone, logmel

    mono = audio.to_mono(samples)
    denoised = noise.subtract(mono, rate, noise.Config())
    panels: list[_figure.Panel] = [
        _figure.Wave("waveform", mono[0], rate),
        _figure.Wave("denoised waveform (minimum statistics, spectral subtraction)", denoised[0], rate),
    ]
    for name, module in (("log-mel", logmel), ("gammatone", gammatone)):
        config = module.Config()
        array = module.extract(mono, rate, config)
        hop, band_hz = module.hop_seconds(rate, config), module.band_frequencies(rate, config)
        panels.append(_figure.Bands(name, array, [0.0], hop, band_hz))
        if module is logmel:
            slope = _figure.Bands("delta of log-mel", delta(array), [0.0], hop, band_hz, is_slope=True)
    return _figure.draw(f"{title} ({rate} Hz)", [*panels, slope])


def _figure_of_store(store: Store, clip_id: str | None) -> "Figure":
    """The stored channels of a clip, its segments where they lie in time."""
    from asctool.features import _figure

    columns = _rows_of(store, clip_id)
    clip = store.tables.by_id[str(columns["clip_id"][0])]
    if store.kind == "waveform":
        return _figure.draw(_title(clip), list(_waves(store, columns)), clip.duration)
    counted, gap = _count_of_segments(store, clip, columns)
    return _figure.draw(f"{_title(clip)}, {counted}", _spectra(store, columns), clip.duration, gap)


def _figure_of_attention(attention: Store, clip_id: str | None) -> "Figure":
    """The weights of a clip's segments below the features that the network saw (figure 2 of Zhang 2019)."""
    from asctool.features import _figure

    features = _features_of(attention)
    weights = _rows_of(attention, clip_id)
    clip = attention.tables.by_id[str(weights["clip_id"][0])]
    columns = _rows_of(features, clip.clip_id)
    seconds = columns["array"].shape[-1] * features.manifest["frame_seconds"]
    (system,) = attention.manifest["systems"]
    name = f"attention, {weights['array'].shape[1]} steps a segment"
    panel = _figure.Attention(name, weights["array"], weights["start"].tolist(), seconds)
    counted, gap = _count_of_segments(features, clip, columns)
    title = f"attention of {system}\n{_title(clip)}, {counted}"
    return _figure.draw(title, [_spectra(features, columns)[0], panel], clip.duration, gap)


def _features_of(attention: Store) -> Store:
    """The features from which attention was extracted; DataError when they are gone or were made anew."""
    features = Store(attention.directory.parent / attention.manifest["paths"]["features"], "feature")
    if features.content != attention.manifest["inputs"]["features"]:
        raise DataError(f"{features.directory}: is not what {attention.directory} was extracted from; extract it again")
    return features


def _count_of_segments(features: Store, clip: Clip, columns: Columns) -> tuple[str, str]:
    """How many segments there are of a clip, and of how many if silent ones are left out; what to call a gap."""
    from asctool.dsp import segments
    from asctool.features._plan import plan_of

    n_rows = len(columns["start"])
    if features.manifest["stage"] == "featurize" and features.feature_config.get("silence_db") is not None:
        plan = plan_of(features.feature_config, None, columns["array"].shape[1:])  # denoised ones are cut alike
        rate = plan.waveform.sample_rate
        n_frames = plan.module.frame_count(round(clip.duration * rate), rate, plan.config)
        n_cut = len(segments.starts(n_frames, plan.segment_frames, plan.segment_hop_frames))
        if n_rows < n_cut:
            return f"{n_rows} of {n_cut} segments (silent ones are left out)", "silent, left out"
    return f"{n_rows} segment{'s' if n_rows > 1 else ''}", "no segment"


def _spectra(store: Store, columns: Columns) -> list["_figure.Panel"]:
    """A panel for each channel of spectral features."""
    from asctool.features import _figure

    names, band_hz = store.manifest["channels"], np.array(store.manifest["band_hz"])
    feature, hop = store.feature_config["type"], store.manifest["frame_seconds"]
    return [
        _figure.Bands(
            f"{feature}, {name}",
            columns["array"][:, channel],
            columns["start"].tolist(),
            hop,
            band_hz,
            is_slope=name.startswith("delta of "),
        )
        for channel, name in enumerate(names)
    ]


def _waves(store: Store, columns: Columns) -> Iterator["_figure.Wave"]:
    """A panel for each channel of a clip, its rows put where they lie in time."""
    from asctool.features import _figure

    rate = int(columns["sample_rate"][0]) if "sample_rate" in columns else store.config["sample_rate"]
    firsts = np.round(columns["start"] * rate).astype(int)
    n_channels = columns["array"].shape[1]
    samples = np.zeros((int((firsts + columns["length"]).max()), n_channels), np.float32)
    for first, offset, length in zip(firsts, columns["offset"], columns["length"]):
        samples[first : first + length] = columns["array"][offset : offset + length]
    if columns["array"].dtype == np.int16:
        samples /= 32768  # its full scale
    name = "denoised waveform" if store.manifest["stage"] == "denoise" else "waveform"
    for channel in range(n_channels):
        title = f"{name}, channel {channel + 1}" if n_channels > 1 else name
        yield _figure.Wave(title, samples[:, channel], rate)


def _rows_of(store: Store, clip_id: str | None) -> Columns:
    """All rows of a clip; the first clip's that has any where none is named."""
    if clip_id is not None:
        _chosen(store.tables, clip_id, store.directory)
    for columns in store.shards():
        mine = columns["clip_id"] == (columns["clip_id"][0] if clip_id is None else clip_id)
        if mine.any():
            return {name: v if name == "array" and "offset" in columns else v[mine] for name, v in columns.items()}
    raise DataError(f"{store.directory}: holds no rows" + (f" of clip {clip_id!r}" if clip_id else ""))


def _chosen(tables: Tables, clip_id: str | None, artifact: Path) -> Clip:
    if not tables.clips:
        raise DataError(f"{artifact}: holds no clips")
    first = tables.clips[0]
    if clip_id is not None and clip_id not in tables.by_id:
        raise UsageError(f"--clip {clip_id}: {artifact} holds no such clip; the first one is {first.clip_id}")
    return first if clip_id is None else tables.by_id[clip_id]


def _title(clip: Clip) -> str:
    return f"{clip.clip_id}: {', '.join(clip.labels)}" if clip.labels else clip.clip_id
