"""The clips of a page: which ones, what is heard of them, what is seen."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asctool import parallel
from asctool.errors import AsctoolError
from asctool.features import logmel
from asctool.report_page import sound, spectrogram
from asctool.report_page.pictures import Pictures
from asctool.report_page.values import Card, Page, Picture
from asctool.storage import audio, data_directory
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import Clip

MAX_SECONDS = 15.0  # of a clip to listen to
EXAMPLES = 10  # classes of which a clip that was classified right is shown too
UNCHECKED = (
    "Recordings were taken from where prep found them: without the data directory nothing says that they are unchanged."
)


@dataclass(frozen=True)
class Recordings:
    """Where clips are heard: data directories, the nearest first; without any, where prep found them."""

    directories: Sequence[DataDirectory]

    def samples(self, clip: Clip) -> tuple[np.ndarray, int]:
        """The first MAX_SECONDS of a clip, mono (1, sample), and their rate; AsctoolError where that cannot be."""
        samples, rate = audio.read(self._path(clip), clip.start, min(clip.duration, MAX_SECONDS))
        return audio.to_mono(samples), rate

    def _path(self, clip: Clip) -> Path:
        for directory in self.directories:
            if directory.tables.by_id.get(clip.clip_id) is not None:
                return data_directory.check_audio(directory, directory.tables.by_id[clip.clip_id])
        return Path(clip.path)


def chosen(page: Page, asked_for: Sequence[str], listen: int) -> dict[str, bool]:
    """Clips asked for, then misclassified ones, at most ``listen``, then examples of what is right.

    With each whether it is shown whatever the system that is looked at makes of it.
    """
    always = dict.fromkeys([*asked_for, *(_examples(page) if listen else [])])
    order = dict.fromkeys([*asked_for, *_mistaken(page)[:listen], *always])
    return {clip_id: clip_id in always for clip_id in order}


def fold_of(page: Page) -> dict[str, int]:
    """A fold that tests each clip; of several the one in which the last system is wrong."""
    out: dict[str, int] = {}
    for system in page.closely:
        order = np.concatenate([np.flatnonzero(system.rows.true == system.rows.predicted), system.rows.wrong[::-1]])
        out |= zip(system.rows.clip_ids[order].tolist(), system.rows.folds[order].tolist())
    return out


def mistaken_by_last(page: Page) -> set[str]:
    """Clips that the last system gets wrong."""
    rows = page.closely[-1].rows
    return set(rows.clip_ids[rows.wrong].tolist())


def cards(
    clips: Sequence[tuple[Clip, bool]], wrong: set[str], recordings: Recordings, seen: Pictures, jobs: int | None
) -> Iterator[Card]:
    """A card for each clip, in their order; beside each whether it is always shown."""

    def make(clip_and_always: tuple[Clip, bool]) -> Card:
        clip, always = clip_and_always
        return _card(clip, clip.clip_id not in wrong, always, recordings, seen)

    with ThreadPoolExecutor(parallel.n_processes(jobs)) as pool:  # decoding, resampling and encoding leave Python
        yield from pool.map(make, clips)


def _card(clip: Clip, right: bool, always: bool, recordings: Recordings, seen: Pictures) -> Card:
    picture, missing, encoded, seconds = seen.picture.get(clip.clip_id), "", b"", 0.0
    try:
        samples, rate = recordings.samples(clip)
        seconds = samples.shape[1] / rate
        encoded = sound.mp3(audio.resample(samples, rate, sound.RATE_HZ)[0])
        picture = picture or _picture_of(samples, rate)
    except (AsctoolError, OSError) as error:
        missing = str(error)
    return Card(
        clip.clip_id,
        ", ".join(clip.labels),
        right,
        always,
        encoded,
        seconds,
        clip.duration > MAX_SECONDS,
        picture,
        seen.attention.get(clip.clip_id, ()),
        seen.attended_by.get(clip.clip_id, ""),
        missing,
    )


def _picture_of(samples: np.ndarray, rate: int) -> Picture | None:
    """A log-mel spectrogram with the default settings, where the features that a network saw are not at hand."""
    try:
        config = logmel.Config()
        levels = logmel.extract(samples, rate, config)[0]
        hop, bands = logmel.hop_seconds(rate, config), logmel.band_frequencies(rate, config)
    except AsctoolError:  # too low a rate for these bands
        return None
    return Picture(
        spectrogram.png(levels), hop * levels.shape[1], float(bands[0]), float(bands[-1]), "log-mel of the recording"
    )


def _mistaken(page: Page) -> list[str]:
    """Misclassified clips: those of the last system, then of the others, each from its surest mistake on."""
    systems = [page.closely[-1], *page.closely[:-1]]
    return list(dict.fromkeys(str(s.rows.clip_ids[row]) for s in systems for row in s.rows.wrong))


def _examples(page: Page) -> list[str]:
    """Of each of the first classes the clip that the last system is surest of, and right."""
    rows = page.closely[-1].rows
    right = np.flatnonzero(rows.true == rows.predicted)
    found: dict[int, str] = {}
    for row in right[np.argsort(-rows.confidence[right], kind="stable")]:
        found.setdefault(int(rows.true[row]), str(rows.clip_ids[row]))
    return [found[number] for number in sorted(found)][:EXAMPLES]
