"""What a page shows, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asctool.evaluation import protocol
from asctool.evaluation.metrics import Reliability
from asctool.evaluation.summary import Summary
from asctool.evaluation.systems import System as Judged
from asctool.evaluation.tally import Confusion


@dataclass(frozen=True)
class Rows:
    """Test rows of a system, one entry each in every array."""

    clip_ids: np.ndarray  # str
    start: np.ndarray  # seconds
    folds: np.ndarray
    true: np.ndarray  # class index
    predicted: np.ndarray  # class index
    confidence: np.ndarray  # posterior of the predicted class

    @property
    def wrong(self) -> np.ndarray:
        """Indices of the misclassified rows, the most confident first."""
        rows = np.flatnonzero(self.true != self.predicted)
        return rows[np.argsort(-self.confidence[rows], kind="stable")]


@dataclass(frozen=True)
class System:
    """One system at one level: what was found of it over all its folds, and its rows."""

    judged: Judged
    rows: Rows

    @property
    def name(self) -> str:
        """What it is called."""
        return self.judged.name

    @property
    def level(self) -> str:
        """segment or clip."""
        return self.judged.level

    @property
    def on_test(self) -> bool:
        """Whether something about it was chosen on test data."""
        return self.judged.selected_on_test

    @property
    def chosen_by(self) -> str:
        """What chose the epoch, the kernel, the weights."""
        found = protocol.choices(self.judged.protocol)
        return "; ".join(f"{what}: {' or '.join(words)}" for what, words in found.items())

    @cached_property
    def estimates(self) -> Mapping[str, Summary]:
        """Every figure over the folds."""
        names = next(iter(self.judged.figures.values()))
        return {name: self.judged.summary(name) for name in names}

    @cached_property
    def confusion(self) -> Confusion:
        """Over all folds."""
        found: Confusion = self.judged.pooled.confusion
        return found

    @cached_property
    def reliability(self) -> Reliability:
        """Over all folds."""
        found: Reliability = self.judged.pooled.reliability
        return found


@dataclass(frozen=True)
class Training:
    """The history of one run: a value an epoch of each series."""

    system: str
    fold: int
    on_test: bool
    series: Mapping[str, tuple[float, ...]]  # with "epoch"


@dataclass(frozen=True)
class Picture:
    """A spectrogram as a PNG of one pixel a band and frame, low frequencies below."""

    png: bytes
    seconds: float
    low_hz: float
    high_hz: float
    source: str  # what it shows: logmel, gammatone


@dataclass(frozen=True)
class Attention:
    """Weights of one segment, which sum to one."""

    start: float  # seconds
    seconds: float  # that the segment lasts
    weights: np.ndarray  # (step,)


@dataclass(frozen=True)
class Card:
    """A clip to look at and to listen to."""

    clip_id: str
    label: str
    right: bool  # the last system classifies it right
    always: bool  # shown whatever the chosen system makes of it: asked for, or an example of what is right
    sound: bytes = b""  # MP3
    seconds: float = 0.0  # of the sound
    cut: bool = False  # the clip goes on
    picture: Picture | None = None
    attention: tuple[Attention, ...] = ()
    attended_by: str = ""
    missing: str = ""  # why there is nothing to hear

    @property
    def size(self) -> int:
        """Bytes that it takes in the page: sound and picture in base64, curves, some words."""
        steps = sum(len(one.weights) for one in self.attention)
        return (len(self.sound) + (len(self.picture.png) if self.picture else 0)) * 4 // 3 + 24 * steps + 3000


@dataclass(frozen=True)
class Source:
    """An artifact that the page was made from."""

    name: str
    command: str  # that made it
    is_given: bool  # or is behind what was


@dataclass(frozen=True)
class More:
    """A table as score prints it: of groups of clips, or a comparison of two systems."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    title: str
    made_by: str
    fingerprint: str
    sources: tuple[Source, ...] = ()
    trainings: tuple[Training, ...] = ()
    classes: tuple[str, ...] = ()
    systems: tuple[System, ...] = ()  # of the table
    more: tuple[More, ...] = ()
    warnings: tuple[str, ...] = ()  # of what a reader must know of the figures
    cards: tuple[Card, ...] = ()
    not_shown: int = 0  # misclassified clips of the last system for which there was no room
    notes: tuple[str, ...] = ()  # what could not be found

    @property
    def closely(self) -> tuple[System, ...]:
        """Systems that get a matrix: at the level of clips where they have that."""
        with_clips = {system.name for system in self.systems if system.level == "clip"}
        return tuple(s for s in self.systems if s.level == "clip" or s.name not in with_clips)
