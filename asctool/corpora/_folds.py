"""Folds: making them grouped and stratified, adding validation rows, and finding what lies in two subsets at once."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from asctool.corpora._corpus import Corpus
from asctool.corpora._names import shortened
from asctool.errors import DataError, UsageError
from asctool.storage.dataset import SUBSETS, Clip, FoldRow


@dataclass(frozen=True)
class Leak:
    """Two clips of different subsets of a fold that should not be apart, and why."""

    fold: int
    clip_a: str
    clip_b: str
    reason: str

    def __str__(self) -> str:
        return f"fold {self.fold}: {self.clip_a} and {self.clip_b}: {self.reason}"


def make_folds(clips: Sequence[Clip], n_folds: int, seed: int) -> tuple[FoldRow, ...]:
    """Folds whose test subsets share out the labelled clips: no group in two of them, classes as even as groups allow.

    Unlabelled clips get no row. DataError where there are too few groups; :func:`possible_folds` tells beforehand.
    """
    labelled = [clip for clip in clips if clip.labels]
    if not labelled:
        return ()
    possible, why = possible_folds(labelled, n_folds)
    if possible < n_folds:
        remedy = f"--set n_folds={possible}, or more recordings" if possible else "record more, or give finer groups"
        raise DataError(f"{n_folds} folds cannot be made: {why}; {remedy}")
    fold_of = _deal(labelled, [1 / n_folds] * n_folds, seed)
    return tuple(
        FoldRow(fold, clip.clip_id, "test" if fold_of[clip.group] == fold - 1 else "train")
        for fold in range(1, n_folds + 1)
        for clip in labelled
    )


def possible_folds(clips: Sequence[Clip], n_folds: int) -> tuple[int, str]:
    """How many folds, up to ``n_folds``, give every class training and test groups (0: none do), and why fewer."""
    groups = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            groups[label].add(clip.group)
    if len(groups) < 2:
        return 0, f"there is one class only ({next(iter(groups), 'none')})"
    least = min(groups, key=lambda label: len(groups[label]))
    count = len(groups[least])
    if count >= n_folds:
        return n_folds, ""
    return count if count > 1 else 0, f"class {least!r} comes from {count} group{'s' * (count != 1)}"


def make_possible_folds(clips: Sequence[Clip], n_folds: int, seed: int) -> tuple[tuple[FoldRow, ...], tuple[str, ...]]:
    """:func:`make_folds`, but as many as the groups allow, and a warning where that is fewer than wanted or none."""
    labelled = [clip for clip in clips if clip.labels]
    possible, why = possible_folds(labelled, n_folds)
    if possible == n_folds or not labelled:
        return make_folds(clips, n_folds, seed), ()
    if possible:
        return make_folds(clips, possible, seed), (f"{possible} folds instead of {n_folds}: {why}",)
    return (), (f"no folds, so nothing here can be trained on: {why}",)


def add_validation(folds: Sequence[FoldRow], clips: Sequence[Clip], how: str, seed: int) -> tuple[FoldRow, ...]:
    """Folds with some training rows turned to validation rows.

    ``next``: the test clips of the next fold (after the last, of the first). A number such as ``0.2``: that share of
    the training clips, grouped and stratified.
    """
    if any(row.subset == "valid" for row in folds):
        raise UsageError("these folds have validation rows of their own; leave out --valid")
    numbers = sorted({row.fold for row in folds})
    chosen = _next_test(folds, numbers) if how == "next" else _share_of_train(folds, clips, fraction(how), seed)
    return tuple(
        FoldRow(
            row.fold, row.clip_id, "valid" if row.subset == "train" and row.clip_id in chosen[row.fold] else row.subset
        )
        for row in folds
    )


def leaks(folds: Iterable[FoldRow], clips: Iterable[Clip], content: Mapping[str, str]) -> list[Leak]:
    """What a fold has in two subsets: a group, a file, or (clip id to hash of the audio) the same content.

    Each clip of the smaller subset is paired with one clip of the other, so that the list is no longer than the table.
    """
    by_id = {clip.clip_id: clip for clip in clips}
    members: dict[int, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for row in folds:
        members[row.fold][row.subset].append(by_id[row.clip_id])
    return [
        Leak(fold, a.clip_id, b.clip_id, f"{reason} in {subset_a} and {subset_b}")
        for fold, subsets in sorted(members.items())
        for subset_a, subset_b in combinations([name for name in SUBSETS if name in subsets], 2)
        for a, b, reason in _shared(subsets[subset_a], subsets[subset_b], content)
    ]


def contradictions(clips: Iterable[Clip], content: Mapping[str, str]) -> tuple[str, ...]:
    """A warning where clips of one label each have the same content (clip id to hash of the audio) and other labels."""
    first: dict[str, Clip] = {}
    pairs = []
    for clip in (clip for clip in clips if len(clip.labels) == 1):
        twin = first.setdefault(content[clip.clip_id], clip)
        if twin.labels != clip.labels:
            pairs.append(f"{twin.clip_id} ({twin.labels[0]}) and {clip.clip_id} ({clip.labels[0]})")
    if not pairs:
        return ()
    head = f"{len(pairs)} pair{'s' * (len(pairs) != 1)} of clips with the same audio in different classes"
    return (f"{head}: {shortened(pairs)}; of each pair one label at most is right",)


def check_folds(
    folds: Sequence[FoldRow],
    corpus: Corpus,
    content: Mapping[str, str] | None = None,
    allow_missing_classes: bool = False,
) -> tuple[str, ...]:
    """Warnings about folds that can be used; DataError with everything wrong in those that cannot.

    ``content``: clip id to hash of its audio, where known. Leaks are refused, in official folds warned of.
    """
    problems = [*_row_problems(folds, corpus.clips)]
    if problems:
        raise DataError(_listed("the folds are wrong", problems))
    missing = _missing_classes(folds, corpus)
    found = leaks(folds, corpus.clips, content or {})
    if not corpus.official_folds:
        problems += [f"{leak} (give both one group, or remove one)" for leak in found]
    if not allow_missing_classes:
        problems += [f"{line} (--set allow_missing_classes=true lets it pass)" for line in missing]
    if problems:
        raise DataError(_listed("the folds cannot be used", problems))
    warnings = [f"official folds, kept as published, although {leak}" for leak in found]
    return (*warnings, *missing)


def _deal(clips: Sequence[Clip], shares: Sequence[float], seed: int) -> dict[str, int]:
    """Group to bin: the largest group first, each to the bin that holds least of its labels for the bin's share.

    Minimises the sum over bins b and labels c of n[b, c]^2 / (share[b] total[c]^2), one group at a time. Groups of one
    size come in an order drawn from the seed and their names, so that the order of the clips changes nothing.
    """
    names = sorted({clip.group for clip in clips})
    labels = sorted({label for clip in clips for label in clip.labels})
    row_of, column_of = {name: i for i, name in enumerate(names)}, {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(names), len(labels)))
    for clip in clips:
        for label in clip.labels:
            counts[row_of[clip.group], column_of[label]] += 1
    weights = counts / counts.sum(0) ** 2
    order = sorted(row_of.values(), key=lambda row: (-counts[row].sum(), _draw(seed, names[row])))
    held, share = np.zeros((len(shares), len(labels))), np.array(shares)
    bins = {}
    for row in order:
        cost = (2 * held + counts[row]) @ weights[row] / share
        size = (2 * held.sum(1) + counts[row].sum()) / share  # between bins of equal cost the emptier one
        chosen = int(np.lexsort((size.round(9), cost.round(12)))[0])
        held[chosen] += counts[row]
        bins[names[row]] = chosen
    return bins


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _next_test(folds: Sequence[FoldRow], numbers: list[int]) -> dict[int, set[str]]:
    test, train = (
        {n: {r.clip_id for r in folds if r.fold == n and r.subset == s} for n in numbers} for s in ("test", "train")
    )
    chosen = {fold: test[following] for fold, following in zip(numbers, numbers[1:] + numbers[:1])}
    if any(not chosen[fold] <= train[fold] for fold in numbers):
        raise UsageError(
            "--valid next needs several folds whose test subsets share out the clips; here they do not: use --valid 0.2"
        )
    return chosen


def _share_of_train(folds: Sequence[FoldRow], clips: Sequence[Clip], fraction: float, seed: int) -> dict[int, set[str]]:
    chosen = {}
    for fold in sorted({row.fold for row in folds}):
        train = {row.clip_id for row in folds if row.fold == fold and row.subset == "train"}
        inside = [clip for clip in clips if clip.clip_id in train]
        bins = _deal(inside, (1 - fraction, fraction), seed)
        chosen[fold] = {clip.clip_id for clip in inside if bins[clip.group] == 1}
        if not chosen[fold]:
            raise DataError(
                f"fold {fold}: its training groups are too few to take a share of {fraction} for validation"
            )
    return chosen


def fraction(how: str) -> float:
    """The share of training clips that ``--valid 0.2`` asks for; UsageError for what is none."""
    try:
        share = float(how)
    except ValueError:
        share = float("nan")
    if not 0 < share <= 0.5:
        raise UsageError(f"--valid {how}: 'next', or a share of the training clips above 0 and up to 0.5")
    return share


def _shared(
    first: Sequence[Clip], second: Sequence[Clip], content: Mapping[str, str]
) -> Iterable[tuple[Clip, Clip, str]]:
    small, large = (first, second) if len(first) < len(second) else (second, first)
    keys: dict[str, Callable[[Clip], str | None]] = {
        "same file": lambda clip: clip.path,
        "same content": lambda clip: content.get(clip.clip_id),
        "same group": lambda clip: clip.group,
    }
    seen = {reason: {key(clip): clip for clip in reversed(large)} for reason, key in keys.items()}
    for clip in small:
        for reason, key in keys.items():
            twin = seen[reason].get(key(clip))
            if twin is not None and key(clip) is not None:
                detail = f" {clip.group!r}" if reason == "same group" else ""
                yield *((clip, twin) if small is first else (twin, clip)), reason + detail
                break


def _row_problems(folds: Sequence[FoldRow], clips: Sequence[Clip]) -> Iterable[str]:
    known = {clip.clip_id for clip in clips}
    for (fold, clip_id), count in Counter((row.fold, row.clip_id) for row in folds).items():
        if count > 1:
            yield f"fold {fold} names clip {clip_id!r} {count} times"
        if clip_id not in known:
            yield f"fold {fold} names clip {clip_id!r}, which does not exist"
    for word in sorted({row.subset for row in folds} - set(SUBSETS)):
        yield f"unknown subset {word!r} (known: {', '.join(SUBSETS)})"
    present = {(row.fold, row.subset) for row in folds}
    for fold in sorted({row.fold for row in folds}):
        for subset in ("train", "test"):
            if (fold, subset) not in present:
                yield f"fold {fold} has no {subset} clip"


def _missing_classes(folds: Sequence[FoldRow], corpus: Corpus) -> list[str]:
    by_id = {clip.clip_id: clip for clip in corpus.clips}
    trained: dict[int, set[str]] = {row.fold: set() for row in folds}
    for row in folds:
        if row.subset == "train":
            trained[row.fold].update(by_id[row.clip_id].labels)
    absent = {fold: [name for name in corpus.classes if name not in there] for fold, there in sorted(trained.items())}
    lines = [f"fold {fold} trains on no clip of class {', '.join(names)}" for fold, names in absent.items() if names]
    if folds and len(corpus.classes) == 1:
        lines.append(f"there is one class only ({corpus.classes[0]}): nothing to tell apart")
    return lines


def _listed(head: str, problems: Sequence[str]) -> str:
    return f"{head}: {problems[0]}" if len(problems) == 1 else "\n  ".join([f"{head}:", *problems])
